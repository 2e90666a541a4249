package provider

import (
	"fmt"
	"regexp"
	"strings"
)

// template is a path template: literals, {name} for one segment, and at most
// one {name+} for one segment or more.
type template struct {
	text  string
	parts []part
}

type part struct {
	literal string // "" for a placeholder
	name    string
	rest    bool
	param   *Param // how the value must look; nil for any
}

var placeholder = regexp.MustCompile(`^\{([a-z][a-z0-9_]*)(\+?)\}$`)

// parseTemplate reads a template in canonical form. find gives the declaration
// of a placeholder.
func parseTemplate(text string, find func(string) *Param) (template, error) {
	t := template{text: text}
	if text == "/" {
		return t, nil
	}
	if !strings.HasPrefix(text, "/") {
		return t, fmt.Errorf("path %q does not begin with a slash", text)
	}
	seen := map[string]bool{}
	rests := 0
	for _, s := range strings.Split(text[1:], "/") {
		m := placeholder.FindStringSubmatch(s)
		if m == nil {
			if strings.ContainsAny(s, "{}%") {
				return t, fmt.Errorf("path %q: segment %q is neither a literal nor a placeholder", text, s)
			}
			if err := checkSegment(s); err != nil {
				return t, fmt.Errorf("path %q: %w", text, err)
			}
			t.parts = append(t.parts, part{literal: s})
			continue
		}
		if seen[m[1]] {
			return t, fmt.Errorf("path %q names %q twice", text, m[1])
		}
		seen[m[1]] = true
		if m[2] != "" {
			if rests++; rests > 1 {
				return t, fmt.Errorf("path %q has more than one {…+}", text)
			}
		}
		t.parts = append(t.parts, part{name: m[1], rest: m[2] != "", param: find(m[1])})
	}
	return t, nil
}

// matching says how strictly a template is compared.
type matching struct {
	prefix bool // further segments may follow
	fold   bool // literals are compared without case
	loose  bool // a placeholder takes any value
}

// match binds the placeholders of t to segments.
func (t *template) match(segments []string, how matching) (map[string]string, bool) {
	params := map[string]string{}
	if !matchParts(t.parts, segments, how, params) {
		return nil, false
	}
	return params, true
}

func matchParts(parts []part, segments []string, how matching, params map[string]string) bool {
	if len(parts) == 0 {
		return how.prefix || len(segments) == 0
	}
	p := parts[0]
	if len(segments) == 0 {
		return false
	}
	if p.rest {
		for n := len(segments); n > 0; n-- {
			value := strings.Join(segments[:n], "/")
			if matchParts(parts[1:], segments[n:], how, params) && (how.loose || p.param.fits(value)) {
				params[p.name] = value
				return true
			}
		}
		return false
	}
	s := segments[0]
	switch {
	case p.name != "":
		if !how.loose && !p.param.fits(s) {
			return false
		}
		params[p.name] = s
	case p.literal != s && !(how.fold && strings.EqualFold(p.literal, s)):
		return false
	}
	return matchParts(parts[1:], segments[1:], how, params)
}

// compare orders templates that match the same path: the first difference
// decides, and a literal is more specific than a checked placeholder, that than a
// free one, that than {…+}.
func (t *template) compare(u *template) int {
	for i := 0; i < len(t.parts) && i < len(u.parts); i++ {
		if d := t.parts[i].rank() - u.parts[i].rank(); d != 0 {
			return d
		}
	}
	return len(t.parts) - len(u.parts)
}

func (p part) rank() int {
	switch {
	case p.name == "":
		return 3
	case p.rest:
		return 0
	case p.param != nil && (p.param.Type == Integer || p.param.Pattern != "" || len(p.param.Enum) > 0):
		return 2
	default:
		return 1
	}
}

// shape is t without the names of its placeholders: templates of one shape match
// the same paths.
func (t *template) shape() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString("/" + p.literal)
			continue
		}
		fmt.Fprintf(&b, "/{%d}", p.rank())
	}
	return b.String()
}

// names lists the placeholders of t.
func (t *template) names() []string {
	var names []string
	for _, p := range t.parts {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// fill replaces the placeholders by values, already checked, and gives the
// segments.
func (t *template) fill(values map[string]string) ([]string, error) {
	var segments []string
	for _, p := range t.parts {
		switch {
		case p.name == "":
			segments = append(segments, p.literal)
		case p.rest:
			segments = append(segments, strings.Split(values[p.name], "/")...)
		default:
			segments = append(segments, values[p.name])
		}
	}
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

var textPlaceholder = regexp.MustCompile(`\{([a-z][a-z0-9_]*)(?:\|([^{}]*))?\}`)

// expand fills {name} and {name|what to say without it} in a text for humans.
// complete is false if a value was missing that has no substitute.
func expand(text string, values map[string]string) (out string, complete bool) {
	complete = true
	out = textPlaceholder.ReplaceAllStringFunc(text, func(s string) string {
		m := textPlaceholder.FindStringSubmatch(s)
		if v, ok := values[m[1]]; ok {
			return visible(clip(v, 80))
		}
		if !strings.Contains(s, "|") {
			complete = false
			return "?"
		}
		return m[2]
	})
	return out, complete
}

// visible writes characters that a human would not see as their code points.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "‹%U›", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
