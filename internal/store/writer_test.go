package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
)

var at = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func event(object string) audit.Event {
	return audit.Event{At: at, Org: id.DefaultOrg, Verb: "test.recorded", Actor: "system", Object: object}
}

// record makes a change of one event.
func record(ctx context.Context, db *store.DB, object string) error {
	return db.Flows().Record(ctx, []audit.Event{event(object)})
}

func reason(err error) string { return fault.From(err).Reason }

func allEvents(t testing.TB, db *store.DB) []audit.Event {
	t.Helper()
	head, err := db.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	events, err := db.Log().Events(t.Context(), 0, int(head.Size)+1000)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(events)) != head.Size {
		t.Fatalf("%d events, the head says %d", len(events), head.Size)
	}
	return events
}

func objects(t testing.TB, db *store.DB) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, e := range allEvents(t, db) {
		if out[e.Object] {
			t.Errorf("%s is there twice", e.Object)
		}
		out[e.Object] = true
	}
	return out
}

// verifyLog checks the whole tree.
func verifyLog(t testing.TB, db *store.DB) {
	t.Helper()
	skey, _, err := audit.GenerateKey("valetkey.test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signer.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := db.Log().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	report, err := audit.Verify(t.Context(), snapshot, v)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("the log does not verify:\n%s", report)
	}
}

// job is one change of the property test: one of the ways in which changes
// succeed and fail.
type job struct {
	kind string
	name string
	n    int // events
}

var errRefused = errors.New("refused")

func (j job) run(ctx context.Context, db *store.DB, who id.Agent) error {
	events := make([]audit.Event, j.n)
	for i := range events {
		events[i] = event(j.name + "/" + strconv.Itoa(i))
	}
	tokens := db.Agents().Tokens()
	proof := func(jti string) []agent.Proof { return []agent.Proof{{Agent: who, JTI: jti, Until: at}} }
	issue := func(jti string) error {
		t := &agent.Token{Org: id.DefaultOrg, ID: id.NewToken(), Hash: []byte(j.name), Agent: who, Version: 1}
		return tokens.Issue(ctx, t, proof(jti), events)
	}
	switch j.kind {
	case "record":
		return db.Flows().Record(ctx, events)
	case "issue":
		return issue(j.name)
	case "replayed": // writes nothing, then fails
		return issue("spent before")
	case "twice": // spends its own proof, then fails
		return tokens.Issue(ctx, &agent.Token{Org: id.DefaultOrg, ID: id.NewToken(), Version: 1}, append(proof(j.name+"b"), proof("spent before")...), events)
	case "duplicate": // fails on a unique key, after it has written
		t := &agent.Token{Org: id.DefaultOrg, ID: id.NewToken(), Hash: []byte("taken before"), Agent: who, Version: 1}
		return tokens.Issue(ctx, t, proof(j.name), events)
	case "malformed": // fails when its events are looked at
		return db.Flows().Record(ctx, append(events, audit.Event{At: at, Verb: "no"}))
	case "refused": // the change function says no
		return db.Agents().UpdateAgent(ctx, id.DefaultOrg, who, func(a *agent.Agent) ([]audit.Event, error) { return events, errRefused })
	case "updated":
		return db.Agents().UpdateAgent(ctx, id.DefaultOrg, who, func(a *agent.Agent) ([]audit.Event, error) {
			a.SeenAt = a.SeenAt.Add(time.Second)
			return events, nil
		})
	case "cancelled":
		gone, cancel := context.WithCancel(ctx)
		cancel()
		return db.Flows().Record(gone, events)
	}
	panic("no such job: " + j.kind)
}

var failing = []string{"replayed", "twice", "duplicate", "malformed", "refused", "cancelled"}

// The log is exactly the events of the changes that were acknowledged: each
// change's together and in its order, the changes of one caller in his; and
// the root is that of these events.
func TestWriter(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t).Open(t)
	who := id.NewAgent()
	if err := db.Agents().CreateAgent(t.Context(), &agent.Agent{Org: id.DefaultOrg, ID: who, Name: "writer", Version: 1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Agents().Tokens().Issue(t.Context(), &agent.Token{Org: id.DefaultOrg, ID: id.NewToken(), Hash: []byte("taken before"), Version: 1},
		[]agent.Proof{{Agent: who, JTI: "spent before", Until: at}}, nil); err != nil {
		t.Fatal(err)
	}
	var tree audit.Frontier
	round, updates := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		callers := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) job {
			return job{
				kind: rapid.SampledFrom([]string{"record", "record", "issue", "updated", "replayed", "twice", "duplicate", "malformed", "refused", "cancelled"}).Draw(t, "kind"),
				n:    rapid.IntRange(0, 4).Draw(t, "events"),
			}
		}), 1, 6), 1, 40).Draw(t, "callers")
		from := tree.Size()
		acked := make([][]job, len(callers))
		var wait sync.WaitGroup
		for c, jobs := range callers {
			wait.Go(func() {
				for i, j := range jobs {
					j.name = fmt.Sprintf("%d-%d-%d", round, c, i)
					err := j.run(context.Background(), db, who)
					if (err == nil) == slices.Contains(failing, j.kind) {
						t.Errorf("%s: %v", j.kind, err)
					}
					if err == nil {
						acked[c] = append(acked[c], j)
					}
				}
			})
		}
		wait.Wait()
		events, err := db.Log().Events(context.Background(), from, 10000)
		if err != nil {
			t.Fatal(err)
		}
		// Taking each acknowledged change from the log, in order, leaves nothing.
		next := make([]int, len(callers))
		for rest := events; len(rest) > 0; {
			var r, c, i int
			if _, err := fmt.Sscanf(strings.ReplaceAll(rest[0].Object, "/", " "), "%d-%d-%d", &r, &c, &i); err != nil || r != round {
				t.Fatalf("event %d is of %q", rest[0].Seq, rest[0].Object)
			}
			for next[c] < len(acked[c]) && acked[c][next[c]].n == 0 {
				next[c]++
			}
			if next[c] == len(acked[c]) {
				t.Fatalf("event %d, %s, is of a change that was not acknowledged", rest[0].Seq, rest[0].Object)
			}
			j := acked[c][next[c]]
			next[c]++
			for k := range j.n {
				if len(rest) <= k || rest[k].Object != j.name+"/"+strconv.Itoa(k) {
					t.Fatalf("the events of %s are not together", j.name)
				}
			}
			rest = rest[j.n:]
		}
		for c, jobs := range acked {
			for _, j := range jobs[next[c]:] {
				if j.n > 0 {
					t.Fatalf("%s was acknowledged and is not in the log", j.name)
				}
			}
			for _, j := range jobs {
				if j.kind == "updated" {
					updates++
				}
			}
		}
		if len(events) > 0 {
			if tree, _, err = tree.Append(events); err != nil {
				t.Fatal(err)
			}
		}
		if head, err := db.Log().Head(context.Background()); err != nil || head != tree.Head() {
			t.Fatalf("head %v, %v, want %v", head, err, tree.Head())
		}
	})
	if a, err := db.Agents().Agent(t.Context(), id.DefaultOrg, who); err != nil || a.Version != int64(1+updates) {
		t.Errorf("after %d updates: %+v, %v", updates, a, err)
	}
	verifyLog(t, db)
}

// Whatever call to the database fails: what was acknowledged is there, what
// was not is not, and the writer goes on.
func TestWriterFaultSweep(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t).Open(t)
	who := id.NewAgent()
	if err := db.Agents().CreateAgent(t.Context(), &agent.Agent{Org: id.DefaultOrg, ID: who, Name: "writer", Version: 1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	acked, refused := map[string]bool{}, map[string]bool{}
	var mu sync.Mutex
	for k := int64(1); ; k++ {
		calls := db.FailAt(k)
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() {
				for n, kind := range []string{"issue", "updated", "record"} {
					j := job{kind: kind, name: fmt.Sprintf("%d-%d-%d", k, i, n), n: 2}
					err := j.run(t.Context(), db, who)
					mu.Lock()
					for e := range j.n {
						if err == nil {
							acked[j.name+"/"+strconv.Itoa(e)] = true
						} else {
							refused[j.name+"/"+strconv.Itoa(e)] = true
						}
					}
					mu.Unlock()
					if err != nil && !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("call %d failed, and %s was told: %v", k, kind, err)
					}
				}
			})
		}
		wait.Wait()
		if calls() < k {
			break
		}
	}
	if len(refused) == 0 {
		t.Error("nothing failed")
	}
	logged := objects(t, db)
	for name := range acked {
		if !logged[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	for name := range refused {
		if logged[name] {
			t.Errorf("%s was refused and is there", name)
		}
	}
	verifyLog(t, db)
}

// Closing while callers wait: each gets an answer, and it is the truth.
func TestCloseWhileWriting(t *testing.T) {
	t.Parallel()
	for range 5 {
		d := storetest.SQLite(t)
		db, err := store.Open(t.Context(), d.DSN, discard)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		acked := map[string]bool{}
		var wait, started sync.WaitGroup
		for i := range 400 {
			started.Add(1)
			wait.Go(func() {
				started.Done()
				for j := 0; ; j++ {
					name := fmt.Sprintf("%d-%d", i, j)
					err := record(t.Context(), db, name)
					if err != nil {
						if !errors.Is(err, store.ErrUnavailable) {
							t.Errorf("record: %v", err)
						}
						return
					}
					mu.Lock()
					acked[name] = true
					mu.Unlock()
				}
			})
		}
		started.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		wait.Wait()
		if err := record(t.Context(), db, "late"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after Close: %v", err)
		}
		if db, err = store.Open(t.Context(), d.DSN, discard); err != nil {
			t.Fatal(err)
		}
		logged := objects(t, db)
		for name := range acked {
			if !logged[name] {
				t.Errorf("%s was acknowledged and is not there", name)
			}
		}
		if len(logged) != len(acked) {
			t.Errorf("%d in the log, %d acknowledged", len(logged), len(acked))
		}
		verifyLog(t, db)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A caller may leave while its change waits, and is told at once; the change
// does not happen.
func TestCallersMayLeave(t *testing.T) {
	t.Parallel()
	d := storetest.SQLite(t)
	db, raw := d.Open(t), d.Raw(t)
	// Somebody else holds the database, so that the writer has to wait.
	conn, err := raw.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "begin immediate"); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- record(t.Context(), db, "first") }()
	for db.Queued() != 0 || !db.Busy() {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- record(ctx, db, "second") }()
	for db.Queued() != 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: %v", err)
	}
	if _, err := conn.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Errorf("the one who stayed: %v", err)
	}
	if err := record(t.Context(), db, "third"); err != nil {
		t.Error(err)
	}
	if logged := objects(t, db); !logged["first"] || logged["second"] || !logged["third"] {
		t.Errorf("in the log: %v", logged)
	}
}

// When nothing can be written every change is refused soon, nothing of it is
// there, reading works, and writing works again when it can.
func TestNotWritable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ off, on string }{
		"disk full": {"max_page_count = 1", "max_page_count = 1000000"},
		"read-only": {"query_only(1)", "query_only(0)"},
	} {
		var log syncLog
		d := storetest.SQLite(t)
		db := d.OpenLogged(t, &log)
		if err := record(t.Context(), db, "before"); err != nil {
			t.Fatal(err)
		}
		if err := db.Pragma(t.Context(), c.off); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		failed := 0
		for round := range 4 {
			var wait sync.WaitGroup
			errs := make([]error, 50)
			for i := range errs {
				wait.Go(func() {
					// A full disk lets through what fits into the pages there are.
					errs[i] = db.Flows().Record(t.Context(), slices.Repeat([]audit.Event{large(fmt.Sprintf("%d-%d", round, i))}, 1))
				})
			}
			wait.Wait()
			for i, err := range errs {
				object := fmt.Sprintf("%d-%d", round, i)
				if err == nil {
					continue
				}
				failed++
				if !errors.Is(err, store.ErrUnavailable) || fault.From(err).Kind != fault.Unavailable {
					t.Errorf("%s: %v", name, err)
				}
				if objects(t, db)[object] {
					t.Errorf("%s: %s was refused and is there", name, object)
				}
			}
		}
		if failed == 0 {
			t.Errorf("%s: nothing failed", name)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if err := db.Pragma(t.Context(), c.on); err != nil {
			t.Fatal(err)
		}
		if err := record(t.Context(), db, "after"); err != nil {
			t.Errorf("%s: writing does not work again: %v", name, err)
		}
		if logged := objects(t, db); !logged["before"] || !logged["after"] {
			t.Errorf("%s: in the log: %v", name, logged)
		}
		if said := log.String(); strings.Count(said, "recording fails") == 0 || !strings.Contains(said, "recording works again") {
			t.Errorf("%s: the operator was told:\n%s", name, said)
		}
		verifyLog(t, db)
	}
}

// A lock that somebody else holds for too long is an answer too.
func TestLockedTooLong(t *testing.T) {
	t.Parallel()
	d := storetest.SQLite(t)
	db, raw := d.Open(t), d.Raw(t)
	if err := db.Pragma(t.Context(), "busy_timeout(50)"); err != nil {
		t.Fatal(err)
	}
	conn, err := raw.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "begin immediate"); err != nil {
		t.Fatal(err)
	}
	if err := record(t.Context(), db, "locked-out"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("record: %v", err)
	}
	if _, err := conn.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := record(t.Context(), db, "let-in"); err != nil {
		t.Error(err)
	}
	if logged := objects(t, db); len(logged) != 1 {
		t.Errorf("in the log: %v", logged)
	}
}

func large(object string) audit.Event {
	e := event(object)
	e.Data = map[string]string{"filler": strings.Repeat("x", audit.MaxValue)}
	return e
}

type syncLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncLog) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
