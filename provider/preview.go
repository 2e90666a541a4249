package provider

import (
	"slices"
	"strings"
)

// Preview says how a person can be shown what an operation would change before
// they approve it: which listed reads tell what is there now, which of their
// values to show, what becomes of them, and which of them pin the present
// state, so that the operation can be stopped when it has moved by then. It is
// data; nothing in it is executed.
//
// A value of an answer is named as "read#/json/pointer" (RFC 6901 §6), where a
// segment "*" means each element of a list, or as "read#etag".
type Preview struct {
	Looks   []Look   `yaml:"looks"`
	Shows   []Show   `yaml:"shows,omitempty"`
	Changes []Change `yaml:"changes"`
	// Pins are the values that must be the same when it is executed as when it
	// was shown.
	Pins []string `yaml:"pins,omitempty"`
	// Strict says that it is not executed as long as the pins cannot be read,
	// where they were shown.
	Strict bool `yaml:"strict,omitempty"`
}

// Look is one read. Params names, for each parameter of the read, the parameter
// of the operation that it takes its value from.
type Look struct {
	Name      string            `yaml:"name"`
	Operation string            `yaml:"operation"`
	Params    map[string]string `yaml:"params,omitempty"`
	Missing   string            `yaml:"missing,omitempty"` // what it means when the answer is 404, in plain words
}

// ShowType says how a value is shown.
type ShowType string

// The types. Lines is a text of several lines.
const (
	ShowText   ShowType = "text"
	ShowLines  ShowType = "lines"
	ShowNumber ShowType = "number"
	ShowTime   ShowType = "time"
	ShowUser   ShowType = "user"
	ShowFlag   ShowType = "flag"
)

// Show is a value to be shown as it is now.
type Show struct {
	At    string   `yaml:"at"`
	Label string   `yaml:"label"`
	Type  ShowType `yaml:"type,omitempty"` // text if empty
	Max   int      `yaml:"max,omitempty"`  // characters; a limit of ours if 0
}

// Change is what becomes of a value. Where the operation does not name the
// parameter, nothing becomes of it, and nothing is shown.
type Change struct {
	Does  Doing    `yaml:"does"`
	Label string   `yaml:"label"`
	At    string   `yaml:"at,omitempty"`    // what is there now; of what is added, how many there are
	Param string   `yaml:"param,omitempty"` // the parameter that says what it becomes
	To    string   `yaml:"to,omitempty"`    // or: what it becomes
	Type  ShowType `yaml:"type,omitempty"`
	Max   int      `yaml:"max,omitempty"`
}

// Doing is a kind of change.
type Doing string

// The kinds.
const (
	Replaces Doing = "replaces"
	Adds     Doing = "adds"
	Removes  Doing = "removes"
)

// Limits of a preview.
const (
	MaxLooks = 3
	maxShown = 24
	maxWords = 300   // characters of a value
	maxLines = 20000 // characters of a text of several lines
)

// place is a parsed name of a value.
type place struct {
	look string
	etag bool
	path []string
}

func parsePlace(s string) (place, bool) {
	look, rest, ok := strings.Cut(s, "#")
	switch {
	case !ok || !paramName.MatchString(look):
		return place{}, false
	case rest == "etag":
		return place{look: look, etag: true}, true
	case !strings.HasPrefix(rest, "/"):
		return place{}, false
	}
	path := strings.Split(rest[1:], "/")
	for i, p := range path {
		if p == "" || strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(p), "~") {
			return place{}, false
		}
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
	}
	return place{look: look, path: path}, true
}

// lintPreview checks the preview of o. It runs when all operations are known.
func (s *Spec) lintPreview(l *linter, o *Operation) {
	p := o.Preview
	if p == nil {
		return
	}
	at := "operation " + o.Name + ": preview"
	if o.Read {
		l.bad("%s: a read changes nothing", at)
	}
	if len(p.Looks) == 0 || len(p.Looks) > MaxLooks {
		l.bad("%s: want 1 to %d looks", at, MaxLooks)
	}
	if len(p.Changes) == 0 || len(p.Changes)+len(p.Shows) > maxShown {
		l.bad("%s: want a change, and at most %d values in all", at, maxShown)
	}
	if p.Strict && len(p.Pins) == 0 {
		l.bad("%s: it is strict about nothing", at)
	}
	looks := map[string]bool{}
	for i := range p.Looks {
		k := &p.Looks[i]
		if !paramName.MatchString(k.Name) || looks[k.Name] {
			l.bad("%s: the name %q of a look is taken or none", at, k.Name)
		}
		looks[k.Name] = true
		s.lintLook(l, at, o, k)
	}
	value := func(text string, optional bool) {
		if text == "" && optional {
			return
		}
		if v, ok := parsePlace(text); !ok || !looks[v.look] {
			l.bad("%s: %q names no value of a look", at, text)
		}
	}
	kind := func(label string, t *ShowType, most *int) {
		if label == "" || visible(label) != label {
			l.bad("%s: a value has no label", at)
		}
		if *t == "" {
			*t = ShowText
		}
		l.oneOf(at+": type", string(*t), "text", "lines", "number", "time", "user", "flag")
		limit := maxWords
		if *t == ShowLines {
			limit = maxLines
		}
		if *most == 0 {
			*most = limit
		}
		if *most < 0 || *most > limit {
			l.bad("%s: %s: max is not within 1 to %d", at, label, limit)
		}
	}
	for i := range p.Shows {
		value(p.Shows[i].At, false)
		kind(p.Shows[i].Label, &p.Shows[i].Type, &p.Shows[i].Max)
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		l.oneOf(at+": does", string(c.Does), string(Replaces), string(Adds), string(Removes))
		value(c.At, c.Does == Adds)
		kind(c.Label, &c.Type, &c.Max)
		if c.Param != "" && o.known[c.Param] == nil {
			l.bad("%s: %q is no parameter", at, c.Param)
		}
		if (c.Does == Removes) != (c.Param == "" && c.To == "") || c.Param != "" && c.To != "" {
			l.bad("%s: %s: what is replaced or added comes from a parameter or is said, what is removed does not", at, c.Label)
		}
	}
	for _, pin := range p.Pins {
		value(pin, false)
	}
}

// lintLook makes sure that a look is a listed read, and that it can be made of
// what the operation has.
func (s *Spec) lintLook(l *linter, at string, o *Operation, k *Look) {
	read, ok := s.Operation(k.Operation)
	if !ok || !read.Read || read.Off || read.Body != NoBody {
		l.bad("%s: %q is not a read of this provider", at, k.Operation)
		return
	}
	for to, from := range k.Params {
		if p := read.known[to]; p == nil || p.Const != "" {
			l.bad("%s: %s has no parameter %q", at, k.Operation, to)
		}
		if o.known[from] == nil {
			l.bad("%s: %q is no parameter", at, from)
		}
	}
	for name, p := range read.known {
		if _, given := k.Params[name]; p.Required && !given {
			l.bad("%s: %s needs %q", at, k.Operation, name)
		}
	}
	if !slices.ContainsFunc(read.templates, func(t template) bool {
		return !slices.ContainsFunc(t.names(), func(n string) bool { _, given := k.Params[n]; return !given })
	}) {
		l.bad("%s: %s lacks a parameter of its path", at, k.Operation)
	}
	if visible(k.Missing) != k.Missing {
		l.bad("%s: the words for a missing %s cannot be read", at, k.Name)
	}
}
