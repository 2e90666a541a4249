package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

//go:embed migrations
var migrations embed.FS

// RowMAC authenticates rows that carry authority; package seal has it.
type RowMAC interface {
	Sum(table string, fields ...[]byte) []byte
	Verify(mac []byte, table string, fields ...[]byte) bool
}

// engine is what differs between the two databases.
type engine interface {
	name() string
	isDuplicate(error) bool // a unique key exists already
	isBroken(error) bool    // the whole transaction is lost
	isRetryable(error) bool // the same transaction may succeed when run again
	now() string            // SQL for the current time in Unix microseconds
	// notify tells other replicas, on commit, that the log grew.
	notify(context.Context, *sql.Tx) error
}

// DB is an open database. Stores of nouns are made from it.
type DB struct {
	engine engine
	writer *sql.DB // SQLite: one connection; PostgreSQL: the same pool as reader
	reader *sql.DB
	mac    RowMAC
	logger *slog.Logger

	queue   chan *change
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
	listen  func() // stops listening for other replicas

	log   eventLog
	epoch atomic.Int64
	fresh atomic.Int64 // when epoch was last read from the database, Unix µs
	wake  wakeup
}

// Open opens the database at dsn, brings its schema up to date under a lock,
// and starts the writer. dsn is "sqlite:PATH" or "postgres://…"; the latter
// may carry a password and is therefore a secret.
func Open(ctx context.Context, dsn secret.Text, log *slog.Logger) (*DB, error) {
	db := &DB{
		logger: log, mac: noMAC{},
		queue: make(chan *change, 4*maxBatch), stop: make(chan struct{}), stopped: make(chan struct{}), listen: func() {},
	}
	var err error
	switch scheme, rest, _ := strings.Cut(dsn.Reveal(), ":"); scheme {
	case "sqlite":
		err = db.openSQLite(rest)
	case "postgres", "postgresql":
		err = db.openPostgres(ctx, dsn)
	default:
		return nil, fault.New(fault.Invalid, "bad_database", "The database must be sqlite:PATH or postgres://…")
	}
	if err != nil {
		return nil, err
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.reader.Close(), db.writer.Close())
	}
	go db.writeLoop()
	return db, nil
}

// Authenticate sets the key that rows with authority are checked by. It is
// called once, between opening the database and its first use; without it such
// rows can be neither read nor written.
func (db *DB) Authenticate(mac RowMAC) { db.mac = mac }

// noMAC refuses everything, until Authenticate has been called.
type noMAC struct{}

func (noMAC) Sum(string, ...[]byte) []byte                { panic("store: no row key yet") }
func (noMAC) Verify(_ []byte, _ string, _ ...[]byte) bool { return false }

// prepare migrates and reads what the writer keeps in memory.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.migrate(ctx); err != nil {
		return err
	}
	var size int64
	var root []byte
	if err := db.reader.QueryRowContext(ctx, headQ).Scan(&size, &root); err != nil {
		return fmt.Errorf("read audit head: %w", err)
	}
	var err error
	if db.log.frontier, err = audit.Restore(size, hashReader{ctx, db.reader}); err != nil {
		return err
	}
	if got := db.log.frontier.Head(); string(got.Root[:]) != string(root) {
		return fault.New(fault.Conflict, "audit_damaged", "The audit log does not match its own head: it was changed outside of Valetkey. Run 'valetkey audit verify' on a copy to find where.")
	}
	_, err = db.readEpoch(ctx)
	return err
}

// Close stops the writer, after what it has taken is durable, and closes the
// database.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.stop)
		db.listen()
	})
	<-db.stopped
	if db.reader == db.writer {
		return db.reader.Close()
	}
	return errors.Join(db.reader.Close(), db.writer.Close())
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.reader.QueryRowContext(ctx, "select 1").Scan(&one)
}

// Engine is "sqlite" or "postgres".
func (db *DB) Engine() string { return db.engine.name() }

const epochQ = `select epoch from authority where id = 1`

func (db *DB) readEpoch(ctx context.Context) (int64, error) {
	var n int64
	if err := db.reader.QueryRowContext(ctx, epochQ).Scan(&n); err != nil {
		return 0, fmt.Errorf("read authority epoch: %w", err)
	}
	db.epoch.Store(n)
	db.fresh.Store(time.Now().UnixMicro())
	return n, nil
}

// maxEpochAge is how old a replica's knowledge of the authority epoch may be.
const maxEpochAge = time.Second

// Epoch counts changes of authority: agents, keys, grants, policies, people,
// freezes, connections. What was judged under one epoch must be judged again
// under another. On SQLite this process makes every change and knows; on
// PostgreSQL the number is as old as the last wake-up or poll, and a number
// older than a second is read again.
func (db *DB) Epoch(ctx context.Context) (int64, error) {
	if db.engine.name() == "sqlite" {
		return db.epoch.Load(), nil
	}
	if time.Since(time.UnixMicro(db.fresh.Load())) < maxEpochAge/2 {
		return db.epoch.Load(), nil
	}
	return db.readEpoch(ctx)
}

// checkEpoch fails with ErrMoved when authority changed since epoch.
func (tx *Tx) checkEpoch(epoch int64) error {
	var n int64
	if err := tx.QueryRowContext(tx.ctx, epochQ).Scan(&n); err != nil {
		return fmt.Errorf("read authority epoch: %w", err)
	}
	if n != epoch {
		return ErrMoved
	}
	return nil
}

// ErrMoved means that authority changed between judging and recording: judge
// again.
var ErrMoved = fault.New(fault.Conflict, "authority_moved", "The rules changed while this was being decided; try again.")

// ---- SQLite

type sqliteEngine struct{}

func (sqliteEngine) name() string { return "sqlite" }

func (sqliteEngine) isDuplicate(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isBroken names the errors on which SQLite itself rolls the transaction back.
func (sqliteEngine) isBroken(err error) bool {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, sql.ErrConnDone) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_NOMEM, sqlitelib.SQLITE_INTERRUPT, sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_BUSY:
		return true
	}
	return false
}

func (sqliteEngine) isRetryable(error) bool { return false }

func (sqliteEngine) now() string { return "cast(unixepoch('now', 'subsec') * 1000000 as integer)" }

// notify has nobody to tell: one process owns the file.
func (sqliteEngine) notify(context.Context, *sql.Tx) error { return nil }

func (db *DB) openSQLite(path string) error {
	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return fault.New(fault.Invalid, "bad_database", "sqlite: needs a path, as in sqlite:/var/lib/valetkey/valetkey.db")
	}
	db.engine = sqliteEngine{}
	// The file holds sealed tokens and everybody's history: nobody else reads it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.New(fault.Unavailable, "bad_database", fmt.Sprintf("Cannot open %s: check that its directory exists and is writable.", filepath.Base(path))).Because(err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	open := func(conns int, params ...string) (*sql.DB, error) {
		q := url.Values{"_pragma": append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "secure_delete(ON)"}, params...)}
		q.Set("_txlock", "immediate")
		h, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		h.SetMaxOpenConns(conns)
		h.SetMaxIdleConns(conns)
		return h, nil
	}
	if db.writer, err = open(1); err != nil {
		return err
	}
	db.reader, err = open(max(4, 2*runtime.NumCPU()), "query_only(ON)")
	return err
}

// ---- PostgreSQL

type postgresEngine struct{}

func (postgresEngine) name() string { return "postgres" }

func (postgresEngine) isDuplicate(err error) bool { return pgCode(err) == "23505" }

func (postgresEngine) isBroken(err error) bool {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, sql.ErrConnDone) || pgconn.SafeToRetry(err) {
		return true
	}
	class := pgCode(err)
	return len(class) >= 2 && (class[:2] == "08" || class[:2] == "57" || class[:2] == "53" || class == "25P02")
}

func (postgresEngine) isRetryable(err error) bool {
	c := pgCode(err)
	return c == "40001" || c == "40P01"
}

func (postgresEngine) now() string {
	return "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)"
}

func (postgresEngine) notify(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "notify valetkey_log"); err != nil {
		return fmt.Errorf("notify replicas: %w", err)
	}
	return nil
}

func pgCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func (db *DB) openPostgres(ctx context.Context, dsn secret.Text) error {
	db.engine = postgresEngine{}
	cfg, err := pgx.ParseConfig(dsn.Reveal())
	if err != nil {
		// The parser's error quotes the string, password and all.
		return fault.New(fault.Invalid, "bad_database", "The PostgreSQL URL cannot be read; it must look like postgres://user@host/database.")
	}
	db.reader = stdlib.OpenDB(*cfg)
	db.reader.SetMaxOpenConns(16)
	db.reader.SetMaxIdleConns(16)
	db.writer = db.reader
	if err := db.reader.PingContext(ctx); err != nil {
		return fault.New(fault.Unavailable, "bad_database", "PostgreSQL does not answer at the given URL; check that it runs and lets this user in.").Because(err)
	}
	loop, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		db.follow(loop, cfg)
	}()
	db.listen = func() { cancel(); <-ended }
	return nil
}

// follow wakes this replica's waiters when another one commits: by NOTIFY,
// with a slow poll behind it for when the listening connection is down.
func (db *DB) follow(ctx context.Context, cfg *pgx.ConnConfig) {
	for ctx.Err() == nil {
		if err := db.followOnce(ctx, cfg); err != nil && ctx.Err() == nil {
			db.logger.Warn("listening for other replicas was interrupted", slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
			db.poll(ctx)
		}
	}
}

const pollEvery = 250 * time.Millisecond

func (db *DB) followOnce(ctx context.Context, cfg *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "listen valetkey_log"); err != nil {
		return err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, pollEvery)
		_, err := conn.WaitForNotification(wait)
		timeout := wait.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !timeout:
			return err
		}
		db.poll(ctx)
	}
}

func (db *DB) poll(ctx context.Context) {
	if _, err := db.readEpoch(ctx); err != nil && ctx.Err() == nil {
		db.logger.Warn("reading the authority epoch", slog.Any("error", err))
	}
	db.wake.broadcast()
}

// ---- migrations

func (db *DB) migrate(ctx context.Context) error {
	dialect, dir := goose.DialectSQLite3, "migrations/sqlite"
	if db.engine.name() == "postgres" {
		dialect, dir = goose.DialectPostgres, "migrations/postgres"
		unlock, err := db.lockSchema(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, db.writer, files, goose.WithSlog(db.logger))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > target {
		return fault.New(fault.Conflict, "newer_schema", fmt.Sprintf("This database has schema %d, this program knows %d: run the newer program.", current, target))
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// schemaLock is the advisory lock under which replicas migrate one at a time.
const schemaLock = 0x76616c65746b6579 & 0x7fffffffffffffff // "valetkey"

func (db *DB) lockSchema(ctx context.Context) (unlock func(), err error) {
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock schema: %w", err)
	}
	if _, err := conn.ExecContext(ctx, "select pg_advisory_lock($1)", int64(schemaLock)); err != nil {
		return nil, errors.Join(fmt.Errorf("lock schema: %w", err), conn.Close())
	}
	return func() {
		// Closing the session releases the lock even when unlocking fails.
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", int64(schemaLock)); err != nil {
			db.logger.Warn("unlock schema", slog.Any("error", err))
		}
		if err := conn.Close(); err != nil {
			db.logger.Warn("unlock schema", slog.Any("error", err))
		}
	}, nil
}

// ---- wake-ups

// wakeup is a broadcast: everybody who waits is woken by the next commit.
type wakeup struct {
	mu sync.Mutex
	ch chan struct{}
}

func (w *wakeup) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch == nil {
		w.ch = make(chan struct{})
	}
	return w.ch
}

func (w *wakeup) broadcast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
}
