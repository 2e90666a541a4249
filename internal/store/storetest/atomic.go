package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/audit"
)

// tables lists the tables of a database, the migrations' own left out.
func tables(t testing.TB, d Database, raw *sql.DB) []string {
	t.Helper()
	q := `select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name`
	if d.Engine == "postgres" {
		q = `select tablename from pg_tables where schemaname = 'public' order by tablename`
	}
	rows, err := raw.QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "goose") {
			out = append(out, name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// dump is the whole content of a database, a line for each row.
func dump(t testing.TB, d Database, raw *sql.DB) []string {
	t.Helper()
	var out []string
	for _, table := range tables(t, d, raw) {
		for _, r := range allRows(t, raw, table) {
			out = append(out, fmt.Sprintf("%s %q", table, r.values))
		}
	}
	sort.Strings(out)
	return out
}

type row struct {
	columns []string
	values  []any
}

func allRows(t testing.TB, raw *sql.DB, table string) []row {
	t.Helper()
	rows, err := raw.QueryContext(t.Context(), "select * from "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []row
	for rows.Next() {
		r := row{columns, make([]any, len(columns))}
		dst := make([]any, len(columns))
		for i := range dst {
			dst[i] = &r.values[i]
		}
		if err := rows.Scan(dst...); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// testAtomic makes every change there is, first with an event that cannot be
// recorded, then with a change function that refuses, then as it should be.
func testAtomic(t *testing.T, d Database) {
	db, raw := d.Open(t), d.Raw(t)
	refusal := errors.New("refused by the change function")
	for _, m := range newWorld(db).mutations() {
		before := dump(t, d, raw)
		head, err := db.Log().Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		unchanged := func(how string) {
			t.Helper()
			if diff := cmp.Diff(before, dump(t, d, raw)); diff != "" {
				t.Errorf("%s %s left something behind (-before +after):\n%s", m.name, how, diff)
			}
		}
		if !m.silent {
			if err := m.run(t.Context(), []audit.Event{event("test.first", m.name[:1]), malformed()}); !errors.Is(err, audit.ErrMalformed) {
				t.Errorf("%s with a malformed event: %v", m.name, err)
			}
			unchanged("with a malformed event")
		}
		if m.fails != nil {
			if err := m.fails(t.Context(), refusal); !errors.Is(err, refusal) {
				t.Errorf("%s with a change function that refuses: %v", m.name, err)
			}
			unchanged("with a change function that refuses")
		}
		var events []audit.Event
		if !m.silent {
			events = []audit.Event{event("test.first", "one"), event("test.second", "two")}
		}
		if err := m.run(t.Context(), slices.Clone(events)); err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if slices.Equal(before, dump(t, d, raw)) {
			t.Errorf("%s changed nothing", m.name)
		}
		got, err := db.Log().Events(t.Context(), head.Size, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(events)+m.more {
			t.Errorf("%s recorded %d events, want %d", m.name, len(got), len(events)+m.more)
			continue
		}
		for i := range events {
			events[i].Seq = head.Size + int64(i)
		}
		if diff := cmp.Diff(events, got[:len(events)]); !m.silent && diff != "" {
			t.Errorf("%s recorded other events (-want +got):\n%s", m.name, diff)
		}
	}
	verify(t, db)
}
