package connect_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

const org = id.DefaultOrg

// scene is a world with two people, neither of whom has an account connected.
type scene struct {
	*vktest.World
	t         *testing.T
	mira, zoe user.Principal
}

func newScene(t *testing.T, options ...vktest.Option) *scene {
	w := vktest.New(t, options...)
	return &scene{World: w, t: t, mira: w.Person("mira"), zoe: w.Person("zoe")}
}

func (s *scene) begin(p user.Principal, providerID string, scopes []string, reconnect id.Connection) string {
	s.t.Helper()
	to, err := s.App.Connect.Begin(s.t.Context(), p, providerID, scopes, reconnect, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return to
}

// consent is the callback after login agreed at the provider.
func (s *scene) consent(to, login string) connect.Callback {
	s.t.Helper()
	back, err := sandbox.Approve(s.t.Context(), http.DefaultClient, to, login)
	if err != nil {
		s.t.Fatal(err)
	}
	return vktest.ParseCallback(s.t, "github", back)
}

func (s *scene) complete(p user.Principal, cb connect.Callback) (*vault.Connection, error) {
	return s.App.Connect.Complete(s.t.Context(), p, cb, time.Now())
}

func (s *scene) paste(p user.Principal, name string, token secret.Text) (*vault.Connection, error) {
	return s.App.Connect.AddToken(s.t.Context(), p, p.User, "github", name, token, time.Now())
}

// connections fails the test unless there are n.
func (s *scene) connections(n int) []*vault.Connection {
	s.t.Helper()
	all, err := s.App.DB.Connections().Connections(s.t.Context(), org)
	if err != nil || len(all) != n {
		s.t.Errorf("%d connections (%v), want %d", len(all), err, n)
	}
	return all
}

// exchanges fails the test unless n codes were taken to the provider.
func (s *scene) exchanges(n int) {
	s.t.Helper()
	if got := s.Sandbox.Count("POST", "/login/oauth/access_token"); got != n {
		s.t.Errorf("%d codes were redeemed, want %d", got, n)
	}
}

func (s *scene) alive(con id.Connection) bool {
	s.t.Helper()
	cred, err := s.App.Vault.Use(s.t.Context(), con, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.Upstream+"/user", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cred.Token.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// told returns what the log says about con's newest event of a verb.
func (s *scene) told(con id.Connection, verb string) map[string]string {
	s.t.Helper()
	got, err := s.App.DB.Log().Select(s.t.Context(), store.Query{Org: org, Object: string(con), Verb: verb, Limit: 1})
	if err != nil || len(got) != 1 {
		s.t.Fatalf("%s: %v, %v", verb, got, err)
	}
	return got[0].Data
}

func TestBeginRefuses(t *testing.T) {
	s := newScene(t)
	con := s.Link(s.zoe, "octocat")
	ended := s.Link(s.mira, "hubot")
	if _, err := s.App.Vault.Disconnect(t.Context(), ended.ID, time.Now(), s.event(s.mira)); err != nil {
		t.Fatal(err)
	}
	as := func(change func(*user.Principal)) user.Principal {
		p := s.mira
		change(&p)
		return p
	}
	for _, c := range []struct {
		why       string
		p         user.Principal
		provider  string
		scopes    []string
		reconnect id.Connection
		want      error
	}{
		{"nobody", user.Principal{Org: org}, "github", nil, "", user.ErrLogin},
		{"the operator", user.Principal{Org: org, Operator: true, Confirm: true}, "github", nil, "", user.ErrLogin},
		{"a command line", as(func(p *user.Principal) { p.Kind, p.Confirm = user.CLI, true }), "github", nil, "", user.ErrLogin},
		{"a browser without a session", as(func(p *user.Principal) { p.Session = "" }), "github", nil, "", user.ErrLogin},
		{"an auditor", as(func(p *user.Principal) { p.Role = user.Auditor }), "github", nil, "", user.ErrNotOwner},
		{"an unknown provider", s.mira, "gitea", nil, "", vault.ErrProvider},
		{"a provider by a path", s.mira, "../github", nil, "", vault.ErrProvider},
		{"a provider without a client", s.mira, "github_app", nil, "", connect.ErrNoClient},
		{"an unknown connection to renew", s.mira, "github", nil, id.NewConnection(), vault.ErrUnknown},
		{"somebody else's connection", s.mira, "github", nil, con.ID, vault.ErrUnknown},
		{"a connection of another provider", s.zoe, "github_app", nil, con.ID, connect.ErrNoClient},
		{"a connection that ended", s.mira, "github", nil, ended.ID, vault.ErrRevoked},
	} {
		if _, err := s.App.Connect.Begin(t.Context(), c.p, c.provider, c.scopes, c.reconnect, time.Now()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
	}
	many := slices.Repeat([]string{"repo"}, 101)
	for _, scopes := range [][]string{{""}, {"a b"}, {"repo\n"}, {"a\"b"}, {"a\\b"}, {"r\u00e9po"}, {strings.Repeat("a", 201)}, many} {
		if _, err := s.App.Connect.Begin(t.Context(), s.mira, "github", scopes, "", time.Now()); fault.From(err).Reason != "bad_scope" {
			t.Errorf("scopes %.40q: %v", scopes, err)
		}
	}
}

// The address to which the browser goes is made of configuration alone, with
// PKCE and a state of its own each time.
func TestAuthorizeURL(t *testing.T) {
	s := newScene(t)
	states := map[string]bool{}
	for range 3 {
		u, err := url.Parse(s.begin(s.mira, "github", []string{"repo"}, ""))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Scheme+"://"+u.Host != s.Upstream || q.Get("redirect_uri") != s.URL+"connect/github/callback" || q.Get("code_challenge_method") != "S256" ||
			q.Get("response_type") != "code" || q.Get("client_id") != "sandbox-client" || q.Get("scope") != "repo" {
			t.Errorf("%s", u)
		}
		for _, secretive := range []string{"state", "code_challenge"} {
			v := q.Get(secretive)
			if len(v) < 43 || states[v] {
				t.Errorf("%s is %q: short, or used before", secretive, v)
			}
			states[v] = true
		}
	}
	if a, b := s.App.Connect.RedirectURI("github"), s.App.Connect.RedirectURI("github_app"); a == b {
		t.Error("two providers share a redirect URI")
	}
}

// A link that is opened in somebody else's browser, session or name connects
// nothing: nothing is redeemed and nothing is stored, and whoever began it can
// still go on.
func TestForeignCallback(t *testing.T) {
	s := newScene(t)
	s.provider("github2")
	cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	as := func(p user.Principal, change func(*user.Principal)) user.Principal {
		change(&p)
		return p
	}
	with := func(change func(*connect.Callback)) connect.Callback {
		other := cb
		change(&other)
		return other
	}
	for _, c := range []struct {
		why string
		p   user.Principal
		cb  connect.Callback
	}{
		{"another person in their session", s.zoe, cb},
		{"the same person in another session", as(s.mira, func(p *user.Principal) { p.Session = id.NewSession() }), cb},
		{"nobody", user.Principal{Org: org}, cb},
		{"a session that is none", as(s.mira, func(p *user.Principal) { p.Session = "" }), cb},
		{"another provider's path", s.mira, with(func(cb *connect.Callback) { cb.Provider = "github2" })},
		{"an unknown provider's path", s.mira, with(func(cb *connect.Callback) { cb.Provider = "" })},
		{"an unknown state", s.mira, with(func(cb *connect.Callback) { cb.State = secret.Random(32) })},
		{"no state", s.mira, with(func(cb *connect.Callback) { cb.State = secret.Text{} })},
		{"a state with something behind", s.mira, with(func(cb *connect.Callback) { cb.State = secret.New(cb.State.Reveal() + "=") })},
		{"the hash of the state", s.mira, with(func(cb *connect.Callback) { h := cb.State.Hash(); cb.State = secret.New(string(h[:])) })},
	} {
		if _, err := s.complete(c.p, c.cb); !errors.Is(err, connect.ErrFlow) {
			t.Errorf("%s: %v, want ErrFlow", c.why, err)
		}
	}
	s.exchanges(0)
	s.connections(0)
	if _, err := s.complete(s.mira, cb); err != nil {
		t.Errorf("the one who began it: %v", err)
	}
	s.exchanges(1)
	s.connections(1)
}

// Another person in the very session that began the flow: somebody logged out
// and in on one browser, and sessions were mixed up. Nothing is stored, and
// the flow is used up.
func TestAnotherUserInTheSession(t *testing.T) {
	s := newScene(t)
	cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	mixed := s.zoe
	mixed.Session = s.mira.Session
	if _, err := s.complete(mixed, cb); !errors.Is(err, connect.ErrFlow) {
		t.Errorf("%v, want ErrFlow", err)
	}
	if _, err := s.complete(s.mira, cb); !errors.Is(err, connect.ErrFlow) {
		t.Errorf("afterwards: %v, want ErrFlow", err)
	}
	s.exchanges(0)
	s.connections(0)
}

func TestStateWorksOnce(t *testing.T) {
	s := newScene(t)
	cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	if _, err := s.complete(s.mira, cb); err != nil {
		t.Fatal(err)
	}
	if _, err := s.complete(s.mira, cb); !errors.Is(err, connect.ErrFlow) {
		t.Errorf("used twice: %v", err)
	}
	// Nor does a failure give it back.
	cb = s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	bad := cb
	bad.Code = secret.New("wrong")
	if _, err := s.complete(s.mira, bad); fault.From(err).Reason != "code_refused" {
		t.Errorf("a wrong code: %v", err)
	}
	if _, err := s.complete(s.mira, cb); !errors.Is(err, connect.ErrFlow) {
		t.Errorf("after a failure: %v", err)
	}
	s.connections(1)
}

func TestFlowExpires(t *testing.T) {
	s := newScene(t)
	for late, want := range map[time.Duration]error{connect.FlowTTL: connect.ErrFlow, 11 * time.Minute: connect.ErrFlow, 240 * time.Hour: connect.ErrFlow} {
		cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
		if _, err := s.App.Connect.Complete(t.Context(), s.mira, cb, time.Now().Add(late)); !errors.Is(err, want) {
			t.Errorf("after %s: %v", late, err)
		}
	}
	s.exchanges(0)
	s.connections(0)
	cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	if _, err := s.App.Connect.Complete(t.Context(), s.mira, cb, time.Now().Add(connect.FlowTTL-time.Second)); err != nil {
		t.Errorf("in time: %v", err)
	}
}

// Whoever lost the right to connect while they were at the provider has lost
// it.
func TestRoleIsAskedAtTheEnd(t *testing.T) {
	s := newScene(t)
	cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	demoted := s.mira
	demoted.Role = user.Auditor
	if _, err := s.complete(demoted, cb); !errors.Is(err, user.ErrNotOwner) {
		t.Errorf("%v, want ErrNotOwner", err)
	}
	s.exchanges(0)
	s.connections(0)
}

func TestProviderRefuses(t *testing.T) {
	s := newScene(t)
	to := s.begin(s.mira, "github", nil, "")
	back, err := sandbox.Deny(t.Context(), http.DefaultClient, to)
	if err != nil {
		t.Fatal(err)
	}
	cb := vktest.ParseCallback(t, "github", back)
	if cb.Error == "" {
		t.Fatal("the sandbox did not deny")
	}
	if _, err := s.complete(s.mira, cb); !errors.Is(err, connect.ErrDenied) {
		t.Errorf("a person who cancels: %v", err)
	}
	// An error counts whatever else comes with it, and none of its text is shown.
	for _, said := range []string{"access_denied", `<script>alert(1)</script>`, strings.Repeat("x", 100_000), "a\r\nSet-Cookie: b=c"} {
		cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
		cb.Error = said
		_, err := s.complete(s.mira, cb)
		f := fault.From(err)
		if !errors.Is(err, connect.ErrDenied) || f.Detail != connect.ErrDenied.Detail || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%.40q: %.200v", said, err)
		}
	}
	cb = s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
	cb.Code = secret.Text{}
	if _, err := s.complete(s.mira, cb); !errors.Is(err, connect.ErrDenied) {
		t.Errorf("no code: %v", err)
	}
	s.exchanges(0)
	s.connections(0)
}

// A code of one flow does not complete another: the verifier is the flow's.
func TestCodeOfAnotherFlow(t *testing.T) {
	s := newScene(t)
	stolen := s.consent(s.begin(s.zoe, "github", nil, ""), "octocat")
	mine := s.consent(s.begin(s.mira, "github", nil, ""), "hubot")
	mine.Code = stolen.Code
	if _, err := s.complete(s.mira, mine); fault.From(err).Reason != "code_refused" {
		t.Errorf("%v, want code_refused", err)
	}
	s.connections(0)
}

func TestProviderFails(t *testing.T) {
	s := newScene(t)
	s.Sandbox.Fail("/login/oauth/access_token", 500, 1)
	if _, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", nil, ""), "octocat")); fault.From(err).Reason != "code_refused" {
		t.Errorf("the exchange fails: %v", err)
	}
	for _, status := range []int{401, 403, 404, 500} {
		s.Sandbox.Fail("/user", status, 1)
		if _, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", nil, ""), "octocat")); err == nil {
			t.Errorf("connected without knowing whose account it is (%d)", status)
		}
	}
	s.connections(0)
}

func TestIssuer(t *testing.T) {
	for _, c := range []struct {
		why, sends string
		ok         bool
	}{
		{"the right one", "https://idp.test", true},
		{"none: not every server sends one", "", true},
		{"another one", "https://evil.test", false},
		{"one with a slash more", "https://idp.test/", false},
		{"one in another case", "https://IDP.test", false},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t, func(_ *config.Config, o *sandbox.Options) { o.Issuer = c.sends })
			s.register(vault.Registration{Provider: "corp", Spec: "oidc", ClientID: "sandbox-client", Internal: true, Base: provider.Base{
				API: []string{s.Upstream}, Issuer: "https://idp.test", AuthorizeURL: s.Upstream + "/login/oauth/authorize",
				TokenURL: s.Upstream + "/login/oauth/access_token", Identity: provider.Identity{URL: s.Upstream + "/user", ID: "id", Label: "login"},
			}})
			cb := s.consent(s.begin(s.mira, "corp", []string{"openid"}, ""), "octocat")
			cb.Provider = "corp"
			if cb.Issuer != c.sends {
				t.Fatalf("the sandbox sent %q", cb.Issuer)
			}
			_, err := s.complete(s.mira, cb)
			if c.ok && err != nil || !c.ok && !errors.Is(err, connect.ErrFlow) {
				t.Errorf("%v", err)
			}
			if !c.ok {
				s.exchanges(0) // the code is not shown to anybody
				s.connections(0)
			}
		})
	}
}

// What was granted is stored, not what was asked for.
func TestScopesAsGranted(t *testing.T) {
	s := newScene(t)
	s.Sandbox.GrantOnly("read:user")
	con, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", []string{"read:user", "repo"}, ""), "octocat"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"read:user"}, con.Scopes); diff != "" {
		t.Errorf("stored scopes (-want +got):\n%s", diff)
	}
	if data := s.told(con.ID, "connection.created"); data["narrower"] != "true" || data["wider"] != "false" || data["scopes"] != "read:user" {
		t.Errorf("recorded: %v", data)
	}
	// Connected again with everything, the same connection has it.
	s.Sandbox.GrantOnly()
	again, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", []string{"read:user", "repo"}, con.ID), "octocat"))
	if err != nil || again.ID != con.ID {
		t.Fatal(again, err)
	}
	if diff := cmp.Diff([]string{"read:user", "repo"}, again.Scopes); diff != "" {
		t.Errorf("stored scopes (-want +got):\n%s", diff)
	}
	if data := s.told(con.ID, "connection.renewed"); data["narrower"] != "false" || data["wider"] != "false" {
		t.Errorf("recorded: %v", data)
	}
	// A reconnection asks for what there is unless it is told otherwise.
	u, err := url.Parse(s.begin(s.mira, "github", nil, con.ID))
	if err != nil || u.Query().Get("scope") != "read:user repo" {
		t.Errorf("asked for %q", u.Query().Get("scope"))
	}
}

// A connection is one account. Coming back from the provider as another one
// changes nothing.
func TestReconnectAsAnotherAccount(t *testing.T) {
	s := newScene(t)
	con := s.Link(s.mira, "octocat")
	before, err := s.App.DB.Connections().Connection(t.Context(), org, con.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", nil, con.ID), "hubot")); !errors.Is(err, connect.ErrOther) {
		t.Errorf("%v, want ErrOther", err)
	}
	after, err := s.App.DB.Connections().Connection(t.Context(), org, con.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the connection changed:\n%s", diff)
	}
	s.connections(1)
	if !s.alive(con.ID) {
		t.Error("its token is dead")
	}
}

// One account of one person is one connection, however often it is connected;
// of two people it is two.
func TestSameAccount(t *testing.T) {
	s := newScene(t)
	first := s.Link(s.mira, "octocat")
	again := s.Link(s.mira, "octocat")
	if again.ID != first.ID || again.Name != first.Name || again.Generation <= first.Generation {
		t.Errorf("%s %q generation %d, want %s %q", again.ID, again.Name, again.Generation, first.ID, first.Name)
	}
	other := s.Link(s.mira, "hubot")
	hers := s.Link(s.zoe, "octocat")
	if other.ID == first.ID || hers.ID == first.ID || hers.User != s.zoe.User || hers.Name != first.Name {
		t.Errorf("%s, %s, %s", first.ID, other.ID, hers.ID)
	}
	s.connections(3)
	for _, c := range []id.Connection{first.ID, other.ID, hers.ID} {
		if !s.alive(c) {
			t.Errorf("%s does not work", c)
		}
	}
}

// Some providers send a refresh token at the first consent only. The one that
// is there is not thrown away for nothing.
func TestReconnectWithoutRefreshToken(t *testing.T) {
	s := newScene(t)
	con := s.Link(s.mira, "octocat")
	before, err := s.App.DB.Connections().Connection(t.Context(), org, con.ID)
	if err != nil || len(before.Refresh) == 0 {
		t.Fatal("no refresh token", err)
	}
	s.withoutRefreshTokens()
	again, err := s.complete(s.mira, s.consent(s.begin(s.mira, "github", nil, con.ID), "octocat"))
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(again.Refresh, before.Refresh) || again.Generation != before.Generation+1 || cmp.Equal(again.Access, before.Access) {
		t.Error("the refresh token was lost, or nothing was renewed")
	}
	// A pasted token takes the place of everything.
	pasted, err := s.paste(s.mira, "", s.Sandbox.PersonalToken("octocat", "repo"))
	if err != nil || pasted.ID != con.ID || pasted.Kind != vault.ByPaste || len(pasted.Refresh) != 0 || !pasted.AccessExpiresAt.IsZero() {
		t.Errorf("%+v, %v", pasted, err)
	}
}

func TestPasteRefuses(t *testing.T) {
	s := newScene(t)
	good := s.Sandbox.PersonalToken("octocat", "repo").Reveal()
	calls := s.Sandbox.Count("", "/")
	for why, token := range map[string]string{
		"nothing": "", "blanks": "   \n", "too short": "ghp_abc", "two lines": good + "\n" + good, "a header behind": good + "\r\nX-Evil: 1",
		"a blank inside": good[:10] + " " + good[10:], "a NUL inside": good + "\x00", "beyond ASCII": good + "\u00e9", "an invisible letter": good + "\u200b",
		"a book": strings.Repeat("a", 8193), "an escape": good + "\x1b[2J",
	} {
		if _, err := s.paste(s.mira, "", secret.New(token)); fault.From(err).Reason != "bad_token" {
			t.Errorf("%s: %v", why, err)
		} else if strings.Contains(err.Error(), good) {
			t.Errorf("%s: the error holds the token", why)
		}
	}
	auditor := s.mira
	auditor.Role = user.Auditor
	remote := s.mira
	remote.Kind = user.CLI
	for _, c := range []struct {
		why   string
		p     user.Principal
		owner id.User
		want  error
	}{
		{"an auditor", auditor, auditor.User, user.ErrNotOwner},
		{"for somebody else", s.mira, s.zoe.User, user.ErrNotOwner},
		{"nobody", user.Principal{Org: org}, "", user.ErrNotOwner},
		{"a command line", remote, remote.User, user.ErrCLI},
		{"the operator once a passkey exists", user.Principal{Org: org, Operator: true}, s.mira.User, user.ErrSocket},
	} {
		if _, err := s.App.Connect.AddToken(t.Context(), c.p, c.owner, "github", "", secret.New(good), time.Now()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
	}
	operator := user.Principal{Org: org, Operator: true, Confirm: true}
	if _, err := s.App.Connect.AddToken(t.Context(), operator, "", "github", "", secret.New(good), time.Now()); fault.From(err).Reason != "bad_owner" {
		t.Errorf("for nobody: %v", err)
	}
	if _, err := s.App.Connect.AddToken(t.Context(), s.mira, s.mira.User, "gitea", "", secret.New(good), time.Now()); !errors.Is(err, vault.ErrProvider) {
		t.Errorf("at an unknown provider: %v", err)
	}
	if got := s.Sandbox.Count("", "/"); got != calls {
		t.Errorf("%d calls left the server", got-calls)
	}
	if _, err := s.paste(s.mira, "", secret.New("ghp_nobodysTokenAtAll")); fault.From(err).Reason != "token_refused" {
		t.Errorf("a dead token: %v", err)
	}
	for _, name := range []string{strings.Repeat("n", 64), "two\nlines", "caf\u00e9", "\x1b[2J"} {
		if _, err := s.paste(s.mira, name, secret.New(good)); fault.From(err).Reason != "bad_name" {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	s.connections(0)
	// What cannot be recorded does not happen, not even a look.
	calls = s.Sandbox.Count("", "/")
	vktest.Block(t, s.Config, "audit_events")
	_, err := s.paste(s.mira, "", secret.New(good))
	vktest.Unblock(t, s.Config, "audit_events")
	if fault.From(err).Kind != fault.Unavailable || s.Sandbox.Count("", "/") != calls {
		t.Errorf("without a record: %v", err)
	}
}

func TestPaste(t *testing.T) {
	s := newScene(t)
	token := s.Sandbox.PersonalToken("octocat", "repo", "read:user")
	con, err := s.paste(s.mira, "work", secret.New("  "+token.Reveal()+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if con.Name != "work" || con.Account != "octocat" || con.AccountID != "583231" || con.Kind != vault.ByPaste || !slices.Equal(con.Scopes, []string{"repo", "read:user"}) {
		t.Errorf("%+v", con)
	}
	if !s.alive(con.ID) {
		t.Error("it does not work")
	}
	// The operator may do it for a person where the configuration says so.
	operator := user.Principal{Org: org, Operator: true, Confirm: true}
	hers, err := s.App.Connect.AddToken(t.Context(), operator, s.zoe.User, "github", "", token, time.Now())
	if err != nil || hers.User != s.zoe.User {
		t.Errorf("for a person: %+v, %v", hers, err)
	}
}

func TestNames(t *testing.T) {
	s := newScene(t)
	octocat, err := s.paste(s.mira, "github-hubot", s.Sandbox.PersonalToken("octocat"))
	if err != nil {
		t.Fatal(err)
	}
	// The name that hubot's account would get is taken: it gets the next one.
	if hubot := s.Link(s.mira, "hubot"); hubot.Name != "github-hubot-2" {
		t.Errorf("named %q", hubot.Name)
	}
	if _, err := s.App.Vault.Disconnect(t.Context(), octocat.ID, time.Now(), s.event(s.mira)); err != nil {
		t.Fatal(err)
	}
	// A name that somebody chose is theirs, also of what ended; another
	// person's names are their own.
	if _, err := s.paste(s.mira, "github-hubot", s.Sandbox.PersonalToken("octocat")); fault.From(err).Reason != "name_taken" {
		t.Errorf("a name that was used: %v", err)
	}
	if _, err := s.paste(s.zoe, "github-hubot", s.Sandbox.PersonalToken("octocat")); err != nil {
		t.Errorf("the same name of another person: %v", err)
	}
}

// revocations fails the test unless n tokens were ended at the provider, each
// by itself.
func (s *scene) revocations(n int) {
	s.t.Helper()
	if got := s.Sandbox.Count("DELETE", "/applications/sandbox-client/token"); got != n {
		s.t.Errorf("%d tokens were revoked, want %d", got, n)
	}
	if got := s.Sandbox.Count("DELETE", "/applications/sandbox-client/grant"); got != 0 {
		s.t.Errorf("everything of the account was revoked, %d times", got)
	}
}

// failure is what the log says of the newest flow: how it went on after it was
// begun, and what became of its tokens.
func (s *scene) failure() (verbs []string, data map[string]string) {
	s.t.Helper()
	begun, err := s.App.DB.Log().Select(s.t.Context(), store.Query{Org: org, Verb: "connection.begun", Limit: 1})
	if err != nil || len(begun) != 1 {
		s.t.Fatal(begun, err)
	}
	events, err := s.App.DB.Log().Select(s.t.Context(), store.Query{Org: org, Object: begun[0].Object, Limit: 10})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range slices.Backward(events) {
		verbs, data = append(verbs, e.Verb), e.Data
	}
	return verbs, data
}

// Tokens that came with a connection that then fails are not left behind at the
// provider, and the log says what became of them. Connections that live go on,
// those to the same account too.
func TestTokensOfAFailedConnect(t *testing.T) {
	for name, c := range map[string]struct {
		fails   func(s *scene, octocat *vault.Connection) connect.Callback
		reason  string
		calls   int
		revoked string // as recorded; "" where there was nothing to revoke
	}{
		"the code is refused": {func(s *scene, _ *vault.Connection) connect.Callback {
			cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
			cb.Code = secret.New("wrong")
			return cb
		}, "code_refused", 0, ""},
		"nobody says whose account it is": {func(s *scene, _ *vault.Connection) connect.Callback {
			s.Sandbox.Fail("/user", 500, 1)
			return s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
		}, "internal", 1, "true"},
		"it is another account": {func(s *scene, octocat *vault.Connection) connect.Callback {
			return s.consent(s.begin(s.mira, "github", nil, octocat.ID), "hubot")
		}, "other_account", 1, "true"},
		"the provider does not revoke": {func(s *scene, _ *vault.Connection) connect.Callback {
			s.Sandbox.Fail("/user", 403, 1)
			s.Sandbox.Fail("/applications", 500, 1)
			return s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
		}, "token_refused", 1, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			octocat, hubot := s.Link(s.mira, "octocat"), s.Link(s.mira, "hubot")
			if _, err := s.complete(s.mira, c.fails(s, octocat)); fault.From(err).Reason != c.reason {
				t.Errorf("%v, want %s", err, c.reason)
			}
			verbs, data := s.failure()
			if d := cmp.Diff([]string{"connection.begun", "connection.completing", "connection.failed"}, verbs); d != "" {
				t.Errorf("recorded (-want +got):\n%s", d)
			}
			if data["reason"] != c.reason || data["revoked"] != c.revoked || data["provider"] != "github" {
				t.Errorf("recorded %v", data)
			}
			s.revocations(c.calls)
			s.connections(2)
			for _, con := range []*vault.Connection{octocat, hubot} {
				if !s.alive(con.ID) {
					t.Errorf("the connection to %s died of it", con.Account)
				}
			}
		})
	}
}

// A connection that could not be stored takes its tokens with it. Where the
// database failed in the commit it may be there all the same: then they are
// not revoked.
func TestTokensOfWhatWasNotStored(t *testing.T) {
	for trigger, want := range map[string]int{
		"before insert on connections":                                       1,
		"before insert on audit_events when new.verb = 'connection.created'": 0,
	} {
		s := newScene(t)
		cb := s.consent(s.begin(s.mira, "github", nil, ""), "octocat")
		vktest.Raw(t, s.Config, "create trigger full "+trigger+" begin select raise(abort, 'disk full'); end")
		_, err := s.complete(s.mira, cb)
		if err == nil || (fault.From(err).Kind == fault.Unavailable) != (want == 0) {
			t.Errorf("%s: %v", trigger, err)
		}
		s.connections(0)
		s.revocations(want)
		if verbs, data := s.failure(); verbs[len(verbs)-1] != "connection.failed" || data["revoked"] != strconv.FormatBool(want == 1) {
			t.Errorf("%s: %v, %v", trigger, verbs, data)
		}
	}
}
