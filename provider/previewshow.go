package provider

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// PreviewPlan is the preview of one request: what to read, and how to show what
// came back.
type PreviewPlan struct {
	Operation string
	Strict    bool
	Looks     []PlannedLook
	preview   *Preview
	after     map[string]any
}

// PlannedLook is a read to be made.
type PlannedLook struct {
	Name      string
	Operation string
	Request   Request
}

// PlanPreview reads r as Match does and plans its preview; nil for what has
// none.
func (s *Spec) PlanPreview(r Request) (*PreviewPlan, error) {
	m, err := s.Match(r)
	if err != nil {
		return nil, err
	}
	o, listed := s.Operation(m.Operation)
	if !listed || o.Preview == nil {
		return nil, nil
	}
	q, segments, err := s.open(&r)
	if err != nil {
		return nil, err
	}
	b := body{request: &r}
	for i := range o.templates {
		path, fits := o.templates[i].match(segments, matching{})
		if !fits {
			continue
		}
		in, is, err := o.read(&b, &r, q, path)
		if err != nil {
			return nil, err
		}
		if is {
			return s.plan(o, in), nil
		}
	}
	return nil, nil
}

func (s *Spec) plan(o *Operation, in *values) *PreviewPlan {
	plan := &PreviewPlan{Operation: o.Name, Strict: o.Preview.Strict, preview: o.Preview, after: map[string]any{}}
	for name, p := range o.known {
		if v, there := in.at(string(p.In), name); there {
			plan.after[name] = v
		}
	}
	for i := range o.Preview.Looks {
		k := &o.Preview.Looks[i]
		read, _ := s.Operation(k.Operation)
		params, complete := map[string]any{}, true
		for to, from := range k.Params {
			words, ok := text(plan.after[from])
			if _, given := plan.after[from]; !given || !ok {
				complete = false
				break
			}
			params[to] = typedText(read.known[to].Type, words)
		}
		if !complete {
			continue
		}
		req, err := read.Render(s, params)
		if err != nil {
			continue // the agent may name what cannot be read; the rest is shown
		}
		plan.Looks = append(plan.Looks, PlannedLook{Name: k.Name, Operation: k.Operation, Request: req})
	}
	return plan
}

// typedText is a text as the value of a parameter.
func typedText(t Type, s string) any {
	switch t {
	case Integer, Number:
		return json.Number(s)
	case Boolean:
		return s == "true"
	}
	return s
}

// Observation is what a look found: the answer, or nothing where none came.
type Observation struct {
	Status int // 0 where there was no answer
	ETag   string
	Body   []byte
	Cut    bool // Body is not all of it

	read  bool
	value any
}

// answered reports whether the answer says something of what is there. An
// upstream that is down, or that refuses the token, does not.
func (o *Observation) answered() bool {
	return o.Status/100 == 2 || o.Status/100 == 3 || o.Status == http.StatusNotFound || o.Status == http.StatusGone
}

// open reads the body. What comes from upstream is read generously: a name or a
// character that we would not send is no reason to show nothing.
func (o *Observation) open() (any, bool) {
	if !o.read {
		o.read = true
		d := json.NewDecoder(strings.NewReader(string(o.Body)))
		d.UseNumber()
		if o.Status/100 != 2 || o.Cut || d.Decode(&o.value) != nil {
			o.value = nil
		}
	}
	return o.value, o.value != nil
}

// PreviewShown is what a person is shown.
type PreviewShown struct {
	Now     []ShownValue
	Changes []ShownChange
	// Gaps are what could not be shown, a sentence each, without a name of ours.
	Gaps []PreviewGap
	// Precondition stands for all pinned values; "" where one of them could not
	// be read, or nothing is pinned.
	Precondition string
}

// GapKind says why something is not shown.
type GapKind string

// The kinds of gap.
const (
	GapUnread  GapKind = "unread"  // there was no answer, or none that says anything
	GapMissing GapKind = "missing" // it is not there
	GapMoved   GapKind = "moved"   // it is somewhere else
	GapLarge   GapKind = "large"   // the answer is too large, or cannot be understood
)

// PreviewGap is a look that has nothing to show.
type PreviewGap struct {
	Look   string
	Kind   GapKind
	Status int
	Words  string // what it means, where the Spec says so
}

// ShownValue is a value, shortened. All of Text is the upstream's, or the
// agent's.
type ShownValue struct {
	Label string
	Type  ShowType
	There bool
	Text  string
	Left  int // characters beyond Text
}

// ShownChange is what becomes of a value. For what is added, Before says how
// many there are.
type ShownChange struct {
	Label  string
	Does   Doing
	Type   ShowType
	Known  bool // Before could be read
	Before ShownValue
	After  ShownValue
	Same   bool // nothing changes
}

// Show makes what is shown of what the looks found, by their names.
func (p *PreviewPlan) Show(found map[string]*Observation) PreviewShown {
	var out PreviewShown
	for i := range p.preview.Looks {
		k := &p.preview.Looks[i]
		if !slices.ContainsFunc(p.Looks, func(l PlannedLook) bool { return l.Name == k.Name }) {
			continue
		}
		if g, gap := gapOf(k, found[k.Name]); gap {
			out.Gaps = append(out.Gaps, g)
		}
	}
	for _, s := range p.preview.Shows {
		if v, known := lookUp(found, s.At); known {
			out.Now = append(out.Now, shownValue(s.Label, s.Type, s.Max, v))
		}
	}
	for _, c := range p.preview.Changes {
		to, given := any(c.To), true
		if c.Param != "" {
			to, given = p.after[c.Param]
		}
		if !given {
			continue
		}
		ch := ShownChange{Label: c.Label, Does: c.Does, Type: c.Type}
		if c.At != "" {
			var v any
			v, ch.Known = lookUp(found, c.At)
			ch.Before = shownValue(c.Label, c.Type, c.Max, v)
			ch.Same = c.Does == Replaces && ch.Known && same(v, to)
		}
		if c.Does != Removes {
			ch.After = shownValue(c.Label, c.Type, c.Max, to)
		}
		out.Changes = append(out.Changes, ch)
	}
	out.Precondition = p.precondition(found)
	return out
}

func gapOf(k *Look, o *Observation) (PreviewGap, bool) {
	g := PreviewGap{Look: k.Name, Kind: GapUnread}
	if o == nil {
		return g, true
	}
	g.Status = o.Status
	switch _, ok := o.open(); {
	case ok:
		return g, false
	case o.Status == http.StatusNotFound || o.Status == http.StatusGone:
		g.Kind, g.Words = GapMissing, k.Missing
	case o.Status/100 == 3:
		g.Kind = GapMoved
	case o.Status/100 == 2:
		g.Kind = GapLarge
	}
	return g, true
}

// same compares as words; an empty text and none are the same.
func same(a, b any) bool {
	one, ok := words(a)
	two, also := words(b)
	return ok && also && one == two
}

func words(v any) (string, bool) {
	if v == nil {
		return "", true
	}
	return text(v)
}

// lookUp finds the value that at names; known says that its look was answered.
func lookUp(found map[string]*Observation, at string) (v any, known bool) {
	pl, ok := parsePlace(at)
	o := found[pl.look]
	if !ok || o == nil {
		return nil, false
	}
	doc, ok := o.open()
	if !ok {
		return nil, false
	}
	if pl.etag {
		return o.ETag, true
	}
	return dig(doc, pl.path), true
}

func dig(v any, path []string) any {
	for i, name := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			if name == "*" {
				out := make([]any, len(in))
				for k := range in {
					out[k] = dig(in[k], path[i+1:])
				}
				return out
			}
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 || n >= len(in) {
				return nil
			}
			v = in[n]
		default:
			return nil
		}
	}
	return v
}

func shownValue(label string, t ShowType, most int, v any) ShownValue {
	s, ok := words(v)
	if v != nil && !ok {
		b, err := json.Marshal(v)
		s, ok = string(b), err == nil
	}
	out := ShownValue{Label: label, Type: t, There: ok && v != nil, Text: s}
	if n := utf8.RuneCountInString(s); n > most {
		cut := 0
		for range most {
			_, size := utf8.DecodeRuneInString(s[cut:])
			cut += size
		}
		out.Text, out.Left = s[:cut], n-most
	}
	return out
}

const preconditionFormat = "valetkey/precondition/v1"

// precondition is SHA-256 over the operation and every pinned value, in hex.
// What is not there, or has moved, is a state like any other; only where nothing
// is known there is no precondition.
func (p *PreviewPlan) precondition(found map[string]*Observation) string {
	if len(p.preview.Pins) == 0 {
		return ""
	}
	h := sha256.New()
	write := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	write(preconditionFormat)
	write(p.Operation)
	for _, pin := range p.preview.Pins {
		pl, _ := parsePlace(pin)
		o := found[pl.look]
		if o == nil || !o.answered() {
			return ""
		}
		write(pin)
		v, known := lookUp(found, pin)
		switch {
		case known:
			b, err := json.Marshal(v)
			if err != nil {
				return ""
			}
			write("is " + string(b))
		case o.Status/100 == 2:
			write("unreadable") // too large, or no JSON: not what anybody was shown
		default:
			write("status " + strconv.Itoa(o.Status))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
