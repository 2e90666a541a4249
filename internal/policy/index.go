package policy

import (
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// index files rules under the rarest fact they need, so that a decision costs
// what the rules about it cost, however many others there are.
type index struct {
	filed map[key][]*rule
}

func newIndex() *index { return &index{filed: map[key][]*rule{}} }

func (x *index) add(r *rule) {
	for _, k := range keys(r.policy) {
		x.filed[k] = append(x.filed[k], r)
	}
}

// ruleList is the rules that judge one request, in the order of the texts.
type ruleList []*rule

// All lets Cedar go through the list; the order is part of what makes a
// decision repeatable.
func (l ruleList) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, r := range l {
			if !yield(r.key, r.policy) {
				return
			}
		}
	}
}

// rulesFor returns the rules that may apply to w: of the org's, and of the
// texts of the user whose connection it is.
func (s *Set) rulesFor(w *world) ruleList {
	has := w.keys()
	list := make(ruleList, 0, 16)
	for _, x := range []*index{s.org, s.own[w.in.User]} {
		if x == nil {
			continue
		}
		for _, k := range has {
			list = append(list, x.filed[k]...)
		}
	}
	slices.SortFunc(list, func(a, b *rule) int { return a.order - b.order })
	// A rule about several operations is filed under each.
	return slices.Compact(list)
}

// keys is every fact of w that a rule may be filed under.
func (w *world) keys() []key {
	has := make([]key, 0, 20)
	has = append(has,
		key{kind: byNothing},
		key{byAction, w.action},
		key{byAgent, w.agent},
		key{byConnection, w.conn},
		key{byUser, w.user},
		key{byResource, w.resource},
		key{byResourceType, cedar.EntityUID{Type: w.resource.Type}},
		key{byResourceIn, w.resource},
		key{byResourceIn, w.provider},
		key{byOperation, w.op},
		key{byOperationIn, w.op},
	)
	if w.owner.Type != "" {
		has = append(has, key{byResourceIn, w.owner})
	}
	for _, g := range w.groups() {
		has = append(has, key{byOperationIn, g})
	}
	return has
}
