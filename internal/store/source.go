package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
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
	tx, err := l.db.readers.BeginTx(ctx, opts)
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

// Records and hashes are read in pages, each whole before the next: on
// PostgreSQL a connection has one answer open at a time, and who verifies
// reads both at once.
const (
	page     = 1000
	recordsQ = `select seq, at, org, verb, actor, object, subject, leaf from audit_events where seq > $1 order by seq limit $2`
	hashesQ  = `select idx, hash from audit_hashes where idx > $1 order by idx limit $2`
)

// Records implements [audit.Source].
func (s *Snapshot) Records(ctx context.Context) iter.Seq2[audit.Record, error] {
	return pages(func(after int64) ([]audit.Record, int64, error) {
		rows, err := s.tx.QueryContext(ctx, recordsQ, after, page)
		if err != nil {
			return nil, 0, fmt.Errorf("read audit events: %w", err)
		}
		defer rows.Close()
		var out []audit.Record
		for rows.Next() {
			var r audit.Record
			var at int64
			var org, verb, actor, object, subject, leaf string
			if err := rows.Scan(&r.Seq, &at, &org, &verb, &actor, &object, &subject, &leaf); err != nil {
				return nil, 0, fmt.Errorf("read audit events: %w", err)
			}
			r.Encoded = []byte(leaf)
			r.Columns = map[string]string{
				"at": strconv.FormatInt(at, 10), "org": org, "verb": verb, "actor": actor, "object": object, "subject": subject,
			}
			out, after = append(out, r), r.Seq
		}
		if err := rows.Err(); err != nil {
			return nil, 0, fmt.Errorf("read audit events: %w", err)
		}
		return out, after, nil
	})
}

// Hashes implements [audit.Source].
func (s *Snapshot) Hashes(ctx context.Context) iter.Seq2[tlog.Hash, error] {
	return pages(func(after int64) ([]tlog.Hash, int64, error) {
		rows, err := s.tx.QueryContext(ctx, hashesQ, after, page)
		if err != nil {
			return nil, 0, fmt.Errorf("read audit hashes: %w", err)
		}
		defer rows.Close()
		var out []tlog.Hash
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&after, &b); err != nil {
				return nil, 0, fmt.Errorf("read audit hashes: %w", err)
			}
			// One of another length is not equal to the hash that it stands for.
			var h tlog.Hash
			if len(b) == tlog.HashSize {
				copy(h[:], b)
			}
			out = append(out, h)
		}
		if err := rows.Err(); err != nil {
			return nil, 0, fmt.Errorf("read audit hashes: %w", err)
		}
		return out, after, nil
	})
}

// pages yields what read returns for growing keys, until it returns nothing.
// Keys below zero are wrong, and therefore read too.
func pages[T any](read func(after int64) ([]T, int64, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := int64(math.MinInt64); ; {
			got, last, err := read(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range got {
				if !yield(v, nil) {
					return
				}
			}
			if len(got) < page {
				return
			}
			after = last
		}
	}
}
