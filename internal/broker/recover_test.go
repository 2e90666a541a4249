package broker_test

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
)

// claimed is a held action as a process leaves it that dies after the claim
// and before the first byte.
func (s *scene) claimed(text string, now time.Time) broker.Outcome {
	s.t.Helper()
	held := s.submit(comment(text))
	err := s.App.DB.Actions().Move(s.t.Context(), s.mira.Org, held.Action.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		granted, err := p.Decide(approval.Yes, approval.Decider{User: s.mira.User, Level: approval.Approve}, a.Effect, "", now)
		if err != nil {
			return nil, nil, err
		}
		approved, err := a.Approve(s.mira.Actor(), now)
		if err != nil {
			return nil, nil, err
		}
		spent, err := p.Spend(a.Effect, now)
		if err != nil {
			return nil, nil, err
		}
		claimed, err := a.Claim(a.Effect, now)
		return []audit.Event{granted, approved, spent, claimed}, nil, err
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	return held
}

// begun is an inline action as such a process leaves it.
func (s *scene) begun(now time.Time) id.Action {
	s.t.Helper()
	ctx, actions, ref := s.t.Context(), s.App.DB.Actions(), id.NewAction()
	epoch, err := actions.Epoch(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	intent := audit.Event{At: now, Org: s.mira.Org, Verb: "action.executing", Actor: "system", Object: string(ref)}
	if err := actions.Begin(ctx, broker.Begin{Org: s.mira.Org, Epoch: epoch, Events: []audit.Event{intent}, Intent: ref}); err != nil {
		s.t.Fatal(err)
	}
	return ref
}

// A clock that was ahead when the process died hides nothing from the next one:
// where a process is alone, whatever it finds executing is nobody's.
func TestInterruptedWhileTheClockWasAhead(t *testing.T) {
	s := newScene(t)
	ahead := time.Now().Add(time.Hour)
	held, inline := s.claimed("cut off", ahead), s.begun(ahead)
	s.Restart()
	h, err := s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, time.Now())
	if err != nil || h.Action.State != action.Unknown {
		t.Errorf("the held action is %s (%v), want unknown", h.Action.State, err)
	}
	if got := verbs(s.events(string(inline))); len(got) != 2 || got[1] != "action.unknown" {
		t.Errorf("events of the inline action: %v", got)
	}
	s.sent("POST", comments, 0)
}

// An execution that nobody is at any more is found while the server runs, too:
// on PostgreSQL a start that follows a crash at once cannot tell it from one of
// another process.
func TestAbandonedExecution(t *testing.T) {
	s := newScene(t)
	now := time.Now()
	held, inline := s.claimed("abandoned", now), s.begun(now)
	at := func(now time.Time) (action.State, int) {
		t.Helper()
		s.App.Broker.Tidy(t.Context(), now)
		h, err := s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, now)
		if err != nil {
			t.Fatal(err)
		}
		return h.Action.State, len(s.events(string(inline)))
	}
	if state, n := at(now.Add(broker.Abandoned)); state != action.Executing || n != 1 {
		t.Errorf("while another process may be at it: %s and %d events, want executing and 1", state, n)
	}
	if state, n := at(now.Add(broker.Abandoned + time.Second)); state != action.Unknown || n != 2 {
		t.Errorf("when nobody can be at it: %s and %d events, want unknown and 2", state, n)
	}
	s.sent("POST", comments, 0)
}

// A call that is under way in this process is no orphan, however long it takes.
func TestSlowExecutionIsNotAbandoned(t *testing.T) {
	s := newScene(t)
	s.Sandbox.Delay(comments, 300*time.Millisecond)
	held := s.submit(comment("slow"))
	s.approve(held)
	for s.Sandbox.Count("POST", comments) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	s.App.Broker.Tidy(t.Context(), time.Now().Add(broker.Abandoned+time.Minute))
	s.ends(held, action.Succeeded, "")
	s.sent("POST", comments, 1)
}
