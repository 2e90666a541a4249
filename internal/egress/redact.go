package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/valetkey/valetkey/secret"
)

const (
	// minRaw is the shortest secret that is searched for at all, minEncoded the
	// shortest that is searched for in encodings: shorter ones are words of the
	// language, and their base64 is two letters.
	minRaw     = 4
	minEncoded = 8

	// maxEscape is the longest spelling of one byte that is read: a run of
	// backslashes, u and four digits.
	maxEscape = maxBackslashes + 5
	// maxBackslashes bounds a run, as JSON within JSON within JSON makes it.
	maxBackslashes = 8
	// maxNested bounds percent signs that are percent-encoded themselves.
	maxNested = 3
)

// A Redactor finds secrets in text, in the dress an echo may give them: as
// they are, base64 and base64url at any alignment, hexadecimal, and with any of
// their bytes percent-encoded, backslash-escaped (\u0063, \x63, \/) or written
// as a numeric character reference. It replaces each by [secret.Redacted].
// A Redactor does not change and may be shared.
type Redactor struct {
	// literals are searched for as they stand.
	literals [][]byte
	// raws are searched for with escapes, wherever an escape may begin.
	raws   [][]byte
	starts []*[256]bool
	// lowered are the raws in lower case, for header names.
	lowered []string
	longest int
}

// NewRedactor makes a Redactor of the secrets that are long enough to search
// for.
func NewRedactor(texts ...secret.Text) *Redactor {
	r := &Redactor{}
	for _, t := range texts {
		r.add([]byte(t.Reveal()))
	}
	return r
}

func (r *Redactor) add(s []byte) {
	if len(s) < minRaw {
		return
	}
	r.literal(s)
	r.lowered = append(r.lowered, strings.ToLower(string(s)))
	if len(s) < minEncoded {
		return
	}
	start := &[256]bool{'%': true, '\\': true, '&': true}
	start[s[0]] = true
	r.raws, r.starts = append(r.raws, s), append(r.starts, start)
	r.longest = max(r.longest, len(s)*maxEscape)
	lower := hex.EncodeToString(s)
	r.literal([]byte(lower))
	r.literal([]byte(strings.ToUpper(lower)))
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// With shift bytes before it, the secret begins inside of a
			// character; only the characters that are all its own are known.
			padded := append(make([]byte, shift), s...)
			first, last := (shift*8+5)/6, len(padded)*8/6
			r.literal([]byte(enc.EncodeToString(padded)[first:last]))
		}
	}
}

func (r *Redactor) literal(p []byte) {
	for _, q := range r.literals {
		if bytes.Equal(p, q) {
			return
		}
	}
	r.literals = append(r.literals, p)
	r.longest = max(r.longest, len(p))
}

// String returns s without the secrets, and how many there were.
func (r *Redactor) String(s string) (string, int) {
	out, _, hits := r.scan(nil, []byte(s), true)
	if hits == 0 {
		return s, 0
	}
	return string(out), hits
}

// inName reports whether the header name holds a secret, in any case.
func (r *Redactor) inName(name string) bool {
	if _, hits := r.String(name); hits > 0 {
		return true
	}
	lower := strings.ToLower(name)
	for _, s := range r.lowered {
		if strings.Contains(lower, s) {
			return true
		}
	}
	return false
}

// scan appends buf to dst without the secrets. Unless end says that nothing
// follows, it stops before what may be the beginning of a secret; rest is what
// it left. At the end, the beginning of a secret that was cut off is a secret
// too, if it is long enough to tell.
func (r *Redactor) scan(dst, buf []byte, end bool) (out, rest []byte, hits int) {
	s := searcher{r: r, buf: buf, next: make([]span, len(r.literals)+len(r.raws))}
	s.escaped = bytes.IndexByte(buf, '%') >= 0 || bytes.IndexByte(buf, '\\') >= 0 || bytes.IndexByte(buf, '&') >= 0
	at := 0
	for i := range s.next {
		s.find(i, 0)
	}
	for {
		m := s.first(at)
		if m.start < 0 {
			break
		}
		dst = append(append(dst, buf[at:m.start]...), secret.Redacted...)
		at = m.end
		hits++
	}
	tail := buf[at:]
	keep, decoded := r.hold(tail)
	dst = append(dst, tail[:len(tail)-keep]...)
	switch rest := tail[len(tail)-keep:]; {
	case !end:
		return dst, rest, hits
	case decoded >= minEncoded:
		return append(dst, secret.Redacted...), nil, hits + 1
	default:
		return append(dst, rest...), nil, hits
	}
}

type span struct{ start, end int }

// searcher walks one buffer. It remembers, per pattern, the next match, so that
// a buffer full of secrets costs no more than one that has none.
type searcher struct {
	r       *Redactor
	buf     []byte
	next    []span
	escaped bool
}

// first returns the first match that begins at or after at, the longest of
// those that begin together.
func (s *searcher) first(at int) span {
	best := span{-1, -1}
	for i := range s.next {
		if m := s.next[i]; m.start >= 0 && m.start < at {
			s.find(i, at)
		}
		m := s.next[i]
		if m.start >= 0 && (best.start < 0 || m.start < best.start || m.start == best.start && m.end > best.end) {
			best = m
		}
	}
	return best
}

func (s *searcher) find(i, from int) {
	s.next[i] = span{-1, -1}
	if i < len(s.r.literals) {
		p := s.r.literals[i]
		if k := bytes.Index(s.buf[from:], p); k >= 0 {
			s.next[i] = span{from + k, from + k + len(p)}
		}
		return
	}
	if !s.escaped {
		return // then the literals say it all
	}
	i -= len(s.r.literals)
	raw, start := s.r.raws[i], s.r.starts[i]
	for k := from; k < len(s.buf); k++ {
		if !start[s.buf[k]] {
			continue
		}
		if n, _, whole := match(s.buf[k:], raw); whole {
			s.next[i+len(s.r.literals)] = span{k, k + n}
			return
		}
	}
}

// hold returns the length of the longest tail of buf that may be the beginning
// of a secret, and how much of the secret it would be: bytes of it where it
// is written with escapes, of the encoded form otherwise.
func (r *Redactor) hold(buf []byte) (keep, decoded int) {
	for _, p := range r.literals {
		for k := max(0, len(buf)-len(p)+1); k < len(buf)-keep; k++ {
			next := bytes.IndexByte(buf[k:], p[0])
			if next < 0 {
				break
			}
			if k += next; bytes.HasPrefix(p, buf[k:]) {
				keep, decoded = max(keep, len(buf)-k), max(decoded, len(buf)-k)
				break
			}
		}
	}
	for i, raw := range r.raws {
		for k := max(0, len(buf)-r.longest); k < len(buf)-keep; k++ {
			if !r.starts[i][buf[k]] {
				continue
			}
			if n, got, whole := match(buf[k:], raw); !whole && n < 0 {
				keep, decoded = len(buf)-k, got
				break
			}
		}
	}
	return keep, decoded
}

// match reads raw at the beginning of buf, each byte as it is or escaped. It
// returns the length of the match and whole; or n < 0 if buf ended before raw
// did, with the bytes of raw that were there; or zeros.
func match(buf, raw []byte) (n, got int, whole bool) {
	for i, want := range raw {
		if n == len(buf) {
			return -1, i, false
		}
		c := buf[n]
		if c == '%' || c == '\\' || c == '&' {
			switch width, cut := escape(buf[n:], want); {
			case width > 0:
				n += width
				continue
			case cut && c != want:
				return -1, i, false
			}
		}
		if c != want {
			return 0, i, false
		}
		n++
	}
	return n, len(raw), true
}

// escape returns the width of the escape at the beginning of b that stands for
// want, 0 if there is none; cut says that b ended before that was clear.
func escape(b []byte, want byte) (width int, cut bool) {
	switch b[0] {
	case '%':
		return percent(b, want)
	case '\\':
		return backslash(b, want)
	default:
		return reference(b, want)
	}
}

// percent reads %63, and %2563, which is the same encoded twice.
func percent(b []byte, want byte) (int, bool) {
	at := 1
	for range maxNested {
		v, ok, cut := digits(b[at:], 2)
		if !ok {
			return 0, cut
		}
		at += 2
		if v == int(want) {
			return at, false
		}
		if v != '%' {
			return 0, false
		}
	}
	return 0, false
}

// backslash reads \u0063, \x63 and a byte behind a backslash; more backslashes
// are the same, escaped again.
func backslash(b []byte, want byte) (int, bool) {
	at := 1
	for at < len(b) && at < maxBackslashes && b[at] == '\\' {
		at++
	}
	if at == len(b) {
		return 0, true
	}
	width := 0
	switch b[at] {
	case 'u':
		width = 4
	case 'x':
		width = 2
	case '/', '"', '\'', '&', '<', '>', '=', '%', '+', '-', '_', '.', ':':
		if b[at] == want {
			return at + 1, false
		}
		return 0, false
	default:
		if want == '\\' {
			return at, false
		}
		return 0, false
	}
	v, ok, cut := digits(b[at+1:], width)
	if ok && v == int(want) {
		return at + 1 + width, false
	}
	return 0, cut
}

// reference reads &#99; and &#x63;.
func reference(b []byte, want byte) (int, bool) {
	v, base, at, seen := 0, 10, 2, 0
	if len(b) < 2 {
		return 0, true
	}
	if b[1] != '#' {
		return 0, false
	}
	if len(b) > 2 && b[2]|0x20 == 'x' {
		base, at = 16, 3
	}
	for ; at < len(b); at++ {
		c := b[at]
		switch {
		case c == ';' && seen > 0 && v == int(want):
			return at + 1, false
		case seen == 7 || !ishex(c) || base == 10 && c > '9':
			return 0, false
		}
		v = v*base + int(unhex(c))
		seen++
	}
	return 0, true
}

// digits reads n hexadecimal digits.
func digits(b []byte, n int) (v int, ok, cut bool) {
	for i := range n {
		if i == len(b) {
			return 0, false, true
		}
		if !ishex(b[i]) {
			return 0, false, false
		}
		v = v<<4 | int(unhex(b[i]))
	}
	return v, true, false
}

func ishex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
