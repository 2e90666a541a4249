package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// playground is a sandbox that listens beside a server and is one of its
// providers. It keeps nothing: after a restart its accounts are connected
// anew.
type playground struct {
	*sandbox.Server
	url  string
	http *http.Server
	done chan error
}

const (
	sandboxProvider = "sandbox"
	sandboxClient   = "valetkey-sandbox"
)

func loopbacks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// openPlayground starts the sandbox, next to the server's own port, and makes
// it a provider.
func openPlayground(ctx context.Context, a *app.App, log *slog.Logger) (*playground, error) {
	known, err := a.Providers.Find(ctx, sandboxProvider)
	if err != nil && fault.From(err).Kind != fault.NotFound {
		return nil, err
	}
	client := secret.Random(32)
	if known != nil && !known.Secret.IsZero() {
		client = known.Secret // the one that is sealed here already
	}
	l, err := nextPort(a.Config.Listen)
	if err != nil {
		return nil, err
	}
	p := startSandbox(l, client, log, nil)
	p.AllowRedirect(a.Connect.RedirectURI(sandboxProvider))
	if known != nil && slices.Contains(known.Spec.Endpoints.APIBases, p.url) {
		return p, nil
	}
	if err := registerSandbox(ctx, a, sandboxProvider, p.url, client); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// forgottenAccounts counts the connections to a sandbox of an earlier start,
// whose tokens the one of now does not know.
func forgottenAccounts(ctx context.Context, a *app.App) (int, error) {
	all, err := a.Vault.Store.Connections(ctx, id.DefaultOrg)
	if err != nil {
		return 0, fmt.Errorf("list the connections to the sandbox: %w", err)
	}
	n := 0
	for _, c := range all {
		if c.Provider == sandboxProvider && c.Status == vault.Active {
			n++
		}
	}
	return n, nil
}

// nextPort listens on the port after that of addr, so that the sandbox is
// found again where it was, or on any.
func nextPort(addr string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 65535 {
			if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n+1))); err == nil {
				return l, nil
			}
		}
	}
	return listen("127.0.0.1:0")
}

// startSandbox serves a sandbox on l; before may stand in front of it.
func startSandbox(l net.Listener, client secret.Text, log *slog.Logger, before func(http.Handler) http.Handler) *playground {
	p := &playground{
		Server: sandbox.New(sandbox.Options{ClientID: sandboxClient, ClientSecret: client, ClientName: "Valetkey", Log: log}),
		url:    "http://" + l.Addr().String(), done: make(chan error, 1),
	}
	handler := p.Handler()
	if before != nil {
		handler = before(handler)
	}
	p.http = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	go func() {
		err := p.http.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		p.done <- err
	}()
	return p
}

func (p *playground) close() {
	_ = p.http.Close() // nothing of it is kept
	<-p.done
}

// registerSandbox makes the sandbox one of the providers, as GitHub is one.
func registerSandbox(ctx context.Context, a *app.App, name, base string, client secret.Text) error {
	r := vault.Registration{
		Provider: name, Spec: "github", ClientID: sandboxClient, Internal: true,
		Base: provider.Base{API: []string{base}, Web: base},
	}
	now := time.Now()
	err := a.Providers.Set(ctx, r, client, a.Egress.CheckURL, now, func(verb, object string, data map[string]string) audit.Event {
		return audit.Event{At: now, Org: id.DefaultOrg, Verb: verb, Actor: "system", Object: object, Data: data}
	})
	if err != nil {
		return fmt.Errorf("register the sandbox: %w", err)
	}
	return nil
}
