package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"

	"github.com/valetkey/valetkey/internal/fault"
)

// Problem is one thing that is wrong with a text of rules, and where.
type Problem struct {
	Source       string // the name of the text; "" from [Check]
	Line, Column int    // from 1
	Message      string
}

// String is "name:line:column: what is wrong".
func (p Problem) String() string {
	s := fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Message)
	if p.Source != "" {
		s = p.Source + ":" + s
	}
	return s
}

// Problems is the error of texts that cannot be put in force. Whoever saved
// them sees it as a fault with reason "policy_invalid".
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the fault that the author of the text may see.
func (ps Problems) Unwrap() error {
	if len(ps) == 0 {
		return nil
	}
	detail := "The rules were not saved: " + ps[0].String()
	if n := len(ps) - 1; n > 0 {
		detail += fmt.Sprintf(" (and %d more)", n)
	}
	return fault.New(fault.Invalid, "policy_invalid", detail+".")
}

// Check returns everything that is wrong with a text, in the order of the
// text. A text without problems compiles.
func Check(text string) []Problem {
	_, problems := parse("", text)
	return problems
}

// CheckOperations returns a problem for each operation that text names and
// that is neither in known nor a group of something known. A rule about a
// misspelt operation is valid and never applies, so whoever saves rules is told.
func CheckOperations(text string, known []string) []Problem {
	rules, problems := parse("", text)
	if len(problems) > 0 {
		return problems
	}
	ok := map[string]bool{}
	for _, op := range known {
		ok[op] = true
		for i := range len(op) {
			if op[i] == '.' {
				ok[op[:i]] = true
			}
		}
	}
	for _, r := range rules {
		for _, name := range literals(r.policy, typeOperation) {
			if !ok[name] {
				at := r.find(strconv.Quote(name))
				problems = append(problems, Problem{Line: at.line, Column: at.column, Message: fmt.Sprintf("there is no operation or group `%s`", name)})
			}
		}
	}
	inOrder(problems)
	return problems
}

func inOrder(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
}

// parsed is one rule of a text, before it is part of a set.
type parsed struct {
	id     string
	policy *cedar.Policy
	notes  notes
	tokens []token // its own, for finding places
}

// find returns the first token of r that reads text, or r's first.
func (r *parsed) find(text string) token {
	for _, t := range r.tokens {
		if t.text == text {
			return t
		}
	}
	return r.tokens[0]
}

// sharedChecker is built once; it is read-only after that.
var sharedChecker = sync.OnceValue(newChecker)

// parse reads, bounds and validates a text. Rules are returned only when there
// are no problems.
func parse(name, text string) ([]parsed, []Problem) {
	tokens, problems := scan(text)
	if len(problems) > 0 {
		return nil, named(name, problems)
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return nil, named(name, []Problem{syntax(err, tokens)})
	}
	rules := make([]parsed, 0, len(list))
	ids := map[string]bool{}
	for i, p := range list {
		r := parsed{policy: p, tokens: span(tokens, p, next(list, i))}
		note := func(t token, format string, args ...any) {
			problems = append(problems, Problem{Line: t.line, Column: t.column, Message: fmt.Sprintf(format, args...)})
		}
		r.notes = readNotes(p.Annotations(), func(key, complaint string) { note(r.annotation(key), "%s", complaint) })
		r.id = r.notes.id
		switch {
		case r.id == "":
			r.id = "rule#" + strconv.Itoa(i+1) // no @id can look like this
		case ids[r.id]:
			note(r.annotation("id"), "two rules have the id `%s`", r.id)
		}
		ids[r.id] = true
		for _, c := range sharedChecker().rule(p) {
			note(r.place(c), "%s", c.message)
		}
		rules = append(rules, r)
		if len(problems) >= maxProblems {
			break
		}
	}
	if len(problems) > 0 {
		inOrder(problems)
		return nil, named(name, problems)
	}
	return rules, nil
}

func named(name string, problems []Problem) []Problem {
	for i := range problems {
		problems[i].Source = name
	}
	return problems
}

func next(list cedar.PolicyList, i int) *cedar.Policy {
	if i+1 < len(list) {
		return list[i+1]
	}
	return nil
}

// span is the tokens from the start of p up to the start of the rule after it.
func span(tokens []token, p, after *cedar.Policy) []token {
	from, _ := slices.BinarySearchFunc(tokens, p.Position().Offset, func(t token, at int) int { return t.offset - at })
	to := len(tokens)
	if after != nil {
		to, _ = slices.BinarySearchFunc(tokens, after.Position().Offset, func(t token, at int) int { return t.offset - at })
	}
	return tokens[from:to]
}

// annotation is where @key stands.
func (r *parsed) annotation(key string) token {
	for i, t := range r.tokens[:len(r.tokens)-1] {
		if t.text == "@" && r.tokens[i+1].text == key {
			return t
		}
	}
	return r.tokens[0]
}

// place is where the name that a complaint is about stands after the
// annotations. A complaint about no name is about the condition, or about the
// scope, which is where the rule begins.
func (r *parsed) place(c complaint) token {
	head := 0
	for i, t := range r.tokens {
		if t.text == "permit" || t.text == "forbid" {
			head = i
			break
		}
	}
	for _, t := range r.tokens[head:] {
		if t.text == c.about || c.about == "" && !c.scope && (t.text == "when" || t.text == "unless") {
			return t
		}
	}
	return r.tokens[head]
}

var (
	rePlaced     = regexp.MustCompile(`(?s)^parser error: parse error at <input>:(\d+):(\d+) "(.*?)": (.*)$`)
	reWant       = regexp.MustCompile(`^(?:exact )?got (.*) want (.*)$`)
	reEffect     = regexp.MustCompile(`^unexpected effect: (.*)$`)
	reCall       = regexp.MustCompile("^`(.+)` is (?:not )?a (?:method|function)")
	reOutOfRange = regexp.MustCompile(`parsing "(-?\d+)"`)
)

// syntax says a parser's message in plain words. The parser names the token
// after the one it stumbled over; the reader is shown that one.
func syntax(err error, tokens []token) Problem {
	msg := err.Error()
	m := rePlaced.FindStringSubmatch(msg)
	if m == nil {
		at := token{line: 1, column: 1}
		if n := reOutOfRange.FindStringSubmatch(msg); n != nil {
			for _, t := range tokens {
				if t.text == strings.TrimPrefix(n[1], "-") {
					at = t
					break
				}
			}
			return Problem{Line: at.line, Column: at.column, Message: fmt.Sprintf("the number %s is too large", n[1])}
		}
		return Problem{Line: at.line, Column: at.column, Message: strings.TrimPrefix(msg, "parser error: ")}
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	i := slices.IndexFunc(tokens, func(t token) bool { return t.line > line || t.line == line && t.column >= column })
	if i < 0 {
		i = len(tokens)
	}
	what := m[4]
	if w := reWant.FindStringSubmatch(what); w != nil {
		if w[1] == "" {
			return end(tokens, fmt.Sprintf("the text ends where `%s` is expected", w[2]))
		}
		if (i == len(tokens) || tokens[i].text != w[1]) && i > 0 {
			i--
		}
		return Problem{Line: tokens[i].line, Column: tokens[i].column, Message: fmt.Sprintf("`%s` is expected where `%s` stands", w[2], tokens[i].text)}
	}
	if m[3] == "" && i == len(tokens) && (len(tokens) == 0 || strings.Contains("{(&|[,=", tokens[len(tokens)-1].text[:1])) {
		return end(tokens, "the text ends in the middle of a rule")
	}
	if i > 0 {
		i--
	}
	if c := reCall.FindStringSubmatch(what); c != nil {
		for i > 0 && tokens[i].text != c[1] {
			i--
		}
	}
	found := ""
	at := token{line: 1, column: 1}
	if i < len(tokens) {
		at, found = tokens[i], tokens[i].text
	}
	switch e := reEffect.FindStringSubmatch(what); {
	case e != nil:
		what = fmt.Sprintf("a rule begins with permit or forbid, not with `%s`", found)
	case what == "invalid primary":
		what = fmt.Sprintf("`%s` is no value; a condition reads principal, action, resource or context", found)
	case strings.HasPrefix(what, "expected "):
		what = fmt.Sprintf("%s, not `%s`", strings.Replace(what, "ident", "a name", 1), found)
	case what == "unexpected token":
		what = fmt.Sprintf("`%s` is not expected here", found)
	}
	return Problem{Line: at.line, Column: at.column, Message: what}
}

func end(tokens []token, message string) Problem {
	p := Problem{Line: 1, Column: 1, Message: message}
	if len(tokens) > 0 {
		last := tokens[len(tokens)-1]
		p.Line, p.Column = last.line, last.column+len([]rune(last.text))
	}
	return p
}
