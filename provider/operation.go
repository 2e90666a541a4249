package provider

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Operation is a named thing that a provider can do. Its Risk is where judging
// starts; Raise only raises.
type Operation struct {
	Name    string   `yaml:"name"`    // "github.issues.create_comment"
	Title   string   `yaml:"title"`   // a few words for lists: "Comment on an issue"
	Summary string   `yaml:"summary"` // template: "comment on {owner}/{repo}#{number}"
	Methods []string `yaml:"methods"` // GET matches HEAD too; Render uses the first
	Paths   []string `yaml:"paths"`   // templates below the API base
	Base    string   `yaml:"base,omitempty"`

	Risk  Risk    `yaml:"risk"`
	Read  bool    `yaml:"read,omitempty"` // changes nothing; its risk is low
	Off   bool    `yaml:"off,omitempty"`  // listed so that it is known, and always refused
	Raise []Raise `yaml:"raise,omitempty"`

	Scopes      []string `yaml:"scopes,omitempty"`      // least OAuth scopes that work
	Permissions []string `yaml:"permissions,omitempty"` // least app permissions that work

	Body     Body           `yaml:"body,omitempty"`
	Params   []Param        `yaml:"params,omitempty"`
	Resource Resource       `yaml:"resource,omitempty"` // replaces the one that the path names
	Money    *Money         `yaml:"money,omitempty"`
	Preview  *Preview       `yaml:"preview,omitempty"` // how to show what it would change
	Example  map[string]any `yaml:"example,omitempty"` // parameters of a plausible call: documentation, and the golden files

	templates []template
	known     map[string]*Param
}

// Body says what an operation takes as its body.
type Body string

// The kinds of body.
const (
	NoBody   Body = ""     // none at all
	JSONBody Body = "json" // a JSON object, possibly empty
)

// Raise is a fact that raises the risk of an operation. All conditions must
// hold; several raises stand beside each other.
type Raise struct {
	Risk        Risk        `yaml:"risk"`
	Why         string      `yaml:"why"` // plain words: "approves the pull request"
	If          []Condition `yaml:"if"`
	Scopes      []string    `yaml:"scopes,omitempty"` // needed besides
	Permissions []string    `yaml:"permissions,omitempty"`
}

// Condition asks about one value of the request. It is read with suspicion: words
// are compared without case and surrounding blanks, "true" is as good as true, and
// what cannot be compared counts as holding.
type Condition struct {
	In      string   `yaml:"in"` // path, query or body
	At      string   `yaml:"at"` // name of the parameter; in a body members may be nested: "a.b"
	Absent  bool     `yaml:"absent,omitempty"`
	Present bool     `yaml:"present,omitempty"`
	Is      []string `yaml:"is,omitempty"`    // the value is one of these
	Not     []string `yaml:"not,omitempty"`   // there is a value, and it is none of these
	Under   string   `yaml:"under,omitempty"` // the value is this path or lies below it
	Fact    string   `yaml:"fact,omitempty"`  // there is a value, and it is the branch that the named fact says, or the fact is not known
}

// Resource is the thing an operation touches, as grants and policies name it.
// With Fold the provider takes its id without regard to ASCII case.
type Resource struct {
	Type string `yaml:"type,omitempty"` // "repository"
	ID   string `yaml:"id,omitempty"`   // template in a Spec, the id in a Match: "{owner}/{repo}"
	Fold bool   `yaml:"fold,omitempty"`
}

// In says where a parameter goes.
type In string

// The places.
const (
	InPath  In = "path"
	InQuery In = "query"
	InBody  In = "body"
)

// Type says what values a parameter takes.
type Type string

// The types. Strings is a list of strings; Object and Objects are taken as they
// are.
const (
	String  Type = "string"
	Integer Type = "integer"
	Number  Type = "number"
	Boolean Type = "boolean"
	Strings Type = "strings"
	Object  Type = "object"
	Objects Type = "objects"
)

// Param is one parameter of an operation.
type Param struct {
	Name     string   `yaml:"name"`
	In       In       `yaml:"in"`
	Type     Type     `yaml:"type,omitempty"` // string if empty
	Required bool     `yaml:"required,omitempty"`
	Nullable bool     `yaml:"nullable,omitempty"` // null is a value: "remove it"
	Enum     []string `yaml:"enum,omitempty"`
	Pattern  string   `yaml:"pattern,omitempty"` // RE2, for the whole value
	Doc      string   `yaml:"doc,omitempty"`

	// Const is the value that makes the request this operation: Render writes it,
	// Match requires it (without case), nobody gives it.
	Const string `yaml:"const,omitempty"`
	// Decides makes Pattern and presence decide whether a request is this
	// operation at all, where otherwise a bad value would be refused.
	Decides bool `yaml:"decides,omitempty"`

	re *regexp.Regexp
}

// Param is the declaration of a parameter, or nil.
func (o *Operation) Param(name string) *Param { return o.known[name] }

// decides reports whether p takes part in choosing the operation.
func (p *Param) decides() bool { return p.Decides || p.Const != "" }

// Parameters lists everything that Render takes, those of the path first and in
// its order.
func (o *Operation) Parameters() []Param {
	var out []Param
	seen := map[string]bool{}
	add := func(p *Param) {
		if p != nil && p.Const == "" && !seen[p.Name] {
			seen[p.Name] = true
			out = append(out, *p)
		}
	}
	for i := range o.templates {
		for _, name := range o.templates[i].names() {
			add(o.known[name])
		}
	}
	for i := range o.Params {
		add(&o.Params[i])
	}
	return out
}

// maxInteger bounds the digits of an integer in a path or query: within ±2^53
// whatever they are.
const maxInteger = 15

// fits reports whether the text s of a path or query is a value of p.
func (p *Param) fits(s string) bool {
	if p == nil {
		return true
	}
	switch p.Type {
	case Integer:
		if !canonicalInteger(s) {
			return false
		}
	case Number:
		if _, err := strconv.ParseFloat(s, 64); err != nil || !exact(s) {
			return false
		}
	case Boolean:
		if s != "true" && s != "false" {
			return false
		}
	case Object, Objects:
		return false
	}
	return p.allows(s)
}

// allows checks enum and pattern.
func (p *Param) allows(s string) bool {
	if len(p.Enum) > 0 && !slices.Contains(p.Enum, s) {
		return false
	}
	return p.re == nil || p.re.MatchString(s)
}

func canonicalInteger(s string) bool {
	d := strings.TrimPrefix(s, "-")
	if d == "" || len(d) > maxInteger || strings.Trim(d, "0123456789") != "" {
		return false
	}
	return s == "0" || d[0] != '0'
}

// text is v, a value of a JSON body, as the words of a summary or a condition;
// ok is false for what has no such form.
func text(v any) (s string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "null", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return string(v), true
	case []any:
		words := make([]string, len(v))
		for i, e := range v {
			w, isString := e.(string)
			if !isString {
				return "", false
			}
			words[i] = w
		}
		return strings.Join(words, ", "), true
	}
	return "", false
}

// accepts checks v, a value of a JSON body, against p.
func (p *Param) accepts(v any) bool {
	if v == nil {
		return p.Nullable
	}
	switch p.Type {
	case Integer:
		n, ok := v.(json.Number)
		return ok && canonicalInteger(string(n)) && p.allows(string(n))
	case Number:
		n, ok := v.(json.Number)
		return ok && p.allows(string(n))
	case Boolean:
		_, ok := v.(bool)
		return ok
	case Strings:
		a, ok := v.([]any)
		return ok && !slices.ContainsFunc(a, func(e any) bool { s, ok := e.(string); return !ok || !p.allows(s) })
	case Object:
		_, ok := v.(map[string]any)
		return ok
	case Objects:
		a, ok := v.([]any)
		return ok && !slices.ContainsFunc(a, func(e any) bool { _, ok := e.(map[string]any); return !ok })
	default:
		s, ok := v.(string)
		return ok && p.allows(s)
	}
}

// holds judges c over the values of one request.
func (c *Condition) holds(in *values) bool {
	v, there := in.at(c.In, c.At)
	s, comparable := text(v)
	s = strings.TrimSpace(s)
	switch {
	case c.Absent:
		return !there
	case c.Present:
		return there
	case !there:
		return false
	case !comparable:
		return true
	case c.Fact != "":
		fact := in.facts[c.Fact]
		return fact == "" || strings.EqualFold(branchName(s), branchName(fact))
	case c.Under != "":
		return under(s, c.Under)
	case len(c.Not) > 0:
		return !slices.Contains(c.Not, s)
	default:
		return slices.ContainsFunc(c.Is, func(w string) bool { return strings.EqualFold(w, s) })
	}
}

// branchName takes the full ref off: GitHub accepts "main", "heads/main" and
// "refs/heads/main" for one branch.
func branchName(s string) string {
	s = strings.TrimPrefix(s, "refs/")
	return strings.TrimPrefix(s, "heads/")
}

func under(path, top string) bool {
	p, t := strings.ToLower(strings.Trim(path, "/")), strings.ToLower(strings.Trim(top, "/"))
	return p == t || strings.HasPrefix(p, t+"/")
}

// values are what conditions and summaries may look at.
type values struct {
	path  map[string]string
	query map[string]string
	body  map[string]any
	facts map[string]string
}

func (in *values) at(where, name string) (v any, there bool) {
	switch In(where) {
	case InPath:
		s, ok := in.path[name]
		return s, ok
	case InQuery:
		s, ok := in.query[name]
		return s, ok
	}
	v = any(in.body)
	for n := range strings.SplitSeq(name, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, there = m[n]; !there {
			return nil, false
		}
	}
	return v, there
}
