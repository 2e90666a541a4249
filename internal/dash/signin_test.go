package dash_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/internal/oidc/oidctest"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

// withIssuer gives the site an identity provider.
func (s *site) withIssuer() *oidctest.Issuer {
	i := oidctest.New(s.t)
	// Before anybody has a passkey, everything leads to the first run.
	_, link, err := s.App.Users.Create(s.t.Context(), operator, "first", user.Owner, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	s.stranger().enrol(link, "first")
	s.App.Users.OIDC = &oidc.Provider{
		Issuer: i.URL, ClientID: i.ClientID, Secret: secret.New(i.Secret), Name: "Example", RedirectURI: s.base + "/" + dash.SignInPath, HTTP: http.DefaultClient,
	}
	return i
}

// back goes to the callback, as a browser that comes from the identity provider.
func (v *visitor) back(q url.Values) answer {
	v.t.Helper()
	return v.get("/" + dash.SignInPath + "?" + q.Encode())
}

// to is where an answer leads.
func (a answer) to() string { return a.header.Get("Location") }

// invited makes somebody who came in by an account at the issuer.
func (s *site) invited(i *oidctest.Issuer, name, subject string) *visitor {
	s.t.Helper()
	u, link, err := s.App.Users.Create(s.t.Context(), operator, name, user.Member, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	v := s.stranger()
	if page := v.get("/enrol/" + link.Reveal()); !strings.Contains(page.body, "Come in with Example instead") {
		s.t.Errorf("the invitation's page does not offer the identity provider: %d", page.code)
	}
	at := v.must("/signin/invited", map[string]string{"invite": link.Reveal()}).location()
	if got := v.back(i.Approve(at, subject)); got.to() != "/welcome" {
		s.t.Fatalf("an invitation leads to %s", got.to())
	}
	all, err := s.App.DB.Users().Sessions().OfUser(s.t.Context(), u.Org, u.ID)
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%d sessions, %v", len(all), err)
	}
	v.who = user.Principal{Org: u.Org, User: u.ID, Name: name, Role: user.Member, Kind: user.Browser, Session: all[0].ID, AuthAt: all[0].AuthAt}
	if got := s.stranger().post("/signin/invited", map[string]string{"invite": link.Reveal()}); got.reason() != "link_used" {
		s.t.Errorf("the invitation again: %d %s", got.code, got.reason())
	}
	return v
}

// A subject that nobody linked lets nobody in; nor does an answer that this
// browser did not ask for, whoever it is about.
func TestSignInRefuses(t *testing.T) {
	s := newSite(t)
	i := s.withIssuer()
	s.invited(i, "ada", "ada")
	at := func(v *visitor) string { return v.must("/signin", map[string]string{"return_to": "/inbox"}).location() }
	out := func(what string, v *visitor, got answer, want string) {
		t.Helper()
		if got.code != http.StatusSeeOther || got.to() != want {
			t.Errorf("%s: %d to %s", what, got.code, got.to())
		}
		if v.get("/inbox").code != http.StatusSeeOther {
			t.Errorf("%s: somebody is logged in", what)
		}
	}
	v := s.stranger()
	out("nobody's subject", v, v.back(i.Approve(at(v), "mallory")), "/login?done=identity_unlinked")
	// The answer to somebody else's trip (login CSRF), with the victim's own trip
	// under way and without one.
	mallory, victim := s.stranger(), s.stranger()
	q := i.Approve(at(mallory), "ada")
	out("another browser's answer", victim, victim.back(q), "/login?done=signin_failed")
	mine := i.Approve(at(victim), "ada")
	out("another browser's answer, on the way", victim, victim.back(q), "/login?done=signin_failed")
	if got := victim.back(mine); got.to() != "/inbox" {
		t.Errorf("and the victim's own trip ended with it: %s", got.to())
	}
	v = s.stranger()
	q = i.Approve(at(v), "ada")
	bad := url.Values{"code": q["code"], "state": {"x"}, "iss": q["iss"]}
	out("another state", v, v.back(bad), "/login?done=signin_failed")
	bad = url.Values{"code": q["code"], "state": q["state"], "iss": {"https://evil.example"}}
	out("another issuer", v, v.back(bad), "/login?done=signin_failed")
	// That was the trip's one answer.
	out("after a refusal", v, v.back(q), "/login?done=signin_failed")
	v = s.stranger()
	if got := v.do(http.MethodHead, "/"+dash.SignInPath+"?"+i.Approve(at(v), "ada").Encode(), nil, nil); got.code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %d", got.code)
	}
	// Where it would return to is a page of ours.
	v = s.stranger()
	to := v.must("/signin", map[string]string{"return_to": "https://evil.example/"}).location()
	if got := v.back(i.Approve(to, "ada")); got.to() != "/" {
		t.Errorf("returned to %s", got.to())
	}
}

// An account is linked by who is logged in and has touched a passkey; it lets
// them in, and is no touch.
func TestLinkIdentity(t *testing.T) {
	s := newSite(t)
	i := s.withIssuer()
	_, link, err := s.App.Users.Create(t.Context(), operator, "mira", user.Owner, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v := s.stranger()
	k := v.enrol(link, "mira")
	s.age(t)
	if got := v.post("/signin/link", map[string]any{}); got.reason() != "confirm_required" {
		t.Errorf("without a touch: %d %s", got.code, got.reason())
	}
	begin := func() string {
		return v.must("/signin/link", map[string]any{"assertion": v.assert(k, "/passkey/confirm/begin", map[string]any{})}).location()
	}
	// Begun in one session, it is completed in no other.
	other := s.person("eve", user.Member)
	q := i.Approve(begin(), "mira-at-work")
	name := dash.CookieName(s.dash, "signin")
	other.cookies[name] = v.cookies[name]
	if got := other.back(q); got.to() != "/you?done=signin_failed" {
		t.Errorf("in another session: %s", got.to())
	}
	if got := v.back(i.Approve(begin(), "mira-at-work")); got.to() != "/you?done=identity_linked" {
		t.Fatalf("linked: %s", got.to())
	}
	if page := v.get("/you").body; !strings.Contains(page, "mira-at-work@example.com") || !strings.Contains(page, "An account at the identity provider was linked to you") {
		t.Error("the page does not say that an account was linked")
	}
	ada := s.invited(i, "ada", "ada")
	if got := v.back(i.Approve(begin(), "ada")); got.to() != "/you?done=signin_failed" {
		t.Errorf("somebody else's account: %s", got.to())
	}
	in := s.stranger()
	at := in.must("/signin", map[string]string{"return_to": "/agents"}).location()
	if got := in.back(i.Approve(at, "mira-at-work")); got.to() != "/agents" {
		t.Fatalf("login: %s", got.to())
	}
	for path, body := range map[string]any{
		"/you/passkeys/begin": map[string]any{}, "/signin/link": map[string]any{}, "/people": map[string]string{"name": "x", "role": "member"},
	} {
		if got := in.post(path, body); got.reason() != "confirm_required" {
			t.Errorf("%s by a session that the identity provider opened: %d %s", path, got.code, got.reason())
		}
	}
	// Who has a passkey is confirmed by that, and by nothing else.
	if got := in.post("/signin/again", map[string]any{}); got.reason() != "passkey_required" {
		t.Errorf("confirmed by the identity provider: %d %s", got.code, got.reason())
	}
	// Who has none is, by a login that happens now.
	i.AuthAt = time.Now().Add(-time.Hour)
	at = ada.must("/signin/again", map[string]any{}).location()
	if got := ada.back(i.Approve(at, "ada")); got.to() != "/you?done=signin_failed" {
		t.Errorf("by an old login: %s", got.to())
	}
	i.AuthAt = time.Time{}
	before := ada.cookies[dash.CookieName(s.dash, "session")]
	at = ada.must("/signin/again", map[string]any{}).location()
	if got := ada.back(i.Approve(at, "ada")); got.to() != "/you?done=confirmed" || ada.cookies[dash.CookieName(s.dash, "session")] == before {
		t.Errorf("by a fresh login: %s", got.to())
	}
	ada.must("/you/passkeys/begin", map[string]any{})
	// Unlinked, it lets nobody in, and what it opened has ended.
	identities, err := s.App.Users.Store.Passkeys().Identity(t.Context(), id.DefaultOrg, i.URL, "mira-at-work")
	if err != nil {
		t.Fatal(err)
	}
	v.must("/you/identities/"+string(identities.ID)+"/unlink", map[string]any{"assertion": v.assert(k, "/passkey/confirm/begin", map[string]any{})})
	if got := in.get("/agents"); got.code != http.StatusSeeOther {
		t.Errorf("a session that it opened: %d", got.code)
	}
}

// age makes every session's proof of presence an old one.
func (s *site) age(t *testing.T) {
	t.Helper()
	users, err := s.App.Users.Store.Users(t.Context(), id.DefaultOrg)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		all, err := s.App.DB.Users().Sessions().OfUser(t.Context(), u.Org, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			if err := s.App.DB.Users().Sessions().UpdateSession(t.Context(), u.Org, v.ID, aged); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A critical action is approved by a fresh login at the identity provider, for
// just that: an old login, another action's, or a second use decides nothing.
func TestDecideBySignIn(t *testing.T) {
	s := newSite(t)
	i := s.withIssuer()
	v := s.invited(i, "ada", "ada")
	con := s.Link(v.who, "octocat")
	bot, _ := s.Agent(v.who, "cleaner")
	s.Grant(v.who, bot, con, grant.Broker, []string{"*"}, nil)
	one, two := s.critical(bot, con, "one"), s.critical(bot, con, "two")
	path := func(o broker.Outcome) string { return "/actions/" + string(o.Action.ID) }
	seen := func(o broker.Outcome) map[string]string {
		return map[string]string{"digest": o.Action.Effect.String(), "question": questionOf(o)}
	}
	yes := func(o broker.Outcome) answer {
		return v.post(path(o)+"/decision", map[string]string{"decision": "approve", "digest": o.Action.Effect.String(), "question": questionOf(o), "reason": "", "signed": "in"})
	}
	if page := v.get(path(one)).body; !strings.Contains(page, "Log in at Example anew") || strings.Contains(page, "Approve with passkey") {
		t.Error("the page does not offer the way that there is")
	}
	if got := yes(one); got.code == http.StatusOK {
		t.Error("approved without a login")
	}
	i.AuthAt = time.Now().Add(-2 * time.Minute)
	if got := v.back(i.Approve(v.must(path(one)+"/signin", seen(one)).location(), "ada")); got.to() != "/you?done=signin_failed" {
		t.Errorf("an old login: %s", got.to())
	}
	i.AuthAt = time.Time{}
	s.invited(i, "eve", "eve")
	if got := v.back(i.Approve(v.must(path(one)+"/signin", seen(one)).location(), "eve")); got.to() != "/you?done=signin_failed" {
		t.Errorf("somebody else's login: %s", got.to())
	}
	// Coming back decides nothing.
	if got := v.back(i.Approve(v.must(path(one)+"/signin", seen(one)).location(), "ada")); got.to() != path(one)+"?signed=in" {
		t.Fatalf("a fresh login: %s", got.to())
	}
	if held, err := s.App.Broker.Find(t.Context(), v.who, one.Action.ID, time.Now()); err != nil || held.Action.State != action.Pending {
		t.Errorf("coming back decided: %v", err)
	}
	if page := v.get(path(one) + "?signed=in").body; !strings.Contains(page, "Approve, confirmed at Example") {
		t.Error("the page does not offer to approve")
	}
	// It is for that action, and for none other.
	if got := yes(two); got.reason() != "presence_required" {
		t.Errorf("another action: %d %s", got.code, got.reason())
	}
	if got := yes(one); got.code == http.StatusOK {
		t.Error("a proof that was tried on another action was used again")
	}
	v.back(i.Approve(v.must(path(one)+"/signin", seen(one)).location(), "ada"))
	proof := v.cookies[dash.CookieName(s.dash, "proof")]
	if got := yes(one); got.code != http.StatusOK {
		t.Fatalf("approved: %d %s", got.code, got.body)
	}
	await(t, s, one)
	if page := v.get(path(one)).body; !strings.Contains(page, "logged in anew for it") {
		t.Error("the page does not say how it was approved")
	}
	s.receipted(v, one)
	v.cookies[dash.CookieName(s.dash, "proof")] = proof
	if got := yes(two); got.code == http.StatusOK {
		t.Error("a spent proof decides")
	}
}

// A fresh login is for what was shown when it was begun, as a passkey's touch is:
// answered in view of anything else, it decides nothing and says so.
func TestSignInIsForWhatWasShown(t *testing.T) {
	s := newSite(t)
	i := s.withIssuer()
	v := s.invited(i, "ada", "ada")
	con := s.Link(v.who, "octocat")
	bot, _ := s.Agent(v.who, "cleaner")
	s.Grant(v.who, bot, con, grant.Broker, []string{"*"}, nil)
	o := s.critical(bot, con, "one")
	path := "/actions/" + string(o.Action.ID)
	about := func(shown string) map[string]string {
		return map[string]string{"digest": o.Action.Effect.String(), "question": questionOf(o), "shown": shown}
	}
	begin := func(shown string) {
		t.Helper()
		if got := v.back(i.Approve(v.must(path+"/signin", about(shown)).location(), "ada")); got.to() != path+"?signed=in" {
			t.Fatalf("a fresh login: %s", got.to())
		}
	}
	yes := func(shown string) answer {
		body := about(shown)
		body["decision"], body["reason"], body["signed"] = "approve", "", "in"
		return v.post(path+"/decision", body)
	}
	page := v.get(path + "/preview").body
	first := shownIn(t, page)
	if !strings.Contains(page, `value="`+first+`" form="signin-form"`) || !strings.Contains(v.get(path).body, `id="signin-form"`) {
		t.Error("the way to the identity provider does not carry what is shown")
	}
	s.Sandbox.PushTo("octocat/hello-world", "main", "README.md", "# changed\n")
	second := shownIn(t, v.get(path+"/preview").body)

	if got := v.post(path+"/signin", about("AAAA")); got.reason() != "preview_stale" {
		t.Errorf("a view that was made up: %d %s", got.code, got.reason())
	}
	for name, c := range map[string][2]string{
		"begun in one view, answered in another": {first, second},
		"begun in a view, answered without":      {first, ""},
		"begun without, answered in a view":      {"", second},
	} {
		begin(c[0])
		if got := yes(c[1]); got.reason() != "presence_required" || !strings.Contains(got.body, "has changed") {
			t.Errorf("%s: %d %s", name, got.code, got.body)
		}
		if got := yes(c[0]); got.code == http.StatusOK {
			t.Errorf("%s: the proof was good once more", name)
		}
	}
	begin(second)
	// The page reads it anew on the way back; it is the same thing.
	if got := yes(shownIn(t, v.get(path+"/preview").body)); got.code != http.StatusOK {
		t.Fatalf("approved: %d %s", got.code, got.body)
	}
	await(t, s, o)
	if n := s.Sandbox.Count("DELETE", "/repos/octocat/hello-world"); n != 1 {
		t.Errorf("%d deletions", n)
	}
	s.receipted(v, o)
}

// receipted checks that the receipt of o shows the login that approved it.
func (s *site) receipted(v *visitor, o broker.Outcome) {
	s.t.Helper()
	r, err := s.App.Receipts.Issue(s.t.Context(), v.who, string(o.Action.ID), time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	keys, err := audit.NewVerifier(s.App.Checkpointer.Signer.VerifierKey())
	if err != nil {
		s.t.Fatal(err)
	}
	links := map[string]approval.Strength{}
	for _, l := range r.Verify(approval.Trust{Keys: keys}).Links {
		if links[l.Name] = l.Strength; l.Strength == approval.Broken {
			s.t.Errorf("%s: %s", l.Name, l.Detail)
		}
	}
	if links["presence"] != approval.Holds || links["key"] != approval.Leans {
		s.t.Errorf("presence %s, key %s", links["presence"], links["key"])
	}
}

func (s *site) critical(bot *agent.Agent, con *vault.Connection, key string) broker.Outcome {
	return s.submit(bot, broker.Ask{
		Connection: string(con.ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}, Key: key,
	})
}

func aged(v *user.Session) ([]audit.Event, error) {
	v.AuthAt = v.AuthAt.Add(-user.FreshFor - time.Second)
	return nil, nil
}
