package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
)

// maxBatch is how many changes share a transaction. A batch is whatever has
// queued up while the one before it was committed: nobody waits for a timer,
// and a lone change commits at once.
const maxBatch = 64

// maxReruns bounds how often a change is run again because another replica
// moved the row underneath.
const maxReruns = 8

// ErrUnavailable is what a caller sees when a change could not be recorded:
// then it did not happen.
var ErrUnavailable = fault.New(fault.Unavailable, "storage_unavailable", "Nothing was done, because it could not be recorded; try again shortly.")

// Tx is the transaction that a change runs in.
type Tx struct {
	*sql.Tx
	ctx    context.Context
	db     *DB
	events []audit.Event
	moved  bool // authority changed: the epoch must be counted up
}

// Emit adds events that commit with the change.
func (tx *Tx) Emit(events ...audit.Event) { tx.events = append(tx.events, events...) }

// moveAuthority says that what was decided before may not hold any more.
func (tx *Tx) moveAuthority() { tx.moved = true }

// errBroken means that the whole transaction is lost, not just one change.
var errBroken = errors.New("store: transaction broken")

type change struct {
	ctx  context.Context
	run  func(*Tx) error
	done chan error
	runs int
}

// write runs change on the writer and waits until it is durable. The change
// may run again if its batch has to be repeated.
func (db *DB) write(ctx context.Context, run func(*Tx) error) error {
	c := &change{ctx: ctx, run: run, done: make(chan error, 1)}
	select {
	case db.queue <- c:
	case <-db.stopped:
		return ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
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

// writeLoop is the one goroutine that writes.
func (db *DB) writeLoop() {
	defer close(db.stopped)
	batch := make([]*change, 0, maxBatch)
	for {
		var first *change
		select {
		case first = <-db.queue:
		case <-db.stop:
			return
		}
		batch = append(batch[:0], first)
		for len(batch) < maxBatch {
			select {
			case c := <-db.queue:
				batch = append(batch, c)
				continue
			default:
			}
			break
		}
		for rest := batch; len(rest) > 0; {
			rest = db.commit(rest)
		}
	}
}

// commit runs a batch in one transaction and answers its changes; it returns
// those that have to run again.
func (db *DB) commit(batch []*change) (again []*change) {
	ctx := context.Background() // a batch belongs to no single caller
	sqlTx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		db.fail(batch, fmt.Errorf("begin: %w", err))
		return nil
	}
	defer sqlTx.Rollback() // after a commit this does nothing

	var done []*change
	var events []audit.Event
	moved, lone := false, len(batch) == 1
	for i, c := range batch {
		if err := c.ctx.Err(); err != nil {
			c.done <- err
			continue
		}
		tx := &Tx{Tx: sqlTx, ctx: ctx, db: db}
		if err := db.runOne(tx, c, lone); err != nil {
			if errors.Is(err, errStale) && c.runs < maxReruns {
				again = append(again, c)
				continue
			}
			if errors.Is(err, errBroken) || db.engine.isBroken(err) {
				// The transaction is lost for everybody: nothing of it happened.
				db.fail(append(done, c), err)
				return append(again, batch[i+1:]...)
			}
			c.done <- err
			continue
		}
		done = append(done, c)
		events = append(events, tx.events...)
		moved = moved || tx.moved
	}
	if len(done) == 0 {
		return again
	}
	epoch := int64(-1)
	if moved {
		if epoch, err = bumpEpoch(ctx, sqlTx); err != nil {
			db.fail(done, err)
			return again
		}
	}
	undo, err := db.log.append(ctx, sqlTx, events)
	if err == nil && len(events) > 0 {
		err = db.engine.notify(ctx, sqlTx)
	}
	if err == nil {
		if err = sqlTx.Commit(); err != nil {
			err = fmt.Errorf("commit: %w", err)
		}
	}
	if err != nil {
		undo()
		if db.engine.isRetryable(err) && retry(done) {
			return append(again, done...)
		}
		db.fail(done, err)
		return again
	}
	if epoch >= 0 {
		db.epoch.Store(epoch)
	}
	for _, c := range done {
		c.done <- nil
	}
	if len(events) > 0 {
		db.wake.broadcast()
	}
	return again
}

// runOne runs c in a savepoint of its own, so that its failure does not fail
// its neighbours. A lone change needs none: the transaction is its savepoint.
func (db *DB) runOne(tx *Tx, c *change, lone bool) error {
	c.runs++
	if lone {
		return tx.run(c)
	}
	if _, err := tx.ExecContext(tx.ctx, "savepoint change"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	err := tx.run(c)
	end := "release savepoint change"
	if err != nil {
		end = "rollback to savepoint change"
	}
	if _, endErr := tx.ExecContext(tx.ctx, end); endErr != nil {
		return errors.Join(errBroken, err, fmt.Errorf("%s: %w", end, endErr))
	}
	return err
}

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

// fail answers changes that did not happen because the database failed.
func (db *DB) fail(batch []*change, err error) {
	db.logger.Error("transaction failed", slog.Int("changes", len(batch)), slog.Any("error", err))
	for _, c := range batch {
		c.done <- ErrUnavailable.Because(err)
	}
}

func retry(batch []*change) bool {
	for _, c := range batch {
		if c.runs >= maxReruns {
			return false
		}
	}
	return true
}

const bumpEpochQ = `update authority set epoch = epoch + 1 where id = 1 returning epoch`

func bumpEpoch(ctx context.Context, tx *sql.Tx) (int64, error) {
	var epoch int64
	if err := tx.QueryRowContext(ctx, bumpEpochQ).Scan(&epoch); err != nil {
		return 0, fmt.Errorf("count authority epoch: %w", err)
	}
	return epoch, nil
}
