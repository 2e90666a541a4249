package cli

import (
	"net/netip"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/config"
)

// serverFlags are the settings of a server. Each has an environment variable:
// --public-url is VALETKEY_PUBLIC_URL. What is not given on the command line
// is taken from there, then from the file of --config, then from the defaults.
type serverFlags struct {
	Listen               string   `placeholder:"HOST:PORT" help:"Where to accept connections (default 127.0.0.1:8420)."`
	PublicURL            string   `name:"public-url" placeholder:"URL" help:"How browsers and agents reach this server; its issuer and the home of its passkeys (default http://localhost:8420)."`
	DB                   string   `name:"db" placeholder:"URL" help:"sqlite:PATH or postgres://…; SQLite in the data directory if left out."`
	DBFile               string   `name:"db-file" placeholder:"FILE" help:"File that holds --db, for a URL with a password in it."`
	TLSCert              string   `name:"tls-cert" placeholder:"FILE" help:"Certificate chain, PEM."`
	TLSKey               string   `name:"tls-key" placeholder:"FILE" help:"Its private key, PEM."`
	RootKeyFile          string   `placeholder:"FILE" help:"Root key; DATA/root.key if left out, made at the first start."`
	PassphraseFile       string   `placeholder:"FILE" help:"Passphrase in place of a root key file."`
	CheckpointSink       string   `placeholder:"FILE" help:"Where signed checkpoints of the audit log are appended to; belongs on another disk than the data."`
	TrustedProxy         []string `placeholder:"CIDR" help:"Proxy whose X-Forwarded-For is believed. May be repeated."`
	AllowInternal        []string `placeholder:"CIDR" help:"Network that providers set with --internal may be on. May be repeated."`
	Operator             string   `placeholder:"passkey|socket" help:"Who may change things once a passkey exists: people in a browser (default), or the operator socket, too."`
	OIDCIssuer           string   `name:"oidc-issuer" placeholder:"URL" help:"Identity provider by which people may log in, too, exactly as it names itself."`
	OIDCClientID         string   `name:"oidc-client-id" placeholder:"ID" help:"This server's client there; its redirect URI is the public URL and signin/callback."`
	OIDCClientSecretFile string   `name:"oidc-client-secret-file" placeholder:"FILE" help:"The client's secret."`
	OIDCName             string   `name:"oidc-name" placeholder:"NAME" help:"What the button says; the provider's host if left out."`
	LogLevel             string   `placeholder:"LEVEL" help:"debug, info, warn or error (default info)."`
	LogFormat            string   `placeholder:"text|json" help:"Form of the log on standard error (default text)."`
}

// setting is one of them, wherever it comes from.
type setting struct {
	name string // as on the command line
	flag func(*serverFlags) []string
	set  func(*config.Config, []string) error
	show func(*config.Config) string
}

func text(name string, flag func(*serverFlags) string, at func(*config.Config) *string) setting {
	return setting{
		name: name,
		flag: func(f *serverFlags) []string {
			if v := flag(f); v != "" {
				return []string{v}
			}
			return nil
		},
		set:  func(c *config.Config, v []string) error { *at(c) = v[len(v)-1]; return nil },
		show: func(c *config.Config) string { return *at(c) },
	}
}

func networks(name string, flag func(*serverFlags) []string, at func(*config.Config) *[]netip.Prefix) setting {
	return setting{
		name: name, flag: flag,
		set: func(c *config.Config, v []string) error {
			var all []netip.Prefix
			for _, s := range v {
				p, err := prefix(s)
				if err != nil {
					return usage("It looks like 10.0.0.0/8, or is a single address.", "--%s %q is not a network.", name, s)
				}
				all = append(all, p)
			}
			*at(c) = all
			return nil
		},
		show: func(c *config.Config) string {
			var all []string
			for _, p := range *at(c) {
				all = append(all, p.String())
			}
			return strings.Join(all, ",")
		},
	}
}

// prefix reads a network, or a single address as the network of only that.
func prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Unmap().Prefix(a.Unmap().BitLen())
}

// allSettings lists them in the order in which doctor prints them.
func allSettings() []setting {
	return []setting{
		text("listen", func(f *serverFlags) string { return f.Listen }, func(c *config.Config) *string { return &c.Listen }),
		text("public-url", func(f *serverFlags) string { return f.PublicURL }, func(c *config.Config) *string { return &c.PublicURL }),
		text("db", func(f *serverFlags) string { return f.DB }, func(c *config.Config) *string { return &c.DB }),
		text("db-file", func(f *serverFlags) string { return f.DBFile }, func(c *config.Config) *string { return &c.DBFile }),
		text("tls-cert", func(f *serverFlags) string { return f.TLSCert }, func(c *config.Config) *string { return &c.TLSCert }),
		text("tls-key", func(f *serverFlags) string { return f.TLSKey }, func(c *config.Config) *string { return &c.TLSKey }),
		text("root-key-file", func(f *serverFlags) string { return f.RootKeyFile }, func(c *config.Config) *string { return &c.RootKeyFile }),
		text("passphrase-file", func(f *serverFlags) string { return f.PassphraseFile }, func(c *config.Config) *string { return &c.PassphraseFile }),
		text("checkpoint-sink", func(f *serverFlags) string { return f.CheckpointSink }, func(c *config.Config) *string { return &c.CheckpointSink }),
		networks("trusted-proxy", func(f *serverFlags) []string { return f.TrustedProxy }, func(c *config.Config) *[]netip.Prefix { return &c.TrustedProxies }),
		networks("allow-internal", func(f *serverFlags) []string { return f.AllowInternal }, func(c *config.Config) *[]netip.Prefix { return &c.AllowInternal }),
		text("operator", func(f *serverFlags) string { return f.Operator }, func(c *config.Config) *string { return &c.Operator }),
		text("oidc-issuer", func(f *serverFlags) string { return f.OIDCIssuer }, func(c *config.Config) *string { return &c.OIDCIssuer }),
		text("oidc-client-id", func(f *serverFlags) string { return f.OIDCClientID }, func(c *config.Config) *string { return &c.OIDCClientID }),
		text("oidc-client-secret-file", func(f *serverFlags) string { return f.OIDCClientSecretFile }, func(c *config.Config) *string { return &c.OIDCClientSecretFile }),
		text("oidc-name", func(f *serverFlags) string { return f.OIDCName }, func(c *config.Config) *string { return &c.OIDCName }),
		text("log-level", func(f *serverFlags) string { return f.LogLevel }, func(c *config.Config) *string { return &c.LogLevel }),
		text("log-format", func(f *serverFlags) string { return f.LogFormat }, func(c *config.Config) *string { return &c.LogFormat }),
	}
}

// variable is the environment variable of a setting.
func variable(name string) string {
	return "VALETKEY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// settings works out the effective configuration, and where each part of it
// came from. It is not yet completed or checked; see [config.Config.Check].
func (r *run) settings(flags *serverFlags) (config.Config, []api.Config, error) {
	if flags == nil {
		flags = &serverFlags{}
	}
	cfg := config.Default()
	all := append([]setting{{
		name: "data",
		flag: func(*serverFlags) []string {
			if r.Data != "" {
				return []string{r.Data}
			}
			return nil
		},
		set:  func(c *config.Config, v []string) error { c.Data = v[0]; return nil },
		show: func(c *config.Config) string { return c.Data },
	}}, allSettings()...)

	file := r.Config
	if file == "" {
		file = r.getenv("VALETKEY_CONFIG")
	}
	defaults := cfg
	if file != "" {
		var err error
		if cfg, err = config.Load(file, cfg); err != nil {
			return cfg, nil, err
		}
	}
	sources := make([]api.Config, 0, len(all)+1)
	for _, s := range all {
		source := "default"
		if s.show(&cfg) != s.show(&defaults) {
			source = "file"
		}
		value := s.flag(flags)
		if value != nil {
			source = "flag"
		} else if v := r.getenv(variable(s.name)); v != "" {
			source, value = "environment", []string{v}
			if s.name == "trusted-proxy" || s.name == "allow-internal" {
				value = strings.Split(v, ",")
			}
		}
		if value != nil {
			if err := s.set(&cfg, value); err != nil {
				return cfg, nil, err
			}
		}
		sources = append(sources, api.Config{Name: s.name, Source: source})
	}
	if file != "" {
		source := "environment"
		if r.Config != "" {
			source = "flag"
		}
		sources = append(sources, api.Config{Name: "config", Value: file, Source: source})
	}
	for i, s := range all {
		sources[i].Value = s.show(&cfg)
	}
	return cfg, sources, nil
}

// completed fills in what [config.Config.Check] worked out, and hides what may
// hold a password.
func completed(cfg *config.Config, sources []api.Config) []api.Config {
	shown := map[string]string{"data": cfg.Data}
	for _, s := range allSettings() {
		shown[s.name] = s.show(cfg)
	}
	if strings.Contains(cfg.DB, "@") || strings.Contains(cfg.DB, "password") {
		scheme, _, _ := strings.Cut(cfg.DB, ":")
		shown["db"] = scheme + ":… (hidden: it may hold a password; prefer --db-file)"
	}
	out := make([]api.Config, len(sources))
	for i, s := range sources {
		if v, ok := shown[s.Name]; ok {
			s.Value = v
		}
		out[i] = s
	}
	return out
}
