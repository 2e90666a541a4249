package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// maxBatch is how many changes share a transaction. A batch is whatever has
// queued up while the one before it was committed: nobody waits for a timer,
// and a lone change commits at once.
const maxBatch = 64

// maxReruns bounds how often a change is run again because another replica
// moved the row underneath.
const maxReruns = 8

// batchTimeout bounds a transaction on PostgreSQL, so that a server which has
// gone silent holds nobody up for longer. On SQLite the busy timeout does.
const batchTimeout = 10 * time.Second

// The faults of the writer.
var (
	// ErrUnavailable is what a caller sees when a change could not be recorded:
	// then it did not happen.
	ErrUnavailable = fault.New(fault.Unavailable, "storage_unavailable", "Nothing was done, because it could not be recorded; try again shortly.")
	// ErrUncertain is what a caller sees when the database was lost in the very
	// moment of the commit, and could not be asked afterwards.
	ErrUncertain = fault.New(fault.Unavailable, "storage_uncertain", "The database was lost while this was being recorded; look whether it happened before you try again.")
)

// Tx is the transaction that a change runs in.
type Tx struct {
	queries
	ctx    context.Context
	db     *DB
	batch  *batch
	events []audit.Event
	moved  bool // authority changed: the epoch must be counted up
	checks []func() error
}

// Emit adds events that commit with the change.
func (tx *Tx) Emit(events ...audit.Event) { tx.events = append(tx.events, events...) }

// moveAuthority says that what was decided before may not hold any more.
func (tx *Tx) moveAuthority() { tx.moved = true }

// confirm adds a check for where several replicas write. It runs when the
// audit head is taken: what committed before is visible then, and nothing
// else commits until this transaction has. An error of it runs the whole
// batch again. It is for rules over several rows, which no version number
// guards; a change that confirms must also emit.
func (tx *Tx) confirm(check func() error) {
	if tx.db.engine.shared() {
		tx.checks = append(tx.checks, check)
	}
}

// checkEpoch fails with ErrMoved when authority changed since epoch.
func (tx *Tx) checkEpoch(epoch int64) error {
	if tx.batch.epoch < 0 {
		n, err := currentEpoch(tx.ctx, tx)
		if err != nil {
			return err
		}
		tx.batch.epoch = tx.db.sawEpoch(n)
	}
	// A change that moves authority may stand before this one in its batch.
	if tx.batch.moved || tx.batch.epoch != epoch {
		return ErrMoved
	}
	return nil
}

// errBroken means that the whole transaction is lost, not just one change.
var errBroken = errors.New("store: transaction broken")

type change struct {
	run   func(*Tx) error
	done  chan error
	taken atomic.Bool // by the writer, to be run, or by its caller, who left
	runs  int
}

// write runs a change on the writer and waits until it is durable. The change
// may run again if its batch has to be repeated. A caller whose context ends
// may leave as long as the change has not begun; after that there is an
// answer to wait for.
func (db *DB) write(ctx context.Context, run func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-db.stop:
		return ErrUnavailable
	default:
	}
	c := &change{run: run, done: make(chan error, 1)}
	select {
	case db.queue <- c:
	case <-db.stopped:
		return ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
	gone := ctx.Done()
	for {
		select {
		case err := <-c.done:
			return err
		case <-gone:
			if c.taken.CompareAndSwap(false, true) {
				return ctx.Err()
			}
			gone = nil
		case <-db.stopped:
			// The loop answers everything it has taken before it stops.
			select {
			case err := <-c.done:
				return err
			default:
				return ErrUnavailable
			}
		}
	}
}

// writeLoop is the one goroutine that writes.
func (db *DB) writeLoop() {
	defer close(db.stopped)
	waiting := make([]*change, 0, maxBatch)
	for {
		var first *change
		select {
		case first = <-db.queue:
		case <-db.stop:
			return
		}
		// Whoever is just about to queue up gets a turn: larger batches, fewer
		// commits. Who is alone waits for nobody.
		runtime.Gosched()
		waiting = append(waiting[:0], first)
		for len(waiting) < maxBatch {
			select {
			case c := <-db.queue:
				waiting = append(waiting, c)
				continue
			default:
			}
			break
		}
		rest := waiting[:0]
		for _, c := range waiting {
			if c.taken.CompareAndSwap(false, true) {
				rest = append(rest, c)
			}
		}
		for len(rest) > 0 {
			rest = db.commit(rest)
		}
	}
}

// batch is a transaction and what has been done in it.
type batch struct {
	tx     transaction
	done   []*change
	events []audit.Event
	checks []func() error
	epoch  int64 // which changes were checked against, or -1
	moved  bool
	held   []id.Action // actions stored by changes of this batch
	no     []refused   // by what changes before them have done in this batch
}

// refused is a change that failed by itself, after others had changed things
// in the same transaction. What it failed by may be what they did, which
// nobody may be told before it is durable.
type refused struct {
	change *change
	err    error
}

// refusals are the changes of b that were refused.
func (b *batch) refusals() []*change {
	out := make([]*change, 0, len(b.no))
	for _, r := range b.no {
		out = append(out, r.change)
	}
	return out
}

// commit runs changes in one transaction and answers them; it returns those
// that have to run again.
func (db *DB) commit(changes []*change) (again []*change) {
	ctx, cancel := db.batchContext() // a batch belongs to no single caller
	defer cancel()
	tx, err := db.begin(ctx)
	if err != nil {
		db.fail(changes, ErrUnavailable, fmt.Errorf("begin: %w", err))
		return nil
	}
	defer tx.Rollback() // after a commit this does nothing

	b := &batch{tx: tx, epoch: -1, done: make([]*change, 0, len(changes))}
	for i, c := range changes {
		t, err := db.runOne(ctx, b, c, len(changes) == 1)
		switch {
		case err == nil:
			b.done = append(b.done, c)
			b.events = append(b.events, t.events...)
			b.checks = append(b.checks, t.checks...)
			b.moved = b.moved || t.moved
		case errors.Is(err, errBroken) || db.engine.isBroken(err):
			// The transaction is lost for everybody: nothing of it happened.
			db.fail(append(append(b.done, b.refusals()...), c), ErrUnavailable, err)
			return append(again, changes[i+1:]...)
		case errors.Is(err, errStale) || db.engine.isRetryable(err):
			if c.runs < maxReruns {
				again = append(again, c)
				continue
			}
			c.done <- ErrUnavailable.Because(err)
		case len(b.done) > 0:
			b.no = append(b.no, refused{c, err})
		default:
			c.done <- err
		}
	}
	if len(b.done) == 0 {
		return again
	}
	f, epoch, err := db.finish(ctx, b)
	if err != nil {
		b.done = append(b.done, b.refusals()...)
		if (errors.Is(err, errStale) || db.engine.isRetryable(err)) && retry(b.done) {
			return append(again, b.done...)
		}
		kind := ErrUnavailable
		if errors.Is(err, errUncertain) {
			kind = ErrUncertain
		}
		db.fail(b.done, kind, err)
		return again
	}
	db.log.frontier = f
	if b.moved {
		db.sawEpoch(epoch)
	}
	if db.refused > 0 {
		db.logger.Info("recording works again", slog.Int("refused", db.refused))
		db.refused = 0
	}
	for _, c := range b.done {
		c.done <- nil
	}
	for _, r := range b.no {
		r.change.done <- r.err
	}
	if len(b.events) > 0 {
		db.wake.broadcast()
	}
	return again
}

// finish counts the epoch, appends the events, confirms what has to be, and
// commits. It returns the tree's frontier and the authority epoch after it.
func (db *DB) finish(ctx context.Context, b *batch) (after audit.Frontier, epoch int64, err error) {
	if b.moved {
		if err := b.tx.QueryRowContext(ctx, bumpEpochQ).Scan(&epoch); err != nil {
			return after, 0, fmt.Errorf("count authority epoch: %w", err)
		}
		// This holds the row to the commit: nobody else moves authority now.
		// Whoever did since it was checked has to be taken into account.
		if b.epoch >= 0 && epoch != b.epoch+1 {
			return after, 0, fmt.Errorf("authority moved: %w", errStale)
		}
	}
	after, added, err := db.log.append(ctx, b.tx, b.events)
	if err != nil {
		return after, 0, err
	}
	if len(b.events) > 0 && db.engine.shared() {
		if err := db.confirmAll(ctx, b); err != nil {
			return after, 0, err
		}
		if err := db.engine.notify(ctx, b.tx); err != nil {
			return after, 0, err
		}
	}
	if err := b.tx.Commit(); err != nil {
		return after, epoch, db.committed(fmt.Errorf("commit: %w", err), added)
	}
	return after, epoch, nil
}

// confirmAll looks again, under the audit head, at what other replicas may
// have changed since it was checked.
func (db *DB) confirmAll(ctx context.Context, b *batch) error {
	if b.epoch >= 0 && !b.moved {
		n, err := currentEpoch(ctx, b.tx)
		if err != nil {
			return err
		}
		if db.sawEpoch(n) != b.epoch {
			return fmt.Errorf("authority moved: %w", errStale)
		}
	}
	for _, check := range b.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// runOne runs c in a savepoint of its own, so that its failure does not fail
// its neighbours. A lone change needs none: the transaction is its savepoint.
func (db *DB) runOne(ctx context.Context, b *batch, c *change, lone bool) (*Tx, error) {
	c.runs++
	tx := &Tx{queries: b.tx, ctx: ctx, db: db, batch: b}
	if lone {
		return tx, tx.run(c)
	}
	if _, err := tx.ExecContext(ctx, savepointQ); err != nil {
		return tx, errors.Join(errBroken, fmt.Errorf("savepoint: %w", err))
	}
	err := tx.run(c)
	if err != nil {
		if _, undoErr := tx.ExecContext(ctx, undoQ); undoErr != nil {
			return tx, errors.Join(errBroken, err, fmt.Errorf("undo change: %w", undoErr))
		}
	}
	// Undoing leaves the savepoint in place, so it ends in either case.
	if _, endErr := tx.ExecContext(ctx, releaseQ); endErr != nil {
		return tx, errors.Join(errBroken, err, fmt.Errorf("end savepoint: %w", endErr))
	}
	return tx, err
}

const (
	savepointQ = `savepoint change`
	undoQ      = `rollback to savepoint change`
	releaseQ   = `release savepoint change`
)

// run runs c and checks its events, so that one which cannot be recorded fails
// its own change and not the batch.
func (tx *Tx) run(c *change) error {
	if err := c.run(tx); err != nil {
		return err
	}
	for _, e := range tx.events {
		if err := e.Check(); err != nil {
			return fmt.Errorf("record change: %w", err)
		}
	}
	return nil
}

// fail answers changes that did not happen because the database failed. A
// full disk fails every change of every caller, so only the first is logged
// until one succeeds.
func (db *DB) fail(changes []*change, kind *fault.Error, err error) {
	if db.refused == 0 {
		db.logger.Error("recording fails, and so does everything that has to be recorded", slog.Int("changes", len(changes)), slog.Any("error", err))
	}
	db.refused += len(changes)
	for _, c := range changes {
		c.done <- kind.Because(err)
	}
}

func retry(changes []*change) bool {
	for _, c := range changes {
		if c.runs >= maxReruns {
			return false
		}
	}
	return true
}

// errUncertain means that nobody knows whether a commit took place.
var errUncertain = errors.New("store: commit without an answer")

// committed finds out what became of a commit that failed with err. added is
// the first of the hashes that it stores. A server that answers has not
// committed. When the connection was lost instead, the transaction may have
// got through; taking the audit head, which it held, waits for its end, and
// then its hash is there or not.
func (db *DB) committed(err error, added *storedHash) error {
	if !db.engine.isLost(err) {
		return err
	}
	if added == nil {
		return errors.Join(errUncertain, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	there, askErr := db.hasHash(ctx, added)
	switch {
	case askErr != nil:
		return errors.Join(errUncertain, err, askErr)
	case there:
		return nil
	}
	return err
}

func (db *DB) hasHash(ctx context.Context, h *storedHash) (bool, error) {
	tx, err := db.begin(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for a commit: %w", err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRowContext(ctx, holdHeadQ).Scan(&n); err != nil {
		return false, fmt.Errorf("ask for a commit: %w", err)
	}
	if err := tx.QueryRowContext(ctx, hasHashQ, h.index, h.hash[:]).Scan(&n); err != nil {
		return false, fmt.Errorf("ask for a commit: %w", err)
	}
	return n == 1, nil
}

const (
	bumpEpochQ = `update authority set epoch = epoch + 1 where id = 1 returning epoch`
	epochQ     = `select epoch from authority where id = 1`
	holdHeadQ  = `update audit_head set size = size where id = 1 returning id`
	hasHashQ   = `select count(*) from audit_hashes where idx = $1 and hash = $2`
)

func currentEpoch(ctx context.Context, q queries) (int64, error) {
	var n int64
	if err := q.QueryRowContext(ctx, epochQ).Scan(&n); err != nil {
		return 0, fmt.Errorf("read authority epoch: %w", err)
	}
	return n, nil
}

// batchContext bounds a batch where the database is another process. On
// SQLite it would only cost: a context that can end is watched at each
// statement.
func (db *DB) batchContext() (context.Context, context.CancelFunc) {
	if !db.engine.shared() {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), batchTimeout)
}
