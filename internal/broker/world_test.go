package broker_test

import (
	"io"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

// scene is a world with one person, one connected account, one agent and one
// grant for everything on octo/api.
type scene struct {
	*vktest.World
	t     *testing.T
	mira  user.Principal
	con   *vault.Connection
	bot   *agent.Agent
	grant *grant.Grant
}

const comments = "/repos/octo/api/issues/1/comments"

func newScene(t *testing.T, options ...vktest.Option) *scene {
	return sceneIn(t, vktest.New(t, options...))
}

func sceneIn(t *testing.T, w *vktest.World) *scene {
	s := &scene{World: w, t: t, mira: w.Person("mira")}
	s.con = w.Link(s.mira, "octocat")
	s.bot, _ = w.Agent(s.mira, "triage")
	s.grant = w.Grant(s.mira, s.bot, s.con, grant.Broker, []string{"*"}, []string{"octo/api"})
	return s
}

func (s *scene) caller() agent.Caller { return vktest.Caller(s.bot) }

// comment asks to write text on issue 1.
func comment(text string) broker.Ask {
	return broker.Ask{Connection: "github", Operation: "github.issues.create_comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": text}}
}

func (s *scene) submit(ask broker.Ask) broker.Outcome {
	s.t.Helper()
	out, err := s.App.Broker.Submit(s.t.Context(), s.caller(), ask, time.Now())
	if err != nil {
		s.t.Fatalf("submit: %v", err)
	}
	return out
}

// refused submits and returns the reason of the refusal.
func (s *scene) refused(ask broker.Ask) string {
	s.t.Helper()
	out, err := s.App.Broker.Submit(s.t.Context(), s.caller(), ask, time.Now())
	if err == nil {
		s.t.Fatalf("submit of %s %s%s was not refused: %s", ask.Method, ask.Operation, ask.Path, out.Action.State)
	}
	return fault.From(err).Reason
}

func (s *scene) decide(p user.Principal, out broker.Outcome, answer approval.Answer) error {
	_, err := s.App.Broker.Decide(s.t.Context(), p, out.Approval.ID, broker.Verdict{
		Answer: answer, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web",
	}, time.Now())
	return err
}

func (s *scene) approve(out broker.Outcome) {
	s.t.Helper()
	if err := s.decide(s.mira, out, approval.Yes); err != nil {
		s.t.Fatalf("approve: %v", err)
	}
}

// ends waits for the end of a held action.
func (s *scene) ends(out broker.Outcome, want action.State, why string) broker.Held {
	s.t.Helper()
	h, err := s.App.Broker.Await(s.t.Context(), s.caller(), out.Action.ID, "")
	if err != nil {
		s.t.Fatal(err)
	}
	if h.Action.State != want || why != "" && h.Action.Why != why {
		s.t.Errorf("ended %s (%s), want %s (%s)", h.Action.State, h.Action.Why, want, why)
	}
	return h
}

// sent fails the test unless n requests with this method and path reached the
// upstream.
func (s *scene) sent(method, path string, n int) {
	s.t.Helper()
	if got := s.Sandbox.Count(method, path); got != n {
		s.t.Errorf("%d x %s %s reached the upstream, want %d", got, method, path, n)
	}
}

// events returns the log's events about object, oldest first.
func (s *scene) events(object string) []audit.Event {
	s.t.Helper()
	got, err := s.App.DB.Log().Select(s.t.Context(), store.Query{Org: id.DefaultOrg, Object: object, Limit: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
		got[i], got[j] = got[j], got[i]
	}
	return got
}

func verbs(events []audit.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Verb)
	}
	return out
}

// rules puts text in force beside the rules that ship.
func (s *scene) rules(text string) {
	s.t.Helper()
	by := user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}
	if err := s.App.Policies.Save(s.t.Context(), by, policy.Document{Name: "extra-" + string(id.NewAction()), Text: text}, time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// read drains and closes an inline answer.
func read(t *testing.T, out broker.Outcome) (int, string) {
	t.Helper()
	if out.Answer == nil {
		t.Fatalf("no answer: %s (%s)", out.Action.State, out.Action.Why)
	}
	b, err := io.ReadAll(out.Answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Answer.Status, string(b)
}
