// Package manage is what people change: agents and their keys, grants,
// connections that end, providers, and the freeze.
//
// It holds the rules of who may change what, so that the dashboard, the API
// and the command line, which all come here, hold none:
//
//   - An agent belongs to who registered it; its owner and those who manage
//     the org may change it. Only the latter relax its profile.
//   - A grant is given by the owner of the connection, by nobody else. To let
//     an agent hold the token itself takes a fresh touch of the passkey.
//   - Stopping is easy, starting again is not: whoever owns a thing may freeze
//     it, the operator may freeze anything; an owner with a fresh passkey lifts.
//   - The operator socket changes nothing else once a passkey exists, unless
//     the configuration says so.
package manage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// Service makes changes on behalf of people.
type Service struct {
	Org       id.Org
	Agents    *agent.Service
	Grants    grant.Store
	Conns     vault.Store
	Vault     *vault.Service
	Providers *vault.Providers
	Freezes   *freeze.Switch
	Users     user.Store
	// CheckURL judges a provider's address by the rules of the way out.
	CheckURL func(*url.URL) error
	// Seen says when agents last did something: the one named, or all.
	Seen func(ctx context.Context, org id.Org, which id.Agent) (map[id.Agent]time.Time, error)
}

// logger starts p's audit events about subject's things.
func logger(p user.Principal, subject id.User, now time.Time) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return p.Event(verb, object, subject, now, data)
	}
}

// mayOwn says whether p may change what belongs to owner: p is the owner, or
// manages the org.
func mayOwn(p user.Principal, owner id.User) error {
	if !p.Operator && !p.Role.Manages() && (p.User != owner || p.Role == user.Auditor) {
		return user.ErrNotOwner
	}
	return p.MayChange()
}

// RegisterAgent registers an agent for r.Owner, who is p if empty.
func (s *Service) RegisterAgent(ctx context.Context, p user.Principal, r agent.Registration, now time.Time) (*agent.Agent, *agent.Key, error) {
	if r.Owner == "" {
		r.Owner = p.User
	}
	if err := mayOwn(p, r.Owner); err != nil {
		return nil, nil, err
	}
	if _, err := s.Users.User(ctx, s.Org, r.Owner); err != nil {
		return nil, nil, fault.New(fault.Invalid, "bad_owner", "Say who owns the agent: --owner NAME.")
	}
	if r.Profile == agent.Compat2025 {
		if err := p.MayManage(); err != nil {
			return nil, nil, err
		}
	}
	return s.Agents.Register(ctx, r, now, logger(p, r.Owner, now))
}

// touched asks for a fresh touch of the passkey for what gives an agent more:
// a stolen or unattended session is not enough. Where the configuration trusts
// command lines they cannot be asked for one.
func touched(p user.Principal, now time.Time) error {
	if p.Kind == user.CLI && p.Confirm {
		return nil
	}
	return p.Fresh(now)
}

// owned finds an agent that p may change.
func (s *Service) owned(ctx context.Context, p user.Principal, ref string) (*agent.Agent, error) {
	a, err := s.Agents.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := mayOwn(p, a.Owner); err != nil {
		if fault.From(err) == fault.From(user.ErrNotOwner) {
			return nil, agent.ErrUnknown // somebody else's looks like a missing one
		}
		return nil, err
	}
	return a, nil
}

// Agent finds an agent that p may look at.
func (s *Service) Agent(ctx context.Context, p user.Principal, ref string) (*agent.Agent, []*agent.Key, error) {
	a, err := s.Agents.Find(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	if !seesAll(p) && a.Owner != p.User {
		return nil, nil, agent.ErrUnknown
	}
	if err := s.see(ctx, a.ID, a); err != nil {
		return nil, nil, err
	}
	keys, err := s.Agents.Store.Keys().OfAgent(ctx, s.Org, a.ID)
	return a, keys, err
}

// ListAgents lists the agents that p may look at.
func (s *Service) ListAgents(ctx context.Context, p user.Principal) ([]*agent.Agent, error) {
	all, err := s.Agents.Store.Agents(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	all = visible(p, all, func(a *agent.Agent) id.User { return a.Owner })
	return all, s.see(ctx, "", all...)
}

// see fills in when agents were last seen, which the log knows and their rows
// do not.
func (s *Service) see(ctx context.Context, which id.Agent, all ...*agent.Agent) error {
	seen, err := s.Seen(ctx, s.Org, which)
	for _, a := range all {
		a.SeenAt = seen[a.ID]
	}
	return err
}

// seesAll says whether p may look at everybody's things: not at what is in
// requests, but at what exists.
func seesAll(p user.Principal) bool { return p.Operator || p.Role.Manages() || p.Role == user.Auditor }

func visible[T any](p user.Principal, all []T, owner func(T) id.User) []T {
	if seesAll(p) {
		return all
	}
	var out []T
	for _, x := range all {
		if p.User != "" && owner(x) == p.User {
			out = append(out, x)
		}
	}
	return out
}

// AddKey gives an agent another public key.
func (s *Service) AddKey(ctx context.Context, p user.Principal, ref string, key []byte, alg string, now time.Time) (*agent.Key, error) {
	a, err := s.owned(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	if err := touched(p, now); err != nil {
		return nil, err // whoever holds a session could add a key of theirs
	}
	return s.Agents.AddKey(ctx, a, key, alg, now, logger(p, a.Owner, now))
}

// RevokeKey ends a key of an agent and every token that it earned.
func (s *Service) RevokeKey(ctx context.Context, p user.Principal, ref string, key id.Key, now time.Time) error {
	a, err := s.owned(ctx, p, ref)
	if err != nil {
		return err
	}
	return s.Agents.RevokeKey(ctx, a, key, now, logger(p, a.Owner, now))
}

// SuspendAgent stops an agent; ResumeAgent lets it go on.
func (s *Service) SuspendAgent(ctx context.Context, p user.Principal, ref string, now time.Time) error {
	return s.setStatus(ctx, p, ref, agent.Suspended, now)
}

// ResumeAgent ends a suspension.
func (s *Service) ResumeAgent(ctx context.Context, p user.Principal, ref string, now time.Time) error {
	if _, err := s.owned(ctx, p, ref); err != nil {
		return err
	}
	if err := touched(p, now); err != nil {
		return err
	}
	return s.setStatus(ctx, p, ref, agent.Active, now)
}

func (s *Service) setStatus(ctx context.Context, p user.Principal, ref string, to agent.Status, now time.Time) error {
	a, err := s.owned(ctx, p, ref)
	if err != nil {
		return err
	}
	return s.Agents.SetStatus(ctx, a.ID, to, logger(p, a.Owner, now))
}

// AllowSources lets an agent call from more networks.
func (s *Service) AllowSources(ctx context.Context, p user.Principal, ref string, from []netip.Prefix, now time.Time) error {
	a, err := s.owned(ctx, p, ref)
	if err != nil {
		return err
	}
	if len(from) == 0 {
		return fault.New(fault.Invalid, "bad_source", "Name at least one network, such as 203.0.113.7/32.")
	}
	if err := touched(p, now); err != nil {
		return err
	}
	return s.Agents.Allow(ctx, a.ID, from, logger(p, a.Owner, now))
}

// SetProfile changes the rules that an agent's subject tokens are judged by.
// To weaken them is for those who manage the org.
func (s *Service) SetProfile(ctx context.Context, p user.Principal, ref string, to agent.Profile, now time.Time) error {
	a, err := s.owned(ctx, p, ref)
	if err != nil {
		return err
	}
	if to != agent.Strict {
		if err := p.MayManage(); err != nil {
			return err
		}
	}
	return s.Agents.SetProfile(ctx, a.ID, to, logger(p, a.Owner, now))
}

// Connection finds a connection that p may look at.
func (s *Service) Connection(ctx context.Context, p user.Principal, ref string) (*vault.Connection, error) {
	if id.Valid("con", ref) {
		c, err := s.Conns.Connection(ctx, s.Org, id.Connection(ref))
		if err == nil && !seesAll(p) && c.User != p.User {
			err = vault.ErrUnknown
		}
		return c, err
	}
	all, err := s.ListConnections(ctx, p)
	if err != nil {
		return nil, err
	}
	var hits []*vault.Connection
	for _, c := range all {
		if c.Status != vault.Revoked && (c.Name == ref || c.Provider == ref) {
			hits = append(hits, c)
		}
	}
	// Who sees everybody's things still means their own by a short name.
	if own := slices.DeleteFunc(slices.Clone(hits), func(c *vault.Connection) bool { return c.User != p.User }); len(own) > 0 {
		hits = own
	}
	switch len(hits) {
	case 0:
		return nil, vault.ErrUnknown
	case 1:
		return hits[0], nil
	}
	var names []string
	for _, h := range hits {
		names = append(names, fmt.Sprintf("%s (%s)", h.Name, h.ID))
	}
	return nil, fault.New(fault.Conflict, "ambiguous_connection", "Several connections fit; name one of: "+strings.Join(names, ", ")+".")
}

// ListConnections lists the connections that p may look at, newest first.
func (s *Service) ListConnections(ctx context.Context, p user.Principal) ([]*vault.Connection, error) {
	all, err := s.Conns.Connections(ctx, s.Org)
	return visible(p, all, func(c *vault.Connection) id.User { return c.User }), err
}

// PageConnections lists a page of them, the latest made first.
func (s *Service) PageConnections(ctx context.Context, p user.Principal, before id.Connection, limit int) ([]*vault.Connection, error) {
	of, err := lister(p)
	if err != nil {
		return nil, err
	}
	return s.Conns.Page(ctx, s.Org, of, before, limit)
}

// lister is whose things p may list: "" is everybody's.
func lister(p user.Principal) (id.User, error) {
	if seesAll(p) {
		return "", nil
	}
	if p.User == "" {
		return "", user.ErrLogin // "" would be everybody
	}
	return p.User, nil
}

// Disconnect ends a connection, here and as far as possible at its provider.
func (s *Service) Disconnect(ctx context.Context, p user.Principal, ref string, now time.Time) (vault.Report, error) {
	c, err := s.Connection(ctx, p, ref)
	if err != nil {
		return vault.Report{}, err
	}
	if err := mayOwn(p, c.User); err != nil {
		return vault.Report{}, err
	}
	return s.Vault.Disconnect(ctx, c.ID, now, logger(p, c.User, now))
}

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
	if err := p.MayActFor(c.User); err != nil {
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

// Provider is what an operator says about a provider.
type Provider struct {
	vault.Registration
	Secret secret.Text
}

// SetProvider registers our client at a provider. Its addresses say where
// everybody's tokens are sent, so it takes a fresh touch of the passkey.
func (s *Service) SetProvider(ctx context.Context, p user.Principal, set Provider, now time.Time) error {
	if err := p.MayManage(); err != nil {
		return err
	}
	if err := p.Fresh(now); err != nil {
		return err
	}
	return s.Providers.Set(ctx, set.Registration, set.Secret, s.CheckURL, now, logger(p, "", now))
}

// Freeze stops an agent, a connection, a person or everything, at once. Of what
// is frozen already it returns the freeze in force.
func (s *Service) Freeze(ctx context.Context, p user.Principal, kind freeze.Kind, target, reason string, now time.Time) (freeze.Freeze, error) {
	if p.User == "" && !p.Operator {
		return freeze.Freeze{}, user.ErrLogin
	}
	if len(reason) > 500 {
		return freeze.Freeze{}, fault.New(fault.Invalid, "bad_freeze", "The reason may have at most 500 bytes.")
	}
	owner, target, err := s.target(ctx, p, kind, target)
	if err != nil {
		return freeze.Freeze{}, err
	}
	if !p.Operator && !p.Role.Manages() && (owner == "" || owner != p.User) {
		return freeze.Freeze{}, user.ErrNotOwner
	}
	return s.Freezes.Throw(ctx, s.Org, kind, target, reason, p.Actor(), now)
}

// target finds what is to be frozen and whose it is.
func (s *Service) target(ctx context.Context, p user.Principal, kind freeze.Kind, ref string) (owner id.User, target string, err error) {
	switch kind {
	case freeze.Agent:
		a, _, err := s.Agent(ctx, p, ref)
		if err != nil {
			return "", "", err
		}
		return a.Owner, string(a.ID), nil
	case freeze.Connection:
		c, err := s.Connection(ctx, p, ref)
		if err != nil {
			return "", "", err
		}
		return c.User, string(c.ID), nil
	case freeze.User:
		all, err := s.Users.Users(ctx, s.Org)
		if err != nil {
			return "", "", err
		}
		for _, u := range all {
			if string(u.ID) == ref || u.Name == ref {
				return u.ID, string(u.ID), nil
			}
		}
		return "", "", user.ErrUnknown
	case freeze.All:
		return "", "", nil
	}
	return "", "", fault.New(fault.Invalid, "bad_freeze", "Freeze an agent, a connection, a user, or all.")
}

// mayLift says who lifts a freeze: an owner, with a passkey just touched.
func mayLift(p user.Principal, now time.Time) error {
	if !p.Operator && p.Role != user.Owner {
		return user.ErrNotOwner
	}
	return p.Fresh(now)
}

// Unfreeze lifts a freeze.
func (s *Service) Unfreeze(ctx context.Context, p user.Principal, f id.Freeze, now time.Time) error {
	if err := mayLift(p, now); err != nil {
		return err
	}
	return s.Freezes.Lift(ctx, s.Org, f, p.Actor(), now)
}

// UnfreezeTarget lifts the freeze of an agent, a connection, a person or
// everything, named as for [Service.Freeze], and returns it as it was. Freezes
// of other things that stop the same calls stay.
func (s *Service) UnfreezeTarget(ctx context.Context, p user.Principal, kind freeze.Kind, target string, now time.Time) (freeze.Freeze, error) {
	if err := mayLift(p, now); err != nil {
		return freeze.Freeze{}, err
	}
	_, target, err := s.target(ctx, p, kind, target)
	if err != nil {
		return freeze.Freeze{}, err
	}
	// Another replica may have thrown it a moment ago.
	if err := s.Freezes.Refresh(ctx, s.Org); err != nil {
		return freeze.Freeze{}, err
	}
	var lifted freeze.Freeze
	for _, f := range s.Freezes.Active() {
		if f.Org != s.Org || f.Kind != kind || f.Target != target {
			continue
		}
		// One that the database could not take when it was thrown may stand beside
		// another: lifting either ends both.
		if err := s.Freezes.Lift(ctx, s.Org, f.ID, p.Actor(), now); err != nil && !errors.Is(err, freeze.ErrLifted) {
			return freeze.Freeze{}, err
		}
		lifted = f
	}
	if lifted.ID == "" {
		return freeze.Freeze{}, freeze.ErrThawed
	}
	return lifted, nil
}
