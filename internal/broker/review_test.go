package broker_test

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/vktest"
)

// A caller is looked at again by the time its request is judged: what was true
// when it authenticated may not be any more.
func TestCallerIsLookedAtAgain(t *testing.T) {
	s := newScene(t)
	holder, _ := s.Agent(s.mira, "holder")
	s.Grant(s.mira, holder, s.con, grant.Vend, []string{"*"}, nil)
	keys, err := s.App.DB.Agents().Keys().OfAgent(t.Context(), holder.Org, holder.ID)
	if err != nil {
		t.Fatal(err)
	}
	early := vktest.Caller(holder)
	early.Key = keys[0].ID
	list := broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}
	try := func() (submit, vend string) {
		out, err := s.App.Broker.Submit(t.Context(), early, list, time.Now())
		if err == nil {
			read(t, out)
		}
		submit = fault.From(err).Reason
		v, _, err := s.App.Broker.Vend(t.Context(), early, broker.VendAsk{User: s.mira.User, Connection: "github"}, time.Now())
		if err != nil && v != nil {
			t.Error("a token beside a refusal")
		}
		return submit, fault.From(err).Reason
	}
	if err := s.App.Manage.SuspendAgent(t.Context(), s.mira, "holder", time.Now()); err != nil {
		t.Fatal(err)
	}
	if a, b := try(); a != "agent_suspended" || b != "agent_suspended" {
		t.Errorf("suspended: %s, %s", a, b)
	}
	if err := s.App.Manage.ResumeAgent(t.Context(), s.mira, "holder", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.App.Manage.RevokeKey(t.Context(), s.mira, "holder", keys[0].ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if a, b := try(); a != agent.ErrToken.Reason || b != agent.ErrToken.Reason {
		t.Errorf("key revoked: %s, %s", a, b)
	}
}

// Authentic rows of yesterday, put back today, execute nothing: the log knows.
func TestRowsPutBack(t *testing.T) {
	s := newScene(t)
	for _, q := range []string{
		"create table kept_actions as select * from actions where 0",
		"create table kept_approvals as select * from approvals where 0",
		"create trigger keep_actions after update on actions when new.state = 'approved' begin insert into kept_actions select * from actions where id = new.id; end",
		"create trigger keep_approvals after update on approvals when new.status = 'granted' begin insert into kept_approvals select * from approvals where id = new.id; end",
	} {
		vktest.Raw(t, s.Config, q)
	}
	held := s.submit(comment("once only"))
	s.approve(held)
	s.ends(held, action.Succeeded, "")
	vktest.Tamper(t, s.Config, "replace into approvals select * from kept_approvals")
	vktest.Tamper(t, s.Config, "replace into actions select * from kept_actions")
	if h, err := s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, time.Now()); err != nil || h.Action.State != action.Approved {
		t.Fatalf("the rows were not put back: %v, %v", h.Action, err)
	}
	time.Sleep(1500 * time.Millisecond) // the loop looks at it at least once
	s.sent("POST", comments, 1)
}

// Nobody can slip an account of theirs under a name that an agent uses.
func TestForeignGrantTakesNoName(t *testing.T) {
	s := newScene(t)
	mallory := s.Person("mallory")
	theirs := s.Link(mallory, "hubot")
	s.Grant(mallory, s.bot, theirs, grant.Broker, []string{"*"}, nil)
	out := s.submit(comment("whose?"))
	if out.Action.Connection != s.con.ID {
		t.Errorf("the name means %s", out.Action.Connection)
	}
	if _, err := s.App.Manage.Disconnect(t.Context(), s.mira, string(s.con.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := s.refused(comment("and now?")); got != "connection_not_found" {
		t.Errorf("after the disconnection the name gives %s", got)
	}
	byID := comment("by id")
	byID.Connection = string(theirs.ID)
	if out := s.submit(byID); out.Approval.Level != approval.Approve {
		t.Errorf("by its id: %v", out.Approval)
	}
}

// A rule about networks names the same approvers at the decision as when it
// asked.
func TestSourceRulesKeepTheirApprovers(t *testing.T) {
	s := newScene(t)
	otto := s.Person("otto")
	s.rules(`@id("near") @approvers("otto") @reason("otto looks at what comes from here")
forbid (principal, action, resource) when { context has source && context.source.isLoopback() && !context.read } unless { context.assurance >= 1 };`)
	out := s.submit(comment("from here"))
	if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Reason != "not_an_approver" {
		t.Errorf("the owner approved against the rule: %v", err)
	}
	if err := s.decide(otto, out, approval.Yes); err != nil {
		t.Fatal(err)
	}
	s.ends(out, action.Succeeded, "")
}

// Nor do they give anything back: a grant that was revoked, a key, an agent that
// is suspended, are what the log says, also to a server that starts on them.
func TestAuthorityPutBack(t *testing.T) {
	s := newScene(t)
	keys, err := s.App.DB.Agents().Keys().OfAgent(t.Context(), s.bot.Org, s.bot.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"grants", "agent_keys", "agents"} {
		vktest.Raw(t, s.Config, "create table kept_"+table+" as select * from "+table)
	}
	by := s.caller()
	by.Key = keys[0].ID
	try := func() string {
		s.Restart()
		_, err := s.App.Broker.Submit(t.Context(), by, comment("again"), time.Now())
		return fault.From(err).Reason
	}
	for _, c := range []struct {
		table, want string
		end         func() error
	}{
		{"grants", "grant_revoked", func() error { return s.App.Manage.RevokeGrant(t.Context(), s.mira, s.grant.ID, time.Now()) }},
		{"agent_keys", agent.ErrToken.Reason, func() error { return s.App.Manage.RevokeKey(t.Context(), s.mira, "triage", by.Key, time.Now()) }},
		{"agents", "agent_suspended", func() error { return s.App.Manage.SuspendAgent(t.Context(), s.mira, "triage", time.Now()) }},
	} {
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		if got := try(); got != c.want {
			t.Errorf("%s: ended, it is refused as %s, want %s", c.table, got, c.want)
		}
		vktest.Tamper(t, s.Config, "replace into "+c.table+" select * from kept_"+c.table)
		if got := try(); got != c.want {
			t.Errorf("%s: put back, it is refused as %s, want %s", c.table, got, c.want)
		}
	}
}
