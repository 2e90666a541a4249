package policy

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Bounds on a text of rules. Parsing, checking and judging recurse with the
// nesting, and some of the checker's work grows with the square or the cube of
// what is chained, so both are bounded before any of it starts.
const (
	maxText     = 32 << 10
	maxRules    = 250
	maxWords    = 500 // of one rule
	maxDepth    = 16  // of brackets
	maxIfs      = 16  // of one rule
	maxPath     = 8   // names in a row: context.connection.account has 3
	maxNegation = 4   // ! and - in a row, as in Cedar's own parser
	maxProblems = 20  // after which the rest is not looked at
)

// token is a word of a text with its place; line and column begin at 1, and a
// column is a character.
type token struct {
	text         string
	offset       int
	line, column int
}

// scan splits a text into tokens, to find the place of what is wrong, and
// refuses what must not reach the parser: too much, too deep, or characters
// that make a text read otherwise than it means.
func scan(text string) ([]token, []Problem) {
	if len(text) > maxText {
		return nil, []Problem{{Line: 1, Column: 1, Message: fmt.Sprintf("the text has %d bytes; at most %d are allowed", len(text), maxText)}}
	}
	s := scanner{text: text, line: 1, column: 1}
	for s.offset < len(text) && s.problem == nil {
		s.next()
	}
	if s.problem != nil {
		return nil, []Problem{*s.problem}
	}
	return s.tokens, nil
}

type scanner struct {
	text         string
	offset       int
	line, column int
	rules        int
	depth        int // brackets open
	words, ifs   int // since the rule began
	path, signs  int // in a row
	tokens       []token
	problem      *Problem
}

func (s *scanner) fail(format string, args ...any) {
	if s.problem == nil {
		s.problem = &Problem{Line: s.line, Column: s.column, Message: fmt.Sprintf(format, args...)}
	}
}

// step passes one character, which must be harmless.
func (s *scanner) step() {
	r, n := utf8.DecodeRuneInString(s.text[s.offset:])
	switch {
	case r == utf8.RuneError && n == 1:
		s.fail("the text is not valid UTF-8")
	case r == '\n':
		s.offset, s.line, s.column = s.offset+1, s.line+1, 1
		return
	case r == '\t' || r == '\r':
	case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029':
		s.fail("the invisible character U+%04X is not allowed", r)
	}
	s.offset += n
	s.column++
}

func (s *scanner) next() {
	switch c := s.text[s.offset]; {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		s.step()
		return
	case c == '/':
		if s.offset+1 >= len(s.text) || s.text[s.offset+1] != '/' {
			s.fail("`/` begins nothing; a comment begins with `//`")
			return
		}
		for s.offset < len(s.text) && s.text[s.offset] != '\n' && s.problem == nil {
			s.step()
		}
		return
	}
	t := token{offset: s.offset, line: s.line, column: s.column}
	switch c := s.text[s.offset]; {
	case c == '"':
		s.quoted()
	case word(c):
		for s.offset < len(s.text) && word(s.text[s.offset]) {
			s.step()
		}
	default:
		s.step()
		if s.offset < len(s.text) && pair(c, s.text[s.offset]) {
			s.step()
		}
	}
	t.text = s.text[t.offset:s.offset]
	s.tokens = append(s.tokens, t)
	s.bound(t)
}

func (s *scanner) quoted() {
	line, column := s.line, s.column
	s.step()
	for s.problem == nil {
		switch {
		case s.offset >= len(s.text) || s.text[s.offset] == '\n':
			s.line, s.column = line, column
			s.fail("the string that begins here has no end on its line")
		case s.text[s.offset] == '"':
			s.step()
			return
		case s.text[s.offset] == '\\' && s.offset+1 < len(s.text):
			s.step()
			s.step()
		default:
			s.step()
		}
	}
}

// bound counts t and complains, at t, when it is one too many.
func (s *scanner) bound(t token) {
	s.words++
	path, signs := 0, 0
	switch t.text {
	case "(", "[", "{":
		s.depth++
	case ")", "]", "}":
		s.depth--
	case "if":
		s.ifs++
	case ".":
		path = s.path + 1
	case "!", "-":
		signs = s.signs + 1
	case ";":
		s.rules++
		s.depth, s.words, s.ifs = 0, 0, 0
	default:
		path = s.path // a name between dots
	}
	if n := len(s.tokens); n >= 2 && t.text != "." && s.tokens[n-2].text != "." {
		path = 0
	}
	s.path, s.signs = path, signs
	what, limit := "", 0
	switch {
	case s.depth > maxDepth:
		what, limit = "the rule nests deeper than %d", maxDepth
	case s.words > maxWords:
		what, limit = "the rule has more than %d words", maxWords
	case s.ifs > maxIfs:
		what, limit = "the rule has more than %d ifs", maxIfs
	case s.path >= maxPath:
		what, limit = "a path has at most %d names", maxPath
	case s.signs > maxNegation:
		what, limit = "at most %d of ! and - may follow each other", maxNegation
	case s.rules > maxRules:
		what, limit = "the text has more than %d rules", maxRules
	}
	if what != "" && s.problem == nil {
		s.problem = &Problem{Line: t.line, Column: t.column, Message: fmt.Sprintf(what, limit)}
	}
}

func word(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func pair(a, b byte) bool {
	switch string([]byte{a, b}) {
	case "::", "&&", "||", "==", "!=", "<=", ">=":
		return true
	}
	return false
}
