package storetest

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// testSeveral: what several people say, whom is asked, and what was let through
// beforehand.
func testSeveral(t *testing.T, d Database) {
	db, raw, ctx := d.Open(t), d.Raw(t), t.Context()
	w, actions := newWorld(db), db.Actions()
	mira, otto := id.NewUser(), id.NewUser()
	hold := func(most int, asked ...id.User) (*action.Action, error) {
		a, p := w.pending(w.agent.ID, "")
		p.Quorum, p.User, p.CoolUntil = 2, mira, time.Time{}
		return a, actions.Hold(ctx, broker.Hold{
			Epoch: mustEpoch(t, db), Action: a, Approval: p, Request: []byte("sealed"), MaxOpen: 9, Asked: asked, MaxAsked: most,
			Events: []audit.Event{event("action.held", a.ID)},
		})
	}
	// Two must answer, and one of the two is busy.
	first, err := hold(1, mira, otto)
	must(t, err)
	_, err = hold(1, mira, otto)
	refused(t, "Hold over the cap of its approvers", err, broker.ErrBusy)
	in, err := actions.Inbox(ctx, org, otto, approval.Open, time.Time{}, 9)
	if err != nil || len(in) != 1 || in[0].Action.ID != first.ID {
		t.Errorf("the inbox of somebody who is asked and owns nothing: %v, %v", in, err)
	}

	// A vote is stored with the move and read with the approval.
	vote := func(a id.Action, u id.User, grant bool, relief *approval.Relief) error {
		return actions.Move(ctx, org, a, broker.Move{Epoch: -1, Relief: relief, Apply: func(_ *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			p.Votes = append(p.Votes, approval.Vote{Org: org, Approval: p.ID, User: u, At: now.Add(time.Duration(len(p.Votes)) * time.Second), Level: approval.Approve, Version: 1})
			if grant {
				p.Status = approval.Granted
			}
			return []audit.Event{event("approval.voted", p.ID)}, nil, nil
		}})
	}
	must(t, vote(first.ID, otto, false, nil))
	if err := vote(first.ID, otto, false, nil); err == nil {
		t.Error("the same person's vote was stored twice")
	}
	must(t, vote(first.ID, mira, true, w.relief))
	h, err := actions.Held(ctx, org, first.ID)
	if err != nil || len(h.Approval.Votes) != 2 || h.Approval.Votes[0].User != otto || h.Approval.Votes[1].User != mira {
		t.Errorf("the votes: %+v, %v", h.Approval, err)
	}
	// Who has answered has room again.
	second, err := hold(1, mira, otto)
	must(t, err)

	// A denial that holds back what comes after it.
	must(t, actions.Move(ctx, org, second.ID, broker.Move{Epoch: -1, Authority: true, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		p.Status, p.CoolUntil = approval.Denied, now.Add(time.Hour)
		return []audit.Event{event("approval.denied", p.ID)}, nil, nil
	}}))
	cold, err := actions.Cooling(ctx, org, w.agent.ID, now.Add(time.Hour-1))
	if err != nil || len(cold) != 1 || cold[0].Action.ID != second.ID {
		t.Errorf("Cooling: %v, %v", cold, err)
	}
	for _, none := range []struct {
		a  id.Agent
		at time.Time
	}{{w.agent.ID, now.Add(time.Hour)}, {id.NewAgent(), now}} {
		if cold, err := actions.Cooling(ctx, org, none.a, none.at); err != nil || len(cold) != 0 {
			t.Errorf("Cooling of %s at %s: %v, %v", none.a, none.at, cold, err)
		}
	}

	// A relief is counted down with the intent, and is over when it is.
	begin := func() error {
		ref := id.NewAction()
		return actions.Begin(ctx, broker.Begin{Org: org, Epoch: mustEpoch(t, db), Events: []audit.Event{event("action.executing", ref)}, Intent: ref, Relief: w.relief.ID})
	}
	must(t, begin())
	var columns [2][]any
	read := func(into *[]any) {
		into2 := make([]any, 3)
		must(t, raw.QueryRowContext(ctx, "select used, version, mac from reliefs where id = $1", string(w.relief.ID)).Scan(&into2[0], &into2[1], &into2[2]))
		*into = into2
	}
	read(&columns[0])
	must(t, begin())
	refused(t, "Begin under a relief that is used up", begin(), approval.ErrReliefOver)
	read(&columns[1])
	put := func(v []any) {
		_, err := raw.ExecContext(ctx, "update reliefs set used = $1, version = $2, mac = $3 where id = $4", v[0], v[1], v[2], string(w.relief.ID))
		must(t, err)
	}
	put(columns[0])
	refused(t, "Begin under a relief that was put back", begin(), approval.ErrReliefOver)
	put(columns[1])
	rs, err := db.Reliefs().Reliefs(ctx, org, "", now)
	if err != nil || len(rs) != 1 || rs[0].Used != 2 {
		t.Errorf("Reliefs: %v, %v", rs, err)
	}
	refused(t, "UpdateRelief", db.Reliefs().UpdateRelief(ctx, org, id.NewRelief(), nil), approval.ErrReliefUnknown)

	// A group that was put back to what it was is noticed.
	groups := db.Users().Groups()
	_, err = groups.Group(ctx, org, w.group.Name)
	refused(t, "Group", err, user.ErrGroup)
	must(t, groups.CreateGroup(ctx, w.group, []audit.Event{event("group.created", w.group.ID)}))
	old := make([]any, 3)
	must(t, raw.QueryRowContext(ctx, "select members, version, mac from people_groups").Scan(&old[0], &old[1], &old[2]))
	must(t, groups.UpdateGroup(ctx, org, w.group.ID, func(g *user.Group) ([]audit.Event, error) {
		g.Members = nil
		return []audit.Event{event("group.member_removed", g.ID)}, nil
	}))
	if g, err := groups.Group(ctx, org, w.group.Name); err != nil || len(g.Members) != 0 {
		t.Errorf("after everybody left: %v, %v", g, err)
	}
	_, err = raw.ExecContext(ctx, "update people_groups set members = $1, version = $2, mac = $3", old...)
	must(t, err)
	if g, err := groups.Group(ctx, org, w.group.Name); err == nil {
		t.Errorf("a group that was put back was read: %v", g)
	}
}
