package policy

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed schema.cedarschema
var schemaText string

// Schema returns the text of the schema that every rule is checked against, in
// the form that Cedar's own tools read.
func Schema() string { return schemaText }

// checker validates rules. It alone touches the validator, which its authors
// keep outside their promise of compatibility.
type checker struct {
	schema *resolved.Schema
	valid  *validate.Validator
}

// newChecker reads the embedded schema; the text is part of the program, so a
// mistake in it is a programmer's.
func newChecker() *checker {
	var s schema.Schema
	s.SetFilename("schema.cedarschema")
	if err := s.UnmarshalCedar([]byte(schemaText)); err != nil {
		panic("policy: parse the embedded schema: " + err.Error())
	}
	r, err := s.Resolve()
	if err != nil {
		panic("policy: resolve the embedded schema: " + err.Error())
	}
	return &checker{schema: r, valid: validate.New(r, validate.WithStrict())}
}

// rule returns what is wrong with one parsed rule, in our words: each complaint
// once, however many kinds of request it was found for, with the name in the
// text that it is about ("" for the whole rule).
func (c *checker) rule(p *cedar.Policy) []complaint {
	err := c.valid.Policy("", (*xast.Policy)(p.AST()))
	if err == nil {
		return nil
	}
	var out []complaint
	seen := map[string]bool{}
	for _, line := range flatten(err) {
		cm := c.translate(line)
		if !seen[cm.message] {
			seen[cm.message] = true
			out = append(out, cm)
		}
	}
	// That no request fits the scope only repeats what a wrong name already
	// says.
	if len(out) > 1 {
		out = slices.DeleteFunc(out, func(cm complaint) bool { return cm.scope })
	}
	slices.SortStableFunc(out, func(a, b complaint) int { return strings.Compare(a.message, b.message) })
	return out
}

type complaint struct {
	about   string
	message string
	scope   bool
}

func flatten(err error) []string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []string
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []string{err.Error()}
}

var (
	reContextAttr  = regexp.MustCompile("^attribute `([^`]+)` in context for .* not found$")
	reEntityAttr   = regexp.MustCompile("^attribute `([^`]+)` on entity types? (.+) not found$")
	reOptional     = regexp.MustCompile("^unable to guarantee safety of access to optional attribute `([^`]+)`")
	reEntityType   = regexp.MustCompile("^unrecognized entity type `([^`]+)`$")
	reAction       = regexp.MustCompile("^unrecognized action `Action::\"(.*)\"`$")
	reLiteral      = regexp.MustCompile("failed to parse as (?:an? )?(.+): `(\".*\")`$")
	reExpectedType = regexp.MustCompile("^unexpected type: expected (.+) but saw (.+)$")
)

// translate says a validator's message in the words of a person who writes
// rules, with what would be allowed instead.
func (c *checker) translate(msg string) complaint {
	switch {
	case reContextAttr.MatchString(msg):
		name := reContextAttr.FindStringSubmatch(msg)[1]
		return complaint{about: name, message: fmt.Sprintf("context has no `%s`; it has %s", name, c.contextNames())}
	case reEntityAttr.MatchString(msg):
		m := reEntityAttr.FindStringSubmatch(msg)
		first := strings.Trim(strings.SplitN(m[2], ",", 2)[0], "`")
		has := "no attributes"
		if names := c.entityNames(first); names != "" {
			has = names
		}
		// Which of several types of resource was looked at first does not
		// matter: they have the same attributes.
		what := first
		if c.isResource(first) {
			what = "resource"
		}
		return complaint{about: m[1], message: fmt.Sprintf("%s has no `%s`; it has %s", what, m[1], has)}
	case reOptional.MatchString(msg):
		name := reOptional.FindStringSubmatch(msg)[1]
		return complaint{about: name, message: fmt.Sprintf("`%s` may be missing; write `context has %s && …` before reading it", name, name)}
	case reEntityType.MatchString(msg):
		name := reEntityType.FindStringSubmatch(msg)[1]
		return complaint{about: name, message: fmt.Sprintf("there is no type `%s`; there are %s", name, c.typeNames())}
	case reAction.MatchString(msg):
		name := reAction.FindStringSubmatch(msg)[1]
		return complaint{about: `"` + name + `"`, message: fmt.Sprintf("there is no action `%s`; there are read, write and vend (an operation is tested with `context.operation == Operation::\"…\"`)", name)}
	case reLiteral.MatchString(msg):
		m := reLiteral.FindStringSubmatch(msg)
		return complaint{about: m[2], message: fmt.Sprintf("%s cannot be read as a %s", m[2], strings.Replace(m[1], "IP address", "network address", 1))}
	case reExpectedType.MatchString(msg):
		m := reExpectedType.FindStringSubmatch(msg)
		return complaint{message: fmt.Sprintf("the condition mixes types: %s is needed where %s stands", m[1], m[2])}
	case strings.HasPrefix(msg, "unable to find an applicable action"):
		return complaint{scope: true, message: "no request fits the scope of this rule; the principal is an Agent, the resource one of " + strings.Join(c.resources(), ", ")}
	case strings.HasPrefix(msg, "empty set literals"):
		return complaint{message: "an empty set `[]` is not allowed"}
	}
	return complaint{message: msg}
}

func (c *checker) contextNames() string {
	for _, a := range c.schema.Actions {
		return quoteNames(a.AppliesTo.Context)
	}
	return ""
}

func (c *checker) entityNames(t string) string {
	return quoteNames(c.schema.Entities[cedar.EntityType(t)].Shape)
}

func quoteNames(r resolved.RecordType) string {
	names := slices.Sorted(maps.Keys(r))
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}

func (c *checker) typeNames() string {
	names := slices.Sorted(maps.Keys(c.schema.Entities))
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}

func (c *checker) resources() []string {
	var out []string
	for _, a := range c.schema.Actions {
		for _, t := range a.AppliesTo.Resources {
			out = append(out, string(t))
		}
		break
	}
	return out
}

func (c *checker) isResource(t string) bool { return slices.Contains(c.resources(), t) }
