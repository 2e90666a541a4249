package dash_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/user"
)

var shownInput = regexp.MustCompile(`<input type="hidden" name="shown" value="([A-Za-z0-9_-]+)" form="decide-form">`)

// shownIn is the token that a page carries of what it shows.
func shownIn(t *testing.T, page string) string {
	t.Helper()
	m := shownInput.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the page keeps nothing of what it shows: %s", page)
	}
	return m[1]
}

// The page never waits for the upstream; what is there now comes after it, or
// where a link without a script asks for it.
func TestPreviewComesAfterThePage(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	path, issue := "/actions/"+string(th.held.Action.ID), "/repos/octo/api/issues/1"
	before := s.Sandbox.Count("GET", issue)
	s.Sandbox.Delay(issue, 10*time.Second)
	began := time.Now()
	page := v.get(path).body
	if took := time.Since(began); took > 2*time.Second || s.Sandbox.Count("GET", issue) != before {
		t.Errorf("the page looked upstream, and took %s", took)
	}
	for _, want := range []string{`hx-get="` + path + `/preview"`, `href="` + path + `?now=1#preview"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	s.Sandbox.Delay(issue, 0)
	for _, at := range []string{path + "/preview", path + "?now=1"} {
		got := v.get(at)
		for _, want := range []string{"Login times out behind the new proxy", "New comment", "beside", "hubot"} {
			if got.code != http.StatusOK || !strings.Contains(got.body, want) {
				t.Errorf("%s: %d, without %q", at, got.code, want)
			}
		}
		shownIn(t, got.body)
	}
	s.freeze(freeze.Agent, string(th.agent.ID))
	if got := v.get(path + "/preview"); got.code != http.StatusNotFound {
		t.Errorf("frozen: %d", got.code)
	}
}

// The passkey signs what was shown, and the answer that comes with it is to
// that: no other view can be put under it.
func TestPasskeySignsWhatWasShown(t *testing.T) {
	s := newSite(t)
	v, k := s.keyed("mira", user.Owner)
	th := s.things(v)
	remove := s.submit(th.agent, broker.Ask{Connection: string(th.con.ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}})
	path := "/actions/" + string(remove.Action.ID)
	about := func(shown string, more map[string]any) map[string]any {
		out := map[string]any{"digest": remove.Action.Effect.String(), "question": questionOf(remove)}
		if shown != "" {
			out["shown"] = shown
		}
		for name, value := range more {
			out[name] = value
		}
		return out
	}
	first := shownIn(t, v.get(path+"/preview").body)
	s.Sandbox.PushTo("octocat/hello-world", "main", "README.md", "# changed\n")
	time.Sleep(1100 * time.Millisecond) // the upstream counts in seconds
	s.Sandbox.PushTo("octocat/hello-world", "main", "README.md", "# again\n")
	second := shownIn(t, v.get(path+"/preview").body)

	if got := v.post(path+"/passkey", about("AAAA", nil)); got.reason() != "preview_stale" {
		t.Errorf("a view that was made up: %d %s", got.code, got.reason())
	}
	assertion := v.assert(k, path+"/passkey", about(first, nil))
	if got := v.post(path+"/decision", about(second, map[string]any{"decision": "approve", "reason": "", "assertion": assertion})); got.reason() != "presence_required" {
		t.Errorf("signed one view, answered another: %d %s", got.code, got.reason())
	}
	assertion = v.assert(k, path+"/passkey", about(first, nil))
	if got := v.post(path+"/decision", about("", map[string]any{"decision": "approve", "reason": "", "assertion": assertion})); got.reason() != "presence_required" {
		t.Errorf("signed a view, answered without: %d %s", got.code, got.reason())
	}
	assertion = v.assert(k, path+"/passkey", about(second, nil))
	v.must(path+"/decision", about(second, map[string]any{"decision": "approve", "reason": "", "assertion": assertion}))
	await(t, s, remove)
	if n := s.Sandbox.Count("DELETE", "/repos/octocat/hello-world"); n != 1 {
		t.Errorf("%d deletions", n)
	}
}

// What strangers wrote upstream is text on the page, whatever it is.
func TestHostileUpstream(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	path := "/actions/" + string(th.held.Action.ID) + "/preview"
	long := strings.Repeat(" y", 300) // so that each is cut, and says so
	s.Sandbox.EditIssue("octo/api", 1, "Login"+long, "harmless\n\n"+strings.Repeat("x", 6000))
	if got := v.get(path).body; !strings.Contains(got, "more characters") {
		t.Error("what is cut is not counted")
	}
	want := skeleton(t, v.get(path).body)
	for _, c := range corpus(t) {
		if strings.ContainsRune(c.Value, 0) || len(c.Value) > 20_000 {
			continue
		}
		s.Sandbox.EditIssue("octo/api", 1, c.Value+long, c.Value+"\n\n"+strings.Repeat("x", 6000))
		got := v.get(path)
		if got.code != http.StatusOK {
			t.Errorf("%s: %d", c.ID, got.code)
			continue
		}
		if have := skeleton(t, got.body); strings.Join(have, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s (%s) changes the page: %d elements, want %d", c.ID, c.Class, len(have), len(want))
		}
		for _, r := range "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200b\u200c" {
			if strings.ContainsRune(got.body, r) {
				t.Errorf("%s: U+%04X is in the page", c.ID, r)
			}
		}
	}
}

// The owner shares what is seen through an account, and takes it back.
func TestSharePreviewsOnThePage(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	at := "/connections/" + string(th.con.ID) + "/previews"
	if got := v.post(at, map[string]string{"with": "everybody"}); got.reason() != "bad_sight" {
		t.Errorf("shared with everybody: %d %s", got.code, got.reason())
	}
	v.must(at, map[string]string{"with": "approvers"})
	if page := v.get("/connections").body; !strings.Contains(page, "whoever may approve sees") || !strings.Contains(page, "Stop showing approvers") {
		t.Error("the page does not say that it is shared")
	}
	v.must(at, map[string]string{"with": "owner"})
	if page := v.get("/connections").body; strings.Contains(page, "whoever may approve sees") {
		t.Error("it is still shared")
	}
}
