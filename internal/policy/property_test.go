package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
)

func drawInput(t *rapid.T) policy.Input {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	flag := func(label string) bool { return rapid.Bool().Draw(t, label) }
	in := policy.Input{
		Org:  id.DefaultOrg,
		User: rapid.SampledFrom([]id.User{mira, tom}).Draw(t, "user"),
		Agent: policy.Agent{
			ID: id.Agent(pick("agent", "agt_hunter", "agt_1", "agt_6")), Name: rapid.String().Draw(t, "name"), Profile: "strict",
		},
		Connection: policy.Connection{
			ID: id.Connection(pick("connection", "con_mira", "con_tom", "con_3")), Provider: pick("provider", "github", "slack"),
			Account: "a", AccountID: pick("account", "", "583231"),
		},
		Operation: pick("operation", "github.issues.list", "github.issues.create", "github.pulls.merge", "slack.chat.op0", "github.raw.write", "x", ".", "a..b"),
		Listed:    flag("listed"), Read: flag("read"), Vend: flag("vend"), Tainted: flag("tainted"),
		Method:   pick("method", "GET", "POST", ""),
		Resource: policy.Resource{Type: pick("type", "", "repository", "channel", "calendar", "owner", "organization", "wiki"), ID: pick("resource", "", "octo/api", "octo/r4", "org2/x", "noslash", "/")},
		Risk:     rapid.IntRange(-1, 6).Draw(t, "risk"),
		Scopes:   rapid.SliceOfN(rapid.SampledFrom([]string{"repo", "user", ""}), 0, 3).Draw(t, "scopes"),
		Now:      time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "now"), 0),
	}
	if flag("visible") {
		public := flag("public")
		in.Resource.Public = &public
	}
	if flag("money") {
		in.Amount = &policy.Amount{
			Kind: pick("kind", "value", "transfer", ""), Currency: pick("currency", "USD", "BTC", ""), Unknown: flag("unknown"),
			Number: pick("number", "0", "1", "499.99", "500", "500.01", "90000", "x"),
		}
	}
	if flag("located") {
		in.Source = netip.MustParseAddr(pick("source", "192.0.2.7", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"))
	}
	return in
}

// drawRules is a text of rules that may concern a drawn input.
func drawRules(t *rapid.T, effects ...string) string {
	scopes := []string{"principal", `principal == Agent::"agt_1"`, `principal is Agent`}
	actions := []string{"action", `action == Action::"write"`, `action in [Action::"read", Action::"vend"]`, `action in Action::"read"`}
	resources := []string{"resource", `resource is Repository`, `resource in Owner::"github/octo"`, `resource == Repository::"github/octo/api"`, `resource is Repository in Provider::"github"`, `resource in Repository::"github/octo/api"`}
	tests := []string{
		`context.operation == Operation::"github.issues.create"`, `Operation::"github.pulls.merge" == context.operation`,
		`context.operation in Operation::"github.issues"`, `context.operation in [Operation::"github.issues.list", Operation::"github", Operation::"slack"]`,
		`context.operation in Provider::"slack"`, `context.operation in Operation::""`, `context.operation in Operation::"a."`,
		`context.connection == Connection::"con_mira"`, `context.connection in Provider::"github"`, `context.user == User::"` + string(tom) + `"`,
		`resource in Owner::"github/octo"`, `action == Action::"vend"`, `context.tainted`, `context.risk_level >= 3`, `context.value_cents > 40000`,
		`context.risk_level + 9223372036854775804 > 0`, // fails at high risk
		`context.transfer_cents + 1 > 0`,               // fails for an unknown amount
		`context.operation.name like "*.list"`, `resource.public`, `!context.listed`,
	}
	n := rapid.IntRange(0, 12).Draw(t, "rules")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "@id(\"r%d\") %s (%s, %s, %s)", i, rapid.SampledFrom(effects).Draw(t, "effect"),
			rapid.SampledFrom(scopes).Draw(t, "principal"), rapid.SampledFrom(actions).Draw(t, "action"), rapid.SampledFrom(resources).Draw(t, "resource"))
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			some := rapid.SliceOfN(rapid.SampledFrom(tests), 1, 3).Draw(t, "tests")
			fmt.Fprintf(&b, " %s { %s }", rapid.SampledFrom([]string{"when", "when", "unless"}).Draw(t, "word"),
				strings.Join(some, rapid.SampledFrom([]string{" && ", " && ", " || "}).Draw(t, "join")))
		}
		if l := rapid.IntRange(0, 4).Draw(t, "assurance"); l > 0 && l < 3 {
			fmt.Fprintf(&b, " unless { context.assurance >= %d }", l)
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// mixed compiles drawn texts; what the validator refuses is not of interest.
func mixed(t *rapid.T, texts ...policy.Source) *policy.Set {
	s, err := policy.Compile(texts)
	if err != nil {
		t.Skip(err)
	}
	return s
}

// The index changes the cost of a decision and nothing else.
func TestIndexLeavesDecisionsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := mixed(t, org(drawRules(t, "permit", "forbid")), own(mira, drawRules(t, "permit", "forbid")))
		if len(s.Broken()) > 0 {
			t.Skip()
		}
		in := drawInput(t)
		got, want := s.Decide(in), s.DecideByAll(in)
		got.Changes = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestUnrelatedRulesAreNotJudged(t *testing.T) {
	few, lots := compile(t, policy.Default()), compile(t, policy.Default(), org(many(200)))
	for _, in := range []policy.Input{read(), write("github.pulls.merge", 3), with(read(), asVend)} {
		if a, b := few.Judging(in), lots.Judging(in); a != b {
			t.Errorf("%s: %d rules judge, %d among 200 others", in.Operation, a, b)
		}
	}
}

func TestHigherRiskIsNeverWeaker(t *testing.T) {
	s := compile(t, policy.Default())
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		last := policy.Verdict(0)
		for in.Risk = 1; in.Risk <= 4; in.Risk++ {
			v := s.Decide(in).Verdict
			if v < last {
				t.Fatalf("%v at risk %d, %v below", v, in.Risk, last)
			}
			last = v
		}
	})
}

func TestMoreMoneyIsNeverWeaker(t *testing.T) {
	s := compile(t, policy.Default())
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		kind := rapid.SampledFrom([]string{"value", "transfer", ""}).Draw(t, "meaning")
		last := policy.Verdict(0)
		for _, n := range []string{"0", "0.01", "1", "500", "500.001", "501", "9999999999", "?"} {
			in.Amount = &policy.Amount{Kind: kind, Number: n, Currency: "USD", Unknown: n == "?"}
			v := s.Decide(in).Verdict
			if v < last {
				t.Fatalf("%v for %s, %v for less", v, n, last)
			}
			last = v
		}
	})
}

// Whatever permits are added, by the org or by the owner, what the org asks for
// is asked.
func TestPermitsNeverUndercut(t *testing.T) {
	before := compile(t, policy.Default())
	rapid.Check(t, func(t *rapid.T) {
		permits := drawRules(t, "permit")
		in := drawInput(t)
		for _, src := range []policy.Source{org(permits), own(in.User, permits)} {
			after := mixed(t, policy.Default(), src)
			if was, is := before.Decide(in).Verdict, after.Decide(in).Verdict; was != policy.Deny && is < was {
				t.Fatalf("%v became %v", was, is)
			}
		}
	})
}

// Adding forbids never weakens anything.
func TestForbidsNeverWeaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t, "permit", "forbid")
		before := mixed(t, org(rules))
		more := own(mira, drawRules(t, "forbid"))
		after := mixed(t, org(rules), more)
		in := drawInput(t)
		in.User = mira
		if was, is := before.Decide(in).Verdict, after.Decide(in).Verdict; is < was {
			t.Fatalf("%v became %v", was, is)
		}
	})
}

func TestAUsersRulesNeverTouchAnothersConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := org(drawRules(t, "permit", "forbid"))
		before := mixed(t, rules)
		after := mixed(t, rules, own(mira, drawRules(t, "permit", "forbid")+rapid.SampledFrom([]string{"", "broken"}).Draw(t, "tail")))
		in := drawInput(t)
		in.User = tom
		was, is := before.Decide(in), after.Decide(in)
		was.PolicyVersion, is.PolicyVersion = "", ""
		if diff := cmp.Diff(was, is); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What the server asks Cedar has the shape that rules are checked against.
func TestRequestsConformToTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := policy.Conforms(drawInput(t)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSchemaRoundTrips(t *testing.T) {
	var first schema.Schema
	if err := first.UnmarshalCedar([]byte(policy.Schema())); err != nil {
		t.Fatal(err)
	}
	text, err := first.MarshalCedar()
	if err != nil {
		t.Fatal(err)
	}
	var second, third schema.Schema
	if err := second.UnmarshalCedar(text); err != nil {
		t.Fatal(err)
	}
	json, err := second.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := third.UnmarshalJSON(json); err != nil {
		t.Fatal(err)
	}
	want, err := first.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*schema.Schema{"text": &second, "JSON": &third} {
		got, err := s.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Actions) != 3 || len(got.Entities) != len(want.Entities) {
			t.Errorf("through %s: %d actions, %d types", name, len(got.Actions), len(got.Entities))
		}
		for uid, a := range want.Actions {
			b := got.Actions[uid]
			if diff := cmp.Diff(fmt.Sprint(a.AppliesTo), fmt.Sprint(b.AppliesTo)); diff != "" {
				t.Errorf("through %s: %s: %s", name, uid, diff)
			}
		}
	}
}
