package dash_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// The whole road over the pages, with a software passkey: enrolment link,
// account, agent, grant, an ask that is approved, a critical one by step-up.
func TestStory(t *testing.T) {
	s := newSite(t)
	_, link, err := s.App.Users.CreateFirst(t.Context(), "owner", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v := s.stranger()
	if got := v.get("/"); got.header.Get("Location") != "/welcome" {
		t.Fatalf("the start leads to %q", got.header.Get("Location"))
	}
	if got := v.get("/welcome"); strings.Contains(got.body, "Create passkey") || !strings.Contains(got.body, "Open the link that the terminal printed") {
		t.Error("without the link a passkey is offered")
	}
	page := v.get("/enrol/" + link.Reveal())
	if page.code != 200 || !strings.Contains(page.body, "Create passkey") || page.header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("enrolment page: %d", page.code)
	}
	k := v.enrol(link, "Mira Koch")
	if got := v.get("/"); got.header.Get("Location") != "/welcome" {
		t.Errorf("a beginner is led to %q", got.header.Get("Location"))
	}
	if got := v.get("/welcome"); !strings.Contains(got.body, "Mira Koch") || !strings.Contains(got.body, "Connect with") {
		t.Error("the account is not offered")
	}
	// Used once.
	if got := s.stranger().get("/enrol/" + link.Reveal()); got.code != http.StatusConflict {
		t.Errorf("the link again: %d", got.code)
	}

	to := v.must("/connections/connect", map[string]string{"provider": "github", "scopes": "read:user repo delete_repo"}).location()
	back := v.get(v.consent(to, "octocat"))
	if back.code != http.StatusSeeOther || back.header.Get("Location") != "/welcome?done=connected" || back.header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("callback: %d to %q", back.code, back.header.Get("Location"))
	}
	cons, err := s.App.DB.Connections().Connections(t.Context(), "org_default")
	if err != nil || len(cons) != 1 {
		t.Fatalf("%d connections, %v", len(cons), err)
	}

	const public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----"
	if got := v.post("/agents", map[string]string{"name": "triage", "public_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "profile": "strict", "sources": ""}); got.code != http.StatusBadRequest {
		t.Errorf("a private key: %d %s", got.code, got.body)
	}
	at := v.must("/agents", map[string]string{"name": "triage", "public_key": public, "profile": "strict", "sources": ""}).location()
	bot, err := s.App.Agents.Find(t.Context(), "triage")
	if err != nil || at != "/agents/"+string(bot.ID) {
		t.Fatalf("agent at %s, %v", at, err)
	}
	for what, sent := range map[string]map[string]any{
		"resources_missing":   {"resources": " \n"},
		"resources_ambiguous": {"resources": "octo/api", "everything": "yes"},
		"bad_resource":        {"resources": "octo"},
	} {
		sent["connection"], sent["operations"], sent["expires"], sent["mode"] = cons[0].ID, []string{"*"}, "24h", "broker"
		if got := v.post(at+"/grants", sent); got.code != http.StatusBadRequest || got.reason() != what {
			t.Errorf("%s: %d %s", what, got.code, got.reason())
		}
	}
	v.must(at+"/grants", map[string]any{"connection": cons[0].ID, "operations": []string{"github.issues.*", "github.repos.delete"}, "resources": "octo/api\noctocat/hello-world", "expires": "24h", "mode": "broker"})

	held := s.ask(bot, cons[0], "Hello from a valet.")
	inbox := v.get("/inbox").body
	for _, want := range []string{"triage", "octocat", "/actions/" + string(held.Action.ID), "/repos/octo/api/issues/1/comments", "(1) Inbox"} {
		if !strings.Contains(inbox, want) {
			t.Errorf("the inbox does not say %q", want)
		}
	}
	path := "/actions/" + string(held.Action.ID)
	shown := v.get(path).body
	for _, want := range []string{"Hello from a valet.", held.Action.Effect.String(), "says hello", "default.ask-medium", "Approve once"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the action's page does not say %q", want)
		}
	}
	stale := strings.Repeat("0", 64)
	if got := v.post(path+"/decision", map[string]string{"decision": "approve", "digest": stale, "question": questionOf(held), "reason": ""}); got.code != http.StatusConflict || got.reason() != "approval_stale" {
		t.Errorf("stale digest: %d %s", got.code, got.reason())
	}
	v.must(path+"/decision", map[string]string{"decision": "approve", "digest": held.Action.Effect.String(), "question": questionOf(held), "reason": ""})
	await(t, s, held)
	done := v.get(path).body
	for _, want := range []string{"HTTP 201", "by Mira Koch", "accepted the request"} {
		if !strings.Contains(done, want) {
			t.Errorf("the outcome does not say %q", want)
		}
	}
	if n := s.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 1 {
		t.Errorf("%d comments upstream", n)
	}
	if got := v.post(path+"/decision", map[string]string{"decision": "deny", "digest": held.Action.Effect.String(), "question": questionOf(held), "reason": ""}); got.code != http.StatusConflict {
		t.Errorf("decided twice: %d", got.code)
	}

	// Critical: two of them, and the passkey's answer to one is none to the other.
	remove := func(reason string) broker.Outcome {
		return s.submit(bot, broker.Ask{Connection: string(cons[0].ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}, Key: reason})
	}
	one, two := remove("one"), remove("two")
	first, second := "/actions/"+string(one.Action.ID), "/actions/"+string(two.Action.ID)
	digest := one.Action.Effect.String()
	if got := v.post(first+"/decision", map[string]string{"decision": "approve", "digest": digest, "question": questionOf(one), "reason": ""}); got.reason() != "presence_required" {
		t.Errorf("critical without passkey: %d %s", got.code, got.reason())
	}
	assertion := v.assert(k, first+"/passkey", map[string]string{"digest": digest, "question": questionOf(one)})
	if got := v.post(second+"/decision", map[string]any{"decision": "approve", "digest": digest, "question": questionOf(two), "reason": "", "assertion": assertion}); got.reason() != "presence_required" {
		t.Errorf("the answer to another approval: %d %s", got.code, got.body)
	}
	assertion = v.assert(k, first+"/passkey", map[string]string{"digest": digest, "question": questionOf(one)})
	v.must(first+"/decision", map[string]any{"decision": "approve", "digest": digest, "question": questionOf(one), "reason": "", "assertion": assertion})
	await(t, s, one)
	if got := v.get(first).body; !strings.Contains(got, "with passkey") {
		t.Error("the page does not say that the passkey was used")
	}
	v.must(second+"/decision", map[string]any{"decision": "deny", "digest": digest, "question": questionOf(two), "reason": "Not this one."})
	if got := v.get(second).body; !strings.Contains(got, "Not this one.") {
		t.Error("the reason is not shown")
	}

	// A token for the agent takes the passkey; the cookie changes with it, the page stays in use.
	vend := map[string]any{"connection": cons[0].ID, "operations": []string{"*"}, "resources": "", "everything": "yes", "expires": "24h", "mode": "vend"}
	v.age(s)
	if got := v.post(at+"/grants", vend); got.reason() != "confirm_required" {
		t.Errorf("vending without a touch: %d %s", got.code, got.reason())
	}
	token, before := v.token(), cookie(v, s)
	vend["assertion"] = v.assert(k, "/passkey/confirm/begin", struct{}{})
	v.must(at+"/grants", vend)
	if cookie(v, s) == before || v.token() != token {
		t.Error("a confirmation changes the session's value, and not the form's token")
	}

	// Stop, and go on.
	v.must("/freeze", map[string]string{"reason": "testing"})
	if _, err := s.App.Broker.Submit(t.Context(), vktest.Caller(bot), broker.Ask{Connection: string(cons[0].ID), Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}, time.Now()); err == nil {
		t.Error("frozen, and still served")
	}
	if got := v.get("/inbox").body; !strings.Contains(got, "Everything is stopped") || !strings.Contains(got, "testing") {
		t.Error("the freeze is not shown")
	}
	v.must("/unfreeze", map[string]any{"assertion": v.assert(k, "/passkey/confirm/begin", struct{}{})})

	for _, page := range []string{"/activity", "/activity?q=approved", "/activity/list?q=mira", "/policy", "/agents", at, "/connections", "/welcome", "/device"} {
		if got := v.get(page); got.code != 200 {
			t.Errorf("%s: %d", page, got.code)
		}
	}
	report := v.must("/connections/"+string(cons[0].ID)+"/disconnect", struct{}{}).location()
	if got := v.get(report).body; !strings.Contains(got, "confirmed that it ended the tokens") || !strings.Contains(got, "and is dead") || !strings.Contains(got, "triage") {
		t.Error("the report does not say what was done")
	}

	// Out, and in again by the passkey.
	old := *v
	old.cookies = map[string]string{}
	for n, c := range v.cookies {
		old.cookies[n] = c
	}
	v.must("/logout", struct{}{})
	if got := old.get("/inbox"); got.code != http.StatusSeeOther {
		t.Errorf("the old cookie still works after logout: %d", got.code)
	}
	if got := v.get("/actions/x?y=1"); got.header.Get("Location") != "/login?to=%2Factions%2Fx%3Fy%3D1" {
		t.Errorf("login by %q", got.header.Get("Location"))
	}
	in := v.must("/passkey/login/finish", map[string]any{"return_to": "/policy", "assertion": v.assert(k, "/passkey/login/begin", struct{}{})})
	if in.location() != "/policy" || v.get("/inbox").code != 200 {
		t.Errorf("logged in, led to %q", in.location())
	}
}

// age makes v's session one that was confirmed an hour ago.
func (v *visitor) age(s *site) {
	v.t.Helper()
	h := secret.New(cookie(v, s)).Hash()
	got, _, err := s.App.DB.Users().Sessions().ByHash(v.t.Context(), h[:])
	if err == nil {
		err = s.App.DB.Users().Sessions().UpdateSession(v.t.Context(), got.Org, got.ID, func(v *user.Session) ([]audit.Event, error) {
			v.AuthAt = v.AuthAt.Add(-time.Hour)
			return nil, nil
		})
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

func cookie(v *visitor, s *site) string {
	for name, value := range v.cookies {
		if strings.HasSuffix(name, "-session") {
			return value
		}
	}
	return ""
}

func await(t *testing.T, s *site, o broker.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	bot, err := s.App.DB.Agents().Agent(ctx, o.Action.Org, o.Action.Agent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.App.Broker.Await(ctx, vktest.Caller(bot), o.Action.ID, "")
	if err != nil || got.Action.State != action.Succeeded {
		t.Fatalf("ended %s (%s), %v", got.Action.State, got.Action.Why, err)
	}
}

// A live page is told that something changed, and by itself keeps nobody
// logged in.
func TestLive(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	con := s.Link(v.who, "octocat")
	bot, _ := s.Agent(v.who, "triage")
	s.Grant(v.who, bot, con, grant.Broker, []string{"*"}, nil)
	events := follow(t, v)
	if got := <-events; got != `inbox {"pending":0}` {
		t.Errorf("at first %s", got)
	}
	held := s.ask(bot, con, "live")
	want := map[string]bool{`action {"id":"` + string(held.Action.ID) + `"}`: true, `inbox {"pending":1}`: true}
	for len(want) > 0 {
		select {
		case got := <-events:
			delete(want, got)
		case <-time.After(5 * time.Second):
			t.Fatalf("never told: %v", want)
		}
	}
	seen := seenAt(t, s, v)
	age := time.Now().Add(-10 * time.Minute)
	if err := s.App.DB.Users().Sessions().Touch(t.Context(), v.who.Org, v.who.Session, age); err != nil {
		t.Fatal(err)
	}
	if got := v.get("/inbox/list"); got.code != 200 {
		t.Errorf("list: %d", got.code)
	}
	if got := seenAt(t, s, v); !got.Before(seen) {
		t.Error("what a page fetches by itself counts as use")
	}
	if v.get("/inbox"); !seenAt(t, s, v).After(age.Add(time.Minute)) {
		t.Error("opening a page does not count as use")
	}
	v.must("/logout", struct{}{})
	s.ask(bot, con, "after the logout")
	select {
	case got, open := <-events:
		for open {
			if strings.Contains(got, `"pending":2`) {
				t.Error("told after the logout")
			}
			got, open = <-events
		}
	case <-time.After(5 * time.Second):
		t.Error("the feed outlives its session")
	}
}

// follow reads a person's live feed.
func follow(t *testing.T, v *visitor) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.base+"/events/inbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range v.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("feed: %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	out := make(chan string, 100)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(res.Body)
		name := ""
		for lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = n
			}
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- name + " " + d
			}
		}
	}()
	return out
}

func seenAt(t *testing.T, s *site, v *visitor) time.Time {
	t.Helper()
	h := secret.New(cookie(v, s)).Hash()
	got, _, err := s.App.DB.Users().Sessions().ByHash(t.Context(), h[:])
	if err != nil {
		t.Fatal(err)
	}
	return got.SeenAt
}
