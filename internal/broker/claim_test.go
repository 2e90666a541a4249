package broker_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

// setStatus changes a connection as a failed refresh would, or its owner.
func (s *scene) setStatus(con id.Connection, to vault.Status) {
	s.t.Helper()
	err := s.App.DB.Connections().UpdateConnection(s.t.Context(), s.mira.Org, con, func(c *vault.Connection) ([]audit.Event, error) {
		c.Status = to
		return nil, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// Approved actions that cannot proceed, more of them than are executed at a
// time and older than the others, keep nobody waiting. They go on when they
// can.
func TestStuckApprovalsStarveNobody(t *testing.T) {
	const stuck = 40
	s := newScene(t)
	broken := s.Link(s.mira, "hubot")
	s.Grant(s.mira, s.bot, broken, grant.Broker, []string{"*"}, nil)
	var waiting []broker.Outcome
	for i := range stuck {
		ask := comment("stuck " + strconv.Itoa(i))
		ask.Connection = string(broken.ID)
		waiting = append(waiting, s.submit(ask))
	}
	s.setStatus(broken.ID, vault.NeedsReauth)
	for _, out := range waiting {
		s.approve(out)
	}
	// Approved vendings wait for their agents to come back, not for the loop.
	s.rules(`@id("vend") @reason("tokens are asked for") forbid (principal, action, resource) when { context.vend } unless { context.assurance >= 1 };`)
	for i := range 20 {
		holder, _ := s.Agent(s.mira, "holder-"+strconv.Itoa(i))
		s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
		_, out, err := s.App.Broker.Vend(t.Context(), vktest.Caller(holder), broker.VendAsk{User: s.mira.User, Connection: string(s.con.ID)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.approve(out)
	}

	good := comment("goes on")
	good.Connection = string(s.con.ID)
	out := s.submit(good)
	s.approve(out)
	s.ends(out, action.Succeeded, "")
	s.sent("POST", comments, 1)
	for _, out := range waiting {
		if h, err := s.App.Broker.Get(t.Context(), s.caller(), out.Action.ID, time.Now()); err != nil || h.Action.State != action.Approved {
			t.Fatalf("one that waits is %v, %v", h.Action, err)
		}
	}
	// Nothing of it is lost for having waited: it may still be cancelled.
	h, err := s.App.Broker.Cancel(t.Context(), s.caller(), waiting[0].Action.ID, time.Now())
	if err != nil || h.Action.State != action.Cancelled {
		t.Errorf("%v, %v", h.Action, err)
	}
}

// What was approved and waits counts as pending: the loop never has more of one
// agent's to look at than it may have open.
func TestPendingCapCountsTheApproved(t *testing.T) {
	s := newScene(t)
	broken := s.Link(s.mira, "hubot")
	s.Grant(s.mira, s.bot, broken, grant.Broker, []string{"*"}, nil)
	var all []broker.Outcome
	for i := range broker.MaxPending {
		ask := comment("n" + strconv.Itoa(i))
		ask.Connection = string(broken.ID)
		all = append(all, s.submit(ask))
	}
	s.setStatus(broken.ID, vault.NeedsReauth)
	for _, out := range all {
		s.approve(out)
	}
	if open, err := s.App.Broker.Inbox(t.Context(), s.mira, approval.Open, time.Time{}, 10); err != nil || len(open) != 0 {
		t.Fatalf("%d are still open, %v", len(open), err)
	}
	more := comment("one too many")
	more.Connection = string(s.con.ID)
	if got := s.refused(more); got != "too_many_pending" {
		t.Errorf("refused as %s", got)
	}
}
