package httpapi_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/user"
)

var listIssues = api.ActionRequest{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}

func comment(body string) api.ActionRequest {
	return api.ActionRequest{
		Connection: "github", Operation: "github.issues.create_comment", Note: "please",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": body},
	}
}

// The road over HTTP: a read at once, a write after a person's answer.
func TestActions(t *testing.T) {
	w := newWorld(t).furnish()
	browser := w.browser(w.mira)

	cons := into[api.Page[api.Connection]](t, w.send(w.agent(), "GET", "/v1/connections", nil))
	if len(cons.Items) != 1 || cons.Items[0].Account != "octocat" || len(cons.Items[0].Grants) != 1 {
		t.Fatalf("connections: %+v", cons)
	}
	ops := into[api.Page[api.Operation]](t, w.send(w.agent(), "GET", "/v1/operations?connection=github", nil))
	if len(ops.Items) < 20 || ops.Items[0].Provider != "github" {
		t.Fatalf("%d operations", len(ops.Items))
	}

	read := into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", listIssues))
	if read.Status != 200 || read.State != api.StateSucceeded || len(read.Body) < 10 || read.BodyBase64 != nil {
		t.Fatalf("read: %+v", read)
	}
	raw := w.send(w.agent(), "POST", "/v1/actions?stream=1", listIssues)
	if raw.status != 200 || raw.header.Get(api.HeaderUpstreamStatus) != "200" || !strings.HasPrefix(raw.header.Get(api.HeaderAction), "act_") || !strings.HasPrefix(string(raw.body), "[") {
		t.Fatalf("raw: %d %v %.80s", raw.status, raw.header, raw.body)
	}
	missing := listIssues
	missing.Operation, missing.Params = "", nil
	missing.Method, missing.Path = "GET", "/repos/octo/api/issues/9999"
	if got := into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", missing)); got.Status != 404 || got.State != api.StateFailed {
		t.Errorf("an upstream's 404 is a result: %+v", got)
	}

	first := w.send(w.agent(), "POST", "/v1/actions", comment("Hello."))
	held := into[api.Action](t, first)
	if first.status != 202 || first.header.Get("Location") != "/v1/actions/"+held.ID || held.State != api.StatePending || held.Approval == nil ||
		held.Approval.URL != w.Config.PublicURL+"actions/"+held.ID || held.Account != "octocat" || held.Note != "please" || held.Replayed {
		t.Fatalf("held: %d %+v", first.status, held)
	}
	if again := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Hello."))); !again.Replayed || again.ID != held.ID {
		t.Errorf("a repeat did not attach: %+v", again)
	}
	mine := into[api.Page[api.Action]](t, w.send(w.agent(), "GET", "/v1/actions?limit=1", nil))
	if len(mine.Items) != 1 || mine.Items[0].ID != held.ID || mine.Next == "" {
		t.Errorf("list: %+v", mine)
	}
	if next := into[api.Page[api.Action]](t, w.send(w.agent(), "GET", "/v1/actions?limit=1&cursor="+mine.Next, nil)); len(next.Items) != 0 {
		t.Errorf("next page: %+v", next)
	}
	if got := w.send(w.agent(), "GET", "/v1/actions/"+held.ID+"/response", nil).problem(t); got.Status != 409 || got.Action != held.ID {
		t.Errorf("answer of a pending action: %+v", got)
	}

	inbox := into[api.Page[api.Approval]](t, w.send(browser, "GET", "/v1/approvals", nil))
	if len(inbox.Items) != 1 || !inbox.Items[0].CanDecide || inbox.Items[0].Request != nil {
		t.Fatalf("inbox: %+v", inbox)
	}
	shown := into[api.Approval](t, w.send(browser, "GET", "/v1/approvals/"+held.Approval.ID, nil))
	if shown.Request == nil || shown.Request.BodyText != `{"body":"Hello."}` || shown.Request.Effect != held.Effect || shown.Agent.Name != "triage" {
		t.Fatalf("shown: %+v", shown)
	}
	decision := "/v1/approvals/" + held.Approval.ID + "/decision"
	stale := api.Decision{Decision: api.AnswerApprove, Effect: strings.Repeat("0", 64)}
	if p := w.send(browser, "POST", decision, stale).problem(t); p.Reason != "approval_stale" {
		t.Errorf("a stale answer: %+v", p)
	}

	waiting := make(chan answer)
	go func() { waiting <- w.send(w.agent(), "GET", "/v1/actions/"+held.ID+"?wait=60", nil) }()
	yes := into[api.Approval](t, w.send(browser, "POST", decision, api.Decision{Decision: api.AnswerApprove, Effect: shown.Request.Effect}))
	if yes.DecidedBy != string(w.mira.User) || yes.Channel != "web" || yes.CanDecide {
		t.Errorf("decided: %+v", yes)
	}
	done := into[api.Action](t, <-waiting)
	if !done.Final || done.State != api.StateSucceeded || done.Outcome == nil || done.Outcome.Status != 201 || !done.Outcome.Response {
		t.Fatalf("done: %+v", done)
	}
	kept := w.send(w.agent(), "GET", "/v1/actions/"+held.ID+"/response", nil)
	if kept.status != 200 || kept.header.Get(api.HeaderUpstreamStatus) != "201" || !strings.Contains(string(kept.body), "Hello.") || kept.header.Get("Content-Security-Policy") == "" {
		t.Errorf("kept: %d %v", kept.status, kept.header)
	}
	if n := w.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 1 {
		t.Errorf("%d comments upstream", n)
	}

	req := comment("Other.")
	req.IdempotencyKey = "job-7"
	other := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", req))
	if found := into[api.Page[api.Action]](t, w.send(w.agent(), "GET", "/v1/actions?idempotency_key=job-7", nil)); len(found.Items) != 1 || found.Items[0].ID != other.ID {
		t.Errorf("by key: %+v", found)
	}
	if gone := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions/"+other.ID+"/cancel", nil)); gone.State != api.StateCancelled {
		t.Errorf("cancelled: %+v", gone)
	}
	if p := w.send(browser, "POST", "/v1/approvals/"+other.Approval.ID+"/decision", api.Decision{Decision: api.AnswerDeny, Effect: other.Effect}).problem(t); p.Status != 409 {
		t.Errorf("answer to what was withdrawn: %+v", p)
	}

	no := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Third.")))
	w.send(browser, "POST", "/v1/approvals/"+no.Approval.ID+"/decision", api.Decision{Decision: api.AnswerDeny, Effect: no.Effect, Reason: "Not today."})
	if got := into[api.Action](t, w.send(w.agent(), "GET", "/v1/actions/"+no.ID, nil)); got.State != api.StateDenied || got.Outcome.Why != "Not today." {
		t.Errorf("denied: %+v", got.Outcome)
	}
}

// Another agent, and a person, see none of it.
func TestActionsAreTheirAgents(t *testing.T) {
	w := newWorld(t).furnish()
	held := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Mine.")))
	spy, _ := w.Agent(w.mira, "spy")
	other := who{bearer: w.bearer(spy)}
	for _, r := range [][2]string{
		{"GET", "/v1/actions/" + held.ID}, {"GET", "/v1/actions/" + held.ID + "?wait=60"}, {"GET", "/v1/actions/" + held.ID + "/events"},
		{"GET", "/v1/actions/" + held.ID + "/response"}, {"POST", "/v1/actions/" + held.ID + "/cancel"}, {"GET", "/v1/actions/act_nonsense"},
	} {
		before := w.size()
		if p := w.send(other, r[0], r[1], nil).problem(t); p.Reason != "action_not_found" || p.Status != 404 {
			t.Errorf("%v: %+v", r, p)
		}
		refused := 0
		for _, e := range w.events(before) {
			if strings.HasSuffix(e.Verb, ".refused") && e.Actor == "agent:"+string(spy.ID) {
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("%v was recorded %d times", r, refused)
		}
	}
	if p := w.send(other, "POST", "/v1/actions", listIssues).problem(t); p.Reason != "connection_not_found" {
		t.Errorf("foreign connection: %+v", p)
	}
}

// A step-up is not answered by a request, and a command line answers nothing:
// both are told where the page is.
func TestDecisionsThatNeedThePage(t *testing.T) {
	w := newWorld(t).furnish()
	del := api.ActionRequest{Connection: "github", Method: "DELETE", Path: "/repos/octo/api"}
	critical := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", del))
	if critical.Approval.Level != api.LevelStepUp {
		t.Fatalf("deleting a repository asks for %s", critical.Approval.Level)
	}
	browser, cli := w.browser(w.mira), w.commandLine(w.mira)
	for name, c := range map[string]struct {
		by     who
		a      api.Action
		answer api.Answer
		reason string
	}{
		"step-up":      {browser, critical, api.AnswerApprove, "presence_required"},
		"command line": {cli, critical, api.AnswerDeny, "browser_required"},
	} {
		p := w.send(c.by, "POST", "/v1/approvals/"+c.a.Approval.ID+"/decision", api.Decision{Decision: c.answer, Effect: c.a.Effect}).problem(t)
		if p.Reason != c.reason || p.Status != 403 || !strings.Contains(p.Detail, c.a.Approval.URL) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	shown := into[api.Approval](t, w.send(browser, "GET", "/v1/approvals/"+critical.Approval.ID, nil))
	if len(shown.Challenge) != 43 {
		t.Errorf("challenge %q", shown.Challenge)
	}
	if shown := into[api.Approval](t, w.send(cli, "GET", "/v1/approvals/"+critical.Approval.ID, nil)); shown.CanDecide || shown.WhyNot == "" || shown.Request == nil {
		t.Errorf("at the command line: %+v", shown)
	}
	if n := w.Sandbox.Count("DELETE", "/repos/octo/api"); n != 0 {
		t.Errorf("%d calls upstream", n)
	}
}

// message is one server-sent event.
type message struct{ event, id, data string }

func readMessage(t *testing.T, r *bufio.Scanner) message {
	t.Helper()
	var m message
	for r.Scan() {
		line := r.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "event":
			m.event = value
		case "id":
			m.id = value
		case "data":
			m.data = value
		case "":
			if m.event != "" {
				return m
			}
		}
	}
	t.Fatalf("the stream ended: %v", r.Err())
	return m
}

func (w *world) open(by who, path string, header ...string) (*http.Response, *bufio.Scanner) {
	w.t.Helper()
	req := w.request(by, "GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != api.MediaEvents {
		w.t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	return res, bufio.NewScanner(res.Body)
}

func TestEvents(t *testing.T) {
	w := newWorld(t).furnish()
	held := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Follow me.")))
	_, lines := w.open(w.agent(), "/v1/actions/"+held.ID+"/events", "Last-Event-ID", "nonsense")
	m := readMessage(t, lines)
	if m.event != "action" || !strings.Contains(m.data, `"state":"pending"`) || m.id == "" {
		t.Fatalf("first message: %+v", m)
	}
	w.send(w.browser(w.mira), "POST", "/v1/approvals/"+held.Approval.ID+"/decision", api.Decision{Decision: api.AnswerDeny, Effect: held.Effect})
	if m = readMessage(t, lines); !strings.Contains(m.data, `"state":"denied"`) || !strings.Contains(m.data, `"final":true`) {
		t.Fatalf("last message: %+v", m)
	}
	if lines.Scan() {
		t.Errorf("the stream went on: %q", lines.Text())
	}
}

// What is suspended sees nothing more, however long it has been waiting.
func TestEventsOfASuspendedAgent(t *testing.T) {
	w := newWorld(t).furnish()
	held := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Follow me.")))
	_, lines := w.open(w.agent(), "/v1/actions/"+held.ID+"/events")
	readMessage(t, lines)
	waiting := make(chan answer)
	go func() {
		waiting <- w.raw(w.request(w.agent(), "GET", "/v1/actions/"+held.ID+"?wait=60", nil), w.agent())
	}()
	browser := w.browser(w.mira)
	w.send(browser, "PATCH", "/v1/admin/agents/triage", api.AgentChange{Status: "suspended"})
	w.send(browser, "POST", "/v1/approvals/"+held.Approval.ID+"/decision", api.Decision{Decision: api.AnswerDeny, Effect: held.Effect})
	if m := readMessage(t, lines); m.event != "reconnect" {
		t.Errorf("the suspended agent saw %+v", m)
	}
	if p := (<-waiting).problem(t); p.Reason != "agent_suspended" {
		t.Errorf("the suspended agent's wait: %+v", p)
	}
}

// At stop, waiters get the state as it is and streams say to come back. The
// server's time for reading a request does not end a wait.
func TestLeaving(t *testing.T) {
	w := newWorld(t, func(s *http.Server, _ *httpapi.Server) { s.ReadTimeout = 200 * time.Millisecond }).furnish()
	held := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Later.")))
	_, lines := w.open(w.agent(), "/v1/actions/"+held.ID+"/events")
	readMessage(t, lines)
	owner := w.browser(w.person("ines", user.Owner))
	_, tail := w.open(owner, "/v1/admin/events/stream?after=0")
	if m := readMessage(t, tail); m.event != "event" || m.id != "1" {
		t.Errorf("first event: %+v", m)
	}
	waiting := make(chan answer)
	go func() {
		waiting <- w.raw(w.request(w.agent(), "GET", "/v1/actions/"+held.ID+"?wait=60", nil), w.agent())
	}()
	select {
	case a := <-waiting:
		t.Fatalf("the wait ended by itself: %d %.200s", a.status, a.body)
	case <-time.After(600 * time.Millisecond):
	}
	close(w.leaving)
	if a := into[api.Action](t, <-waiting); a.State != api.StatePending {
		t.Errorf("the waiter got %+v", a)
	}
	if m := readMessage(t, lines); m.event != "reconnect" {
		t.Errorf("the stream said %+v", m)
	}
	for m := readMessage(t, tail); m.event != "reconnect"; m = readMessage(t, tail) {
	}
	if a := w.send(who{}, "GET", "/readyz", nil); a.status != 503 {
		t.Errorf("ready while leaving: %d", a.status)
	}
	if a := w.send(who{}, "GET", "/healthz", nil); a.status != 200 {
		t.Errorf("alive while leaving: %d", a.status)
	}
}

// An action that ran and brought no answer is a problem that names it, with its
// state as the reason: the same for a raw answer.
func TestNoAnswer(t *testing.T) {
	w := newWorld(t).furnish()
	w.Sandbox.DropAnswers("/repos/octo/api/issues", 100)
	for _, path := range []string{"/v1/actions", "/v1/actions?stream=1"} {
		before := w.size()
		p := w.send(w.agent(), "POST", path, listIssues).problem(t)
		if p.Status != 502 || p.Reason != "unknown" && p.Reason != "failed" || !strings.HasPrefix(p.Action, "act_") {
			t.Errorf("%s: %+v", path, p)
		}
		if n := w.refusals(before); n != 0 {
			t.Errorf("%s was recorded as %d refusals; it is an outcome", path, n)
		}
	}
}

// What is not JSON, or says that it is and is not, comes in base64.
func TestAnswersThatAreNotJSON(t *testing.T) {
	w := newWorld(t).furnish()
	w.Sandbox.RedirectTo("/repos/octo/api/issues", "https://elsewhere.test/")
	got := into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", listIssues))
	if got.Status/100 != 3 || got.Body != nil && got.BodyBase64 != nil || got.Headers["Location"] == nil {
		t.Errorf("a redirect is a result, and is not followed: %+v", got)
	}
}
