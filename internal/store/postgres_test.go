package store_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, cluster.Database)
}

// Connections are cut while two replicas write, also in the middle of commits:
// what was acknowledged is there, what was refused is not.
func TestPostgresConnectionsLost(t *testing.T) {
	t.Parallel()
	d := cluster.Database(t)
	dbs, raw := d.Replicas(t), d.Raw(t)
	var mu sync.Mutex
	acked, refused, unsure := map[string]bool{}, map[string]bool{}, 0
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				name := strconv.Itoa(i) + "-" + strconv.Itoa(j)
				err := record(t.Context(), dbs[i%2], name)
				mu.Lock()
				switch {
				case err == nil:
					acked[name] = true
				case errors.Is(err, store.ErrUncertain):
					unsure++
				case errors.Is(err, store.ErrUnavailable):
					refused[name] = true
				default:
					t.Errorf("record: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	for ctx.Err() == nil {
		_, err := raw.ExecContext(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
		if err != nil {
			t.Error(err)
		}
		time.Sleep(7 * time.Millisecond)
	}
	wait.Wait()
	if err := record(t.Context(), dbs[0], "after"); err != nil {
		// A pooled connection may have been cut a moment ago.
		if err = record(t.Context(), dbs[0], "after"); err != nil {
			t.Errorf("after the last cut: %v", err)
		}
	}
	logged := objects(t, dbs[1])
	for name := range acked {
		if !logged[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	for name := range refused {
		if logged[name] {
			t.Errorf("%s was refused and is there", name)
		}
	}
	if len(acked) == 0 || len(refused) == 0 {
		t.Errorf("%d acknowledged, %d refused: nothing was tested", len(acked), len(refused))
	}
	t.Logf("%d acknowledged, %d refused, %d unsure", len(acked), len(refused), unsure)
	verifyLog(t, dbs[0])
}

// The two migrations make the same tables: same names, same columns, same
// kinds, same indexes.
func TestMigrationsAgree(t *testing.T) {
	t.Parallel()
	lite, post := storetest.SQLite(t), cluster.Database(t)
	lite.Open(t)
	post.Open(t)
	for what, q := range map[string][2]string{
		"columns": {
			`select m.name || '.' || p.name, case lower(p.type) when 'integer' then 'int' else lower(p.type) end || case p."notnull" when 1 then ' not null' else '' end || case p.pk > 0 when 1 then ' key' else '' end
			 from sqlite_master m join pragma_table_info(m.name) p where m.type = 'table' and m.name not like 'sqlite_%' and m.name not like 'goose%'`,
			`select c.table_name || '.' || c.column_name, case c.data_type when 'bigint' then 'int' when 'bytea' then 'blob' else c.data_type end || case c.is_nullable when 'NO' then ' not null' else '' end
			   || case when exists (select 1 from information_schema.table_constraints k join information_schema.key_column_usage u using (constraint_name, table_name) where k.constraint_type = 'PRIMARY KEY' and k.table_name = c.table_name and u.column_name = c.column_name) then ' key' else '' end
			 from information_schema.columns c where c.table_schema = 'public' and c.table_name not like 'goose%'`,
		},
		"indexes": {
			`select name, lower(substr(sql, instr(sql, ' on '))) || case when sql like 'create unique%' then ' unique' else '' end from sqlite_master where type = 'index' and sql is not null and tbl_name not like 'goose%'`,
			`select indexname, replace(replace(replace(replace(replace(substr(indexdef, position(' ON ' in indexdef)), ' ON public.', ' on '), 'USING btree ', ''), '"', ''), ' WHERE ', ' where '), '::text', '') || case when indexdef like 'CREATE UNIQUE%' then ' unique' else '' end
			 from pg_indexes where schemaname = 'public' and indexname not like '%\_pkey' and tablename not like 'goose%'`,
		},
	} {
		got, want := pairs(t, post, q[1]), pairs(t, lite, q[0])
		if len(want) == 0 {
			t.Errorf("no %s", what)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s is %q on SQLite and %q on PostgreSQL", what, k, v, got[k])
			}
			delete(got, k)
		}
		for k, v := range got {
			t.Errorf("%s: %s (%s) is on PostgreSQL only", what, k, v)
		}
	}
}

func pairs(t *testing.T, d storetest.Database, q string) map[string]string {
	t.Helper()
	rows, err := d.Raw(t).QueryContext(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			t.Fatal(err)
		}
		out[k] = v
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// A newer program's schema is refused, not guessed at.
func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	d := storetest.SQLite(t)
	db, err := store.Open(t.Context(), d.DSN, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Raw(t).ExecContext(t.Context(), `insert into goose_db_version (version_id, is_applied) values (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), d.DSN, discard); reason(err) != "newer_schema" {
		t.Errorf("Open: %v", err)
	}
}
