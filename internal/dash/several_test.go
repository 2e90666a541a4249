package dash_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
)

// Two people approve what is critical, each with their own passkey over the
// same question; the one's assertion is no vote of the other's, and no second
// vote. The receipt proves both.
func TestTwoPasskeys(t *testing.T) {
	s := newSite(t)
	mira, hers := s.keyed("mira", user.Owner)
	otto, his := s.keyed("otto", user.Member)
	th := s.things(mira)
	if _, err := s.App.Users.CreateGroup(t.Context(), operator, "release", []id.User{mira.who.User, otto.who.User}, time.Now()); err != nil {
		t.Fatal(err)
	}
	rule := policy.Document{Name: "two", Text: `@id("two") @quorum("2") @approvers("group:release") forbid (principal, action, resource) when { context.risk_level >= 4 } unless { context.assurance >= 2 };`}
	if err := s.App.Policies.Save(t.Context(), operator, rule, time.Now()); err != nil {
		t.Fatal(err)
	}
	out := s.submit(th.agent, broker.Ask{Connection: string(th.con.ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octo", "repo": "api"}})
	page := "/actions/" + string(out.Action.ID)
	if got := otto.get("/inbox"); !strings.Contains(got.body, page) {
		t.Error("who is named by a group does not find it")
	}
	touch := func(v *visitor, k *passkey) any {
		return v.assert(k, page+"/passkey", map[string]string{"digest": out.Action.Effect.String(), "question": questionOf(out)})
	}
	yes := func(v *visitor, assertion any) answer {
		body := map[string]any{"decision": "approve", "digest": out.Action.Effect.String(), "question": questionOf(out), "reason": "", "cooldown": "", "relief": ""}
		if assertion != nil {
			body["assertion"] = assertion
		}
		return v.post(page+"/decision", body)
	}
	if got := yes(otto, nil); got.reason() != "presence_required" {
		t.Errorf("without a passkey: %d %s", got.code, got.reason())
	}
	if got := yes(otto, touch(otto, his)); got.code != 200 {
		t.Fatalf("the first yes: %d %s", got.code, got.reason())
	}
	if got := yes(otto, touch(otto, his)); got.reason() != "already_voted" {
		t.Errorf("the same passkey again: %d %s", got.code, got.reason())
	}
	if got := otto.get(page); !strings.Contains(got.body, "You said yes. It waits for somebody else") || strings.Contains(got.body, "Approve with passkey") {
		t.Error("the page offers the first one a second yes")
	}
	if got := mira.get(page); !strings.Contains(got.body, "<strong>1 of 2</strong> said yes: ") || !strings.Contains(got.body, ">otto<") || !strings.Contains(got.body, "Approve with passkey") {
		t.Error("the page does not tell the second one of the first")
	}
	if got := yes(mira, touch(mira, hers)); got.code != 200 {
		t.Fatalf("the second yes: %d %s", got.code, got.reason())
	}
	h, err := s.App.Broker.Await(t.Context(), vktest.Caller(th.agent), out.Action.ID, "")
	if err != nil || h.Action.State != action.Succeeded {
		t.Fatalf("ended %s (%s), %v", h.Action.State, h.Action.Why, err)
	}
	r, err := s.App.Receipts.Issue(t.Context(), mira.who, string(out.Action.ID), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	proven := 0
	for _, l := range r.Verify(approval.Trust{}).Links {
		if (l.Name == "presence" || l.Name == "key") && l.Strength == approval.Holds {
			proven++
		}
	}
	if len(r.Decisions) != 2 || proven != 4 {
		t.Errorf("%d decisions, %d links of passkeys hold, want 2 and 4", len(r.Decisions), proven)
	}
}

// The choices of the form reach the decision: a no that holds back, a yes that
// lets more through, and the list of that on the agent's page.
func TestChoicesOfTheForm(t *testing.T) {
	s := newSite(t)
	mira := s.person("mira", user.Owner)
	th := s.things(mira)
	decide := func(out broker.Outcome, answer, cooldown, relief string) answer {
		return mira.post("/actions/"+string(out.Action.ID)+"/decision", map[string]any{
			"decision": answer, "digest": out.Action.Effect.String(), "question": questionOf(out), "reason": "not now", "cooldown": cooldown, "relief": relief,
		})
	}
	if got := decide(th.held, "approve", "", "many"); got.code != 400 {
		t.Errorf("a relief of many: %d %s", got.code, got.reason())
	}
	if got := decide(th.held, "approve", "2h", "3"); got.code != 200 {
		t.Fatalf("a yes with a relief: %d %s", got.code, got.reason())
	}
	if got := mira.get("/agents/" + string(th.agent.ID)); !strings.Contains(got.body, "Let through without asking") || !strings.Contains(got.body, "0 of 3 used") {
		t.Error("the agent's page does not show the relief")
	}
	all, err := s.App.Broker.ListReliefs(t.Context(), mira.who, th.agent.ID, time.Now())
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	if got := mira.post("/reliefs/"+string(all[0].ID)+"/revoke", map[string]any{}); got.code != 200 {
		t.Errorf("revoke: %d %s", got.code, got.reason())
	}
	if got := mira.get("/agents/" + string(th.agent.ID)); strings.Contains(got.body, "Let through without asking") {
		t.Error("the agent's page shows a relief that ended")
	}
	next := s.ask(th.agent, th.con, "another one")
	if got := decide(next, "deny", "30m", "3"); got.code != 200 {
		t.Fatalf("a no with a cooldown: %d %s", got.code, got.reason())
	}
	if got := mira.get("/actions/" + string(next.Action.ID)); !strings.Contains(got.body, "Equal requests are refused until") {
		t.Error("the page does not tell of the cooldown")
	}
}
