package cli

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// column is one of a table. Where a table is wider than the terminal, columns
// that cannot be cut are left out, then cells are cut, and where that is not
// enough, more columns are left out, so that a row stays a line. Nothing is lost
// to a program: a pipe gets all of it, and --json more.
type column struct {
	title string
	drop  int // from 1 on: may be left out, higher ones first
	least int // may be cut down to so many characters; 0 is never
}

// gap is what stands between two columns.
const gap = "  "

// table writes aligned columns under a header. Cells are shown text already.
// Nothing to show is said on standard error, so that standard output stays
// empty for a pipe.
func (t *terminal) table(empty string, columns []column, rows [][]string) error {
	t.clear()
	if len(rows) == 0 {
		t.note("%s", empty)
		return nil
	}
	columns, rows, widths := fitted(columns, rows, t.width)
	var b strings.Builder
	line := func(cells []string) {
		var l strings.Builder
		for i, c := range cells {
			l.WriteString(c)
			l.WriteString(strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(c), 0)+len(gap)))
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	line(titles)
	for _, r := range rows {
		line(r)
	}
	if _, err := fmt.Fprint(t.out, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// fitted is the table as it fits into width characters, or all of it for 0.
func fitted(columns []column, rows [][]string, width int) ([]column, [][]string, []int) {
	columns = slices.Clone(columns)
	cells := make([][]string, len(rows))
	for i, r := range rows {
		cells[i] = slices.Clone(r)
	}
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, r := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	remove := func(at int) {
		columns, widths = slices.Delete(columns, at, at+1), slices.Delete(widths, at, at+1)
		for i := range cells {
			cells[i] = slices.Delete(cells[i], at, at+1)
		}
	}
	// A column in which nothing stands is left out in any case.
	for i := len(columns) - 1; i >= 0; i-- {
		if columns[i].drop > 0 && !slices.ContainsFunc(cells, func(r []string) bool { return r[i] != "" }) {
			remove(i)
		}
	}
	if width <= 0 {
		return columns, cells, widths
	}
	over := func() int {
		sum := len(gap) * (len(widths) - 1)
		for _, w := range widths {
			sum += w
		}
		return sum - width
	}
	drop := func(which func(column) bool) bool {
		last := -1
		for i, c := range columns {
			if c.drop > 0 && which(c) && (last < 0 || c.drop > columns[last].drop) {
				last = i
			}
		}
		if last >= 0 {
			remove(last)
		}
		return last >= 0
	}
	for over() > 0 && drop(func(c column) bool { return c.least == 0 }) {
	}
	for over()-slack(columns, widths) > 0 && drop(func(column) bool { return true }) {
	}
	for over() > 0 {
		widest := -1
		for i, c := range columns {
			if widths[i] > c.shortest(widths[i]) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		for _, r := range cells {
			r[widest] = cut(r[widest], widths[widest])
		}
	}
	return columns, cells, widths
}

// slack is by how much the columns can be cut.
func slack(columns []column, widths []int) int {
	sum := 0
	for i, c := range columns {
		sum += widths[i] - c.shortest(widths[i])
	}
	return sum
}

// shortest is down to what a column of that width can be cut.
func (c column) shortest(width int) int {
	if c.least == 0 {
		return width
	}
	return min(width, max(c.least, utf8.RuneCountInString(c.title)))
}

// cut shortens s to most characters, the last of which says that it was cut.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:max(most-1, 0)]) + "…"
}

// wrapped breaks text between words into lines of at most width characters; 0
// is one line.
func wrapped(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}
