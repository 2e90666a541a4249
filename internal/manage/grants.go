package manage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// Grant is what a person gives an agent.
type Grant struct {
	Agent      string // id or name
	Connection string // id, name or provider
	Mode       grant.Mode
	Operations []string
	Resources  []string
	ExpiresAt  time.Time
}

// CreateGrant lets an agent use a connection. Only its owner may; handing out
// the token itself takes their passkey.
func (s *Service) CreateGrant(ctx context.Context, p user.Principal, want Grant, now time.Time) (*grant.Grant, error) {
	a, err := s.Agents.Find(ctx, want.Agent)
	if err != nil {
		return nil, err
	}
	c, err := s.Connection(ctx, p, want.Connection)
	if err != nil {
		return nil, err
	}
	place := p.MayActFor(c.User)
	if err := final(place); err != nil {
		return nil, err
	}
	if c.Status == vault.Revoked {
		return nil, vault.ErrRevoked
	}
	if want.Mode == "" {
		want.Mode = grant.Broker
	}
	g := &grant.Grant{
		Org: s.Org, ID: id.NewGrant(), Agent: a.ID, Connection: c.ID, User: c.User, Mode: want.Mode, Operations: want.Operations,
		Resources: want.Resources, ExpiresAt: want.ExpiresAt, CreatedAt: now, CreatedBy: p.Actor(), Version: 1,
	}
	if err := g.Validate(now); err != nil {
		return nil, err
	}
	prov, err := s.Providers.Find(ctx, c.Provider)
	if err != nil {
		return nil, err
	}
	if err := known(prov, g.Operations); err != nil {
		return nil, err
	}
	if err := named(prov, g.Resources); err != nil {
		return nil, err
	}
	if place != nil {
		return nil, place
	}
	if g.Mode == grant.Vend {
		if err := p.Fresh(now); err != nil {
			return nil, err
		}
	}
	data := map[string]string{
		"agent": string(a.ID), "connection": string(c.ID), "mode": string(g.Mode),
		"operations": clip(strings.Join(g.Operations, " ")), "resources": clip(strings.Join(g.Resources, " ")),
	}
	return g, s.Grants.CreateGrant(ctx, g, []audit.Event{p.Event("grant.created", string(g.ID), c.User, now, data)})
}

// known refuses operations that the provider does not have: a misspelt grant
// would look given and do nothing.
func known(prov *vault.Provider, patterns []string) error {
	names := append(prov.Spec.Names(), prov.Spec.RawRead(), prov.Spec.RawWrite())
	for _, p := range patterns {
		prefix, wild := strings.CutSuffix(p, "*")
		fits := false
		for _, n := range names {
			fits = fits || n == p || wild && strings.HasPrefix(n, prefix)
		}
		if !fits {
			return fault.New(fault.Invalid, "unknown_operation", fmt.Sprintf("%s has no operation %.80q; 'valetkey connection operations %s' lists them.", prov.Spec.Name, p, prov.ID))
		}
	}
	return nil
}

// named refuses resources that are not written as the provider's are: they
// would cover nothing. The first kind that the provider has goes without its
// name; another kind is named, so that "octo" is not an organization to one
// reader and all of its repositories to the next.
func named(prov *vault.Provider, patterns []string) error {
	forms := prov.Spec.Forms()
	if len(patterns) > 0 && len(forms) == 0 {
		return fault.New(fault.Invalid, "bad_resource", fmt.Sprintf("Nothing is known about the resources of %s, so a grant cannot be held to any; leave them out.", prov.Spec.Name))
	}
	for _, p := range patterns {
		fits := p == "*" || forms[0].Fits(p)
		for _, f := range forms {
			if name, typed := strings.CutPrefix(p, f.Type+":"); typed {
				fits = f.Fits(name)
			}
		}
		if !fits {
			return fault.New(fault.Invalid, "bad_resource", fmt.Sprintf("%s has no resource %.80q: %s.", prov.Spec.Name, p, written(forms)))
		}
	}
	return nil
}

// written says how the resources of a provider are written.
func written(forms []provider.Resource) string {
	var said []string
	for i, f := range forms {
		form, all := f.Form(), ""
		if i > 0 {
			form = f.Type + ":" + form
		}
		if at := strings.LastIndex(form, "/"); at > 0 {
			all = fmt.Sprintf(", or %s for each", form[:at]+"/*")
		}
		said = append(said, fmt.Sprintf("one %s is %s%s", f.Type, form, all))
	}
	return strings.Join(said, "; ")
}

func clip(s string) string { return s[:min(len(s), 1900)] }

// ListGrants lists the grants that p may look at, newest first.
func (s *Service) ListGrants(ctx context.Context, p user.Principal) ([]*grant.Grant, error) {
	all, err := s.Grants.Grants(ctx, s.Org)
	return visible(p, all, func(g *grant.Grant) id.User { return g.User }), err
}

// PageGrants lists a page of those that fit, the latest made first.
func (s *Service) PageGrants(ctx context.Context, p user.Principal, which grant.Listing) ([]*grant.Grant, error) {
	of, err := lister(p)
	if err != nil {
		return nil, err
	}
	if of != "" {
		which.User = of
	}
	return s.Grants.Page(ctx, s.Org, which)
}

// RevokeGrant ends a grant. Its owner may, and those who manage the org.
func (s *Service) RevokeGrant(ctx context.Context, p user.Principal, ref id.Grant, now time.Time) error {
	g, err := s.Grants.Grant(ctx, s.Org, ref)
	if err != nil {
		return err
	}
	if err := mayOwn(p, g.User); err != nil {
		return err
	}
	return s.Grants.UpdateGrant(ctx, s.Org, ref, func(g *grant.Grant) ([]audit.Event, error) {
		if !g.RevokedAt.IsZero() {
			return nil, fault.New(fault.Conflict, "grant_revoked", "This grant was revoked already.")
		}
		g.RevokedAt = now
		return []audit.Event{p.Event("grant.revoked", string(ref), g.User, now, map[string]string{"agent": string(g.Agent), "connection": string(g.Connection)})}, nil
	})
}
