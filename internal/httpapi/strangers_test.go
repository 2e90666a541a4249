package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// otherOrg is another org in the same database, with everything in it that we
// have in ours: none of it counts here.
const otherOrg = id.Org("org_other")

// foreignAgent is the access token of an agent of another org.
func (w *world) foreignAgent() string {
	w.t.Helper()
	now := time.Now()
	event := func(verb, object string, data map[string]string) audit.Event {
		return audit.Event{At: now, Org: otherOrg, Verb: verb, Actor: "system", Object: object, Data: data}
	}
	other := &agent.Service{Org: otherOrg, Store: w.App.DB.Agents(), Issuer: w.App.Config.PublicURL, Epoch: w.App.DB.Epoch}
	a, keys, err := other.Register(w.t.Context(), agent.Registration{Name: "foreign", Owner: id.NewUser(), Key: []byte(publicKey(w.t))}, now, event)
	if err != nil {
		w.t.Fatal(err)
	}
	c := vktest.Caller(a)
	c.Key = keys.ID
	text, _, err := other.Issue(w.t.Context(), c, nil, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return text.Reveal()
}

// foreignSession is a login of an owner of another org.
func (w *world) foreignSession(kind user.SessionKind) string {
	w.t.Helper()
	now := time.Now()
	own := w.App.Users
	other := &user.Service{Org: otherOrg, Store: own.Store, WebAuthn: own.WebAuthn, Tries: own.Tries, Refused: own.Refused, Log: own.Log}
	u, _, err := other.Create(w.t.Context(), user.Principal{Org: otherOrg, Operator: true, Confirm: true}, "o-"+string(id.NewUser())[4:20], user.Owner, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.login(user.Principal{Org: otherOrg, User: u.ID, Name: u.Name, Role: u.Role, Kind: kind, AuthAt: now}, kind, now)
}

// Whoever brings a credential that is none of ours, or none any more, gets what
// nobody gets, on every route: a bad credential is never better than none, and
// one of another org is a bad one.
func TestBadCredentialsAreNobody(t *testing.T) {
	w := newWorld(t).furnish()
	mine := w.login(w.mira, user.CLI, time.Now())
	flipped := func(s string) string {
		last := byte('A')
		if s[len(s)-1] == last {
			last = 'B'
		}
		return s[:len(s)-1] + string(last)
	}
	ended := w.person("gone", user.Owner)
	former := w.login(ended, user.CLI, time.Now())
	var gone *user.Session
	h := secret.New(former).Hash()
	gone, _, err := w.App.DB.Users().Sessions().ByHash(t.Context(), h[:])
	if err != nil {
		t.Fatal(err)
	}
	ended.Session = gone.ID
	if err := w.App.Users.Logout(t.Context(), ended, time.Now()); err != nil {
		t.Fatal(err)
	}
	strangers := map[string]who{
		"garbage":                      {bearer: "garbage-garbage-garbage"},
		"an unknown agent token":       {bearer: "vka_" + secret.Random(32).Reveal()},
		"an unknown session":           {bearer: "vks_" + secret.Random(32).Reveal()},
		"an agent token, one off":      {bearer: flipped(w.token)},
		"half an agent token":          {bearer: w.token[:len(w.token)/2]},
		"a session, one off":           {bearer: flipped(mine)},
		"a session that has ended":     {bearer: former},
		"a browser's session, sent":    {bearer: w.login(w.mira, user.Browser, time.Now())},
		"a terminal's session, kept":   {cookie: mine},
		"an agent token as a cookie":   {cookie: w.token},
		"a garbage cookie":             {cookie: "garbage"},
		"an agent of another org":      {bearer: w.foreignAgent()},
		"an owner of another org":      {bearer: w.foreignSession(user.CLI)},
		"their browser":                {cookie: w.foreignSession(user.Browser)},
		"a bad bearer, a good cookie":  {bearer: "garbage-garbage-garbage", cookie: w.login(w.mira, user.Browser, time.Now())},
		"another org's beside our own": {bearer: w.foreignSession(user.CLI), cookie: w.login(w.mira, user.Browser, time.Now())},
	}
	rows := matrix()
	n := 0
	for _, pattern := range w.api.Patterns() {
		method, path, _ := strings.Cut(pattern, " ")
		row, known := rows[pattern]
		if !known {
			t.Errorf("%s has no row", pattern)
			continue
		}
		if path = row.path(w); path == "decision" {
			path = "/v1/approvals/" + w.freshHeld().Approval.ID + "/decision"
		}
		var body any
		if row.body != nil {
			body = row.body(w, "member")
		}
		for name, by := range strangers {
			n++
			before := w.size()
			got := w.raw(w.request(by, method, path, body), by)
			if got.status != row.want[0] {
				t.Errorf("%s with %s: %d, want %d: %.200s", pattern, name, got.status, row.want[0], got.body)
			}
			if got.status == http.StatusUnauthorized {
				got.problem(t)
				if got.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s with %s: no challenge", pattern, name)
				}
			}
			for _, e := range w.events(before) {
				if !strings.HasSuffix(e.Verb, ".refused") && e.Verb != "refusals.counted" && row.want[0] == http.StatusUnauthorized {
					t.Errorf("%s with %s: %s happened", pattern, name, e.Verb)
				}
			}
		}
	}
	t.Logf("%s", fmt.Sprint(n, " requests"))
}
