// Package vktest is a whole Valetkey for tests: the real services on a real
// database in a temporary directory, with the sandbox as its upstream.
package vktest

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// World is a running Valetkey and its upstream.
type World struct {
	App      *app.App
	URL      string // of the served Valetkey, with its trailing slash
	Sandbox  *sandbox.Server
	Upstream string // base URL of the sandbox
	Config   config.Config

	t      *testing.T
	log    *slog.Logger
	client secret.Text // of the sandbox's OAuth application
	before func(*app.App)
	stop   func()
}

// Option changes a World before it starts: its configuration, and its
// upstream.
type Option func(*config.Config, *sandbox.Options)

// LogTo sends the logs of server and sandbox to h instead of the test's
// output.
func LogTo(h slog.Handler) Option {
	return func(_ *config.Config, o *sandbox.Options) { o.Log = slog.New(h) }
}

// New starts a World; the test's end stops it.
func New(t *testing.T, options ...Option) *World {
	t.Helper()
	return Wired(t, func(*app.App) {}, options...)
}

// Wired is New with a chance to put something between the parts of each server
// that the World starts, before any of them runs.
func Wired(t *testing.T, before func(*app.App), options ...Option) *World {
	t.Helper()
	opts := sandbox.Options{ClientID: "sandbox-client", ClientSecret: secret.New("sandbox-client-secret")}
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	for _, o := range options {
		o(&cfg, &opts)
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	up := sandbox.New(opts)
	upstream := httptest.NewServer(up.Handler())
	t.Cleanup(upstream.Close)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.PublicURL = listener.Addr().String(), "http://localhost:"+port+"/"
	cfg.AllowInternal = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	w := &World{Sandbox: up, Upstream: upstream.URL, Config: cfg, URL: cfg.PublicURL, t: t, log: log, client: opts.ClientSecret, before: before}
	w.start(listener)
	t.Cleanup(func() { w.stop() })
	up.AllowRedirect(w.App.Connect.RedirectURI("github"))
	w.register()
	return w
}

func (w *World) start(listener net.Listener) {
	a, err := app.New(w.t.Context(), w.Config, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.App = a
	w.before(a)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, listener) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("serve: %v", err)
		}
		if err := a.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
		w.stop = func() {}
	}
}

// Restart stops the server and starts it again on the same data.
func (w *World) Restart() {
	w.t.Helper()
	w.stop()
	listener, err := net.Listen("tcp", w.Config.Listen)
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(listener)
}

// Stop ends the server and closes its database; the data stays for another
// process to serve, or for [World.Restart].
func (w *World) Stop() {
	w.t.Helper()
	w.stop()
}

// register makes the sandbox the provider "github".
func (w *World) register() {
	w.t.Helper()
	r := vault.Registration{
		Provider: "github", Spec: "github", ClientID: "sandbox-client", Internal: true,
		Base: provider.Base{API: []string{w.Upstream}, Web: w.Upstream},
	}
	now := time.Now()
	err := w.App.Providers.Set(w.t.Context(), r, w.client, w.App.Egress.CheckURL, now, func(verb, object string, data map[string]string) audit.Event {
		return audit.Event{At: now, Org: id.DefaultOrg, Verb: verb, Actor: "system", Object: object, Data: data}
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Person makes a user and returns them as if they had just logged in with
// their passkey in a browser.
func (w *World) Person(name string) user.Principal {
	w.t.Helper()
	now := time.Now()
	by := user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}
	u, _, err := w.App.Users.Create(w.t.Context(), by, name, user.Owner, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return user.Principal{Org: u.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: id.NewSession(), Kind: user.Browser, AuthAt: now}
}

// LetIn approves the login of a terminal in p's name, as far as the store is
// concerned: with a passkey of p that nobody can touch.
func (w *World) LetIn(p user.Principal, d *user.Device) {
	w.t.Helper()
	now, people := time.Now(), w.App.DB.Users()
	k := &user.Passkey{Org: p.Org, ID: id.NewPasskey(), User: p.User, Name: "untouched", Credential: []byte("{}"), CreatedAt: now, Version: 1}
	k.CredentialID = []byte(k.ID)
	if err := people.Passkeys().Enrol(w.t.Context(), k, nil, now, []audit.Event{p.Event("passkey.added", string(k.ID), p.User, now, nil)}); err != nil {
		w.t.Fatal(err)
	}
	err := people.Devices().UpdateDevice(w.t.Context(), d.Hash, func(v *user.Device) ([]audit.Event, error) {
		v.Status, v.User, v.Passkey = user.DeviceApproved, p.User, k.ID
		return []audit.Event{p.Event("device.approved", string(p.Session), p.User, time.Now(), map[string]string{"label": v.Label, "source": v.Source})}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Link connects the sandbox account login for p, over the consent page, with
// the scopes of everything that the sandbox can do.
func (w *World) Link(p user.Principal, login string) *vault.Connection {
	w.t.Helper()
	return w.LinkAt(p, "github", login)
}

// LinkAt is Link at another provider that is the sandbox, too.
func (w *World) LinkAt(p user.Principal, name, login string) *vault.Connection {
	w.t.Helper()
	ctx := w.t.Context()
	to, err := w.App.Connect.Begin(ctx, p, name, []string{"read:user", "repo", "delete_repo"}, "", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	back, err := sandbox.Approve(ctx, http.DefaultClient, to, login)
	if err != nil {
		w.t.Fatal(err)
	}
	con, err := w.App.Connect.Complete(ctx, p, ParseCallback(w.t, name, back), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return con
}
