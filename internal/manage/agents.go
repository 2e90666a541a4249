package manage

import (
	"context"
	"net/netip"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// RegisterAgent registers an agent for r.Owner, who is p if empty.
func (s *Service) RegisterAgent(ctx context.Context, p user.Principal, r agent.Registration, now time.Time) (*agent.Agent, *agent.Key, error) {
	if r.Owner == "" {
		r.Owner = p.User
	}
	place := mayOwn(p, r.Owner)
	if err := final(place); err != nil {
		return nil, nil, err
	}
	if _, err := s.Users.User(ctx, s.Org, r.Owner); err != nil {
		return nil, nil, fault.New(fault.Invalid, "bad_owner", "Say who owns the agent: --owner NAME.")
	}
	if r.Profile == agent.Compat2025 {
		if err := p.MayManage(); final(err) != nil {
			return nil, nil, err
		} else if place == nil {
			place = err
		}
	}
	if place != nil {
		if err := s.Agents.Vet(ctx, r, now); err != nil {
			return nil, nil, err
		}
		return nil, nil, place
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
