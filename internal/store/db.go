package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// RowMAC authenticates rows that carry authority; package seal has it.
type RowMAC interface {
	Sum(table string, fields ...[]byte) []byte
	Verify(mac []byte, table string, fields ...[]byte) bool
}

// engine is what differs between the two databases.
type engine interface {
	name() string
	shared() bool           // other processes may write too
	isDuplicate(error) bool // a unique key exists already
	isBroken(error) bool    // the whole transaction is lost
	isLost(error) bool      // and the server did not say so itself
	isRetryable(error) bool // the same transaction may succeed when run again
	now() string            // SQL for the current time in Unix microseconds
	// notify tells other replicas, on commit, that the log grew.
	notify(context.Context, queries) error
}

// DB is an open database. Stores of nouns are made from it.
type DB struct {
	engine engine
	logger *slog.Logger
	mac    RowMAC

	writer  *sql.DB // SQLite: one connection; PostgreSQL: the same pool as for reading
	begin   func(context.Context) (transaction, error)
	reader  queries
	readers *sql.DB        // what reader runs on
	pools   []func() error // closes what Open opened, in this order
	follow  func(context.Context)

	queue   chan *change
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
	closed  error
	leave   context.CancelFunc // ends following
	left    sync.WaitGroup

	log     eventLog
	refused int // changes since the last that could be recorded; the writer's own
	epoch   atomic.Int64
	fresh   atomic.Int64 // when epoch was last read from the database, Unix µs
	wake    wakeup
}

// Open opens the database at dsn, brings its schema up to date under a lock,
// and starts the writer. dsn is "sqlite:PATH" or "postgres://…"; the latter
// may carry a password and is therefore a secret.
func Open(ctx context.Context, dsn secret.Text, log *slog.Logger) (*DB, error) {
	db := &DB{
		logger: log, mac: noMAC{}, follow: func(context.Context) {},
		queue: make(chan *change, 4*maxBatch), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	var err error
	switch scheme, rest, _ := strings.Cut(dsn.Reveal(), ":"); scheme {
	case "sqlite":
		err = db.openSQLite(rest)
	case "postgres", "postgresql":
		err = db.openPostgres(ctx, dsn)
	default:
		err = fault.New(fault.Invalid, "bad_database", "The database must be sqlite:PATH or postgres://…")
	}
	if err == nil {
		err = db.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.closePools())
	}
	following, leave := context.WithCancel(context.Background())
	db.leave = leave
	db.left.Go(func() { db.follow(following) })
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
		return errDamaged.Because(err)
	}
	if got := db.log.frontier.Head(); string(got.Root[:]) != string(root) {
		return errDamaged
	}
	_, err = db.readEpoch(ctx)
	return err
}

var errDamaged = fault.New(fault.Conflict, "audit_damaged", "The audit log does not match its own head: it was changed outside of Valetkey. Run 'valetkey audit verify' on a copy to find where.")

// Close stops the writer, after what it has taken is durable, and closes the
// database. Changes that still wait for the writer do not happen.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.stop)
		db.leave()
		db.left.Wait()
		<-db.stopped
		db.closed = db.closePools()
	})
	return db.closed
}

func (db *DB) closePools() error {
	var errs []error
	for _, pool := range db.pools {
		errs = append(errs, pool())
	}
	return errors.Join(errs...)
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.reader.QueryRowContext(ctx, "select 1").Scan(&one)
}

// Engine is "sqlite" or "postgres".
func (db *DB) Engine() string { return db.engine.name() }

func (db *DB) readEpoch(ctx context.Context) (int64, error) {
	asked := time.Now()
	n, err := currentEpoch(ctx, db.reader)
	if err != nil {
		return 0, err
	}
	db.fresh.Store(asked.UnixMicro())
	return db.sawEpoch(n), nil
}

// sawEpoch remembers the newest epoch seen: one that was read before the
// writer's last commit may arrive after it.
func (db *DB) sawEpoch(n int64) int64 {
	for {
		known := db.epoch.Load()
		if n <= known {
			return known
		}
		if db.epoch.CompareAndSwap(known, n) {
			return n
		}
	}
}

// maxEpochAge is how old a replica's knowledge of the authority epoch may be.
const maxEpochAge = 500 * time.Millisecond

// Epoch counts changes of authority: agents, keys, grants, policies, people,
// freezes, connections. What was judged under one epoch must be judged again
// under another. On SQLite this process makes every change and knows; on
// PostgreSQL the number is as old as the last wake-up or poll, and an older
// one is read again.
func (db *DB) Epoch(ctx context.Context) (int64, error) {
	if !db.engine.shared() || time.Since(time.UnixMicro(db.fresh.Load())) < maxEpochAge {
		return db.epoch.Load(), nil
	}
	return db.readEpoch(ctx)
}

// ErrMoved means that authority changed between judging and recording: judge
// again.
var ErrMoved = broker.ErrMoved
