package broker_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

var socket = user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}

// member makes a person who manages nothing.
func (s *scene) member(name string) user.Principal {
	s.t.Helper()
	now := time.Now()
	u, _, err := s.App.Users.Create(s.t.Context(), socket, name, user.Member, now)
	if err != nil {
		s.t.Fatal(err)
	}
	return user.Principal{Org: u.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: id.NewSession(), Kind: user.Browser, AuthAt: now}
}

func (s *scene) group(name string, who ...user.Principal) {
	s.t.Helper()
	var members []id.User
	for _, p := range who {
		members = append(members, p.User)
	}
	if _, err := s.App.Users.CreateGroup(s.t.Context(), socket, name, members, time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Reason
}

func (s *scene) wantReason(what string, err error, want string) {
	s.t.Helper()
	if got := reason(err); got != want {
		s.t.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

// two is a rule that asks two people of a group about comments.
const two = `@id("two") @quorum("2") @approvers("group:release") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 1 };`

// Two people have to say yes, each for themselves; the first one's yes sends
// nothing.
func TestQuorum(t *testing.T) {
	s := newScene(t)
	otto, pia, eve := s.member("otto"), s.member("pia"), s.member("eve")
	s.group("release", otto, pia, s.mira)
	s.rules(two)
	out := s.submit(comment("both"))
	if out.Approval.Quorum != 2 {
		t.Fatalf("quorum %d", out.Approval.Quorum)
	}
	// Whoever is named finds it, whoever is not does not.
	for who, want := range map[*user.Principal]int{&otto: 1, &pia: 1, &eve: 0} {
		if in, err := s.App.Broker.Inbox(t.Context(), *who, approval.Open, time.Time{}, 9); err != nil || len(in) != want {
			t.Errorf("inbox of %s: %d, %v", who.Name, len(in), err)
		}
	}
	s.wantReason("somebody else", s.decide(eve, out, approval.Yes), "not_an_approver")
	s.wantReason("the first", s.decide(otto, out, approval.Yes), "")
	s.wantReason("the same one again", s.decide(otto, out, approval.Yes), "already_voted")
	if h, err := s.App.Broker.Get(t.Context(), s.caller(), out.Action.ID, time.Now()); err != nil || h.Action.State != action.Pending {
		t.Fatalf("after one yes: %v, %v", h.Action, err)
	}
	s.sent("POST", comments, 0)
	shown, err := s.App.Broker.Show(t.Context(), otto, out.Approval.ID, time.Now())
	if err != nil || !shown.Voted || shown.Relievable || len(shown.Approval.Votes) != 1 {
		t.Errorf("as the first one sees it: %+v, %v", shown, err)
	}
	s.wantReason("the second", s.decide(pia, out, approval.Yes), "")
	s.ends(out, action.Succeeded, "")
	s.sent("POST", comments, 1)

	got := verbs(s.events(string(out.Approval.ID)))
	if want := []string{"approval.opened", "approval.refused", "approval.voted", "approval.refused", "approval.granted", "approval.spent"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	for _, e := range s.events(string(out.Approval.ID)) {
		if e.Verb == "approval.voted" && (e.Data["votes"] != "1" || e.Data["quorum"] != "2" || e.Data["decision"] == "" || e.Actor != "user:"+string(otto.User)) {
			t.Errorf("the vote in the log: %+v", e)
		}
	}

	// Each yes is a decision of the receipt, with its own event.
	r, err := s.App.Receipts.Issue(t.Context(), s.mira, string(out.Action.ID), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := described(r.Verify(s.trust()))
	if len(r.Decisions) != 2 || !strings.Contains(text, "ok quorum: 2 different people said yes") || strings.Count(text, "ok decision: approved by") != 2 {
		t.Errorf("receipt: %s", text)
	}
	for name, change := range map[string]func(){
		"one person twice":   func() { r.Decisions[1] = r.Decisions[0] },
		"one vote left out":  func() { r.Decisions = r.Decisions[:1] },
		"asked for only one": func() { r.Question.Quorum = 0 },
	} {
		was, quorum := slices.Clone(r.Decisions), r.Question.Quorum
		change()
		if err := r.Sign(s.App.Checkpointer.Signer); err != nil {
			t.Fatal(err)
		}
		if v := r.Verify(s.trust()); v.OK() {
			t.Errorf("%s verifies: %s", name, described(v))
		}
		r.Decisions, r.Question.Quorum = was, quorum
	}
}

// One no ends it, whoever said yes before, and be it the same person.
func TestOneNoDenies(t *testing.T) {
	s := newScene(t)
	otto := s.member("otto")
	s.group("release", otto, s.mira)
	s.rules(two)
	out := s.submit(comment("no"))
	s.wantReason("yes", s.decide(otto, out, approval.Yes), "")
	s.wantReason("no", s.decide(otto, out, approval.No), "")
	s.wantReason("yes after it", s.decide(s.mira, out, approval.Yes), "approval_not_open")
	s.ends(out, action.Denied, "")
	r, err := s.App.Receipts.Issue(t.Context(), s.mira, string(out.Action.ID), time.Now())
	if err != nil || len(r.Decisions) != 2 || r.Decisions[1].Answer != approval.No {
		t.Errorf("receipt: %+v, %v", r, err)
	}
	s.sent("POST", comments, 0)
}

// Who said yes has to be an approver when it is sent, too.
func TestVotesAreVerifiedAtTheClaim(t *testing.T) {
	for name, leave := range map[string]func(*scene, user.Principal) error{
		"suspended": func(s *scene, p user.Principal) error {
			return s.App.Users.SetStatus(s.t.Context(), socket, p.User, user.Suspended, time.Now())
		},
		"left the group": func(s *scene, p user.Principal) error {
			_, err := s.App.Users.SetMember(s.t.Context(), socket, "release", p.User, false, time.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			otto := s.member("otto")
			s.group("release", otto, s.mira)
			s.rules(two)
			out := s.submit(comment("left"))
			s.wantReason("yes", s.decide(otto, out, approval.Yes), "")
			if err := leave(s, otto); err != nil {
				t.Fatal(err)
			}
			s.wantReason("the second yes", s.decide(s.mira, out, approval.Yes), "")
			s.ends(out, action.Revoked, "not_an_approver")
			s.sent("POST", comments, 0)
		})
	}
}

// A vote whose row is gone does not count, whatever the approval says.
func TestDeletedVote(t *testing.T) {
	s := newScene(t)
	otto := s.member("otto")
	s.group("release", otto, s.mira)
	s.rules(two)
	out := s.submit(comment("deleted"))
	s.wantReason("yes", s.decide(otto, out, approval.Yes), "")
	vktest.Tamper(t, s.Config, "delete from approval_votes")
	s.wantReason("one more", s.decide(s.mira, out, approval.Yes), "")
	h, err := s.App.Broker.Get(t.Context(), s.caller(), out.Action.ID, time.Now())
	if err != nil || h.Action.State != action.Pending {
		t.Errorf("with one vote left: %v, %v", h.Action.State, err)
	}
}

// How many it takes cannot be changed behind our back: not lowered, and not
// made to look as if nobody had ever asked for several.
func TestForgedQuorum(t *testing.T) {
	s := newScene(t)
	otto := s.member("otto")
	s.group("release", otto, s.mira)
	s.rules(two)
	out := s.submit(comment("forged"))
	s.wantReason("yes", s.decide(otto, out, approval.Yes), "")
	for _, n := range []string{"1", "0"} {
		vktest.Tamper(t, s.Config, "update approvals set quorum = "+n)
		if err := s.decide(s.mira, out, approval.Yes); fault.From(err).Kind != fault.Internal {
			t.Errorf("with a quorum of %s: %v", n, err)
		}
	}
	s.sent("POST", comments, 0)
}

// More people than said yes are asked for: it is asked again. Fewer: nothing
// changes.
func TestQuorumRaised(t *testing.T) {
	s := newScene(t)
	otto, pia := s.member("otto"), s.member("pia")
	s.group("release", otto, pia, s.mira)
	by := func(n int, version int64, ref id.Policy) *policy.Document {
		t.Helper()
		text := strings.Replace(two, `@quorum("2")`, `@quorum("`+strconv.Itoa(n)+`")`, 1)
		if err := s.App.Policies.Save(t.Context(), socket, policy.Document{ID: ref, Name: "release", Text: text, Version: version}, time.Now()); err != nil {
			t.Fatal(err)
		}
		docs, err := s.App.Policies.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return docs[slices.IndexFunc(docs, func(d *policy.Document) bool { return d.Name == "release" })]
	}
	doc := by(2, 0, "")
	out := s.submit(comment("raised"))
	s.wantReason("yes", s.decide(otto, out, approval.Yes), "")
	s.setStatus(s.con.ID, "needs_reauth")
	// Approved, it waits for its owner to connect again.
	s.wantReason("yes", s.decide(s.mira, out, approval.Yes), "")
	by(3, doc.Version, doc.ID)
	s.setStatus(s.con.ID, "active")
	h, err := s.App.Broker.Await(t.Context(), s.caller(), out.Action.ID, action.Approved)
	if err != nil || h.Action.State != action.Pending || h.Action.Why != "policy_changed" || h.Approval.Quorum != 3 || len(h.Approval.Votes) != 0 {
		t.Fatalf("after it was raised: %+v, %v", h.Approval, err)
	}
	s.sent("POST", comments, 0)

	again := broker.Outcome{Action: h.Action, Approval: h.Approval}
	by(1, doc.Version+1, doc.ID)
	for _, p := range []user.Principal{otto, pia, s.mira} {
		s.wantReason(p.Name, s.decide(p, again, approval.Yes), "")
	}
	s.ends(again, action.Succeeded, "")
}

// Four eyes: not whoever owns the agent, not whoever saved the rule last.
func TestFourEyes(t *testing.T) {
	s := newScene(t)
	ann, otto := s.Person("ann"), s.member("otto")
	s.group("release", ann, otto, s.mira)
	text := strings.Replace(two, `@quorum("2")`, `@four_eyes("true")`, 1)
	if err := s.App.Policies.Save(t.Context(), ann, policy.Document{Name: "eyes", Text: text}, time.Now()); err != nil {
		t.Fatal(err)
	}
	out := s.submit(comment("eyes"))
	for _, p := range []user.Principal{s.mira, ann} {
		s.wantReason(p.Name, s.decide(p, out, approval.Yes), "four_eyes")
		shown, err := s.App.Broker.Show(t.Context(), p, out.Approval.ID, time.Now())
		if err != nil || shown.MayAnswer || reason(shown.WhyNot) != "four_eyes" {
			t.Errorf("as %s sees it: %+v, %v", p.Name, shown, err)
		}
	}
	s.wantReason("otto", s.decide(otto, out, approval.Yes), "")
	s.ends(out, action.Succeeded, "")
}

// What nobody could answer is not asked: there are not enough people, or those
// that there are may not.
func TestNoApprovers(t *testing.T) {
	s := newScene(t)
	s.rules(two)
	if got := s.refused(comment("no such group")); got != "no_approvers" {
		t.Errorf("refused as %s", got)
	}
	s.group("release", s.mira)
	if got := s.refused(comment("one of two")); got != "no_approvers" {
		t.Errorf("refused as %s", got)
	}
}

func TestFourEyesAlone(t *testing.T) {
	s := newScene(t)
	s.rules(`@id("eyes") @four_eyes("true") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 1 };`)
	if got := s.refused(comment("only its owner could")); got != "no_approvers" {
		t.Errorf("refused as %s", got)
	}
}

// Nobody gets more questions than they can look at.
func TestApproverBusy(t *testing.T) {
	s := newScene(t)
	s.App.Broker.MaxAsked = 3
	var last broker.Outcome
	for i := range 3 {
		last = s.submit(comment("n" + strconv.Itoa(i)))
	}
	if got := s.refused(comment("too many")); got != "approver_busy" {
		t.Errorf("refused as %s", got)
	}
	// A repeat asks nothing new, and is counted.
	if again := s.submit(comment("n2")); !again.Replayed {
		t.Error("a repeat was asked anew")
	}
	if h, err := s.App.Broker.Get(t.Context(), s.caller(), last.Action.ID, time.Now()); err != nil || h.Approval.Repeats != 1 {
		t.Errorf("repeats: %+v, %v", h.Approval, err)
	}
	s.wantReason("no", s.decide(s.mira, last, approval.No), "")
	s.submit(comment("room again"))
}

// A no may hold back equal requests for a while; others are asked.
func TestCooldown(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("first"))
	decide := func(v broker.Verdict) error {
		v.Seen, v.Channel, v.Level = out.Action.Effect, "web", approval.Approve
		_, err := s.App.Broker.Decide(t.Context(), s.mira, out.Approval.ID, v, time.Now())
		return err
	}
	for name, v := range map[string]broker.Verdict{
		"with a yes": {Answer: approval.Yes, Cooldown: time.Hour},
		"too short":  {Answer: approval.No, Cooldown: time.Second},
		"too long":   {Answer: approval.No, Cooldown: 25 * time.Hour},
		"negative":   {Answer: approval.No, Cooldown: -time.Hour},
	} {
		s.wantReason(name, decide(v), "bad_cooldown")
	}
	s.wantReason("no", decide(broker.Verdict{Answer: approval.No, Cooldown: time.Hour, Reason: "not before the release"}), "")
	for _, text := range []string{"first", "another text"} {
		_, err := s.App.Broker.Submit(t.Context(), s.caller(), comment(text), time.Now())
		s.wantReason(text, err, "denied_recently")
		if d := fault.From(err).Detail; !strings.Contains(d, "not before the release") {
			t.Errorf("told %q", d)
		}
	}
	// It holds back its kind and nothing else, and not for ever.
	other := comment("elsewhere")
	other.Operation, other.Params = "github.issues.create", map[string]any{"owner": "octo", "repo": "api", "title": "hi"}
	s.submit(other)
	later, err := s.App.Broker.Submit(t.Context(), s.caller(), comment("another text"), time.Now().Add(time.Hour+time.Second))
	if err != nil || later.Action.State != action.Pending {
		t.Errorf("when it is over: %v, %v", later.Action, err)
	}
	s.Restart()
	_, err = s.App.Broker.Submit(t.Context(), s.caller(), comment("a third"), time.Now())
	s.wantReason("after a restart", err, "denied_recently")
}

// A relief lets its kind through without asking: at most so many, whoever asks
// at the same moment.
func TestRelief(t *testing.T) {
	s := newScene(t)
	out := s.submit(comment("the first"))
	relieve := func(out broker.Outcome, n int) error {
		_, err := s.App.Broker.Decide(t.Context(), s.mira, out.Approval.ID, broker.Verdict{
			Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Relief: n,
		}, time.Now())
		return err
	}
	s.wantReason("too many", relieve(out, approval.MaxRelief+1), "bad_relief")
	s.wantReason("yes", relieve(out, 5), "")
	s.ends(out, action.Succeeded, "")
	rs, err := s.App.Broker.ListReliefs(t.Context(), s.mira, s.bot.ID, time.Now())
	if err != nil || len(rs) != 1 || rs[0].By != s.mira.User || rs[0].Resource != "repository:octo/api" {
		t.Fatalf("reliefs: %+v, %v", rs, err)
	}

	// Another resource is asked.
	var wait sync.WaitGroup
	var mu sync.Mutex
	ran, held := 0, 0
	for i := range 60 {
		wait.Go(func() {
			got, err := s.App.Broker.Submit(t.Context(), s.caller(), comment("n"+strconv.Itoa(i)), time.Now())
			if err != nil {
				t.Errorf("submit: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if got.Answer == nil {
				held++
				return
			}
			ran++
			if !slices.ContainsFunc(got.Explain, func(s string) bool { return strings.Contains(s, "by the relief "+string(rs[0].ID)) }) {
				t.Errorf("explained by %q", got.Explain)
			}
			read(t, got)
			for _, e := range s.events(string(got.Action.ID)) {
				if e.Verb == "action.executing" && e.Data["relief"] != string(rs[0].ID) {
					t.Errorf("the log does not name the relief: %+v", e)
				}
			}
		})
	}
	wait.Wait()
	if ran != 5 || held != 55 {
		t.Errorf("%d ran and %d are held, want 5 and 55", ran, held)
	}
	s.sent("POST", comments, 6)
	if used := s.events(string(rs[0].ID)); len(used) != 6 {
		t.Errorf("events of the relief: %v", verbs(used))
	}
}

// What ends a relief, and what it is not for.
func TestReliefRefused(t *testing.T) {
	s := newScene(t)
	give := func() *approval.Relief {
		t.Helper()
		out := s.submit(comment("give " + string(id.NewAction())))
		if _, err := s.App.Broker.Decide(t.Context(), s.mira, out.Approval.ID, broker.Verdict{
			Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Relief: 9,
		}, time.Now()); err != nil {
			t.Fatal(err)
		}
		s.ends(out, action.Succeeded, "")
		rs, err := s.App.Broker.ListReliefs(t.Context(), s.mira, s.bot.ID, time.Now())
		if err != nil || len(rs) == 0 {
			t.Fatalf("%v, %v", rs, err)
		}
		return rs[0]
	}
	asks := func(what string, ask broker.Ask, at time.Time) {
		t.Helper()
		out, err := s.App.Broker.Submit(t.Context(), s.caller(), ask, at)
		if err != nil || out.Action.State != action.Pending {
			t.Errorf("%s: %v, %v, want it asked", what, out.Action, err)
		}
	}
	raw := func(method, path, body string) broker.Ask {
		return broker.Ask{Connection: "github", Method: method, Path: path, Body: []byte(body)}
	}
	// Nothing that is raw, and nothing that names no resource.
	out := s.submit(raw("POST", "/repos/octo/api/statuses/abc", `{"state":"success"}`))
	_, err := s.App.Broker.Decide(t.Context(), s.mira, out.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Relief: 1}, time.Now())
	s.wantReason("for a raw request", err, "relief_refused")

	r := give()
	issue := comment("")
	issue.Operation, issue.Params = "github.issues.create", map[string]any{"owner": "octo", "repo": "api", "title": "another operation"}
	asks("another operation", issue, time.Now())
	asks("after it expired", comment("late"), time.Now().Add(approval.ReliefFor))
	stated := comment("worth something")
	stated.Amount = &broker.Amount{Meaning: "value", Value: "5", Currency: "EUR"}
	asks("an amount", stated, time.Now())

	// Whoever may not revoke it, and whoever does.
	eve := s.member("eve")
	_, err = s.App.Broker.RevokeRelief(t.Context(), eve, r.ID, time.Now())
	s.wantReason("revoked by somebody else", err, "relief_not_found")
	if _, err = s.App.Broker.RevokeRelief(t.Context(), s.mira, r.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	asks("revoked", comment("revoked"), time.Now())

	// Its giver counts as they are now, and rules as they are now.
	give()
	s.rules(`@id("passkey") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create_comment" } unless { context.assurance >= 2 };`)
	asks("a rule that wants a passkey", comment("passkey"), time.Now())
}

// A relief by somebody who may not approve any more answers for nobody.
func TestReliefOfSomebodyWhoLeft(t *testing.T) {
	s := newScene(t)
	otto := s.member("otto")
	s.group("release", otto, s.mira)
	s.rules(strings.Replace(two, `@quorum("2")`, "", 1))
	out := s.submit(comment("first"))
	if _, err := s.App.Broker.Decide(t.Context(), otto, out.Approval.ID, broker.Verdict{
		Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Relief: 9,
	}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.ends(out, action.Succeeded, "")
	if got := s.submit(comment("second")); got.Answer == nil {
		t.Fatalf("not let through: %s", got.Action.State)
	} else {
		read(t, got)
	}
	if _, err := s.App.Users.SetMember(t.Context(), socket, "release", otto.User, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := s.submit(comment("third")); got.Answer != nil {
		t.Error("let through by somebody who left")
	}
}

// Each of several answers in view of what they were shown themselves; all of it
// must still be there when it is sent.
func TestVotesInViewOf(t *testing.T) {
	yes := func(s *scene, p user.Principal, out broker.Outcome, token string) error {
		_, err := s.App.Broker.Decide(t.Context(), p, out.Approval.ID, broker.Verdict{
			Answer: approval.Yes, Seen: out.Action.Effect, Level: approval.Approve, Channel: "web", Shown: token,
		}, time.Now())
		return err
	}
	edit := func(s *scene) { s.Sandbox.EditIssue("octo/api", 1, "Shall we delete everything?", "Answer here.") }
	for name, c := range map[string]struct {
		between, after func(*scene)
		blind          bool // the second one looked at nothing
		why            string
	}{
		"nothing moved":                          {},
		"only one looked":                        {blind: true},
		"it moved after both":                    {after: edit, why: "target_changed"},
		"it moved between the answers":           {between: edit, why: "target_changed"},
		"it moved after the only one who looked": {between: edit, blind: true, why: "target_changed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			otto := s.Person("otto")
			s.group("release", otto, s.mira)
			s.rules(two)
			if err := s.App.Manage.SharePreviews(t.Context(), s.mira, string(s.con.ID), vault.ApproversLook, time.Now()); err != nil {
				t.Fatal(err)
			}
			out := s.submit(comment("in view"))
			first := s.look(out)
			s.wantReason("a token of somebody else", yes(s, otto, out, first.Token), broker.ErrShown.Reason)
			s.wantReason("the first", yes(s, s.mira, out, first.Token), "")
			if c.between != nil {
				c.between(s)
			}
			var second broker.Preview
			if !c.blind {
				v, refused := s.preview(otto, out)
				if refused != "" {
					t.Fatal(refused)
				}
				second = *v
			}
			if c.after != nil {
				c.after(s)
			}
			s.wantReason("the second", yes(s, otto, out, second.Token), "")
			if c.why != "" {
				if h := s.again(out, c.why); h.Approval.Quorum != 2 || len(h.Approval.Votes) != 0 {
					t.Errorf("the new question is %+v", h.Approval)
				}
				s.sent("POST", comments, 0)
				return
			}
			h := s.ends(out, action.Succeeded, "")
			if v := h.Approval.Votes; len(v) != 2 || v[0].Precondition != first.Precondition || first.Precondition == "" || v[1].Precondition != second.Precondition {
				t.Errorf("votes %+v", v)
			}
			r, err := s.App.Receipts.Issue(t.Context(), s.mira, string(out.Action.ID), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if v := r.Verify(s.trust()); !v.OK() || len(r.Decisions) != 2 || r.Decisions[0].Precondition != first.Precondition || r.Decisions[1].Precondition != second.Precondition {
				t.Errorf("receipt: %s", described(v))
			}
			r.Decisions[0].Precondition = strings.Repeat("00", 32)
			if err := r.Sign(s.App.Checkpointer.Signer); err != nil {
				t.Fatal(err)
			}
			if v := r.Verify(s.trust()); v.OK() {
				t.Error("another view verifies")
			}
		})
	}
}
