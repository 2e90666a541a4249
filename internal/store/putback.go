package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
)

// A row's MAC shows that we wrote it, not that it is the last we wrote: whoever
// can write the database can put back the grant of yesterday, which has not
// been revoked there. The log tells. A row that lives there and has ended in
// the log has ended, for everybody who reads it; and who takes the event out of
// the log breaks the tree that the checkpoints outside prove.
//
// These queries find such rows, and find none as long as nobody has tampered.
// They cost one look into an index of the log for each live row that is read,
// and what is read is kept for as long as authority stands still.
const (
	revivedGrantsQ = `select g.id, e.at from grants g join audit_events e on e.object = g.id and e.verb || '' = 'grant.revoked' where g.org = $1 and g.revoked_at = 0`
	revivedKeysQ   = `select k.id, e.at from agent_keys k join audit_events e on e.object = k.id and e.verb || '' = 'agent.key_revoked' where k.org = $1 and k.status = 'active'`
	// An agent may be resumed, so the last word counts.
	revivedAgentsQ = `select a.id, 0 from agents a where a.org = $1 and a.status = 'active' and
		(select e.verb from audit_events e where e.object = a.id and e.verb || '' in ('agent.suspended', 'agent.resumed') order by e.seq desc limit 1) = 'agent.suspended'`
	// A passkey that was removed has no row, so any that is there was put back.
	// Each use of one is an event about it: an index of its own spares a login
	// from reading them all.
	// The left join has SQLite begin with the passkeys, which are few, and not with
	// all removals that there ever were.
	revivedPasskeysQ = `select p.id, e.at from passkeys p left join audit_events e on e.object = p.id and e.verb = 'passkey.removed' where coalesce(e.at, 0) > 0`
)

// revived runs one of the queries above, narrowed by more, and returns when each
// of the rows had ended.
func (db *DB) revived(ctx context.Context, table, text, more string, args ...any) (map[string]time.Time, error) {
	return db.revivedIn(ctx, db.reader, table, text, more, args...)
}

// revivedIn is revived as q sees it.
func (db *DB) revivedIn(ctx context.Context, q queries, table, text, more string, args ...any) (map[string]time.Time, error) {
	if !findable(args) {
		return nil, nil
	}
	rows, err := q.QueryContext(ctx, text+more, args...)
	if err != nil {
		return nil, fmt.Errorf("compare %s with the log: %w", table, err)
	}
	defer rows.Close()
	var out map[string]time.Time
	for rows.Next() {
		var ref string
		var at int64
		if err := rows.Scan(&ref, &at); err != nil {
			return nil, fmt.Errorf("compare %s with the log: %w", table, err)
		}
		if out == nil {
			out = map[string]time.Time{}
		}
		out[ref] = fromMicros(at)
		db.logger.Error("a row that had ended was put back: the database was changed outside of Valetkey", slog.String("table", table), slog.String("id", ref))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("compare %s with the log: %w", table, err)
	}
	return out, nil
}

// asRevoked ends the grants in gs that the log says have ended. more narrows
// the comparison to those that were read.
func (s *Grants) asRevoked(ctx context.Context, gs []*grant.Grant, more string, args ...any) ([]*grant.Grant, error) {
	ended, err := s.db.revived(ctx, "grants", revivedGrantsQ, more, args...)
	for _, g := range gs {
		if at, ok := ended[string(g.ID)]; ok && g.RevokedAt.IsZero() {
			g.RevokedAt = at
		}
	}
	return gs, err
}

func asRevokedKeys(ctx context.Context, db *DB, ks []*agent.Key, more string, args ...any) ([]*agent.Key, error) {
	ended, err := db.revived(ctx, "agent_keys", revivedKeysQ, more, args...)
	for _, k := range ks {
		if at, ok := ended[string(k.ID)]; ok && k.Status == agent.KeyActive {
			k.Status, k.RevokedAt = agent.KeyRevoked, at
		}
	}
	return ks, err
}

func asSuspended(ctx context.Context, db *DB, as []*agent.Agent, more string, args ...any) ([]*agent.Agent, error) {
	ended, err := db.revived(ctx, "agents", revivedAgentsQ, more, args...)
	for _, a := range as {
		if _, ok := ended[string(a.ID)]; ok {
			a.Status = agent.Suspended
		}
	}
	return as, err
}

// withoutRemoved leaves out the passkeys that the log says were removed.
func withoutRemoved(ctx context.Context, db *DB, q queries, ps []*user.Passkey, more string, args ...any) ([]*user.Passkey, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	ended, err := db.revivedIn(ctx, q, "passkeys", revivedPasskeysQ, more, args...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ps, func(p *user.Passkey) bool {
		_, gone := ended[string(p.ID)]
		return gone
	}), nil
}
