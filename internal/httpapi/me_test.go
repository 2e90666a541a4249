package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/user"
)

// A change of somebody's role is an owner's, with one change at a time, and at a
// command line it becomes a proposal.
func TestRoleOverTheAPI(t *testing.T) {
	w := newWorld(t)
	owner, admin := w.person("olga", user.Owner), w.person("adam", user.Admin)
	w.person("vera", user.Member)
	for name, c := range map[string]struct {
		by     who
		change api.UserChange
		reason string
	}{
		"an admin":    {w.browser(admin), api.UserChange{Role: "owner"}, "not_allowed"},
		"two at once": {w.browser(owner), api.UserChange{Role: "owner", Status: "suspended"}, "one_change"},
		"no role":     {w.browser(owner), api.UserChange{Role: "root"}, "bad_role"},
	} {
		if got := w.raw(w.request(c.by, "PATCH", "/v1/admin/users/vera", c.change), c.by); got.problem(t).Reason != c.reason {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	stale := who{cookie: w.login(owner, user.Browser, time.Now().Add(-time.Hour))}
	if got := w.send(stale, "PATCH", "/v1/admin/users/vera", api.UserChange{Role: "admin"}); got.problem(t).Reason != "confirm_required" {
		t.Errorf("without a touch: %s", got.body)
	}
	if got := w.send(w.commandLine(owner), "PATCH", "/v1/admin/users/vera", api.UserChange{Role: "admin"}); got.status != 202 || !strings.Contains(into[api.Proposal](t, got).Summary, "vera") {
		t.Errorf("a command line: %d %s", got.status, got.body)
	}
	if u := into[api.User](t, w.send(w.browser(owner), "PATCH", "/v1/admin/users/vera", api.UserChange{Role: "admin"})); u.Role != "admin" {
		t.Errorf("%+v", u)
	}
	if got := w.send(w.browser(owner), "PATCH", "/v1/admin/users/olga", api.UserChange{Role: "member"}); got.problem(t).Reason != "last_owner" {
		t.Errorf("the last owner: %s", got.body)
	}
}

// Whoever looks at everybody sees who still has a link to come in by; others
// see nothing of it.
func TestLinkExpiresAt(t *testing.T) {
	w := newWorld(t)
	owner := w.person("olga", user.Owner)
	vera := w.person("vera", user.Member)
	until := func(by who) map[string]bool {
		out := map[string]bool{}
		for _, u := range into[api.Page[api.User]](t, w.send(by, "GET", "/v1/admin/users", nil)).Items {
			out[u.Name] = !u.LinkExpiresAt.IsZero()
		}
		return out
	}
	if got := until(w.browser(owner)); !got["vera"] {
		t.Errorf("an owner sees %v", got)
	}
	if got := until(w.browser(vera)); len(got) != 1 || got["vera"] {
		t.Errorf("a member sees %v", got)
	}
	if got := into[api.LinksVoided](t, w.send(w.browser(owner), "DELETE", "/v1/admin/users/vera/enrol-link", nil)); got.Voided != 1 {
		t.Errorf("%+v", got)
	}
	if got := until(w.browser(owner)); got["vera"] {
		t.Errorf("after it was voided: %v", got)
	}
}

// One's own sessions are listed, the asking one by name, and end.
func TestOwnSessionsOverTheAPI(t *testing.T) {
	w := newWorld(t)
	vera := w.person("vera", user.Member)
	here, there := w.browser(vera), w.commandLine(vera)
	page := into[api.Page[api.Session]](t, w.send(here, "GET", "/v1/me/sessions", nil))
	if len(page.Items) != 2 || page.Items[0].Current == page.Items[1].Current {
		t.Fatalf("%+v", page)
	}
	if got := into[api.SessionsEnded](t, w.send(here, "DELETE", "/v1/me/sessions", nil)); got.Ended != 1 {
		t.Errorf("%+v", got)
	}
	if got := w.send(there, "GET", "/v1/me", nil); got.status != 401 {
		t.Errorf("an ended one: %d", got.status)
	}
	if got := w.send(here, "GET", "/v1/me", nil); got.status != 200 {
		t.Errorf("the one that asked: %d", got.status)
	}
}
