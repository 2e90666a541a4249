package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/valetkey/valetkey/internal/id"
)

// Codes say in one stable word what led to a decision.
const (
	CodePermitted = "permitted"
	CodeAsked     = "approval_required"
	CodeStepUp    = "step_up_required"
	CodeForbidden = "forbidden_by_policy"
	CodeNoRule    = "no_rule_permits"
	CodeError     = "policy_error"
	CodeBadInput  = "incomplete_input"
)

// Decision is the outcome of judging one input.
type Decision struct {
	Verdict Verdict
	Code    string // one of the codes above

	// Rules are those that permitted, that asked, or that denied. Those that
	// asked come with the most demanding first.
	Rules []Rule

	// Approvers are who may answer: one list for each rule that names any, and
	// an approver must be in every list (see MayApprove). No list: whoever may
	// approve for this connection.
	Approvers [][]string
	Quorum    int           // how many of them; 0 when nobody is asked
	FourEyes  bool          // who asks, or wrote the rules that asked, may not be among them
	Expires   time.Duration // how long an approval may stay open and be used; 0: no rule says
	Notify    []string      // whom to tell as well
	Reason    string        // the rules' own words, for people

	PolicyVersion string
	Facts         []string // the input's facts, as given
	Changes       []string // what would make it pass, smallest first

	Operation string
}

// Rule is a rule as decisions name it.
type Rule struct {
	Policy      id.Policy
	ID          string // its @id, or "rule#3" by its place
	Name        string // the text it stands in
	Owner       id.User
	Forbids     bool
	Level       Level // of a rule that asked: the assurance that satisfies it
	Reason      string
	Annotations map[string]string // shared with the set; not to be changed
}

// String names the rule for people.
func (r Rule) String() string {
	if r.ID == "" {
		return r.Name
	}
	return r.ID
}

// MayApprove reports whether a person may approve: is says whether a name of an
// @approvers list ("role:admin", "usr_…", "mira") means them. Every rule that
// names approvers must name them.
func (d Decision) MayApprove(is func(name string) bool) bool {
	for _, list := range d.Approvers {
		if !slices.ContainsFunc(list, is) {
			return false
		}
	}
	return true
}

// Decide judges in. A nil set denies.
func (s *Set) Decide(in Input) Decision {
	d := s.decide(&in)
	if d.Verdict != Permit {
		d.Changes = s.changes(&in, &d)
	}
	return d
}

// decide is Decide without the search for what would make the input pass.
func (s *Set) decide(in *Input) Decision {
	d := Decision{Verdict: Deny, PolicyVersion: s.Version(), Facts: in.Facts, Operation: in.Operation}
	if what := in.missing(); what != "" {
		d.Code, d.Reason = CodeBadInput, "The request cannot be judged without its "+what+"."
		return d
	}
	if s == nil {
		d.Code, d.Reason = CodeError, "No rules are loaded."
		return d
	}
	if r := s.broken[in.User]; r != nil {
		d.Code, d.Rules = CodeError, []Rule{*r}
		d.Reason = fmt.Sprintf("The rules %s of this connection's owner cannot be read: %s.", r.Name, r.Reason)
		return d
	}
	w := newWorld(in)
	return s.judge(w, s.rulesFor(w), d)
}

// judge asks Cedar at each level until one is allowed. d is a denial to start
// from.
func (s *Set) judge(w *world, rules ruleList, d Decision) Decision {
	var asked []*rule          // every forbid that stood at some level
	level := map[*rule]Level{} // the first level from which on it did not
	var below cedar.Request    // at the level below
	for l := Nobody; l <= Presence; l++ {
		req := w.request(l)
		verdict, diag := cedar.Authorize(rules, w, req)
		if len(diag.Errors) > 0 {
			return s.failed(d, diag.Errors)
		}
		found := s.named(diag.Reasons)
		if verdict != cedar.Allow {
			for _, r := range found {
				if !slices.Contains(asked, r) {
					asked = append(asked, r)
				}
				level[r] = l + 1
			}
			below = req
			continue
		}
		switch l {
		case Nobody:
			d.Verdict, d.Code = Permit, CodePermitted
			d.describe(found)
			return d
		case Approved:
			d.Verdict, d.Code = Ask, CodeAsked
		case Presence:
			d.Verdict, d.Code = StepUp, CodeStepUp
		}
		// Where not even a permit stood at the level below, it is the permits
		// that wanted this much assurance, so they asked too.
		if !slices.ContainsFunc(found, func(r *rule) bool { return !r.levels }) && !permitted(rules, w, below) {
			for _, r := range found {
				asked, level[r] = append(asked, r), l
			}
		}
		d.demand(asked, level)
		return d
	}
	// Nothing suffices. What denies is what stands even with presence.
	final := slices.DeleteFunc(asked, func(r *rule) bool { return level[r] <= Presence })
	d.Code = CodeForbidden
	if len(final) == 0 {
		d.Code, d.Reason = CodeNoRule, "No rule permits this."
	}
	d.describe(final)
	return d
}

// permitted reports whether any permit matches req, forbids aside.
func permitted(rules ruleList, w *world, req cedar.Request) bool {
	permits := make(ruleList, 0, len(rules))
	for _, r := range rules {
		if !r.Forbids {
			permits = append(permits, r)
		}
	}
	verdict, _ := cedar.Authorize(permits, w, req)
	return verdict == cedar.Allow
}

func (s *Set) named(reasons []cedar.DiagnosticReason) []*rule {
	out := make([]*rule, len(reasons))
	for i, r := range reasons {
		out[i] = s.rules[r.PolicyID]
	}
	return out
}

// failed denies because rules could not be evaluated. Cedar leaves such a rule
// out, and a forbid that is left out would permit.
func (s *Set) failed(d Decision, errs []cedar.DiagnosticError) Decision {
	d.Code = CodeError
	var why []string
	for _, e := range errs {
		r := s.rules[e.PolicyID]
		d.Rules = append(d.Rules, r.Rule)
		why = append(why, fmt.Sprintf("The rule %s (%s:%d) cannot be evaluated: %s.", r.Rule, r.Name, r.policy.Position().Line, e.Message))
	}
	d.Reason = strings.Join(why, " ")
	return d
}

// describe names rules and their reasons in d.
func (d *Decision) describe(rules []*rule) {
	for _, r := range rules {
		d.Rules = append(d.Rules, r.Rule)
		if r.Reason != "" && !strings.Contains(d.Reason, r.Reason) {
			d.Reason = strings.TrimSpace(d.Reason + " " + r.Reason)
		}
	}
}

// demand fills in what the rules that asked want, all of it together. A rule
// that an approval alone satisfies still has its say when another wants
// presence: raising the stakes never drops a quorum.
func (d *Decision) demand(asked []*rule, level map[*rule]Level) {
	slices.SortStableFunc(asked, func(a, b *rule) int {
		if level[a] != level[b] {
			return int(level[b] - level[a])
		}
		return a.order - b.order
	})
	d.describe(asked)
	d.Quorum = 1
	for i, r := range asked {
		d.Rules[i].Level = level[r]
		n := r.notes
		if len(n.approvers) > 0 {
			d.Approvers = append(d.Approvers, slices.Clone(n.approvers))
		}
		d.Quorum = max(d.Quorum, n.quorum)
		d.FourEyes = d.FourEyes || n.fourEyes
		if n.expires > 0 && (d.Expires == 0 || n.expires < d.Expires) {
			d.Expires = n.expires
		}
		for _, who := range n.notify {
			if !slices.Contains(d.Notify, who) {
				d.Notify = append(d.Notify, who)
			}
		}
	}
}
