package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
)

// Pragma runs a pragma on the writer's own connection, between batches.
func (db *DB) Pragma(ctx context.Context, pragma string) error {
	_, err := db.writer.ExecContext(ctx, "pragma "+pragma)
	return err
}

// ErrInjected is what an injected failure looks like.
var ErrInjected = errors.New("injected failure")

// FailAt lets the kth call of the writer to its database fail, counted from
// now, and all that follow it in the same transaction. It reports how many
// calls there were so far. Call it while nothing is written.
func (db *DB) FailAt(k int64) (calls func() int64) {
	var n atomic.Int64
	begin := db.begin
	if f, ok := db.engine.(failing); ok {
		begin, db.engine = f.begin, f.engine
	}
	db.engine = failing{db.engine, begin}
	db.begin = func(ctx context.Context) (transaction, error) {
		if n.Add(1) == k {
			return nil, ErrInjected
		}
		tx, err := begin(ctx)
		if err != nil {
			return nil, err
		}
		return &failingTx{transaction: tx, n: &n, k: k}, nil
	}
	return n.Load
}

// failing knows that a transaction in which a call failed is lost.
type failing struct {
	engine
	begin func(context.Context) (transaction, error)
}

func (f failing) isBroken(err error) bool {
	return errors.Is(err, ErrInjected) || errors.Is(err, context.Canceled) || f.engine.isBroken(err)
}

type failingTx struct {
	transaction
	n      *atomic.Int64
	k      int64
	failed bool
}

func (t *failingTx) fails() bool {
	t.failed = t.failed || t.n.Add(1) == t.k
	return t.failed
}

func (t *failingTx) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if t.fails() {
		return nil, ErrInjected
	}
	return t.transaction.ExecContext(ctx, q, args...)
}

func (t *failingTx) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if t.fails() {
		return nil, ErrInjected
	}
	return t.transaction.QueryContext(ctx, q, args...)
}

// QueryRowContext cannot make a row that fails, but a cancelled query can.
func (t *failingTx) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if t.fails() {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		return t.transaction.QueryRowContext(cancelled, q, args...)
	}
	return t.transaction.QueryRowContext(ctx, q, args...)
}

func (t *failingTx) Commit() error {
	if t.fails() {
		return errors.Join(ErrInjected, t.transaction.Rollback())
	}
	return t.transaction.Commit()
}

// Queued is how many changes wait for the writer.
func (db *DB) Queued() int { return len(db.queue) }

// Busy reports whether the writer's connection is in use.
func (db *DB) Busy() bool { return db.writer.Stats().InUse > 0 }

// Reads are statements that have to be answered from the index named: they run
// at each login, or on the one connection that writes.
func Reads() map[string]string {
	return map[string]string{
		sessions.selectQ + openSessionsQ:                        "sessions_user",
		devices.selectQ + approvedDevicesQ:                      "devices_user",
		passkeys.selectQ + passkeysOfQ:                          "passkeys_user",
		revivedPasskeysQ + " and p.credential_id = $1":          "audit_events_passkey_removed",
		revivedPasskeysQ + " and p.org = $1 and p.user_id = $2": "audit_events_passkey_removed",
	}
}

// FailCommit lets the kth commit from now fail, as that of a full disk. Call it
// while nothing is written.
func (db *DB) FailCommit(k int64) {
	var n atomic.Int64
	begin := db.begin
	db.engine = failing{db.engine, begin}
	db.begin = func(ctx context.Context) (transaction, error) {
		tx, err := begin(ctx)
		if err != nil || n.Add(1) != k {
			return tx, err
		}
		return failingCommit{tx}, nil
	}
}

type failingCommit struct{ transaction }

func (t failingCommit) Commit() error { return errors.Join(ErrInjected, t.transaction.Rollback()) }
