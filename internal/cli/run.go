package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/config"
)

// Run runs one command and returns its exit code.
func Run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := newTerminal(getenv, stdin, stdout, stderr)
	var g grammar
	parser, err := newParser(&g, t)
	if err != nil {
		return t.report(fmt.Errorf("the grammar is broken: %w", err))
	}
	// The wish for JSON counts for errors of the grammar, too.
	for _, a := range args {
		if a == "--" {
			break
		}
		t.json = t.json || a == "--json"
	}
	if slices.Equal(args, []string{"--version"}) || slices.Equal(args, []string{"--version", "--json"}) || slices.Equal(args, []string{"--json", "--version"}) {
		args = slices.Replace(slices.Clone(args), slices.Index(args, "--version"), slices.Index(args, "--version")+1, "version")
	}
	kctx, err := parser.Parse(args)
	if errors.Is(err, errHelp) {
		return exitOK
	}
	if err != nil {
		return t.report(mistaken(err))
	}
	t.json = g.JSON
	if g.Build {
		return t.report(usage("Run: valetkey --version", "--version stands alone."))
	}
	r := &run{ctx: ctx, getenv: getenv, terminal: t, globals: g.globals}
	if err := kctx.Run(r); err != nil {
		return t.report(err)
	}
	t.clear()
	return exitOK
}

// run is one command at work. It keeps the context, because the grammar calls
// commands without one.
type run struct {
	*terminal
	ctx    context.Context
	getenv func(string) string
	globals
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// reach finds the server for a command that the socket may be allowed: the
// socket where there is one, else the stored login. An explicit --server means
// the login.
func (r *run) reach() (*remote, error) {
	cfg, _, err := r.settings(nil)
	if err != nil {
		return nil, err
	}
	var socket *remote
	if r.Server == "" {
		if _, err := os.Stat(cfg.Socket()); err == nil {
			socket = overSocket(cfg.Socket(), publicURL(cfg))
			socket.by = "It is proposed through the operator socket; after 'valetkey login' such proposals are yours."
			socket.confirm = &confirming{r.terminal, !r.NoWait}
		}
	}
	if socket != nil {
		// The server knows better where browsers reach it than the settings of
		// this command do.
		if s, err := get[api.Status](r.ctx, socket, "v1/admin/status", nil); err == nil && s.PublicURL != "" {
			socket.public = s.PublicURL
		}
		r.preferLogin(socket)
		return socket, nil
	}
	person, err := r.asPerson()
	var f *failure
	if errors.As(err, &f) && f.Reason == "login_required" && r.Server == "" {
		return nil, &failure{
			Code: exitUnavailable, Reason: "no_server",
			Text: fmt.Sprintf("No server is running on %s, and no login is stored.", cfg.Data),
			Next: "Start one with 'valetkey serve', or log in to one: valetkey login --server URL",
		}
	}
	return person, err
}

// preferLogin has changes go with the login that is stored for the server of
// this socket: then the proposal is that person's, and not that of whoever uses
// this machine. A server that does not know the login any more is asked through
// the socket.
func (r *run) preferLogin(socket *remote) {
	path, err := loginPath(r.getenv)
	if err != nil {
		return
	}
	all, err := readLogins(path)
	if err != nil {
		return
	}
	server, err := serverURL(socket.public)
	if err != nil {
		return
	}
	l, ok := all.servers[server]
	if !ok {
		return
	}
	// Of the two the socket is the one that may manage where the configuration
	// trusts it: then nothing is proposed, and there is nothing to prefer.
	if me, err := get[api.Me](r.ctx, socket, "v1/me", nil); err != nil || me.Changes {
		return
	}
	person := overNetwork(server, l.token)
	if me, err := get[api.Me](r.ctx, person, "v1/me", nil); err != nil || me.User == nil {
		return
	}
	person.confirm = socket.confirm
	person.by = "It is proposed with your login here, as " + cell(l.user, 60) + "."
	socket.changes = person
}

func publicURL(cfg config.Config) string {
	u, err := serverURL(cfg.PublicURL)
	if err != nil {
		return ""
	}
	return u
}

// asPerson finds the server for a command that only a logged-in person may
// give.
func (r *run) asPerson() (*remote, error) {
	path, err := loginPath(r.getenv)
	if err != nil {
		return nil, err
	}
	all, err := readLogins(path)
	if err != nil {
		return nil, err
	}
	want := r.Server
	if want == "" {
		want = r.getenv("VALETKEY_SERVER")
	}
	if want != "" {
		if want, err = serverURL(want); err != nil {
			return nil, err
		}
	}
	server, l, ok := all.of(want)
	if !ok {
		f := &failure{Code: exitRefused, Reason: "login_required", Text: "You are not logged in.", Next: "Run: valetkey login"}
		if want != "" {
			f.Text, f.Next = fmt.Sprintf("You are not logged in at %s.", want), "Run: "+pasted("login", nil, "--server", want)
			if others := slices.Sorted(maps.Keys(all.servers)); len(others) > 0 {
				f.Next = fmt.Sprintf("You are at %s; if that is the same server, name it so. Else run: %s", strings.Join(others, ", "), pasted("login", nil, "--server", want))
			}
		}
		return nil, f
	}
	to := overNetwork(server, l.token)
	to.confirm = &confirming{r.terminal, !r.NoWait}
	return to, nil
}
