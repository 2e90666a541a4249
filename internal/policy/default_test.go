package policy_test

import (
	"net/netip"
	"testing"

	"github.com/valetkey/valetkey/internal/policy"
)

// The shipped rules, refusals and questions first.
func TestDefaults(t *testing.T) {
	s := compile(t, policy.Default())
	const none = ""
	for _, c := range []struct {
		name  string
		in    policy.Input
		want  policy.Verdict
		rules string
	}{
		// What cannot be judged is denied.
		{"nothing at all", policy.Input{}, policy.Deny, none},
		{"no user", with(read(), func(in *policy.Input) { in.User = "" }), policy.Deny, none},
		{"no agent", with(read(), func(in *policy.Input) { in.Agent.ID = "" }), policy.Deny, none},
		{"no connection", with(read(), func(in *policy.Input) { in.Connection.ID = "" }), policy.Deny, none},
		{"no provider", with(read(), func(in *policy.Input) { in.Connection.Provider = "" }), policy.Deny, none},
		{"no operation", with(read(), func(in *policy.Input) { in.Operation = "" }), policy.Deny, none},

		// Critical: step-up, and the approval's rule keeps its say.
		{"delete a repository", write("github.repos.delete", 4), policy.StepUp, "default.step-up-critical default.ask-medium"},
		{"add a collaborator", write("github.collaborators.add", 4), policy.StepUp, "default.step-up-critical default.ask-medium"},
		{"unlisted, opens an outlet", with(write("github.raw.write", 4), unlisted), policy.StepUp, "default.step-up-critical default.ask-medium default.ask-unlisted"},
		{"risk zero is critical", write("github.issues.add_labels", 0), policy.StepUp, "default.step-up-critical default.ask-medium"},
		{"risk five is critical", write("github.issues.add_labels", 5), policy.StepUp, "default.step-up-critical default.ask-medium"},
		{"negative risk is critical", write("github.issues.add_labels", -1), policy.StepUp, "default.step-up-critical default.ask-medium"},
		{"a read that hints raised to critical", with(read(), func(in *policy.Input) { in.Risk = 4 }), policy.StepUp, "default.step-up-critical default.ask-medium"},

		// Medium and high: ask.
		{"create an issue", write("github.issues.create", 2), policy.Ask, "default.ask-medium"},
		{"comment", write("github.issues.create_comment", 2), policy.Ask, "default.ask-medium"},
		{"open a pull request", write("github.pulls.create", 2), policy.Ask, "default.ask-medium"},
		{"merge", write("github.pulls.merge", 3), policy.Ask, "default.ask-medium"},
		{"release", write("github.releases.create", 3), policy.Ask, "default.ask-medium"},
		{"a read that hints raised", with(read(), func(in *policy.Input) { in.Risk = 2 }), policy.Ask, "default.ask-medium"},
		{"unlisted write", with(write("github.raw.write", 3), unlisted), policy.Ask, "default.ask-medium default.ask-unlisted"},
		{"unlisted write rated low by mistake", with(write("github.raw.write", 1), unlisted), policy.Ask, "default.ask-unlisted"},

		// Value: above 500 asks.
		{"value just above", with(write("github.issues.add_labels", 1), amount("value", "500.01", "USD")), policy.Ask, "default.ask-value"},
		{"value above by a thousandth", with(write("github.issues.add_labels", 1), amount("value", "500.001", "USD")), policy.Ask, "default.ask-value"},
		{"value far above", with(write("github.issues.add_labels", 1), amount("value", "1000000", "EUR")), policy.Ask, "default.ask-value"},
		{"value beyond counting", with(write("github.issues.add_labels", 1), amount("value", "99999999999999999999", "USD")), policy.Ask, "default.ask-value"},
		{"value unknown", with(write("github.issues.add_labels", 1), unknown("value")), policy.Ask, "default.ask-value"},
		{"value is no number", with(write("github.issues.add_labels", 1), amount("value", "about 20", "USD")), policy.Ask, "default.ask-value"},
		{"value is negative", with(write("github.issues.add_labels", 1), amount("value", "-20", "USD")), policy.Ask, "default.ask-value"},
		{"value has an exponent", with(write("github.issues.add_labels", 1), amount("value", "1e9", "USD")), policy.Ask, "default.ask-value"},
		{"value is empty", with(write("github.issues.add_labels", 1), amount("value", "", "USD")), policy.Ask, "default.ask-value"},
		{"small value in a strong currency", with(write("github.issues.add_labels", 1), amount("value", "3", "BTC")), policy.Ask, "default.ask-value-currency"},
		{"small value in no currency", with(write("github.issues.add_labels", 1), amount("value", "3", "")), policy.Ask, "default.ask-value-currency"},
		{"value above, on a read", with(read(), amount("value", "501", "USD")), policy.Ask, "default.ask-value"},
		{"value above, medium write", with(write("github.issues.create_comment", 2), amount("value", "501", "USD")), policy.Ask, "default.ask-medium default.ask-value"},

		// Transfer: above 500 steps up.
		{"transfer just above", with(write("pay.send", 1), amount("transfer", "500.01", "USD")), policy.StepUp, "default.step-up-transfer"},
		{"transfer unknown", with(write("pay.send", 1), unknown("transfer")), policy.StepUp, "default.step-up-transfer"},
		{"small transfer in a strong currency", with(write("pay.send", 1), amount("transfer", "1", "KWD")), policy.StepUp, "default.step-up-transfer-currency"},
		{"an amount of no known meaning", with(write("pay.send", 1), amount("", "501", "USD")), policy.StepUp, "default.step-up-transfer default.ask-value"},
		{"transfer above, medium write", with(write("pay.send", 2), amount("transfer", "501", "USD")), policy.StepUp, "default.step-up-transfer default.ask-medium"},
		{"transfer of a vend", with(read(), asVend, amount("transfer", "501", "USD")), policy.StepUp, "default.step-up-transfer"},

		// What passes.
		{"list issues", read(), policy.Permit, "default.reads"},
		{"unlisted read", with(read(), unlisted), policy.Permit, "default.reads"},
		{"read of the account itself", with(read(), func(in *policy.Input) { in.Resource = policy.Resource{} }), policy.Permit, "default.reads"},
		{"read of something without a type of its own", with(read(), func(in *policy.Input) { in.Resource = policy.Resource{Type: "wiki", ID: "w"} }), policy.Permit, "default.reads"},
		{"tainted read", with(read(), func(in *policy.Input) { in.Tainted = true }), policy.Permit, "default.reads"},
		{"source not known", with(read(), func(in *policy.Input) { in.Source = netip.Addr{} }), policy.Permit, "default.reads"},
		{"low write", write("github.issues.add_labels", 1), policy.Permit, "default.writes"},
		{"fork", write("github.repos.fork", 1), policy.Permit, "default.writes"},
		{"value at the threshold", with(write("github.issues.add_labels", 1), amount("value", "500", "USD")), policy.Permit, "default.writes"},
		{"value at the threshold, in cents", with(write("github.issues.add_labels", 1), amount("value", "500.00", "USD")), policy.Permit, "default.writes"},
		{"value below", with(write("github.issues.add_labels", 1), amount("value", "499.99", "EUR")), policy.Permit, "default.writes"},
		{"value of nothing", with(write("github.issues.add_labels", 1), amount("value", "0", "XAU")), policy.Permit, "default.writes"},
		{"transfer at the threshold", with(write("pay.send", 1), amount("transfer", "500", "USD")), policy.Permit, "default.writes"},
		{"vend under a consented grant", with(read(), asVend, func(in *policy.Input) { in.Risk = 4 }), policy.Permit, "default.vend"},
		{"vend of a harmless token", with(read(), asVend), policy.Permit, "default.vend"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.Decide(c.in)
			if d.Verdict != c.want || ruleIDs(d) != c.rules {
				t.Errorf("got %v by %q, want %v by %q", d.Verdict, ruleIDs(d), c.want, c.rules)
			}
			if d.Verdict == policy.Permit && (d.Code != policy.CodePermitted || d.Quorum != 0 || d.Reason == "") {
				t.Errorf("permit with code %q, quorum %d, reason %q", d.Code, d.Quorum, d.Reason)
			}
			if (d.Verdict == policy.Ask || d.Verdict == policy.StepUp) && d.Quorum != 1 {
				t.Errorf("quorum %d, want 1", d.Quorum)
			}
			if len(d.Explain()) == 0 {
				t.Error("no explanation")
			}
		})
	}
}

func TestDefaultTextIsClean(t *testing.T) {
	if ps := policy.Check(policy.Default().Text); len(ps) > 0 {
		t.Fatal(ps)
	}
	s := compile(t, policy.Default())
	for _, in := range []policy.Input{read(), write("github.pulls.merge", 3), write("github.repos.delete", 4)} {
		for _, r := range s.Decide(in).Rules {
			if r.ID == "" || r.Reason == "" {
				t.Errorf("rule %q has id %q and reason %q", r.Annotations, r.ID, r.Reason)
			}
		}
	}
}

func TestVerdictsAndLevels(t *testing.T) {
	for _, c := range []struct {
		v    policy.Verdict
		word string
		need policy.Level
		ok   bool
	}{
		{0, "deny", 0, false},
		{policy.Deny, "deny", 0, false},
		{policy.Deny + 1, "deny", 0, false},
		{policy.Permit, "permit", policy.Nobody, true},
		{policy.Ask, "ask", policy.Approved, true},
		{policy.StepUp, "step_up", policy.Presence, true},
	} {
		level, ok := c.v.Level()
		if c.v.String() != c.word || level != c.need || ok != c.ok {
			t.Errorf("%d is %v at %v %v", c.v, c.v, level, ok)
		}
		for l := policy.Nobody; l <= policy.Presence; l++ {
			if got, want := c.v.Satisfied(l), c.ok && l >= c.need; got != want {
				t.Errorf("%v satisfied by %d: %v, want %v", c.v, l, got, want)
			}
		}
	}
}
