package manage

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// SharePreviews says who, besides its owner, may look through a connection at
// what an action would change. It is the owner's alone to say: those who manage
// the org may end what is somebody else's, and not look into it.
func (s *Service) SharePreviews(ctx context.Context, p user.Principal, ref string, with vault.Sight, now time.Time) error {
	c, err := s.Connection(ctx, p, ref)
	if err != nil {
		return err
	}
	if p.User == "" || p.Operator || p.User != c.User || p.Role == user.Auditor {
		return user.ErrNotOwner
	}
	if err := p.MayChange(); err != nil {
		return err
	}
	if with != vault.OwnerLooks && with != vault.ApproversLook {
		return fault.New(fault.Invalid, "bad_sight", `Say "approvers", or nothing for the owner alone.`)
	}
	log := logger(p, c.User, now)
	return s.Conns.UpdateConnection(ctx, s.Org, c.ID, func(c *vault.Connection) ([]audit.Event, error) {
		switch {
		case c.Status == vault.Revoked:
			return nil, vault.ErrRevoked
		case c.Previews == with:
			return nil, nil
		}
		c.Previews = with
		shared := "owner"
		if with != vault.OwnerLooks {
			shared = string(with)
		}
		return []audit.Event{log("connection.previews_shared", string(c.ID), map[string]string{"with": shared})}, nil
	})
}
