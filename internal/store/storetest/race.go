package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
)

// race lets n callers, spread over the replicas, do the same at once, and
// counts who succeeded. Everybody else must be told loss.
func race(t testing.TB, dbs []*store.DB, n int, loss error, try func(db *store.DB, i int) error) int {
	t.Helper()
	var won atomic.Int64
	var wait sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-start
			switch err := try(dbs[i%len(dbs)], i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, loss):
				t.Errorf("a loser was told: %v, want %v", err, loss)
			}
		})
	}
	close(start)
	wait.Wait()
	return int(won.Load())
}

// testRaces: of many who want the same thing, one gets it.
func testRaces(t *testing.T, d Database) {
	dbs, ctx := d.Replicas(t), t.Context()
	db := dbs[0]
	w := newWorld(db)
	one := func(what string, n int, loss error, try func(db *store.DB, i int) error) {
		t.Helper()
		if won := race(t, dbs, n, loss, try); won != 1 {
			t.Errorf("%s: %d of %d succeeded, want 1", what, won, n)
		}
	}
	one("one proof", 200, agent.ErrReplayed, func(db *store.DB, i int) error {
		tok := *w.token
		tok.ID, tok.Hash = id.NewToken(), fmt.Append(nil, i)
		return db.Agents().Tokens().Issue(ctx, &tok, proofOf(w.agent.ID, "raced"), []audit.Event{event("token.issued", tok.ID)})
	})
	issued, err := db.Log().Select(ctx, store.Query{Org: org, Verb: "token.issued", Limit: 100})
	if len(issued) != 1 || err != nil {
		t.Errorf("one proof issued %d tokens, says the log (%v)", len(issued), err)
	}

	must(t, w.hold(ctx, db, w.held, w.approval, 10, event("action.held", w.held.ID)))
	must(t, db.Actions().Move(ctx, org, w.held.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		p.Status = approval.Granted
		e, err := a.Approve("user:usr_x", now)
		return []audit.Event{e}, nil, err
	}}))
	one("one approved action", 40, action.ErrState, func(db *store.DB, _ int) error {
		return db.Actions().Move(ctx, org, w.held.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			claimed, err := a.Claim(w.held.Effect, now)
			if err != nil {
				return nil, nil, err
			}
			spent, err := p.Spend(w.held.Effect, now)
			return []audit.Event{spent, claimed}, nil, err
		}})
	})

	epoch := mustEpoch(t, db)
	busy := id.NewAgent()
	if won := race(t, dbs, 40, broker.ErrTooMany, func(db *store.DB, i int) error {
		a, p := w.pending(busy, "")
		return db.Actions().Hold(ctx, broker.Hold{Epoch: epoch, Action: a, Approval: p, Request: []byte("r"), MaxOpen: 7, Events: []audit.Event{event("action.held", a.ID)}})
	}); won != 7 {
		t.Errorf("a cap of 7 held %d", won)
	}
	for _, key := range []string{"", "one key"} {
		twin := id.NewAgent()
		one("one request with key "+strconv.Quote(key), 40, broker.ErrRaced, func(db *store.DB, i int) error {
			a, p := w.pending(twin, key)
			if key == "" {
				a.Effect, p.Effect = w.held.Effect, w.held.Effect
			}
			return db.Actions().Hold(ctx, broker.Hold{Epoch: epoch, Action: a, Approval: p, Request: []byte("r"), MaxOpen: 50, Events: []audit.Event{event("action.held", a.ID)}})
		})
	}

	must(t, db.Flows().CreateConnection(ctx, w.connection, nil))
	notLeased := errors.New("somebody else has the lease")
	one("one lease", 40, notLeased, func(db *store.DB, _ int) error {
		_, ok, err := db.Connections().Lease(ctx, org, w.connection.ID, time.Hour, []audit.Event{event("connection.refreshing", w.connection.ID)})
		if err == nil && !ok {
			err = notLeased
		}
		return err
	})
	must(t, db.Flows().CreateFlow(ctx, w.flow, nil))
	one("one flow", 40, connect.ErrFlow, func(db *store.DB, _ int) error {
		_, err := db.Flows().TakeFlow(ctx, w.flow.State, w.flow.Session, w.flow.Provider, now)
		return err
	})
	must(t, db.Users().CreateUser(ctx, w.user, w.link, nil))
	one("one link", 40, user.ErrLink, func(db *store.DB, i int) error {
		p := *w.passkey
		p.ID, p.CredentialID = id.NewPasskey(), fmt.Append(nil, i)
		return db.Users().Passkeys().Enrol(ctx, &p, w.link.Hash, now, nil)
	})
	// However many passkeys are removed at once, the last one stays.
	owner, keys, last := id.NewUser(), make([]id.Passkey, 6), errors.New("the last one stays")
	none := func(*user.Session) bool { return false }
	for i := range keys {
		k := *w.passkey
		k.ID, k.User, k.CredentialID = id.NewPasskey(), owner, fmt.Append(nil, "to be removed ", i)
		keys[i] = k.ID
		must(t, db.Users().Passkeys().Enrol(ctx, &k, nil, now, nil))
	}
	won := race(t, dbs, len(keys), last, func(db *store.DB, i int) error {
		return db.Users().Passkeys().RemovePasskey(ctx, org, owner, keys[i], now, func(all []*user.Passkey) ([]audit.Event, error) {
			if len(all) == 1 {
				return nil, last
			}
			return []audit.Event{event("passkey.removed", keys[i])}, nil
		}, none)
	})
	if left, err := db.Users().Passkeys().OfUser(ctx, org, owner); won != len(keys)-1 || len(left) != 1 || err != nil {
		t.Errorf("%d of %d passkeys removed, %d left, %v", won, len(keys), len(left), err)
	}
	raceLockOut(t, dbs)
	must(t, db.Users().Recovery().Replace(ctx, org, w.user.ID, []*user.RecoveryCode{w.code}, nil))
	one("one code", 40, user.ErrCode, func(db *store.DB, i int) error {
		return db.Users().Recovery().Redeem(ctx, w.code.Hash, now, func(c *user.RecoveryCode) (*user.Link, []audit.Event, error) {
			return &user.Link{Org: org, Hash: fmt.Append(nil, "recovered ", i), User: c.User, CreatedAt: now, ExpiresAt: now.Add(time.Hour), Version: 1}, nil, nil
		})
	})
	// However many owners step down at once, one stays.
	owners, stays := make([]id.User, 6), errors.New("one owner stays")
	for i := range owners {
		u := *w.user
		u.ID, u.Name, u.Role, u.Status, u.Handle = id.NewUser(), fmt.Sprint("owner ", i), user.Owner, user.Active, fmt.Append(nil, "handle ", i)
		owners[i] = u.ID
		must(t, db.Users().CreateUser(ctx, &u, nil, nil))
	}
	down := race(t, dbs, len(owners), stays, func(db *store.DB, i int) error {
		return db.Users().UpdateAmong(ctx, org, owners[i], func(u *user.User, all []*user.User) ([]audit.Event, error) {
			others := 0
			for _, o := range all {
				if o.Role == user.Owner && o.ID != u.ID {
					others++
				}
			}
			if others == 0 {
				return nil, stays
			}
			u.Role = user.Member
			return []audit.Event{event("user.role_changed", owners[i])}, nil
		})
	})
	if down != len(owners)-1 {
		t.Errorf("%d of %d owners stepped down", down, len(owners))
	}
	must(t, db.Users().Ceremonies().Begin(ctx, w.ceremony))
	one("one ceremony", 40, user.ErrCeremony, func(db *store.DB, _ int) error {
		_, err := db.Users().Ceremonies().Take(ctx, w.ceremony.Hash, now)
		return err
	})
	// However often one thing is frozen at once, it is frozen once.
	var thrown sync.Map
	if won := race(t, dbs, 40, nil, func(db *store.DB, _ int) error {
		f := *w.freeze
		f.ID = id.NewFreeze()
		there, err := db.Freezes().CreateFreeze(ctx, &f, []audit.Event{event("freeze.thrown", f.ID)})
		if err == nil {
			thrown.Store(there.ID, true)
		}
		return err
	}); won != 40 {
		t.Errorf("%d of 40 freezes", won)
	}
	frozen := 0
	thrown.Range(func(any, any) bool { frozen++; return true })
	recorded, err := dbs[0].Log().Select(ctx, store.Query{Org: org, Verb: "freeze.thrown", Limit: 100})
	if inForce, forceErr := dbs[0].Freezes().ActiveFreezes(ctx, org); frozen != 1 || len(recorded) != 1 || len(inForce) != 1 || err != nil || forceErr != nil {
		t.Errorf("%d answers, %d events, %d in force, %v, %v", frozen, len(recorded), len(inForce), err, forceErr)
	}
	// Everybody changes the same row, and no change is lost.
	if won := race(t, dbs, 40, nil, func(db *store.DB, _ int) error {
		for {
			err := db.Users().UpdateUser(ctx, org, w.user.ID, func(u *user.User) ([]audit.Event, error) {
				return []audit.Event{event("user.changed", u.ID)}, nil
			})
			if !errors.Is(err, store.ErrUnavailable) {
				return err
			}
		}
	}); won != 40 {
		t.Errorf("%d of 40 changes of one row", won)
	}
	if u, err := db.Users().User(ctx, org, w.user.ID); err != nil || u.Version != 41 {
		t.Errorf("after 40 changes: %+v, %v", u, err)
	}
	for _, db := range dbs {
		verify(t, db)
	}
}

// testEpoch: an intent that was judged before a change of authority is never
// recorded after it, on whatever replica and in whatever batch.
func testEpoch(t *testing.T, d Database) {
	dbs, raw, ctx := d.Replicas(t), d.Raw(t), t.Context()
	w := newWorld(dbs[0])
	var wait sync.WaitGroup
	var began, moved atomic.Int64
	for i := range 24 {
		db := dbs[i%len(dbs)]
		wait.Go(func() {
			for j := range 15 {
				if i%6 == 0 {
					g, e := *w.grant, event("grant.created", "grt")
					g.ID = id.NewGrant()
					// The move makes it at least one more than it is now.
					var before int64
					if err := raw.QueryRowContext(ctx, "select epoch from authority").Scan(&before); err != nil {
						t.Error(err)
					}
					e.Data = map[string]string{"before": strconv.FormatInt(before, 10)}
					if err := db.Grants().CreateGrant(ctx, &g, []audit.Event{e}); err != nil {
						t.Errorf("CreateGrant: %v", err)
					}
					continue
				}
				// A replica may know an old epoch; that is what the check is for.
				epoch, err := db.Epoch(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				e := event("action.executing", "act")
				e.Data = map[string]string{"epoch": strconv.FormatInt(epoch, 10)}
				a := id.NewAction()
				switch j % 3 {
				case 0:
					act, p := w.pending(id.NewAgent(), "")
					err = db.Actions().Hold(ctx, broker.Hold{Epoch: epoch, Action: act, Approval: p, Request: []byte("r"), MaxOpen: 5, Events: []audit.Event{e}})
				default:
					err = db.Actions().Begin(ctx, broker.Begin{Org: org, Epoch: epoch, Events: []audit.Event{e}, Intent: a})
				}
				switch {
				case err == nil:
					began.Add(1)
				case errors.Is(err, broker.ErrMoved):
					moved.Add(1)
				case !errors.Is(err, store.ErrUnavailable):
					t.Errorf("Begin: %v", err)
				}
			}
		})
	}
	wait.Wait()
	events, err := dbs[0].Log().Events(ctx, 0, 10000)
	must(t, err)
	intents, least := int64(0), int64(0)
	for _, e := range events {
		number := func(key string) int64 {
			n, err := strconv.ParseInt(e.Data[key], 10, 64)
			must(t, err)
			return n
		}
		switch e.Verb {
		case "grant.created":
			least = max(least, number("before")+1)
		case "action.executing":
			intents++
			if judged := number("epoch"); judged < least {
				t.Errorf("event %d was judged under epoch %d and stands behind a move to %d", e.Seq, judged, least)
			}
		}
	}
	if intents != began.Load() {
		t.Errorf("%d intents in the log, %d were acknowledged", intents, began.Load())
	}
	t.Logf("%d intents, %d judged too early", began.Load(), moved.Load())
}
