package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// queries is what *sql.DB and *sql.Tx share.
type queries interface {
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
	ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error)
}

// transaction is what a batch runs in.
type transaction interface {
	queries
	Commit() error
	Rollback() error
}

// maxCompiled bounds how many statements are kept: all texts there are, with
// room to spare.
const maxCompiled = 500

// compiled is a pool whose statements are compiled once for each connection.
// On SQLite compiling one takes longer than running it. It is safe for
// concurrent use, but a statement that runs in a transaction for the first
// time is compiled for good only when that transaction has ended: the writer
// has one connection.
type compiled struct {
	db *sql.DB

	mu    sync.RWMutex
	stmts map[string]*sql.Stmt
}

func newCompiled(db *sql.DB) *compiled {
	return &compiled{db: db, stmts: make(map[string]*sql.Stmt)}
}

func (c *compiled) known(q string) *sql.Stmt {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.stmts[q]
}

// stmt returns q compiled; nil when that fails, or there are too many: then q
// runs as it is, and says itself what is wrong with it.
func (c *compiled) stmt(ctx context.Context, q string) *sql.Stmt {
	c.mu.RLock()
	s, full := c.stmts[q], len(c.stmts) >= maxCompiled
	c.mu.RUnlock()
	if s != nil || full {
		return s
	}
	// Compiling takes a connection, and may wait for one: not under the lock.
	s, err := c.db.PrepareContext(ctx, q)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if faster := c.stmts[q]; faster != nil {
		s.Close()
		return faster
	}
	c.stmts[q] = s
	return s
}

func (c *compiled) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if s := c.stmt(ctx, q); s != nil {
		return s.QueryContext(ctx, args...)
	}
	return c.db.QueryContext(ctx, q, args...)
}

func (c *compiled) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if s := c.stmt(ctx, q); s != nil {
		return s.QueryRowContext(ctx, args...)
	}
	return c.db.QueryRowContext(ctx, q, args...)
}

func (c *compiled) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if s := c.stmt(ctx, q); s != nil {
		return s.ExecContext(ctx, args...)
	}
	return c.db.ExecContext(ctx, q, args...)
}

// close frees the statements and closes the pool.
func (c *compiled) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	clear(c.stmts)
	return errors.Join(append(errs, c.db.Close())...)
}

// begin starts a transaction that runs compiled statements.
func (c *compiled) begin(ctx context.Context) (transaction, error) {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &compiledTx{Tx: tx, from: c, bound: make(map[string]*sql.Stmt, 16)}, nil
}

// compiledTx is a transaction over compiled statements.
type compiledTx struct {
	*sql.Tx
	from  *compiled
	bound map[string]*sql.Stmt // nil for a text that was not compiled yet
}

func (t *compiledTx) stmt(ctx context.Context, q string) *sql.Stmt {
	s, seen := t.bound[q]
	if seen {
		return s
	}
	if known := t.from.known(q); known != nil {
		s = t.Tx.StmtContext(ctx, known)
	}
	t.bound[q] = s
	return s
}

func (t *compiledTx) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if s := t.stmt(ctx, q); s != nil {
		return s.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, q, args...)
}

func (t *compiledTx) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if s := t.stmt(ctx, q); s != nil {
		return s.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, q, args...)
}

func (t *compiledTx) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if s := t.stmt(ctx, q); s != nil {
		return s.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, q, args...)
}

// Commit commits, and compiles what was met for the first time.
func (t *compiledTx) Commit() error {
	if err := t.Tx.Commit(); err != nil {
		return err
	}
	for q, s := range t.bound {
		if s == nil {
			t.from.stmt(context.Background(), q)
		}
	}
	return nil
}
