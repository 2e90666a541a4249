package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Explain tells people and agents what was decided, by which rules and facts,
// and the smallest change that would pass; one sentence each.
func (d Decision) Explain() []string {
	var out []string
	switch d.Verdict {
	case Permit:
		out = append(out, fmt.Sprintf("%s is permitted%s.", d.Operation, by(d.Rules)))
	case Ask:
		out = append(out, fmt.Sprintf("%s needs a human's approval%s.", d.Operation, by(d.Rules)))
	case StepUp:
		out = append(out, fmt.Sprintf("%s needs a human's approval with a fresh passkey%s.", d.Operation, by(d.Rules)))
	default:
		what := d.Operation
		if what == "" {
			what = "The request"
		}
		out = append(out, fmt.Sprintf("%s is denied%s.", what, by(d.Rules)))
	}
	if d.Reason != "" {
		out = append(out, d.Reason)
	}
	if d.Quorum > 1 {
		out = append(out, fmt.Sprintf("%d people have to approve.", d.Quorum))
	}
	if d.FourEyes {
		out = append(out, "Whoever owns the agent, or last saved a rule that asks, may not approve it: four eyes.")
	}
	for _, list := range d.Approvers {
		out = append(out, "It is for "+strings.Join(list, " or ")+" to approve.")
	}
	out = append(out, d.Facts...)
	for _, c := range d.Changes {
		out = append(out, "It would pass with "+c+".")
	}
	return out
}

func by(rules []Rule) string {
	if len(rules) == 0 {
		return ""
	}
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.String()
	}
	word := " by the rule "
	if len(names) > 1 {
		word = " by the rules "
	}
	return word + strings.Join(names, ", ")
}

// changes finds what would make in pass, by judging it again with one fact
// changed: nothing is promised that was not tried. Smallest change first.
func (s *Set) changes(in *Input, d *Decision) []string {
	var out []string
	switch d.Verdict {
	case Ask:
		out = append(out, "a human approval")
	case StepUp:
		out = append(out, "a human approval with a fresh passkey")
	default:
	}
	switch d.Code {
	case CodeBadInput:
		return nil
	case CodeError:
		return []string{"the rule mended by whoever keeps it"}
	}
	if n, ok := s.lowerAmount(in, d); ok {
		out = append(out, n)
	}
	if in.Tainted {
		clean := *in
		clean.Tainted = false
		if v := s.decide(&clean).Verdict; v < d.Verdict {
			out = append(out, "the same request once the agent's taint has passed"+asking(v))
		}
	}
	switch d.Code {
	case CodeNoRule:
		out = append(out, fmt.Sprintf("a rule that permits %s for %s on %s", in.Operation, agentName(in), where(in)))
	case CodeForbidden:
		out = append(out, "a change of the rule "+ruleNames(d.Rules)+", which no approval lifts")
	}
	return out
}

// lowerAmount looks for the largest amount, among those the rules compare with,
// that leads to a weaker verdict.
func (s *Set) lowerAmount(in *Input, d *Decision) (string, bool) {
	a := in.Amount
	if a == nil {
		return "", false
	}
	value, transfer := in.cents()
	var tries []int64
	for _, r := range d.Rules {
		c := s.lookup(r)
		if c == nil {
			continue
		}
		for _, n := range slices.Concat(thresholds(c.policy, "value_cents"), thresholds(c.policy, "transfer_cents")) {
			if n > 0 {
				tries = append(tries, n, n-1)
			}
		}
	}
	slices.Sort(tries)
	slices.Reverse(tries)
	for _, n := range slices.Compact(tries) {
		if n >= max(value, transfer) {
			continue
		}
		less := *in
		less.Amount = &Amount{Kind: a.Kind, Number: money(n, ""), Currency: a.Currency}
		if v := s.decide(&less).Verdict; v < d.Verdict {
			return "an amount of at most " + money(n, a.Currency) + asking(v), true
		}
	}
	return "", false
}

// asking adds what a weaker verdict still demands.
func asking(v Verdict) string {
	switch v {
	case Ask:
		return " and a human approval"
	case StepUp:
		return " and a human approval with a fresh passkey"
	}
	return ""
}

func (s *Set) lookup(r Rule) *rule {
	for _, c := range s.rules {
		if c.Policy == r.Policy && c.Owner == r.Owner && c.ID == r.ID {
			return c
		}
	}
	return nil
}

func ruleNames(rules []Rule) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.String()
	}
	return strings.Join(names, ", ")
}

func agentName(in *Input) string {
	if in.Agent.Name != "" {
		return in.Agent.Name
	}
	return string(in.Agent.ID)
}

func where(in *Input) string {
	if in.Resource.ID != "" {
		return in.Resource.ID
	}
	if in.Connection.Account != "" {
		return in.Connection.Account
	}
	return string(in.Connection.ID)
}
