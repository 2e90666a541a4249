package dash

import "strings"

// Limits of a comparison. Beyond them both texts are shown one after the other.
const (
	maxDiffLines = 600 // lines of each text
	diffContext  = 3   // equal lines shown around a change
)

// Diff compares two texts line by line.
type Diff struct {
	Lines          []DiffLine
	Added, Removed int
	// Endings says that lines end differently, which the comparison leaves out.
	Endings bool
}

// DiffLine is one line. Kind is "same", "added", "removed", or "skipped" for a
// run of Count equal lines that are left out.
type DiffLine struct {
	Kind  string
	Text  string
	Count int
}

// NewDiff compares; nil where there is too much to compare.
func NewDiff(before, after string) *Diff {
	a, crA := splitLines(before)
	b, crB := splitLines(after)
	if len(a) > maxDiffLines || len(b) > maxDiffLines {
		return nil
	}
	d := &Diff{Endings: crA != crB && len(a) > 0 && len(b) > 0}
	for _, l := range compareLines(a, b) {
		switch l.Kind {
		case "added":
			d.Added++
		case "removed":
			d.Removed++
		}
		d.Lines = append(d.Lines, l)
	}
	d.Lines = fold(d.Lines)
	return d
}

// splitLines cuts a text; cr says that its lines end in CR LF.
func splitLines(s string) (lines []string, cr bool) {
	if s == "" {
		return nil, false
	}
	cr = strings.Contains(s, "\r\n")
	for l := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimSuffix(l, "\r"))
	}
	return lines, cr
}

// compareLines finds the longest common subsequence, by the table of its
// lengths from each place on.
func compareLines(a, b []string) []DiffLine {
	w := len(b) + 1
	long := make([]int, (len(a)+1)*w)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				long[i*w+j] = long[(i+1)*w+j+1] + 1
			} else {
				long[i*w+j] = max(long[(i+1)*w+j], long[i*w+j+1])
			}
		}
	}
	var out []DiffLine
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, DiffLine{Kind: "same", Text: a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || long[(i+1)*w+j] >= long[i*w+j+1]):
			out = append(out, DiffLine{Kind: "removed", Text: a[i]})
			i++
		default:
			out = append(out, DiffLine{Kind: "added", Text: b[j]})
			j++
		}
	}
	return out
}

// fold leaves out what is equal and far from any change.
func fold(lines []DiffLine) []DiffLine {
	near := make([]bool, len(lines))
	for i, l := range lines {
		if l.Kind == "same" {
			continue
		}
		for k := max(0, i-diffContext); k <= min(len(lines)-1, i+diffContext); k++ {
			near[k] = true
		}
	}
	var out []DiffLine
	for i := 0; i < len(lines); {
		if near[i] {
			out = append(out, lines[i])
			i++
			continue
		}
		n := i
		for n < len(lines) && !near[n] {
			n++
		}
		out = append(out, DiffLine{Kind: "skipped", Count: n - i})
		i = n
	}
	return out
}
