package provider

import (
	"regexp"
	"slices"
	"strings"
)

// Forms lists how the resources of s are named: the type and the template of
// each kind of them, those of paths first and in their order.
func (s *Spec) Forms() []Resource {
	var out []Resource
	add := func(r Resource) {
		if r.Type != "" && r.ID != "" && !slices.ContainsFunc(out, func(o Resource) bool { return o.Type == r.Type && o.ID == r.ID }) {
			out = append(out, r)
		}
	}
	for i := range s.Resources {
		add(s.Resources[i].Resource)
	}
	for i := range s.Operations {
		add(s.Operations[i].Resource)
	}
	return out
}

// PlainType is the type whose resources are named without it: the first that s
// has, or "" where it has none. "octo/api" is one of them; a resource of another
// type is written "team:octo/admins".
func (s *Spec) PlainType() string {
	for i := range s.Resources {
		if r := s.Resources[i].Resource; r.Type != "" && r.ID != "" {
			return r.Type
		}
	}
	for i := range s.Operations {
		if r := s.Operations[i].Resource; r.Type != "" && r.ID != "" {
			return r.Type
		}
	}
	return ""
}

// Fits reports whether name is an id in the form of r, as a Spec has it; or,
// with a "*" in the place of its last parts, everything below the others.
func (r Resource) Fits(name string) bool {
	form, parts := strings.Split(r.ID, "/"), strings.Split(name, "/")
	if last := len(parts) - 1; last > 0 && last < len(form) && parts[last] == "*" {
		parts = parts[:last]
	} else if len(parts) != len(form) {
		return false
	}
	for i, part := range parts {
		var pattern strings.Builder
		at := 0
		for _, hole := range textPlaceholder.FindAllStringIndex(form[i], -1) {
			pattern.WriteString(regexp.QuoteMeta(form[i][at:hole[0]]) + "[^*]+")
			at = hole[1]
		}
		pattern.WriteString(regexp.QuoteMeta(form[i][at:]))
		if ok, err := regexp.MatchString("^(?i:"+pattern.String()+")$", part); err != nil || !ok {
			return false
		}
	}
	return true
}

// Form says how an id of r is written: "OWNER/REPO".
func (r Resource) Form() string {
	return textPlaceholder.ReplaceAllStringFunc(r.ID, func(hole string) string {
		return strings.ToUpper(textPlaceholder.FindStringSubmatch(hole)[1])
	})
}
