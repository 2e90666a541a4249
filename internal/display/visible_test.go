package display_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/display"
)

type hostile struct{ ID, Class, Value, Note string }

func corpus(t *testing.T) []hostile {
	t.Helper()
	raw, err := os.ReadFile("testdata/approval_strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []hostile
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d strings in the corpus", len(cases))
	}
	if raw, err = os.ReadFile("testdata/naughty_strings.json"); err != nil {
		t.Fatal(err)
	}
	var naughty []string
	if err := json.Unmarshal(raw, &naughty); err != nil || len(naughty) != 461 {
		t.Fatalf("%d naughty strings, %v", len(naughty), err)
	}
	for i, s := range naughty {
		cases = append(cases, hostile{ID: "naughty-" + strconv.Itoa(i), Class: "naughty", Value: s})
	}
	return cases
}

// onScreen is what an honest renderer puts on the screen for spans.
func onScreen(spans []display.Span) string {
	var b strings.Builder
	for _, s := range spans {
		switch s.Kind {
		case display.Plain:
			b.WriteString(s.Text)
		case display.Newline:
			b.WriteString("\n")
		default:
			b.WriteString("⟦" + s.Label + s.Times() + "⟧")
		}
	}
	return b.String()
}

// unseen finds a code point that a reader cannot see or that moves others. It
// is written down here a second time, from the Unicode categories alone, so
// that a slip in the package's own tables is noticed.
func unseen(s string) (rune, bool) {
	for _, r := range s {
		switch {
		case r == '\n' || r == ' ':
		case unicode.In(r, unicode.C, unicode.Z, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Bidi_Control),
			!unicode.IsPrint(r), r == 0x2800, r == 0x3164, r == 0x115F:
			return r, true
		}
	}
	return 0, false
}

func TestNothingStaysUnseen(t *testing.T) {
	for _, c := range corpus(t) {
		screen := onScreen(display.Visible(c.Value))
		if r, found := unseen(screen); found {
			t.Errorf("%s: %U reaches the screen: %q", c.ID, r, screen)
		}
		text := display.VisibleText(c.Value)
		if r, found := unseen(text); found || strings.Contains(text, "\n") {
			t.Errorf("%s: %U reaches the terminal: %q", c.ID, r, text)
		}
	}
}

func TestEveryCodePointAlone(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r >= 0xD800 && r <= 0xDFFF {
			continue
		}
		s := "a" + string(r) + "b"
		if bad, found := unseen(onScreen(display.Visible(s))); found {
			t.Fatalf("%U reaches the screen as %U", r, bad)
		}
		if r == 0x3000 {
			r = 0x3130 // the loop needs no more detail inside one block
		}
		if r > 0x20000 && r < 0xDF000 {
			r += 0xFF // ideographs and unassigned planes: sample
		}
	}
}

// Texts that differ only by a character that cannot be seen look different.
func TestInvisibleDifferenceShows(t *testing.T) {
	for _, c := range corpus(t) {
		stripped := strings.Map(func(r rune) rune {
			if _, hidden := unseen(string(r)); hidden || unicode.Is(unicode.M, r) {
				return -1
			}
			return r
		}, c.Value)
		if stripped == c.Value {
			continue
		}
		if onScreen(display.Visible(stripped)) == onScreen(display.Visible(c.Value)) {
			t.Errorf("%s: the hidden part of %q does not show", c.ID, c.Value)
		}
		if display.VisibleText(stripped) == display.VisibleText(c.Value) {
			t.Errorf("%s: the hidden part of %q does not show in text", c.ID, c.Value)
		}
	}
}

func TestClasses(t *testing.T) {
	// Twins within ASCII are told apart by the fixed-width font with a slashed
	// zero; marking them would mark half of all text.
	asciiTwins := map[string]bool{"str-058": true, "str-059": true, "str-060": true, "str-072": true}
	for _, c := range corpus(t) {
		warnings := strings.Join(display.Warnings(c.Value), ", ")
		switch c.Class {
		case "bidi", "invisible":
			if !strings.Contains(warnings, "hidden character") {
				t.Errorf("%s (%s): warnings %q", c.ID, c.Note, warnings)
			}
		case "homoglyph":
			if got := strings.Contains(warnings, "look-alike"); got == asciiTwins[c.ID] {
				t.Errorf("%s (%s): warnings %q", c.ID, c.Note, warnings)
			}
		case "html", "markdown-chat", "header-name":
			// Not a single character may be lost or changed.
			if got := original(display.Visible(c.Value)); got != c.Value {
				t.Errorf("%s: %q became %q", c.ID, c.Value, got)
			}
		case "terminal":
			if strings.ContainsFunc(display.VisibleText(c.Value), unicode.IsControl) {
				t.Errorf("%s: control characters remain", c.ID)
			}
		}
	}
}

func original(spans []display.Span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.Text)
	}
	return b.String()
}

func TestVisible(t *testing.T) {
	hidden := func(text, label, note string, n int) display.Span {
		return display.Span{Text: text, Kind: display.Hidden, Label: label, Note: note, Count: n}
	}
	plain := func(text string) display.Span { return display.Span{Text: text, Count: 1} }
	alike := func(text, label, note string) display.Span {
		return display.Span{Text: text, Kind: display.Lookalike, Label: label, Note: note, Count: 1}
	}
	newline := display.Span{Text: "\n", Kind: display.Newline, Note: "line feed", Count: 1}
	for _, c := range []struct {
		in   string
		want []display.Span
	}{
		{"", nil},
		{"plain <b> text", []display.Span{plain("plain <b> text")}},
		{"to \u202egro.live", []display.Span{plain("to "), hidden("\u202e", "U+202E", "right-to-left override", 1), plain("gro.live")}},
		{"a\nb \n", []display.Span{plain("a"), newline, plain("b"), hidden(" ", "U+0020", "space at the end of a line", 1), newline}},
		{"x\xff", []display.Span{plain("x"), hidden("\xff", "0xFF", "a byte that is not UTF-8", 1)}},
		{"\uFFFD", []display.Span{hidden("\uFFFD", "U+FFFD", "replacement character", 1)}},
		{"\u200b\u200b\u200b", []display.Span{hidden("\u200b\u200b\u200b", "U+200B", "zero-width space", 3)}},
		{"hi\U000E0041", []display.Span{plain("hi"), hidden("\U000E0041", "U+E0041", "hidden tag for A", 1)}},
		{"e\u0301", []display.Span{plain("e"), hidden("\u0301", "U+0301", "combining mark", 1)}},
		{"\u0301x", []display.Span{hidden("\u0301", "U+0301", "combining mark on nothing", 1), plain("x")}},
		{"p\u0430y", []display.Span{plain("p"), alike("\u0430", "U+0430", "Cyrillic, looks like a"), plain("y")}},
		{"\u0441\u043e", []display.Span{alike("\u0441", "U+0441", "Cyrillic, looks like c"), alike("\u043e", "U+043E", "Cyrillic, looks like o")}},
		{"\uff41", []display.Span{alike("\uff41", "U+FF41", "looks like a")}},
		{"a\u2215b", []display.Span{plain("a"), alike("\u2215", "U+2215", "looks like /"), plain("b")}},
	} {
		if diff := cmp.Diff(c.want, display.Visible(c.in)); diff != "" {
			t.Errorf("Visible(%q): -want +got\n%s", c.in, diff)
		}
	}
}

// Honest text in many languages is left alone: a warning on everything is a
// warning on nothing.
func TestHonestTextIsPlain(t *testing.T) {
	for _, s := range []string{
		"Fixes the build on Windows (see #42).", "don’t “quote” me: it’s 5′ long — really…", "Grüße aus Köln, naïve café",
		"Привет, мир: это обычный русский текст", "я и он в комнате", "Καλημέρα κόσμε", "日本語のテキスト、Tシャツ。", "你好，世界！（世界）", "한국어 GitHub에서",
		"नमस्ते दुनिया", "สวัสดีชาวโลก", "Zażółć gęślą jaźń", "Tiếng Việt có dấu", "5 € or £4", "→ done ✓", "rm -rf / && echo 'x' | tee a_b",
		"ein ‚Zitat‘ und „noch eins“",
	} {
		if w := display.Warnings(s); w != nil {
			t.Errorf("%q: %v: %s", s, w, display.VisibleText(s))
		}
	}
	for _, s := range []string{"שלום", "مرحبا"} {
		if diff := cmp.Diff([]string{"right-to-left text"}, display.Warnings(s)); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
}

// drawText mixes ordinary characters with the ones that matter here.
func drawText(t *rapid.T) string {
	odd := []rune{'\\', 'u', 'U', 'x', 'n', '\n', ' ', '\t', 0x202E, 0x200B, 0xFE0F, 0xE0041, 0x301, 0x430, 0x2215, '2', '0', 'E', '⟦', 0xFFFD}
	s := rapid.StringOf(rapid.OneOf(rapid.SampledFrom(odd), rapid.Rune())).Draw(t, "text")
	if rapid.Bool().Draw(t, "broken") {
		s += "\xc3" + rapid.SampledFrom([]string{"", "x", "\\", "\xff"}).Draw(t, "tail")
	}
	return s
}

// VisibleText loses nothing: it decodes to the original, so two different
// strings never look the same.
func TestVisibleTextIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawText(t)
		text := display.VisibleText(s)
		if got := undo(text); got != s {
			t.Fatalf("%q shows as %q, which reads back as %q", s, text, got)
		}
		if r, found := unseen(text); found {
			t.Fatalf("%q shows %U", s, r)
		}
	})
}

func TestVisibleKeepsEveryByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawText(t)
		spans := display.Visible(s)
		if got := original(spans); got != s {
			t.Fatalf("%q became %q", s, got)
		}
		if r, found := unseen(onScreen(spans)); found {
			t.Fatalf("%q shows %U", s, r)
		}
	})
}

// undo reads the escapes of VisibleText.
func undo(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		width := map[byte]int{'u': 4, 'U': 8, 'x': 2}[text[i+1]]
		switch next := text[i+1]; {
		case next == '\\':
			b.WriteByte('\\')
			i++
		case next == 'n':
			b.WriteByte('\n')
			i++
		case width > 0 && i+2+width <= len(text):
			n, err := strconv.ParseUint(text[i+2:i+2+width], 16, 32)
			if err != nil {
				b.WriteByte('\\')
				continue
			}
			if next == 'x' {
				b.WriteByte(byte(n))
			} else {
				b.WriteRune(rune(n))
			}
			i += 1 + width
		default:
			b.WriteByte('\\')
		}
	}
	return b.String()
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		head string
		more int
	}{
		{"", 3, "", 0}, {"abc", 3, "abc", 0}, {"abcd", 3, "abc", 1}, {"äöüß", 2, "äö", 2}, {"x", 0, "", 1}, {"a\xff\xffb", 2, "a\xff", 2},
	} {
		head, more := display.Clip(c.in, c.max)
		if head != c.head || more != c.more {
			t.Errorf("Clip(%q, %d) = %q, %d, want %q, %d", c.in, c.max, head, more, c.head, c.more)
		}
		if utf8.ValidString(c.in) && !utf8.ValidString(head) {
			t.Errorf("Clip(%q, %d) cut a character", c.in, c.max)
		}
	}
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{
		"api.github.com":     "api.github.com",
		"xn--pple-43d.com":   "xn--pple-43d.com",
		"аpple.com":          "xn--pple-43d.com",
		"bücher.example":     "xn--bcher-kva.example",
		"github.сom":         "github.xn--om-nmc",
		"他们为什么不说中文.test":     "xn--ihqwcrb4cv8a8dqg056pqjye.test",
		"127.0.0.1":          "127.0.0.1",
		"a\x00b.test":        `a\u0000b.test`,
		"evil\u202e.test":    "xn--evil-yd7a.test",
		"[::1]":              "[::1]",
		"\xff.test":          `\xFF.test`,
		"Bücher.example.com": "xn--bcher-kva.example.com",
	} {
		if got := display.Host(in); got != want {
			t.Errorf("Host(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, r := range display.Host(rapid.String().Draw(t, "host")) {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%U in a shown host", r)
			}
		}
	})
}

func FuzzVisibleText(f *testing.F) {
	f.Add("a\\u202e\u202e")
	f.Add("\xff\\x")
	f.Fuzz(func(t *testing.T, s string) {
		if got := undo(display.VisibleText(s)); got != s {
			t.Errorf("%q reads back as %q", s, got)
		}
	})
}

func BenchmarkVisible(b *testing.B) {
	s := strings.Repeat("An ordinary sentence with one odd \u200b character. ", 80)
	b.ReportAllocs()
	for b.Loop() {
		display.Visible(s)
	}
}
