package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
)

func testKeys(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	keys := db.Keys()
	if empty, err := keys.Empty(ctx); empty || err != nil {
		t.Errorf("Empty with a root: %v, %v", empty, err)
	}
	if _, ok, err := keys.Load(ctx, "connection/con_x"); ok || err != nil {
		t.Errorf("Load of nothing: %v, %v", ok, err)
	}
	for _, wrapped := range []string{"first", "second"} {
		if got, err := keys.Create(ctx, "connection/con_x", []byte(wrapped)); string(got) != "first" || err != nil {
			t.Errorf("Create: %q, %v; who is first wins", got, err)
		}
	}
	if got, ok, err := keys.Load(ctx, "connection/con_x"); string(got) != "first" || !ok || err != nil {
		t.Errorf("Load: %q, %v, %v", got, ok, err)
	}
	for range 2 {
		must(t, keys.Delete(ctx, "connection/con_x"))
	}
	if _, ok, err := keys.Load(ctx, "connection/con_x"); ok || err != nil {
		t.Errorf("Load after Delete: %v, %v", ok, err)
	}
}

func testLog(t *testing.T, d Database) {
	dbs, ctx := d.Replicas(t), t.Context()
	db, last := dbs[0], dbs[len(dbs)-1]
	head, err := db.Log().Head(ctx)
	must(t, err)
	if head != (audit.Frontier{}).Head() {
		t.Errorf("the head of nothing: %v", head)
	}
	var want []audit.Event
	var tree audit.Frontier
	a, b := id.NewAgent(), id.NewAgent()
	for i := range 150 {
		e := audit.Event{At: now, Org: org, Verb: "action.held", Actor: "agent:" + string(a), Object: "act_1", Data: map[string]string{"note": "ü\x00\n\"<\u2028"}}
		if i%3 == 0 {
			e.Verb, e.Actor = "actionx.held", "agent:"+string(b)
		}
		if i%5 == 0 {
			e.Object, e.Org = "act_2", "org_other"
		}
		e.Seq = int64(i)
		want = append(want, e)
	}
	for at := 0; at < len(want); at += 50 {
		must(t, dbs[at/50%len(dbs)].Flows().Record(ctx, want[at:at+50]))
		if tree, _, err = tree.Append(want[at : at+50]); err != nil {
			t.Fatal(err)
		}
	}
	if head, err = last.Log().Head(ctx); head != tree.Head() || err != nil {
		t.Errorf("Head: %v, %v, want %v", head, err, tree.Head())
	}
	got, err := db.Log().Events(ctx, 0, 1000)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	leaves, err := db.Log().Leaves(ctx, 10, 5)
	if err != nil || len(leaves) != 5 || !bytes.Equal(leaves[0], want[10].Encode()) {
		t.Errorf("Leaves: %d, %v", len(leaves), err)
	}
	if _, err := db.Log().ReadHashes(ctx, []int64{0, 5, 0, 1 << 40}); err == nil {
		t.Error("ReadHashes of a hash that is not there succeeded")
	}
	if h, err := db.Log().ReadHashes(ctx, []int64{3, 0, 3}); err != nil || len(h) != 3 || h[0] != h[2] || h[0] == h[1] {
		t.Errorf("ReadHashes: %v, %v", h, err)
	}
	for name, q := range map[string]store.Query{
		"all":           {Org: org},
		"of an object":  {Org: "org_other", Object: "act_2"},
		"of an actor":   {Org: org, Actor: "agent:" + string(b)},
		"of a verb":     {Org: org, Verb: "actionx.held"},
		"of a kind":     {Org: org, Verb: "action."},
		"before":        {Org: org, Before: 20},
		"none":          {Org: "org_none"},
		"not text":      {Org: org, Object: "a\x00b"},
		"a few, before": {Org: org, Before: 100, Limit: 3},
	} {
		var expect []audit.Event
		limit := q.Limit
		if limit == 0 {
			q.Limit, limit = 1000, 1000
		}
		for i := len(want) - 1; i >= 0 && len(expect) < limit; i-- {
			e := want[i]
			if e.Org == q.Org && (q.Before == 0 || e.Seq < q.Before) && (q.Object == "" || e.Object == q.Object) && (q.Actor == "" || e.Actor == q.Actor) &&
				(q.Verb == "" || e.Verb == q.Verb || q.Verb == "action." && e.Verb == "action.held") {
				expect = append(expect, e)
			}
		}
		got, err := last.Log().Select(ctx, q)
		if diff := cmp.Diff(expect, got); diff != "" || err != nil {
			t.Errorf("Select %s: %v\n%s", name, err, diff)
		}
	}
	verify(t, last)

	// A commit wakes who waits, on the other replica too.
	for _, waiting := range dbs {
		woken := waiting.Log().Woken()
		must(t, db.Flows().Record(ctx, []audit.Event{event("test.wake", "up")}))
		select {
		case <-woken:
		case <-time.After(10 * time.Second):
			t.Error("nobody was woken")
		}
	}
}

// testText: what only one of the engines could store, neither does; what
// cannot be stored cannot be found, and asking for it is no failure.
func testText(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	for _, bad := range []string{"a\x00b", "\xff", "a\xc3"} {
		w := newWorld(db)
		w.agent.Name = bad
		if err := db.Agents().CreateAgent(ctx, w.agent, nil, nil); fault.From(err).Kind != fault.Invalid {
			t.Errorf("an agent called %q: %v", bad, err)
		}
		_, err := db.Agents().ByName(ctx, org, bad)
		refused(t, "ByName", err, agent.ErrUnknown)
		if as, err := db.Agents().Agents(ctx, id.Org(bad)); len(as) != 0 || err != nil {
			t.Errorf("agents of org %q: %d, %v", bad, len(as), err)
		}
	}
	// Order is by bytes, whatever the database thinks of languages.
	for _, name := range []string{"a-b", "Z", "ab", "a b", "é", "A", "a.b", "z"} {
		w := newWorld(db)
		w.agent.Name = name
		must(t, db.Agents().CreateAgent(ctx, w.agent, nil, nil))
	}
	all, err := db.Agents().Agents(ctx, org)
	must(t, err)
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	same(t, names, []string{"A", "Z", "a b", "a-b", "a.b", "ab", "z", "é"}, nil)

	// A caller who has left is not served, and not waited for.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := db.Flows().Record(gone, []audit.Event{event("test.gone", "x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a change of a caller who left: %v", err)
	}
}
