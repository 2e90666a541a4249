package provider

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Render makes the request of o from parameters: path segments escaped by us,
// the query in the order of its keys, the body in the form of RFC 8785, so that
// equal parameters give equal bytes. Parameters that are missing, unknown or of
// the wrong type are a *[Refusal] that names them. The result is read back with
// [Spec.Match]: parameters that would make it another operation are refused too.
func (o *Operation) Render(s *Spec, params map[string]any) (Request, error) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if p := o.known[name]; p == nil || p.Const != "" {
			return Request{}, refuse(BadParameter, "%s has no parameter %q; it takes %s", o.Name, clip(name, 60), o.takes())
		}
	}
	path, q, body := map[string]string{}, url.Values{}, map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(o.known)) {
		p := o.known[name]
		v, there := params[name]
		if p.Const != "" {
			v, there = p.Const, true
		}
		if !there {
			if p.Required || p.Decides {
				return Request{}, refuse(BadParameter, "%s needs the parameter %q", o.Name, name)
			}
			continue
		}
		v, ok := p.coerce(v)
		if !ok {
			return Request{}, refuse(BadParameter, "%s: %s must be %s", o.Name, name, p.wants())
		}
		switch p.In {
		case InPath:
			path[name], _ = v.(string)
		case InQuery:
			q[name] = v.([]string)
		default:
			body[name] = v
		}
	}
	r := Request{Method: o.Methods[0], Base: o.base(s), RawQuery: q.Encode(), Header: http.Header{}}
	var err error
	if r.Path, err = o.path(path); err != nil {
		return Request{}, err
	}
	for name, value := range s.Headers {
		r.Header.Set(name, value)
	}
	if o.Body == JSONBody {
		if r.Body, err = canonicalJSON(body); err != nil {
			return Request{}, err
		}
		r.Header.Set("Content-Type", "application/json")
	}
	m, err := s.Match(r)
	if err != nil {
		return Request{}, err
	}
	if m.Operation != o.Name {
		return Request{}, refuse(OtherRequest, "with these parameters it is %s, not %s", m.Operation, o.Name)
	}
	return r, nil
}

// path fills the template that uses every given path parameter.
func (o *Operation) path(given map[string]string) (string, error) {
	missing := ""
	for i := range o.templates {
		t := &o.templates[i]
		names := t.names()
		if at := slices.IndexFunc(names, func(n string) bool { _, ok := given[n]; return !ok }); at >= 0 {
			missing = names[at]
			continue
		}
		if len(names) < len(given) {
			continue
		}
		segments, err := t.fill(given)
		if err != nil {
			return "", err
		}
		return EncodePath(segments), nil
	}
	if missing != "" {
		return "", refuse(BadParameter, "%s needs the parameter %q", o.Name, missing)
	}
	return "", refuse(BadParameter, "%s has no path with all of these parameters", o.Name)
}

// coerce makes v what its place needs: a string for a path, a []string for a
// query, a JSON value for a body. ok is false for a value that is none of p's.
func (p *Param) coerce(v any) (out any, ok bool) {
	switch p.In {
	case InPath:
		s, ok := scalar(v)
		return s, ok && s != "" && p.typed(v) && p.fits(s)
	case InQuery:
		if p.Type == Strings {
			list, ok := stringList(v)
			return list, ok && !slices.ContainsFunc(list, func(s string) bool { return !p.allows(s) })
		}
		s, ok := scalar(v)
		return []string{s}, ok && p.typed(v) && (p.Const != "" || p.fits(s))
	}
	v = widen(v)
	return v, p.Const != "" || p.accepts(v)
}

// typed keeps "1" from being a number and 1 from being a text.
func (p *Param) typed(v any) bool {
	switch v.(type) {
	case string:
		return p.Type == String
	case bool:
		return p.Type == Boolean
	default:
		return p.Type == Integer || p.Type == Number
	}
}

// scalar is v as the text of a path or query.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	}
	n, ok := widen(v).(json.Number)
	return string(n), ok
}

func stringList(v any) ([]string, bool) {
	list, ok := widen(v).([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			return nil, false
		}
	}
	return out, true
}

// widen gives Go values the shapes that the JSON reader gives: numbers are
// json.Number in canonical spelling, lists []any. What it cannot widen it leaves,
// and the types do not accept it.
func widen(v any) any {
	switch v := v.(type) {
	case int:
		return json.Number(strconv.Itoa(v))
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case float64:
		if math.IsNaN(v) || math.Abs(v) > maxExact {
			return v
		}
		b, err := appendFloat(nil, v)
		if err != nil {
			return v
		}
		return json.Number(b)
	case json.Number:
		if !exact(string(v)) {
			return struct{}{}
		}
		if strings.ContainsAny(string(v), ".eE") {
			if f, err := v.Float64(); err == nil {
				return widen(f)
			}
		}
		return v
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = widen(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = widen(e)
		}
		return out
	}
	return v
}

// takes lists the parameters that may be given.
func (o *Operation) takes() string {
	var names []string
	for _, p := range o.Params {
		if p.Const == "" {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
