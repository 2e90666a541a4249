package dash_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

// propose is what the API does when a command line may not do something.
func (s *site) propose(by user.Principal, method, path, body string) *proposal.Proposal {
	s.t.Helper()
	p, err := s.App.Proposals.Open(s.t.Context(), by, proposal.Request{Method: method, Path: path, Body: []byte(body)}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) clientID() string {
	s.t.Helper()
	p, err := s.App.Providers.Find(s.t.Context(), "github")
	if err != nil {
		s.t.Fatal(err)
	}
	return p.ClientID
}

// socket is the operator's, once somebody has a passkey.
var socket = user.Principal{Org: id.DefaultOrg, Operator: true}

// keyed is an owner with a passkey.
func (s *site) keyed(name string, role user.Role) (*visitor, *passkey) {
	s.t.Helper()
	u, link, err := s.App.Users.Create(s.t.Context(), operator, name, role, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	v := s.stranger()
	k := v.enrol(link, name)
	v.who = user.Principal{Org: u.Org, User: u.ID, Name: name, Role: role, Session: id.NewSession(), Kind: user.Browser, AuthAt: time.Now()}
	return v, k
}

// From the command line over the page to the change: what the passkey signed is
// what the page showed, and is what is done.
func TestProposal(t *testing.T) {
	s := newSite(t)
	v, k := s.keyed("olga", user.Owner)
	before := s.clientID()
	p := s.propose(socket, "PUT", "/v1/admin/providers/github", `{"client_id":"from-the-socket","client_secret":"hush-hush-secret"}`)
	path, digest := "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
	if got := v.get("/inbox").body; !strings.Contains(got, path) || !strings.Contains(got, "Set up the provider") {
		t.Error("the inbox does not have it")
	}
	page := v.get(path).body
	for _, want := range []string{"from-the-socket", "/v1/admin/providers/github", "uid 0", "not shown", digest, "Confirm with passkey", `data-passkey="` + path + `/passkey"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if strings.Contains(page, "hush-hush") {
		t.Error("the page shows the secret")
	}

	other := s.propose(socket, "PUT", "/v1/admin/providers/github", `{"client_id":"another"}`)
	otherPath, otherDigest := "/proposals/"+string(other.ID), hex.EncodeToString(other.Digest[:])
	confirm := func(path, digest string, assertion json.RawMessage) answer {
		t.Helper()
		said := map[string]any{"decision": "confirm", "digest": digest}
		if assertion != nil {
			said["assertion"] = assertion
		}
		return v.post(path+"/decision", said)
	}
	if got := confirm(path, digest, nil); got.reason() != "presence_required" {
		t.Errorf("without a touch: %d %s", got.code, got.body)
	}
	if got := confirm(otherPath, otherDigest, v.assert(k, path+"/passkey", map[string]string{"digest": digest})); got.reason() != "presence_required" {
		t.Errorf("with the touch for another: %d %s", got.code, got.body)
	}
	if got := confirm(path, digest, v.assert(k, "/passkey/confirm/begin", struct{}{})); got.code == http.StatusOK {
		t.Error("with the touch for the session")
	}
	if got := v.post(path+"/passkey", map[string]string{"digest": otherDigest}); got.reason() != "proposal_stale" {
		t.Errorf("a touch for what another page showed: %d %s", got.code, got.body)
	}
	if s.clientID() != before {
		t.Fatalf("one of them changed it: %s", s.clientID())
	}

	assertion := v.assert(k, path+"/passkey", map[string]string{"digest": digest})
	if got := confirm(path, digest, assertion); got.code != http.StatusOK || got.location() != path {
		t.Fatalf("confirming: %d %s", got.code, got.body)
	}
	if s.clientID() != "from-the-socket" {
		t.Errorf("the client id is %s", s.clientID())
	}
	page = v.get(path).body
	if !strings.Contains(page, "is set up") || !strings.Contains(page, "by <bdi") || strings.Contains(page, "Confirm with passkey") {
		t.Error("the page does not say what came of it")
	}
	if got := confirm(path, digest, assertion); got.reason() != "proposal_not_open" {
		t.Errorf("twice: %d %s", got.code, got.body)
	}

	if got := v.post(otherPath+"/decision", map[string]any{"decision": "refuse", "digest": otherDigest}); got.code != http.StatusOK {
		t.Errorf("refusing: %d %s", got.code, got.body)
	}
	if page := v.get(otherPath).body; !strings.Contains(page, "Nothing was done.") || s.clientID() != "from-the-socket" {
		t.Error("a refused one was done, or does not say that it was not")
	}
	if got := v.get("/inbox").body; strings.Contains(got, "/proposals/") {
		t.Error("the inbox still has them")
	}
	if got := v.get("/activity").body; !strings.Contains(got, "confirmed with a passkey what a command line proposed") {
		t.Error("the activity does not tell of it")
	}
}

// A command line's proposals are for its own person, and are carried out with
// that person's authority and no more.
func TestProposalOfACommandLine(t *testing.T) {
	s := newSite(t)
	owner, _ := s.keyed("olga", user.Owner)
	mira, mk := s.keyed("mira", user.Member)
	cli := mira.who
	cli.Kind, cli.Session, cli.Label = user.CLI, id.NewSession(), "lap\u202etop"
	con := s.Link(mira.who, "octocat")
	bot, _ := s.Agent(mira.who, "triage")
	p := s.propose(cli, "POST", "/v1/admin/grants", `{"agent":"triage","connection":"`+string(con.ID)+`","operations":["github.issues.*"]}`)
	path, digest := "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
	for _, try := range []answer{owner.get(path), owner.post(path+"/passkey", map[string]string{"digest": digest}), owner.post(path+"/decision", map[string]any{"decision": "refuse", "digest": digest})} {
		if try.code != http.StatusNotFound {
			t.Errorf("an owner with a member's: %d", try.code)
		}
	}
	if strings.Contains(owner.get("/inbox").body, path) {
		t.Error("it is in somebody else's inbox")
	}
	page := mira.get(path).body
	for _, want := range []string{"Your command line", "right-to-left override", "octocat on GitHub, of mira", "the agent triage of mira", string(bot.ID)} {
		if !strings.Contains(page, want) && !strings.Contains(page, strings.ReplaceAll(want, "GitHub", "Sandbox")) {
			t.Errorf("the page does not show %q", want)
		}
	}
	mira.must(path+"/decision", map[string]any{"decision": "confirm", "digest": digest, "assertion": mira.assert(mk, path+"/passkey", map[string]string{"digest": digest})})
	gs, err := s.App.DB.Grants().OfAgent(t.Context(), id.DefaultOrg, bot.ID)
	if err != nil || len(gs) != 1 || gs[0].CreatedBy != mira.who.Actor() {
		t.Errorf("the grant: %d, %v", len(gs), err)
	}

	// Not hers to change: the operator could ask, and an owner confirm.
	p = s.propose(cli, "PUT", "/v1/admin/providers/github", `{"client_id":"hers"}`)
	path, digest = "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
	mira.must(path+"/decision", map[string]any{"decision": "confirm", "digest": digest, "assertion": mira.assert(mk, path+"/passkey", map[string]string{"digest": digest})})
	if page := mira.get(path).body; !strings.Contains(page, "It was not done: Your role does not allow this") || s.clientID() == "hers" {
		t.Error("a member's confirmation gave her more than she has")
	}

	// What does not fit on the page cannot be confirmed by it.
	long := s.propose(socket, "PUT", "/v1/admin/policies/long", `{"text":"`+strings.Repeat("a", 60_000)+`"}`)
	many := s.propose(socket, "POST", "/v1/admin/grants", `{"operations":["x"`+strings.Repeat(`,"x"`, 3000)+`]}`)
	for _, p := range []*proposal.Proposal{long, many} {
		path, digest := "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
		if got := owner.post(path+"/passkey", map[string]string{"digest": digest}); got.reason() != "not_confirmable" {
			t.Errorf("what is not shown whole: %d %s", got.code, got.body)
		}
		if page := owner.get(path).body; strings.Contains(page, "Confirm with passkey") || !strings.Contains(page, "cannot be shown whole") {
			t.Error("the page offers to confirm what it does not show")
		}
	}
}
