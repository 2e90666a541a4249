package policy_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/policy"
)

const permitAll = `@id("all") permit (principal, action, resource);`

func TestNothingIsPermittedByDefault(t *testing.T) {
	for name, s := range map[string]*policy.Set{
		"no texts":    compile(t),
		"empty text":  compile(t, org("")),
		"forbid only": compile(t, org(`forbid (principal, action == Action::"vend", resource);`)),
	} {
		if d := s.Decide(read()); d.Verdict != policy.Deny || d.Code != policy.CodeNoRule {
			t.Errorf("%s: %v %s", name, d.Verdict, d.Code)
		}
	}
	var none *policy.Set
	if d := none.Decide(read()); d.Verdict != policy.Deny || d.Code != policy.CodeError {
		t.Errorf("nil set: %v %s", d.Verdict, d.Code)
	}
}

// Cedar skips a rule that fails, also a forbid; a decision must not.
func TestARuleThatFailsDenies(t *testing.T) {
	const overflow = `@id("broken") forbid (principal, action, resource) when { context.risk_level + 9223372036854775807 > 0 };`
	for _, c := range []struct {
		name  string
		texts []policy.Source
		in    policy.Input
	}{
		{"a forbid", []policy.Source{org(permitAll + overflow)}, read()},
		{"a permit", []policy.Source{org(permitAll + strings.Replace(overflow, "forbid", "permit", 1))}, read()},
		{"a rule of another agent's operation beside it", []policy.Source{policy.Default(), org(overflow)}, write("github.issues.add_labels", 1)},
		{"an unknown amount that is added to", []policy.Source{org(permitAll + strings.Replace(overflow, "context.risk_level + 9223372036854775807", "context.value_cents + 1", 1))},
			with(read(), unknown("value"))},
		{"only at a higher level", []policy.Source{org(`permit (principal, action, resource) when { context.assurance >= 1 };` +
			`@id("broken") forbid (principal, action, resource) when { context.assurance + 9223372036854775807 > 0 };`)}, read()},
		{"a user's own", []policy.Source{org(permitAll), own(mira, overflow)}, read()},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := compile(t, c.texts...).Decide(c.in)
			if d.Verdict != policy.Deny || d.Code != policy.CodeError || ruleIDs(d) != "broken" {
				t.Fatalf("%v %s by %q", d.Verdict, d.Code, ruleIDs(d))
			}
			if !strings.Contains(d.Reason, "broken") || !strings.Contains(d.Reason, "overflow") {
				t.Errorf("reason %q", d.Reason)
			}
		})
	}
}

func TestAUsersOwnRulesJudgeOnlyTheirConnections(t *testing.T) {
	ofTom := with(read(), func(in *policy.Input) { in.User, in.Connection.ID = tom, "con_tom" })
	for _, c := range []struct {
		name           string
		text           string
		wantMira, want policy.Verdict
	}{
		{"forbid", `forbid (principal, action, resource);`, policy.Deny, policy.Permit},
		{"forbid that names another's connection", `forbid (principal, action, resource) when { context.connection == Connection::"con_tom" };`, policy.Permit, policy.Permit},
		{"ask", `forbid (principal, action, resource) unless { context.assurance >= 1 };`, policy.Ask, policy.Permit},
		{"fails", `forbid (principal, action, resource) when { context.risk_level + 9223372036854775807 > 0 };`, policy.Deny, policy.Permit},
		{"cannot be read", `forbid (principal,`, policy.Deny, policy.Permit},
		{"no longer valid", `forbid (principal, action, resource) when { context.weather == "rain" };`, policy.Deny, policy.Permit},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := compile(t, policy.Default(), own(mira, c.text))
			if d := s.Decide(read()); d.Verdict != c.wantMira {
				t.Errorf("her own connection: %v %v", d.Verdict, d.Explain())
			}
			if d := s.Decide(ofTom); d.Verdict != c.want {
				t.Errorf("his connection: %v %v", d.Verdict, d.Explain())
			}
		})
	}
}

func TestABrokenTextOfAUserIsTold(t *testing.T) {
	s := compile(t, policy.Default(), own(mira, "permit"), own(tom, `forbid (principal, action, resource) when { context.read && context.vend };`))
	d := s.Decide(read())
	if d.Code != policy.CodeError || !strings.Contains(d.Reason, "own.cedar") {
		t.Errorf("%s %q", d.Code, d.Reason)
	}
	if b := s.Broken(); len(b) != 1 || b[0].Source != "own.cedar" {
		t.Errorf("broken: %v", b)
	}
}

func TestABrokenTextOfTheOrgIsAnError(t *testing.T) {
	_, err := policy.Compile([]policy.Source{policy.Default(), org(`permit (principal, action, resource) when { context.weather };`)})
	var ps policy.Problems
	if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Source != "org.cedar" {
		t.Fatalf("%v", err)
	}
	f := fault.From(err)
	if f.Kind != fault.Invalid || f.Reason != "policy_invalid" || !strings.Contains(f.Detail, "org.cedar:1:") {
		t.Errorf("fault %v", f)
	}
	if _, err := policy.Compile([]policy.Source{org(""), org(permitAll)}); err == nil {
		t.Error("two texts with one id compile")
	}
}

func TestAPermitNeverUndercutsAnAsk(t *testing.T) {
	s := compile(t, policy.Default(), org(permitAll))
	if d := s.Decide(write("github.pulls.merge", 3)); d.Verdict != policy.Ask {
		t.Errorf("merge: %v", d.Verdict)
	}
	if d := s.Decide(write("github.repos.delete", 4)); d.Verdict != policy.StepUp {
		t.Errorf("delete: %v", d.Verdict)
	}
}

// What is permitted at all is the org's to say: a permit in a user's own text
// is a mistake, and a text with a mistake denies on that user's connections.
func TestAUsersOwnRulesDoNotPermit(t *testing.T) {
	s := compile(t, policy.Default(), own(mira, permitAll))
	if d := s.Decide(write("github.issues.list", 1)); d.Verdict != policy.Deny {
		t.Errorf("a read under an own permit: %v", d.Verdict)
	}
	if len(s.Broken()) != 1 {
		t.Errorf("broken: %v", s.Broken())
	}
}

// Everything that every rule wants holds together.
func TestAnnotationsAddUp(t *testing.T) {
	s := compile(t, org(permitAll+`
@id("a") @reason("A says so.") @approvers("mira, role:admin") @quorum("2") @expires("4h") @notify("mira, channel:ops")
forbid (principal, action, resource) unless { context.assurance >= 1 };
@id("b") @reason("B says so.") @approvers("role:admin,role:owner") @expires("30m") @notify("channel:ops, tom")
forbid (principal, action, resource) when { context.risk_level >= 3 } unless { context.assurance >= 2 };
@id("c") @quorum("9") @expires("1m")
forbid (principal, action, resource) when { context.tainted } unless { context.assurance >= 1 };`))

	d := s.Decide(write("github.issues.create", 2))
	if d.Verdict != policy.Ask || ruleIDs(d) != "a" || d.Quorum != 2 || d.Expires != 4*time.Hour || d.Reason != "A says so." {
		t.Errorf("medium: %v by %q, %d people, %v, %q", d.Verdict, ruleIDs(d), d.Quorum, d.Expires, d.Reason)
	}

	// The rule that wants presence does not drop what the other one wants.
	d = s.Decide(write("github.pulls.merge", 3))
	if d.Verdict != policy.StepUp || ruleIDs(d) != "b a" || d.Quorum != 2 || d.Expires != 30*time.Minute || d.Reason != "B says so. A says so." {
		t.Errorf("high: %v by %q, %d people, %v, %q", d.Verdict, ruleIDs(d), d.Quorum, d.Expires, d.Reason)
	}
	if diff := cmp.Diff([][]string{{"role:admin", "role:owner"}, {"mira", "role:admin"}}, d.Approvers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"channel:ops", "tom", "mira"}, d.Notify); diff != "" {
		t.Error(diff)
	}
	if d.Rules[0].Level != policy.Presence || d.Rules[1].Level != policy.Approved {
		t.Errorf("levels %d %d", d.Rules[0].Level, d.Rules[1].Level)
	}
	for _, c := range []struct {
		names string
		want  bool
	}{
		{"", false}, {"tom", false}, {"mira", false}, {"role:owner", false},
		{"role:admin", true}, {"mira role:owner", true}, {"tom role:admin", true},
	} {
		got := d.MayApprove(func(n string) bool { return strings.Contains(" "+c.names+" ", " "+n+" ") })
		if got != c.want {
			t.Errorf("may %q approve: %v, want %v", c.names, got, c.want)
		}
	}
	d = s.Decide(read())
	if !d.MayApprove(func(n string) bool { return n == "mira" }) {
		t.Error("mira may not answer what a asked")
	}
}

// A permit may want assurance too: then it asked, and its annotations count.
func TestAPermitThatWantsAssuranceAsks(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       policy.Verdict
		rules      string
	}{
		{"alone", `@id("p") @quorum("3") permit (principal, action, resource) when { context.assurance >= 1 };`, policy.Ask, "p"},
		{"with presence", `@id("p") @quorum("3") permit (principal, action, resource) when { context.assurance == 2 };`, policy.StepUp, "p"},
		{"beside a forbid", `@id("p") @quorum("3") permit (principal, action, resource) when { context.assurance >= 1 };
			@id("f") forbid (principal, action, resource) unless { context.assurance >= 1 };`, policy.Ask, "p f"},
		{"above a forbid", `@id("p") @quorum("3") permit (principal, action, resource) when { context.assurance >= 2 };
			@id("f") forbid (principal, action, resource) unless { context.assurance >= 1 };`, policy.StepUp, "p f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := compile(t, org(c.text)).Decide(read())
			if d.Verdict != c.want || ruleIDs(d) != c.rules || d.Quorum != 3 {
				t.Errorf("%v by %q, %d people", d.Verdict, ruleIDs(d), d.Quorum)
			}
		})
	}
}

// A forbid that nothing lifts is the rule that denied, not those that merely
// would have asked.
func TestWhatDenies(t *testing.T) {
	s := compile(t, policy.Default(), org(`@id("never") @reason("Nothing merges here.")
forbid (principal, action, resource) when { context.operation == Operation::"github.pulls.merge" };`))
	d := s.Decide(write("github.pulls.merge", 3))
	if d.Verdict != policy.Deny || d.Code != policy.CodeForbidden || ruleIDs(d) != "never" || d.Reason != "Nothing merges here." || d.Quorum != 0 {
		t.Errorf("%v %s by %q: %q", d.Verdict, d.Code, ruleIDs(d), d.Reason)
	}
	s = compile(t, org(`@id("ask") forbid (principal, action, resource) unless { context.assurance >= 1 };`))
	d = s.Decide(read())
	if d.Verdict != policy.Deny || d.Code != policy.CodeNoRule || ruleIDs(d) != "" {
		t.Errorf("%v %s by %q", d.Verdict, d.Code, ruleIDs(d))
	}
}

// What the schema says about a request is what rules see.
func TestFactsThatRulesSee(t *testing.T) {
	public, private := true, false
	in := with(write("github.issues.create_comment", 3), amount("value", "12.345", "EUR"), func(in *policy.Input) {
		in.Tainted, in.Resource.Public, in.Scopes = true, &public, []string{"repo", "read:org"}
	})
	hidden := with(in, func(in *policy.Input) { in.Resource.Public = &private })
	unclear := with(in, func(in *policy.Input) { in.Resource.Public = nil })
	for _, c := range []struct {
		cond string
		in   policy.Input
		want bool
	}{
		{`principal == Agent::"agt_hunter" && principal.name == "hunter" && principal.profile == "strict"`, in, true},
		{`action == Action::"write"`, in, true},
		{`action == Action::"read"`, in, false},
		{`resource == Repository::"github/octo/api"`, in, true},
		{`resource == Repository::"gitlab/octo/api"`, in, false},
		{`resource in Owner::"github/octo"`, in, true},
		{`resource in Owner::"github/octo/api"`, in, false},
		{`resource in Provider::"github"`, in, true},
		{`resource is Repository && resource.kind == "repository" && resource.name == "octo/api"`, in, true},
		{`resource is Channel`, in, false},
		{`resource is Account`, with(in, func(in *policy.Input) { in.Resource = policy.Resource{} }), true},
		{`resource == Account::"github/583231" && resource.name == "octocat" && resource.kind == "account"`, with(in, func(in *policy.Input) { in.Resource = policy.Resource{} }), true},
		{`resource is Item && resource.kind == "wiki" && resource == Item::"github/wiki/w"`, with(in, func(in *policy.Input) { in.Resource = policy.Resource{Type: "wiki", ID: "w"} }), true},
		{`resource == Channel::"slack/C1" && resource in Provider::"slack"`, with(in, func(in *policy.Input) {
			in.Connection.Provider, in.Resource = "slack", policy.Resource{Type: "channel", ID: "C1"}
		}), true},
		{`resource.public && !resource.private`, in, true},
		{`!resource.public && resource.private`, hidden, true},
		{`!resource.public && !resource.private`, unclear, true},
		{`context.operation == Operation::"github.issues.create_comment"`, in, true},
		{`context.operation in Operation::"github.issues"`, in, true},
		{`context.operation in Operation::"github"`, in, true},
		{`context.operation in Provider::"github"`, in, true},
		{`context.operation in Operation::"github.issue"`, in, false},
		{`context.operation in Operation::"github.issues.create"`, in, false},
		{`context.operation in [Operation::"github.pulls", Operation::"github.issues"]`, in, true},
		{`context.operation.name like "*.create_*"`, in, true},
		{`Operation::"github.issues" in Provider::"github"`, in, true},
		{`context.connection == Connection::"con_mira" && context.connection.account == "octocat" && context.connection.account_id == "583231"`, in, true},
		{`context.connection.owner == context.user && context.user == User::"` + string(mira) + `"`, in, true},
		{`context.connection in Provider::"github" && context.connection.provider == Provider::"github"`, in, true},
		{`context.risk == "high" && context.risk_level == 3`, in, true},
		{`context.value_cents == 1235 && context.transfer_cents == 0 && context.currency == "EUR" && context.has_amount && !context.amount_unknown`, in, true},
		{`context.value_cents == 9223372036854775807 && context.amount_unknown`, with(in, unknown("value")), true},
		{`context.value_cents == 9223372036854775807 && context.transfer_cents == 9223372036854775807`, with(in, unknown("?")), true},
		{`context.transfer_cents == 500 && context.value_cents == 0`, with(in, amount("transfer", "5", "USD")), true},
		{`!context.has_amount && context.value_cents == 0 && context.currency == ""`, with(in, func(in *policy.Input) { in.Amount = nil }), true},
		{`context.listed && !context.read && !context.vend && context.method == "POST"`, in, true},
		{`context.vend && !context.read && action == Action::"vend"`, with(in, asVend, func(in *policy.Input) { in.Read = true }), true},
		{`context.scopes.containsAll(["repo", "read:org"])`, in, true},
		{`context.scopes.contains("delete_repo")`, in, false},
		{`context.tainted`, in, true},
		{`context.hour == 12 && context.weekday == 3 && context.epoch == 1772627400`, in, true},
		{`context.hour == 0 && context.weekday == 7`, with(in, func(in *policy.Input) {
			in.Now = time.Date(2026, 3, 7, 23, 30, 0, 0, time.FixedZone("", -3600))
		}), true},
		{`context.now < datetime("2026-03-05")`, in, true},
		{`context has source && context.source.isInRange(ip("192.0.2.0/24"))`, in, true},
		{`context has source && context.source == ip("192.0.2.7")`, with(in, func(in *policy.Input) { in.Source = netip.MustParseAddr("::ffff:192.0.2.7") }), true},
		{`context has source && context.source.isInRange(ip("fe80::/10"))`, with(in, func(in *policy.Input) { in.Source = netip.MustParseAddr("fe80::1%eth0") }), true},
		{`context has source`, with(in, func(in *policy.Input) { in.Source = netip.Addr{} }), false},
	} {
		s := compile(t, org(`permit (principal, action, resource) when { `+c.cond+` };`))
		if got := s.Decide(c.in); (got.Verdict == policy.Permit) != c.want || got.Code == policy.CodeError {
			t.Errorf("%s: %v %s, want %v", c.cond, got.Verdict, got.Reason, c.want)
		}
	}
}

func TestExplanations(t *testing.T) {
	s := compile(t, policy.Default(), org(`@id("never") @reason("Nobody deletes.")
forbid (principal, action, resource) when { context.operation == Operation::"github.repos.delete" };
@id("calm") @reason("It has read what strangers wrote.") @approvers("mira") @quorum("2")
forbid (principal, action == Action::"write", resource) when { context.tainted } unless { context.assurance >= 1 };`))
	facts := func(in *policy.Input) { in.Facts = []string{"The catalogue rates it medium."} }
	tainted := func(in *policy.Input) { in.Tainted = true }
	for _, c := range []struct {
		name string
		in   policy.Input
		want []string
	}{
		{"permit", read(), []string{"github.issues.list is permitted by the rule default.reads.", "Reading changes nothing."}},
		{"ask", with(write("github.issues.create_comment", 2), facts), []string{
			"github.issues.create_comment needs a human's approval by the rule default.ask-medium.",
			"Anything above low risk needs a human's approval.",
			"The catalogue rates it medium.",
			"It would pass with a human approval.",
		}},
		{"money", with(write("github.issues.add_labels", 1), amount("value", "900", "USD")), []string{
			"github.issues.add_labels needs a human's approval by the rule default.ask-value.",
			"More than 500 is at stake.",
			"It would pass with a human approval.",
			"It would pass with an amount of at most 500 USD.",
		}},
		{"money that moves, and a risk", with(write("pay.send", 2), amount("transfer", "900", "USD")), []string{
			"pay.send needs a human's approval with a fresh passkey by the rules default.step-up-transfer, default.ask-medium.",
			"More than 500 would move. Anything above low risk needs a human's approval.",
			"It would pass with a human approval with a fresh passkey.",
			"It would pass with an amount of at most 500 USD and a human approval.",
		}},
		{"taint", with(write("github.issues.add_labels", 1), tainted), []string{
			"github.issues.add_labels needs a human's approval by the rule calm.",
			"It has read what strangers wrote.",
			"2 people have to approve.",
			"It is for mira to approve.",
			"It would pass with a human approval.",
			"It would pass with the same request once the agent's taint has passed.",
		}},
		{"forbidden", write("github.repos.delete", 4), []string{
			"github.repos.delete is denied by the rule never.",
			"Nobody deletes.",
			"It would pass with a change of the rule never, which no approval lifts.",
		}},
		{"incomplete", with(read(), func(in *policy.Input) { in.User = "" }), []string{
			"github.issues.list is denied.",
			"The request cannot be judged without its user.",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.Decide(c.in)
			if diff := cmp.Diff(c.want, d.Explain()); diff != "" {
				t.Error(diff)
			}
		})
	}
	d := compile(t).Decide(read())
	want := []string{"github.issues.list is denied.", "No rule permits this.", "It would pass with a rule that permits github.issues.list for hunter on octo/api."}
	if diff := cmp.Diff(want, d.Explain()); diff != "" {
		t.Error(diff)
	}
}

func TestVersion(t *testing.T) {
	a := compile(t, policy.Default(), own(mira, permitAll))
	b := compile(t, own(mira, permitAll), policy.Default())
	if a.Version() != b.Version() || a.Hash() != b.Hash() {
		t.Error("the order of texts changes the version")
	}
	if len(a.Version()) != 32 || a.Decide(read()).PolicyVersion != a.Version() {
		t.Errorf("version %q", a.Version())
	}
	seen := map[string]bool{}
	for _, s := range []*policy.Set{
		a, compile(t), compile(t, policy.Default()), compile(t, policy.Default(), own(tom, permitAll)), compile(t, policy.Default(), own(mira, permitAll+" ")),
		compile(t, org(permitAll)), compile(t, org(""), policy.Source{ID: "pol_x", Text: permitAll}),
	} {
		if seen[s.Version()] {
			t.Errorf("version %q twice", s.Version())
		}
		seen[s.Version()] = true
	}
}

func TestDecisionsRepeat(t *testing.T) {
	s := compile(t, policy.Default(), org(many(100)), own(mira, many(50)))
	for _, in := range []policy.Input{read(), write("github.repos.delete", 4), with(write("pay.send", 3), unknown("both"), unlisted)} {
		first := s.Decide(in)
		for range 20 {
			if diff := cmp.Diff(first, s.Decide(in)); diff != "" {
				t.Fatal(diff)
			}
		}
		again := compile(t, own(mira, many(50)), org(many(100)), policy.Default())
		if diff := cmp.Diff(first, again.Decide(in)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestDiff(t *testing.T) {
	const before = `@id("a") permit (principal, action, resource);
@id("b") forbid (principal, action, resource) when { context.tainted };`
	const after = `// b comes first, and is stricter
@id("b")
forbid (principal, action, resource);
@id("c") permit (principal, action == Action::"read", resource);`
	got, err := policy.Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range got {
		ids = append(ids, c.ID)
		if (c.Old == "") != (c.ID == "c") || (c.New == "") != (c.ID == "a") {
			t.Errorf("%+v", c)
		}
	}
	if diff := cmp.Diff([]string{"b", "c", "a"}, ids); diff != "" {
		t.Error(diff)
	}
	if same, err := policy.Diff(before, "// only a comment\n"+before); err != nil || len(same) != 0 {
		t.Errorf("%v %v", same, err)
	}
	if _, err := policy.Diff(before, "permit"); err == nil {
		t.Error("a broken text has a difference")
	}
}

func TestLongestAmounts(t *testing.T) {
	s := compile(t, org(`permit (principal, action, resource) when { context.value_cents < 9223372036854775807 };`))
	for number, want := range map[string]policy.Verdict{
		"92233720368547758.06":              policy.Permit,
		"92233720368547758.07":              policy.Deny, // exactly what stands for unknown
		"92233720368547758.061":             policy.Deny,
		"92233720368547758.0600":            policy.Permit,
		"1":                                 policy.Permit,
		"1.":                                policy.Deny,
		".5":                                policy.Deny,
		"+1":                                policy.Deny,
		"1,5":                               policy.Deny,
		"１":                                 policy.Deny,
		strings.Repeat("0", 65):             policy.Deny,
		"0" + strings.Repeat("0", 60) + "1": policy.Permit,
	} {
		if d := s.Decide(with(read(), amount("value", number, "USD"))); d.Verdict != want {
			t.Errorf("%q: %v, want %v", number, d.Verdict, want)
		}
	}
}

func TestLess(t *testing.T) {
	// Each is less than the next; those on one line are equal.
	ladder := [][]string{
		{"0", "0.0", "00", "000.000"},
		{"0.001"},
		{"0.01", "0.010", "00.01"},
		{"0.1"},
		{"1", "1.0", "01"},
		{"9.99"},
		{"10"},
		{"499.99"},
		{"500", "500.00"},
		{"500.001"},
		{"500.0011"},
		{"92233720368547758.07"},
		{"92233720368547758.08"},
		{"99999999999999999999999999"},
		{"", "-1", "1e9", "1.", ".5", "1,000", "x"},
	}
	for i, low := range ladder {
		for j, high := range ladder {
			for _, a := range low {
				for _, b := range high {
					if got := policy.Less(a, b); got != (i < j) {
						t.Errorf("Less(%q, %q) = %v", a, b, got)
					}
				}
			}
		}
	}
}
