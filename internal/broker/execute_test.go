package broker_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/vktest"
)

func TestEventsOfAHeldAction(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("log me"))
	s.approve(held)
	s.ends(held, action.Succeeded, "")
	if diff := cmp.Diff([]string{"action.held", "action.approved", "action.executing", "action.succeeded"}, verbs(s.events(string(held.Action.ID)))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"approval.opened", "approval.granted", "approval.spent"}, verbs(s.events(string(held.Approval.ID)))); diff != "" {
		t.Error(diff)
	}
	for _, e := range s.events(string(held.Action.ID)) {
		if strings.Contains(string(e.Encode()), "log me") || strings.Contains(string(e.Encode()), held.Action.Effect.String()) {
			t.Errorf("content or bare digest in the log: %s", e.Encode())
		}
	}
}

func TestEventsOfAnInlineAction(t *testing.T) {
	s := newScene(t)
	out := s.submit(broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}})
	if diff := cmp.Diff([]string{"action.executing"}, verbs(s.events(string(out.Action.ID)))); diff != "" {
		t.Errorf("before the answer was read: %s", diff)
	}
	if status, body := read(t, out); status != 200 || !strings.Contains(body, `"number"`) {
		t.Errorf("%d %s", status, body)
	}
	if diff := cmp.Diff([]string{"action.executing", "action.succeeded"}, verbs(s.events(string(out.Action.ID)))); diff != "" {
		t.Error(diff)
	}
}

// The answer is lost after the upstream acted: once, and unknown.
func TestLostAnswers(t *testing.T) {
	s := newScene(t)
	s.Sandbox.DropAnswers(comments, 1)
	held := s.submit(comment("lost"))
	s.approve(held)
	s.ends(held, action.Unknown, "answer_lost")
	time.Sleep(1200 * time.Millisecond) // the claim loop looks again, and must find nothing to do
	s.sent("POST", comments, 1)

	labels := "/repos/octo/api/issues/1/labels"
	s.Sandbox.DropAnswers(labels, 1)
	out := s.submit(broker.Ask{Connection: "github", Operation: "github.issues.add_labels", Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "labels": []any{"bug"}}})
	if out.Answer != nil || out.Action.State != action.Unknown {
		t.Errorf("inline write with a lost answer is %s", out.Action.State)
	}
	s.sent("POST", labels, 1)
}

// A kept-alive connection that dies under a write is not written to twice.
func TestDeadConnectionIsNotRetried(t *testing.T) {
	s := newScene(t)
	read(t, s.submit(broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}))
	s.Sandbox.DropAnswers(comments, 5)
	held := s.submit(comment("kept alive"))
	s.approve(held)
	s.ends(held, action.Unknown, "")
	s.sent("POST", comments, 1)
}

func TestUpstreamFailureIsFailed(t *testing.T) {
	s := newScene(t)
	s.Sandbox.Fail(comments, 500, 1)
	held := s.submit(comment("fails"))
	s.approve(held)
	h := s.ends(held, action.Failed, "upstream_500")
	if h.Action.Status != 500 {
		t.Errorf("status %d", h.Action.Status)
	}
	time.Sleep(50 * time.Millisecond)
	s.sent("POST", comments, 1)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := newScene(t)
	s.Sandbox.RedirectTo("/repos/octo/api/issues", s.Upstream+"/user")
	before := s.Sandbox.Count("GET", "/user")
	status, _ := read(t, s.submit(broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}))
	if status/100 != 3 {
		t.Errorf("status %d", status)
	}
	s.sent("GET", "/user", before)
}

func TestEchoedCredentialIsCutOut(t *testing.T) {
	s := newScene(t)
	s.Sandbox.EchoCredential(true)
	out := s.submit(broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}})
	_, body := read(t, out)
	if strings.Contains(body, "ghu_") || strings.Contains(body, "gho_") {
		t.Errorf("the token came back: %s", body)
	}
	events := s.events(string(out.Action.ID))
	if last := events[len(events)-1]; last.Data["redacted"] == "" {
		t.Errorf("the echo was not noted: %v", last.Data)
	}
}

// Many agents on an expired token: one refresh, and everybody is served.
func TestOneRefresh(t *testing.T) {
	s := newScene(t, func(_ *config.Config, o *sandbox.Options) { o.AccessTTL = 2 * time.Second })
	time.Sleep(1100 * time.Millisecond) // past half the life: due
	var wg sync.WaitGroup
	errs := make(chan error, 40)
	for range 40 {
		wg.Go(func() {
			out, err := s.App.Broker.Submit(t.Context(), s.caller(), broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}, time.Now())
			if err == nil && out.Answer != nil {
				if out.Answer.Status != 200 {
					err = fault.New(fault.Upstream, "status", "not 200")
				}
				out.Answer.Body.Close()
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	refreshes := 0
	for _, v := range verbs(s.events(string(s.con.ID))) {
		if v == "connection.refreshed" {
			refreshes++
		}
	}
	if refreshes != 1 {
		t.Errorf("%d refreshes", refreshes)
	}
}

// A token that the provider ended early is replaced after its 401, once.
func TestRefreshOn401(t *testing.T) {
	s := newScene(t)
	s.Sandbox.ExpireAccess("octocat")
	status, _ := read(t, s.submit(broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}))
	if status != 200 {
		t.Errorf("status %d", status)
	}
	if got := verbs(s.events(string(s.con.ID))); !slices.Contains(got, "connection.refreshed") {
		t.Errorf("no refresh: %v", got)
	}
}

// The provider rotated and its answer was lost: without grace the connection
// needs its owner, and says so; it is not deleted.
func TestLostRotation(t *testing.T) {
	s := newScene(t, func(_ *config.Config, o *sandbox.Options) { o.AccessTTL = 2 * time.Second })
	time.Sleep(1100 * time.Millisecond)
	s.Sandbox.LoseRefreshAnswer(1)
	ask := broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}
	// The token that is there has a little left, so the call may still be made;
	// it must not be said that the connection is dead.
	if got := s.refused2(ask); got != "refresh_unavailable" && got != "ok" {
		t.Errorf("while the answer is lost: %s", got)
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		got := s.refused2(ask)
		if got == "needs_reauth" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %s", got)
		}
		time.Sleep(200 * time.Millisecond)
	}
	c, err := s.App.DB.Connections().Connection(t.Context(), s.mira.Org, s.con.ID)
	if err != nil || c.Status != "needs_reauth" {
		t.Fatalf("%v, %v", c, err)
	}
	again := s.Link(s.mira, "octocat")
	if again.ID != s.con.ID {
		t.Errorf("a reconnection made a second connection %s", again.ID)
	}
	if status, _ := read(t, s.submit(ask)); status != 200 {
		t.Errorf("after the reconnection: %d", status)
	}
}

// refused2 is refused for errors that are no refusals of the agent.
func (s *scene) refused2(ask broker.Ask) string {
	out, err := s.App.Broker.Submit(s.t.Context(), s.caller(), ask, time.Now())
	if err == nil {
		if out.Answer != nil {
			out.Answer.Body.Close()
		}
		return "ok"
	}
	return fault.From(err).Reason
}

// What waits for a human waits through a restart, and so does its waiter.
func TestRestart(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("patience"))
	s.Restart()
	s.approve(held)
	s.ends(held, action.Succeeded, "")
	s.sent("POST", comments, 1)
}

// An execution that a crash interrupted is unknown after the restart.
func TestInterruptedExecution(t *testing.T) {
	s := newScene(t)
	held := s.claimed("cut off", time.Now())
	s.Restart()
	s.ends(held, action.Unknown, "interrupted")
	s.sent("POST", comments, 0)
}

// Changes in the database behind our back are not executed.
func TestFlippedStatus(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("flipped"))
	for _, q := range []string{
		`update approvals set status = 'granted', decided_by = user_id where id = '` + string(held.Approval.ID) + `'`,
		`update actions set state = 'approved' where id = '` + string(held.Action.ID) + `'`,
	} {
		vktest.Tamper(t, s.Config, q)
	}
	time.Sleep(1500 * time.Millisecond) // the loop looks at it at least once
	s.sent("POST", comments, 0)
}
