package app

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/oauth"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/secret"
)

// Handler is everything that is served to the network: the OAuth endpoints,
// the API, and the dashboard, which has the rest.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	a.OAuth.Routes(mux)
	api := a.API.Handler()
	mux.Handle("/v1/", api)
	mux.Handle("/healthz", api)
	mux.Handle("/readyz", api)
	mux.Handle("/", a.Dash.Handler())
	return mux
}

// edges builds what translates between the network and the services.
func (a *App) edges() error {
	a.OAuth = &oauth.Server{
		Issuer: a.Config.PublicURL, Agents: a.Agents, Broker: a.Broker, Refusals: a.Refusals, Users: a.Users, Signer: a.Signer,
		ClientIP: a.clientIP, Log: a.Log,
	}
	a.API = &httpapi.Server{
		Org: org, Version: a.Version, StartedAt: a.started, Config: a.Config, Warnings: a.Warnings, Agents: a.Agents, Refusals: a.Refusals,
		Users: a.Users, Broker: a.Broker, Receipts: a.Receipts, Manage: a.Manage, Connect: a.Connect, Proposals: a.Proposals, Checkpointer: a.Checkpointer, Record: record{a.DB.Log()},
		EnrolURL: a.EnrolURL, ClientIP: a.clientIP, Leaving: a.leaving, Log: a.Log,
	}
	// What is confirmed goes the way of every other request.
	a.Proposals.Perform = a.API.Perform
	pages, err := dash.NewRenderer()
	if err != nil {
		return err
	}
	a.Dash = &dash.Server{
		Org: org, PublicURL: a.Config.PublicURL, Pages: pages, Users: a.Users, Broker: a.Broker, Receipts: a.Receipts, Manage: a.Manage, Connect: a.Connect,
		Refusals: a.Refusals, Proposals: a.Proposals, Checkpoint: a.Checkpointer.Last, ClientIP: a.clientIP, Leaving: a.leaving, Log: a.Log,
		Select: func(ctx context.Context, q dash.Query) ([]audit.Event, error) {
			return a.DB.Log().Select(ctx, store.Query(q))
		},
	}
	return nil
}

// EnrolURL is the page behind an enrolment link.
func (a *App) EnrolURL(link secret.Text) string { return a.Config.PublicURL + "enrol/" + link.Reveal() }

func (a *App) clientIP(r *http.Request) netip.Addr {
	return a.ClientAddr(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
}

// record is the audit log as the API reads it.
type record struct{ *store.Log }

func (r record) Select(ctx context.Context, s httpapi.Selection) ([]audit.Event, error) {
	return r.Log.Select(ctx, store.Query(s))
}

func (r record) Snapshot(ctx context.Context) (httpapi.Snapshot, error) { return r.Log.Snapshot(ctx) }
