package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
)

const (
	mira = id.User("usr_06gfzq3xk8qw0000000000mira")
	tom  = id.User("usr_06gfzq3xk8qw00000000000tom")
)

var noon = time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC) // a Wednesday

// read is a plain read; the tests change what they are about.
func read() policy.Input {
	private := false
	return policy.Input{
		Org:        id.DefaultOrg,
		User:       mira,
		Agent:      policy.Agent{ID: "agt_hunter", Name: "hunter", Profile: "strict"},
		Connection: policy.Connection{ID: "con_mira", Provider: "github", Account: "octocat", AccountID: "583231"},
		Operation:  "github.issues.list",
		Listed:     true,
		Read:       true,
		Method:     "GET",
		Resource:   policy.Resource{Type: "repository", ID: "octo/api", Public: &private},
		Risk:       1,
		Scopes:     []string{"repo"},
		Now:        noon,
		Source:     netip.MustParseAddr("192.0.2.7"),
	}
}

// write is a listed write of the given risk.
func write(operation string, risk int) policy.Input {
	in := read()
	in.Operation, in.Risk, in.Read, in.Method = operation, risk, false, "POST"
	return in
}

func with(in policy.Input, change ...func(*policy.Input)) policy.Input {
	for _, c := range change {
		c(&in)
	}
	return in
}

func amount(kind, number, currency string) func(*policy.Input) {
	return func(in *policy.Input) {
		in.Amount = &policy.Amount{Kind: kind, Number: number, Currency: currency}
	}
}

func unknown(kind string) func(*policy.Input) {
	return func(in *policy.Input) { in.Amount = &policy.Amount{Kind: kind, Currency: "USD", Unknown: true} }
}

func unlisted(in *policy.Input) { in.Listed = false }

func asVend(in *policy.Input) { in.Vend, in.Operation, in.Read = true, "github.token.vend", false }

// org is a text of the org's, user one of a user's own.
func org(text string) policy.Source {
	return policy.Source{ID: "pol_org", Name: "org.cedar", Text: text}
}

func own(u id.User, text string) policy.Source {
	return policy.Source{ID: id.Policy("pol_of_" + string(u)), Name: "own.cedar", Owner: u, Text: text}
}

func compile(t testing.TB, texts ...policy.Source) *policy.Set {
	t.Helper()
	s, err := policy.Compile(texts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ruleIDs(d policy.Decision) string {
	var ids []string
	for _, r := range d.Rules {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}
