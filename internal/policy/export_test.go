package policy

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// DecideByAll is Decide without the index: every rule that may judge the
// input is evaluated.
func (s *Set) DecideByAll(in Input) Decision {
	var all ruleList
	for _, r := range s.rules {
		if r.Owner == "" || r.Owner == in.User {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *rule) int { return a.order - b.order })
	return s.judge(newWorld(&in), all, Decision{Verdict: Deny, PolicyVersion: s.Version(), Facts: in.Facts, Operation: in.Operation})
}

// Judging counts the rules that are evaluated for in.
func (s *Set) Judging(in Input) int { return len(s.rulesFor(newWorld(&in))) }

// Conforms reports how in, in Cedar's terms, departs from the schema.
func Conforms(in Input) error {
	w := newWorld(&in)
	c := sharedChecker()
	for l := Nobody; l <= Presence; l++ {
		if err := c.valid.Request(w.request(l)); err != nil {
			return fmt.Errorf("request at %d: %w", l, err)
		}
	}
	for _, id := range slices.Concat([]cedar.EntityUID{w.agent, w.conn, w.user, w.op, w.resource, w.provider}, w.groups()) {
		e, ok := w.Get(id)
		if !ok {
			return fmt.Errorf("no entity %s", id)
		}
		if err := c.valid.Entity(e); err != nil {
			return fmt.Errorf("entity %s: %w", id, err)
		}
	}
	if w.owner.Type != "" {
		e, _ := w.Get(w.owner)
		return c.valid.Entity(e)
	}
	return nil
}
