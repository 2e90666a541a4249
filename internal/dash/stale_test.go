package dash_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/user"
)

// reask does what the broker does when the rules of today ask for more: the
// action waits again, under another approval.
func (s *site) reask(o broker.Outcome, level approval.Level) *approval.Approval {
	s.t.Helper()
	now := time.Now()
	next := approval.New(o.Action, level, time.Hour, now)
	err := s.App.DB.Actions().Move(s.t.Context(), o.Action.Org, o.Action.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		approved, err := a.Approve("system", now)
		if err != nil {
			return nil, nil, err
		}
		withdrawn, err := p.Withdraw("system", "policy_changed", now)
		if err != nil {
			return nil, nil, err
		}
		asked, err := a.Reask(next.ID, "policy_changed", next.ExpiresAt, now)
		opened := *next
		return []audit.Event{approved, withdrawn, asked, opened.Opened(a, "system", now)}, &opened, err
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	return next
}

// A page answers the question that stood on it. Where the same bytes were
// asked about again meanwhile, neither its yes nor its no is taken for an answer
// to what it did not show.
func TestAnswerToAnotherQuestion(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	path := "/actions/" + string(th.held.Action.ID)
	page := v.get(path).body
	if !strings.Contains(page, `name="question" value="`+questionOf(th.held)+`"`) {
		t.Fatal("the page does not carry its question")
	}
	have := page[strings.Index(page, "/status?have=")+len("/status?have="):]
	have = have[:strings.Index(have, `"`)]
	if got := v.get(path + "/status?have=" + have); got.code != http.StatusNoContent {
		t.Errorf("the same again: %d", got.code)
	}

	next := s.reask(th.held, approval.Approve)
	for _, answer := range []string{"approve", "deny"} {
		got := v.post(path+"/decision", map[string]string{"decision": answer, "digest": th.held.Action.Effect.String(), "question": questionOf(th.held), "reason": ""})
		if got.code != http.StatusConflict || got.reason() != "question_changed" {
			t.Errorf("%s to the question of before: %d %s", answer, got.code, got.reason())
		}
	}
	if got := held(t, s, th); got != "pending" {
		t.Fatalf("decided all the same: %s", got)
	}
	part := v.get(path + "/status?have=" + have)
	if part.code != http.StatusOK || !strings.Contains(part.body, "Asked again at") || strings.Contains(part.body, questionOf(th.held)) {
		t.Errorf("the open page does not learn that it was asked again: %d", part.code)
	}
	v.must(path+"/decision", map[string]string{"decision": "approve", "digest": th.held.Action.Effect.String(), "question": questionOf(broker.Outcome{Approval: next}), "reason": ""})
	await(t, s, th.held)

	// Nor is a touch of the passkey begun for a question that is over.
	th = s.things(v)
	path = "/actions/" + string(th.held.Action.ID)
	s.reask(th.held, approval.StepUp)
	got := v.post(path+"/passkey", map[string]string{"digest": th.held.Action.Effect.String(), "question": questionOf(th.held)})
	if got.reason() != "question_changed" {
		t.Errorf("a touch for the question of before: %d %s", got.code, got.reason())
	}
}

// slowly sends a form whose body comes in two parts, and calls between when the
// server has found out who asks and waits for the first of them: it says so,
// where a client expects it to (RFC 9110 §10.1.1).
func (v *visitor) slowly(path, body string, between func()) answer {
	v.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(v.base, "http://"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\nSec-Fetch-Site: same-origin\r\n", path, strings.TrimPrefix(v.base, "http://"), len(body))
	fmt.Fprintf(&head, "Content-Type: application/json\r\nValetkey-Csrf: %s\r\n", v.token())
	for name, value := range v.cookies {
		fmt.Fprintf(&head, "Cookie: %s=%s\r\n", name, value)
	}
	if _, err := conn.Write([]byte(head.String() + "\r\n")); err != nil {
		v.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	early, err := http.ReadResponse(r, nil)
	if err != nil || early.StatusCode != http.StatusContinue {
		v.t.Fatalf("the server does not wait for the body: %+v, %v", early, err)
	}
	for _, part := range []string{body[:len(body)/2], body[len(body)/2:]} {
		if _, err := conn.Write([]byte(part)); err != nil {
			v.t.Fatal(err)
		}
		between()
		between = func() {}
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text := new(strings.Builder)
	if _, err := bufio.NewReader(res.Body).WriteTo(text); err != nil {
		v.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, text.String()}
}

// Whoever is logged out or suspended while the body of their change trickles
// in does not get that change done.
func TestSlowBody(t *testing.T) {
	s := newSite(t)
	for name, end := range map[string]func(user.Principal) error{
		"logged out": func(p user.Principal) error { return s.App.Users.Logout(t.Context(), p, time.Now()) },
		"suspended": func(p user.Principal) error {
			return s.App.Users.SetStatus(t.Context(), operator, p.User, user.Suspended, time.Now())
		},
		"by nobody": func(user.Principal) error { return nil },
	} {
		v := s.person("person-"+strings.ReplaceAll(name, " ", "-"), user.Member)
		th := s.things(v)
		got := v.slowly("/actions/"+string(th.held.Action.ID)+"/decision",
			`{"decision":"approve","digest":"`+th.held.Action.Effect.String()+`","question":"`+questionOf(th.held)+`","reason":""}`,
			func() {
				if err := end(v.who); err != nil {
					t.Fatal(err)
				}
			})
		if name == "by nobody" {
			if got.code != http.StatusOK {
				t.Errorf("a slow body alone is refused: %d %s", got.code, got.body)
			}
			continue
		}
		if got.code != http.StatusUnauthorized || got.reason() != user.ErrLogin.Reason {
			t.Errorf("%s: %d %s", name, got.code, got.reason())
		}
		if state := held(t, s, th); state != "pending" && state != "revoked" {
			t.Errorf("%s: the action is %s", name, state)
		}
	}
}

// What is frozen or suspended cannot run: its question says so, keeps a yes
// from ending it, and takes a no.
func TestFrozenQuestion(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	path := "/actions/" + string(th.held.Action.ID)
	answer := func(yes string) answer {
		return v.post(path+"/decision", map[string]string{"decision": yes, "digest": th.held.Action.Effect.String(), "question": questionOf(th.held), "reason": ""})
	}
	stops := map[string]func() (undo func() error){
		"is suspended.": func() func() error {
			if err := s.App.Manage.SuspendAgent(t.Context(), v.who, string(th.agent.ID), time.Now()); err != nil {
				t.Fatal(err)
			}
			return func() error {
				return s.App.Manage.ResumeAgent(t.Context(), v.who, string(th.agent.ID), time.Now())
			}
		},
	}
	for kind, target := range map[freeze.Kind]string{freeze.All: "", freeze.Agent: string(th.agent.ID), freeze.Connection: string(th.con.ID), freeze.User: string(v.who.User)} {
		stops[map[freeze.Kind]string{freeze.All: "Everything is frozen.", freeze.Agent: th.agent.Name + "</bdi>", freeze.Connection: "The connection octocat on ", freeze.User: "Everything of mira is frozen."}[kind]] = func() func() error {
			f, err := s.App.Freezes.Throw(t.Context(), th.agent.Org, kind, target, "odd", "system", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return func() error { return s.App.Freezes.Lift(t.Context(), f.Org, f.ID, "system", time.Now()) }
		}
	}
	for says, stop := range stops {
		undo := stop()
		page, inbox := v.get(path).body, v.get("/inbox").body
		if !strings.Contains(page, says) || strings.Contains(page, `value="approve"`) || !strings.Contains(page, `value="deny"`) {
			t.Errorf("%s: the page offers the wrong answers", says)
		}
		if !strings.Contains(inbox, says) || !strings.Contains(inbox, "cannot run until that ends") {
			t.Errorf("%s: the inbox does not say it", says)
		}
		if got := answer("approve"); got.code != http.StatusConflict || got.reason() != "cannot_run" {
			t.Errorf("%s: a yes is answered %d %s", says, got.code, got.reason())
		}
		if got := held(t, s, th); got != "pending" {
			t.Fatalf("%s: the action is %s", says, got)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if page := v.get(path).body; !strings.Contains(page, `value="approve"`) {
			t.Errorf("%s no more, and a yes is not offered", says)
		}
	}
	s.freeze(freeze.All, "")
	if got := answer("deny"); got.code != http.StatusOK {
		t.Errorf("a no while it is frozen: %d %s", got.code, got.reason())
	}
}

func (s *site) freeze(kind freeze.Kind, target string) {
	s.t.Helper()
	if _, err := s.App.Freezes.Throw(s.t.Context(), "org_default", kind, target, "odd", "system", time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// The list of agents says what holds for each, whoever stopped it.
func TestFrozenAgents(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	if page := v.get("/agents").body; !strings.Contains(page, "Active") || strings.Contains(page, "never seen") {
		t.Error("an agent that has asked is not shown as active and seen")
	}
	s.freeze(freeze.Agent, string(th.agent.ID))
	if page := v.get("/agents").body; !strings.Contains(page, "chip state frozen") {
		t.Error("a frozen agent is shown as another")
	}
	if page := v.get("/agents/" + string(th.agent.ID)).body; !strings.Contains(page, "chip state frozen") || strings.Contains(page, "/resume") || !strings.Contains(page, "Unfreeze with passkey") {
		t.Error("its page does not offer to unfreeze it, or offers to resume what is not suspended")
	}
	if got := v.post("/agents/"+string(th.agent.ID)+"/resume", struct{}{}); got.reason() != "not_suspended" {
		t.Errorf("resuming lifts a freeze: %d %s", got.code, got.body)
	}
	s.thaw()
	for _, page := range []string{"/agents", "/agents/" + string(th.agent.ID)} {
		if !strings.Contains(v.get(page).body, "/agents/"+string(th.agent.ID)+"/freeze") {
			t.Errorf("%s does not offer to freeze it", page)
		}
	}
	if got := v.must("/agents/"+string(th.agent.ID)+"/freeze", struct{}{}); got.location() != "/agents/"+string(th.agent.ID)+"?done=frozen" || len(s.App.Freezes.Active()) != 1 {
		t.Errorf("freezing: %s", got.body)
	}
	s.thaw()
	s.freeze(freeze.All, "")
	if page := v.get("/agents").body; !strings.Contains(page, "chip state frozen") {
		t.Error("while everything is frozen, an agent is shown as active")
	}
	if page := v.get("/agents/" + string(th.agent.ID)).body; !strings.Contains(page, "chip state frozen") || strings.Contains(page, "/resume") {
		t.Error("resuming one agent is offered, and would do nothing")
	}
}

// The receipt of a decided action is handed out as a file that verifies.
func TestReceiptOfAnAction(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	path := "/actions/" + string(th.held.Action.ID)
	if strings.Contains(v.get(path).body, path+"/receipt") {
		t.Error("a receipt is offered of what nobody has answered")
	}
	v.must(path+"/decision", map[string]string{"decision": "deny", "digest": th.held.Action.Effect.String(), "question": questionOf(th.held), "reason": "no"})
	if !strings.Contains(v.get(path).body, path+"/receipt") {
		t.Error("no receipt is offered")
	}
	got := v.get(path + "/receipt")
	if want := `attachment; filename="receipt-` + string(th.held.Action.ID) + `.json"`; got.code != http.StatusOK || got.header.Get("Content-Disposition") != want {
		t.Fatalf("%d %s", got.code, got.header.Get("Content-Disposition"))
	}
	r, err := approval.ParseReceipt([]byte(got.body))
	if err != nil {
		t.Fatal(err)
	}
	if seen := r.Verify(approval.Trust{}); !seen.OK() {
		t.Errorf("%+v", seen.Links)
	}
}
