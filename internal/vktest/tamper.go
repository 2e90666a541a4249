package vktest

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/internal/config"
)

// raw opens the database beside the server, as an attacker or a failing disk
// would meet it.
func raw(t *testing.T, cfg config.Config, statement string) sql.Result {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(cfg.Data, "valetkey.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	res, err := db.Exec(statement)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Raw runs a statement behind the server's back.
func Raw(t *testing.T, cfg config.Config, statement string) {
	t.Helper()
	raw(t, cfg, statement)
}

// Tamper changes rows behind the server's back.
func Tamper(t *testing.T, cfg config.Config, statement string) {
	t.Helper()
	if n, err := raw(t, cfg, statement).RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s changed nothing (%v)", statement, err)
	}
}

// Block makes every insert into table fail, as a full disk would.
func Block(t *testing.T, cfg config.Config, table string) {
	t.Helper()
	raw(t, cfg, "create trigger block_"+table+" before insert on "+table+" begin select raise(abort, 'disk full'); end")
}

// Unblock ends what Block began.
func Unblock(t *testing.T, cfg config.Config, table string) {
	t.Helper()
	raw(t, cfg, "drop trigger block_"+table)
}
