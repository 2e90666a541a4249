package dash

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/display"
)

// functions are the words that templates may use. None returns markup: every
// one yields data that html/template escapes.
func functions(assets *Assets) template.FuncMap {
	return template.FuncMap{
		"asset":    assets.URL,
		"visible":  display.Visible,
		"vtext":    display.VisibleText,
		"warnings": display.Warnings,
		"host":     display.Host,
		"lines":    func(s string) bool { return strings.Contains(s, "\n") },
		"clip":     clip,
		"at":       func(now, t time.Time) moment { return moment{now, t} },
		"left":     left,
		"day":      day,
		"clock":    func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"with2":    func(top, v any) pair { return pair{top, v} },
		"short":    short,
		"bytes":    byteSize,
		"count":    count,
		"plural":   plural,
		"more":     func(all []Event) int64 { return int64(len(all) - 1) },
		"word":     word,
		"verb":     verb,
		"stepname": stepName,
		"millis":   func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) },
		"nav":      navigation,
		"default":  func(d, s string) string { return first(s, d) },
	}
}

// pair hands a nested template the page beside the item.
type pair struct{ Top, V any }

// clipped is the beginning of a long text.
type clipped struct {
	Head, Rest string
	More       int
}

func clip(max int, s string) clipped {
	head, more := display.Clip(s, max)
	return clipped{head, s[len(head):], more}
}

// moment is a time as seen from another one.
type moment struct{ now, at time.Time }

// Zero reports whether there is no time to show.
func (m moment) Zero() bool { return m.at.IsZero() }

// ISO is for machines.
func (m moment) ISO() string { return m.at.UTC().Format(time.RFC3339) }

// Full is exact, for a tooltip.
func (m moment) Full() string { return m.at.UTC().Format("2 January 2006, 15:04:05 UTC") }

// Words is for people: "4 min ago", "in 2 h", "12 May".
func (m moment) Words() string {
	d := m.now.Sub(m.at)
	switch {
	case d < -time.Minute:
		return "in " + rough(-d)
	case d < 10*time.Second:
		return "just now"
	case d < 7*24*time.Hour:
		return rough(d) + " ago"
	case m.at.Year() == m.now.Year():
		return m.at.UTC().Format("2 January")
	}
	return m.at.UTC().Format("2 January 2006")
}

// left is what a countdown shows before its script runs, and without it.
func left(now, end time.Time) string {
	if !end.After(now) {
		return "expired"
	}
	d := end.Sub(now)
	if d < 10*time.Minute {
		return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
	}
	return rough(d)
}

func rough(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		if m := int(d.Minutes()) % 60; m > 0 && d < 6*time.Hour {
			return fmt.Sprintf("%d h %d min", int(d.Hours()), m)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func day(now, t time.Time) string {
	y, m, d := now.UTC().Date()
	today := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	switch {
	case !t.Before(today):
		return "Today"
	case !t.Before(today.AddDate(0, 0, -1)):
		return "Yesterday"
	case t.Year() == now.Year():
		return t.UTC().Format("Monday, 2 January")
	}
	return t.UTC().Format("2 January 2006")
}

// short is the beginning of a digest in groups that can be compared by eye.
func short(digest string) string {
	if len(digest) < 16 {
		return digest
	}
	return digest[0:4] + " " + digest[4:8] + " " + digest[8:12] + " " + digest[12:16]
}

func byteSize(n int64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 10_000:
		return count(n) + " bytes"
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// count groups digits by a thin gap: 12 345 is read at once, in any country.
func count(n int64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteRune('\u202F')
		}
		b.WriteRune(c)
	}
	return b.String()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(int64(n)) + " " + many
}

// words says states and levels as a person would.
var words = map[string]string{
	"proposed": "Proposed", "pending": "Waiting for you", "approved": "Approved", "executing": "Being sent", "succeeded": "Done",
	"failed": "Failed", "unknown": "Outcome unknown", "denied": "Denied", "expired": "Expired", "cancelled": "Cancelled by the agent", "revoked": "Stopped",
	"active": "Active", "needs_reauth": "Needs a new login", "suspended": "Suspended", "frozen": "Frozen", "retired": "Retired",
	"low": "Low risk", "medium": "Medium risk", "high": "High risk", "critical": "Critical",
	"permit": "Allow", "ask": "Ask a person", "step_up": "Ask with passkey", "deny": "Refuse",
	"broker": "Valetkey calls", "vend": "Agent gets tokens", "shipped": "Ships with Valetkey", "organisation": "Organisation", "own": "Your own",
	"refused": "Refused", "notdone": "Not done", "underway": "Under way",
	"done": "Done", "impossible": "Not possible",
}

func word(state string) string { return first(words[state], display.VisibleText(state)) }

// verb is the class of a method: only those that have a colour.
func verb(method string) string {
	switch method {
	case "POST", "PUT", "PATCH", "DELETE":
		return method
	}
	return "other"
}

// stepName says the stations of an action's life.
func stepName(name string) string {
	return first(map[string]string{
		"proposed": "Proposed", "asked": "Asked", "voted": "Said yes", "approved": "Approved", "executing": "Sent", "succeeded": "Answered", "failed": "Refused upstream",
		"unknown": "Outcome unknown", "denied": "Denied", "expired": "Expired", "cancelled": "Cancelled", "revoked": "Stopped",
	}[name], display.VisibleText(name))
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// navItem is an entry of the navigation.
type navItem struct{ Section, Href, Icon, Name string }

func navigation() []navItem {
	return []navItem{
		{"inbox", "/inbox", "inbox", "Inbox"},
		{"activity", "/activity", "pulse", "Activity"},
		{"connections", "/connections", "plug", "Connections"},
		{"agents", "/agents", "robot", "Agents"},
		{"policy", "/policy", "scale", "Policy"},
	}
}
