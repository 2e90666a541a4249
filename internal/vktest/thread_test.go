package vktest_test

import (
	"io"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
)

// The story of the main road, on the services themselves: connect, register,
// grant, read, ask, approve, execute, disconnect, refuse.
func TestMainRoad(t *testing.T) {
	w := vktest.New(t)
	ctx := t.Context()
	mira := w.Person("mira")
	con := w.Link(mira, "octocat")
	if con.Account != "octocat" || con.AccountID != "583231" {
		t.Fatalf("connected as %s (%s)", con.Account, con.AccountID)
	}
	bot, _ := w.Agent(mira, "triage")
	w.Grant(mira, bot, con, grant.Broker, []string{"github.issues.*"}, []string{"octo/api"})
	caller := vktest.Caller(bot)

	read, err := w.App.Broker.Submit(ctx, caller, broker.Ask{
		Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(read.Answer.Body)
	if err != nil || read.Answer.Status != 200 || len(body) < 10 {
		t.Fatalf("list issues: status %d, %d bytes, %v", read.Answer.Status, len(body), err)
	}
	if err := read.Answer.Body.Close(); err != nil {
		t.Fatal(err)
	}

	comment := broker.Ask{
		Connection: "github", Operation: "github.issues.create_comment", Note: "says hello",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": "Hello from a valet."},
	}
	held, err := w.App.Broker.Submit(ctx, caller, comment, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if held.Action.State != action.Pending || held.Approval.Level != approval.Approve {
		t.Fatalf("comment is %s at level %d", held.Action.State, held.Approval.Level)
	}
	again, err := w.App.Broker.Submit(ctx, caller, comment, time.Now())
	if err != nil || !again.Replayed || again.Action.ID != held.Action.ID {
		t.Fatalf("a repeat did not attach: %+v, %v", again.Action, err)
	}
	if n := w.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 0 {
		t.Fatalf("%d comments before the approval", n)
	}

	eve := w.Person("eve")
	_, err = w.App.Broker.Decide(ctx, eve, held.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: held.Action.Effect, Level: approval.Approve, Channel: "web"}, time.Now())
	if fault.From(err).Reason != "not_an_approver" {
		t.Fatalf("somebody else approved: %v", err)
	}
	_, err = w.App.Broker.Decide(ctx, user.Principal{Org: mira.Org, Operator: true, Confirm: true}, held.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: held.Action.Effect, Level: approval.Approve}, time.Now())
	if fault.From(err).Reason != "login_required" {
		t.Fatalf("the operator approved: %v", err)
	}

	shown, err := w.App.Broker.Show(ctx, mira, held.Approval.ID, time.Now())
	if err != nil || !shown.MayAnswer || string(shown.Request.Body) != `{"body":"Hello from a valet."}` {
		t.Fatalf("shown %+v, %v", shown, err)
	}
	if _, err := w.App.Broker.Decide(ctx, mira, held.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: shown.Action.Effect, Level: approval.Approve, Channel: "web"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	done, err := w.App.Broker.Await(ctx, caller, held.Action.ID, "")
	if err != nil || done.Action.State != action.Succeeded || done.Action.Status != 201 {
		t.Fatalf("ended %s (%s) with %d, %v", done.Action.State, done.Action.Why, done.Action.Status, err)
	}
	if n := w.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 1 {
		t.Fatalf("%d comments upstream, want 1", n)
	}
	if k, err := w.App.Broker.Answer(ctx, caller, done); err != nil || k.Status != 201 {
		t.Fatalf("kept answer: %d, %v", k.Status, err)
	}

	report, err := w.App.Vault.Disconnect(ctx, con.ID, time.Now(), eventsOf(mira))
	if err != nil || !report.Upstream.Done || report.Probe != "dead" {
		t.Fatalf("disconnect: %+v, %v", report, err)
	}
	_, err = w.App.Broker.Submit(ctx, caller, comment, time.Now())
	if k := fault.From(err).Kind; k != fault.NotFound && k != fault.Forbidden {
		t.Fatalf("after disconnect: %v", err)
	}
}
