package provider

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// methods are the ones that we send, in this very spelling: RFC 9110 §9.1, a
// method has case.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// index is what Validate makes of the API for Match.
type index struct {
	byMethod  map[string][]candidate
	resources []ResourcePath
	critical  []Paths
	refused   []Paths
}

type candidate struct {
	op *Operation
	t  *template
}

// lintAPI checks the API and builds its index. Everything that it compiles is
// kept in the operations, so that Match only compares.
func (s *Spec) lintAPI(l *linter) *index {
	idx := &index{byMethod: map[string][]candidate{}}
	l.oneOf("style", string(s.Style), "rest", "rpc", "graphql")
	shared := map[string]*Param{}
	for i := range s.PathParams {
		p := &s.PathParams[i]
		p.In = InPath
		l.param("path_params", p)
		shared[p.Name] = p
	}
	free := func(name string) *Param { return shared[name] }
	for i := range s.Resources {
		r := &s.Resources[i]
		var err error
		if r.template, err = parseTemplate(r.Path, free); err != nil {
			l.bad("resources: %w", err)
		}
		l.resource("resources", r.Resource, r.template.names())
	}
	idx.resources = s.Resources
	idx.critical, idx.refused = s.Critical, s.Refused
	for _, set := range []struct {
		what string
		list []Paths
	}{{"critical", s.Critical}, {"refused", s.Refused}} {
		for i := range set.list {
			l.paths(set.what, &set.list[i])
		}
	}
	if g := s.GraphQL; g != nil {
		if _, err := ParsePath(g.Path); err != nil {
			l.bad("graphql.path: %w", err)
		}
		for _, p := range g.Critical {
			if _, err := path.Match(p, ""); err != nil {
				l.bad("graphql.critical: %q: %w", p, err)
			}
		}
	} else if s.Style == GraphQLStyle {
		l.bad("style graphql needs graphql.path")
	}
	names, claims := map[string]bool{}, map[string]string{}
	for i := range s.Operations {
		o := &s.Operations[i]
		if names[o.Name] {
			l.bad("operation %s is there twice", o.Name)
		}
		names[o.Name] = true
		s.lintOperation(l, o, shared)
		for _, m := range o.Methods {
			for k := range o.templates {
				t := &o.templates[k]
				idx.byMethod[m] = append(idx.byMethod[m], candidate{o, t})
				claim := fmt.Sprintf("%s %s%s with %d deciding parameters", m, o.base(s), t.shape(), o.deciding())
				if other, taken := claims[claim]; taken {
					l.bad("%s and %s both claim %s", other, o.Name, claim)
				}
				claims[claim] = o.Name
			}
		}
	}
	for i := range s.Operations {
		s.lintPreview(l, &s.Operations[i])
	}
	// The most specific claim is asked first: by path, then by what must hold.
	for _, list := range idx.byMethod {
		slices.SortStableFunc(list, func(a, b candidate) int {
			if d := b.t.compare(a.t); d != 0 {
				return d
			}
			return b.op.deciding() - a.op.deciding()
		})
	}
	return idx
}

func (o *Operation) deciding() int {
	n := 0
	for i := range o.Params {
		if o.Params[i].decides() {
			n++
		}
	}
	return n
}

func (o *Operation) base(s *Spec) string {
	if o.Base != "" {
		return o.Base
	}
	return s.base()
}

func (s *Spec) lintOperation(l *linter, o *Operation, shared map[string]*Param) {
	at := "operation " + o.Name
	if !operationName.MatchString(o.Name) || !strings.HasPrefix(o.Name, s.namespace()+".") {
		l.bad("%s: want %s.<noun>.<verb>", at, s.namespace())
	}
	if strings.HasPrefix(o.Name, s.namespace()+".raw.") {
		l.bad("%s: raw names are for what is not listed", at)
	}
	if o.Title == "" || o.Summary == "" {
		l.bad("%s: title or summary is missing", at)
	}
	if o.Risk < Low || o.Risk > Critical {
		l.bad("%s: risk is missing", at)
	}
	if o.Read && (o.Risk != Low || len(o.Raise) > 0) {
		l.bad("%s: a read is always low", at)
	}
	if o.Base != "" && !slices.Contains(s.Endpoints.APIBases, o.Base) {
		l.bad("%s: base %q is not one of endpoints.api_bases", at, o.Base)
	}
	if len(o.Methods) == 0 || len(o.Paths) == 0 {
		l.bad("%s: method or path is missing", at)
	}
	for _, m := range o.Methods {
		if !slices.Contains(methods, m) || m == "HEAD" {
			l.bad("%s: method %q (HEAD comes with GET)", at, m)
		}
		if m == "GET" && s.Style == REST && (!o.Read || o.Body != NoBody) {
			l.bad("%s: a GET is a read without a body", at)
		}
	}
	l.oneOf(at+": body", string(o.Body), "", "json")

	o.known = map[string]*Param{}
	for i := range o.Params {
		p := &o.Params[i]
		l.param(at, p)
		if o.known[p.Name] != nil {
			l.bad("%s: parameter %q is there twice", at, p.Name)
		}
		if p.In == InBody && o.Body == NoBody {
			l.bad("%s: parameter %q is in a body that the operation does not have", at, p.Name)
		}
		o.known[p.Name] = p
	}
	find := func(name string) *Param {
		if p := o.known[name]; p != nil {
			return p
		}
		if p := shared[name]; p != nil {
			o.known[name] = p
			return p
		}
		l.bad("%s: {%s} of a path is not declared", at, name)
		return nil
	}
	o.templates = make([]template, 0, len(o.Paths))
	placed := map[string]bool{}
	for _, text := range o.Paths {
		t, err := parseTemplate(text, find)
		if err != nil {
			l.bad("%s: %w", at, err)
			continue
		}
		for _, name := range t.names() {
			placed[name] = true
			if p := o.known[name]; p != nil && p.In != InPath {
				l.bad("%s: %q stands in a path and is declared in %s", at, name, p.In)
			}
		}
		o.templates = append(o.templates, t)
	}
	for name, p := range o.known {
		if p.In == InPath && !placed[name] {
			l.bad("%s: parameter %q is in no path", at, name)
		}
	}
	names := make([]string, 0, len(o.known))
	for name := range o.known {
		names = append(names, name)
	}
	l.text(at+": summary", o.Summary, names)
	l.resource(at, o.Resource, names)
	for i := range o.Raise {
		l.raise(at, o, &o.Raise[i])
	}
	if o.Money != nil {
		l.oneOf(at+": money.meaning", string(o.Money.Meaning), "value", "transfer")
	}
}

func (l *linter) param(at string, p *Param) {
	if !paramName.MatchString(p.Name) {
		l.bad("%s: parameter name %q", at, p.Name)
	}
	l.oneOf(at+": "+p.Name+" in", string(p.In), "path", "query", "body")
	if p.Type == "" {
		p.Type = String
	}
	allowed := []string{"string", "integer", "number", "boolean", "strings"}
	if p.In == InBody {
		allowed = append(allowed, "object", "objects")
	} else if p.In == InPath {
		allowed = []string{"string", "integer"}
	}
	l.oneOf(at+": "+p.Name+" type", string(p.Type), allowed...)
	if p.Nullable && p.In != InBody {
		l.bad("%s: %s: only a body knows null", at, p.Name)
	}
	if p.Const != "" && (p.Type != String || p.In == InPath || p.Required || p.Pattern != "" || len(p.Enum) > 0) {
		l.bad("%s: %s: a constant is a plain string of query or body", at, p.Name)
	}
	if p.Pattern != "" {
		re, err := regexp.Compile(`^(?:` + p.Pattern + `)$`)
		if err != nil || len(p.Pattern) > 500 {
			l.bad("%s: %s: pattern cannot be used: %v", at, p.Name, err)
		}
		p.re = re
	}
}

func (l *linter) raise(at string, o *Operation, r *Raise) {
	if r.Risk <= o.Risk || r.Risk > Critical {
		l.bad("%s: a raise to %s does not raise", at, r.Risk)
	}
	if r.Why == "" || len(r.If) == 0 {
		l.bad("%s: a raise needs a reason and a condition", at)
	}
	for _, c := range r.If {
		kinds := 0
		for _, set := range []bool{c.Absent, c.Present, len(c.Is) > 0, len(c.Not) > 0, c.Under != "", c.Fact != ""} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			l.bad("%s: a condition on %q asks %d questions, want one", at, c.At, kinds)
		}
		top, _, _ := strings.Cut(c.At, ".")
		if p := o.known[top]; p == nil || string(p.In) != c.In {
			l.bad("%s: a condition asks for %s parameter %q, which is not declared", at, c.In, c.At)
		}
	}
}

func (l *linter) resource(at string, r Resource, names []string) {
	if (r.Type == "") != (r.ID == "") {
		l.bad("%s: a resource has a type and an id", at)
	}
	l.text(at+": resource", r.ID, names)
}

func (l *linter) text(at, text string, names []string) {
	for _, m := range textPlaceholder.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(names, m[1]) {
			l.bad("%s: {%s} is no parameter", at, m[1])
		}
	}
	if strings.ContainsAny(textPlaceholder.ReplaceAllString(text, ""), "{}") {
		l.bad("%s: %q has braces that are no placeholder", at, text)
	}
}

func (l *linter) paths(at string, p *Paths) {
	if p.Why == "" || len(p.Paths)+len(p.Segments) == 0 {
		l.bad("%s: an entry needs a reason and paths or segments", at)
	}
	for _, m := range p.Methods {
		if !slices.Contains(methods, m) {
			l.bad("%s: method %q", at, m)
		}
	}
	tops := p.Under
	if len(tops) == 0 {
		tops = []string{""}
	}
	p.templates = nil
	for _, top := range tops {
		for _, text := range p.Paths {
			t, err := parseTemplate(top+text, func(string) *Param { return nil })
			if err != nil {
				l.bad("%s: %w", at, err)
			}
			p.templates = append(p.templates, t)
		}
	}
}

// lintExamples renders every example and reads it back.
func (s *Spec) lintExamples(l *linter) {
	for i := range s.Operations {
		o := &s.Operations[i]
		if o.Off {
			continue
		}
		r, err := o.Render(s, o.Example)
		if err != nil {
			l.bad("operation %s: its example: %w", o.Name, err)
			continue
		}
		if plan, err := s.PlanPreview(r); err != nil || plan != nil && len(plan.Looks) != len(o.Preview.Looks) {
			l.bad("operation %s: its example has no whole preview: %v", o.Name, err)
		}
	}
}
