package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// postgresEngine is a server that several replicas share.
type postgresEngine struct{}

func (postgresEngine) name() string { return "postgres" }

func (postgresEngine) shared() bool { return true }

func (postgresEngine) isDuplicate(err error) bool { return pgCode(err) == "23505" }

// isBroken: connection exceptions (08), operator intervention such as a
// shutdown (57), no resources left such as a full disk (53), I/O errors (58),
// a read-only server after a failover (25006), and whatever a connection says
// that is no answer of the server.
func (e postgresEngine) isBroken(err error) bool {
	if errors.Is(err, sql.ErrTxDone) || e.isLost(err) {
		return true
	}
	c := pgCode(err)
	if len(c) < 2 {
		return false
	}
	switch c[:2] {
	case "08", "53", "57", "58":
		return true
	}
	return c == "25P02" || c == "25006"
}

func (postgresEngine) isLost(err error) bool {
	if c := pgCode(err); c != "" {
		return len(c) >= 2 && (c[:2] == "08" || c[:2] == "57")
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		pgconn.SafeToRetry(err)
}

// isRetryable: a serialization failure or a deadlock, of which the server
// chose us as the victim.
func (postgresEngine) isRetryable(err error) bool {
	c := pgCode(err)
	return c == "40001" || c == "40P01"
}

func (postgresEngine) now() string {
	return "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)"
}

func (postgresEngine) notify(ctx context.Context, q queries) error {
	if _, err := q.ExecContext(ctx, "notify valetkey_log"); err != nil {
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
	// The driver keeps statements compiled by itself.
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(planAfresh))
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(16)
	db.pools = append(db.pools, pool.Close)
	db.reader, db.readers, db.writer = pool, pool, pool
	db.begin = func(ctx context.Context) (transaction, error) {
		// Each statement sees what is committed by then, whatever the server's
		// default is: what is confirmed under the audit head depends on it.
		tx, err := pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return nil, err
		}
		return tx, nil
	}
	db.follow = func(ctx context.Context) { db.followLog(ctx, cfg) }
	if err := pool.PingContext(ctx); err != nil {
		return fault.New(fault.Unavailable, "bad_database", "PostgreSQL does not answer at the given URL; check that it runs and lets this user in.").Because(err)
	}
	return nil
}

// planAfresh keeps the server from settling on a plan. It would after five
// runs of a statement, and while our tables are small any index looks as good
// as another to it: of the two lookups in a join it then reads all of the org
// for each, until its statistics are renewed, a minute and many thousand rows
// later.
func planAfresh(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "set plan_cache_mode = force_custom_plan")
	return err
}

// pollEvery is how long a commit of another replica may go unnoticed when its
// notification is lost.
const pollEvery = 250 * time.Millisecond

// followLog wakes this replica's waiters when another one commits: by NOTIFY,
// with a slow poll behind it for when the listening connection is down.
func (db *DB) followLog(ctx context.Context, cfg *pgx.ConnConfig) {
	for ctx.Err() == nil {
		if err := db.listen(ctx, cfg); err != nil && ctx.Err() == nil {
			db.logger.Warn("listening for other replicas was interrupted", slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
			db.poll(ctx)
		}
	}
}

func (db *DB) listen(ctx context.Context, cfg *pgx.ConnConfig) error {
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
