package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

var (
	_ user.Store        = (*Users)(nil)
	_ user.PasskeyStore = (*Passkeys)(nil)
	_ user.SessionStore = (*Sessions)(nil)
	_ user.DeviceStore  = (*Devices)(nil)

	_ user.CeremonyStore = (*Ceremonies)(nil)
	_ user.RecoveryStore = (*Recovery)(nil)
	_ user.GroupStore    = (*Groups)(nil)
)

// Users implements [user.Store].
type Users struct{ db *DB }

// Users returns the store of people.
func (db *DB) Users() *Users { return &Users{db} }

var users = newTable("users", "org id", true, func(u *user.User) []field {
	return []field{
		text("org", &u.Org), text("id", &u.ID), text("name", &u.Name), text("role", &u.Role), text("status", &u.Status),
		blob("handle", &u.Handle), moment("created_at", &u.CreatedAt), integer("version", &u.Version),
	}
})

var links = newTable("links", "hash", true, func(l *user.Link) []field {
	return []field{
		text("org", &l.Org), blob("hash", &l.Hash), text("user_id", &l.User), moment("created_at", &l.CreatedAt),
		moment("expires_at", &l.ExpiresAt), moment("used_at", &l.UsedAt), integer("version", &l.Version),
	}
})

var passkeys = newTable("passkeys", "org id", true, func(p *user.Passkey) []field {
	return []field{
		text("org", &p.Org), text("id", &p.ID), text("user_id", &p.User), blob("credential_id", &p.CredentialID), text("name", &p.Name),
		blob("credential", &p.Credential), moment("created_at", &p.CreatedAt), moment("used_at", &p.UsedAt), integer("version", &p.Version),
	}
})

var sessions = newTable("sessions", "org id", true, func(s *user.Session) []field {
	return []field{
		text("org", &s.Org), text("id", &s.ID), blob("hash", &s.Hash), text("user_id", &s.User), text("kind", &s.Kind), text("label", &s.Label),
		text("passkey", &s.PasskeyRef), moment("created_at", &s.CreatedAt), moment("auth_at", &s.AuthAt), moment("seen_at", &s.SeenAt),
		moment("expires_at", &s.ExpiresAt), moment("revoked_at", &s.RevokedAt), integer("version", &s.Version),
	}
})

var devices = newTable("devices", "hash", true, func(d *user.Device) []field {
	return []field{
		text("org", &d.Org), blob("hash", &d.Hash), text("user_code", &d.UserCode), text("label", &d.Label), text("source", &d.Source),
		text("status", &d.Status), text("user_id", &d.User), text("passkey", &d.Passkey), moment("created_at", &d.CreatedAt),
		moment("expires_at", &d.ExpiresAt), moment("polled_at", &d.PolledAt), integer("version", &d.Version),
	}
})

var ceremonies = newTable("ceremonies", "hash", true, func(c *user.Ceremony) []field {
	return []field{
		text("org", &c.Org), blob("hash", &c.Hash), text("kind", &c.Kind), text("user_id", &c.User), text("session", &c.Session),
		blob("link", &c.Link), blob("state", &c.State), moment("created_at", &c.CreatedAt), moment("expires_at", &c.ExpiresAt),
	}
})

// CreateUser stores a new person and, if given, their enrolment link.
func (s *Users) CreateUser(ctx context.Context, u *user.User, l *user.Link, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		if err := users.insert(tx, u); err != nil {
			return err
		}
		if l == nil {
			return nil
		}
		return links.insert(tx, l)
	})
}

// User returns one person.
func (s *Users) User(ctx context.Context, org id.Org, u id.User) (*user.User, error) {
	v, err := users.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(org), string(u))
	return v, named(err, user.ErrUnknown)
}

// Users returns everybody, by name.
func (s *Users) Users(ctx context.Context, org id.Org) ([]*user.User, error) {
	return users.many(ctx, s.db, s.db.reader, "where org = $1 order by name", string(org))
}

// UpdateUser changes one person.
func (s *Users) UpdateUser(ctx context.Context, org id.Org, u id.User, c user.Change[user.User]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		suspended := false
		var at time.Time
		err := modify(tx, users, func(v *user.User) ([]audit.Event, error) {
			was := v.Status
			events, err := c(v)
			if suspended = was == user.Active && v.Status != user.Active; suspended && len(events) > 0 {
				at = events[0].At
			}
			return events, err
		}, "where org = $1 and id = $2", string(org), string(u))
		if err != nil || !suspended {
			return named(err, user.ErrUnknown)
		}
		return tx.lockOut(org, u, at)
	})
}

// lockOut ends what a person may come back in with: a suspension that is
// lifted brings back no login, no terminal that waits for one, and no enrolment
// link.
func (tx *Tx) lockOut(org id.Org, u id.User, at time.Time) error {
	if err := tx.closeSessions(org, u, at, func(*user.Session) bool { return true }); err != nil {
		return err
	}
	if err := tx.denyDevices(org, u, func(*user.Device) bool { return true }); err != nil {
		return err
	}
	unused, err := links.many(tx.ctx, tx.db, tx, "where org = $1 and user_id = $2 and used_at = 0 order by created_at", string(org), string(u))
	if err != nil {
		return err
	}
	for _, l := range unused {
		l.UsedAt = at
		if err := links.update(tx, l); err != nil {
			return err
		}
	}
	return nil
}

// Passkeys, Sessions, Devices, Ceremonies and Recovery return the stores beside people.
func (s *Users) Passkeys() user.PasskeyStore    { return &Passkeys{s.db} }
func (s *Users) Sessions() user.SessionStore    { return &Sessions{s.db} }
func (s *Users) Devices() user.DeviceStore      { return &Devices{s.db} }
func (s *Users) Ceremonies() user.CeremonyStore { return &Ceremonies{s.db} }
func (s *Users) Recovery() user.RecoveryStore   { return &Recovery{s.db} }
func (s *Users) Groups() user.GroupStore        { return &Groups{s.db} }

// Passkeys implements [user.PasskeyStore].
type Passkeys struct{ db *DB }

// CreateLink stores an enrolment link.
func (s *Passkeys) CreateLink(ctx context.Context, l *user.Link, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		return links.insert(tx, l)
	})
}

// Link finds a link by its hash.
func (s *Passkeys) Link(ctx context.Context, hash []byte) (*user.Link, error) {
	l, err := links.one(ctx, s.db, s.db.reader, "where hash = $1", hash)
	return l, named(err, user.ErrLink)
}

// Enrol adds a passkey and uses the link up.
func (s *Passkeys) Enrol(ctx context.Context, p *user.Passkey, link []byte, now time.Time, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		if link != nil {
			l, err := links.one(ctx, s.db, tx, "where hash = $1", link)
			if err != nil {
				return named(err, user.ErrLink)
			}
			if !l.UsedAt.IsZero() || !now.Before(l.ExpiresAt) || l.User != p.User {
				return user.ErrLink
			}
			l.UsedAt = now
			if err := links.update(tx, l); err != nil {
				return err
			}
		}
		return passkeys.insert(tx, p)
	})
}

// ByCredential finds a passkey by the authenticator's id for it.
func (s *Passkeys) ByCredential(ctx context.Context, credentialID []byte) (*user.Passkey, error) {
	p, err := passkeys.one(ctx, s.db, s.db.reader, "where credential_id = $1", credentialID)
	if err != nil {
		return nil, named(err, user.ErrPasskey)
	}
	left, err := withoutRemoved(ctx, s.db, s.db.reader, []*user.Passkey{p}, " and p.credential_id = $1", credentialID)
	switch {
	case err != nil:
		return nil, err
	case len(left) == 0:
		return nil, user.ErrPasskey
	}
	return p, nil
}

// OfUser lists a person's passkeys, oldest first.
func (s *Passkeys) OfUser(ctx context.Context, org id.Org, u id.User) ([]*user.Passkey, error) {
	return passkeysOf(ctx, s.db, s.db.reader, org, u)
}

const passkeysOfQ = "where org = $1 and user_id = $2 order by created_at, id"

func passkeysOf(ctx context.Context, db *DB, q queries, org id.Org, u id.User) ([]*user.Passkey, error) {
	ps, err := passkeys.many(ctx, db, q, passkeysOfQ, string(org), string(u))
	if err != nil {
		return nil, err
	}
	return withoutRemoved(ctx, db, q, ps, " and p.org = $1 and p.user_id = $2", string(org), string(u))
}

// UpdatePasskey changes a passkey.
func (s *Passkeys) UpdatePasskey(ctx context.Context, org id.Org, p id.Passkey, c user.Change[user.Passkey]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		return named(modify(tx, passkeys, c, "where org = $1 and id = $2", string(org), string(p)), user.ErrPasskey)
	})
}

const deletePasskeyQ = `delete from passkeys where org = $1 and id = $2 and user_id = $3`

// RemovePasskey removes a passkey and ends what it let in.
func (s *Passkeys) RemovePasskey(ctx context.Context, org id.Org, u id.User, p id.Passkey, now time.Time, c func([]*user.Passkey) ([]audit.Event, error), ends func(*user.Session) bool) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		all := func() ([]*user.Passkey, error) { return passkeysOf(tx.ctx, tx.db, tx, org, u) }
		before, err := all()
		if err != nil {
			return err
		}
		events, err := c(before)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(tx.ctx, deletePasskeyQ, string(org), string(p), string(u))
		if err != nil {
			return fmt.Errorf("remove passkey %s: %w", p, err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return user.ErrPasskey.Because(err)
		}
		tx.Emit(events...)
		// It decided about all of them, which holds only if those that are left
		// are still there when no other replica can remove one.
		gone := slices.DeleteFunc(before, func(k *user.Passkey) bool { return k.ID != p })
		tx.confirm(func() error {
			left, err := all()
			if err != nil {
				return err
			}
			if _, err := c(append(gone[:1:1], left...)); err != nil {
				return fmt.Errorf("remove passkey %s: %w", p, errStale)
			}
			return nil
		})
		if err := tx.closeSessions(org, u, now, ends); err != nil {
			return err
		}
		return tx.denyDevices(org, u, func(d *user.Device) bool { return d.Passkey == p })
	})
}

// Any reports whether anybody has a passkey.
func (s *Passkeys) Any(ctx context.Context, org id.Org) (bool, error) {
	got, err := passkeys.many(ctx, s.db, s.db.reader, "where org = $1 limit 1", string(org))
	return len(got) > 0, err
}

// Sessions implements [user.SessionStore].
type Sessions struct{ db *DB }

// CreateSession stores a login.
func (s *Sessions) CreateSession(ctx context.Context, v *user.Session, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.stillIn(v.Org, v.User, v.PasskeyRef); err != nil {
			return err
		}
		tx.Emit(events...)
		return sessions.insert(tx, v)
	})
}

// ByHash finds a session and its person.
func (s *Sessions) ByHash(ctx context.Context, hash []byte) (*user.Session, *user.User, error) {
	v, err := sessions.one(ctx, s.db, s.db.reader, "where hash = $1", hash)
	if err != nil {
		return nil, nil, named(err, user.ErrLogin)
	}
	u, err := users.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(v.Org), string(v.User))
	if err != nil {
		return nil, nil, named(err, user.ErrLogin)
	}
	return v, u, nil
}

// OfUser lists a person's sessions that were not ended, newest first.
func (s *Sessions) OfUser(ctx context.Context, org id.Org, u id.User) ([]*user.Session, error) {
	return sessions.many(ctx, s.db, s.db.reader, "where org = $1 and user_id = $2 and revoked_at = 0 order by created_at desc, id desc", string(org), string(u))
}

// Touch moves SeenAt.
func (s *Sessions) Touch(ctx context.Context, org id.Org, v id.Session, now time.Time) error {
	return s.UpdateSession(ctx, org, v, func(s *user.Session) ([]audit.Event, error) {
		s.SeenAt = now
		return nil, nil
	})
}

// UpdateSession changes a session.
func (s *Sessions) UpdateSession(ctx context.Context, org id.Org, v id.Session, c user.Change[user.Session]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		return named(modify(tx, sessions, c, "where org = $1 and id = $2", string(org), string(v)), user.ErrSession)
	})
}

// Devices implements [user.DeviceStore].
type Devices struct{ db *DB }

// CreateDevice stores a device authorization.
func (s *Devices) CreateDevice(ctx context.Context, d *user.Device, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		return devices.insert(tx, d)
	})
}

// ByCode finds a device by the code that the person types.
func (s *Devices) ByCode(ctx context.Context, userCode string) (*user.Device, error) {
	d, err := devices.one(ctx, s.db, s.db.reader, "where user_code = $1", userCode)
	return d, named(err, user.ErrDevice)
}

// ByHash finds a device by the hash of its device code.
func (s *Devices) ByHash(ctx context.Context, hash []byte) (*user.Device, error) {
	d, err := devices.one(ctx, s.db, s.db.reader, "where hash = $1", hash)
	return d, named(err, user.ErrDevice)
}

// UpdateDevice changes a device.
func (s *Devices) UpdateDevice(ctx context.Context, hash []byte, c user.Change[user.Device]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		return named(modify(tx, devices, func(d *user.Device) ([]audit.Event, error) {
			was := d.Status
			events, err := c(d)
			if err == nil && d.Status == user.DeviceApproved && was != d.Status {
				err = tx.stillIn(d.Org, d.User, d.Passkey)
			}
			return events, err
		}, "where hash = $1", hash), user.ErrDevice)
	})
}

// Redeem changes a device and opens its session.
func (s *Devices) Redeem(ctx context.Context, hash []byte, c user.Change[user.Device], v *user.Session, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if err := modify(tx, devices, c, "where hash = $1", hash); err != nil {
			return named(err, user.ErrDevice)
		}
		if err := tx.stillIn(v.Org, v.User, v.PasskeyRef); err != nil {
			return err
		}
		tx.Emit(events...)
		return sessions.insert(tx, v)
	})
}

// Ceremonies implements [user.CeremonyStore].
type Ceremonies struct{ db *DB }

// Anybody may begin a ceremony, so each one that begins takes a few with it
// that have expired: the table never holds more than a few minutes' worth.
const (
	endCeremoniesQ = `delete from ceremonies where hash in (select hash from ceremonies where expires_at <= $1 order by expires_at limit 8)`
	takeCeremonyQ  = `delete from ceremonies where hash = $1`
)

// Begin stores a ceremony.
func (s *Ceremonies) Begin(ctx context.Context, c *user.Ceremony) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(tx.ctx, endCeremoniesQ, micros(c.CreatedAt)); err != nil {
			return fmt.Errorf("end ceremonies: %w", err)
		}
		return ceremonies.insert(tx, c)
	})
}

// Take removes a ceremony and returns it. It looks before it asks the writer:
// anybody may send a handle that never was.
func (s *Ceremonies) Take(ctx context.Context, hash []byte, now time.Time) (*user.Ceremony, error) {
	c, err := ceremonies.one(ctx, s.db, s.db.reader, "where hash = $1", hash)
	if err != nil {
		return nil, named(err, user.ErrCeremony)
	}
	err = s.db.write(ctx, func(tx *Tx) error {
		res, err := tx.ExecContext(tx.ctx, takeCeremonyQ, hash)
		if err != nil {
			return fmt.Errorf("take ceremony: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return user.ErrCeremony.Because(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !now.Before(c.ExpiresAt) {
		return nil, user.ErrCeremony
	}
	return c, nil
}

// modify reads a row on the writer, changes it, and writes it back with its
// events.
func modify[T any](tx *Tx, t *table[T], change func(*T) ([]audit.Event, error), where string, args ...any) error {
	v, err := t.one(tx.ctx, tx.db, tx, where, args...)
	if err != nil {
		return err
	}
	events, err := change(v)
	if err != nil {
		return err
	}
	tx.Emit(events...)
	return t.update(tx, v)
}

// named gives a missing row the noun's own error.
func named(err error, unknown *fault.Error) error {
	if errors.Is(err, errNotFound) {
		return unknown
	}
	return err
}
