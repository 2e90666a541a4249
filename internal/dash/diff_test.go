package dash_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/dash"
)

func drawn(d *dash.Diff) string {
	var b strings.Builder
	for _, l := range d.Lines {
		switch l.Kind {
		case "skipped":
			fmt.Fprintf(&b, "~%d\n", l.Count)
		default:
			b.WriteString(map[string]string{"added": "+", "removed": "-", "same": " "}[l.Kind] + l.Text + "\n")
		}
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct{ before, after, want string }{
		"the same":      {"a\nb", "a\nb", "~2\n"},
		"from nothing":  {"", "a\nb", "+a\n+b\n"},
		"to nothing":    {"a\nb", "", "-a\n-b\n"},
		"in the middle": {"1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n2\n3\n4\nx\n6\n7\n8\n9", "~1\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n~1\n"},
		"an empty line": {"a\n\nb", "a\nb", " a\n-\n b\n"},
	} {
		if diff := cmp.Diff(c.want, drawn(dash.NewDiff(c.before, c.after))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if d := dash.NewDiff("a\r\nb", "a\nb"); !d.Endings || d.Added+d.Removed != 0 {
		t.Errorf("line ends: %+v", d)
	}
	if dash.NewDiff(strings.Repeat("x\n", 5000), "y") != nil {
		t.Error("too much is compared all the same")
	}
}

// What is removed and added is exactly what makes the one text the other.
func TestDiffIsComplete(t *testing.T) {
	text := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 1, 12)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		d := dash.NewDiff(strings.Join(a, "\n"), strings.Join(b, "\n"))
		var one, two []string
		at := 0
		for _, l := range d.Lines {
			switch l.Kind {
			case "same":
				one, two = append(one, l.Text), append(two, l.Text)
			case "removed":
				one = append(one, l.Text)
			case "added":
				two = append(two, l.Text)
			case "skipped":
				at = len(one)
				one, two = append(one, a[at:at+l.Count]...), append(two, b[len(two):len(two)+l.Count]...)
			}
		}
		if strings.Join(one, "\n") != strings.Join(a, "\n") || strings.Join(two, "\n") != strings.Join(b, "\n") {
			t.Fatalf("%q to %q: %s", a, b, drawn(d))
		}
	})
}
