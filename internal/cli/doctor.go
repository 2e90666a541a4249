package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/display"
)

type doctorCommand struct {
	serverFlags
	Offline bool `help:"Do not ask the running server."`
}

// Run looks at what can be seen from outside: settings, files, limits. If a
// server runs here, it is asked how it sees itself, and its settings are those
// that are looked at: it may have been started with others than these.
func (c *doctorCommand) Run(r *run) error {
	x := &examination{now: time.Now()}
	cfg, sources, err := r.settings(&c.serverFlags)
	if err == nil {
		err = cfg.Check()
	}
	if err != nil {
		x.failed("config", judge(err).problem.Detail, "Correct the setting.")
		return c.show(r, api.Doctor{Checks: x.checks, Config: completed(&cfg, sources)})
	}
	x.ok("config", "The settings fit together.")
	out := api.Doctor{Config: completed(&cfg, sources)}
	var theirs api.Doctor
	if !c.Offline {
		if theirs, err = c.ask(r, x); err != nil {
			return err
		}
	}
	if len(theirs.Config) > 0 {
		out.Config = theirs.Config
		adopt(&cfg, theirs.Config)
	}
	x.config(&cfg, r.configFile())
	x.merge(theirs.Checks)
	out.Checks = x.checks
	return c.show(r, out)
}

func (c *doctorCommand) show(r *run, d api.Doctor) error {
	d.OK = true
	for _, k := range d.Checks {
		d.OK = d.OK && k.Status != failedCheck
	}
	var err error
	if r.json {
		err = r.print(d)
	} else {
		err = r.diagnosis(d)
	}
	if err == nil && !d.OK {
		err = quiet{exitFailed}
	}
	return err
}

func (r *run) configFile() string {
	if r.Config != "" {
		return r.Config
	}
	return r.getenv("VALETKEY_CONFIG")
}

// ask asks the running server, if there is one.
func (c *doctorCommand) ask(r *run, x *examination) (api.Doctor, error) {
	to, err := r.reach()
	if judge0(err) == exitUnavailable {
		x.warn("server", "No server is running here.", "Start it with 'valetkey serve'.")
		return api.Doctor{}, nil
	}
	if err != nil {
		return api.Doctor{}, err
	}
	d, err := get[api.Doctor](r.ctx, to, "v1/admin/doctor", nil)
	switch v := judge0(err); {
	case errors.Is(err, context.Canceled):
		return d, err
	case v == exitUnavailable:
		x.warn("server", judge(err).problem.Detail, "Look whether it runs: its own log says why it stopped.")
	case v == exitRefused:
		x.failed("server", judge(err).problem.Detail, "Run this as the user of the server, or as an admin: valetkey login")
	case v != exitOK:
		x.failed("server", judge(err).problem.Detail, "Look at the server's log.")
	default:
		x.ok("server", "It answers.")
	}
	return d, nil
}

// adopt takes the settings that a server runs with.
func adopt(cfg *config.Config, theirs []api.Config) {
	known := map[string]setting{}
	for _, s := range allSettings() {
		known[s.name] = s
	}
	for _, t := range theirs {
		s, ok := known[t.Name]
		switch {
		case t.Name == "data":
			cfg.Data = t.Value
		case !ok || t.Name == "db":
		case t.Value == "":
			_ = s.set(cfg, []string{""}) // a list is refused and stays empty
		default:
			_ = s.set(cfg, strings.Fields(t.Value))
		}
	}
}

// merge adds what a server found, unless it was found here, too.
func (x *examination) merge(theirs []api.Check) {
	have := map[string]bool{}
	for _, k := range x.checks {
		have[k.Name] = true
	}
	for _, k := range theirs {
		same := have[k.Name]
		for _, mine := range x.checks {
			same = same || len(k.Detail) > 60 && strings.HasPrefix(mine.Detail, k.Detail[:60])
		}
		if !same {
			x.checks = append(x.checks, k)
		}
	}
}

// statusWidth is the width of the longest status.
const statusWidth = len(warnCheck)

const (
	okCheck     = "ok"
	warnCheck   = "warning"
	failedCheck = "failed"
)

// examination collects checks.
type examination struct {
	now    time.Time
	checks []api.Check
}

func (x *examination) add(name, status, detail, fix string) {
	x.checks = append(x.checks, api.Check{Name: name, Status: status, Detail: detail, Fix: fix})
}
func (x *examination) ok(name, detail string)          { x.add(name, okCheck, detail, "") }
func (x *examination) warn(name, detail, fix string)   { x.add(name, warnCheck, detail, fix) }
func (x *examination) failed(name, detail, fix string) { x.add(name, failedCheck, detail, fix) }

// config looks at everything that a checked configuration names.
func (x *examination) config(cfg *config.Config, file string) {
	x.data(cfg)
	x.secrets(cfg)
	x.publicURL(cfg)
	x.listen(cfg)
	x.certificate(cfg)
	x.sink(cfg)
	x.operator(cfg, file)
	x.machine()
}

// owned checks that others cannot open a file or directory.
func (x *examination) owned(name, path, what string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		x.failed(name, fmt.Sprintf("%s cannot be looked at.", path), "Run this as the user of the server.")
	case info.Mode().Perm()&0o077 != 0:
		mode := "600"
		if info.IsDir() {
			mode = "700"
		}
		x.failed(name, fmt.Sprintf("Others can open %s (%s has mode %04o).", what, path, info.Mode().Perm()), "chmod "+mode+" "+display.Shell(path))
	default:
		x.ok(name, fmt.Sprintf("%s, readable by its owner alone.", path))
	}
	return true
}

func (x *examination) data(cfg *config.Config) {
	if !x.owned("data", cfg.Data, "the data directory") {
		x.ok("data", fmt.Sprintf("%s does not exist yet; the first start makes it.", cfg.Data))
	}
	if info, err := os.Stat(cfg.Socket()); err == nil && info.Mode().Perm()&0o077 != 0 {
		x.failed("operator_socket", fmt.Sprintf("Others can open %s (mode %04o).", cfg.Socket(), info.Mode().Perm()), "Restart the server, which makes it anew.")
	}
}

func (x *examination) secrets(cfg *config.Config) {
	if cfg.PassphraseFile != "" {
		if !x.owned("root_key", cfg.PassphraseFile, "the passphrase") {
			x.failed("root_key", fmt.Sprintf("The passphrase file %s is missing.", cfg.PassphraseFile), "Put it back: without it nothing can be unsealed.")
		}
	} else {
		_, err := os.Stat(filepath.Join(cfg.Data, "valetkey.db"))
		switch there := x.owned("root_key", cfg.RootKeyFile, "the root key"); {
		case !there && err == nil:
			x.failed("root_key", fmt.Sprintf("There is a database, and no root key at %s.", cfg.RootKeyFile), "Put the key back: without it nothing can be unsealed.")
		case !there:
			x.ok("root_key", fmt.Sprintf("%s does not exist yet; the first start makes it.", cfg.RootKeyFile))
		case filepath.Dir(cfg.RootKeyFile) == filepath.Clean(cfg.Data):
			x.warn("root_key_backup", "The root key lies in the data directory: a copy of the directory opens everything.", "Keep it elsewhere: --root-key-file /etc/valetkey/root.key; or leave it out of backups, and keep a copy apart.")
		}
	}
	if cfg.DBFile != "" && !x.owned("db_file", cfg.DBFile, "the database's URL") {
		x.failed("db_file", fmt.Sprintf("The file %s is missing.", cfg.DBFile), "Create it with mode 600.")
	}
	if cfg.DB != "" {
		if u, err := url.Parse(cfg.DB); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				x.warn("db_password", "The database's password stands on the command line or in the environment, where others can read it.", "Move the URL to a file of mode 600: --db-file FILE")
			}
		}
	}
}

func (x *examination) publicURL(cfg *config.Config) {
	u, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return // Check refused it
	}
	switch host := u.Hostname(); {
	case net.ParseIP(host) != nil:
		x.warn("public_url", fmt.Sprintf("%s is an IP address: passkeys need a host name, so nobody can log in.", host), "Use a host name: --public-url https://valetkey.example.com, or http://localhost:8420 on this machine.")
	case isLoopback(host):
		x.ok("public_url", fmt.Sprintf("%s, for this machine only.", cfg.PublicURL))
	default:
		x.ok("public_url", cfg.PublicURL)
	}
}

func (x *examination) listen(cfg *config.Config) {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return
	}
	open := host == "" || !isLoopback(host)
	switch {
	case open && cfg.TLSCert == "" && len(cfg.TrustedProxies) == 0:
		x.warn("listen", fmt.Sprintf("%s takes connections from other machines without TLS.", cfg.Listen), "Give it a certificate: --tls-cert FILE --tls-key FILE; or if a proxy ends TLS, name that: --trusted-proxy CIDR")
	case open && len(cfg.TrustedProxies) == 0:
		x.ok("listen", fmt.Sprintf("%s, with TLS. Agents are known by the address they connect from; behind a proxy that takes --trusted-proxy.", cfg.Listen))
	default:
		x.ok("listen", cfg.Listen)
	}
	for _, p := range cfg.TrustedProxies {
		if p.Bits() == 0 {
			x.failed("trusted_proxy", "Everybody is trusted to say where they come from: the source lists of agents mean nothing.", "Name the proxy's own address: --trusted-proxy 10.0.0.2/32")
		}
	}
}

func (x *examination) certificate(cfg *config.Config) {
	if cfg.TLSCert == "" {
		return
	}
	x.owned("tls_key", cfg.TLSKey, "the TLS key")
	pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		x.failed("tls", "The certificate and its key cannot be used together.", "Check --tls-cert and --tls-key; both are PEM.")
		return
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		x.failed("tls", "The certificate cannot be read.", "Check --tls-cert.")
		return
	}
	u, err := url.Parse(cfg.PublicURL)
	switch rest := leaf.NotAfter.Sub(x.now); {
	case rest <= 0:
		x.failed("tls", fmt.Sprintf("The certificate expired on %s.", when(leaf.NotAfter)), "Renew it.")
	case err == nil && leaf.VerifyHostname(u.Hostname()) != nil:
		x.failed("tls", fmt.Sprintf("The certificate is not for %s.", u.Hostname()), "Get one for the public URL's host.")
	case rest < 14*24*time.Hour:
		x.warn("tls", fmt.Sprintf("The certificate expires in %s.", left(leaf.NotAfter, x.now)), "Renew it.")
	default:
		x.ok("tls", fmt.Sprintf("The certificate is good for another %s.", left(leaf.NotAfter, x.now)))
	}
}

func (x *examination) sink(cfg *config.Config) {
	where, data := existing(cfg.CheckpointSink), existing(cfg.Data)
	if where != "" && data != "" && sameDisk(where, data) {
		x.warn("checkpoint_sink", fmt.Sprintf("The checkpoints in %s lie on the same disk as the data: whoever can change one can change both.", cfg.CheckpointSink), "Put them on another disk: --checkpoint-sink /mnt/elsewhere/valetkey-checkpoints")
		return
	}
	x.ok("checkpoint_sink", cfg.CheckpointSink)
}

// existing is path, or the nearest directory above it that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return ""
		}
		path = up
	}
}

func (x *examination) operator(cfg *config.Config, file string) {
	if cfg.Operator != "socket" {
		x.ok("operator", "Once a passkey exists, the operator socket only reads, proposes and freezes.")
	} else {
		x.warn("operator", "The operator socket may change everything but decide: whoever can run a program as the server's user can.", "Where people have browsers, start it with --operator passkey, or operator: passkey in its file.")
	}
	if file == "" {
		return
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		x.failed("config_file", fmt.Sprintf("Others can change %s (mode %04o).", file, info.Mode().Perm()), "chmod go-w "+display.Shell(file))
	}
}

func (x *examination) machine() {
	if os.Geteuid() == 0 {
		x.warn("user", "This runs as root. If the server does, too, a mistake in it reaches everything; and an agent that runs as the server's user can read its keys.", "Give the server a user of its own, which no agent runs as.")
	} else {
		x.ok("user", "Not root. Agents must not run as the same user as the server: they could read its keys.")
	}
	if n, ok := openFiles(); ok && n < 4096 {
		x.warn("open_files", fmt.Sprintf("At most %d files and connections may be open at a time.", n), "Raise it: ulimit -n 65536, or LimitNOFILE= in the unit.")
	}
}

// diagnosis prints what was found: what is wrong first, each with what mends
// it, and a count at the end.
func (r *run) diagnosis(d api.Doctor) error {
	indent := 0
	count := map[string]int{}
	for _, k := range d.Checks {
		indent = max(indent, statusWidth+len(k.Name)+2*len(gap))
		count[k.Status]++
	}
	width := 0
	if r.width > 0 {
		width = max(r.width-indent, 24)
	}
	name := indent - statusWidth - 2*len(gap)
	for _, want := range []string{failedCheck, warnCheck, okCheck} {
		for _, k := range d.Checks {
			if k.Status != want {
				continue
			}
			detail := k.Detail
			if detail == "" {
				detail = "Nothing is wrong with it."
			}
			head := r.marked(want) + gap + fmt.Sprintf("%-*s", name, cell(strings.ReplaceAll(k.Name, "_", "-"), 40)) + gap
			for _, line := range wrapped(cell(detail, 500), width) {
				r.say("%s%s", head, line)
				head = strings.Repeat(" ", indent)
			}
			for _, line := range wrapped(cell(k.Fix, 500), width) {
				if line != "" {
					r.say("%s%s", head, r.dim(line))
				}
			}
		}
	}
	r.say("")
	var rows [][]string
	for _, c := range d.Config {
		value := cell(c.Value, 100)
		if value == "" {
			value = "-"
		}
		rows = append(rows, []string{c.Name, value, c.Source})
	}
	if err := r.table("", []column{{title: "SETTING"}, {title: "VALUE", least: 30}, {title: "FROM"}}, rows); err != nil {
		return err
	}
	switch failed, warned := count[failedCheck], count[warnCheck]; {
	case failed+warned == 0:
		r.note("\nAll is well.")
	case failed == 0:
		r.note("\nNothing failed. To look at: %d.", warned)
	default:
		r.note("\nFailed: %d. To look at: %d.", failed, warned)
	}
	return nil
}

// marked is a status as it stands at the beginning of a line.
func (r *run) marked(status string) string {
	padded := fmt.Sprintf("%-*s", statusWidth, status)
	switch status {
	case failedCheck:
		return r.red(padded)
	case warnCheck:
		return r.yellow(padded)
	}
	return r.green(padded)
}
