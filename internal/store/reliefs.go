package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
)

var _ broker.ReliefStore = (*Reliefs)(nil)

// Reliefs implements [broker.ReliefStore].
type Reliefs struct{ db *DB }

// Reliefs returns the store of reliefs.
func (db *DB) Reliefs() *Reliefs { return &Reliefs{db} }

var reliefs = newTable("reliefs", "org id", true, func(r *approval.Relief) []field {
	return []field{
		text("org", &r.Org), text("id", &r.ID), text("agent", &r.Agent), text("connection", &r.Connection), text("user_id", &r.User),
		text("operation", &r.Operation), text("resource", &r.Resource), integer("risk", &r.Risk), text("given_by", &r.By),
		text("approval", &r.Approval), integer("most", &r.Most), integer("used", &r.Used), moment("created_at", &r.CreatedAt),
		moment("expires_at", &r.ExpiresAt), moment("revoked_at", &r.RevokedAt), integer("version", &r.Version),
	}
})

// Reliefs lists reliefs, newest first.
func (s *Reliefs) Reliefs(ctx context.Context, org id.Org, a id.Agent, after time.Time) ([]*approval.Relief, error) {
	if a == "" {
		return reliefs.many(ctx, s.db, s.db.reader, "where org = $1 and expires_at > $2 order by id desc", string(org), micros(after))
	}
	return reliefs.many(ctx, s.db, s.db.reader, "where org = $1 and agent = $2 and expires_at > $3 order by id desc", string(org), string(a), micros(after))
}

// UpdateRelief changes a relief.
func (s *Reliefs) UpdateRelief(ctx context.Context, org id.Org, r id.Relief, c func(*approval.Relief) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		return named(modify(tx, reliefs, c, "where org = $1 and id = $2", string(org), string(r)), approval.ErrReliefUnknown)
	})
}

const usedQ = `select count(*) from audit_events where object = $1 and verb in ('relief.used', 'relief.revoked')`

// useRelief counts down the relief that lets b's action through. The log knows
// how often it was used, too: a row put back to what it was lets nothing
// through again.
func useRelief(tx *Tx, b broker.Begin) error {
	r, err := reliefs.one(tx.ctx, tx.db, tx, "where org = $1 and id = $2", string(b.Org), string(b.Relief))
	if err != nil {
		return named(err, approval.ErrReliefOver)
	}
	var n int
	if err := tx.QueryRowContext(tx.ctx, usedQ, string(r.ID)).Scan(&n); err != nil {
		return fmt.Errorf("look for uses of %s: %w", r.ID, err)
	}
	if n > r.Used {
		tx.db.logger.Error("a row that had ended was put back: the database was changed outside of Valetkey", slog.String("table", "reliefs"), slog.String("id", string(r.ID)))
		return approval.ErrReliefOver
	}
	e, err := r.Use(b.Intent, b.Events[0].At)
	if err != nil {
		return err
	}
	tx.Emit(e)
	return reliefs.update(tx, r)
}
