package httpapi

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// usableConnections is GET /v1/connections for an agent: what it has a live
// grant for.
func (s *Server) usableConnections(ctx context.Context, who agent.Caller, c *call, _ none) (api.Page[api.Connection], error) {
	page := list[api.Connection](nil)
	usable, err := s.Broker.Connections(ctx, who, c.now)
	if err != nil {
		return page, err
	}
	providers, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return page, err
	}
	for _, u := range usable {
		v := s.connectionView(u.Connection, providers[u.Connection.Provider])
		for _, g := range u.Grants {
			v.Grants = append(v.Grants, grantView(g))
		}
		page.Items = append(page.Items, v)
	}
	return page, nil
}

// ownConnections is GET /v1/connections for a person: their own, whoever they
// are.
func (s *Server) ownConnections(ctx context.Context, p user.Principal, _ *call, _ none) (api.Page[api.Connection], error) {
	all, err := s.Manage.ListConnections(ctx, p)
	if err != nil {
		return list[api.Connection](nil), err
	}
	return s.connectionPage(ctx, slices.DeleteFunc(all, func(c *vault.Connection) bool { return c.User != p.User }))
}

func (s *Server) connectionPage(ctx context.Context, all []*vault.Connection) (api.Page[api.Connection], error) {
	page := list[api.Connection](nil)
	providers, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return page, err
	}
	names := s.directory(ctx)
	for _, con := range all {
		page.Items = append(page.Items, names.connection(s.connectionView(con, providers[con.Provider])))
	}
	return page, nil
}

// usableOperations is GET /v1/operations for an agent: those of the providers
// that it has a grant for.
func (s *Server) usableOperations(ctx context.Context, who agent.Caller, c *call, _ none) (api.Page[api.Operation], error) {
	usable, err := s.Broker.Connections(ctx, who, c.now)
	if err != nil {
		return list[api.Operation](nil), err
	}
	var cons []*vault.Connection
	for _, u := range usable {
		cons = append(cons, u.Connection)
	}
	names, err := c.chosen(cons, nil, grant.ErrNone)
	if err != nil {
		return list[api.Operation](nil), err
	}
	return s.operationPage(ctx, names)
}

// allOperations is GET /v1/operations for a person: the whole catalogue.
func (s *Server) allOperations(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Operation], error) {
	cons, err := s.Manage.ListConnections(ctx, p)
	if err != nil {
		return list[api.Operation](nil), err
	}
	providers, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return list[api.Operation](nil), err
	}
	names, err := c.chosen(cons, providers, vault.ErrUnknown)
	if err != nil {
		return list[api.Operation](nil), err
	}
	return s.operationPage(ctx, names)
}

// chosen lists the providers that ?provider= and ?connection= choose among those
// of cons and of besides. An unknown connection is the refusal unknown.
func (c *call) chosen(cons []*vault.Connection, besides map[string]*vault.Provider, unknown error) ([]string, error) {
	names := map[string]bool{}
	for name := range besides {
		names[name] = true
	}
	for _, con := range cons {
		names[con.Provider] = true
	}
	if ref := c.query.Get("connection"); c.query.Has("connection") {
		clear(names)
		for _, con := range cons {
			if string(con.ID) == ref || con.Status != vault.Revoked && (con.Name == ref || con.Provider == ref) {
				names[con.Provider] = true
			}
		}
		if len(names) == 0 {
			return nil, unknown
		}
	}
	if want := c.query.Get("provider"); c.query.Has("provider") {
		if !names[want] {
			return nil, vault.ErrProvider
		}
		clear(names)
		names[want] = true
	}
	var out []string
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, nil
}

func (s *Server) operationPage(ctx context.Context, names []string) (api.Page[api.Operation], error) {
	page := list[api.Operation](nil)
	providers, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return page, err
	}
	for _, name := range names {
		if p := providers[name]; p != nil {
			for i := range p.Spec.Operations {
				page.Items = append(page.Items, operationView(name, &p.Spec.Operations[i]))
			}
		}
	}
	slices.SortStableFunc(page.Items, func(a, b api.Operation) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Name, b.Name))
	})
	return page, nil
}

func operationView(providerID string, o *provider.Operation) api.Operation {
	v := api.Operation{
		Name: o.Name, Provider: providerID, Title: o.Title, Summary: o.Summary, Risk: api.Risk(o.Risk.String()), Read: o.Read, Off: o.Off,
		Scopes: o.Scopes, Permissions: o.Permissions, Example: o.Example,
	}
	if len(o.Methods) > 0 {
		v.Method = o.Methods[0]
	}
	if len(o.Paths) > 0 {
		v.Path = o.Paths[0]
	}
	for _, p := range o.Parameters() {
		t := string(p.Type)
		if t == "" {
			t = string(provider.String)
		}
		v.Params = append(v.Params, api.Param{
			Name: p.Name, In: string(p.In), Type: t, Required: needed(o, &p), Nullable: p.Nullable, Enum: p.Enum, Pattern: p.Pattern, Doc: p.Doc,
		})
	}
	return v
}

// needed reports whether a request cannot be made without p: it says so, it
// tells the operation from others, or it stands in the path whichever of the
// operation's paths is taken.
func needed(o *provider.Operation, p *provider.Param) bool {
	if p.Required || p.Decides || p.In != provider.InPath {
		return p.Required || p.Decides
	}
	return !slices.ContainsFunc(o.Paths, func(path string) bool {
		return !strings.Contains(path, "{"+p.Name+"}") && !strings.Contains(path, "{"+p.Name+"+}")
	})
}
