package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
)

const (
	sweepSpentQ      = `delete from spent where (agent, jti) in (select agent, jti from spent where until < $1 order by until limit $2)`
	sweepFlowsQ      = `delete from flows where (org, id) in (select org, id from flows where expires_at < $1 order by expires_at limit $2)`
	sweepDevicesQ    = `delete from devices where hash in (select hash from devices where expires_at < $1 order by expires_at limit $2)`
	sweepTokensQ     = `delete from agent_tokens where (org, id) in (select org, id from agent_tokens where expires_at < $1 order by expires_at limit $2)`
	sweepCeremoniesQ = `delete from ceremonies where hash in (select hash from ceremonies where expires_at < $1 order by expires_at limit $2)`
	dropPayloadQ     = `delete from payloads where org = $1 and action = $2`
)

const (
	payloadKeysQ = `select name from data_keys where name >= $1 and name < $2 order by name`
	payloadOfQ   = `select count(*) from payloads p join actions a on a.org = p.org and a.id = p.action where p.org = $1 and a.created_at >= $2 and a.created_at < $3`
)

// sweepPiece is how many rows one change of a sweep takes: few enough that
// nobody else notices the wait.
const sweepPiece = 500

// deviceKept is how long after its end a device authorization still answers
// that it has ended.
const deviceKept = time.Hour

// Sweep drops what has outlived its use.
func (s *Actions) Sweep(ctx context.Context, org id.Org, ended, now time.Time) error {
	for _, old := range []struct {
		text  string
		until time.Time
	}{
		{sweepSpentQ, now}, {sweepFlowsQ, now}, {sweepDevicesQ, now.Add(-deviceKept)}, {sweepTokensQ, now}, {sweepCeremoniesQ, now},
	} {
		if err := s.sweep(ctx, func(tx *Tx) (int64, error) {
			res, err := tx.ExecContext(tx.ctx, old.text, micros(old.until), sweepPiece)
			if err != nil {
				return 0, fmt.Errorf("sweep: %w", err)
			}
			return res.RowsAffected()
		}); err != nil {
			return err
		}
	}
	return s.sweep(ctx, func(tx *Tx) (int64, error) {
		old, err := actions.many(tx.ctx, tx.db, tx, "where payload_kept = 1 and finished_at > 0 and finished_at < $1 and org = $2 order by finished_at limit $3", micros(ended), string(org), sweepPiece)
		if err != nil {
			return 0, err
		}
		for _, a := range old {
			a.PayloadKept = false
			if err := actions.update(tx, a); err != nil {
				return 0, err
			}
			if _, err := tx.ExecContext(tx.ctx, dropPayloadQ, string(org), string(a.ID)); err != nil {
				return 0, fmt.Errorf("sweep payloads: %w", err)
			}
		}
		return int64(len(old)), nil
	})
}

// EmptyDays lists days whose payloads are gone and whose key is not. Payloads
// are sealed under the day on which their action was made.
func (s *Actions) EmptyDays(ctx context.Context, org id.Org, before time.Time) ([]time.Time, error) {
	// Names of days sort as days do.
	last := string(seal.PayloadKey(org, before))
	first := strings.TrimSuffix(last, before.UTC().Format(time.DateOnly))
	names, err := s.payloadKeys(ctx, first, last)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for _, name := range names {
		day, err := time.Parse(time.DateOnly, strings.TrimPrefix(name, first))
		if err != nil {
			return nil, fmt.Errorf("list days of payloads: %w", err)
		}
		end, n := day.AddDate(0, 0, 1), 0
		if end.After(before) {
			continue
		}
		if err := s.db.reader.QueryRowContext(ctx, payloadOfQ, string(org), micros(day), micros(end)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count payloads of a day: %w", err)
		}
		if n == 0 {
			out = append(out, day)
		}
	}
	return out, nil
}

// EndDay deletes the key for payloads of a day, if none is left.
func (s *Actions) EndDay(ctx context.Context, org id.Org, day time.Time, events []audit.Event) error {
	day = day.UTC().Truncate(24 * time.Hour)
	return s.db.write(ctx, func(tx *Tx) error {
		var left int64
		if err := tx.QueryRowContext(tx.ctx, payloadOfQ, string(org), micros(day), micros(day.AddDate(0, 0, 1))).Scan(&left); err != nil {
			return fmt.Errorf("count payloads of a day: %w", err)
		}
		if left > 0 {
			return nil
		}
		res, err := tx.ExecContext(tx.ctx, deleteKeyQ, string(seal.PayloadKey(org, day)))
		if err != nil {
			return fmt.Errorf("delete the key of a day: %w", err)
		}
		gone, err := res.RowsAffected()
		if err != nil {
			return fmt.Errorf("delete the key of a day: %w", err)
		}
		if gone > 0 {
			tx.Emit(events...)
		}
		return nil
	})
}

func (s *Actions) payloadKeys(ctx context.Context, first, last string) ([]string, error) {
	rows, err := s.db.reader.QueryContext(ctx, payloadKeysQ, first, last)
	if err != nil {
		return nil, fmt.Errorf("list days of payloads: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("list days of payloads: %w", err)
		}
		out = append(out, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list days of payloads: %w", err)
	}
	return out, nil
}

// sweep runs piece, a change each time, until there is no whole one left.
func (s *Actions) sweep(ctx context.Context, piece func(*Tx) (int64, error)) error {
	for {
		var n int64
		err := s.db.write(ctx, func(tx *Tx) (err error) {
			n, err = piece(tx)
			return err
		})
		if err != nil || n < sweepPiece {
			return err
		}
	}
}
