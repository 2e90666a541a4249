package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// A person who is suspended, and a passkey that is removed, take along what
// they let in: sessions, and terminals that are approved and did not come for
// theirs yet. What is on its way in at that moment finds out by stillIn, or,
// where another replica was faster, is found when that is confirmed.

// These are in the order of the indexes by person: in any other, SQLite would
// rather read everybody's than sort these few, on the one connection that
// writes.
const (
	openSessionsQ    = "where org = $1 and user_id = $2 and revoked_at = 0 order by created_at"
	approvedDevicesQ = "where org = $1 and user_id = $2 and status = 'approved' order by created_at"
)

// closeSessions ends those of a person's sessions that ends says.
func (tx *Tx) closeSessions(org id.Org, u id.User, at time.Time, ends func(*user.Session) bool) error {
	open, err := sessions.many(tx.ctx, tx.db, tx, openSessionsQ, string(org), string(u))
	if err != nil {
		return err
	}
	for _, s := range open {
		if !ends(s) {
			continue
		}
		s.RevokedAt = at
		if err := sessions.update(tx, s); err != nil {
			return err
		}
	}
	tx.confirm(func() error {
		open, err := sessions.many(tx.ctx, tx.db, tx, openSessionsQ, string(org), string(u))
		if err == nil && slices.ContainsFunc(open, ends) {
			err = fmt.Errorf("a session of %s was opened meanwhile: %w", u, errStale)
		}
		return err
	})
	return nil
}

// denyDevices denies those of the terminals that a person approved that which
// says.
func (tx *Tx) denyDevices(org id.Org, u id.User, which func(*user.Device) bool) error {
	approved, err := devices.many(tx.ctx, tx.db, tx, approvedDevicesQ, string(org), string(u))
	if err != nil {
		return err
	}
	for _, d := range approved {
		if !which(d) {
			continue
		}
		d.Status = user.DeviceDenied
		if err := devices.update(tx, d); err != nil {
			return err
		}
	}
	tx.confirm(func() error {
		approved, err := devices.many(tx.ctx, tx.db, tx, approvedDevicesQ, string(org), string(u))
		if err == nil && slices.ContainsFunc(approved, which) {
			err = fmt.Errorf("a terminal of %s was approved meanwhile: %w", u, errStale)
		}
		return err
	})
	return nil
}

// stillIn fails when a person was suspended, or the passkey p of theirs removed,
// since it was last looked at. p is "" where none opened the way; of a session
// that an identity opened it is the identity's id, and that is unlinked.
func (tx *Tx) stillIn(org id.Org, u id.User, p id.Passkey) error {
	check := func() error {
		who, err := users.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2", string(org), string(u))
		if err != nil {
			return named(err, user.ErrUnknown)
		}
		if who.Status == user.Suspended {
			return user.ErrSuspended
		}
		if p == "" {
			return nil
		}
		if id.Valid("idn", string(p)) {
			_, err = identities.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2 and user_id = $3", string(org), string(p), string(u))
			return named(err, user.ErrIdentity)
		}
		_, err = passkeys.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2 and user_id = $3", string(org), string(p), string(u))
		return named(err, user.ErrPasskey)
	}
	if err := check(); err != nil {
		return err
	}
	tx.confirm(func() error {
		if err := check(); err != nil {
			return errors.Join(errStale, fmt.Errorf("let %s in: %w", u, err))
		}
		return nil
	})
	return nil
}
