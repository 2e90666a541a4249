package approval_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/id"
)

// Whatever people answer, in whatever order: it is granted by exactly as many
// different people as it takes, and one no ends it.
func TestQuorumInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
		act := &action.Action{ID: id.NewAction(), Party: action.Party{Org: id.DefaultOrg, User: "usr_0"}}
		p := approval.New(act, approval.Level(rapid.IntRange(1, 2).Draw(t, "level")), time.Hour, now)
		p.Quorum = rapid.IntRange(2, 5).Draw(t, "quorum")
		yes, no := map[id.User]bool{}, false
		for range rapid.IntRange(1, 30).Draw(t, "answers") {
			who := id.User("usr_" + string(rune('a'+rapid.IntRange(0, 6).Draw(t, "who"))))
			d := approval.Decider{User: who, Channel: "web", Level: approval.Level(rapid.IntRange(1, 2).Draw(t, "with"))}
			if d.Level == approval.StepUp && rapid.Bool().Draw(t, "evidence") {
				d.Evidence = []byte(`{}`)
			}
			answer := approval.Yes
			if rapid.IntRange(0, 9).Draw(t, "answer") == 0 {
				answer = approval.No
			}
			was := p.Status
			e, err := p.Decide(answer, d, p.Effect, "", now)
			if err != nil {
				if p.Status != was || e.Verb != "" {
					t.Fatalf("a refused answer moved it: %v", err)
				}
				continue
			}
			if answer == approval.No {
				no = true
				continue
			}
			if yes[who] {
				t.Fatal("somebody was counted twice")
			}
			yes[who] = true
			if p.Level == approval.StepUp && len(d.Evidence) == 0 {
				t.Fatal("a vote without a passkey was counted")
			}
			want := "approval.voted"
			if len(yes) == p.Quorum {
				want = "approval.granted"
			}
			if e.Verb != want {
				t.Fatalf("%d of %d: %s", len(yes), p.Quorum, e.Verb)
			}
		}
		switch {
		case no && p.Status != approval.Denied, !no && (p.Status == approval.Granted) != (len(yes) == p.Quorum), len(p.Yes()) != len(yes):
			t.Fatalf("%d of %d said yes, no is %v, and it is %s", len(yes), p.Quorum, no, p.Status)
		}
	})
}

// Who signs knows of how many they are one: the quorum is part of what is
// answered, and a question for one is answered as it always was.
func TestQuorumIsAnswered(t *testing.T) {
	act := &action.Action{ID: id.NewAction()}
	p := approval.New(act, approval.StepUp, time.Hour, time.Now())
	seen := map[[32]byte]int{}
	for quorum, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 3} {
		p.Quorum = quorum
		d := p.Digest(approval.Yes)
		if was, ok := seen[d]; ok && was != want {
			t.Errorf("a quorum of %d is answered like one of %d", quorum, was)
		}
		seen[d] = want
	}
	if len(seen) != 3 {
		t.Errorf("%d digests, want 3", len(seen))
	}
}

// A relief lets through as many as it says, and nothing after it has ended.
func TestReliefInvariants(t *testing.T) {
	now := time.Now()
	act := &action.Action{ID: id.NewAction(), Operation: "github.issues.create", Resource: "repository:octo/api", Party: action.Party{Org: id.DefaultOrg}}
	p := approval.New(act, approval.Approve, time.Hour, now)
	for name, change := range map[string]func(*action.Action, *approval.Approval){
		"no resource":    func(a *action.Action, _ *approval.Approval) { a.Resource = "" },
		"any resource":   func(a *action.Action, _ *approval.Approval) { a.Resource = "repository:octo/*" },
		"money":          func(a *action.Action, _ *approval.Approval) { a.Amount = "value 5 EUR" },
		"a token":        func(a *action.Action, _ *approval.Approval) { a.Operation = "github" + action.VendSuffix },
		"a passkey":      func(_ *action.Action, p *approval.Approval) { p.Level = approval.StepUp },
		"several people": func(_ *action.Action, p *approval.Approval) { p.Quorum = 2 },
	} {
		a, q := *act, *p
		change(&a, &q)
		if _, err := q.Relieve(&a, "usr_a", 2, 1, now); !errors.Is(err, approval.ErrNoRelief) {
			t.Errorf("for %s: %v", name, err)
		}
	}
	r, err := p.Relieve(act, "usr_a", 2, 3, now)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if _, err := r.Use(id.NewAction(), now); (err == nil) != (n < 3) {
			t.Errorf("use %d: %v", n, err)
		}
	}
	fresh, err := p.Relieve(act, "usr_a", 2, 3, now)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Fits(act, now.Add(approval.ReliefFor)) || !fresh.Fits(act, now.Add(approval.ReliefFor-1)) {
		t.Error("it does not end when it should")
	}
	if _, err := fresh.Revoke("user:usr_a", now); err != nil || fresh.Live(now) {
		t.Errorf("revoked and live: %v", err)
	}
}
