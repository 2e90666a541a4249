package policy

import (
	"strings"
)

// Change is one rule that differs between two texts.
type Change struct {
	ID       string
	Old, New string // the rule in Cedar's canonical form; "" where there is none
}

// Diff compares two texts rule by rule, by id, in the order of the new text
// with what was taken out last. Comments and layout do not count. A rule
// without an id is known by its place, so moving it shows as a change.
func Diff(before, after string) ([]Change, error) {
	old, problems := parse("before", before)
	if len(problems) > 0 {
		return nil, Problems(problems)
	}
	now, problems := parse("after", after)
	if len(problems) > 0 {
		return nil, Problems(problems)
	}
	text := func(r parsed) string { return strings.TrimSpace(string(r.policy.MarshalCedar())) }
	was := map[string]string{}
	for _, r := range old {
		was[r.id] = text(r)
	}
	var out []Change
	still := map[string]bool{}
	for _, r := range now {
		still[r.id] = true
		if t := text(r); t != was[r.id] {
			out = append(out, Change{ID: r.id, Old: was[r.id], New: t})
		}
	}
	for _, r := range old {
		if !still[r.id] {
			out = append(out, Change{ID: r.id, Old: was[r.id]})
		}
	}
	return out, nil
}
