package store_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
)

// SQLite reads no more rows than it has to for what every login asks, and for
// what is asked on the connection that writes.
func TestSQLitePlans(t *testing.T) {
	t.Parallel()
	d := storetest.SQLite(t)
	d.Open(t)
	raw := d.Raw(t)
	for q, index := range store.Reads() {
		args := []any{"a", "b"}[:strings.Count(q, "$")]
		rows, err := raw.QueryContext(t.Context(), "explain query plan "+q, args...)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var node, parent, unused int
			var step string
			if err := rows.Scan(&node, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(plan, "\n"); !strings.Contains(said, "INDEX "+index+" ") || strings.Contains(said, "SCAN") {
			t.Errorf("%s\nis not answered from %s:\n%s", q, index, said)
		} else {
			t.Log(said)
		}
	}
}
