// Package config is what an operator may set, with usable zero values.
//
// Flags win over the environment, the environment over the file. Secrets are
// never values here: they are named by a file, so that they stand in no
// process list, no unit file and no backup of the configuration.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// Config is the effective configuration of a server.
type Config struct {
	// Data is the directory of everything this server keeps: the database,
	// the root key, the operator socket. It is created with mode 0700.
	Data string `yaml:"data"`
	// Listen is where the server accepts connections: "127.0.0.1:8420".
	Listen string `yaml:"listen"`
	// PublicURL is how browsers and agents reach it; it is the issuer of its
	// tokens and the origin of its passkeys, so changing it ends both.
	PublicURL string `yaml:"public_url"`
	// DB is "sqlite:PATH" or "postgres://…"; SQLite in Data if empty.
	DB string `yaml:"db"`
	// DBFile is a file that holds DB, for a URL with a password in it.
	DBFile string `yaml:"db_file"`
	// TLSCert and TLSKey are PEM files; both or neither.
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
	// RootKeyFile holds the root key; Data/root.key if empty, created at the
	// first start.
	RootKeyFile string `yaml:"root_key_file"`
	// PassphraseFile holds a passphrase to use in place of a root key file.
	PassphraseFile string `yaml:"passphrase_file"`
	// CheckpointSink is the file that signed checkpoints of the audit log are
	// appended to. It belongs on another disk than Data; the default, beside
	// Data, protects against less, and doctor says so.
	CheckpointSink string `yaml:"checkpoint_sink"`
	// TrustedProxies may say, by X-Forwarded-For, who is calling.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// AllowInternal are networks that providers registered as internal may be
	// on. Everything that is not public is refused otherwise.
	AllowInternal []netip.Prefix `yaml:"allow_internal"`
	// Operator is "passkey" (the default: once a passkey exists the operator
	// socket only reads, proposes and freezes) or "socket" (for servers without
	// browsers: the socket may do everything but decide).
	Operator string `yaml:"operator"`
	// OIDCIssuer is an identity provider by which people may log in, too:
	// "https://accounts.example.com", exactly as it names itself. None if empty.
	OIDCIssuer string `yaml:"oidc_issuer"`
	// OIDCClientID is our client there, and OIDCClientSecretFile holds its
	// secret; a public client has none.
	OIDCClientID         string `yaml:"oidc_client_id"`
	OIDCClientSecretFile string `yaml:"oidc_client_secret_file"`
	// OIDCName is what the button says; the issuer's host if empty.
	OIDCName string `yaml:"oidc_name"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `yaml:"log_level"`
	LogFormat string `yaml:"log_format"`
}

// Default is where a server keeps its things and listens when nothing is said.
func Default() Config {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "."
	}
	return Config{
		Data: filepath.Join(dir, "valetkey"), Listen: "127.0.0.1:8420", PublicURL: "http://localhost:8420/",
		Operator: "passkey", LogLevel: "info", LogFormat: "text",
	}
}

// Load reads a configuration file over base. An unknown key is an error.
func Load(path string, base Config) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return base, fault.New(fault.Invalid, "bad_config", fmt.Sprintf("The configuration file %s cannot be read.", path)).Because(err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&base); err != nil && !errors.Is(err, io.EOF) {
		return base, fault.New(fault.Invalid, "bad_config", fmt.Sprintf("The configuration file %s is not valid: %v.", path, err))
	}
	// What stands behind a second "---" would look set and do nothing.
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return base, fault.New(fault.Invalid, "bad_config", fmt.Sprintf("The configuration file %s holds more than one document.", path))
	}
	return base, nil
}

// Check completes c and refuses what cannot work.
func (c *Config) Check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "bad_config", fmt.Sprintf(format, args...))
	}
	if c.Data == "" {
		return bad("Say where to keep the data: --data DIR.")
	}
	var err error
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return bad("The data directory %q is not usable.", c.Data)
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return bad("--public-url must look like https://valetkey.example.com, with nothing after the host.")
	}
	c.PublicURL = u.Scheme + "://" + strings.ToLower(u.Host) + "/"
	if u.Scheme == "http" && !Loopback(u.Hostname()) {
		return bad("--public-url is plain http, which is for localhost only: passwords and tokens would cross the network in the clear. Use https, with --tls-cert and --tls-key or behind a proxy that ends TLS.")
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return bad("--listen must be HOST:PORT, such as 127.0.0.1:8420.")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return bad("--listen %s: %q is no port; a port is a number from 1 to 65535.", c.Listen, port)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return bad("--tls-cert and --tls-key belong together.")
	}
	if c.DB != "" && c.DBFile != "" {
		return bad("Give --db or --db-file, not both.")
	}
	if c.RootKeyFile != "" && c.PassphraseFile != "" {
		return bad("Give --root-key-file or --passphrase-file, not both.")
	}
	if c.Operator != "passkey" && c.Operator != "socket" {
		return bad(`operator must be "passkey" or "socket".`)
	}
	if err := c.checkOIDC(); err != nil {
		return err
	}
	if c.RootKeyFile == "" && c.PassphraseFile == "" {
		c.RootKeyFile = filepath.Join(c.Data, "root.key")
	}
	if c.CheckpointSink == "" {
		c.CheckpointSink = filepath.Clean(c.Data) + "-checkpoints"
	}
	if c.CheckpointSink, err = filepath.Abs(c.CheckpointSink); err != nil {
		return bad("The checkpoint sink %q is not usable.", c.CheckpointSink)
	}
	// Whoever restores or replaces the data directory must not take the proof of
	// what it held along with it.
	if in, err := filepath.Rel(c.Data, c.CheckpointSink); err == nil && in != ".." && !strings.HasPrefix(in, ".."+string(filepath.Separator)) {
		return bad("--checkpoint-sink must lie outside the data directory %s, best on another disk.", c.Data)
	}
	return nil
}

// Loopback reports whether host is this machine's own name or address.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Database returns the database's URL, which may hold a password.
func (c *Config) Database() (secret.Text, error) {
	switch {
	case c.DBFile != "":
		return ReadSecret(c.DBFile)
	case c.DB != "":
		return secret.New(c.DB), nil
	}
	return secret.New("sqlite:" + filepath.Join(c.Data, "valetkey.db")), nil
}

// Passphrase reads the passphrase file.
func (c *Config) Passphrase() (secret.Text, error) { return ReadSecret(c.PassphraseFile) }

// ReadSecret reads a secret from a file that only its owner may read; a final
// line break is not part of it.
func ReadSecret(path string) (secret.Text, error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Text{}, fault.New(fault.Invalid, "bad_secret_file", fmt.Sprintf("The file %s cannot be read.", path)).Because(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret.Text{}, fault.New(fault.Invalid, "bad_secret_file", fmt.Sprintf("Others can read %s; it must be its owner's alone: chmod 600.", path))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return secret.Text{}, fault.New(fault.Invalid, "bad_secret_file", fmt.Sprintf("The file %s cannot be read.", path)).Because(err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return secret.Text{}, fault.New(fault.Invalid, "bad_secret_file", fmt.Sprintf("The file %s is empty.", path))
	}
	return secret.New(s), nil
}

// Socket is where the operator's commands reach the running server.
func (c *Config) Socket() string { return filepath.Join(c.Data, "operator.sock") }

// Journal is where freezes are written when the database cannot be: beside the
// checkpoints, outside the data directory.
func (c *Config) Journal() string { return c.CheckpointSink + ".journal" }
