package provider

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Match is what a request was read as.
type Match struct {
	Operation string // "github.issues.create_comment", or a raw name
	Listed    bool   // it is an operation of the catalogue
	Read      bool   // it changes nothing
	Risk      Risk
	Why       []string // each fact that set or raised the risk, in plain words
	Resource  Resource // empty where the request names none that we know
	Params    map[string]string
	Scopes    []string // least scopes (or app permissions) that it needs
	Summary   string   // one line; values of the agent in it are shortened, and escaped where invisible
	Amount    *Amount

	Base     string // where it goes
	Path     string // the canonical spelling: the one to send
	RawQuery string // as given, checked
}

// Match reads r. It answers with a listed operation, with a raw name, or with a
// *[Refusal] for a request that could be read in two ways.
func (s *Spec) Match(r Request) (Match, error) {
	if s.index == nil {
		return Match{}, fmt.Errorf("provider %s: the spec was not validated", s.ID)
	}
	if s.Template {
		return Match{}, fmt.Errorf("provider %s: a template has no addresses yet", s.ID)
	}
	q, segments, err := s.open(&r)
	if err != nil {
		return Match{}, err
	}
	m := Match{Base: r.Base, Path: EncodePath(segments), RawQuery: r.RawQuery}
	m.Resource = s.resourceOf(segments)

	if hit := findPaths(s.index.refused, r.Method, segments); hit != nil {
		return Match{}, refuse(Batch, "%s", hit.Why)
	}
	if g := s.GraphQL; g != nil && strings.EqualFold(m.Path, g.Path) {
		if err := s.matchGraphQL(&m, &r); err != nil {
			return Match{}, err
		}
		return m, nil
	}
	listed, err := s.matchListed(&m, &r, q, segments)
	if err != nil {
		return Match{}, err
	}
	if !listed {
		if err := s.matchRaw(&m, &r, q, segments); err != nil {
			return Match{}, err
		}
	}
	return m, nil
}

// query is what ParseQuery said.
type query struct {
	values     url.Values
	duplicates []string
}

// open does what must hold for every request, before it is compared with
// anything.
func (s *Spec) open(r *Request) (query, []string, error) {
	if !slices.Contains(methods, r.Method) {
		return query{}, nil, refuse(BadMethod, "the method must be one of %s, in upper case", strings.Join(methods, ", "))
	}
	if r.Base == "" {
		r.Base = s.base()
	}
	if !slices.Contains(s.Endpoints.APIBases, r.Base) {
		return query{}, nil, refuse(BadHost, "%q is no API base of %s", clip(r.Base, 80), s.Name)
	}
	if err := checkHeaders(r.Header, s.Credential.Header); err != nil {
		return query{}, nil, err
	}
	segments, err := ParsePath(r.Path)
	if err != nil {
		return query{}, nil, err
	}
	values, duplicates, err := ParseQuery(r.RawQuery)
	if err != nil {
		return query{}, nil, err
	}
	if (r.Method == "GET" || r.Method == "HEAD") && len(r.Body) > 0 {
		// RFC 9110 §9.3.1: content of a GET means nothing, and peers differ in
		// whether they look at it.
		return query{}, nil, refuse(BadBody, "a %s has no body", r.Method)
	}
	return query{values, duplicates}, segments, nil
}

// matchListed looks for the operation of the catalogue that r is.
func (s *Spec) matchListed(m *Match, r *Request, q query, segments []string) (bool, error) {
	method := r.Method
	if method == "HEAD" {
		method = "GET"
	}
	exactPath, body := false, body{request: r}
	for _, c := range s.index.byMethod[method] {
		if c.op.base(s) != r.Base {
			continue
		}
		path, ok := c.t.match(segments, matching{})
		if !ok {
			continue
		}
		exactPath = true
		in, is, err := c.op.read(&body, r, q, path)
		if err != nil {
			return false, err
		}
		if is {
			return true, s.fill(m, c.op, in)
		}
		m.resembles(c.op)
	}
	if exactPath {
		return false, nil
	}
	for _, c := range s.index.byMethod[method] {
		if c.op.base(s) != r.Base {
			continue
		}
		if _, ok := c.t.match(segments, matching{fold: true, loose: true}); !ok {
			continue
		}
		if _, ok := c.t.match(segments, matching{loose: true}); !ok {
			return false, refuse(BadPath, "the path differs from %s only in upper and lower case", c.t.text)
		}
		// The path is this template but for the form of a value. A provider that
		// reads numbers generously would take it for the operation.
		m.resembles(c.op)
	}
	return false, nil
}

// body is the body of a request, read at most once however many operations ask.
type body struct {
	request *Request
	read    bool
	object  map[string]any
	err     error
}

func (b *body) json() (map[string]any, error) {
	if !b.read {
		b.read = true
		b.object, b.err = b.request.jsonBody()
	}
	return b.object, b.err
}

// resembles notes that an unlisted request has the path of o: it is never less
// risky than what it looks like.
func (m *Match) resembles(o *Operation) {
	if o.Risk > m.Risk {
		m.Risk = o.Risk
		m.Why = []string{fmt.Sprintf("it looks like %s, whose risk is %s", o.Name, o.Risk)}
	}
}

// read checks r against o. is tells whether the deciding parameters make it this
// operation; a value of the wrong type or outside of its set is refused.
func (o *Operation) read(b *body, r *Request, q query, path map[string]string) (in *values, is bool, err error) {
	in = &values{path: path, query: map[string]string{}, facts: r.Facts}
	if o.Body == NoBody && len(r.Body) > 0 {
		return nil, false, refuse(BadBody, "%s takes no body", o.Name)
	}
	if o.Body == JSONBody {
		if in.body, err = b.json(); err != nil {
			return nil, false, err
		}
	}
	for i := range o.Params {
		p := &o.Params[i]
		if !p.decides() {
			continue
		}
		v, there := in.at(string(p.In), p.Name)
		if p.In == InQuery {
			v, there = q.values.Get(p.Name), q.values.Has(p.Name)
		}
		word, ok := v.(string)
		switch {
		case !there || !ok:
			return nil, false, nil
		case p.Const != "" && !strings.EqualFold(word, p.Const), p.Const == "" && !p.allows(word):
			return nil, false, nil
		}
	}
	if err := o.readQuery(q, in); err != nil {
		return nil, false, err
	}
	for name, v := range in.body {
		p := o.known[name]
		if p == nil || p.In != InBody || p.decides() {
			continue
		}
		if !p.accepts(v) {
			return nil, false, refuse(BadParameter, "%s: %s must be %s", o.Name, name, p.wants())
		}
	}
	return in, true, nil
}

func (o *Operation) readQuery(q query, in *values) error {
	declared := func(name string) bool {
		p := o.known[name]
		return p != nil && p.In == InQuery
	}
	if err := checkQueryNames(q.values, declared); err != nil {
		return err
	}
	for _, name := range q.duplicates {
		if p := o.known[name]; p == nil || p.In != InQuery || p.Type != Strings {
			return refuse(BadQuery, "the query parameter %q is there twice", name)
		}
	}
	for name, list := range q.values {
		if !declared(name) {
			if !o.Read {
				// Some providers read arguments of a write from the query too, and
				// then they would go around the body that was judged.
				return refuse(BadQuery, "%s does not know the query parameter %q", o.Name, name)
			}
			continue
		}
		p := o.known[name]
		for _, v := range list {
			if p.Const == "" && p.Type != Strings && !p.fits(v) || p.Type == Strings && !p.allows(v) {
				return refuse(BadParameter, "%s: %s must be %s", o.Name, name, p.wants())
			}
		}
		in.query[name] = strings.Join(list, ", ")
	}
	return nil
}

// wants says what values p takes, in words.
func (p *Param) wants() string {
	kind := map[Type]string{
		String: "a text", Integer: "a whole number", Number: "a number", Boolean: "true or false",
		Strings: "a list of texts", Object: "an object", Objects: "a list of objects",
	}[p.Type]
	if len(p.Enum) > 0 {
		kind = "one of " + strings.Join(p.Enum, ", ")
	} else if p.Pattern != "" {
		kind += " that matches " + p.Pattern
	}
	if p.Nullable {
		kind += ", or null"
	}
	return kind
}

// fill writes the answer for operation o.
func (s *Spec) fill(m *Match, o *Operation, in *values) error {
	if o.Off {
		return refuse(SwitchedOff, "%s is switched off in the catalogue", o.Name)
	}
	m.Operation, m.Listed, m.Read = o.Name, true, o.Read
	m.Risk, m.Why = o.Risk, []string{fmt.Sprintf("%s is %s", o.Name, o.Risk)}
	m.Params = o.texts(in)
	m.Scopes = s.scopes(o.Scopes, o.Permissions)
	for i := range o.Raise {
		c := &o.Raise[i]
		if slices.ContainsFunc(c.If, func(c Condition) bool { return !c.holds(in) }) {
			continue
		}
		m.raise(c.Risk, c.Why)
		m.Scopes = append(m.Scopes, s.scopes(c.Scopes, c.Permissions)...)
	}
	if !o.Read && m.Risk == Low {
		// A low write runs without being asked for, so nothing in it may be new
		// to us.
		if unknown := o.unknown(in.body); len(unknown) > 0 {
			m.raise(Medium, "it holds members that the catalogue does not know: "+visible(clip(strings.Join(unknown, ", "), 80)))
		}
	}
	if o.Resource.Type != "" {
		m.Resource = o.Resource.fill(m.Params)
	}
	m.Summary, _ = expand(o.Summary, m.Params)
	if o.Money != nil {
		m.Amount = o.Money.read(in)
	}
	return nil
}

func (m *Match) raise(to Risk, why string) {
	m.Risk = m.Risk.Max(to)
	if !slices.Contains(m.Why, why) {
		m.Why = append(m.Why, why)
	}
}

func (s *Spec) scopes(scopes, permissions []string) []string {
	if s.Auth.Permissions {
		return slices.Clone(permissions)
	}
	return slices.Clone(scopes)
}

// texts are the declared parameters of a request as words.
func (o *Operation) texts(in *values) map[string]string {
	out := map[string]string{}
	for name, p := range o.known {
		v, there := in.at(string(p.In), name)
		if !there {
			continue
		}
		if s, ok := text(v); ok {
			out[name] = s
		}
	}
	return out
}

func (o *Operation) unknown(body map[string]any) []string {
	var names []string
	for name := range body {
		if p := o.known[name]; p == nil || p.In != InBody {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fill makes the resource of a request out of the one of a Spec. With a value
// missing there is none: a grant for one resource must not cover it.
func (r Resource) fill(params map[string]string) Resource {
	for _, m := range textPlaceholder.FindAllStringSubmatch(r.ID, -1) {
		if _, ok := params[m[1]]; !ok {
			return Resource{}
		}
	}
	id := textPlaceholder.ReplaceAllStringFunc(r.ID, func(s string) string {
		return params[textPlaceholder.FindStringSubmatch(s)[1]]
	})
	if r.Fold {
		id = asciiLower(id)
	}
	return Resource{Type: r.Type, ID: id, Fold: r.Fold}
}

func (s *Spec) resourceOf(segments []string) Resource {
	for i := range s.index.resources {
		r := &s.index.resources[i]
		if params, ok := r.template.match(segments, matching{prefix: true}); ok {
			return r.fill(params)
		}
	}
	return Resource{}
}
