package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"

	"github.com/valetkey/valetkey/internal/fault"
)

//go:embed migrations
var migrations embed.FS

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
