package store_test

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
	"github.com/valetkey/valetkey/secret"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.SQLite)
}

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rubbish := filepath.Join(dir, "rubbish.db")
	if err := os.WriteFile(rubbish, []byte("this is no database, but it is long enough to be looked at as if it were one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dsn, reason := range map[string]string{
		"":                                     "bad_database",
		"mysql://x":                            "bad_database",
		"sqlite:":                              "bad_database",
		"sqlite:" + dir + "/no/such/directory": "bad_database",
		"sqlite:" + rubbish:                    "internal",
		"postgres://user:hunter2@host:port/db": "bad_database",
		"postgres://user:hunter2@127.0.0.1:1/": "bad_database",
	} {
		db, err := store.Open(t.Context(), secret.New(dsn), discard)
		if err == nil {
			t.Errorf("%q opened", dsn)
			db.Close()
		} else if got := fault.From(err).Reason; got != reason {
			t.Errorf("%q: %v, want reason %s", dsn, err, reason)
		}
	}
}

// One process owns a SQLite database: a second one would not know what the
// first has appended.
func TestSQLiteIsOwnedByOneProcess(t *testing.T) {
	t.Parallel()
	// A path that has to be escaped in a URI.
	dir := filepath.Join(t.TempDir(), "a b?c#d%20e&f")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "valetkey.db")
	dsn := secret.New("sqlite:" + path)
	db, err := store.Open(t.Context(), dsn, discard)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := store.Open(t.Context(), dsn, discard); fault.From(err).Reason != "database_in_use" {
		t.Errorf("a second Open: %v, %v", second, err)
	}
	// The refusal has not cost the first its own locks.
	if err := db.Flows().Record(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if db.Engine() != "sqlite" || db.Ping(t.Context()) != nil {
		t.Error("it does not answer")
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if db, err = store.Open(t.Context(), dsn, discard); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A head that does not fit its tree means that somebody wrote past the store.
func TestOpenRefusesADamagedLog(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{
		"a root":      `update audit_head set root = x'0000000000000000000000000000000000000000000000000000000000000000'`,
		"a size":      `update audit_head set size = size - 1`,
		"a hash":      `update audit_hashes set hash = x'0000000000000000000000000000000000000000000000000000000000000000' where idx = 0`,
		"no hashes":   `delete from audit_hashes`,
		"a huge size": `update audit_head set size = 1000000`,
	} {
		d := storetest.SQLite(t)
		db, err := store.Open(t.Context(), d.DSN, discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := record(t.Context(), db, "one"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Raw(t).ExecContext(t.Context(), damage); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open(t.Context(), d.DSN, discard); fault.From(err).Reason != "audit_damaged" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
