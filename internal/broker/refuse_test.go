package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
)

// Nothing reaches the upstream for any of these, and each is one event.
func TestRefusals(t *testing.T) {
	s := newScene(t)
	other := s.Person("otto")
	foreign := s.Link(other, "hubot")
	before := len(s.Sandbox.Ledger())
	big := strings.Repeat("x", broker.MaxBody+1)
	for _, c := range []struct {
		name, reason string
		ask          broker.Ask
	}{
		{"no connection", "bad_action", broker.Ask{Operation: "github.users.get_self"}},
		{"nothing asked", "bad_action", broker.Ask{Connection: "github"}},
		{"both forms", "bad_action", broker.Ask{Connection: "github", Operation: "github.users.get_self", Method: "GET"}},
		{"missing connection", "connection_not_found", broker.Ask{Connection: "con_0000000000000000000000000", Operation: "github.users.get_self"}},
		{"foreign connection", "connection_not_found", broker.Ask{Connection: string(foreign.ID), Operation: "github.users.get_self"}},
		{"unknown provider", "connection_not_found", broker.Ask{Connection: "slack", Operation: "slack.auth.test"}},
		{"unknown operation", "unknown_operation", broker.Ask{Connection: "github", Operation: "github.issues.explode"}},
		{"missing parameter", "bad_parameter", broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo"}}},
		{"another repository", "resource_not_granted", broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}}},
		{"no resource under a limited grant", "resource_not_granted", broker.Ask{Connection: "github", Operation: "github.users.get_self"}},
		{"absolute URL elsewhere", "bad_host", broker.Ask{Connection: "github", Method: "GET", Path: "https://evil.example/repos/octo/api"}},
		{"host by userinfo", "bad_host", broker.Ask{Connection: "github", Method: "GET", Path: s.Upstream + "@evil.example/repos/octo/api"}},
		{"dot segments", "bad_path", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api/../../octocat/hello-world"}},
		{"encoded dot segments", "bad_path", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api/%2e%2e/x"}},
		{"double encoding", "bad_path", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/%2561pi"}},
		{"own credential", "header_refused", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api", Header: []action.Header{{Name: "Authorization", Value: "Bearer x"}}}},
		{"method override", "header_refused", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api", Header: []action.Header{{Name: "X-HTTP-Method-Override", Value: "DELETE"}}}},
		{"header injection", "header_refused", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api", Header: []action.Header{{Name: "accept\r\nx", Value: "y"}}}},
		{"odd method", "bad_method", broker.Ask{Connection: "github", Method: "get", Path: "/repos/octo/api"}},
		{"duplicate members", "bad_json", broker.Ask{Connection: "github", Method: "POST", Path: comments, Body: []byte(`{"body":"a","body":"b"}`)}},
		{"numbers that lose digits", "bad_json", broker.Ask{Connection: "github", Method: "POST", Path: comments, Body: []byte(`{"body":"a","n":9007199254740993}`)}},
		{"body too large", "body_too_large", broker.Ask{Connection: "github", Method: "POST", Path: comments, Body: []byte(big)}},
		{"bad key", "bad_action", broker.Ask{Connection: "github", Operation: "github.issues.list", Key: "a b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := s.head()
			if got := s.refused(c.ask); got != c.reason {
				t.Errorf("refused as %s, want %s", got, c.reason)
			}
			if got := s.head() - events; got != 1 {
				t.Errorf("%d events for one refusal", got)
			}
		})
	}
	if n := len(s.Sandbox.Ledger()) - before; n != 0 {
		t.Errorf("%d calls reached the upstream", n)
	}
}

func (s *scene) head() int64 {
	s.t.Helper()
	h, err := s.App.DB.Log().Head(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return h.Size
}

func TestDefaultsOfTheRoad(t *testing.T) {
	s := newScene(t)
	for _, c := range []struct {
		name string
		ask  broker.Ask
		want action.State
		step approval.Level
	}{
		{"a read is permitted", broker.Ask{Connection: "github", Operation: "github.issues.get", Params: map[string]any{"owner": "octo", "repo": "api", "number": 1}}, action.Executing, 0},
		{"an unlisted read is permitted", broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api/stargazers"}, action.Executing, 0},
		{"a medium write asks", comment("hello"), action.Pending, approval.Approve},
		{"an unlisted write asks", broker.Ask{Connection: "github", Method: "POST", Path: "/repos/octo/api/statuses/abc", Body: []byte("{}")}, action.Pending, approval.Approve},
		{"a critical write steps up", broker.Ask{Connection: "github", Operation: "github.repos.delete", Params: map[string]any{"owner": "octo", "repo": "api"}}, action.Pending, approval.StepUp},
		{"an unlisted outlet steps up", broker.Ask{Connection: "github", Method: "POST", Path: "/repos/octo/api/hooks", Body: []byte("{}")}, action.Pending, approval.StepUp},
		{"money above the threshold asks", broker.Ask{Connection: "github", Operation: "github.issues.add_labels", Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "labels": []any{"bug"}},
			Amount: &broker.Amount{Value: "500.01", Currency: "USD"}}, action.Pending, approval.Approve},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := s.submit(c.ask)
			if out.Answer != nil {
				read(t, out)
			}
			if c.step == 0 {
				if out.Answer == nil {
					t.Errorf("held as %s", out.Action.State)
				}
				return
			}
			if out.Action.State != c.want || out.Approval.Level != c.step {
				t.Errorf("%s at level %d, want %s at %d", out.Action.State, out.Approval.Level, c.want, c.step)
			}
			if len(out.Explain) == 0 {
				t.Error("held without saying why")
			}
		})
	}
}

func TestStepUpNeedsPresence(t *testing.T) {
	s := newScene(t)
	out := s.submit(broker.Ask{Connection: "github", Operation: "github.repos.delete", Params: map[string]any{"owner": "octo", "repo": "api"}})
	if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Reason != "presence_required" {
		t.Errorf("approved without presence: %v", err)
	}
	if err := s.decide(s.mira, out, approval.No); err != nil {
		t.Errorf("a no needs no passkey: %v", err)
	}
	s.ends(out, action.Denied, "")
	s.sent("DELETE", "/repos/octo/api", 0)
}

func TestWhoMayAnswer(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("who?"))
	member := s.Person("otto")
	for name, p := range map[string]user.Principal{
		"somebody else": member,
		"the operator":  {Org: s.mira.Org, Operator: true, Confirm: true},
		"nobody":        {Org: s.mira.Org},
	} {
		if err := s.decide(p, out, approval.Yes); err == nil {
			t.Errorf("%s approved", name)
		}
	}
	// Rules may name other approvers; then the owner is not enough.
	s.rules(`@id("two") @approvers("otto") @reason("otto looks at comments")
forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 1 };`)
	if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Reason != "not_an_approver" {
		t.Errorf("the owner approved against the rule: %v", err)
	}
	if err := s.decide(member, out, approval.Yes); err != nil {
		t.Errorf("the named approver: %v", err)
	}
	s.ends(out, action.Succeeded, "")
}

func TestStaleAndDoubleAnswers(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("stale"))
	_, err := s.App.Broker.Decide(t.Context(), s.mira, out.Approval.ID, broker.Verdict{Answer: approval.Yes, Level: approval.Approve}, time.Now())
	if fault.From(err).Reason != "approval_stale" {
		t.Errorf("answered without having seen it: %v", err)
	}
	s.approve(out)
	for _, a := range []approval.Answer{approval.Yes, approval.No} {
		if err := s.decide(s.mira, out, a); fault.From(err).Reason != "approval_not_open" {
			t.Errorf("answered twice: %v", err)
		}
	}
	s.ends(out, action.Succeeded, "")
	s.sent("POST", comments, 1)
}

func TestPendingCap(t *testing.T) {
	s := newScene(t)
	for i := range broker.MaxPending {
		s.submit(comment("n" + string(rune('a'+i%26)) + strings.Repeat("x", i)))
	}
	if got := s.refused(comment("one too many")); got != "too_many_pending" {
		t.Errorf("refused as %s", got)
	}
}

func TestIdempotency(t *testing.T) {
	s := newScene(t)
	first := comment("once")
	first.Key = "k1"
	out := s.submit(first)
	again := s.submit(first)
	if !again.Replayed || again.Action.ID != out.Action.ID {
		t.Error("the same key did not attach")
	}
	other := comment("something else")
	other.Key = "k1"
	if got := s.refused(other); got != "idempotency_key_reused" {
		t.Errorf("the key with another request: %s", got)
	}
	fresh := comment("once")
	fresh.Key = "k2"
	if got := s.submit(fresh); got.Replayed || got.Action.ID == out.Action.ID {
		t.Error("a new key must ask afresh")
	}
	if err := s.decide(s.mira, out, approval.No); err != nil {
		t.Fatal(err)
	}
	if got := s.submit(first); !got.Replayed || got.Action.State != action.Denied {
		t.Errorf("a repeat of a denied action is %s", got.Action.State)
	}
}

func TestFreezeStopsAndLifts(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("frozen"))
	for _, c := range []struct {
		kind   freeze.Kind
		target string
	}{{freeze.Agent, string(s.bot.ID)}, {freeze.Connection, string(s.con.ID)}, {freeze.User, string(s.mira.User)}, {freeze.All, ""}} {
		f, err := s.App.Manage.Freeze(t.Context(), s.mira, c.kind, c.target, "test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.refused(comment("other")); got != "frozen" {
			t.Errorf("%s frozen: refused as %s", c.kind, got)
		}
		stale := s.mira
		stale.AuthAt = time.Now().Add(-time.Hour)
		if err := s.App.Manage.Unfreeze(t.Context(), stale, f.ID, time.Now()); fault.From(err).Reason != "confirm_required" {
			t.Errorf("lifted without a fresh passkey: %v", err)
		}
		if err := s.App.Manage.Unfreeze(t.Context(), s.mira, f.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s.approve(held)
	s.ends(held, action.Succeeded, "")
}

// A freeze cancels what is in flight; what had been sent is then unknown.
func TestFreezeInFlight(t *testing.T) {
	s := newScene(t)
	s.Sandbox.Delay(comments, 20*time.Second)
	held := s.submit(comment("slow"))
	s.approve(held)
	for s.Sandbox.Count("POST", comments) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("never sent")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := s.App.Manage.Freeze(t.Context(), s.mira, freeze.All, "", "stop", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.ends(held, action.Unknown, "frozen_in_flight")
}

// A freeze survives a restart.
func TestFreezeSurvivesRestart(t *testing.T) {
	s := newScene(t)
	if _, err := s.App.Manage.Freeze(t.Context(), s.mira, freeze.Agent, "triage", "night", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if got := s.refused(comment("x")); got != "frozen" {
		t.Errorf("after a restart: %s", got)
	}
}

// What is held when its ground goes away is not executed.
func TestGroundGoesAway(t *testing.T) {
	now := time.Now
	for name, c := range map[string]struct {
		before func(s *scene) error
		why    string
	}{
		"grant revoked": {func(s *scene) error {
			return s.App.Manage.RevokeGrant(s.t.Context(), s.mira, s.grant.ID, now())
		}, "grant_revoked"},
		"agent suspended": {func(s *scene) error {
			return s.App.Manage.SuspendAgent(s.t.Context(), s.mira, "triage", now())
		}, "agent_suspended"},
		"a rule forbids it": {func(s *scene) error {
			s.rules(`@id("never") @reason("no comments any more") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" };`)
			return nil
		}, "forbidden_by_policy"},
		"the approver is suspended": {func(s *scene) error {
			by := user.Principal{Org: s.mira.Org, Operator: true, Confirm: true}
			s.Person("another owner")
			return s.App.Users.SetStatus(s.t.Context(), by, s.mira.User, user.Suspended, now())
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			held := s.submit(comment("ground"))
			if err := c.before(s); err != nil {
				t.Fatal(err)
			}
			_ = s.decide(s.mira, held, approval.Yes) // may be refused here already
			time.Sleep(50 * time.Millisecond)
			s.sent("POST", comments, 0)
			if c.why != "" {
				s.ends(held, action.Revoked, c.why)
			}
		})
	}
}

// When today's rules demand more than was given, the approval is spent for
// nothing and the action is asked again.
func TestPolicyChangedAsksAgain(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("more"))
	s.rules(`@id("careful") @reason("comments need presence now") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 2 };`)
	s.approve(held)
	var h broker.Held
	for {
		var err error
		if h, err = s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		if h.Action.State == action.Pending && h.Approval.ID != held.Approval.ID {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if h.Approval.Level != approval.StepUp || h.Action.Why != "policy_changed" {
		t.Errorf("asked again at level %d because of %s", h.Approval.Level, h.Action.Why)
	}
	s.sent("POST", comments, 0)
}

func TestExpiry(t *testing.T) {
	s := newScene(t)
	past := time.Now().Add(-broker.DefaultExpiry - time.Minute)
	out, err := s.App.Broker.Submit(t.Context(), s.caller(), comment("late"), past)
	if err != nil {
		t.Fatal(err)
	}
	s.ends(out, action.Expired, "expired")
	if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Reason != "approval_not_open" {
		t.Errorf("answered after expiry: %v", err)
	}
	s.sent("POST", comments, 0)
}

func TestCancel(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("never mind"))
	if _, err := s.App.Broker.Cancel(t.Context(), s.caller(), out.Action.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Reason != "approval_not_open" {
		t.Errorf("approved after the cancel: %v", err)
	}
	other, _ := s.Agent(s.mira, "nosy")
	if _, err := s.App.Broker.Get(t.Context(), vktest.Caller(other), out.Action.ID, time.Now()); fault.From(err).Reason != "action_not_found" {
		t.Errorf("another agent sees the action: %v", err)
	}
}

// Vending needs a grant of its own kind.
func TestVend(t *testing.T) {
	s := newScene(t)
	ask := broker.VendAsk{User: s.mira.User, Connection: "github"}
	vend := func(c agent.Caller) (string, error) {
		v, _, err := s.App.Broker.Vend(t.Context(), c, ask, time.Now())
		if v == nil {
			return "", err
		}
		return v.Token.Reveal(), err
	}
	if _, err := vend(s.caller()); fault.From(err).Reason != "vending_not_granted" {
		t.Errorf("vended without a grant: %v", err)
	}
	holder, _ := s.Agent(s.mira, "holder")
	s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
	token, err := vend(vktest.Caller(holder))
	if err != nil || !strings.HasPrefix(token, "gh") {
		t.Fatalf("vend: %v", err)
	}
	ask.Scopes = []string{"admin:org"}
	if _, err := vend(vktest.Caller(holder)); fault.From(err).Reason != "invalid_scope" {
		t.Errorf("vended other scopes: %v", err)
	}
	ask.Scopes, ask.User = nil, s.Person("otto").User
	if _, err := vend(vktest.Caller(holder)); fault.From(err).Reason != "connection_not_found" {
		t.Errorf("vended for a foreign user: %v", err)
	}
	// One jti, one token.
	ask.User = s.mira.User
	c := vktest.Caller(holder)
	c.Proofs = []agent.Proof{{Agent: holder.ID, JTI: "one", Until: time.Now().Add(time.Minute)}}
	if _, err := vend(c); err != nil {
		t.Fatal(err)
	}
	if _, err := vend(c); fault.From(err).Reason != "replayed" {
		t.Errorf("the same jti vended twice: %v", err)
	}
	var vended []audit.Event
	for _, e := range s.events(string(s.con.ID)) {
		if e.Verb == "token.vended" {
			vended = append(vended, e)
		}
	}
	if len(vended) != 2 {
		t.Errorf("%d vendings in the log, want 2", len(vended))
	}
}

// A vending that policy asks about is held; the approved one is handed out
// once, by the repeat of the same request, and the next one asks afresh.
func TestHeldVend(t *testing.T) {
	s := newScene(t)
	holder, _ := s.Agent(s.mira, "holder")
	s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
	s.rules(`@id("vend") @reason("tokens are asked for") forbid (principal, action, resource) when { context.vend } unless { context.assurance >= 1 };`)
	vend := func() (*broker.Vended, broker.Outcome) {
		t.Helper()
		v, out, err := s.App.Broker.Vend(t.Context(), vktest.Caller(holder), broker.VendAsk{User: s.mira.User, Connection: "github"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return v, out
	}
	v, out := vend()
	if v != nil || out.Action.State != action.Pending {
		t.Fatalf("vended without an answer: %+v", out.Action)
	}
	if v, again := vend(); v != nil || again.Action.ID != out.Action.ID {
		t.Error("a repeat did not attach")
	}
	s.approve(out)
	if v, _ := vend(); v == nil {
		t.Error("the approved vending was not handed out")
	}
	if v, next := vend(); v != nil || next.Action.ID == out.Action.ID {
		t.Error("one approval, two tokens")
	}

	// Approved, and then the rules demand more: asked again, at that level.
	_, out = vend()
	s.approve(out)
	s.rules(`@id("vend2") @reason("with presence") forbid (principal, action, resource) when { context.vend } unless { context.assurance >= 2 };`)
	if v, again := vend(); v != nil || again.Action.State != action.Pending || again.Approval.Level != approval.StepUp {
		t.Errorf("after the rule: %+v", again.Action)
	}
}

// A disconnection ends what waits, approved or not.
func TestDisconnectRevokesWhatWaits(t *testing.T) {
	s := newScene(t)
	held := s.submit(comment("waits"))
	if _, err := s.App.Manage.Disconnect(t.Context(), s.mira, string(s.con.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.ends(held, action.Revoked, "connection_revoked")
	if err := s.decide(s.mira, held, approval.Yes); fault.From(err).Reason != "approval_not_open" {
		t.Errorf("answered after the disconnection: %v", err)
	}
	s.sent("POST", comments, 0)
}
