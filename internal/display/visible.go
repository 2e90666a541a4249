package display

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says how a span has to be shown.
type Kind int

// The kinds of span.
const (
	Plain     Kind = iota // show Text
	Newline               // a line feed: break the line
	Hidden                // show Label; Text must not reach the screen
	Lookalike             // show Text and Label, or Label alone
)

// Span is a piece of a text with one way of being shown.
type Span struct {
	Text  string // the original bytes
	Kind  Kind
	Label string // "U+202E", or "0xFF" for a byte that is not UTF-8
	Note  string // what it is: "right-to-left override", "Cyrillic, looks like a"
	Count int    // how often it is repeated in a row; 1 unless the same hidden code point repeats
}

// Times renders the repetition of a span: "" or "×12".
func (s Span) Times() string {
	if s.Count < 2 {
		return ""
	}
	return fmt.Sprintf("×%d", s.Count)
}

// Visible cuts s into spans so that nothing in it stays unseen.
func Visible(s string) []Span {
	runes := decode(s)
	suspicious := lookalikes(runes)
	var spans []Span
	plain := 0 // start of the pending plain text, as a byte offset
	flush := func(end int) {
		if plain < end {
			spans = append(spans, Span{Text: s[plain:end], Kind: Plain, Count: 1})
		}
	}
	marks := 0 // combining marks since the last base character
	based := false
	for i, r := range runes {
		span := Span{Text: s[r.at : r.at+r.size], Count: 1}
		switch {
		case r.bad:
			span.Kind, span.Label, span.Note = Hidden, fmt.Sprintf("0x%02X", s[r.at]), "a byte that is not UTF-8"
		case r.r == '\n':
			span.Kind, span.Note = Newline, "line feed"
		case unicode.Is(unicode.M, r.r):
			marks++
			if note := markNote(r.r, based, marks); note != "" {
				span.Kind, span.Label, span.Note = Hidden, label(r.r), note
			}
		case r.r == ' ' && (i+1 == len(runes) || runes[i+1].r == '\n'):
			// A space before the end of a line cannot be seen.
			span.Kind, span.Label, span.Note = Hidden, label(r.r), "space at the end of a line"
		default:
			if note := hiddenNote(r.r); note != "" {
				span.Kind, span.Label, span.Note = Hidden, label(r.r), note
			} else if note := suspicious[i]; note != "" {
				span.Kind, span.Label, span.Note = Lookalike, label(r.r), note
			}
		}
		if !unicode.Is(unicode.M, r.r) {
			// A mark may only sit on something that is itself on the screen:
			// on a token or a space it would attach to our own drawing.
			marks, based = 0, span.Kind == Plain && r.r != ' '
		}
		if span.Kind == Plain {
			continue
		}
		flush(r.at)
		plain = r.at + r.size
		if n := len(spans); n > 0 && span.Kind == Hidden && spans[n-1].Kind == Hidden && spans[n-1].Label == span.Label && spans[n-1].Note == span.Note {
			spans[n-1].Text += span.Text
			spans[n-1].Count++
			continue
		}
		spans = append(spans, span)
	}
	flush(len(s))
	return spans
}

// VisibleText is [Visible] as a single line of printable text: what cannot be
// seen, line feeds and look-alikes become escapes like those of Go (\u202E,
// \U000E0041, \xFF, \n). A backslash that could be read as the start of an
// escape is doubled, so different strings always give different texts. The
// escapes are plain ASCII, so no terminal can miss them.
func VisibleText(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	spans := Visible(s)
	for i, span := range spans {
		switch span.Kind {
		case Plain:
			next := byte(0)
			if i+1 < len(spans) {
				next = '\\' // every other kind, and so every neighbour, is written as an escape
			}
			escapeBackslashes(&b, span.Text, next)
		case Newline:
			b.WriteString(`\n`)
		default:
			for _, r := range decode(span.Text) {
				writeEscape(&b, span.Text[r.at], r)
			}
		}
	}
	return b.String()
}

func writeEscape(b *strings.Builder, first byte, r char) {
	switch {
	case r.bad:
		fmt.Fprintf(b, `\x%02X`, first)
	case r.r > 0xFFFF:
		fmt.Fprintf(b, `\U%08X`, r.r)
	default:
		fmt.Fprintf(b, `\u%04X`, r.r)
	}
}

// escapeBackslashes writes plain text, doubling each backslash that stands
// before something that would turn it into an escape.
func escapeBackslashes(b *strings.Builder, s string, next byte) {
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] != '\\' {
			continue
		}
		after := next
		if i+1 < len(s) {
			after = s[i+1]
		}
		if after != 0 && strings.IndexByte(`\nuUx`, after) >= 0 {
			b.WriteByte('\\')
		}
	}
}

// Clip returns the first max characters of s and how many follow. It never
// cuts a character in two.
func Clip(s string, max int) (head string, more int) {
	n := 0
	for at := range s {
		if n == max {
			return s[:at], utf8.RuneCountInString(s[at:])
		}
		n++
	}
	return s, 0
}

// Warnings says in a few words what was found in s that a reader should know
// before trusting it, for a badge beside the text. It is empty for most texts.
func Warnings(s string) []string {
	hidden, alike := 0, 0
	for _, span := range Visible(s) {
		switch {
		case span.Kind == Lookalike:
			alike++
		case span.Kind == Hidden && span.Text != strings.Repeat(" ", span.Count) && span.Text != "\t":
			hidden += span.Count
		}
	}
	var w []string
	if hidden > 0 {
		w = append(w, plural(hidden, "hidden character"))
	}
	if alike > 0 {
		w = append(w, plural(alike, "look-alike character"))
	}
	if strings.ContainsFunc(s, rightToLeft) {
		w = append(w, "right-to-left text")
	}
	return w
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// char is one decoded code point and where it stands.
type char struct {
	r        rune
	at, size int
	bad      bool // not UTF-8: one byte, r is U+FFFD
}

func decode(s string) []char {
	out := make([]char, 0, len(s))
	for at := 0; at < len(s); {
		r, size := utf8.DecodeRuneInString(s[at:])
		out = append(out, char{r, at, size, r == utf8.RuneError && size == 1})
		at += size
	}
	return out
}

func label(r rune) string { return fmt.Sprintf("U+%04X", r) }
