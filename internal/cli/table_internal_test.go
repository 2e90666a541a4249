package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// What does not fit is left out and cut in the order that the columns say; what
// must stay stays.
func TestTableFits(t *testing.T) {
	columns := []column{{title: "NAME", least: 6}, {title: "STATUS"}, {title: "NOTE", drop: 1, least: 8}, {title: "ID", drop: 2}}
	rows := [][]string{{"triage-of-everything", "active", "a long word about it", "agt_0123456789"}, {"b", "frozen", "", "agt_1"}}
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "NAME                  STATUS  NOTE                  ID\ntriage-of-everything  active  a long word about it  agt_0123456789\nb                     frozen                        agt_1\n"},
		{60, "NAME                  STATUS  NOTE\ntriage-of-everything  active  a long word about it\nb                     frozen\n"},
		{30, "NAME        STATUS  NOTE\ntriage-of…  active  a long wo…\nb           frozen\n"},
		{20, "NAME          STATUS\ntriage-of-e…  active\nb             frozen\n"},
		{3, "NAME    STATUS\ntriag…  active\nb       frozen\n"},
	} {
		var out bytes.Buffer
		term := &terminal{out: &out, err: &out, width: c.width}
		if err := term.table("none", columns, rows); err != nil || out.String() != c.want {
			t.Errorf("width %d: %v\n%s\nwant\n%s", c.width, err, out.String(), c.want)
		}
	}
	// A column that may be left out and has nothing to say is.
	var out bytes.Buffer
	term := &terminal{out: &out, err: &out}
	if err := term.table("none", columns, [][]string{{"a", "active", "", ""}}); err != nil || out.String() != "NAME  STATUS\na     active\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Whatever the cells are, a row is one line, and no wider than the terminal
// once every column could give way.
func TestTableWidth(t *testing.T) {
	word := rapid.StringMatching(`[a-zäöü€ ]{0,40}`)
	rapid.Check(t, func(t *rapid.T) {
		columns := []column{{title: "A", least: 3}, {title: "B", least: 4, drop: 1}, {title: "C", drop: 2}}
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []string {
			return []string{word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")}
		}), 1, 6).Draw(t, "rows")
		before := make([][]string, len(rows))
		for i, r := range rows {
			before[i] = slices.Clone(r)
		}
		width := rapid.IntRange(3, 140).Draw(t, "width")
		var out bytes.Buffer
		term := &terminal{out: &out, err: &out, width: width}
		if err := term.table("none", columns, rows); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines for %d rows", len(lines), len(rows))
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > width {
				t.Fatalf("%q is wider than %d", line, width)
			}
		}
		for i := range rows {
			if !slices.Equal(rows[i], before[i]) {
				t.Fatal("the caller's rows were changed")
			}
		}
	})
}

func TestWrapped(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"all of it", 0, []string{"all of it"}},
		{"all of it", 6, []string{"all of", "it"}},
		{"unbreakable word", 4, []string{"unbreakable", "word"}},
		{"", 4, []string{""}},
	} {
		if got := wrapped(c.text, c.width); !slices.Equal(got, c.want) {
			t.Errorf("wrapped(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
