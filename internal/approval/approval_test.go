package approval_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const ttl = time.Hour

func opened(level approval.Level) *approval.Approval {
	a := &action.Action{Party: action.Party{Org: id.DefaultOrg, Agent: id.NewAgent(), User: id.NewUser()}, ID: id.NewAction(), Effect: action.Digest{1, 2, 3}}
	p := approval.New(a, level, ttl, start)
	p.PolicyVersion, p.SpecHash = "policy-1", "spec-1"
	return p
}

func decider(level approval.Level) approval.Decider {
	d := approval.Decider{User: id.NewUser(), Channel: "web", Level: level}
	if level >= approval.StepUp {
		d.Evidence = []byte(`{"assertion":true}`)
	}
	return d
}

// granted is an approval that somebody answered with yes.
func granted(t *testing.T, level approval.Level) *approval.Approval {
	t.Helper()
	p := opened(level)
	if _, err := p.Decide(approval.Yes, decider(level), p.Effect, "", start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	return p
}

func in(status approval.Status) *approval.Approval {
	p := opened(approval.Approve)
	p.Status = status
	return p
}

func TestDecideRefuses(t *testing.T) {
	soon, end := start.Add(time.Minute), start.Add(ttl)
	silent := decider(approval.StepUp)
	silent.Evidence = nil
	for _, c := range []struct {
		why    string
		p      *approval.Approval
		answer approval.Answer
		by     approval.Decider
		seen   action.Digest
		at     time.Time
		want   error
	}{
		{"granted already", in(approval.Granted), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"denied already", in(approval.Denied), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"a no after a no", in(approval.Denied), approval.No, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"a no after a yes", in(approval.Granted), approval.No, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"expired already", in(approval.Expired), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"withdrawn", in(approval.Withdrawn), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"spent", in(approval.Spent), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"no status at all", in(""), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrNotOpen},
		{"at its end", opened(1), approval.Yes, decider(1), action.Digest{1, 2, 3}, end, approval.ErrExpired},
		{"after its end", opened(1), approval.Yes, decider(1), action.Digest{1, 2, 3}, end.Add(time.Hour), approval.ErrExpired},
		{"a no after its end", opened(1), approval.No, decider(1), action.Digest{1, 2, 3}, end, approval.ErrExpired},
		{"another effect was seen", opened(1), approval.Yes, decider(1), action.Digest{1, 2, 4}, soon, approval.ErrStale},
		{"nothing was seen", opened(1), approval.Yes, decider(1), action.Digest{}, soon, approval.ErrStale},
		{"a no to something else", opened(1), approval.No, decider(1), action.Digest{9}, soon, approval.ErrStale},
		{"no assurance", opened(1), approval.Yes, decider(0), action.Digest{1, 2, 3}, soon, approval.ErrPresence},
		{"a click where a passkey is asked for", opened(2), approval.Yes, decider(1), action.Digest{1, 2, 3}, soon, approval.ErrPresence},
		{"a passkey that left no proof", opened(2), approval.Yes, silent, action.Digest{1, 2, 3}, soon, approval.ErrPresence},
		{"a claim of a passkey where a click would do", opened(1), approval.Yes, silent, action.Digest{1, 2, 3}, soon, approval.ErrPresence},
	} {
		before := *c.p
		if _, err := c.p.Decide(c.answer, c.by, c.seen, "", c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
		if !reflect.DeepEqual(before, *c.p) {
			t.Errorf("%s: the refusal changed the approval", c.why)
		}
	}
	for _, answer := range []approval.Answer{"", "APPROVE", "yes", "approve ", "granted"} {
		p := opened(1)
		if _, err := p.Decide(answer, decider(2), p.Effect, "", soon); fault.From(err).Reason != "bad_decision" || p.Status != approval.Open {
			t.Errorf("the answer %q: %v, %s", answer, err, p.Status)
		}
	}
}

// To say no takes nothing but being there.
func TestDenyNeedsNoPresence(t *testing.T) {
	p := opened(approval.StepUp)
	e, err := p.Decide(approval.No, decider(approval.Approve), p.Effect, "not today", start.Add(30*time.Second))
	if err != nil || p.Status != approval.Denied || p.Reason != "not today" {
		t.Fatalf("%v, %s, %q", err, p.Status, p.Reason)
	}
	if e.Verb != "approval.denied" || e.Object != string(p.ID) || e.Data["seconds"] != "30" || e.Data["action"] != string(p.Action) {
		t.Errorf("event: %+v", e)
	}
	if err := e.Check(); err != nil {
		t.Error(err)
	}
	for _, v := range e.Data {
		if v == "not today" {
			t.Error("the person's words went into the log")
		}
	}
}

func TestSpendRefuses(t *testing.T) {
	for _, c := range []struct {
		why  string
		p    *approval.Approval
		d    action.Digest
		at   time.Time
		want error
	}{
		{"open", opened(1), action.Digest{1, 2, 3}, start, approval.ErrNotOpen},
		{"denied", in(approval.Denied), action.Digest{1, 2, 3}, start, approval.ErrNotOpen},
		{"withdrawn", in(approval.Withdrawn), action.Digest{1, 2, 3}, start, approval.ErrNotOpen},
		{"expired", in(approval.Expired), action.Digest{1, 2, 3}, start, approval.ErrNotOpen},
		{"spent", in(approval.Spent), action.Digest{1, 2, 3}, start, approval.ErrNotOpen},
		{"at its end", granted(t, 1), action.Digest{1, 2, 3}, start.Add(ttl), approval.ErrExpired},
		{"other bytes", granted(t, 1), action.Digest{1, 2, 3, 4}, start, approval.ErrMismatch},
		{"no bytes", granted(t, 1), action.Digest{}, start, approval.ErrMismatch},
	} {
		was := c.p.Status
		if _, err := c.p.Spend(c.d, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
		if c.p.Status != was {
			t.Errorf("%s: the refusal moved it to %s", c.why, c.p.Status)
		}
	}
}

// No single bit of the digest may differ between what was approved and what
// is sent.
func TestSpendComparesEveryBit(t *testing.T) {
	p := granted(t, 1)
	for bit := range len(p.Effect) * 8 {
		d := p.Effect
		d[bit/8] ^= 1 << (bit % 8)
		if _, err := p.Spend(d, start); !errors.Is(err, approval.ErrMismatch) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	if _, err := p.Spend(p.Effect, start); err != nil {
		t.Fatal(err)
	}
}

func TestExpireAndWithdraw(t *testing.T) {
	for _, s := range []approval.Status{approval.Open, approval.Granted, approval.Denied, approval.Expired, approval.Withdrawn, approval.Spent} {
		lives := s == approval.Open || s == approval.Granted
		if _, err := in(s).Expire(start.Add(ttl)); (err == nil) != lives {
			t.Errorf("%s expires: %v", s, err)
		}
		if _, err := in(s).Expire(start.Add(ttl - time.Microsecond)); !errors.Is(err, approval.ErrNotOpen) {
			t.Errorf("%s expires before its time: %v", s, err)
		}
		if _, err := in(s).Withdraw("system", "gone", start); (err == nil) != lives {
			t.Errorf("%s is withdrawn: %v", s, err)
		}
	}
}

// Whatever comes in whatever order: an approval is spent at most once, never
// without a yes of enough assurance, never at or after its end, never for
// other bytes, and each move leaves exactly one event.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := approval.Level(rapid.IntRange(1, 2).Draw(t, "level"))
		p := opened(level)
		now, spent, yes := start, 0, false
		wrong := p.Effect
		wrong[31] ^= 1
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 25).Draw(t, "minutes")) * time.Minute)
			digest := rapid.SampledFrom([]action.Digest{p.Effect, p.Effect, wrong}).Draw(t, "digest")
			before := p.Status
			var e audit.Event
			var err error
			switch call := rapid.SampledFrom([]string{"yes", "no", "spend", "expire", "withdraw"}).Draw(t, "call"); call {
			case "yes":
				by := decider(approval.Level(rapid.IntRange(0, 2).Draw(t, "by")))
				if e, err = p.Decide(approval.Yes, by, digest, "", now); err == nil {
					yes = true
					if by.Level < level || digest != p.Effect || !now.Before(p.ExpiresAt) || before != approval.Open {
						t.Fatalf("granted from %s with level %d of %d at %v", before, by.Level, level, now)
					}
				}
			case "no":
				e, err = p.Decide(approval.No, decider(1), digest, "", now)
			case "spend":
				if e, err = p.Spend(digest, now); err == nil {
					spent++
					if !yes || digest != p.Effect || !now.Before(p.ExpiresAt) {
						t.Fatalf("spent from %s at %v", before, now)
					}
				}
			case "expire":
				if e, err = p.Expire(now); err == nil && now.Before(p.ExpiresAt) {
					t.Fatal("expired before its time")
				}
			case "withdraw":
				e, err = p.Withdraw("system", "gone", now)
			}
			if (err == nil) == (p.Status == before) {
				t.Fatalf("%s to %s with the error %v", before, p.Status, err)
			}
			if err == nil && (e.Check() != nil || e.Verb != "approval."+string(p.Status) || e.Object != string(p.ID)) {
				t.Fatalf("the move to %s left %+v", p.Status, e)
			}
		}
		if spent > 1 {
			t.Fatalf("spent %d times", spent)
		}
	})
}

// The digest that is answered changes with each thing that the answer is
// about, and with nothing that is learned by answering.
func TestDecisionDigestBindsEverything(t *testing.T) {
	base := opened(approval.StepUp)
	first := base.Digest(approval.Yes)
	if first != base.Digest(approval.Yes) {
		t.Fatal("the digest is not a function of the approval")
	}
	seen := [][32]byte{first}
	for why, change := range map[string]func(*approval.Approval){
		"org":         func(p *approval.Approval) { p.Org = "org_other" },
		"id":          func(p *approval.Approval) { p.ID = id.NewApproval() },
		"effect":      func(p *approval.Approval) { p.Effect[31] ^= 1 },
		"level":       func(p *approval.Approval) { p.Level = approval.Approve },
		"policy":      func(p *approval.Approval) { p.PolicyVersion += "x" },
		"spec":        func(p *approval.Approval) { p.SpecHash = "x" + p.SpecHash },
		"nonce":       func(p *approval.Approval) { p.Nonce = append(slices.Clone(p.Nonce[:15]), p.Nonce[15]^1) },
		"short nonce": func(p *approval.Approval) { p.Nonce = p.Nonce[:15] },
		"expiry":      func(p *approval.Approval) { p.ExpiresAt = p.ExpiresAt.Add(time.Microsecond) },
		"shown":       func(p *approval.Approval) { p.Precondition = "x" },
		// The same bytes, cut at another place.
		"border": func(p *approval.Approval) { p.PolicyVersion, p.SpecHash = "policy-1s", "pec-1" },
	} {
		p := *base
		change(&p)
		d := p.Digest(approval.Yes)
		if slices.Contains(seen, d) {
			t.Errorf("a change of %s leaves the digest as it was", why)
		}
		seen = append(seen, d)
	}
	if slices.Contains(seen, base.Digest(approval.No)) {
		t.Error("yes and no have the same digest")
	}
	p := *base
	if _, err := p.Decide(approval.Yes, decider(2), p.Effect, "because", start); err != nil {
		t.Fatal(err)
	}
	if p.Digest(approval.Yes) != first {
		t.Error("the digest changed by being answered")
	}
	// What was shown is part of the answer, and of nothing before it.
	d := decider(2)
	d.Precondition = "what was there"
	shown := *base
	if _, err := shown.Decide(approval.Yes, d, shown.Effect, "", start); err != nil {
		t.Fatal(err)
	}
	want := *base
	want.Precondition = "what was there"
	if shown.Digest(approval.Yes) != want.Digest(approval.Yes) || shown.Digest(approval.Yes) == first {
		t.Error("the answer does not cover what was shown")
	}
	if a, b := opened(1), opened(1); bytes.Equal(a.Nonce, b.Nonce) || len(a.Nonce) != 16 {
		t.Error("nonces repeat")
	}
}

// Each change of what an action does makes another effect digest, and an
// approval of the one is no approval of the other. The cases that need a whole
// server are the broker's.
func TestCorpusTOCTOU(t *testing.T) {
	raw, err := os.ReadFile("testdata/approval_toctou.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Mutation, Expect string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	body := `{"title":"a","n":1}`
	type act struct {
		action.Party
		action.Request
	}
	base := func() act {
		return act{
			action.Party{Org: id.DefaultOrg, User: "usr_a", Agent: "agt_a", Connection: "con_a", Account: "1"},
			action.Request{Method: "POST", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/octo/api/issues", Query: "a=1&b=2", Body: []byte(body)},
		}
	}
	mutations := map[string]func(*act){
		"toc-05": func(a *act) { a.Body = []byte(`{"title":"a", "n":1}`) },
		"toc-06": func(a *act) { a.Body = []byte(`{"title":"a","n":1.0}`) },
		"toc-08": func(a *act) { a.Body = []byte(`{"title":"a","n":1,"x":null}`) },
		"toc-13": func(a *act) { a.Query = "b=2&a=1" },
		"toc-14": func(a *act) { a.Query = "a=1&b=2&b=2" },
		"toc-16": func(a *act) { a.Method = "PUT" },
		"toc-17": func(a *act) { a.Host = "api.github.org" },
		"toc-19": func(a *act) { a.Connection, a.Account = "con_b", "2" },
		"toc-20": func(a *act) { a.User = "usr_b" },
		"toc-21": func(a *act) { a.Agent = "agt_b" },
		"toc-46": func(a *act) { a.Body = []byte(`{"title":"a","n":"1"}`) },
	}
	done := 0
	for _, c := range cases {
		change := mutations[c.ID]
		if change == nil {
			continue
		}
		done++
		shown, sent := base(), base()
		change(&sent)
		p := approval.New(action.New(shown.Party, &shown.Request, "", start), approval.Approve, ttl, start)
		if _, err := p.Decide(approval.Yes, decider(1), shown.Effect(shown.Party, ""), "", start); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Spend(sent.Effect(sent.Party, ""), start); !errors.Is(err, approval.ErrMismatch) {
			t.Errorf("%s, %s: %v", c.ID, c.Mutation, err)
		}
	}
	if done != len(mutations) {
		t.Errorf("%d of %d cases found", done, len(mutations))
	}
	// toc-01 and toc-02: each bit of the body.
	for i := range len(body) * 8 {
		shown, sent := base(), base()
		sent.Body[i/8] ^= 1 << (i % 8)
		if sent.Effect(sent.Party, "") == shown.Effect(shown.Party, "") {
			t.Fatalf("bit %d of the body does not count", i)
		}
	}
}
