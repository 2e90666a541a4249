package broker_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/vktest"
)

var deletion = broker.Ask{Connection: "github", Operation: "github.repos.delete", Params: map[string]any{"owner": "octo", "repo": "api"}}

// relink connects the account again, with these scopes and no others.
func (s *scene) relink(scopes ...string) {
	s.t.Helper()
	to, err := s.App.Connect.Begin(s.t.Context(), s.mira, "github", scopes, "", time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	back, err := sandbox.Approve(s.t.Context(), http.DefaultClient, to, "octocat")
	if err != nil {
		s.t.Fatal(err)
	}
	con, err := s.App.Connect.Complete(s.t.Context(), s.mira, vktest.ParseCallback(s.t, "github", back), time.Now())
	if err != nil || con.ID != s.con.ID || !slices.Equal(slices.Sorted(slices.Values(con.Scopes)), slices.Sorted(slices.Values(scopes))) {
		s.t.Fatal(con, err)
	}
}

// What the provider would refuse for want of a scope is refused before anybody
// is woken, and the refusal says what is wanting and who can do what.
func TestMissingScopeIsRefusedFirst(t *testing.T) {
	s := newScene(t)
	s.relink("read:user", "repo")
	calls, events := len(s.Sandbox.Ledger()), s.head()
	_, err := s.App.Broker.Submit(t.Context(), s.caller(), deletion, time.Now())
	f := fault.From(err)
	if f.Reason != "missing_scope" || f.Kind != fault.Forbidden {
		t.Fatalf("refused as %v", err)
	}
	for _, want := range []string{"github.repos.delete", "the scope delete_repo", "GitHub", "owner", "connect the account again"} {
		if !strings.Contains(f.Detail, want) {
			t.Errorf("%q is not in %q", want, f.Detail)
		}
	}
	raw := broker.Ask{Connection: "github", Method: "DELETE", Path: "/repos/octo/api"}
	if got := s.refused(raw); got != "missing_scope" {
		t.Errorf("the same by its path: %s", got)
	}
	if open, err := s.App.Broker.Inbox(t.Context(), s.mira, approval.Open, time.Time{}, 10); err != nil || len(open) != 0 {
		t.Errorf("%d people were asked, %v", len(open), err)
	}
	if n := s.head() - events; n != 2 {
		t.Errorf("%d events for two refusals", n)
	}
	if n := len(s.Sandbox.Ledger()) - calls; n != 0 {
		t.Errorf("%d calls reached the upstream", n)
	}

	// Who may not do it at all is told that, not to widen the token.
	s.rules(`@id("never") @reason("nothing is deleted") forbid (principal, action, resource) when { context.operation == Operation::"github.repos.delete" };`)
	if got := s.refused(deletion); got != "forbidden_by_policy" {
		t.Errorf("what a rule forbids: %s", got)
	}
}

// Only what is certain to fail is refused: scopes cover others, what is public
// takes less, and scopes that are not known are not missing.
func TestScopesThatAreNotMissing(t *testing.T) {
	for name, c := range map[string]struct {
		scopes []string
		ask    broker.Ask
		warns  bool
	}{
		"with the scope":               {[]string{"read:user", "repo", "delete_repo"}, deletion, false},
		"covered by a greater scope":   {[]string{"repo"}, broker.Ask{Connection: "github", Operation: "github.repos.fork", Params: map[string]any{"owner": "octo", "repo": "api"}}, false},
		"enough for what is public":    {[]string{"public_repo"}, comment("public?"), true},
		"a read of what may be public": {[]string{"read:user"}, listing, true},
		"a path outside the catalogue": {[]string{"read:user"}, broker.Ask{Connection: "github", Method: "POST", Path: "/repos/octo/api/statuses/abc", Body: []byte("{}")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.relink(c.scopes...)
			out := s.submit(c.ask)
			if out.Answer != nil {
				out.Answer.Body.Close()
				return
			}
			warned := slices.ContainsFunc(out.Explain, func(why string) bool { return strings.Contains(why, "does not have the scope repo") })
			if warned != c.warns {
				t.Errorf("told %q", out.Explain)
			}
		})
	}

	t.Run("a token whose scopes nobody tells", func(t *testing.T) {
		s := newScene(t)
		con, err := s.App.Connect.AddToken(t.Context(), s.mira, s.mira.User, "github", "fine-grained", s.Sandbox.PersonalToken("hubot"), time.Now())
		if err != nil || len(con.Scopes) != 0 {
			t.Fatal(con, err)
		}
		s.Grant(s.mira, s.bot, con, grant.Broker, []string{"*"}, nil)
		ask := deletion
		ask.Connection = string(con.ID)
		if out := s.submit(ask); out.Approval.Level != approval.StepUp {
			t.Errorf("asked at level %d", out.Approval.Level)
		}
	})
}

// A token that was pasted cannot be asked for more; the remedy is another.
func TestMissingScopeOfAPastedToken(t *testing.T) {
	s := newScene(t)
	con, err := s.App.Connect.AddToken(t.Context(), s.mira, s.mira.User, "github", "classic", s.Sandbox.PersonalToken("hubot", "repo"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Grant(s.mira, s.bot, con, grant.Broker, []string{"*"}, nil)
	ask := deletion
	ask.Connection = string(con.ID)
	_, err = s.App.Broker.Submit(t.Context(), s.caller(), ask, time.Now())
	if f := fault.From(err); f.Reason != "missing_scope" || !strings.Contains(f.Detail, "paste") {
		t.Errorf("%v", err)
	}
}

// A connection that came back with less while a person was thinking: what they
// approved waits, unsent, for its owner to connect again, as it does where the
// tokens are dead.
func TestScopeLostBeforeExecution(t *testing.T) {
	s := newScene(t)
	other := s.Link(s.mira, "hubot")
	s.Grant(s.mira, s.bot, other, grant.Broker, []string{"*"}, nil)
	early := comment("too early")
	early.Connection = string(s.con.ID)
	held := s.submit(early)
	s.relink("read:user")
	s.approve(held)
	// Whoever comes after it goes on.
	after := comment("goes on")
	after.Connection = string(other.ID)
	next := s.submit(after)
	s.approve(next)
	s.ends(next, action.Succeeded, "")
	h, err := s.App.Broker.Get(t.Context(), s.caller(), held.Action.ID, time.Now())
	if err != nil || h.Action.State != action.Approved || h.Approval.Status != approval.Granted {
		t.Fatalf("%+v, %v, want one that waits", h.Action, err)
	}
	s.sent("POST", comments, 1)
	s.relink("repo")
	s.Restart() // what waits is looked at afresh
	s.ends(held, action.Succeeded, "")
	s.sent("POST", comments, 2)
}

// When nobody could know before, the failure says it.
func TestMissingScopeIsShownOnFailure(t *testing.T) {
	s := newScene(t)
	s.relink("public_repo")
	s.Sandbox.Fail("/repos/octo/api", 403, 2)
	held := s.submit(comment("private?"))
	s.approve(held)
	if h := s.ends(held, action.Failed, "missing_scope"); h.Action.Status != 403 {
		t.Errorf("status %d", h.Action.Status)
	}
	out := s.submit(listing)
	if status, _ := read(t, out); status != 403 {
		t.Errorf("status %d", status)
	}
	events := s.events(string(out.Action.ID))
	if last := events[len(events)-1]; last.Data["why"] != "missing_scope" {
		t.Errorf("recorded: %v", last.Data)
	}

	s.relink("repo")
	s.Sandbox.Fail(comments, 403, 1)
	held = s.submit(comment("another reason"))
	s.approve(held)
	s.ends(held, action.Failed, "upstream_403")
}
