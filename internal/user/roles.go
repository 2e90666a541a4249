package user

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// lastOwner reports whether u is the only active owner among all.
func lastOwner(u *User, all []*User) bool {
	if u.Role != Owner || u.Status != Active {
		return false
	}
	for _, o := range all {
		if o.ID != u.ID && o.Role == Owner && o.Status == Active {
			return false
		}
	}
	return true
}

// SetRole changes what a person may do here. That is an owner's to decide, with
// a touch of the passkey: an admin could otherwise lift a friend above the
// owners. There is always an owner who is active.
func (s *Service) SetRole(ctx context.Context, by Principal, who id.User, to Role, now time.Time) error {
	if !to.Valid() {
		return errBadRole
	}
	// Who may not learns nothing about who is here, and has nothing to confirm.
	if err := by.MayManage(); err != nil {
		return err
	}
	if !by.Operator && by.Role != Owner {
		return errOwnerOnly
	}
	if err := by.Fresh(now); err != nil {
		return err
	}
	return s.Store.UpdateAmong(ctx, s.Org, who, func(u *User, all []*User) ([]audit.Event, error) {
		switch {
		case u.Role == to:
			return nil, errNoChange
		case lastOwner(u, all):
			return nil, errLastOwner
		}
		was := u.Role
		u.Role = to
		return []audit.Event{by.Event("user.role_changed", string(u.ID), u.ID, now, map[string]string{"from": string(was), "to": string(to)})}, nil
	})
}

// Links lists the enrolment links that would let somebody in now, by person,
// for those who manage or audit.
func (s *Service) Links(ctx context.Context, p Principal, now time.Time) (map[id.User][]*Link, error) {
	if !p.Operator && !p.Role.Manages() && p.Role != Auditor {
		return nil, ErrNotOwner
	}
	all, err := s.Store.Passkeys().Links(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	out := map[id.User][]*Link{}
	for _, l := range all {
		if now.Before(l.ExpiresAt) {
			out[l.User] = append(out[l.User], l)
		}
	}
	return out, nil
}

// VoidLinks makes every enrolment link of a person worthless, and reports how
// many there were. It is the safe direction and needs no touch of the passkey.
func (s *Service) VoidLinks(ctx context.Context, by Principal, who id.User, now time.Time) (int, error) {
	if err := by.MayManage(); err != nil {
		return 0, err
	}
	if _, err := s.Store.User(ctx, s.Org, who); err != nil {
		return 0, err
	}
	return s.Store.Passkeys().VoidLinks(ctx, s.Org, who, now, []audit.Event{by.Event("user.links_voided", string(who), who, now, nil)})
}
