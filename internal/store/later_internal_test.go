package store

import (
	"bytes"
	"testing"

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
	if !approvals.added["precondition"] || approvals.fields(new(approval.Approval))[len(approvals.fields(new(approval.Approval)))-1].col != "precondition" {
		t.Error("what was shown is no added column of approvals")
	}
}
