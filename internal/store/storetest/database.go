package storetest

import (
	"database/sql"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx", for Raw
	_ "modernc.org/sqlite"             // database/sql driver "sqlite", for Raw

	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/secret"
)

// Database is a fresh, empty database.
type Database struct {
	Engine string // "sqlite" or "postgres"
	DSN    secret.Text
	dir    string // where the root key is
	path   string // of the file, on SQLite
}

// SQLite returns a database in a file of its own.
func SQLite(t testing.TB) Database {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	return Database{Engine: "sqlite", DSN: secret.New("sqlite:" + path), dir: dir, path: path}
}

// Open opens d with its row key; it is closed when the test ends.
func (d Database) Open(t testing.TB) *store.DB {
	t.Helper()
	return d.OpenLogged(t, io.Discard)
}

// OpenLogged is Open with a place for the log, as JSON lines.
func (d Database) OpenLogged(t testing.TB, log io.Writer) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), d.DSN, slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	kek, err := seal.NewFileKEK(filepath.Join(d.dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Open(t.Context(), kek, db.Keys())
	if err != nil {
		t.Fatal(err)
	}
	db.Authenticate(keys.RowMAC())
	return db
}

// Replicas opens d as often as the engine allows processes: once on SQLite,
// twice on PostgreSQL. They share the keys.
func (d Database) Replicas(t testing.TB) []*store.DB {
	t.Helper()
	dbs := []*store.DB{d.Open(t)}
	if d.Engine == "postgres" {
		dbs = append(dbs, d.Open(t))
	}
	return dbs
}

// Raw opens d past the store, as whoever tampers with it would.
func (d Database) Raw(t testing.TB) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", d.DSN.Reveal()
	if d.Engine == "sqlite" {
		driver, dsn = "sqlite", "file:"+d.path+"?_pragma=busy_timeout(5000)"
	}
	raw, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := raw.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return raw
}
