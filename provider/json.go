package provider

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits bound a JSON text before it is understood. A zero field takes its
// default.
type Limits struct {
	Bytes   int // the whole text; default 1 MiB
	Depth   int // nesting of arrays and objects; default 64
	Members int // of one object; default 1000
	Values  int // in the whole text, members and elements; default 50000
	String  int // bytes of one string or name, as written; default 256 KiB
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Bytes, 1 << 20}, {&l.Depth, 64}, {&l.Members, 1000}, {&l.Values, 50_000}, {&l.String, 256 << 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return l
}

// CheckJSON refuses a JSON text (RFC 8259) that two parsers could read in two
// ways or that is over a limit:
//
//   - members of one object whose names are equal, or differ only in case: Go
//     folds names, most providers do not,
//   - names with control characters,
//   - numbers outside of ±2^53, and numbers too small to be told from zero
//     (RFC 7493 §2.2): they are never rounded,
//   - invalid UTF-8 and lone surrogates, raw or escaped,
//   - a byte order mark, anything after the one value.
//
// The text itself is not changed: what was checked is what is sent.
func CheckJSON(body []byte, limits Limits) error {
	_, err := parseJSON(body, limits)
	return err
}

// parseJSON is the one JSON reader of this package, so that the check and the
// judgement cannot disagree. Objects are map[string]any, numbers json.Number.
func parseJSON(body []byte, limits Limits) (any, error) {
	p := &jsonParser{b: body, lim: limits.withDefaults()}
	switch {
	case len(body) > p.lim.Bytes:
		return nil, refuse(BadJSON, "the JSON text is longer than %d bytes", p.lim.Bytes)
	case len(body) >= 3 && string(body[:3]) == "\ufeff":
		return nil, refuse(BadJSON, "the JSON text begins with a byte order mark")
	case !utf8.Valid(body):
		return nil, refuse(BadJSON, "the JSON text is not valid UTF-8")
	}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i != len(p.b) {
		return nil, refuse(BadJSON, "something follows the JSON value at byte %d", p.i)
	}
	return v, nil
}

type jsonParser struct {
	b      []byte
	i      int
	values int
	lim    Limits
}

func (p *jsonParser) bad(format string, args ...any) error {
	r := refuse(BadJSON, format, args...)
	r.Detail += " at byte " + strconv.Itoa(p.i)
	return r
}

func (p *jsonParser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next consumes c if it comes next.
func (p *jsonParser) next(c byte) bool {
	if p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *jsonParser) value(depth int) (any, error) {
	if p.values++; p.values > p.lim.Values {
		return nil, p.bad("the JSON text holds more than %d values", p.lim.Values)
	}
	if p.i >= len(p.b) {
		return nil, p.bad("the JSON text ends too early")
	}
	switch c := p.b[p.i]; {
	case c == '{' || c == '[':
		if depth == p.lim.Depth {
			return nil, p.bad("the JSON text is nested deeper than %d", p.lim.Depth)
		}
		p.i++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		return p.str()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	}
	switch rest := p.b[p.i:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		p.i += len("true")
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		p.i += len("false")
		return false, nil
	case bytes.HasPrefix(rest, []byte("null")):
		p.i += len("null")
		return nil, nil
	}
	return nil, p.bad("the body is not JSON")
}

func (p *jsonParser) object(depth int) (any, error) {
	m := map[string]any{}
	folded := map[string]bool{}
	p.space()
	if p.next('}') {
		return m, nil
	}
	for {
		p.space()
		if p.i >= len(p.b) || p.b[p.i] != '"' {
			return nil, p.bad("a member name is missing")
		}
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		if strings.ContainsFunc(name, unicode.IsControl) {
			return nil, p.bad("a member name holds a control character")
		}
		if _, twice := m[name]; twice {
			return nil, p.bad("the member %q is there twice", clip(name, 60))
		}
		f := foldName(name)
		if folded[f] {
			return nil, p.bad("the member %q differs from another one only in case", clip(name, 60))
		}
		folded[f] = true
		if len(m) == p.lim.Members {
			return nil, p.bad("an object has more than %d members", p.lim.Members)
		}
		p.space()
		if !p.next(':') {
			return nil, p.bad("a colon is missing")
		}
		p.space()
		if m[name], err = p.value(depth); err != nil {
			return nil, err
		}
		p.space()
		switch {
		case p.next('}'):
			return m, nil
		case !p.next(','):
			return nil, p.bad("an object is not closed")
		}
	}
}

func (p *jsonParser) array(depth int) (any, error) {
	a := []any{}
	p.space()
	if p.next(']') {
		return a, nil
	}
	for {
		p.space()
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		p.space()
		switch {
		case p.next(']'):
			return a, nil
		case !p.next(','):
			return nil, p.bad("an array is not closed")
		}
	}
}

var jsonEscapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *jsonParser) str() (string, error) {
	p.i++
	start := p.i
	var b []byte
	for ; p.i < len(p.b); p.i++ {
		c := p.b[p.i]
		if p.i-start > p.lim.String {
			return "", p.bad("a string is longer than %d bytes", p.lim.String)
		}
		switch {
		case c == '"':
			p.i++
			return string(b), nil
		case c < 0x20:
			return "", p.bad("a string holds a raw control character")
		case c != '\\':
			b = append(b, c)
			continue
		}
		p.i++
		if p.i >= len(p.b) {
			break
		}
		if p.b[p.i] != 'u' {
			d, ok := jsonEscapes[p.b[p.i]]
			if !ok {
				return "", p.bad("a string holds an unknown escape")
			}
			b = append(b, d)
			continue
		}
		r, ok := p.hex4(p.i + 1)
		if !ok {
			return "", p.bad("a string holds a broken escape")
		}
		p.i += 4
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if p.i+2 < len(p.b) && p.b[p.i+1] == '\\' && p.b[p.i+2] == 'u' {
				low, ok = p.hex4(p.i + 3)
			}
			// RFC 8259 §8.2 leaves half a pair open; readers replace it, drop it
			// or fail.
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return "", p.bad("a string holds half a surrogate pair")
			}
			p.i += 6
		}
		b = utf8.AppendRune(b, r)
	}
	return "", p.bad("a string is not closed")
}

func (p *jsonParser) hex4(at int) (rune, bool) {
	if at+4 > len(p.b) {
		return 0, false
	}
	var r rune
	for _, c := range p.b[at : at+4] {
		if !isHex(c) {
			return 0, false
		}
		r = r<<4 | rune(unhex(c))
	}
	return r, true
}

// maxExact is 2^53: up to there every integer has a float64 of its own.
const maxExact = 1 << 53

func (p *jsonParser) number() (any, error) {
	start := p.i
	p.next('-')
	if !p.next('0') && p.digits() == 0 {
		return nil, p.bad("a number is not written as JSON wants it")
	}
	if p.next('.') && p.digits() == 0 {
		return nil, p.bad("a number is not written as JSON wants it")
	}
	if p.next('e') || p.next('E') {
		if !p.next('+') {
			p.next('-')
		}
		if p.digits() == 0 {
			return nil, p.bad("a number is not written as JSON wants it")
		}
	}
	n := string(p.b[start:p.i])
	if !exact(n) {
		return nil, p.bad("a number is outside of ±2^53 or too small to keep")
	}
	return json.Number(n), nil
}

func (p *jsonParser) digits() int {
	start := p.i
	for p.i < len(p.b) && '0' <= p.b[p.i] && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i - start
}

// exact reports whether the number n keeps its value in a reader that knows only
// float64. It never expands an exponent.
func exact(n string) bool {
	if len(n) > 400 {
		return false
	}
	f, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return false
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(n), "e")
	if f == 0 {
		return !strings.ContainsAny(mantissa, "123456789")
	}
	if !strings.ContainsAny(n, ".eE") {
		i, err := strconv.ParseInt(n, 10, 64)
		return err == nil && -maxExact <= i && i <= maxExact
	}
	return -maxExact < f && f < maxExact
}

// foldName is the form in which two names count as the same.
func foldName(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		if 'A' <= least && least <= 'Z' {
			return least + 'a' - 'A'
		}
		return least
	}, s)
}

// clip shortens s to n characters and shows that it did.
func clip(s string, n int) string {
	i := 0
	for at := range s {
		if i == n {
			return s[:at] + "…"
		}
		i++
	}
	return s
}
