package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/id"
	people "github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

type serveCommand struct {
	serverFlags
}

// Run serves until it is told to stop.
func (c *serveCommand) Run(r *run) error {
	cfg, sources, log, err := r.server(&c.serverFlags)
	if err != nil {
		return err
	}
	a, err := app.New(r.ctx, cfg, log)
	if err != nil {
		return err
	}
	identify(a, sources)
	listener, err := listen(cfg.Listen)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	r.greet(a, listener)
	return errors.Join(a.Serve(r.ctx, listener), a.Close())
}

// server works out the configuration and the log of a server.
func (r *run) server(flags *serverFlags) (config.Config, []api.Config, *slog.Logger, error) {
	cfg, sources, err := r.settings(flags)
	if err != nil {
		return cfg, nil, nil, err
	}
	if err := cfg.Check(); err != nil {
		return cfg, nil, nil, err
	}
	log, err := newLog(r.terminal, cfg)
	return cfg, sources, log, err
}

// identify tells a server what only its command line knows: which program it
// is, and where its settings came from.
func identify(a *app.App, sources []api.Config) {
	a.Version, a.API.Version = thisBuild().Version, thisBuild().Version
	a.API.Sources = map[string]string{}
	for _, s := range sources {
		a.API.Sources[s.Name] = s.Source
	}
}

func newLog(t *terminal, cfg config.Config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, usage("It is debug, info, warn or error.", "--log-level %q is not a level.", cfg.LogLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch cfg.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(t.err, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(t.err, o)), nil
	}
	return nil, usage("It is text or json.", "--log-format %q is not a format.", cfg.LogFormat)
}

func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &failure{Code: exitFailed, Reason: "cannot_listen", Err: err,
			Text: fmt.Sprintf("Cannot listen on %s: %v.", addr, plain(err)), Next: "Is another server running? Choose another address: valetkey --listen 127.0.0.1:18420, or valetkey serve with --listen and --public-url."}
	}
	return l, nil
}

// plain is the innermost cause of a network error, without the address again.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// greet says where the server is and what its operator should know.
func (r *run) greet(a *app.App, l net.Listener) {
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), w)
	}
	// Machines that start a server wait for this line.
	r.say("Valetkey serves %s (listening on %s).", strings.TrimSuffix(a.Config.PublicURL, "/"), l.Addr())
}

// followListen lets the public URL of a server for this machine follow its
// port, if nobody said what the URL is.
func (r *run) followListen(cfg *config.Config, sources []api.Config) error {
	file := ""
	for _, s := range sources {
		switch {
		case s.Name == "config":
			file = s.Value
		case s.Name == "public-url" && s.Source != "default":
			return nil
		}
	}
	if file != "" { // which may name what is the default anyway
		said, err := config.Load(file, config.Config{})
		if err != nil || said.PublicURL != "" {
			return err
		}
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil || !isLoopback(host) || cfg.TLSCert != "" {
		return nil
	}
	if n, err := strconv.Atoi(port); err != nil || n <= 0 {
		return nil // not known before it is opened
	}
	cfg.PublicURL = "http://localhost:" + port + "/"
	return nil
}

type startCommand struct {
	serverFlags
	NoSandbox bool `help:"Do not run the sandbox beside it."`
	NoBrowser bool `help:"Only print the link."`
}

// Run is bare `valetkey`: a server on this machine with a sandbox to play
// with, and a link for the first person.
func (c *startCommand) Run(r *run) error {
	cfg, sources, log, err := r.server(&c.serverFlags)
	if err != nil {
		return err
	}
	if err := r.followListen(&cfg, sources); err != nil {
		return err
	}
	if !c.NoSandbox {
		// The sandbox listens on this machine only; the way out must be let
		// there, and only for the provider that says it is internal.
		cfg.AllowInternal = append(cfg.AllowInternal, loopbacks()...)
	}
	a, err := app.New(r.ctx, cfg, log)
	if err != nil {
		return err
	}
	identify(a, sources)
	err = c.serve(r, a)
	return errors.Join(err, a.Close())
}

func (c *startCommand) serve(r *run, a *app.App) error {
	listener, err := listen(a.Config.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	var box *playground
	if !c.NoSandbox {
		if box, err = openPlayground(ctx, a, a.Log); err != nil {
			return errors.Join(err, listener.Close())
		}
		defer box.close()
		a.Dash.Sandbox = sandboxProvider
	}
	page, first, err := firstPage(ctx, a)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	r.greet(a, listener)
	if box != nil {
		r.note("The sandbox is at %s; connect its account \"octocat\" with one click.", box.url)
		if forgotten, err := forgottenAccounts(ctx, a); err != nil {
			return errors.Join(err, listener.Close())
		} else if forgotten > 0 {
			r.note("It keeps nothing over a restart: connect its accounts again, those of before are forgotten there.")
		}
	}
	if first {
		r.note("\nOpen this page to begin. The link works once; whoever opens it becomes the owner:\n")
	} else {
		r.note("\nThe dashboard:\n")
	}
	r.note("  %s\n", r.bold(page))
	if !c.NoBrowser && r.tty && !r.json {
		openBrowser(ctx, page)
	}
	return a.Serve(ctx, listener)
}

// firstPage is where the person at the keyboard begins: with an enrolment link
// as long as nobody has a passkey, else at the dashboard.
func firstPage(ctx context.Context, a *app.App) (page string, first bool, err error) {
	link, err := firstLink(ctx, a, operatorName())
	if err != nil || link.IsZero() {
		return a.Config.PublicURL, false, err
	}
	return a.EnrolURL(link), true, nil
}

// firstLink makes the first person, or a fresh link for one who has not
// enrolled yet. It returns none once anybody has a passkey: whoever starts the
// server may be anybody's successor then.
func firstLink(ctx context.Context, a *app.App, name string) (secret.Text, error) {
	any, err := a.Users.AnyPasskey(ctx)
	if err != nil || any {
		return secret.Text{}, err
	}
	now := time.Now()
	all, err := a.DB.Users().Users(ctx, id.DefaultOrg)
	if err != nil {
		return secret.Text{}, err
	}
	for _, u := range all {
		if u.Role == people.Owner && u.Status == people.Active {
			by := people.Principal{Org: u.Org, Operator: true, UID: os.Getuid(), Confirm: true}
			return a.Users.NewLink(ctx, by, u.ID, now)
		}
	}
	_, link, err := a.Users.CreateFirst(ctx, name, now)
	return link, err
}

// operatorName is what the first person is called until they say otherwise.
func operatorName() string {
	if u, err := user.Current(); err == nil && u.Username != "" && u.Username != "root" {
		return u.Username
	}
	return "owner"
}
