package provider

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPath bounds a path before it is looked at.
const maxPath = 4096

// ParsePath reads an escaped path (RFC 3986 §3.3) into decoded segments. It
// decodes exactly once and refuses every spelling for which a second reader could
// come to other segments:
//
//   - empty segments, so no "//" and no trailing slash ("/" alone is the root),
//   - "." and "..", in whatever spelling,
//   - an encoded slash, anywhere: a value with slashes belongs into a {rest+}
//     parameter, where each slash is a real one,
//   - a backslash, raw or encoded,
//   - ";", raw or encoded: some servers cut a path parameter off there,
//   - escapes of characters that need none (%61, %2E): RFC 3986 §2.3 calls the
//     two spellings equal, and no honest client makes them,
//   - double encoding: a decoded segment that still holds an escape,
//   - control, invisible and blank characters other than an inner space,
//   - invalid or overlong UTF-8, raw bytes outside of ASCII, query and fragment.
//
// Escapes of other characters may be spelled in either case; [EncodePath] gives
// the one canonical spelling.
func ParsePath(escaped string) ([]string, error) {
	switch {
	case len(escaped) > maxPath:
		return nil, refuse(BadPath, "the path is longer than %d bytes", maxPath)
	case !strings.HasPrefix(escaped, "/"):
		return nil, refuse(BadPath, "a path begins with a slash")
	case escaped == "/":
		return nil, nil
	}
	raw := strings.Split(escaped[1:], "/")
	segments := make([]string, len(raw))
	for i, s := range raw {
		seg, err := decodeSegment(s)
		if err != nil {
			return nil, err
		}
		segments[i] = seg
	}
	return segments, nil
}

func decodeSegment(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			if !pathRaw(c) {
				return "", refuse(BadPath, "the path holds %q, which must not stand there as it is", c)
			}
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return "", refuse(BadPath, "the path holds a broken escape")
		}
		d := unhex(s[i+1])<<4 | unhex(s[i+2])
		switch {
		case d == '/':
			return "", refuse(BadPath, "the path holds an encoded slash")
		case d == '\\' || d == ';':
			return "", refuse(BadPath, "the path holds an encoded %q", d)
		case unreserved(d):
			return "", refuse(BadPath, "the path spells %q as an escape, which it does not need", d)
		}
		b.WriteByte(d)
		i += 2
	}
	seg := b.String()
	return seg, checkSegment(seg)
}

// checkSegment judges one decoded segment. Render uses it too, so that what we
// encode is what we would accept.
func checkSegment(seg string) error {
	switch {
	case seg == "":
		return refuse(BadPath, "the path holds an empty segment")
	case seg == "." || seg == "..":
		return refuse(BadPath, "the path holds a dot segment")
	case !utf8.ValidString(seg):
		return refuse(BadPath, "the path is not valid UTF-8")
	case seg[0] == ' ' || seg[len(seg)-1] == ' ':
		// "42 " is the number 42 to many frameworks.
		return refuse(BadPath, "a path segment begins or ends with a space")
	case strings.ContainsAny(seg, `/\;`):
		return refuse(BadPath, "a path segment holds a slash, a backslash or a semicolon")
	case hasEscape(seg):
		return refuse(BadPath, "the path is encoded twice")
	}
	for _, r := range seg {
		if hidden(r) {
			return refuse(BadPath, "the path holds %U, which cannot be seen", r)
		}
	}
	return nil
}

// EncodePath is the canonical spelling of segments: every character that
// RFC 3986 allows in a segment stands for itself, except ";", all others are
// escaped in upper case. ParsePath reads it back.
func EncodePath(segments []string) string {
	if len(segments) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, seg := range segments {
		b.WriteByte('/')
		for i := 0; i < len(seg); i++ {
			if c := seg[i]; pathRaw(c) {
				b.WriteByte(c)
			} else {
				b.WriteString(escape(c))
			}
		}
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

func escape(c byte) string { return string([]byte{'%', upperHex[c>>4], upperHex[c&15]}) }

// pathRaw is pchar of RFC 3986 §3.3 without escapes and without ";".
func pathRaw(c byte) bool { return unreserved(c) || strings.IndexByte("!$&'()*+,=:@", c) >= 0 }

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}

func hasEscape(s string) bool {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2]) {
			return true
		}
	}
	return false
}

// hidden reports characters that a human would not see or would take for
// something else: controls, format characters, fillers, blanks that are not the
// space.
func hidden(r rune) bool {
	switch {
	case r == ' ':
		return false
	case r == utf8.RuneError, r == '\u2800': // what decoders put for garbage; the empty braille cell
		return true
	}
	return !unicode.IsPrint(r) ||
		unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Cf, unicode.Co,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// asciiLower folds ASCII letters and nothing else: a Kelvin sign must not become
// the letter k of somebody else's name.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
