package broker_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vktest"
)

// window is a store that lets something happen right after an event has become
// durable: after an intent, that is between the promise to record and the
// first byte.
type window struct {
	broker.Store
	open atomic.Pointer[opening]
}

type opening struct {
	after string // the event's verb
	do    func()
}

func (w *window) pass(events []audit.Event) {
	o := w.open.Load()
	if o != nil && slices.ContainsFunc(events, func(e audit.Event) bool { return e.Verb == o.after }) && w.open.CompareAndSwap(o, nil) {
		o.do()
	}
}

func (w *window) Begin(ctx context.Context, b broker.Begin) error {
	err := w.Store.Begin(ctx, b)
	if err == nil {
		w.pass(b.Events)
	}
	return err
}

func (w *window) Move(ctx context.Context, org id.Org, a id.Action, m broker.Move) error {
	var events []audit.Event
	apply := m.Apply
	m.Apply = func(a *action.Action, p *approval.Approval) (_ []audit.Event, opened *approval.Approval, err error) {
		events, opened, err = apply(a, p)
		return events, opened, err
	}
	err := w.Store.Move(ctx, org, a, m)
	if err == nil {
		w.pass(events)
	}
	return err
}

// newWindow is a scene, and a function that has everything frozen after the
// next event of a verb.
func newWindow(t *testing.T) (*scene, func(after string)) {
	w := &window{}
	s := sceneIn(t, vktest.Wired(t, func(a *app.App) {
		w.Store = a.Broker.Store
		a.Broker.Store = w
	}))
	return s, func(after string) { w.open.Store(&opening{after, s.freezeAll}) }
}

func (s *scene) freezeAll() {
	s.t.Helper()
	if _, err := s.App.Manage.Freeze(s.t.Context(), s.mira, freeze.All, "", "now", time.Now()); err != nil {
		s.t.Error(err)
	}
}

// A freeze that lands when the intent is durable and nothing has left yet
// stops the call, and the record says that nothing happened.
func TestFreezeBetweenIntentAndSend(t *testing.T) {
	t.Run("inline", func(t *testing.T) {
		s, freezes := newWindow(t)
		calls := len(s.Sandbox.Ledger())
		freezes("action.executing")
		_, err := s.App.Broker.Submit(t.Context(), s.caller(), listing, time.Now())
		if fault.From(err).Reason != "frozen" {
			t.Errorf("%v", err)
		}
		if n := len(s.Sandbox.Ledger()) - calls; n != 0 {
			t.Errorf("%d calls left", n)
		}
		s.failedFrozen()
	})
	t.Run("held", func(t *testing.T) {
		s, freezes := newWindow(t)
		held := s.submit(comment("in the window"))
		freezes("action.executing")
		s.approve(held)
		s.ends(held, action.Failed, "frozen")
		s.sent("POST", comments, 0)
		s.failedFrozen()
	})
}

// failedFrozen fails the test unless one execution began and ended unsent, and
// a restart finds nothing to recover.
func (s *scene) failedFrozen() {
	s.t.Helper()
	var begun, failed []string
	events, err := s.App.DB.Log().Events(s.t.Context(), 0, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range events {
		switch {
		case e.Verb == "action.executing":
			begun = append(begun, e.Object)
		case e.Verb == "action.failed" && e.Data["why"] == "frozen" && e.Data["status"] == "":
			failed = append(failed, e.Object)
		}
	}
	if len(begun) != 1 || !slices.Equal(begun, failed) {
		s.t.Errorf("begun %v, failed as frozen %v", begun, failed)
	}
	held, inline, err := s.App.DB.Actions().Orphans(s.t.Context(), s.mira.Org, time.Now().Add(time.Hour))
	if err != nil || len(held)+len(inline) != 0 {
		s.t.Errorf("left over: %v, %v, %v", held, inline, err)
	}
}

// A token is not handed out either, whether it was permitted or approved.
func TestFreezeBeforeATokenLeaves(t *testing.T) {
	for _, asked := range []bool{false, true} {
		s, freezes := newWindow(t)
		holder, _ := s.Agent(s.mira, "holder")
		s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
		vend := func() (*broker.Vended, broker.Outcome, error) {
			return s.App.Broker.Vend(t.Context(), vktest.Caller(holder), broker.VendAsk{User: s.mira.User, Connection: "github"}, time.Now())
		}
		if asked {
			s.rules(`@id("vend") @reason("tokens are asked for") forbid (principal, action, resource) when { context.vend } unless { context.assurance >= 1 };`)
			_, out, err := vend()
			if err != nil {
				t.Fatal(err)
			}
			s.approve(out)
		}
		freezes("token.vended")
		if v, _, err := vend(); v != nil || fault.From(err).Reason != "frozen" {
			t.Errorf("asked %v: a token %v, %v", asked, v != nil, err)
		}
	}
}

// One that lands while the call is under way cancels it; nobody knows then
// what became of it.
func TestFreezeDuringAnInlineCall(t *testing.T) {
	s := newScene(t)
	labels := "/repos/octo/api/issues/1/labels"
	s.Sandbox.Delay(labels, 20*time.Second)
	type result struct {
		out broker.Outcome
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := s.App.Broker.Submit(t.Context(), s.caller(), broker.Ask{Connection: "github", Operation: "github.issues.add_labels",
			Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "labels": []any{"bug"}}}, time.Now())
		done <- result{out, err}
	}()
	for s.Sandbox.Count("POST", labels) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("never sent")
		}
		time.Sleep(time.Millisecond)
	}
	// Another's freeze leaves it alone, this one does not.
	if _, err := s.App.Manage.Freeze(t.Context(), s.mira, freeze.User, string(s.Person("otto").User), "", time.Now()); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		t.Fatalf("ended by a freeze of somebody else: %v, %v", r.out.Action, r.err)
	default:
	}
	if _, err := s.App.Manage.Freeze(t.Context(), s.mira, freeze.Agent, string(s.bot.ID), "stop", time.Now()); err != nil {
		t.Fatal(err)
	}
	r := <-done
	if r.err != nil || r.out.Answer != nil || r.out.Action.State != action.Unknown || r.out.Action.Why != "frozen_in_flight" {
		t.Errorf("%+v, %v", r.out.Action, r.err)
	}
	if got := verbs(s.events(string(r.out.Action.ID))); strings.Join(got, " ") != "action.executing action.unknown" {
		t.Errorf("recorded %v", got)
	}
}

// A freeze between the two attempts of a call that was answered with a 401
// lets no second one out. The first was refused, so nothing happened.
func TestFreezeBetweenAttempts(t *testing.T) {
	s, freezes := newWindow(t)
	held := s.submit(comment("again"))
	s.Sandbox.Fail(comments, 401, 2)
	freezes("action.retried")
	s.approve(held)
	s.ends(held, action.Failed, "frozen")
	s.sent("POST", comments, 1)

	s, freezes = newWindow(t)
	s.Sandbox.Fail("/repos/octo/api/issues", 401, 2)
	freezes("action.retried")
	out := s.submit(listing)
	if out.Answer != nil || out.Action.State != action.Failed || out.Action.Why != "frozen" {
		t.Errorf("%s (%s)", out.Action.State, out.Action.Why)
	}
	s.sent("GET", "/repos/octo/api/issues", 1)
}
