package dash_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
)

func load(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// A change comes from a page of ours, as JSON, with the session's token; else
// nothing happens, and the refusal is in the log.
func TestForgeries(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	other := s.session(v.who)
	path := "/actions/" + string(th.held.Action.ID) + "/decision"
	good := `{"decision":"approve","digest":"` + th.held.Action.Effect.String() + `","question":"` + questionOf(th.held) + `","reason":""}`
	for _, c := range []struct {
		name   string
		change func(http.Header)
		body   string
		code   int
		reason string
	}{
		{"cross-site", func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") }, good, 403, "cross_site"},
		{"same-site is not same-origin", func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") }, good, 403, "cross_site"},
		{"old browser, other origin", func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "https://evil.test") }, good, 403, "cross_site"},
		{"null origin", func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "null") }, good, 403, "cross_site"},
		{"no token", func(h http.Header) { h.Del("Valetkey-Csrf") }, good, 403, "form_token"},
		{"empty token", func(h http.Header) { h.Set("Valetkey-Csrf", "") }, good, 403, "form_token"},
		{"two tokens", func(h http.Header) { h.Add("Valetkey-Csrf", h.Get("Valetkey-Csrf")) }, good, 403, "form_token"},
		{"token of another session", func(h http.Header) { h.Set("Valetkey-Csrf", other.token()) }, good, 403, "form_token"},
		{"token of nobody", func(h http.Header) { h.Set("Valetkey-Csrf", s.stranger().token()) }, good, 403, "form_token"},
		{"form", func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") }, "decision=approve", 400, "bad_content_type"},
		{"text", func(h http.Header) { h.Set("Content-Type", "text/plain") }, good, 400, "bad_content_type"},
		{"no type", func(h http.Header) { h.Del("Content-Type") }, good, 400, "bad_content_type"},
		{"two types", func(h http.Header) { h.Add("Content-Type", "text/plain") }, good, 400, "bad_content_type"},
		{"other charset", func(h http.Header) { h.Set("Content-Type", "application/json; charset=utf-16") }, good, 400, "bad_content_type"},
		{"compressed", func(h http.Header) { h.Set("Content-Encoding", "gzip") }, good, 400, "bad_content_type"},
		{"unknown member", nil, strings.TrimSuffix(good, "}") + `,"level":2}`, 400, "bad_json"},
		{"member twice", nil, strings.TrimSuffix(good, "}") + `,"decision":"deny"}`, 400, "bad_json"},
		{"member in capitals besides", nil, strings.TrimSuffix(good, "}") + `,"DECISION":"deny"}`, 400, "bad_json"},
		{"list", nil, "[" + good + "]", 400, "bad_json"},
		{"null", nil, "null", 400, "bad_json"},
		{"two values", nil, good + good, 400, "bad_json"},
		{"deep", nil, `{"decision":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400, "bad_json"},
		{"nothing", nil, "", 400, "bad_json"},
		{"large", nil, `{"reason":"` + strings.Repeat("a", 300<<10) + `"}`, 413, "body_too_large"},
		{"digest of something else", nil, strings.ReplaceAll(good, th.held.Action.Effect.String(), strings.Repeat("ab", 32)), 409, "approval_stale"},
		{"no digest", nil, strings.ReplaceAll(good, th.held.Action.Effect.String(), ""), 400, "bad_json"},
		{"no question", nil, `{"decision":"approve","digest":"` + th.held.Action.Effect.String() + `","reason":""}`, 400, "bad_json"},
		{"another question", nil, strings.ReplaceAll(good, questionOf(th.held), strings.Repeat("cd", 32)), 409, "question_changed"},
		{"another question, denied", nil, strings.ReplaceAll(strings.ReplaceAll(good, questionOf(th.held), strings.Repeat("cd", 32)), "approve", "deny"), 409, "question_changed"},
		{"maybe", nil, strings.ReplaceAll(good, "approve", "maybe"), 400, "bad_decision"},
	} {
		h := v.headers()
		if c.change != nil {
			c.change(h)
		}
		before := s.size()
		got := v.do(http.MethodPost, path, h, strings.NewReader(c.body))
		if got.code != c.code || got.reason() != c.reason || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %s, want %d %s", c.name, got.code, got.reason(), got.header.Get("Content-Type"), c.code, c.reason)
		}
		if n := s.size() - before; n != 1 {
			t.Errorf("%s: %d events, want one", c.name, n)
		}
	}
	if got := v.post(path+"?digest=x", good); got.reason() != "query_parameters" {
		t.Errorf("parameters in the address: %s", got.reason())
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"} {
		h := v.headers()
		h.Set("X-HTTP-Method-Override", "POST")
		if got := v.do(method, path, h, strings.NewReader(good)); got.code < 400 || got.code >= 500 {
			t.Errorf("%s: %d", method, got.code)
		}
	}
	if held(t, s, th) != "pending" {
		t.Fatal("one of them decided")
	}
	// Two cookies of one name: somebody else put one of them there.
	if got := v.do("GET", "/inbox", http.Header{"Cookie": {dash.CookieName(s.dash, "session") + "=stolen"}}, nil); got.code != 303 {
		t.Errorf("two session cookies: %d", got.code)
	}
	if got := v.post(path, good); got.code != 200 {
		t.Errorf("the real one: %d %s", got.code, got.body)
	}
}

func held(t *testing.T, s *site, th things) string {
	t.Helper()
	h, err := s.App.DB.Actions().Held(t.Context(), th.con.Org, th.held.Action.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(h.Action.State)
}

// Looking changes nothing, whoever looks: messengers, mail scanners and
// browsers that fetch ahead open every link that they see.
func TestLookingChangesNothing(t *testing.T) {
	var cases []struct{ ID, Description string }
	load(t, "http_abuse.json", &cases)
	s := newSite(t)
	_, link, err := s.App.Users.Create(t.Context(), operator, "grace", user.Member, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v := s.person("mira", user.Owner)
	th := s.things(v)
	action := "/actions/" + string(th.held.Action.ID)
	n := 0
	for _, c := range cases {
		_, how, ok := strings.Cut(c.Description, "GET/HEAD of an approval link by ")
		if !ok {
			continue
		}
		n++
		h := http.Header{"User-Agent": {how}}
		if name, value, ok := strings.Cut(strings.TrimPrefix(how, "Chrome prerender: "), ": "); ok {
			h = http.Header{name: {value}}
		}
		for _, method := range []string{"GET", "HEAD"} {
			for _, who := range []*visitor{s.stranger(), v} {
				before := s.size()
				for _, path := range []string{action, action + "/status", action + "?decision=approve&digest=" + th.held.Action.Effect.String(), action + "/decision", action + "/passkey",
					"/enrol/" + link.Reveal(), "/freeze", "/logout", "/agents/" + string(th.agent.ID) + "/suspend", "/grants/" + string(th.grant.ID) + "/revoke",
					"/connections/" + string(th.con.ID) + "/disconnect", "/device?state=approved"} {
					got := who.do(method, path, h, nil)
					if got.code >= 500 {
						t.Errorf("%s %s by %s: %d", method, path, how, got.code)
					}
					if !who.known() && (strings.Contains(got.body, "Hello from a valet.") || strings.Contains(got.body, "octocat")) {
						t.Errorf("%s %s shows an action to nobody", method, path)
					}
				}
				if after := s.size(); after != before || held(t, s, th) != "pending" {
					t.Fatalf("%s by %s: %d events, the action is %s", method, how, after-before, held(t, s, th))
				}
			}
		}
	}
	if n < 5 {
		t.Fatalf("%d prefetchers in the corpus", n)
	}
	s.stranger().enrol(link, "grace") // the link still works
	// Nor is the callback for scanners.
	to := v.must("/connections/connect", map[string]string{"provider": "github"}).location()
	back := v.consent(to, "hubot")
	if got := v.do("HEAD", back, nil, nil); got.code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of the callback: %d", got.code)
	}
	if got := v.get(back); got.header.Get("Location") != "/connections?done=connected" {
		t.Errorf("the callback after it: %s", got.header.Get("Location"))
	}
}

func (v *visitor) known() bool { return v.who.User != "" }

// A callback completes what its own session began, once, and nothing else.
func TestCallback(t *testing.T) {
	s := newSite(t)
	mira, eve := s.person("mira", user.Member), s.person("eve", user.Member)
	begin := func(v *visitor) (string, url.Values) {
		to := v.must("/connections/connect", map[string]string{"provider": "github"}).location()
		u, err := url.Parse(v.consent(to, "octocat"))
		if err != nil {
			t.Fatal(err)
		}
		return u.Path, u.Query()
	}
	count := func() int {
		all, err := s.App.DB.Connections().Connections(t.Context(), mira.who.Org)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	refused := func(name string, v *visitor, uri string) {
		t.Helper()
		got := v.get(uri)
		to := got.header.Get("Location")
		if got.code != 303 || !strings.HasPrefix(to, "/connections?done=") && to != "/welcome?done=cancelled&at=github" || to == "/connections?done=connected" || strings.Contains(to, "code") || strings.Contains(to, "state") {
			t.Errorf("%s: %d to %s", name, got.code, to)
		}
		if got.header.Get("Referrer-Policy") != "no-referrer" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, got.header)
		}
		if count() != 0 {
			t.Fatalf("%s: something was connected", name)
		}
	}
	path, q := begin(mira)
	refused("in another person's browser", eve, path+"?"+q.Encode())
	refused("in another session of the same person", s.session(mira.who), path+"?"+q.Encode())
	refused("without a session", s.stranger(), path+"?"+q.Encode())
	refused("two codes", mira, path+"?"+q.Encode()+"&code=x")
	refused("two states", mira, path+"?"+q.Encode()+"&state=x")
	refused("unknown state", mira, path+"?code=x&state=y")
	refused("another provider's path", mira, "/connect/github_app/callback?"+q.Encode())
	refused("error with markup", mira, path+"?error=access_denied&error_description=%3Cscript%3E&state="+q.Get("state"))
	if got := mira.get("/welcome?done=cancelled&at=github").body; !strings.Contains(got, "You cancelled at Sandbox; nothing was connected.") {
		t.Error("the guide does not say that it was cancelled")
	}
	if got := mira.get("/welcome?done=cancelled&at=Evil+Corp").body; strings.Contains(got, "Evil") {
		t.Error("the notice repeats its address")
	}
	if got := mira.get("/activity").body; !strings.Contains(got, "mira cancelled at Sandbox; nothing was connected") {
		t.Error("the log does not tell of it in plain words")
	}
	refused("after it was used up", mira, path+"?"+q.Encode())
	page := mira.get("/connections?done=%3Cscript%3E")
	if strings.Contains(page.body, "<script>") {
		t.Error("the notice repeats its address")
	}
	path, q = begin(mira)
	if got := mira.get(path + "?" + q.Encode()); got.header.Get("Location") != "/welcome?done=connected" || count() != 1 {
		t.Errorf("the real one: %s", got.header.Get("Location"))
	}
}

func TestReturnTo(t *testing.T) {
	var cases []struct{ ID, Kind, Value, Expect, Note string }
	load(t, "redirect_uris.json", &cases)
	n := 0
	for _, c := range cases {
		if c.Kind != "return_to" {
			continue
		}
		n++
		want := "/"
		if c.Expect == "accept" {
			want = c.Value
		}
		if got := dash.ReturnTo(c.Value); got != want {
			t.Errorf("%s %s: %q leads to %q", c.ID, c.Note, c.Value, got)
		}
	}
	if n < 5 {
		t.Fatalf("%d cases", n)
	}
	for _, bad := range []string{"", "inbox", "//evil.test", "///evil.test", "/\\evil.test", "https://evil.test", "/%5cevil.test", "/a/../logout", "/./x", "/\r\nSet-Cookie: x", "/inbox#x",
		"/LOGOUT", "/connect/github/callback?code=x", "/v1/actions", "/.well-known/jwks.json", "/é", "/inbox/list", "/" + strings.Repeat("a", 3000)} {
		if got := dash.ReturnTo(bad); got != "/" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
	for _, good := range []string{"/inbox", "/actions/act_1?x=1", "/activity?q=a%20b&before=3", "/device?code=BCDF-GHJK"} {
		if got := dash.ReturnTo(good); got != good {
			t.Errorf("%q leads to %q", good, got)
		}
	}
}

// What a policy says can be read off its text, for every rule that judges.
func TestRules(t *testing.T) {
	d := policy.Default()
	rules := dash.RulesOf(&policy.Document{ID: d.ID, Name: d.Name, Text: d.Text})
	set, err := policy.Compile([]policy.Source{d})
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != set.Len() {
		t.Fatalf("%d rules are shown, %d judge", len(rules), set.Len())
	}
	effects := map[string]string{}
	for _, r := range rules {
		effects[r.ID] = r.Effect
		if r.Origin != "shipped" || r.Title == r.ID || strings.HasPrefix(r.Source, "//") {
			t.Errorf("%+v", r)
		}
	}
	for id, want := range map[string]string{"default.reads": "permit", "default.ask-medium": "ask", "default.step-up-critical": "step_up"} {
		if effects[id] != want {
			t.Errorf("%s: %s, want %s", id, effects[id], want)
		}
	}
	odd := dash.RulesOf(&policy.Document{ID: "pol_x", Text: "@reason(\"a; b // c\")\nforbid (principal, action, resource) // ; not the end\nwhen { context.operation == \"a;\\\"b\" };\npermit (principal, action, resource);"})
	if len(odd) != 2 || odd[0].Effect != "deny" || odd[0].Title != "a; b // c" || odd[1].Effect != "permit" {
		t.Errorf("%+v", odd)
	}
}
