package httpapi

import (
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// listGrants is GET /v1/admin/grants, of one agent or connection if wanted,
// newest first.
func (s *Server) listGrants(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Grant], error) {
	page := list[api.Grant](nil)
	var ofAgent id.Agent
	var ofConnection id.Connection
	if c.query.Has("agent") {
		// An agent is found by whoever has a grant for it to see, too.
		a, err := s.Agents.Find(ctx, c.query.Get("agent"))
		if err != nil {
			return page, err
		}
		ofAgent = a.ID
	}
	if c.query.Has("connection") {
		con, err := s.Manage.Connection(ctx, p, c.query.Get("connection"))
		if err != nil {
			return page, err
		}
		ofConnection = con.ID
	}
	before, limit, err := c.after("grt")
	if err != nil {
		return page, err
	}
	found, err := s.Manage.PageGrants(ctx, p, grant.Listing{Agent: ofAgent, Connection: ofConnection, Before: id.Grant(before), Limit: limit + 1})
	if err != nil {
		return page, err
	}
	if len(found) > limit {
		found = found[:limit]
		page.Next = string(found[limit-1].ID)
	}
	names := s.directory(ctx)
	for _, g := range found {
		page.Items = append(page.Items, names.grant(grantView(g)))
	}
	return page, nil
}

// createGrant is POST /v1/admin/grants.
func (s *Server) createGrant(ctx context.Context, p user.Principal, c *call, in api.GrantRequest) (created[api.Grant], error) {
	g, err := s.Manage.CreateGrant(ctx, p, manage.Grant{
		Agent: in.Agent, Connection: in.Connection, Mode: grant.Mode(in.Mode), Operations: in.Operations, Resources: in.Resources, ExpiresAt: in.ExpiresAt,
	}, c.now)
	if err != nil {
		return created[api.Grant]{}, err
	}
	v := s.directory(ctx).grant(grantView(g))
	// The grant stands: what cannot be said about it is no reason to call it off.
	if v.Warnings, err = s.Manage.Reservations(ctx, g); err != nil {
		s.Log.WarnContext(ctx, "a grant not looked over", slog.String("grant", string(g.ID)), slog.Any("error", err))
	}
	return created[api.Grant]{value: v}, nil
}

// revokeGrant is DELETE /v1/admin/grants/{id}.
func (s *Server) revokeGrant(ctx context.Context, p user.Principal, c *call, _ none) (api.Grant, error) {
	missing := fault.New(fault.NotFound, "grant_not_found", "There is no such grant, or it is not yours.")
	ref := id.Grant(c.ref("id"))
	visible := func() (*grant.Grant, error) {
		all, err := s.Manage.ListGrants(ctx, p)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(g *grant.Grant) bool { return g.ID == ref }); i >= 0 {
			return all[i], nil
		}
		return nil, missing
	}
	if _, err := visible(); err != nil {
		return api.Grant{}, err // somebody else's looks like a missing one
	}
	if err := s.Manage.RevokeGrant(ctx, p, ref, c.now); err != nil {
		return api.Grant{}, err
	}
	g, err := visible()
	if err != nil {
		return api.Grant{}, err
	}
	return s.directory(ctx).grant(grantView(g)), nil
}

// listConnections is GET /v1/admin/connections, newest first.
func (s *Server) listConnections(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Connection], error) {
	before, limit, err := c.after("con")
	if err != nil {
		return list[api.Connection](nil), err
	}
	found, err := s.Manage.PageConnections(ctx, p, id.Connection(before), limit+1)
	if err != nil {
		return list[api.Connection](nil), err
	}
	next := ""
	if len(found) > limit {
		found = found[:limit]
		next = string(found[limit-1].ID)
	}
	page, err := s.connectionPage(ctx, found)
	page.Next = next
	return page, err
}

// getConnection is GET /v1/admin/connections/{ref}.
func (s *Server) getConnection(ctx context.Context, p user.Principal, c *call, _ none) (api.Connection, error) {
	con, err := s.Manage.Connection(ctx, p, c.ref("ref"))
	if err != nil {
		return api.Connection{}, err
	}
	return s.oneConnection(ctx, con)
}

func (s *Server) oneConnection(ctx context.Context, con *vault.Connection) (api.Connection, error) {
	page, err := s.connectionPage(ctx, []*vault.Connection{con})
	if err != nil {
		return api.Connection{}, err
	}
	return page.Items[0], nil
}

// pasteToken is POST /v1/admin/connections.
func (s *Server) pasteToken(ctx context.Context, p user.Principal, c *call, in api.ConnectionRequest) (created[api.Connection], error) {
	token := secret.New(in.Token)
	owner, err := s.ownerOf(ctx, p, in.User)
	if err != nil {
		return created[api.Connection]{}, err
	}
	con, err := s.Connect.AddToken(ctx, p, owner, in.Provider, in.Name, token, c.now)
	if err != nil {
		return created[api.Connection]{}, err
	}
	v, err := s.oneConnection(ctx, con)
	return created[api.Connection]{v, "/v1/admin/connections/" + string(con.ID)}, err
}

// disconnect is DELETE /v1/admin/connections/{ref}.
func (s *Server) disconnect(ctx context.Context, p user.Principal, c *call, _ none) (api.DisconnectReport, error) {
	r, err := s.Manage.Disconnect(ctx, p, c.ref("ref"), c.now)
	if err != nil {
		return api.DisconnectReport{}, err
	}
	probe := r.Probe
	if probe == "" {
		probe = "not_probed"
	}
	return api.DisconnectReport{
		Connection: string(r.Connection), Provider: r.Provider, Account: r.Account, Here: r.Here, Probe: probe, Todo: r.Todo,
		Upstream: api.UpstreamRevocation{Done: r.Upstream.Done, Scope: r.Upstream.Scope, Status: r.Upstream.Status, Detail: r.Upstream.Detail},
	}, nil
}

// listProviders is GET /v1/admin/providers.
func (s *Server) listProviders(ctx context.Context, _ user.Principal, _ *call, _ none) (api.Page[api.Provider], error) {
	page := list[api.Provider](nil)
	all, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return page, err
	}
	registered, err := s.registrations(ctx)
	if err != nil {
		return page, err
	}
	for _, p := range all {
		page.Items = append(page.Items, s.providerView(p, registered[p.ID]))
	}
	slices.SortFunc(page.Items, func(a, b api.Provider) int { return strings.Compare(a.Name, b.Name) })
	return page, nil
}

func (s *Server) registrations(ctx context.Context) (map[string]*vault.Registration, error) {
	all, err := s.Manage.Providers.Store.Registrations(ctx, s.Org)
	out := make(map[string]*vault.Registration, len(all))
	for _, r := range all {
		out[r.Provider] = r
	}
	return out, err
}

// providerView is a provider, with what the operator registered, or nil.
func (s *Server) providerView(p *vault.Provider, r *vault.Registration) api.Provider {
	hash := p.Spec.Hash()
	v := api.Provider{
		Name: p.ID, Title: p.Spec.Name, Spec: p.Spec.ID, ClientID: p.ClientID, HasSecret: !p.Secret.IsZero(),
		RedirectURI: s.Connect.RedirectURI(p.ID), Internal: p.Internal, Connectable: p.ClientID != "" && p.Spec.Auth.URL != "",
		Operations: len(p.Spec.Operations), SpecHash: hex.EncodeToString(hash[:]),
	}
	if r != nil {
		v.Spec, v.Base, v.UpdatedAt = r.Spec, baseView(r.Base), moment(r.UpdatedAt)
	}
	return v
}

func baseView(b provider.Base) *api.BaseURLs {
	v := api.BaseURLs{
		API: b.API, Web: b.Web, AuthorizeURL: b.AuthorizeURL, TokenURL: b.TokenURL, TokenAuth: b.TokenAuth, RevokeURL: b.RevokeURL,
		Issuer: b.Issuer, IdentityURL: b.Identity.URL, Style: string(b.Style),
	}
	if len(v.API) == 0 && v.Web == "" && v.AuthorizeURL == "" && v.TokenURL == "" && v.TokenAuth == "" && v.RevokeURL == "" &&
		v.Issuer == "" && v.IdentityURL == "" && v.Style == "" {
		return nil
	}
	return &v
}

// setProvider is PUT /v1/admin/providers/{id}. What is left out keeps its value.
func (s *Server) setProvider(ctx context.Context, p user.Principal, c *call, in api.ProviderRequest) (api.Provider, error) {
	clientSecret := secret.New(in.ClientSecret)
	if err := p.MayManage(); err != nil && !manage.Elsewhere(err) {
		return api.Provider{}, err
	}
	name := c.ref("id")
	if !providerName(name) {
		return api.Provider{}, invalid("bad_provider", "A provider's name has 1 to 40 of the characters a-z, 0-9, dash and underscore.")
	}
	registered, err := s.registrations(ctx)
	if err != nil {
		return api.Provider{}, err
	}
	set := vault.Registration{Provider: name, Spec: name}
	if have := registered[name]; have != nil {
		set = *have
	}
	if in.Spec != "" {
		set.Spec = in.Spec
	}
	if in.ClientID != "" {
		set.ClientID = in.ClientID
	}
	if in.Internal != nil {
		set.Internal = *in.Internal
	}
	if b := in.Base; b != nil {
		set.Base = provider.Base{
			API: b.API, Web: b.Web, AuthorizeURL: b.AuthorizeURL, TokenURL: b.TokenURL, TokenAuth: b.TokenAuth, RevokeURL: b.RevokeURL,
			Issuer: b.Issuer, Identity: provider.Identity{URL: b.IdentityURL, ID: b.IdentityID, Label: b.IdentityLabel}, Style: provider.Style(b.Style),
		}
	}
	if err := s.Manage.SetProvider(ctx, p, manage.Provider{Registration: set, Secret: clientSecret}, c.now); err != nil {
		return api.Provider{}, err
	}
	now, err := s.Manage.Providers.Find(ctx, name)
	if err != nil {
		return api.Provider{}, err
	}
	if registered, err = s.registrations(ctx); err != nil {
		return api.Provider{}, err
	}
	return s.providerView(now, registered[name]), nil
}

// providerName holds a name to what may stand in a path, in an event and in the
// AAD of its secret.
func providerName(name string) bool {
	if name == "" || len(name) > 40 {
		return false
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return true
}
