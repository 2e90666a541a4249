package proposal_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

var (
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	admin = user.Principal{Org: id.DefaultOrg, User: id.NewUser(), Role: user.Admin, Kind: user.Browser}
)

func touch(t interface{ Fatal(...any) }, who user.Principal, digest [32]byte) []byte {
	b, err := json.Marshal(user.Evidence{User: who.User, Challenge: digest[:]})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each proposal has a digest of its own, also one of the same request.
func TestDigests(t *testing.T) {
	seen := map[[32]byte]string{}
	cli := admin
	cli.Kind, cli.Session, cli.Label = user.CLI, id.NewSession(), "laptop"
	for _, who := range []user.Principal{cli, {Org: id.DefaultOrg, Operator: true}} {
		for _, r := range []proposal.Request{
			{Method: "PUT", Path: "/v1/admin/providers/x", Body: []byte("{}")}, {Method: "PUT", Path: "/v1/admin/providers/x", Body: []byte("{}")},
			{Method: "PUT", Path: "/v1/admin/providers/x{", Body: []byte("}")}, {Method: "PUT", Path: "/v1/admin/providers/x"},
		} {
			p := proposal.New(who, r, noon)
			if other := seen[p.Digest]; other != "" || p.Digest == [32]byte{} {
				t.Errorf("%s has the digest of %s", p.ID, other)
			}
			seen[p.Digest] = string(p.ID)
		}
	}
}

// What a freeze holds is named in what a passkey signs for; of other requests
// nothing is told by it.
func TestFrozenIsNamed(t *testing.T) {
	for _, c := range []struct {
		method, path string
		frozen       proposal.Frozen
		want         string
	}{
		{"DELETE", "/v1/admin/freezes/frz_1", proposal.Frozen{}, `Lift the freeze "frz_1": what it stopped goes on.`},
		{"DELETE", "/v1/admin/freezes/frz_1", proposal.Frozen{Kind: "agent", Name: "triage"}, `Lift the freeze of the agent "triage" ("frz_1"): what it stopped goes on.`},
		{"DELETE", "/v1/admin/freezes/frz_1", proposal.Frozen{Kind: "user", Name: "mira\": all\u202e"}, `Lift the freeze of the person "mira\": all\u202e" ("frz_1"): what it stopped goes on.`},
		{"DELETE", "/v1/admin/freezes/frz_1", proposal.Frozen{Kind: "all"}, `Lift the freeze of everything ("frz_1"): what it stopped goes on.`},
		{"DELETE", "/v1/admin/grants/frz_1", proposal.Frozen{Kind: "agent", Name: "triage"}, `Revoke the grant "frz_1".`},
	} {
		p := proposal.New(admin, proposal.Request{Method: c.method, Path: c.path, Frozen: c.frozen}, noon)
		if p.Summary != c.want {
			t.Errorf("got  %s\nwant %s", p.Summary, c.want)
		}
	}
}

// A proposal is decided at most once, whatever order answers arrive in, and
// only while it is open; only a confirmed one is ever carried out, once.
func TestDecidedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := proposal.New(user.Principal{Org: id.DefaultOrg, Operator: true}, proposal.Request{Method: "DELETE", Path: "/v1/admin/freezes/frz_1"}, noon)
		p.Body = []byte("sealed")
		decided, finished := 0, 0
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			now := noon.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "minute")) * time.Minute)
			was := p.State
			switch rapid.IntRange(0, 3).Draw(t, "call") {
			case 0:
				if _, err := p.Confirm(admin, p.Digest, touch(t, admin, p.Digest), now); err == nil {
					decided++
				}
			case 1:
				if _, err := p.Refuse(admin, now); err == nil {
					decided++
				}
			case 2:
				if _, err := p.Expire(now); err == nil {
					decided++
				}
			case 3:
				if _, err := p.Finish(200, nil, now); err == nil {
					finished++
					if was != proposal.Confirmed {
						t.Fatalf("carried out while %s", was)
					}
				}
			}
			if was == proposal.Open && p.State == proposal.Confirmed && !now.Before(p.ExpiresAt) {
				t.Fatal("confirmed after its end")
			}
		}
		if decided > 1 || finished > 1 {
			t.Fatalf("decided %d times, carried out %d times", decided, finished)
		}
		if p.Body != nil && p.State != proposal.Open && (p.State != proposal.Confirmed || p.Status != 0) {
			t.Fatalf("the body of a %s one is there still", p.State)
		}
	})
}

// What is refused leaves the proposal as it was.
func TestRefusals(t *testing.T) {
	with := func(change func(*user.Principal)) user.Principal {
		p := admin
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		by   user.Principal
		want error
	}{
		"a member":         {with(func(p *user.Principal) { p.Role = user.Member }), proposal.ErrUnknown},
		"an auditor":       {with(func(p *user.Principal) { p.Role = user.Auditor }), proposal.ErrUnknown},
		"a command line":   {with(func(p *user.Principal) { p.Kind = user.CLI }), user.ErrBrowser},
		"another org":      {with(func(p *user.Principal) { p.Org = "org_other" }), proposal.ErrUnknown},
		"nobody":           {user.Principal{Org: id.DefaultOrg}, proposal.ErrUnknown},
		"the operator":     {user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}, proposal.ErrUnknown},
		"with no evidence": {admin, proposal.ErrPresence},
	} {
		p := proposal.New(user.Principal{Org: id.DefaultOrg, Operator: true}, proposal.Request{Method: "DELETE", Path: "/v1/admin/freezes/frz_1"}, noon)
		evidence := touch(t, c.by, p.Digest)
		if c.want == proposal.ErrPresence {
			evidence = nil
		}
		if _, err := p.Confirm(c.by, p.Digest, evidence, noon); fault.From(err).Reason != fault.From(c.want).Reason {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if p.State != proposal.Open || p.Evidence != nil {
			t.Errorf("%s moved it to %s", name, p.State)
		}
	}
}

func TestSentences(t *testing.T) {
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v1/admin/users", `{"name":"e\u202eve"}`, `Add the person "e\u202eve" as "member", and make the link by which they enrol.`},
		{"PATCH", "/v1/admin/users/mira", `{"status":"suspended"}`, `Shut the person "mira" out.`},
		{"PATCH", "/v1/admin/users/a%2Fb", `{"status":"active"}`, `Let the person "a/b" back in.`},
		{"POST", "/v1/admin/agents", `{"name":"x","profile":"compat-2025"}`, `Register the agent "x" by its public key, under weaker rules for its subject tokens.`},
		{"PATCH", "/v1/admin/agents/x", `{"sources":["0.0.0.0/0"]}`, `Let the agent "x" call from "0.0.0.0/0" as well.`},
		{"POST", "/v1/admin/grants", `{"agent":"a","connection":"c","operations":["1","2","3","4","5","6","7"],"resources":["r"]}`,
			`Let the agent "a" use "c" on "r", for "1", "2", "3", "4", "5", 2 more, without an end.`},
		{"POST", "/v1/admin/grants", `{"agent":"a","connection":"c","mode":"vend","operations":["*"],"expires_at":"2026-12-01T10:00:00Z"}`,
			`Hand the token of "c" itself to the agent "a", for "*" on everything, until 1 December 2026, 10:00 UTC.`},
		{"PUT", "/v1/admin/providers/github", `{"client_id":"x","client_secret":"hush","base":{}}`,
			`Set up the provider "github": the client id, the client secret, the addresses to which tokens are sent.`},
		{"PUT", "/v1/admin/policies/p", `{"text":"permit"}`, `Replace the rules "p", for everybody, by the text below.`},
		{"DELETE", "/v1/admin/freezes/frz_1", ``, `Lift the freeze "frz_1": what it stopped goes on.`},
		{"PUT", "/v1/admin/providers/github", `[1]`, `Send PUT "/v1/admin/providers/github".`},
		{"PUT", "/v1/admin/nothing%ZZ", ``, `Send PUT "/v1/admin/nothing%ZZ".`},
	} {
		if got := proposal.Sentence(c.method, c.path, []byte(c.body)); got != c.want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", c.method, c.path, c.body, got, c.want)
		}
	}
}
