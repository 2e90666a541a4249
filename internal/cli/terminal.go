package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/display"
)

// terminal is where a command reads and writes. Standard output holds the
// result and nothing else; everything said on the way goes to standard error.
type terminal struct {
	in       io.Reader
	out, err io.Writer

	json   bool
	tty    bool // standard output is looked at by a person
	errTTY bool // standard error is
	colour bool
	utf8   bool
	width  int // of the lines that fit; 0 is any

	line bool // a progress line stands on standard error
}

func newTerminal(getenv func(string) string, in io.Reader, out, err io.Writer) *terminal {
	t := &terminal{in: in, out: out, err: err, tty: isTerminal(out), errTTY: isTerminal(err)}
	// https://no-color.org: present and not empty, whatever its value.
	t.colour = t.tty && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToUpper(v)
			t.utf8 = t.tty && (strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8"))
			break
		}
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		t.width = n
	} else if f, ok := out.(*os.File); ok && t.tty {
		t.width = columnsOf(f)
	}
	return t
}

// isTerminal reports whether a person looks at v. The null device is a
// character device, too, and nobody looks at it.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// print writes v as JSON, exactly as the API has it.
func (t *terminal) print(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// say writes a line of the result.
func (t *terminal) say(format string, args ...any) {
	t.clear()
	fmt.Fprintf(t.out, format+"\n", args...)
}

// note writes a line that is not part of the result.
func (t *terminal) note(format string, args ...any) {
	if t.json {
		return
	}
	t.clear()
	width := 0
	if t.errTTY {
		width = t.width
	}
	for _, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		if strings.HasPrefix(line, " ") { // to be copied as it is
			fmt.Fprintln(t.err, line)
			continue
		}
		for _, part := range wrapped(line, width) {
			fmt.Fprintln(t.err, part)
		}
	}
}

// hint says what to do next, where a person looks on.
func (t *terminal) hint(format string, args ...any) {
	if t.errTTY {
		t.note(format, args...)
	}
}

// progress replaces the one line that shows what is waited for. It is for
// people: where nobody looks, nothing is written.
func (t *terminal) progress(format string, args ...any) {
	if !t.errTTY || t.json {
		return
	}
	head, more := display.Clip(fmt.Sprintf(format, args...), 100)
	if more > 0 {
		head += "…"
	}
	fmt.Fprintf(t.err, "\r\x1b[K%s", head)
	t.line = true
}

func (t *terminal) clear() {
	if t.line {
		fmt.Fprint(t.err, "\r\x1b[K")
		t.line = false
	}
}

func (t *terminal) style(code, s string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) bold(s string) string   { return t.style("1", s) }
func (t *terminal) dim(s string) string    { return t.style("2", s) }
func (t *terminal) green(s string) string  { return t.style("32", s) }
func (t *terminal) yellow(s string) string { return t.style("33", s) }
func (t *terminal) red(s string) string    { return t.style("31", s) }

// tick marks what holds.
func (t *terminal) tick() string {
	if t.utf8 {
		return t.green("✓")
	}
	return t.green("ok")
}

// fields writes names and values, one a line; empty values are left out, and
// what is longer than the terminal goes on below itself.
func (t *terminal) fields(pairs ...string) error {
	t.clear()
	indent := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			indent = max(indent, utf8.RuneCountInString(pairs[i])+len(gap))
		}
	}
	width := 0
	if t.width > 0 {
		width = max(t.width-indent, 24)
	}
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		name := pairs[i]
		for _, line := range strings.Split(pairs[i+1], "\n") {
			for _, part := range wrapped(line, width) {
				fmt.Fprintf(&b, "%-*s%s\n", indent, name, part)
				name = ""
			}
		}
	}
	if _, err := io.WriteString(t.out, b.String()); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// cell is text that we did not write, fit for a table: nothing in it hides,
// and what does not fit is cut off between words and counted.
func cell(s string, most int) string {
	head, more := display.Clip(s, most)
	if more == 0 {
		return display.VisibleText(s)
	}
	// Between words, if that loses little.
	if at := strings.LastIndexByte(head, ' '); at > len(head)/2 && s[len(head)] != ' ' {
		head = head[:at]
	}
	head = strings.TrimRight(head, " ")
	return fmt.Sprintf("%s… (%d more characters)", display.VisibleText(head), utf8.RuneCountInString(s[len(head):]))
}

// items shows as many of a list as fit, whole, and counts the rest.
func items(all []string, between string, most int) string {
	shown, used := "", 0
	for i, item := range all {
		long := utf8.RuneCountInString(between) + utf8.RuneCountInString(item)
		if i > 0 && used+long > most {
			return fmt.Sprintf("%s… (%d more)", shown, len(all)-i)
		}
		if i > 0 {
			shown += between
		}
		shown += cell(item, most)
		used += long
	}
	return shown
}

// when writes a moment for people: local, to the second.
func when(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

// ago says how long a moment is past, for lists; an older one by its day.
func ago(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return "never"
	case d < 0: // clocks differ
		return when(at)
	case d < time.Minute:
		return "just now"
	case d < 48*time.Hour:
		return span(d) + " ago"
	}
	return at.Local().Format("2006-01-02")
}

// left says how long it is until a moment.
func left(at, now time.Time) string {
	switch d := at.Sub(now); {
	case at.IsZero():
		return ""
	case d <= 0:
		return "expired"
	default:
		return span(d)
	}
}

// span is a duration in the one unit that fits it.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}
