package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// status is GET /v1/admin/status: how much of everything there is that the
// person may look at.
func (s *Server) status(ctx context.Context, p user.Principal, c *call, _ none) (api.Status, error) {
	v := api.Status{
		Version: s.Version, PublicURL: s.Config.PublicURL, StartedAt: moment(s.StartedAt), Freezes: len(s.Manage.Freezes.Active()),
	}
	if mayLook(p) == nil {
		v.Warnings = s.Warnings
	}
	var err error
	if v.Passkey, err = s.Users.AnyPasskey(ctx); err != nil {
		return v, err
	}
	people, err := s.listUsers(ctx, p, c, none{})
	if err != nil {
		return v, err
	}
	agents, err := s.Manage.ListAgents(ctx, p)
	if err != nil {
		return v, err
	}
	cons, err := s.Manage.ListConnections(ctx, p)
	if err != nil {
		return v, err
	}
	grants, err := s.Manage.ListGrants(ctx, p)
	if err != nil {
		return v, err
	}
	pending, err := s.Broker.Inbox(ctx, p, approval.Open, time.Time{}, 200)
	if err != nil {
		return v, err
	}
	v.Users, v.Agents, v.Pending = len(people.Items), len(agents), len(pending)
	for _, con := range cons {
		if con.Status != vault.Revoked {
			v.Connections++
		}
	}
	for _, g := range grants {
		if g.Live(c.now) == nil {
			v.Grants++
		}
	}
	head, err := s.Record.Head(ctx)
	v.Events = head.Size
	return v, err
}

// doctor is GET /v1/admin/doctor. It goes on when something is broken: that is
// what it is asked for.
func (s *Server) doctor(ctx context.Context, p user.Principal, c *call, _ none) (api.Doctor, error) {
	if err := mayLook(p); err != nil {
		return api.Doctor{}, err
	}
	d := api.Doctor{OK: true, Checks: s.checks(ctx, c.now), Config: settings(s.Config, s.Sources)}
	for _, ch := range d.Checks {
		d.OK = d.OK && ch.Status != checkFailed
	}
	return d, nil
}

const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailed  = "failed"
)

func (s *Server) checks(ctx context.Context, now time.Time) []api.Check {
	var out []api.Check
	add := func(name, status, detail, fix string) {
		out = append(out, api.Check{Name: name, Status: status, Detail: detail, Fix: fix})
	}
	if _, err := s.Record.Head(ctx); err != nil {
		add("database", checkFailed, "The database does not answer.", "Look at the server's log, and at the disk or the database server.")
	} else {
		add("database", checkOK, "It answers.", "")
	}
	if err := s.Refusals.Store.Refuse(ctx, nil, nil); err != nil {
		add("recording", checkFailed, "Nothing can be written, so nothing is done for agents.", "Check the disk: is it full, or read-only?")
	} else {
		add("recording", checkOK, "The log can be written.", "")
	}
	if signed, cp, behind := s.Checkpointer.Last(); signed == nil {
		add("checkpoints", checkWarning, "Nothing was signed yet.", "This is normal in the first second of a new deployment.")
	} else if behind > 0 {
		add("checkpoints", checkFailed, fmt.Sprintf("The newest checkpoint, of %s, has not reached its place outside the database.", cp.At.UTC().Format("2006-01-02 15:04:05 UTC")), "Check the disk of --checkpoint-sink: is it full, or read-only?")
	} else {
		add("checkpoints", checkOK, fmt.Sprintf("%d events are covered, signed at %s.", cp.Size, cp.At.UTC().Format("2006-01-02 15:04:05 UTC")), "")
	}
	for _, w := range s.Warnings {
		add("start", checkWarning, w, "")
	}
	out = append(out, s.checkFiles()...)
	out = append(out, s.checkExposure()...)
	return append(out, s.checkHoldings(ctx)...)
}

// checkFiles looks at who else on this machine can read what we keep.
func (s *Server) checkFiles() []api.Check {
	var out []api.Check
	for _, f := range []struct {
		name, path string
		forbidden  fs.FileMode
		chmod      string
	}{
		{"data", s.Config.Data, 0o077, "700"},
		{"root_key", s.Config.RootKeyFile, 0o077, "600"},
		{"passphrase_file", s.Config.PassphraseFile, 0o077, "600"},
	} {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && f.name != "data":
			out = append(out, api.Check{Name: f.name, Status: checkFailed, Detail: fmt.Sprintf("%s is gone: the server would not start again.", f.path), Fix: "Put it back from your backup before you stop the server."})
		case err != nil:
			out = append(out, api.Check{Name: f.name, Status: checkFailed, Detail: fmt.Sprintf("%s cannot be looked at.", f.path), Fix: "Look at its permissions: ls -ld " + display.Shell(f.path)})
		case info.Mode().Perm()&f.forbidden != 0:
			out = append(out, api.Check{Name: f.name, Status: checkWarning, Detail: fmt.Sprintf("Others on this machine can read %s.", f.path), Fix: "chmod " + f.chmod + " " + display.Shell(f.path)})
		default:
			out = append(out, api.Check{Name: f.name, Status: checkOK, Detail: f.path + ", for its owner alone."})
		}
	}
	return out
}

// checkExposure looks at what the configuration gives up.
func (s *Server) checkExposure() []api.Check {
	var out []api.Check
	if s.Config.Operator == operatorSocket {
		out = append(out, api.Check{Name: "operator", Status: checkWarning,
			Detail: "The operator socket may change everything without a passkey: whoever is root here, or runs as the server's user, can give agents more than their owners did.",
			Fix:    "Where people have browsers, start it with --operator passkey, or operator: passkey in its file."})
	} else {
		out = append(out, api.Check{Name: "operator", Status: checkOK, Detail: "Once a passkey exists, the operator socket only reads, proposes and freezes."})
	}
	for _, p := range s.Config.TrustedProxies {
		if p.Bits() == 0 {
			out = append(out, api.Check{Name: "trusted_proxy", Status: checkWarning,
				Detail: "Every address is a trusted proxy, so anybody can say where they call from.", Fix: "Name the proxy's own address: --trusted-proxy 10.0.0.2/32"})
		}
	}
	if u, err := url.Parse(s.Config.PublicURL); err == nil {
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			out = append(out, api.Check{Name: "public_url", Status: checkWarning,
				Detail: "The public URL is an IP address, on which browsers have no passkeys.", Fix: "Give the server a name: --public-url https://valetkey.example.com"})
		} else {
			out = append(out, api.Check{Name: "public_url", Status: checkOK, Detail: s.Config.PublicURL})
		}
	}
	return out
}

// checkHoldings looks at people, agents and accounts.
func (s *Server) checkHoldings(ctx context.Context) []api.Check {
	var out []api.Check
	if any, err := s.Users.AnyPasskey(ctx); err == nil && !any {
		out = append(out, api.Check{Name: "passkey", Status: checkWarning, Detail: "Nobody has a passkey yet, so nobody can approve anything.", Fix: "Open the enrolment link, or make a new one: valetkey user enrol-link NAME"})
	}
	out = append(out, s.checkPasskeyHosts(ctx)...)
	agents, err := s.Agents.Store.Agents(ctx, s.Org)
	if err != nil {
		return append(out, api.Check{Name: "agents", Status: checkFailed, Detail: "The agents cannot be read: a row may have been changed from outside.", Fix: "Look at the server's log; 'valetkey audit verify' shows whether the record still holds."})
	}
	var warned []api.Check
	for _, a := range agents {
		for _, w := range agentView(a, nil).Warnings {
			fix := ""
			if a.Profile == agent.Compat2025 {
				fix = "valetkey agent profile " + a.Name + " strict"
			}
			warned = append(warned, api.Check{Name: "agent", Status: checkWarning, Detail: a.Name + ": " + w, Fix: fix})
		}
	}
	out = append(out, several(warned, "valetkey agent list")...)
	cons, err := s.conns().Connections(ctx, s.Org)
	if err != nil {
		return append(out, api.Check{Name: "connections", Status: checkFailed, Detail: "The connections cannot be read: a row may have been changed from outside.", Fix: "Look at the server's log; 'valetkey audit verify' shows whether the record still holds."})
	}
	warned = nil
	for _, con := range cons {
		if con.Status == vault.NeedsReauth {
			warned = append(warned, api.Check{Name: "connection", Status: checkWarning, Detail: fmt.Sprintf("%s as %s is no longer accepted by its provider.", con.Provider, con.Account), Fix: "Its owner connects it again: " + s.page("connections")})
		}
	}
	out = append(out, several(warned, "valetkey connection list")...)
	if n := len(s.Manage.Freezes.Active()); n > 0 {
		out = append(out, api.Check{Name: "freezes", Status: checkWarning, Detail: fmt.Sprintf("Freezes in force: %d.", n), Fix: "valetkey freeze list"})
	}
	return out
}

// maxAlike is how many checks of one kind the report lists.
const maxAlike = 20

// several keeps a report readable, and bounded, where much is alike.
func several(alike []api.Check, whole string) []api.Check {
	left := len(alike) - maxAlike
	if left <= 0 {
		return alike
	}
	return append(alike[:maxAlike], api.Check{
		Name: alike[0].Name, Status: checkWarning, Detail: fmt.Sprintf("And %d more of these.", left), Fix: whole,
	})
}

// settings lists the effective configuration. It holds no secrets by its
// construction, but for the address of a database, which may have a password.
func settings(c config.Config, sources map[string]string) []api.Config {
	var out []api.Config
	base := reflect.ValueOf(config.Default())
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name := strings.ReplaceAll(v.Type().Field(i).Tag.Get("yaml"), "_", "-")
		if name == "" || name == "-" {
			continue
		}
		if name == "trusted-proxies" {
			name = "trusted-proxy" // a list in the file, one at a time on the command line
		}
		value := fmt.Sprint(v.Field(i).Interface())
		if list, ok := v.Field(i).Interface().([]netip.Prefix); ok {
			value = strings.Trim(fmt.Sprint(list), "[]")
		}
		source := sources[name]
		if source == "" {
			source = "set"
			if v.Field(i).IsZero() || reflect.DeepEqual(v.Field(i).Interface(), base.Field(i).Interface()) {
				source = "default"
			}
		}
		if name == "db" && strings.Contains(value, "://") {
			value = "(a database server)"
		}
		out = append(out, api.Config{Name: name, Value: value, Source: source})
	}
	return out
}
