package broker_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// preview looks at what out would change, as p.
func (s *scene) preview(p user.Principal, out broker.Outcome) (*broker.Preview, string) {
	s.t.Helper()
	v, err := s.App.Broker.Preview(s.t.Context(), p, out.Approval.ID, time.Now())
	if err != nil {
		return nil, fault.From(err).Reason
	}
	return v, ""
}

func (s *scene) look(out broker.Outcome) *broker.Preview {
	s.t.Helper()
	v, refused := s.preview(s.mira, out)
	if refused != "" {
		s.t.Fatalf("preview: %s", refused)
	}
	return v
}

// approveSeen says yes in view of v.
func (s *scene) approveSeen(out broker.Outcome, v *broker.Preview) {
	s.t.Helper()
	_, err := s.App.Broker.Decide(s.t.Context(), s.mira, out.Approval.ID, broker.Verdict{
		Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Shown: v.Token,
	}, time.Now())
	if err != nil {
		s.t.Fatalf("approve: %v", err)
	}
}

// again waits until out is asked again, and returns the question then.
func (s *scene) again(out broker.Outcome, why string) broker.Held {
	s.t.Helper()
	var h broker.Held
	s.waitFor("it is asked again", func() bool {
		var err error
		h, err = s.App.Broker.Get(s.t.Context(), s.caller(), out.Action.ID, time.Now())
		return err == nil && h.Approval.ID != out.Approval.ID
	})
	if h.Action.State != action.Pending || h.Action.Why != why {
		s.t.Errorf("it is %s (%s), want pending (%s)", h.Action.State, h.Action.Why, why)
	}
	return h
}

func (s *scene) waitFor(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(8 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// ask submits an operation on octo/api.
func (s *scene) ask(operation string, params map[string]any) broker.Outcome {
	s.t.Helper()
	all := map[string]any{"owner": "octo", "repo": "api"}
	for k, v := range params {
		all[k] = v
	}
	return s.submit(broker.Ask{Connection: "github", Operation: operation, Params: all})
}

// merge asks to merge pull request 3.
func (s *scene) merge() broker.Outcome {
	return s.ask("github.pulls.merge", map[string]any{"number": 3})
}

func value(all []provider.ShownValue, label string) string {
	for _, v := range all {
		if v.Label == label {
			return v.Text
		}
	}
	return "?"
}

func change(t *testing.T, v *broker.Preview, label string) provider.ShownChange {
	t.Helper()
	for _, c := range v.Changes {
		if c.Label == label {
			return c
		}
	}
	t.Fatalf("no change of %s: %+v", label, v.Changes)
	return provider.ShownChange{}
}

// Nobody looks through an account but its owner, and whoever the owner lets.
func TestPreviewIsTheOwners(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("who sees"))
	issue := "/repos/octo/api/issues/1"
	before := s.Sandbox.Count("GET", issue)
	other, agentLike := s.Person("otto"), user.Principal{Org: s.mira.Org}
	operator := user.Principal{Org: s.mira.Org, Operator: true}
	if _, got := s.preview(other, out); got != broker.ErrUnknown.Reason && got != broker.ErrNoSight.Reason {
		t.Errorf("a stranger: %q", got)
	}
	if _, got := s.preview(agentLike, out); got == "" {
		t.Error("nobody sees it")
	}
	if _, got := s.preview(operator, out); got != user.ErrLogin.Reason {
		t.Errorf("the operator: %q", got)
	}
	if s.Sandbox.Count("GET", issue) != before {
		t.Error("a refused look was made")
	}
	if v := s.look(out); value(v.Now, "Title") != "Login times out behind the new proxy" {
		t.Errorf("the owner sees %+v", v.Now)
	}
}

// Each look is in the log before it is made, as the one of who looks, and with
// nothing of what is there.
func TestPreviewIsRecorded(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("recorded"))
	s.look(out)
	events := s.events(string(out.Action.ID))
	last := events[len(events)-1]
	if last.Verb != "preview.read" || last.Actor != s.mira.Actor() || last.Data["operation"] != "github.issues.get" || last.Data["connection"] != string(s.con.ID) {
		t.Errorf("the log has %+v", last)
	}
	if strings.Contains(string(last.Encode()), "Login times out") {
		t.Errorf("content in the log: %s", last.Encode())
	}
}

func TestPreviewShowsBeforeAndAfter(t *testing.T) {
	s := newScene(t)
	v := s.look(s.submit(comment("as a reply")))
	if c := change(t, v, "New comment"); c.Does != provider.Adds || !c.Known || c.Before.Text != "2" || c.After.Text != "as a reply" {
		t.Errorf("a comment: %+v", c)
	}
	v = s.look(s.ask("github.issues.update", map[string]any{"number": 1, "title": "Login times out", "labels": []any{"bug", "proxy"}}))
	if c := change(t, v, "Title"); c.Before.Text != "Login times out behind the new proxy" || c.After.Text != "Login times out" || c.Same {
		t.Errorf("a title: %+v", c)
	}
	if c := change(t, v, "Labels"); c.Before.Text != "bug" || c.After.Text != "bug, proxy" {
		t.Errorf("labels: %+v", c)
	}
	v = s.look(s.ask("github.issues.close", map[string]any{"number": 1}))
	if c := change(t, v, "State"); c.Before.Text != "open" || c.After.Text != "closed" {
		t.Errorf("closing: %+v", c)
	}
	v = s.look(s.ask("github.pulls.merge", map[string]any{"number": 3}))
	if value(v.Now, "Into") != "main" || len(value(v.Now, "Head that would be merged")) != 40 || value(v.Now, "Commits") != "1" || !v.Strict {
		t.Errorf("a merge: %+v", v.Now)
	}
	v = s.look(s.ask("github.releases.create", map[string]any{"tag_name": "v1.2.0"}))
	if len(v.Gaps) != 1 || v.Gaps[0].Kind != provider.GapMissing || v.Gaps[0].Words == "" || v.Token == "" {
		t.Errorf("a release: gaps %+v", v.Gaps)
	}
	v = s.look(s.ask("github.repos.delete", nil))
	if c := change(t, v, "The repository and all that is in it"); c.Does != provider.Removes || c.Before.Text != "octo/api" {
		t.Errorf("a deletion: %+v", c)
	}
	if value(v.Now, "Visibility") != "private" || value(v.Now, "Open issues and pull requests") != "3" {
		t.Errorf("a deletion: %+v", v.Now)
	}
}

// What cannot be read keeps nobody from answering.
func TestPreviewFailures(t *testing.T) {
	s := newScene(t)
	issue := "/repos/octo/api/issues/1"
	out := s.submit(comment("blind"))
	for name, set := range map[string]func(){
		"it is down":     func() { s.Sandbox.Fail(issue, 503, 1) },
		"no answer":      func() { s.Sandbox.DropAnswers(issue, 3) },
		"not to be seen": func() { s.Sandbox.Fail(issue, 403, 1) },
	} {
		set()
		v := s.look(out)
		if len(v.Gaps) != 1 || v.Gaps[0].Kind != provider.GapUnread || v.Token != "" {
			t.Errorf("%s: gaps %+v, token %q", name, v.Gaps, v.Token)
		}
		s.Sandbox.DropAnswers(issue, 0)
	}
	s.Sandbox.EditIssue("octo/api", 1, "Large", strings.Repeat("x", 70_000))
	v := s.look(out)
	if len(v.Gaps) != 1 || v.Gaps[0].Kind != provider.GapLarge {
		t.Errorf("a large answer: %+v", v.Gaps)
	}
	s.approveSeen(out, v)
	s.ends(out, action.Succeeded, "")
}

// A look takes no longer than its time.
func TestPreviewIsBounded(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("slow"))
	s.Sandbox.Delay("/repos/octo/api/issues/1", 20*time.Second)
	began := time.Now()
	v := s.look(out)
	if took := time.Since(began); took > 8*time.Second || len(v.Gaps) != 1 {
		t.Errorf("it took %s: %+v", took, v.Gaps)
	}
}

// Where something is stopped, nobody looks either.
func TestPreviewRespectsStops(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("stopped"))
	f, err := s.App.Freezes.Throw(t.Context(), s.mira.Org, freeze.Agent, string(s.bot.ID), "test", "system", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	before := s.Sandbox.Count("GET", "/repos/octo/api/issues/1")
	if _, got := s.preview(s.mira, out); got != freeze.ErrFrozen.Reason {
		t.Errorf("frozen: %q", got)
	}
	if err := s.App.Freezes.Lift(t.Context(), s.mira.Org, f.ID, "system", time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.App.Manage.Disconnect(t.Context(), s.mira, string(s.con.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, got := s.preview(s.mira, out); got != approval.ErrNotOpen.Reason {
		t.Errorf("disconnected: %q", got)
	}
	s.sent("GET", "/repos/octo/api/issues/1", before)
}

// A token says what this person was shown of this approval, and nothing else.
func TestShownTokens(t *testing.T) {
	s := newScene(t)
	one, two := s.submit(comment("one")), s.submit(comment("two"))
	token := s.look(two).Token
	flipped := []byte(s.look(one).Token)
	flipped[len(flipped)-6] ^= 1
	for name, shown := range map[string]string{"another approval's": token, "changed": string(flipped), "made up": "AAAA", "no base64": "%%"} {
		_, err := s.App.Broker.Decide(t.Context(), s.mira, one.Approval.ID, broker.Verdict{
			Answer: approval.Yes, Seen: one.Action.Effect, Level: approval.Approve, Channel: "web", Shown: shown}, time.Now())
		if got := fault.From(err).Reason; got != broker.ErrShown.Reason {
			t.Errorf("%s: %q", name, got)
		}
	}
	_, err := s.App.Broker.Decide(t.Context(), s.mira, one.Approval.ID, broker.Verdict{
		Answer: approval.No, Seen: one.Action.Effect, Level: approval.Approve, Channel: "web", Shown: token}, time.Now())
	if err != nil {
		t.Errorf("a no was held up: %v", err)
	}
	s.sent("POST", comments, 0)
}

// The answer covers what was shown: it is in the decision digest.
func TestPreconditionIsAnswered(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("covered"))
	v := s.look(out)
	s.approveSeen(out, v)
	h := s.ends(out, action.Succeeded, "")
	if h.Approval.Precondition != v.Precondition || v.Precondition == "" {
		t.Errorf("stored %q, shown %q", h.Approval.Precondition, v.Precondition)
	}
	blind := *h.Approval
	blind.Precondition = ""
	if blind.Digest(approval.Yes) == h.Approval.Digest(approval.Yes) {
		t.Error("the decision digest does not cover the precondition")
	}
	held := s.events(string(out.Action.ID))
	if at := slices.IndexFunc(held, func(e audit.Event) bool { return e.Verb == "action.executing" }); at < 0 || held[at].Data["target"] != "held" {
		t.Errorf("the claim does not say that the target was looked at: %v", verbs(held))
	}
}

// What was approved in view of something that has become something else is not
// sent: it is asked again.
func TestTargetMoved(t *testing.T) {
	for name, c := range map[string]struct {
		ask          func(*scene) broker.Outcome
		move         func(*scene)
		method, path string
	}{
		"an issue is edited": {func(s *scene) broker.Outcome { return s.submit(comment("yes, do it")) },
			func(s *scene) { s.Sandbox.EditIssue("octo/api", 1, "Shall we delete everything?", "Answer here.") }, "POST", comments},
		"a title is edited under an edit": {func(s *scene) broker.Outcome {
			return s.ask("github.issues.update", map[string]any{"number": 1, "title": "T"})
		},
			func(s *scene) { s.Sandbox.EditIssue("octo/api", 1, "Somebody was faster", "") }, "PATCH", "/repos/octo/api/issues/1"},
		"a commit is pushed": {(*scene).merge, func(s *scene) { s.Sandbox.PushTo("octo/api", "raise-limit", "server/backdoor.go", "package server\n") }, "PUT", "/repos/octo/api/pulls/3/merge"},
		"a repository is renamed": {func(s *scene) broker.Outcome {
			return s.ask("github.issues.create", map[string]any{"title": "T"})
		}, func(s *scene) { s.Sandbox.Rename("octo/api", "api-old") }, "POST", "/repos/octo/api/issues"},
		"it grows too large to read": {func(s *scene) broker.Outcome { return s.submit(comment("padded")) },
			func(s *scene) { s.Sandbox.EditIssue("octo/api", 1, "Other", strings.Repeat("x", 70_000)) }, "POST", comments},
		"the tag is released": {func(s *scene) broker.Outcome {
			return s.ask("github.releases.create", map[string]any{"tag_name": "v1.2.0"})
		}, func(s *scene) {
			call(s, "POST", "/repos/octo/api/releases", `{"tag_name":"v1.2.0"}`)
		}, "POST", "/repos/octo/api/releases"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			out := c.ask(s)
			v := s.look(out)
			c.move(s)
			n := s.Sandbox.Count(c.method, c.path)
			s.approveSeen(out, v)
			h := s.again(out, "target_changed")
			s.sent(c.method, c.path, n)
			if h.Approval.Precondition != "" || h.Approval.Status != approval.Open {
				t.Errorf("the new question is %+v", h.Approval)
			}
		})
	}
}

// call is made by octocat, past everything.
func call(s *scene, method, path, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.Upstream+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Sandbox.PersonalToken("octocat").Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %d", method, path, res.StatusCode)
	}
}

// A comment of somebody else is no other question; and the answer to the new
// question is good.
func TestTargetAskedAgain(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("still fine"))
	v := s.look(out)
	s.Sandbox.CommentAs("hubot", "octo/api", 1, "By the way")
	s.approveSeen(out, v)
	s.ends(out, action.Succeeded, "")

	out = s.merge()
	v = s.look(out)
	s.Sandbox.PushTo("octo/api", "raise-limit", "server/limits.go", "package server\n\nconst limit = 200\n")
	s.approveSeen(out, v)
	h := s.again(out, "target_changed")
	out.Approval = h.Approval
	s.approveSeen(out, s.look(out))
	s.ends(out, action.Succeeded, "")
	s.sent("PUT", "/repos/octo/api/pulls/3/merge", 1)
}

// Where what was shown cannot be read again, a merge waits; a comment goes.
func TestUnreadAtExecution(t *testing.T) {
	s := newScene(t)
	merge, note := s.merge(), s.submit(comment("goes all the same"))
	pull, issue := s.look(merge), s.look(note)
	s.Sandbox.Fail("/repos/octo/api/pulls/3", 503, 1)
	s.approveSeen(merge, pull)
	s.waitFor("the look at the pull request", func() bool {
		n := 0
		for _, e := range s.events(string(merge.Action.ID)) {
			if e.Verb == "preview.read" && e.Actor == "system" {
				n++
			}
		}
		return n == 1
	})
	s.Sandbox.Fail("/repos/octo/api/issues/1", 503, 1)
	s.approveSeen(note, issue)
	s.ends(note, action.Succeeded, "")
	held := s.events(string(note.Action.ID))
	if at := slices.IndexFunc(held, func(e audit.Event) bool { return e.Verb == "action.executing" }); at < 0 || held[at].Data["target"] != "unread" {
		t.Errorf("the claim does not say that the target was not read: %v", verbs(held))
	}
	h, err := s.App.Broker.Get(t.Context(), s.caller(), merge.Action.ID, time.Now())
	if err != nil || h.Action.State != action.Approved {
		t.Errorf("the merge is %s (%s): %v", h.Action.State, h.Action.Why, err)
	}
	s.sent("PUT", "/repos/octo/api/pulls/3/merge", 0)

	// Looked at again, at the latest by the next process, it goes its way.
	s.Restart()
	s.ends(merge, action.Succeeded, "")
	s.sent("PUT", "/repos/octo/api/pulls/3/merge", 1)
}

// Hanging up ends the looks.
func TestPreviewEndsWithItsReader(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("gone"))
	s.Sandbox.Delay("/repos/octo/api/issues/1", 20*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _ = s.App.Broker.Preview(ctx, s.mira, out.Approval.ID, time.Now())
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

// The owner may let approvers look.
func TestSharedPreview(t *testing.T) {
	s := newScene(t)
	otto := s.Person("otto")
	s.rules(`@id("two") @approvers("connection-owner, ` + string(otto.User) + `") @reason("otto looks at comments, too")
forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 1 };`)
	out := s.submit(comment("shared"))
	if _, got := s.preview(otto, out); got != broker.ErrNoSight.Reason {
		t.Errorf("an approver with whom it is not shared: %q", got)
	}
	if err := s.App.Manage.SharePreviews(t.Context(), otto, string(s.con.ID), vault.ApproversLook, time.Now()); err == nil {
		t.Error("somebody else shares it")
	}
	if err := s.App.Manage.SharePreviews(t.Context(), s.mira, string(s.con.ID), vault.ApproversLook, time.Now()); err != nil {
		t.Fatal(err)
	}
	v, got := s.preview(otto, out)
	if got != "" || len(v.Now) == 0 {
		t.Fatalf("an approver with whom it is shared: %q", got)
	}
	if err := s.App.Manage.SharePreviews(t.Context(), s.mira, string(s.con.ID), vault.OwnerLooks, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, got := s.preview(otto, out); got != broker.ErrNoSight.Reason {
		t.Errorf("after it was taken back: %q", got)
	}
}
