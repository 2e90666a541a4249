package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
)

func proofOf(a id.Agent, jti string) []agent.Proof {
	return []agent.Proof{{Agent: a, JTI: jti, Until: now.Add(time.Minute)}}
}

func testActions(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w, actions := newWorld(db), db.Actions()
	_, err := actions.Held(ctx, org, w.held.ID)
	refused(t, "Held", err, broker.ErrUnknown)
	_, err = actions.ByApproval(ctx, org, w.approval.ID)
	refused(t, "ByApproval", err, broker.ErrUnknown)
	_, err = actions.Payload(ctx, org, w.held.ID, "request")
	refused(t, "Payload", err, broker.ErrNoPayload)
	refused(t, "Move", actions.Move(ctx, org, w.held.ID, broker.Move{Epoch: -1}), broker.ErrUnknown)
	refused(t, "End", actions.End(ctx, org, w.inline, nil), action.ErrState)

	// An intent needs today's epoch and a fresh proof, and ends once.
	epoch, err := db.Epoch(ctx)
	must(t, err)
	begin := broker.Begin{Org: org, Epoch: epoch + 1, Proofs: proofOf(w.agent.ID, "begin"), Events: []audit.Event{event("action.executing", w.inline)}, Intent: w.inline}
	refused(t, "Begin under another epoch", actions.Begin(ctx, begin), broker.ErrMoved)
	begin.Epoch = epoch
	must(t, actions.Begin(ctx, begin))
	begin.Intent = id.NewAction()
	refused(t, "Begin with a spent proof", actions.Begin(ctx, begin), agent.ErrReplayed)
	must(t, actions.End(ctx, org, w.inline, []audit.Event{event("action.succeeded", w.inline)}))
	refused(t, "End twice", actions.End(ctx, org, w.inline, []audit.Event{event("action.failed", w.inline)}), action.ErrState)

	// Holding: the same, and a cap, and no two for one request.
	hold := func(a *action.Action, p *approval.Approval, h broker.Hold) error {
		h.Action, h.Approval, h.Request, h.Events = a, p, []byte("sealed request"), []audit.Event{event("action.held", a.ID)}
		return actions.Hold(ctx, h)
	}
	refused(t, "Hold under another epoch", hold(w.held, w.approval, broker.Hold{Epoch: epoch + 1, MaxOpen: 2}), broker.ErrMoved)
	refused(t, "Hold with a spent proof", hold(w.held, w.approval, broker.Hold{Epoch: epoch, MaxOpen: 2, Proofs: begin.Proofs}), agent.ErrReplayed)
	must(t, hold(w.held, w.approval, broker.Hold{Epoch: epoch, MaxOpen: 2}))
	repeat, p := w.pending(w.agent.ID, "")
	repeat.Effect, p.Effect = w.held.Effect, w.held.Effect
	refused(t, "Hold of a repeat", hold(repeat, p, broker.Hold{Epoch: epoch, MaxOpen: 2}), broker.ErrRaced)
	keyed, p := w.pending(w.agent.ID, "a key")
	keyed.Effect, p.Effect = w.held.Effect, w.held.Effect // meant as another one
	must(t, hold(keyed, p, broker.Hold{Epoch: epoch, MaxOpen: 2}))
	again, p2 := w.pending(w.agent.ID, "a key")
	refused(t, "Hold of a key", hold(again, p2, broker.Hold{Epoch: epoch, MaxOpen: 9}), broker.ErrRaced)
	over, p3 := w.pending(w.agent.ID, "")
	refused(t, "Hold over the cap", hold(over, p3, broker.Hold{Epoch: epoch, MaxOpen: 2}), broker.ErrTooMany)
	if _, err := actions.Payload(ctx, org, over.ID, "request"); err == nil {
		t.Error("a refused action left its request")
	}
	other, p4 := w.pending(id.NewAgent(), "")
	must(t, hold(other, p4, broker.Hold{Epoch: epoch, MaxOpen: 2}))

	byKey, byEffect, err := actions.Repeats(ctx, org, w.agent.ID, "a key", w.held.Effect)
	same(t, byKey, keyed, err)
	same(t, byEffect, w.held, err)
	byKey, byEffect, err = actions.Repeats(ctx, org, w.agent.ID, "", keyed.Effect)
	if byKey != nil || byEffect == nil || byEffect.ID != w.held.ID || err != nil {
		t.Errorf("Repeats without a key: %v, %v, %v; an action with a key is nobody's repeat", byKey, byEffect, err)
	}
	if byKey, byEffect, err = actions.Repeats(ctx, org, id.NewAgent(), "a key", w.held.Effect); byKey != nil || byEffect != nil || err != nil {
		t.Errorf("Repeats of another agent: %v, %v, %v", byKey, byEffect, err)
	}

	// Moving: under an epoch where one is named, and the answer with it.
	move := broker.Move{Epoch: epoch + 1, Answer: []byte("sealed answer"), Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		a.State, p.Status = action.Approved, approval.Granted
		next := approval.New(a, approval.StepUp, time.Hour, now)
		a.Approval = next.ID
		return []audit.Event{event("action.reasked", a.ID)}, next, nil
	}}
	refused(t, "Move under another epoch", actions.Move(ctx, org, w.held.ID, move), broker.ErrMoved)
	if _, err := actions.Payload(ctx, org, w.held.ID, "answer"); err == nil {
		t.Error("a refused move left its answer")
	}
	move.Epoch, move.Proofs = epoch, begin.Proofs
	refused(t, "Move with a spent proof", actions.Move(ctx, org, w.held.ID, move), agent.ErrReplayed)
	move.Proofs = nil
	must(t, actions.Move(ctx, org, w.held.ID, move))
	h, err := actions.Held(ctx, org, w.held.ID)
	if err != nil || h.Action.State != action.Approved || h.Approval.Level != approval.StepUp || h.Approval.ID == w.approval.ID || h.Action.Version != 2 {
		t.Errorf("after a move that opens an approval: %+v, %v", h, err)
	}
	if past, err := actions.ByApproval(ctx, org, w.approval.ID); err != nil || past.Approval.Status != approval.Granted || past.Action.ID != w.held.ID {
		t.Errorf("the approval before: %+v, %v", past, err)
	}
	answer, err := actions.Payload(ctx, org, w.held.ID, "answer")
	same(t, string(answer), "sealed answer", err)
	verify(t, db)
}

// testQueue finds work and lists it, in order and in pages.
func testQueue(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w, actions := newWorld(db), db.Actions()
	var all []id.Action
	for i := range 6 {
		a, p := w.pending(w.agent.ID, fmt.Sprint("key ", i))
		at := now.Add(time.Duration(i) * time.Second)
		a.CreatedAt, a.UpdatedAt, a.ExpiresAt, p.CreatedAt, p.ExpiresAt = at, at, at.Add(time.Hour), at, at.Add(time.Hour)
		if i == 5 {
			p.User, a.User = id.NewUser(), id.NewUser()
		}
		must(t, w.hold(ctx, db, a, p, 10, event("action.held", a.ID)))
		all = append(all, a.ID)
	}
	set := func(a id.Action, s action.State, at time.Time) {
		t.Helper()
		must(t, actions.Move(ctx, org, a, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			a.State, a.UpdatedAt, p.Status = s, at, approval.Granted
			return nil, nil, nil
		}}))
	}
	set(all[1], action.Approved, now.Add(9*time.Second))
	set(all[0], action.Approved, now.Add(10*time.Second))
	set(all[2], action.Executing, now)
	set(all[3], action.Succeeded, now)
	must(t, actions.Begin(ctx, broker.Begin{Org: org, Epoch: mustEpoch(t, db), Events: []audit.Event{event("action.executing", w.inline)}, Intent: w.inline}))

	got, err := actions.Approved(ctx, org, 10)
	same(t, got, []id.Action{all[1], all[0]}, err)
	got, err = actions.Approved(ctx, org, 1)
	same(t, got, all[1:2], err)
	got, err = actions.Overdue(ctx, org, now.Add(time.Hour-1), 10)
	same(t, got, []id.Action(nil), err)
	got, err = actions.Overdue(ctx, org, now.Add(time.Hour+4*time.Second), 10)
	same(t, got, []id.Action{all[0], all[1], all[4]}, err)
	got, err = actions.Overdue(ctx, "org_other", now.Add(2*time.Hour), 10)
	same(t, got, []id.Action(nil), err)
	held, inline, err := actions.Orphans(ctx, org, now)
	same(t, append(held, inline...), []id.Action(nil), err)
	held, inline, err = actions.Orphans(ctx, org, now.Add(time.Microsecond))
	same(t, held, all[2:3], err)
	same(t, inline, []id.Action{w.inline}, err)

	inbox := func(u id.User, before time.Time, limit int) []id.Action {
		t.Helper()
		in, err := actions.Inbox(ctx, org, u, approval.Open, before, limit)
		must(t, err)
		var out []id.Action
		for _, h := range in {
			out = append(out, h.Action.ID)
		}
		return out
	}
	same(t, inbox("", time.Time{}, 10), []id.Action{all[5], all[4]}, nil)
	same(t, inbox("", time.Time{}, 1), []id.Action{all[5]}, nil)
	same(t, inbox("", now.Add(5*time.Second), 10), []id.Action{all[4]}, nil)
	same(t, inbox(w.user.ID, time.Time{}, 10), []id.Action{all[4]}, nil)
	mine, err := actions.OfAgent(ctx, org, w.agent.ID, time.Time{}, 2)
	if err != nil || len(mine) != 2 || mine[0].ID != all[5] || mine[1].ID != all[4] {
		t.Errorf("OfAgent: %v, %v", mine, err)
	}
	mine, err = actions.OfAgent(ctx, org, w.agent.ID, now.Add(time.Second), 9)
	if err != nil || len(mine) != 1 || mine[0].ID != all[0] {
		t.Errorf("OfAgent before a time: %v, %v", mine, err)
	}
}

func mustEpoch(t testing.TB, db *store.DB) int64 {
	t.Helper()
	n, err := db.Epoch(t.Context())
	must(t, err)
	return n
}

// testSweep: what ended long ago goes, everything else stays.
func testSweep(t *testing.T, d Database) {
	db, raw, ctx := d.Open(t), d.Raw(t), t.Context()
	w, actions, users := newWorld(db), db.Actions(), db.Users()
	at := now.Add(-24 * time.Hour)
	var proofs []agent.Proof
	for i := range 1200 { // more than one piece
		proofs = append(proofs, agent.Proof{Agent: w.agent.ID, JTI: fmt.Sprint(i), Until: now.Add(-time.Second)})
	}
	must(t, db.Agents().Tokens().Refuse(ctx, append(proofs, proofOf(w.agent.ID, "live")...), nil))
	for i, ends := range []time.Time{now.Add(-time.Second), now.Add(time.Second)} {
		f := *w.flow
		f.ID, f.State, f.ExpiresAt = id.NewFlow(), fmt.Append(nil, i), ends
		must(t, db.Flows().CreateFlow(ctx, &f, nil))
		tok := *w.token
		tok.ID, tok.Hash, tok.ExpiresAt = id.NewToken(), fmt.Append(nil, i), ends
		must(t, db.Agents().Tokens().Issue(ctx, &tok, nil, nil))
		dev := *w.device
		dev.Hash, dev.UserCode, dev.ExpiresAt = fmt.Append(nil, i), fmt.Sprint(i), ends.Add(-time.Hour)
		must(t, users.Devices().CreateDevice(ctx, &dev, nil))
		c := filled(func(c *user.Ceremony) { c.Org, c.Hash, c.CreatedAt, c.ExpiresAt = org, fmt.Append(nil, i), at, ends })
		must(t, users.Ceremonies().Begin(ctx, c))
		a, p := w.pending(w.agent.ID, "")
		must(t, w.hold(ctx, db, a, p, 10, event("action.held", a.ID)))
		must(t, actions.Move(ctx, org, a.ID, broker.Move{Epoch: -1, Answer: []byte("answer"), Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			a.State, a.FinishedAt, p.Status = action.Succeeded, ends.Add(-12*time.Hour), approval.Spent
			return nil, nil, nil
		}}))
	}
	count := func() map[string]int {
		out := map[string]int{}
		for _, table := range []string{"spent", "flows", "agent_tokens", "devices", "ceremonies", "payloads", "actions"} {
			var n int
			must(t, raw.QueryRowContext(ctx, "select count(*) from "+table).Scan(&n))
			out[table] = n
		}
		return out
	}
	same(t, count(), map[string]int{"spent": 1201, "flows": 2, "agent_tokens": 2, "devices": 2, "ceremonies": 2, "payloads": 4, "actions": 2}, nil)
	for range 2 {
		must(t, actions.Sweep(ctx, org, now.Add(-12*time.Hour), now))
		same(t, count(), map[string]int{"spent": 1, "flows": 1, "agent_tokens": 1, "devices": 1, "ceremonies": 1, "payloads": 2, "actions": 2}, nil)
	}
	refused(t, "a live proof after the sweep", db.Agents().Tokens().Issue(ctx, w.token, proofOf(w.agent.ID, "live"), nil), agent.ErrReplayed)
	kept, err := actions.OfAgent(ctx, org, w.agent.ID, time.Time{}, 10)
	must(t, err)
	for _, a := range kept {
		_, err := actions.Payload(ctx, org, a.ID, "request")
		if (err == nil) != a.PayloadKept {
			t.Errorf("PayloadKept is %v, and reading it: %v", a.PayloadKept, err)
		}
	}
}

// testEmptyDays: a day whose payloads are gone may lose its key, and no other.
func testEmptyDays(t *testing.T, d Database) {
	db, raw, ctx := d.Open(t), d.Raw(t), t.Context()
	w, actions := newWorld(db), db.Actions()
	today := now.UTC().Truncate(24 * time.Hour)
	day := func(n int) time.Time { return today.AddDate(0, 0, n) }
	key := func(of id.Org, n int) {
		t.Helper()
		_, err := db.Keys().Create(ctx, string(seal.PayloadKey(of, day(n))), []byte("wrapped"))
		must(t, err)
	}
	for n := -40; n <= 0; n++ {
		key(org, n)
		key(org+"x", n)
	}
	for _, name := range []string{"config/" + string(org), "payloadx/" + string(org) + "/2000-01-01", "connection/con_1", "row_auth2"} {
		_, err := db.Keys().Create(ctx, name, []byte("wrapped"))
		must(t, err)
	}
	// Payloads at both ends of a day keep it, and not its neighbours.
	for _, at := range []time.Time{day(-5), day(-7).Add(-time.Microsecond), day(-30).Add(time.Hour)} {
		a, p := w.pending(id.NewAgent(), "")
		a.CreatedAt = at
		must(t, w.hold(ctx, db, a, p, 10, event("action.held", a.ID)))
	}
	want := map[time.Time]bool{}
	for n := -40; n <= -2; n++ {
		want[day(n)] = n != -5 && n != -8 && n != -30
	}
	check := func(before time.Time, until int) {
		t.Helper()
		got, err := actions.EmptyDays(ctx, org, before)
		must(t, err)
		var days []time.Time
		for n := -40; n <= until; n++ {
			if want[day(n)] {
				days = append(days, day(n))
			}
		}
		same(t, got, days, nil)
	}
	check(day(-1), -2)
	check(day(-1).Add(-time.Microsecond), -3)
	check(day(-1).Add(23*time.Hour), -2)
	check(day(-41), -41)

	// Its end is recorded once, and not while a payload has come.
	for range 2 {
		must(t, actions.EndDay(ctx, org, day(-6).Add(7*time.Hour), []audit.Event{event("payloads.shredded", "-6")}))
		must(t, actions.EndDay(ctx, org, day(-5), []audit.Event{event("payloads.shredded", "-5")}))
	}
	want[day(-6)] = false
	check(day(-1), -2)
	for n, there := range map[int]bool{-5: true, -6: false} {
		if _, found, err := db.Keys().Load(ctx, string(seal.PayloadKey(org, day(n)))); err != nil || found != there {
			t.Errorf("the key of day %d is there: %v (%v)", n, found, err)
		}
	}
	if told, err := db.Log().Select(ctx, store.Query{Org: org, Verb: "payloads.shredded", Limit: 9}); err != nil || len(told) != 1 || told[0].Object != "-6" {
		t.Errorf("recorded %v (%v)", told, err)
	}

	_, err := raw.ExecContext(ctx, "delete from payloads")
	must(t, err)
	for n := range want {
		want[n] = !n.Equal(day(-6))
	}
	check(day(-1), -2)
	for n := range want {
		must(t, db.Keys().Delete(ctx, string(seal.PayloadKey(org, n))))
		want[n] = false
	}
	check(day(-1), -2)
	if other, err := actions.EmptyDays(ctx, org+"x", day(-1)); err != nil || len(other) != 39 {
		t.Errorf("days of another org: %d, %v", len(other), err)
	}
}
