package broker_test

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/vktest"
)

// When the log cannot be written nothing happens: no call, no token, no held
// action, and the answer says so. Freezing still works, and outlives it all
// (M-33).
func TestNothingHappensUnrecorded(t *testing.T) {
	s := newScene(t)
	holder, _ := s.Agent(s.mira, "holder")
	s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
	held := s.submit(comment("before"))
	vktest.Block(t, s.Config, "audit_events")
	before := len(s.Sandbox.Ledger())

	list := broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}
	for name, try := range map[string]func() error{
		"a read": func() error { _, err := s.App.Broker.Submit(t.Context(), s.caller(), list, time.Now()); return err },
		"a write": func() error {
			_, err := s.App.Broker.Submit(t.Context(), s.caller(), comment("x"), time.Now())
			return err
		},
		"a token": func() error {
			v, _, err := s.App.Broker.Vend(t.Context(), vktest.Caller(holder), broker.VendAsk{User: s.mira.User, Connection: "github"}, time.Now())
			if v != nil {
				t.Error("a token was handed out")
			}
			return err
		},
		"a preview": func() error {
			_, err := s.App.Broker.Preview(t.Context(), s.mira, held.Approval.ID, time.Now())
			return err
		},
		"an approval": func() error { return s.decide(s.mira, held, "approve") },
		"a disconnect": func() error {
			_, err := s.App.Manage.Disconnect(t.Context(), s.mira, string(s.con.ID), time.Now())
			return err
		},
	} {
		if err := try(); fault.From(err).Kind != fault.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(s.Sandbox.Ledger()) - before; n != 0 {
		t.Errorf("%d calls reached the upstream", n)
	}

	if _, err := s.App.Manage.Freeze(t.Context(), s.mira, freeze.Agent, "triage", "fire", time.Now()); err != nil {
		t.Errorf("freezing: %v", err)
	}
	if err := s.App.Freezes.Check(s.mira.Org, s.bot.ID, s.con.ID, s.mira.User); fault.From(err).Reason != "frozen" {
		t.Errorf("after the freeze: %v", err)
	}
	vktest.Unblock(t, s.Config, "audit_events")
	s.Restart()
	if got := s.refused2(list); got != "frozen" {
		t.Errorf("after the restart: %s", got)
	}
	h, err := s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, time.Now())
	if err != nil || h.Action.State != action.Pending {
		t.Errorf("what was held is %v, %v", h.Action, err)
	}
}
