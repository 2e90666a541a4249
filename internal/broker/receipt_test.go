package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
)

// trust is what somebody holds who pinned the log's key and keeps its
// checkpoints.
func (s *scene) trust() approval.Trust {
	s.t.Helper()
	v, err := audit.NewVerifier(s.App.Checkpointer.Signer.VerifierKey())
	if err != nil {
		s.t.Fatal(err)
	}
	t := approval.Trust{Keys: v}
	for signed, err := range s.App.Sink.All(s.t.Context()) {
		if err != nil {
			s.t.Fatal(err)
		}
		cp, err := v.Parse(signed)
		if err != nil {
			s.t.Fatal(err)
		}
		t.Checkpoints = append(t.Checkpoints, cp.Head)
	}
	return t
}

func described(v *approval.Verification) string {
	var b strings.Builder
	for _, l := range v.Links {
		b.WriteString(string(l.Strength) + " " + l.Name + ": " + l.Detail + "\n")
	}
	return b.String()
}

// Who may not see an action gets no receipt of it, and there is none of what
// nobody has answered.
func TestReceiptRefused(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("not yet"))
	_, err := s.App.Receipts.Issue(t.Context(), s.mira, string(held.Action.ID), time.Now())
	if fault.From(err).Reason != broker.ErrUndecided.Reason {
		t.Errorf("before the answer: %v", err)
	}
	s.approve(held)
	s.ends(held, action.Succeeded, "")
	grace := s.Person("grace")
	grace.Role = user.Member
	if _, err := s.App.Receipts.Issue(t.Context(), grace, string(held.Approval.ID), time.Now()); fault.From(err).Reason != broker.ErrUnknown.Reason {
		t.Errorf("for somebody else: %v", err)
	}
}

// A receipt is checked by somebody who has the log's key and its checkpoints
// and cannot reach the server.
func TestReceipts(t *testing.T) {
	s := newScene(t)
	for answer, want := range map[approval.Answer]struct {
		state     action.State
		execution string
	}{
		approval.Yes: {action.Succeeded, "succeeded as event"},
		approval.No:  {action.Denied, "never sent: denied"},
	} {
		held := s.submit(comment("an answer: " + string(answer)))
		if err := s.decide(s.mira, held, answer); err != nil {
			t.Fatal(err)
		}
		s.ends(held, want.state, "")
		r, err := s.App.Receipts.Issue(t.Context(), s.mira, string(held.Action.ID), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		doc, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := approval.ParseReceipt(doc)
		if err != nil {
			t.Fatal(err)
		}
		v := back.Verify(s.trust())
		text := described(v)
		if !v.OK() || !strings.Contains(text, want.execution) || !strings.Contains(text, "you hold the same checkpoint") || !strings.Contains(text, "server-attested only") {
			t.Errorf("%s: %s", answer, text)
		}
		if back.Action.AgentName != "triage" || back.Action.Handle != "octocat" || back.Decisions[0].ByName == "" {
			t.Errorf("names: %+v", back.Action)
		}
		if back.Action.Request == nil || !strings.Contains(string(back.Action.Request.Body), string(answer)) {
			t.Error("the request is not in it")
		}
	}
}
