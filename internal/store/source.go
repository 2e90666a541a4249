package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/audit"
)

// Snapshot is the audit log at one moment, for verification and export: it
// sees no event that comes after. Close it.
type Snapshot struct {
	tx   *sql.Tx
	head audit.Head
}

var _ audit.Source = (*Snapshot)(nil)

// Snapshot opens the log as it is.
func (l *Log) Snapshot(ctx context.Context) (*Snapshot, error) {
	opts := &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
	if l.db.engine.name() == "sqlite" {
		opts = &sql.TxOptions{ReadOnly: true} // a read transaction is a snapshot
	}
	tx, err := l.db.reader.BeginTx(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open audit snapshot: %w", err)
	}
	s := &Snapshot{tx: tx}
	var root []byte
	if err := tx.QueryRowContext(ctx, headQ).Scan(&s.head.Size, &root); err != nil {
		_ = tx.Rollback() // the error that counts is the one before
		return nil, fmt.Errorf("open audit snapshot: %w", err)
	}
	copy(s.head.Root[:], root)
	return s, nil
}

// Close ends the snapshot.
func (s *Snapshot) Close() error { return s.tx.Rollback() }

// Head implements [audit.Source].
func (s *Snapshot) Head(context.Context) (audit.Head, error) { return s.head, nil }

const (
	recordsQ = `select seq, at, org, verb, actor, object, subject, leaf from audit_events order by seq`
	hashesQ  = `select hash from audit_hashes order by idx`
)

// Records implements [audit.Source].
func (s *Snapshot) Records(ctx context.Context) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		rows, err := s.tx.QueryContext(ctx, recordsQ)
		if err != nil {
			yield(audit.Record{}, fmt.Errorf("read audit events: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var r audit.Record
			var at int64
			var org, verb, actor, object, subject, leaf string
			if err := rows.Scan(&r.Seq, &at, &org, &verb, &actor, &object, &subject, &leaf); err != nil {
				yield(audit.Record{}, fmt.Errorf("read audit events: %w", err))
				return
			}
			r.Encoded = []byte(leaf)
			r.Columns = map[string]string{
				"at": strconv.FormatInt(at, 10), "org": org, "verb": verb, "actor": actor, "object": object, "subject": subject,
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(audit.Record{}, fmt.Errorf("read audit events: %w", err))
		}
	}
}

// Hashes implements [audit.Source].
func (s *Snapshot) Hashes(ctx context.Context) iter.Seq2[tlog.Hash, error] {
	return func(yield func(tlog.Hash, error) bool) {
		rows, err := s.tx.QueryContext(ctx, hashesQ)
		if err != nil {
			yield(tlog.Hash{}, fmt.Errorf("read audit hashes: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				yield(tlog.Hash{}, fmt.Errorf("read audit hashes: %w", err))
				return
			}
			var h tlog.Hash
			copy(h[:], b)
			if !yield(h, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(tlog.Hash{}, fmt.Errorf("read audit hashes: %w", err))
		}
	}
}
