package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// slowly sends a request whose body comes in two parts, and calls between when
// the server has found out who asks and waits for the first of them: it says
// so, where a client expects it to (RFC 9110 §10.1.1).
func (w *world) slowly(by who, method, path, framing, first, second string, between func()) answer {
	w.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n%s\r\n", method, path, w.host, framing)
	if by.bearer != "" {
		head += "Authorization: Bearer " + by.bearer + "\r\n"
	} else {
		head += "Cookie: " + cookieName + "=" + by.cookie + "\r\n"
	}
	if _, err := c.Write([]byte(head + "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	early, err := http.ReadResponse(r, nil)
	if err != nil || early.StatusCode != http.StatusContinue {
		w.t.Fatalf("the server does not wait for the body: %+v, %v", early, err)
	}
	for _, part := range []string{first, second} {
		if _, err := c.Write([]byte(part)); err != nil {
			w.t.Fatal(err)
		}
		if part == first {
			between()
		}
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var body json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, body}
}

// Whoever is logged out or suspended while the body of their change is on its
// way does not get it done.
func TestAuthorityIsLookedAtAfterTheBody(t *testing.T) {
	w := newWorld(t).furnish()
	root := user.Principal{Org: w.mira.Org, Operator: true, Confirm: true}
	const body = `{"name":"eve"}`
	length := fmt.Sprintf("Content-Length: %d", len(body))
	logout := func(text string, kind user.SessionKind) func() {
		return func() {
			p, err := w.App.Users.Authenticate(t.Context(), secret.New(text), kind, time.Now())
			if err == nil {
				err = w.App.Users.Logout(t.Context(), p, time.Now())
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	suspend := func(p user.Principal) func() {
		return func() {
			if err := w.App.Users.SetStatus(t.Context(), root, p.User, user.Suspended, time.Now()); err != nil {
				t.Error(err)
			}
		}
	}
	olga, otto, oona := w.person("olga", user.Owner), w.person("otto", user.Owner), w.person("oona", user.Owner)
	for _, c := range []struct {
		name    string
		by      who
		kind    user.SessionKind
		between func(who) func()
	}{
		{"logged out", w.browser(olga), user.Browser, func(by who) func() { return logout(by.cookie, user.Browser) }},
		{"suspended", w.browser(otto), user.Browser, func(who) func() { return suspend(otto) }},
		{"command line logged out", w.commandLine(oona), user.CLI, func(by who) func() { return logout(by.bearer, user.CLI) }},
	} {
		before := w.size()
		a := w.slowly(c.by, "POST", "/v1/admin/users", length, body[:5], body[5:], c.between(c.by))
		if p := a.problem(t); p.Status != 401 || p.Reason != user.ErrLogin.Reason {
			t.Errorf("%s: %+v", c.name, p)
		}
		w.recordedOnce(before, c.name, a.status)
		for _, e := range w.events(before) {
			if e.Verb == "user.created" || e.Verb == "proposal.opened" {
				t.Errorf("%s: %s by %s", c.name, e.Verb, e.Actor)
			}
		}
	}

	// A body that only comes to its end late is one too.
	freeze := w.freshFreeze()
	by := w.browser(olga)
	a := w.slowly(by, "DELETE", "/v1/admin/freezes/"+string(freeze), "Transfer-Encoding: chunked", "0\r\n", "\r\n", logout(by.cookie, user.Browser))
	if p := a.problem(t); p.Status != 401 {
		t.Errorf("no body: %+v", p)
	}
	if len(w.App.Manage.Freezes.Active()) != 1 {
		t.Error("the freeze was ended")
	}

	// Who may still, does.
	by = w.browser(olga)
	a = w.slowly(by, "POST", "/v1/admin/users", length, body[:5], body[5:], func() {})
	if got := into[api.UserCreated](t, a); got.User.Name != "eve" {
		t.Errorf("%+v", got)
	}
}
