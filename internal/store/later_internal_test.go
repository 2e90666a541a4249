package store

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/approval"
)

// A row of before a column was added has the MAC that it always had; one that
// uses the column has another, which tells the columns apart.
func TestLaterColumns(t *testing.T) {
	type row struct{ A, B, C string }
	fields := func(r *row) []field { return []field{text("a", &r.A), text("b", &r.B), text("c", &r.C)} }
	before := newTable("t", "a", true, func(r *row) []field { return fields(r)[:1] })
	now := newTable("t", "a", true, fields).later("b", "c")
	sum := func(tab *table[row], r row) []byte {
		var raw [][]byte
		fs := tab.fields(&r)
		for _, f := range fs {
			raw = append(raw, macField(f.get()))
		}
		return bytes.Join(tab.sums(func(i int) string { return fs[i].col }, raw), []byte("|"))
	}
	old := sum(before, row{A: "x"})
	if !bytes.Equal(old, sum(now, row{A: "x"})) {
		t.Error("a row of before is not authentic")
	}
	seen := [][]byte{old}
	for _, r := range []row{{"x", "y", ""}, {"x", "", "y"}, {"x", "y", "y"}, {"x", "", "sy"}} {
		got := sum(now, r)
		for _, other := range seen {
			if bytes.Equal(got, other) {
				t.Errorf("%+v is covered like another row", r)
			}
		}
		seen = append(seen, got)
	}
	fs := approvals.fields(new(approval.Approval))
	for i, col := range []string{"precondition", "quorum", "repeats", "cool_until"} {
		if !approvals.added[col] || fs[len(fs)-4+i].col != col {
			t.Errorf("%s is no added column of approvals", col)
		}
	}
}

// A number or a time that a migration added is 0 in a row of before.
func TestLaterNumbers(t *testing.T) {
	sum := func(p approval.Approval) string {
		var raw [][]byte
		fs := approvals.fields(&p)
		for _, f := range fs {
			raw = append(raw, macField(f.get()))
		}
		return string(bytes.Join(approvals.sums(func(i int) string { return fs[i].col }, raw), []byte("|")))
	}
	old := sum(approval.Approval{})
	if n := len(approvals.fields(new(approval.Approval))) - 4; strings.Count(old, "|") != n-1 {
		t.Errorf("the MAC of a row of before covers %d columns, not %d", strings.Count(old, "|")+1, n)
	}
	seen := map[string]bool{old: true}
	for _, p := range []approval.Approval{{Quorum: 2}, {Repeats: 2}, {CoolUntil: time.UnixMicro(2)}, {Precondition: "2"}} {
		if got := sum(p); seen[got] {
			t.Errorf("%+v is covered like another row", p)
		} else {
			seen[got] = true
		}
	}
}
