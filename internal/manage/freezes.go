package manage

import (
	"context"
	"errors"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

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
