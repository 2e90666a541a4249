package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/valetkey/valetkey/internal/fault"
)

// sqliteEngine keeps everything in one file, which one process owns.
type sqliteEngine struct{}

func (sqliteEngine) name() string { return "sqlite" }

func (sqliteEngine) shared() bool { return false }

func (sqliteEngine) isDuplicate(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// isBroken names the errors on which SQLite itself rolls the transaction back,
// or after which nothing more can be written in it.
func (sqliteEngine) isBroken(err error) bool {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, sql.ErrConnDone) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_NOMEM, sqlitelib.SQLITE_INTERRUPT, sqlitelib.SQLITE_CORRUPT,
		sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_NOTADB:
		return true
	}
	return false
}

func (sqliteEngine) isLost(error) bool { return false }

func (sqliteEngine) isRetryable(error) bool { return false }

func (sqliteEngine) now() string { return "cast(unixepoch('now', 'subsec') * 1000000 as integer)" }

// notify has nobody to tell.
func (sqliteEngine) notify(context.Context, queries) error { return nil }

// busyTimeout, in milliseconds, is how long somebody else (a backup, a shell)
// may hold the file's lock before changes are refused.
const busyTimeout = "5000"

var errInUse = fault.New(fault.Conflict, "database_in_use", "Another valetkey process uses this database: stop it first, or use PostgreSQL to run several.")

func (db *DB) openSQLite(path string) error {
	path = strings.TrimPrefix(path, "//")
	if path == "" {
		return fault.New(fault.Invalid, "bad_database", "sqlite: needs a path, as in sqlite:/var/lib/valetkey/valetkey.db")
	}
	db.engine = sqliteEngine{}
	// The process that has this lock owns the database: its writer keeps the
	// head of the audit log and the authority epoch in memory. The lock is on a
	// file of its own, because closing any descriptor of the database would
	// drop the locks that SQLite holds on it (fcntl(2), "advisory record
	// locking"). It ends with the process, however that ends; the file stays.
	unlock, err := lockFile(path + ".lock")
	if errors.Is(err, errLocked) {
		return errInUse.Because(err)
	}
	if err != nil {
		return cannotOpen(path, err)
	}
	defer func() {
		db.pools = append(db.pools, unlock) // after the others
	}()
	// The file holds sealed tokens and everybody's history: nobody else reads it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return cannotOpen(path, err)
	}
	if err := f.Close(); err != nil {
		return cannotOpen(path, err)
	}
	open := func(conns int, params ...string) (*compiled, error) {
		q := url.Values{"_pragma": append([]string{"busy_timeout(" + busyTimeout + ")", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "secure_delete(ON)"}, params...)}
		q.Set("_txlock", "immediate")
		h, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, cannotOpen(path, err)
		}
		h.SetMaxOpenConns(conns)
		h.SetMaxIdleConns(conns)
		c := newCompiled(h)
		db.pools = append(db.pools, c.close)
		return c, nil
	}
	reader, err := open(max(4, 2*runtime.NumCPU()), "query_only(ON)")
	if err != nil {
		return err
	}
	writer, err := open(1)
	if err != nil {
		return err
	}
	db.reader, db.readers, db.writer, db.begin = reader, reader.db, writer.db, writer.begin
	return nil
}

func cannotOpen(path string, err error) error {
	return fault.New(fault.Unavailable, "bad_database", fmt.Sprintf("Cannot open %s: check that its directory exists and is writable.", filepath.Base(path))).Because(err)
}

// errLocked means that another process has the lock.
var errLocked = errors.New("locked by another process")
