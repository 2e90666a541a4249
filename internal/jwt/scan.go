package jwt

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of the JSON inside a token or a JWK. A real token has about ten
// members on one level; the rest is slack for claims that others add.
const (
	maxDepth         = 16
	maxObjectMembers = 64
	maxMembers       = 256
	maxNumber        = 64
)

// What can be wrong with a document. The texts name no part of it.
var (
	errSyntax    = errors.New("malformed JSON")
	errNotObject = errors.New("not a JSON object")
	errTrailing  = errors.New("data after the JSON object")
	errTooDeep   = errors.New("JSON nested too deep")
	errTooMany   = errors.New("too many JSON members")
	errDuplicate = errors.New("a JSON member is repeated, or differs from another or from a registered name only in case")
	errName      = errors.New("a control character in a JSON member name")
	errUTF8      = errors.New("not valid UTF-8")
	errNumber    = errors.New("malformed JSON number")
)

// kind is what a JSON value is, written as the character it starts with.
type kind byte

const (
	kindString kind = '"'
	kindNumber kind = '0'
	kindArray  kind = '['
	kindObject kind = '{'
	kindTrue   kind = 't'
	kindFalse  kind = 'f'
	kindNull   kind = 'n'
)

// value is one scanned JSON value. Both slices may point into the document.
type value struct {
	kind kind
	text []byte // the decoded string; the digits of a number
	raw  []byte // the value as it stands in the document
}

// scanner reads one JSON document, RFC 8259, once and strictly. The standard
// library's decoder would accept repeated members, match names whatever their
// case, and mend broken UTF-8: each a way to make two readers see two tokens.
type scanner struct {
	data    []byte
	pos     int
	members int
}

// scanObject calls visit for each member of the object in data, after it has
// checked the member's value to its bottom. visit reports whether it knows
// the name; an unknown name must not be a case variant of a known one.
func scanObject(data []byte, known []string, visit func(name []byte, v value) (bool, error)) error {
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return errNotObject
	}
	err := s.object(1, func(name []byte, v value) error {
		ok, err := visit(name, v)
		if err != nil || ok {
			return err
		}
		for _, k := range known {
			if bytes.EqualFold(name, []byte(k)) {
				return errDuplicate
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return errTrailing
	}
	return nil
}

// scanArray calls visit for each element of the array in raw, which the
// scanner has already accepted as a value.
func scanArray(raw []byte, visit func(v value) error) error {
	s := scanner{data: raw}
	return s.array(1, visit)
}

// peek returns the next byte, or 0 at the end: NUL is no JSON syntax, so the
// two cannot be confused.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) object(depth int, visit func(name []byte, v value) error) error {
	if depth > maxDepth {
		return errTooDeep
	}
	s.pos++ // the opening brace
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	var buf [16][]byte
	seen := buf[:0]
	for {
		s.space()
		name, err := s.name()
		if err != nil {
			return err
		}
		if s.members++; s.members > maxMembers || len(seen) == maxObjectMembers {
			return errTooMany
		}
		// RFC 7515 §4 and RFC 7519 §4 leave it to us to refuse repetition.
		// Folding case as well means that no reader, however lax, can take
		// another member for the one that was judged here.
		for _, other := range seen {
			if bytes.EqualFold(name, other) {
				return errDuplicate
			}
		}
		seen = append(seen, name)
		s.space()
		if s.peek() != ':' {
			return errSyntax
		}
		s.pos++
		v, err := s.value(depth)
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(name, v); err != nil {
				return err
			}
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) array(depth int, visit func(v value) error) error {
	if depth > maxDepth {
		return errTooDeep
	}
	s.pos++ // the opening bracket
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		v, err := s.value(depth)
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(v); err != nil {
				return err
			}
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) value(depth int) (value, error) {
	s.space()
	start, v := s.pos, value{}
	var err error
	switch c := s.peek(); {
	case c == '"':
		v.kind = kindString
		v.text, err = s.str()
	case c == '{':
		v.kind = kindObject
		err = s.object(depth+1, nil)
	case c == '[':
		v.kind = kindArray
		err = s.array(depth+1, nil)
	case c == '-' || '0' <= c && c <= '9':
		v.kind = kindNumber
		err = s.number()
		v.text = s.data[start:s.pos]
	default:
		v.kind, err = s.literal()
	}
	v.raw = s.data[start:s.pos]
	return v, err
}

func (s *scanner) literal() (kind, error) {
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return kind(word[0]), nil
		}
	}
	return 0, errSyntax
}

// number consumes a number of RFC 8259 §6: no leading zeros, no bare point.
func (s *scanner) number() error {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return errNumber
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return errNumber
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return errNumber
		}
	}
	if s.pos-start > maxNumber {
		return errNumber
	}
	return nil
}

// digits consumes one or more digits and reports whether there were any.
func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// name consumes a member name. A control character in it has no honest use;
// readers that end strings at NUL would see a different name.
func (s *scanner) name() ([]byte, error) {
	if s.peek() != '"' {
		return nil, errSyntax
	}
	name, err := s.str()
	if err != nil {
		return nil, err
	}
	if hasControl(name) {
		return nil, errName
	}
	return name, nil
}

// hasControl reports whether s, which is valid UTF-8, contains a C0 or C1
// control character or DEL.
func hasControl(s []byte) bool {
	for i, c := range s {
		if c < 0x20 || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return true
		}
	}
	return false
}

// str consumes a string and returns it decoded: a part of the document where
// no escape stands in the way, else a copy.
func (s *scanner) str() ([]byte, error) {
	s.pos++ // the opening quote
	start, ascii := s.pos, true
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			text := s.data[start:s.pos]
			s.pos++
			if !ascii && !utf8.Valid(text) {
				return nil, errUTF8
			}
			return text, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return nil, errSyntax
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.pos++
	}
	return nil, errSyntax
}

// escaped finishes str for a string that has escapes; start is where its
// text began.
func (s *scanner) escaped(start int) ([]byte, error) {
	text := bytes.Clone(s.data[start:s.pos])
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			if !utf8.Valid(text) {
				return nil, errUTF8
			}
			return text, nil
		case c < 0x20:
			return nil, errSyntax
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			text = utf8.AppendRune(text, r)
		default:
			text = append(text, c)
		}
	}
	return nil, errSyntax
}

// escape consumes what follows a backslash. A surrogate without its partner
// is no character (RFC 8259 §8.2) and readers differ on what it becomes.
func (s *scanner) escape() (rune, error) {
	c := s.peek()
	s.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
	default:
		return 0, errSyntax
	}
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if s.peek() != '\\' || s.pos+1 >= len(s.data) || s.data[s.pos+1] != 'u' {
		return 0, errUTF8
	}
	s.pos += 2
	low, err := s.hex4()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, errUTF8
	}
	return r, nil
}

func (s *scanner) hex4() (rune, error) {
	if s.pos+4 > len(s.data) {
		return 0, errSyntax
	}
	var r rune
	for _, c := range s.data[s.pos : s.pos+4] {
		r <<= 4
		switch {
		case '0' <= c && c <= '9':
			r |= rune(c - '0')
		case 'a' <= c && c <= 'f':
			r |= rune(c-'a') + 10
		case 'A' <= c && c <= 'F':
			r |= rune(c-'A') + 10
		default:
			return 0, errSyntax
		}
	}
	s.pos += 4
	return r, nil
}
