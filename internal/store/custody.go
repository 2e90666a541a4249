package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
)

var (
	_ vault.Store             = (*Connections)(nil)
	_ vault.RegistrationStore = (*Registrations)(nil)
	_ connect.Store           = (*Flows)(nil)
	_ grant.Store             = (*Grants)(nil)
	_ freeze.Store            = (*Freezes)(nil)
)

// Connections implements [vault.Store].
type Connections struct{ db *DB }

// Connections returns the store of connections.
func (db *DB) Connections() *Connections { return &Connections{db} }

var connections = newTable("connections", "org id", true, func(c *vault.Connection) []field {
	return []field{
		text("org", &c.Org), text("id", &c.ID), text("user_id", &c.User), text("provider", &c.Provider), text("kind", &c.Kind), text("name", &c.Name),
		text("account_id", &c.AccountID), text("account", &c.Account), text("tenant", &c.Tenant), list("scopes", &c.Scopes),
		text("status", &c.Status), text("why", &c.Why), integer("generation", &c.Generation), blob("access", &c.Access),
		blob("refresh", &c.Refresh), blob("previous", &c.Previous), moment("access_expires_at", &c.AccessExpiresAt),
		moment("refresh_expires_at", &c.RefreshExpiresAt), moment("refreshed_at", &c.RefreshedAt), flag("proven", &c.Proven),
		integer("fence", &c.Fence), moment("lease_until", &c.LeaseUntil), flag("attempting", &c.Attempting), moment("retry_at", &c.RetryAt),
		moment("created_at", &c.CreatedAt), moment("used_at", &c.UsedAt), moment("revoked_at", &c.RevokedAt), integer("version", &c.Version), text("previews", &c.Previews),
	}
}).later("previews")

// Connection returns one connection, tombstones included.
func (s *Connections) Connection(ctx context.Context, org id.Org, c id.Connection) (*vault.Connection, error) {
	v, err := connections.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(org), string(c))
	return v, named(err, vault.ErrUnknown)
}

// OfUser lists a user's connections, newest first.
func (s *Connections) OfUser(ctx context.Context, org id.Org, u id.User) ([]*vault.Connection, error) {
	return connections.many(ctx, s.db, s.db.reader, "where org = $1 and user_id = $2 order by created_at desc, id desc", string(org), string(u))
}

// Connections lists all connections, newest first.
func (s *Connections) Connections(ctx context.Context, org id.Org) ([]*vault.Connection, error) {
	return connections.many(ctx, s.db, s.db.reader, "where org = $1 order by created_at desc, id desc", string(org))
}

// UpdateConnection changes a connection. Authority moves only when its status
// or account does: a refresh changes nothing that was decided on.
func (s *Connections) UpdateConnection(ctx context.Context, org id.Org, c id.Connection, change vault.Change[vault.Connection]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		var before, after vault.Connection
		err := modify(tx, connections, func(v *vault.Connection) ([]audit.Event, error) {
			before = *v
			events, err := change(v)
			after = *v
			return events, err
		}, "where org = $1 and id = $2", string(org), string(c))
		if before.Status != after.Status || before.AccountID != after.AccountID || before.User != after.User {
			tx.moveAuthority()
		}
		return named(err, vault.ErrUnknown)
	})
}

// Lease takes the refresh lease of c if nobody holds it, by the database's
// clock.
func (s *Connections) Lease(ctx context.Context, org id.Org, c id.Connection, ttl time.Duration, events []audit.Event) (*vault.Connection, bool, error) {
	var leased *vault.Connection
	err := s.db.write(ctx, func(tx *Tx) error {
		leased = nil
		var now int64
		if err := tx.QueryRowContext(tx.ctx, "select "+tx.db.engine.now()).Scan(&now); err != nil {
			return fmt.Errorf("read database clock: %w", err)
		}
		v, err := connections.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2", string(org), string(c))
		if err != nil {
			return named(err, vault.ErrUnknown)
		}
		if micros(v.LeaseUntil) > now {
			return nil
		}
		died := v.Attempting // the holder before never came back
		v.Fence++
		v.LeaseUntil, v.Attempting = fromMicros(now).Add(ttl), true
		tx.Emit(events...)
		if err := connections.update(tx, v); err != nil {
			return err
		}
		v.Attempting, leased = died, v
		return nil
	})
	return leased, err == nil && leased != nil, err
}

// End tombstones c and everything that hangs on it.
func (s *Connections) End(ctx context.Context, org id.Org, c id.Connection, now time.Time, change vault.Change[vault.Connection]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		if err := modify(tx, connections, change, "where org = $1 and id = $2", string(org), string(c)); err != nil {
			return named(err, vault.ErrUnknown)
		}
		gs, err := grants.many(tx.ctx, tx.db, tx, "where org = $1 and connection = $2 and revoked_at = 0 order by id", string(org), string(c))
		if err != nil {
			return err
		}
		for _, g := range gs {
			g.RevokedAt = now
			if err := grants.update(tx, g); err != nil {
				return err
			}
			tx.Emit(audit.Event{At: now, Org: org, Verb: "grant.revoked", Actor: "system", Object: string(g.ID), Subject: string(g.User),
				Data: map[string]string{"why": "connection_revoked", "connection": string(c)}})
		}
		return revokeOpen(tx, now, "connection_revoked", "org = $1 and connection = $2", string(org), string(c))
	})
}

// revokeOpen ends the open actions that where selects, and their approvals.
func revokeOpen(tx *Tx, now time.Time, why, where string, args ...any) error {
	open, err := actions.many(tx.ctx, tx.db, tx, "where "+where+" and state in ('pending', 'approved') order by id", args...)
	if err != nil {
		return err
	}
	for _, a := range open {
		e, err := a.Revoke(why, now)
		if err != nil {
			return err
		}
		tx.Emit(e)
		if err := actions.update(tx, a); err != nil {
			return err
		}
		p, err := approvals.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2", string(a.Org), string(a.Approval))
		if err != nil {
			return err
		}
		if e, err := p.Withdraw("system", why, now); err == nil {
			tx.Emit(e)
			if err := approvals.update(tx, p); err != nil {
				return err
			}
			if err := answered(tx, p); err != nil {
				return err
			}
		} else if !errors.Is(err, approval.ErrNotOpen) {
			return err
		}
	}
	return nil
}

// Used moves UsedAt.
func (s *Connections) Used(ctx context.Context, org id.Org, c id.Connection, now time.Time) error {
	return s.UpdateConnection(ctx, org, c, func(v *vault.Connection) ([]audit.Event, error) {
		v.UsedAt = now
		return nil, nil
	})
}

// Registrations implements [vault.RegistrationStore].
type Registrations struct{ db *DB }

// Registrations returns the store of our clients at providers.
func (db *DB) Registrations() *Registrations { return &Registrations{db} }

var registrations = newTable("registrations", "org provider", true, func(r *vault.Registration) []field {
	return []field{
		text("org", &r.Org), text("provider", &r.Provider), text("spec", &r.Spec), text("client_id", &r.ClientID), blob("secret", &r.Secret),
		asJSON("base", &r.Base), flag("internal", &r.Internal), moment("created_at", &r.CreatedAt), moment("updated_at", &r.UpdatedAt),
		integer("version", &r.Version),
	}
})

// Registration returns our client at provider; a fault of kind NotFound when
// there is none.
func (s *Registrations) Registration(ctx context.Context, org id.Org, provider string) (*vault.Registration, error) {
	return registrations.one(ctx, s.db, s.db.reader, "where org = $1 and provider = $2", string(org), provider)
}

// Registrations lists all of them.
func (s *Registrations) Registrations(ctx context.Context, org id.Org) ([]*vault.Registration, error) {
	return registrations.many(ctx, s.db, s.db.reader, "where org = $1 order by provider", string(org))
}

// PutRegistration creates or replaces one.
func (s *Registrations) PutRegistration(ctx context.Context, r *vault.Registration, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		put := *r
		old, err := registrations.one(tx.ctx, tx.db, tx, "where org = $1 and provider = $2", string(r.Org), r.Provider)
		if errors.Is(err, errNotFound) {
			put.Version = 1
			return registrations.insert(tx, &put)
		}
		if err != nil {
			return err
		}
		put.Version, put.CreatedAt = old.Version, old.CreatedAt
		return registrations.update(tx, &put)
	})
}

// Flows implements [connect.Store].
type Flows struct{ db *DB }

// Flows returns the store of accounts being connected.
func (db *DB) Flows() *Flows { return &Flows{db} }

var flows = newTable("flows", "org id", true, func(f *connect.Flow) []field {
	return []field{
		text("org", &f.Org), text("id", &f.ID), blob("state", &f.State), text("session", &f.Session), text("user_id", &f.User),
		text("provider", &f.Provider), blob("verifier", &f.Verifier), list("scopes", &f.Scopes), text("redirect_uri", &f.RedirectURI),
		text("reconnect", &f.Reconnect), moment("created_at", &f.CreatedAt), moment("expires_at", &f.ExpiresAt), moment("used_at", &f.UsedAt),
		integer("version", &f.Version),
	}
})

// CreateFlow stores a flow.
func (s *Flows) CreateFlow(ctx context.Context, f *connect.Flow, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		return flows.insert(tx, f)
	})
}

// TakeFlow uses a flow up.
func (s *Flows) TakeFlow(ctx context.Context, state []byte, session id.Session, provider string, now time.Time) (*connect.Flow, error) {
	var taken *connect.Flow
	err := s.db.write(ctx, func(tx *Tx) error {
		f, err := flows.one(tx.ctx, tx.db, tx, "where state = $1", state)
		if err != nil {
			return named(err, connect.ErrFlow)
		}
		if !f.UsedAt.IsZero() || !now.Before(f.ExpiresAt) || f.Session != session || f.Provider != provider {
			return connect.ErrFlow
		}
		f.UsedAt = now
		taken = f
		return flows.update(tx, f)
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// Record writes events that belong to no change.
func (s *Flows) Record(ctx context.Context, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		return nil
	})
}

// CreateConnection stores a new connection.
func (s *Flows) CreateConnection(ctx context.Context, c *vault.Connection, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		return connections.insert(tx, c)
	})
}

// ByAccount finds the user's live connection to an account; nil when there is
// none.
func (s *Flows) ByAccount(ctx context.Context, org id.Org, u id.User, provider, accountID string) (*vault.Connection, error) {
	c, err := connections.one(ctx, s.db, s.db.reader,
		"where org = $1 and user_id = $2 and provider = $3 and account_id = $4 and status <> 'revoked' order by created_at desc limit 1",
		string(org), string(u), provider, accountID)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	return c, err
}

// Grants implements [grant.Store].
type Grants struct{ db *DB }

// Grants returns the store of grants.
func (db *DB) Grants() *Grants { return &Grants{db} }

var grants = newTable("grants", "org id", true, func(g *grant.Grant) []field {
	return []field{
		text("org", &g.Org), text("id", &g.ID), text("agent", &g.Agent), text("connection", &g.Connection), text("user_id", &g.User),
		text("mode", &g.Mode), list("operations", &g.Operations), list("resources", &g.Resources), moment("expires_at", &g.ExpiresAt),
		moment("revoked_at", &g.RevokedAt), moment("created_at", &g.CreatedAt), text("created_by", &g.CreatedBy), integer("version", &g.Version),
	}
})

// CreateGrant stores a grant.
func (s *Grants) CreateGrant(ctx context.Context, g *grant.Grant, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		return grants.insert(tx, g)
	})
}

// Grant returns one grant.
func (s *Grants) Grant(ctx context.Context, org id.Org, g id.Grant) (*grant.Grant, error) {
	got, err := s.list(ctx, org, "id", string(g))
	if err == nil && len(got) == 0 {
		err = grant.ErrNone
	}
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// ForUse lists the grants of an agent on a connection, newest first.
func (s *Grants) ForUse(ctx context.Context, org id.Org, a id.Agent, c id.Connection) ([]*grant.Grant, error) {
	return s.list(ctx, org, "agent", string(a), "connection", string(c))
}

// OfAgent lists an agent's grants, newest first.
func (s *Grants) OfAgent(ctx context.Context, org id.Org, a id.Agent) ([]*grant.Grant, error) {
	return s.list(ctx, org, "agent", string(a))
}

// OfConnection lists a connection's grants, newest first.
func (s *Grants) OfConnection(ctx context.Context, org id.Org, c id.Connection) ([]*grant.Grant, error) {
	return s.list(ctx, org, "connection", string(c))
}

// Grants lists all grants, newest first.
func (s *Grants) Grants(ctx context.Context, org id.Org) ([]*grant.Grant, error) {
	return s.list(ctx, org)
}

// list reads the grants with these values, as the log knows them.
func (s *Grants) list(ctx context.Context, org id.Org, equal ...string) ([]*grant.Grant, error) {
	where, args := "", []any{string(org)}
	for i := 0; i < len(equal); i += 2 {
		args = append(args, equal[i+1])
		where += fmt.Sprintf(" and %s = $%d", equal[i], len(args))
	}
	got, err := grants.many(ctx, s.db, s.db.reader, "where org = $1"+where+" order by created_at desc, id desc", args...)
	if err != nil || len(got) == 0 {
		return got, err
	}
	return s.asRevoked(ctx, got, strings.ReplaceAll(where, " and ", " and g."), args...)
}

// UpdateGrant changes a grant. Open actions that it covered are judged again
// before they execute, and refused then.
func (s *Grants) UpdateGrant(ctx context.Context, org id.Org, g id.Grant, change func(*grant.Grant) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		return named(modify(tx, grants, change, "where org = $1 and id = $2", string(org), string(g)), grant.ErrNone)
	})
}

// Freezes implements [freeze.Store].
type Freezes struct{ db *DB }

// Freezes returns the store of freezes.
func (db *DB) Freezes() *Freezes { return &Freezes{db} }

var freezes = newTable("freezes", "org id", true, func(f *freeze.Freeze) []field {
	return []field{
		text("org", &f.Org), text("id", &f.ID), text("kind", &f.Kind), text("target", &f.Target), text("reason", &f.Reason), text("actor", &f.By),
		moment("at", &f.At), moment("lifted_at", &f.LiftedAt), integer("version", &f.Version),
	}
})

const sameFreeze = "where org = $1 and lifted_at = 0 and kind = $2 and target = $3 order by at, id"

// CreateFreeze stores a freeze, unless its target is frozen already.
func (s *Freezes) CreateFreeze(ctx context.Context, f *freeze.Freeze, events []audit.Event) (*freeze.Freeze, error) {
	inForce := f
	err := s.db.write(ctx, func(tx *Tx) error {
		same := func() ([]*freeze.Freeze, error) {
			return freezes.many(tx.ctx, tx.db, tx, sameFreeze, string(f.Org), string(f.Kind), f.Target)
		}
		there, err := same()
		if err != nil {
			return err
		}
		if len(there) > 0 {
			inForce = there[0]
			return nil
		}
		inForce = f
		tx.confirm(func() error {
			if all, err := same(); err != nil {
				return err
			} else if len(all) > 1 {
				return fmt.Errorf("freeze %s %s: %w", f.Kind, f.Target, errStale)
			}
			return nil
		})
		tx.moveAuthority()
		tx.Emit(events...)
		return freezes.insert(tx, f)
	})
	if err != nil {
		return nil, err
	}
	return inForce, nil
}

// ActiveFreezes lists the freezes in force.
func (s *Freezes) ActiveFreezes(ctx context.Context, org id.Org) ([]*freeze.Freeze, error) {
	return freezes.many(ctx, s.db, s.db.reader, "where org = $1 and lifted_at = 0 order by id", string(org))
}

// UpdateFreeze changes a freeze.
func (s *Freezes) UpdateFreeze(ctx context.Context, org id.Org, f id.Freeze, change func(*freeze.Freeze) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		return modify(tx, freezes, change, "where org = $1 and id = $2", string(org), string(f))
	})
}
