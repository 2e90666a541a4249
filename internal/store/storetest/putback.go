package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
)

// testPutBack: an authentic row of yesterday, put back today, is read as the
// log knows it: ended.
func testPutBack(t *testing.T, d Database) {
	var log syncBuffer
	db, raw, ctx := d.OpenLogged(t, &log), d.Raw(t), t.Context()
	w := newWorld(db)
	agents, grants := db.Agents(), db.Grants()
	w.agent.Status, w.key.Status = agent.Active, agent.KeyActive
	must(t, agents.CreateAgent(ctx, w.agent, []*agent.Key{w.key, w.key2}, []audit.Event{event("agent.registered", w.agent.ID)}))
	must(t, agents.Tokens().Issue(ctx, w.token, nil, nil))
	must(t, grants.CreateGrant(ctx, w.grant, []audit.Event{event("grant.created", w.grant.ID)}))
	other := *w.grant
	other.ID = id.NewGrant()
	must(t, grants.CreateGrant(ctx, &other, nil))

	tables := []string{"agents", "agent_keys", "grants"}
	sql := func(text string) {
		t.Helper()
		_, err := raw.ExecContext(ctx, text)
		must(t, err)
	}
	for _, name := range tables {
		sql("create table kept_" + name + " as select * from " + name)
	}
	putBack := func() {
		t.Helper()
		for _, name := range tables {
			sql("delete from " + name)
			sql("insert into " + name + " select * from kept_" + name)
		}
	}
	live := func(want bool) {
		t.Helper()
		for what, read := range map[string]func(context.Context) (bool, error){
			"Grant": func(ctx context.Context) (bool, error) {
				g, err := grants.Grant(ctx, org, w.grant.ID)
				return err == nil && g.RevokedAt.IsZero(), err
			},
			"OfAgent": one(func(ctx context.Context) ([]*grant.Grant, error) { return grants.OfAgent(ctx, org, w.agent.ID) }, w.grant.ID),
			"ForUse": one(func(ctx context.Context) ([]*grant.Grant, error) {
				return grants.ForUse(ctx, org, w.agent.ID, w.grant.Connection)
			}, w.grant.ID),
			"OfConnection": one(func(ctx context.Context) ([]*grant.Grant, error) {
				return grants.OfConnection(ctx, org, w.grant.Connection)
			}, w.grant.ID),
			"Grants": one(func(ctx context.Context) ([]*grant.Grant, error) { return grants.Grants(ctx, org) }, w.grant.ID),
			"Agent": func(ctx context.Context) (bool, error) {
				a, err := agents.Agent(ctx, org, w.agent.ID)
				return err == nil && a.Status == agent.Active, err
			},
			"ByName": func(ctx context.Context) (bool, error) {
				a, err := agents.ByName(ctx, org, w.agent.Name)
				return err == nil && a.Status == agent.Active, err
			},
			"Agents": func(ctx context.Context) (bool, error) {
				all, err := agents.Agents(ctx, org)
				return len(all) == 1 && all[0].Status == agent.Active, err
			},
			"keys": func(ctx context.Context) (bool, error) {
				all, err := agents.Keys().OfAgent(ctx, org, w.agent.ID)
				for _, k := range all {
					if k.ID == w.key.ID {
						return k.Status == agent.KeyActive && k.RevokedAt.Equal(w.key.RevokedAt), err
					}
				}
				return false, err
			},
			"the agent of a token": func(ctx context.Context) (bool, error) {
				_, a, _, err := agents.Tokens().ByHash(ctx, w.token.Hash)
				return err == nil && a.Status == agent.Active, err
			},
			"the key of a token": func(ctx context.Context) (bool, error) {
				_, _, k, err := agents.Tokens().ByHash(ctx, w.token.Hash)
				return err == nil && k.Status == agent.KeyActive, err
			},
		} {
			if got, err := read(ctx); err != nil || got != want {
				t.Errorf("%s: live is %v, want %v (%v)", what, got, want, err)
			}
		}
	}
	setStatus := func(to agent.Status, verb string) {
		t.Helper()
		must(t, agents.UpdateAgent(ctx, org, w.agent.ID, func(a *agent.Agent) ([]audit.Event, error) {
			a.Status = to
			return []audit.Event{event(verb, a.ID)}, nil
		}))
	}

	live(true)
	must(t, grants.UpdateGrant(ctx, org, w.grant.ID, func(g *grant.Grant) ([]audit.Event, error) {
		g.RevokedAt = now
		return []audit.Event{event("grant.revoked", g.ID)}, nil
	}))
	must(t, agents.Keys().UpdateKey(ctx, org, w.key.ID, func(k *agent.Key) ([]audit.Event, error) {
		k.Status, k.RevokedAt = agent.KeyRevoked, now
		return []audit.Event{event("agent.key_revoked", k.ID)}, nil
	}))
	setStatus(agent.Suspended, "agent.suspended")
	log.take()
	live(false)
	if said := log.take(); said != "" {
		t.Errorf("nothing was put back, and the operator was told:\n%s", said)
	}
	putBack()
	live(false)
	said := log.take()
	for _, what := range []string{string(w.grant.ID), string(w.key.ID), string(w.agent.ID)} {
		if !strings.Contains(said, what) || !strings.Contains(said, "was put back") || !strings.Contains(said, `"level":"ERROR"`) {
			t.Errorf("the operator was not told of %s:\n%s", what, said)
		}
	}
	// A page is compared with the log, and no more than the page.
	first, err := grants.Page(ctx, org, grant.Listing{Limit: 1})
	if err != nil || len(first) != 1 || first[0].ID != other.ID || !first[0].RevokedAt.IsZero() {
		t.Errorf("a page with what is alive: %+v, %v", first, err)
	}
	if said := log.take(); said != "" {
		t.Errorf("more than the page was read:\n%s", said)
	}
	next, err := grants.Page(ctx, org, grant.Listing{Before: other.ID, Limit: 1})
	if err != nil || len(next) != 1 || next[0].ID != w.grant.ID || !next[0].RevokedAt.Equal(now) || !strings.Contains(log.take(), string(w.grant.ID)) {
		t.Errorf("a page with what was put back: %+v, %v", next, err)
	}
	// What nobody ended is untouched.
	if g, err := grants.Grant(ctx, org, other.ID); err != nil || !g.RevokedAt.IsZero() {
		t.Errorf("another grant: %+v, %v", g, err)
	}
	// A suspension ends with the last word about it.
	setStatus(agent.Suspended, "agent.suspended")
	setStatus(agent.Active, "agent.resumed")
	if a, err := agents.Agent(ctx, org, w.agent.ID); err != nil || a.Status != agent.Active {
		t.Errorf("resumed: %+v, %v", a, err)
	}
}

// one says whether the grant of this id is live in a list.
func one(list func(context.Context) ([]*grant.Grant, error), ref id.Grant) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		all, err := list(ctx)
		for _, g := range all {
			if g.ID == ref {
				return g.RevokedAt.IsZero(), err
			}
		}
		return false, err
	}
}
