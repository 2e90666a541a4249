package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
)

// testRacedVotes: people answer, some more than once and one of them with no,
// over all replicas at the same moment. There is one end, it is the one that
// the votes say, and at most one execution.
func testRacedVotes(t *testing.T, d Database) {
	dbs, ctx := d.Replicas(t), t.Context()
	w := newWorld(dbs[0])
	for round := range 12 {
		a, p := w.pending(w.agent.ID, "")
		p.Quorum, p.Level, p.CoolUntil, p.DecidedBy, p.Evidence = 2, approval.Approve, time.Time{}, "", nil
		must(t, w.hold(ctx, dbs[0], a, p, 99, event("action.held", a.ID)))
		people := []id.User{id.NewUser(), id.NewUser(), id.NewUser()}
		over := errors.New("over")
		lost := func(err error) error {
			if errors.Is(err, approval.ErrNotOpen) || errors.Is(err, approval.ErrVoted) || errors.Is(err, action.ErrState) {
				return over
			}
			return err
		}
		race(t, dbs, 24, over, func(db *store.DB, i int) error {
			answer, who := approval.Yes, people[i%3]
			if round%2 == 1 && i == 13 {
				answer = approval.No
			}
			return lost(db.Actions().Move(ctx, org, a.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
				if i%8 == 7 { // the claim loop
					spent, err := p.Spend(a.Effect, now)
					if err != nil {
						return nil, nil, err
					}
					claimed, err := a.Claim(a.Effect, now)
					return []audit.Event{spent, claimed}, nil, err
				}
				e, err := p.Decide(answer, approval.Decider{User: who, Channel: "web", Level: approval.Approve}, p.Effect, "", now.Add(time.Duration(i)))
				if err != nil {
					return nil, nil, err
				}
				events := []audit.Event{e}
				var moved audit.Event
				switch p.Status {
				case approval.Granted:
					moved, err = a.Approve("user:"+string(who), now)
				case approval.Denied:
					moved, err = a.Deny("user:"+string(who), "denied", now)
				default:
					return events, nil, nil
				}
				return append(events, moved), nil, err
			}}))
		})
		h, err := dbs[0].Actions().Held(ctx, org, a.ID)
		must(t, err)
		count := map[string]int{}
		for _, about := range []string{string(p.ID), string(a.ID)} {
			got, err := dbs[0].Log().Select(ctx, store.Query{Org: org, Object: about, Limit: 100})
			must(t, err)
			for _, e := range got {
				count[e.Verb]++
			}
		}
		if count["approval.granted"]+count["approval.denied"] != 1 || count["approval.voted"] > 1 || count["action.executing"] > 1 || count["action.executing"] > count["approval.granted"] {
			t.Errorf("round %d: the log says %v", round, count)
		}
		switch h.Approval.Status {
		case approval.Granted, approval.Spent:
			if len(h.Approval.Votes) != 2 || h.Approval.Votes[0].User == h.Approval.Votes[1].User || count["approval.granted"] != 1 {
				t.Errorf("round %d: granted by %+v", round, h.Approval.Votes)
			}
		case approval.Denied:
			if count["approval.denied"] != 1 || h.Action.State != action.Denied {
				t.Errorf("round %d: denied, and the action is %s", round, h.Action.State)
			}
		default:
			t.Errorf("round %d: it is %s", round, h.Approval.Status)
		}
	}
	verify(t, dbs[0])
}
