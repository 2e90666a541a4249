package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

var recoveryCodes = newTable("recovery_codes", "hash", true, func(c *user.RecoveryCode) []field {
	return []field{
		text("org", &c.Org), blob("hash", &c.Hash), text("user_id", &c.User), moment("created_at", &c.CreatedAt),
		moment("used_at", &c.UsedAt), integer("version", &c.Version),
	}
})

var identities = newTable("identities", "org id", true, func(v *user.Identity) []field {
	return []field{
		text("org", &v.Org), text("id", &v.ID), text("issuer", &v.Issuer), text("subject", &v.Subject), text("user_id", &v.User),
		text("label", &v.Label), flag("first", &v.First), moment("created_at", &v.CreatedAt), moment("used_at", &v.UsedAt), integer("version", &v.Version),
	}
})

// issuerKey says that an issuer was seen to sign with a key.
type issuerKey struct {
	Org        id.Org
	Issuer     string
	Thumbprint string
	SeenAt     time.Time
}

var issuerKeys = newTable("issuer_keys", "org issuer thumbprint", true, func(k *issuerKey) []field {
	return []field{text("org", &k.Org), text("issuer", &k.Issuer), text("thumbprint", &k.Thumbprint), moment("seen_at", &k.SeenAt)}
})

// UpdateAmong changes one person, who is judged among all.
func (s *Users) UpdateAmong(ctx context.Context, org id.Org, u id.User, c func(*user.User, []*user.User) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		all := func() ([]*user.User, error) {
			return users.many(tx.ctx, tx.db, tx, "where org = $1 order by name", string(org))
		}
		now, err := all()
		if err != nil {
			return err
		}
		var v *user.User
		for _, o := range now {
			if o.ID == u {
				v = o
			}
		}
		if v == nil {
			return user.ErrUnknown
		}
		before := *v
		events, err := c(v, now)
		if err != nil {
			return err
		}
		tx.Emit(events...)
		if err := users.update(tx, v); err != nil {
			return err
		}
		// It decided about all of them, which holds only if that is how they are
		// when no other replica can change one.
		tx.confirm(func() error {
			others, err := all()
			if err != nil {
				return err
			}
			was := before
			for i, o := range others {
				if o.ID == u {
					others[i] = &was
				}
			}
			if _, err := c(&was, others); err != nil {
				return fmt.Errorf("change person %s: %w", u, errStale)
			}
			return nil
		})
		if before.Status != user.Active || v.Status == user.Active || len(events) == 0 {
			return nil
		}
		return tx.lockOut(org, u, events[0].At)
	})
}

// Links lists the enrolment links that were not used, oldest first.
func (s *Passkeys) Links(ctx context.Context, org id.Org) ([]*user.Link, error) {
	return links.many(ctx, s.db, s.db.reader, "where org = $1 and used_at = 0 order by created_at, hash", string(org))
}

// VoidLinks uses up every enrolment link of a person.
func (s *Passkeys) VoidLinks(ctx context.Context, org id.Org, u id.User, now time.Time, events []audit.Event) (int, error) {
	n := 0
	err := s.db.write(ctx, func(tx *Tx) error {
		unused, err := links.many(tx.ctx, tx.db, tx, "where org = $1 and user_id = $2 and used_at = 0 and expires_at > $3 order by created_at", string(org), string(u), micros(now))
		if n = len(unused); err != nil || n == 0 {
			return err
		}
		tx.Emit(events...)
		for _, l := range unused {
			l.UsedAt = now
			if err := links.update(tx, l); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// EndOthers ends every session of a person but one.
func (s *Sessions) EndOthers(ctx context.Context, org id.Org, u id.User, keep id.Session, now time.Time, event func(*user.Session) audit.Event) (int, error) {
	n := 0
	err := s.db.write(ctx, func(tx *Tx) error {
		n = 0
		open, err := sessions.many(tx.ctx, tx.db, tx, "where org = $1 and user_id = $2 and revoked_at = 0 order by id", string(org), string(u))
		if err != nil {
			return err
		}
		for _, v := range open {
			if v.ID == keep {
				continue
			}
			if v.Live(now) {
				n++
				tx.Emit(event(v))
			}
			v.RevokedAt = now
			if err := sessions.update(tx, v); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Recovery implements [user.RecoveryStore].
type Recovery struct{ db *DB }

const deleteCodesQ = `delete from recovery_codes where org = $1 and user_id = $2`

// Replace removes a person's codes and stores others.
func (s *Recovery) Replace(ctx context.Context, org id.Org, u id.User, codes []*user.RecoveryCode, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		if _, err := tx.ExecContext(tx.ctx, deleteCodesQ, string(org), string(u)); err != nil {
			return fmt.Errorf("remove recovery codes: %w", err)
		}
		for _, c := range codes {
			if err := recoveryCodes.insert(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// OfUser lists a person's codes.
func (s *Recovery) OfUser(ctx context.Context, org id.Org, u id.User) ([]*user.RecoveryCode, error) {
	return recoveryCodes.many(ctx, s.db, s.db.reader, "where org = $1 and user_id = $2 order by hash", string(org), string(u))
}

// Redeem uses a code up for the link that it earns. It looks before it asks the
// writer: anybody may send a code that never was.
func (s *Recovery) Redeem(ctx context.Context, hash []byte, now time.Time, link func(*user.RecoveryCode) (*user.Link, []audit.Event, error)) error {
	if _, err := recoveryCodes.one(ctx, s.db, s.db.reader, "where hash = $1 and used_at = 0", hash); err != nil {
		return named(err, user.ErrCode)
	}
	return s.db.write(ctx, func(tx *Tx) error {
		c, err := recoveryCodes.one(tx.ctx, tx.db, tx, "where hash = $1", hash)
		if err != nil {
			return named(err, user.ErrCode)
		}
		if !c.UsedAt.IsZero() {
			return user.ErrCode
		}
		l, events, err := link(c)
		if err != nil {
			return err
		}
		c.UsedAt = now
		if err := recoveryCodes.update(tx, c); err != nil {
			return err
		}
		tx.Emit(events...)
		return links.insert(tx, l)
	})
}

// Identities lists a person's identities, oldest first.
func (s *Passkeys) Identities(ctx context.Context, org id.Org, u id.User) ([]*user.Identity, error) {
	return identities.many(ctx, s.db, s.db.reader, "where org = $1 and user_id = $2 order by created_at, id", string(org), string(u))
}

// Identity finds whose a subject is.
func (s *Passkeys) Identity(ctx context.Context, org id.Org, issuer, subject string) (*user.Identity, error) {
	v, err := identities.one(ctx, s.db, s.db.reader, "where org = $1 and issuer = $2 and subject = $3", string(org), issuer, subject)
	return v, named(err, user.ErrIdentity)
}

// LinkIdentity adds an identity and uses the link up.
func (s *Passkeys) LinkIdentity(ctx context.Context, v *user.Identity, link []byte, now time.Time, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		if link != nil {
			l, err := links.one(tx.ctx, s.db, tx, "where hash = $1", link)
			if err != nil {
				return named(err, user.ErrLink)
			}
			if !l.UsedAt.IsZero() || !now.Before(l.ExpiresAt) || l.User != v.User {
				return user.ErrLink
			}
			l.UsedAt = now
			if err := links.update(tx, l); err != nil {
				return err
			}
		}
		return identities.insert(tx, v)
	})
}

// UseIdentity notes that an identity was used, and its issuer's key.
func (s *Passkeys) UseIdentity(ctx context.Context, v *user.Identity, key string, now time.Time) error {
	return s.db.write(ctx, func(tx *Tx) error {
		err := modify(tx, identities, func(n *user.Identity) ([]audit.Event, error) {
			n.UsedAt = now
			return nil, nil
		}, "where org = $1 and id = $2", string(v.Org), string(v.ID))
		if err != nil {
			return named(err, user.ErrIdentity)
		}
		_, err = issuerKeys.one(tx.ctx, tx.db, tx, "where org = $1 and issuer = $2 and thumbprint = $3", string(v.Org), v.Issuer, key)
		if !errors.Is(err, errNotFound) {
			return err
		}
		return issuerKeys.insert(tx, &issuerKey{Org: v.Org, Issuer: v.Issuer, Thumbprint: key, SeenAt: now})
	})
}

const deleteIdentityQ = `delete from identities where org = $1 and id = $2 and user_id = $3`

// UnlinkIdentity removes an identity and ends the sessions that it opened.
func (s *Passkeys) UnlinkIdentity(ctx context.Context, org id.Org, u id.User, which id.Identity, now time.Time, c func(*user.Identity, int) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		v, err := identities.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2 and user_id = $3", string(org), string(which), string(u))
		if err != nil {
			return named(err, user.ErrIdentity)
		}
		keys, err := passkeys.many(tx.ctx, tx.db, tx, "where org = $1 and user_id = $2 order by id", string(org), string(u))
		if err != nil {
			return err
		}
		events, err := c(v, len(keys))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(tx.ctx, deleteIdentityQ, string(org), string(which), string(u)); err != nil {
			return fmt.Errorf("remove identity %s: %w", which, err)
		}
		tx.Emit(events...)
		return tx.closeSessions(org, u, now, func(v *user.Session) bool { return string(v.PasskeyRef) == string(which) })
	})
}

// IssuerKey reports whether an issuer was seen to sign with a key.
func (s *Passkeys) IssuerKey(ctx context.Context, org id.Org, issuer, thumbprint string) (bool, error) {
	_, err := issuerKeys.one(ctx, s.db, s.db.reader, "where org = $1 and issuer = $2 and thumbprint = $3", string(org), issuer, thumbprint)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	return err == nil, err
}
