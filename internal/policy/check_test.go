package policy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each text has a mistake; the golden file says how it is told, with its place.
var mistakes = []struct{ name, text string }{
	{"no effect", `allow (principal, action, resource);`},
	{"no semicolon", "permit (principal, action, resource)\nforbid (principal, action, resource);"},
	{"unclosed condition", "permit (principal, action, resource)\nwhen { context.read ;"},
	{"ends early", `permit (principal, action`},
	{"ends in a condition", `permit (principal, action, resource) when {`},
	{"nothing after and", `permit (principal, action, resource) when { context.read && };`},
	{"scope misses the action", `permit (principal, resource);`},
	{"unknown variable", `permit (principal, action, resource) when { user == principal };`},
	{"single equals sign", `permit (principal, action, resource) when { context.risk = "low" };`},
	{"single ampersand", `permit (principal, action, resource) when { context.read & context.listed };`},
	{"number too large", "permit (principal, action, resource)\nwhen { context.value_cents > 99999999999999999999 };"},
	{"block comment", "/* old style */ permit (principal, action, resource);"},
	{"open string", "permit (principal, action, resource)\nwhen { context.risk == \"low };"},
	{"unknown function", `permit (principal, action, resource) when { context.source.inRange(ip("10.0.0.0/8")) };`},
	{"unknown constructor", `permit (principal, action, resource) when { cidr("10.0.0.0/8") };`},
	{"bad address", `permit (principal, action, resource) when { context has source && context.source.isInRange(ip("10.0.0.0/99")) };`},
	{"misspelt fact", "// the first line\npermit (principal, action, resource)\nwhen { context.risk_levl <= 1 };"},
	{"misspelt fact twice", `permit (principal, action, resource) when { context.tained || context.tained };`},
	{"two mistakes", "permit (principal, action, resource) when { context.tained };\nforbid (principal, action, resource) when { context.lissted };"},
	{"misspelt attribute of the resource", `permit (principal, action, resource) when { resource.is_public };`},
	{"misspelt attribute of the agent", `permit (principal, action, resource) when { principal.owner == context.user };`},
	{"a fact there is not", `permit (principal, action, resource) when { context.minute < 30 };`},
	{"attribute of something without any", `permit (principal, action, resource) when { context.user.name == "mira" };`},
	{"source not guarded", `forbid (principal, action, resource) unless { context.source.isInRange(ip("10.0.0.0/8")) };`},
	{"unknown type in the scope", `permit (principal == Robot::"r2", action, resource);`},
	{"unknown type in a condition", `permit (principal, action, resource) when { resource in Folder::"x" };`},
	{"user as principal", `permit (principal == User::"usr_1", action, resource);`},
	{"operation as action", `permit (principal, action == Action::"github.issues.create", resource);`},
	{"operation as action, in a list", `permit (principal, action in [Action::"read", Action::"delete"], resource);`},
	{"agent as resource", `permit (principal, action, resource == Agent::"agt_1");`},
	{"wrong types", `permit (principal, action, resource) when { context.risk <= 2 };`},
	{"not a condition", `permit (principal, action, resource) when { context.risk_level };`},
	{"empty set", `permit (principal, action, resource) when { context.scopes == [] };`},
	{"string for an operation", `permit (principal, action, resource) when { context.operation == "github.issues.create" };`},
	{"misspelt annotation", "@aprovers(\"mira\")\nforbid (principal, action, resource);"},
	{"bad quorum", `@quorum("two") forbid (principal, action, resource);`},
	{"no quorum", `@quorum("0") forbid (principal, action, resource);`},
	{"bad expiry", `@expires("soon") forbid (principal, action, resource);`},
	{"expiry too long", `@expires("31d") forbid (principal, action, resource);`},
	{"expiry too short", `@expires("59s") forbid (principal, action, resource);`},
	{"empty approvers", `@approvers("") forbid (principal, action, resource);`},
	{"empty place among approvers", `@approvers("mira,,tom") forbid (principal, action, resource);`},
	{"role that may not approve", `@approvers("role:auditor") forbid (principal, action, resource);`},
	{"malformed user id", `@approvers("usr_1") forbid (principal, action, resource);`},
	{"bad target", `@notify("<mira>") forbid (principal, action, resource);`},
	{"empty reason", `@reason forbid (principal, action, resource);`},
	{"line break in a reason", `@reason("one\ntwo") forbid (principal, action, resource);`},
	{"bad id", `@id("Rule 1") forbid (principal, action, resource);`},
	{"same id twice", "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);"},
	{"same annotation twice", `@id("a") @id("b") permit (principal, action, resource);`},
	{"right-to-left override", "permit (principal, action, resource); // \u202e ;"},
	{"zero width space", "permit (principal, action, resource) when { context.risk == \"lo\u200bw\" };"},
	{"escaped override in a reason", `@reason("\u{202e}") forbid (principal, action, resource);`},
	{"control character", "permit (principal, action, resource);\x00"},
	{"not UTF-8", "permit (principal, action, resource);\xff"},
	{"too deep", "permit (principal, action, resource) when { " + strings.Repeat("(", 17) + "true" + strings.Repeat(")", 17) + " };"},
	{"too many words", "permit (principal, action, resource) when { " + strings.Repeat("true && ", 250) + "true };"},
	{"too many ifs", "permit (principal, action, resource) when { " + strings.Repeat("if context.read then true else ", 17) + "true };"},
	{"too long a path", "permit (principal, action, resource) when { context has a.b.c.d.e.f.g.h.i };"},
	{"too long a path of calls", "permit (principal, action, resource) when { context" + strings.Repeat(".isEmpty()", 200) + " };"},
	{"too many signs", "permit (principal, action, resource) when { !!!!!context.read };"},
	{"too many rules", strings.Repeat("permit (principal, action, resource);\n", 251)},
	{"too long", strings.Repeat(" ", 32<<10) + ";"},
}

func TestMistakesAreTold(t *testing.T) {
	var b strings.Builder
	for _, m := range mistakes {
		ps := policy.Check(m.text)
		if len(ps) == 0 {
			t.Errorf("%s: nothing is wrong", m.name)
		}
		fmt.Fprintf(&b, "# %s\n", m.name)
		if len(m.text) < 300 {
			for i, line := range strings.Split(m.text, "\n") {
				fmt.Fprintf(&b, "%4d  %q\n", i+1, line)
			}
		}
		for _, p := range ps {
			fmt.Fprintf(&b, "%s\n", p)
		}
		b.WriteString("\n")
		if _, err := policy.Compile([]policy.Source{org(m.text)}); err == nil {
			t.Errorf("%s: compiles", m.name)
		}
	}
	const golden = "testdata/mistakes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTextsThatAreFine(t *testing.T) {
	for _, text := range []string{
		"",
		"// nothing but a comment",
		"\r\n\tpermit (principal, action, resource);\r\n",
		policy.Default().Text,
		many(100),
		`@id("a") @reason("Ünïcode is fine.") @approvers("mira@example.test, connection-owner") @quorum("16") @expires("30d") @notify("role:admin") forbid (principal, action, resource);`,
		`permit (principal is Agent, action in [Action::"read"], resource is Repository in Owner::"github/octo");`,
		`permit (principal, action, resource) when { if context.read then true else context.risk_level <= 1 };`,
		`permit (principal, action, resource) when { context.connection.account == "a" && context.connection.account == "a" && context.connection.account == "a" && context.connection.account == "a" && context.connection.account == "a" };`,
		`permit (principal, action, resource) when { "a \"quoted\" // string" != context.method };`,
	} {
		if ps := policy.Check(text); len(ps) > 0 {
			t.Errorf("%.60q: %v", text, ps)
		}
	}
}

func TestMisspeltOperationsAreTold(t *testing.T) {
	known := []string{"github.issues.create", "github.issues.list", "github.raw.write"}
	const text = `permit (principal, action, resource) when { context.operation == Operation::"github.issues.create" };
permit (principal, action, resource) when { context.operation in [Operation::"github.issues", Operation::"github"] };
forbid (principal, action, resource) when {
  context.operation == Operation::"github.isues.create" || context.operation in Operation::"github.issue"
};`
	var got []string
	for _, p := range policy.CheckOperations(text, known) {
		got = append(got, p.String())
	}
	want := []string{
		"4:35: there is no operation or group `github.isues.create`",
		"4:92: there is no operation or group `github.issue`",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ps := policy.CheckOperations("permit", known); len(ps) == 0 {
		t.Error("a broken text is fine")
	}
}

func FuzzCheck(f *testing.F) {
	for _, m := range mistakes {
		if len(m.text) < 5000 {
			f.Add(m.text)
		}
	}
	f.Add(policy.Default().Text)
	f.Add(many(10))
	f.Add(`permit (principal, action, resource) when { {a: {b: 1}}.a.b == 1 || [1, "x"].contains(1) || principal has a.b.c };`)
	f.Add(`permit (principal, action, resource) when { -9223372036854775808 < - - -1 && !!!!true && "a*b" like "a\*b" };`)
	f.Add(`permit (principal, action, resource) when { decimal("1.23").lessThan(decimal("x")) || duration("1h").toHours() > 0 };`)
	f.Add(`permit (principal, action, resource) when { principal.hasTag("a") && principal.getTag("a") == "b" || [].isEmpty() };`)
	f.Fuzz(func(t *testing.T, text string) {
		ps := policy.Check(text)
		for _, p := range ps {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
		s, err := policy.Compile([]policy.Source{org(text)})
		if (err == nil) != (len(ps) == 0) {
			t.Fatalf("Check says %v, Compile says %v", ps, err)
		}
		if err != nil {
			return
		}
		for _, in := range []policy.Input{read(), with(write("github.raw.write", 9), unlisted, unknown("both"))} {
			if d := s.Decide(in); d.Verdict < policy.Permit || d.Verdict > policy.Deny || d.Code == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}
