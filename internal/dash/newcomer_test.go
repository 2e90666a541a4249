package dash_test

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/user"
)

// A link in an answer is shown only where it leads to the provider's own pages.
func TestResultLink(t *testing.T) {
	const base = "https://git.acme.test/code"
	for link, ok := range map[string]bool{
		"https://git.acme.test/code/octo/api/issues/1#issuecomment-2": true,
		"https://git.acme.test/code":                                  true,
		"https://git.acme.test/codex/octo":                            false,
		"https://git.acme.test/code/../evil":                          false,
		"https://git.acme.test/code/%2e%2e/evil":                      false,
		"http://git.acme.test/code/x":                                 false,
		"https://git.acme.test:8443/code/x":                           false,
		"https://git.acme.test.evil.example/code/x":                   false,
		"https://git.acme.test@evil.example/code/x":                   false,
		"https://who@git.acme.test/code/x":                            false,
		"//git.acme.test/code/x":                                      false,
		"javascript:alert(1)":                                         false,
		"https://git.acme.test/code/\u202egnp":                        false,
		`https://git.acme.test\code/x`:                                false,
		"":                                                            false,
	} {
		if got := dash.ResultLink(link, base) != ""; got != ok {
			t.Errorf("%q: %v", link, got)
		}
	}
	if dash.ResultLink("javascript://x/", "javascript://x") != "" || dash.ResultLink("https://a.test/", "") != "" {
		t.Error("a base that is none")
	}
}

// What came of an action: where it is, or why it was refused.
func TestResultOnThePage(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	decide := func(h broker.Outcome) string {
		path := "/actions/" + string(h.Action.ID)
		v.must(path+"/decision", map[string]string{"decision": "approve", "digest": h.Action.Effect.String(), "question": questionOf(h), "reason": ""})
		var page string
		for range 100 {
			if page = v.get(path).body; strings.Contains(page, "HTTP ") {
				return page
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("nothing came of it")
		return page
	}
	if page := decide(th.held); !strings.Contains(page, `href="`+s.Upstream+"/octo/api/") || !strings.Contains(page, "See it at ") {
		t.Error("the page does not link what came of it")
	}
	missing := s.submit(th.agent, broker.Ask{
		Connection: string(th.con.ID), Operation: "github.issues.create_comment", Params: map[string]any{"owner": "octo", "repo": "api", "number": 4711, "body": "x"},
	})
	if page := decide(missing); !strings.Contains(page, `class="said"`) || !strings.Contains(page, "Not Found") {
		t.Error("the page does not say why it was refused")
	}

	// The log tells an action in one row, which names what it is about; a filter
	// shows each event.
	all := v.get("/activity").body
	if !strings.Contains(all, "comment on octo/api#1, as octocat on Sandbox") || !strings.Contains(all, `class="hint parts"`) {
		t.Error("the activity does not name what the action was about, or does not fold it")
	}
	if got := v.get("/activity?q=approval.granted").body; strings.Contains(got, `class="hint parts"`) || strings.Count(got, "<code><bdi") < 2 {
		t.Error("a filter does not show each event")
	}
}

// A proposal names what it is about, also where it has only an id, and cannot be
// confirmed when that is gone.
func TestProposalOfWhatIsGone(t *testing.T) {
	s := newSite(t)
	v, k := s.keyed("olga", user.Owner)
	th := s.things(v)
	s.freeze(freeze.Agent, string(th.agent.ID))
	frz := string(s.App.Freezes.Active()[0].ID)
	p := s.propose(socket, http.MethodDelete, "/v1/admin/freezes/"+frz, "")
	path, digest := "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
	want := "Lift the freeze of the agent " + th.agent.Name
	if got := v.get(path).body; !strings.Contains(got, want) || !strings.Contains(got, "Confirm with passkey") {
		t.Error("the page does not name what the freeze stops")
	}
	if !strings.Contains(v.get("/inbox").body, want) {
		t.Error("the inbox does not name what the freeze stops")
	}
	if got := v.get("/welcome").body; !strings.Contains(got, "A command waits for your passkey") || !strings.Contains(got, path) {
		t.Error("the guide does not lead to what waits")
	}
	s.thaw()
	if got := v.get(path).body; !strings.Contains(got, want) || !strings.Contains(got, "lifted already") || strings.Contains(got, "Confirm with passkey") {
		t.Error("what is gone can be confirmed")
	}
	if got := v.post(path+"/passkey", map[string]string{"digest": digest}); got.reason() != "not_confirmable" {
		t.Errorf("beginning to confirm what is gone: %d %s", got.code, got.body)
	}

	// One that could not be done says the same everywhere; one that was done
	// leads to what it made.
	confirm := func(method, at, body string) string {
		p := s.propose(socket, method, at, body)
		path, digest := "/proposals/"+string(p.ID), hex.EncodeToString(p.Digest[:])
		v.must(path+"/decision", map[string]any{"decision": "confirm", "digest": digest, "assertion": v.assert(k, path+"/passkey", map[string]string{"digest": digest})})
		return v.get(path).body
	}
	if got := confirm(http.MethodPost, "/v1/admin/agents", `{"name":"BAD NAME","key":"x"}`); strings.Count(got, "Not done") != 2 || strings.Contains(got, ">Confirmed<") || !strings.Contains(got, "It was not done") {
		t.Error("badge, heading and text do not agree")
	}
	if got := confirm(http.MethodPost, "/v1/admin/agents", `{"name":"nightly","owner":"olga","key":"`+publicKey+`"}`); !strings.Contains(got, `href="/agents/agt_`) || !strings.Contains(got, "nightly is registered") {
		t.Error("the page does not lead to the agent")
	}
}

// Enrolment links that let nobody in say what to do.
func TestWrongLink(t *testing.T) {
	s := newSite(t)
	v := s.stranger()
	if got := v.get("/enrol/abc").body; !strings.Contains(got, "is not complete: copy all of it") || !strings.Contains(got, "terminal") {
		t.Error("before the first passkey, half a link")
	}
	if got := v.get("/enrol/" + strings.Repeat("a", 43)).body; strings.Contains(got, "not complete") || !strings.Contains(got, "terminal") {
		t.Error("before the first passkey, another link")
	}
	s.keyed("olga", user.Owner)
	if got := v.get("/enrol/abc").body; !strings.Contains(got, "is not complete") || !strings.Contains(got, "enrol-link") {
		t.Error("half a link")
	}
}

// A grant form with nothing chosen names both things that are missing.
func TestEmptyGrant(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	grant := map[string]any{"connection": string(th.con.ID), "resources": "", "expires": "24h", "mode": "broker"}
	at := "/agents/" + string(th.agent.ID) + "/grants"
	if got := v.post(at, grant); got.reason() != "grant_empty" || !strings.Contains(got.body, "ask for") || !strings.Contains(got.body, "used on") {
		t.Errorf("nothing: %s", got.body)
	}
	grant["resources"] = "octo/api"
	if got := v.post(at, grant); got.reason() != "operations_missing" {
		t.Errorf("no operations: %s", got.body)
	}
}
