package freeze_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/secret"
)

const org = id.DefaultOrg

// rowKey is a RowMAC for tests.
type rowKey []byte

func (k rowKey) Sum(table string, fields ...[]byte) []byte {
	h := hmac.New(sha256.New, k)
	for _, f := range append([][]byte{[]byte(table)}, fields...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		h.Write(f)
	}
	return h.Sum(nil)
}

func (k rowKey) Verify(mac []byte, table string, fields ...[]byte) bool {
	return hmac.Equal(mac, k.Sum(table, fields...))
}

// flaky is a store whose disk may be full.
type flaky struct {
	freeze.Store
	full  atomic.Bool
	blind atomic.Bool // it cannot be read either
	// read, if set, is called between the reading of the freezes and their use.
	read func()
}

var errFull = errors.New("disk full")

func (f *flaky) CreateFreeze(ctx context.Context, fr *freeze.Freeze, events []audit.Event) (*freeze.Freeze, error) {
	if f.full.Load() {
		return nil, errFull
	}
	return f.Store.CreateFreeze(ctx, fr, events)
}

func (f *flaky) UpdateFreeze(ctx context.Context, o id.Org, fr id.Freeze, change func(*freeze.Freeze) ([]audit.Event, error)) error {
	if f.full.Load() {
		return errFull
	}
	return f.Store.UpdateFreeze(ctx, o, fr, change)
}

func (f *flaky) ActiveFreezes(ctx context.Context, o id.Org) ([]*freeze.Freeze, error) {
	if f.blind.Load() {
		return nil, errFull
	}
	got, err := f.Store.ActiveFreezes(ctx, o)
	if f.read != nil {
		f.read()
	}
	return got, err
}

// world is a database, a journal, and the switch of a process on them.
type world struct {
	t       *testing.T
	db      *store.DB
	disk    *flaky
	journal *audit.Journal
	path    string
	sw      *freeze.Switch
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	db, err := store.Open(t.Context(), secret.New("sqlite:"+filepath.Join(dir, "valetkey.db")), log)
	if err != nil {
		t.Fatal(err)
	}
	db.Authenticate(rowKey("freeze test"))
	w := &world{t: t, db: db, disk: &flaky{Store: db.Freezes()}, path: filepath.Join(dir, "journal")}
	t.Cleanup(func() {
		if err := errors.Join(w.journal.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	w.start()
	return w
}

// start is a new process: nothing is in memory but what Load finds.
func (w *world) start() {
	w.t.Helper()
	if w.journal != nil {
		if err := w.journal.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	if w.journal, err = audit.OpenJournal(w.path); err != nil {
		w.t.Fatal(err)
	}
	w.sw = w.another()
	if err := w.sw.Load(w.t.Context(), org); err != nil {
		w.t.Fatal(err)
	}
}

// another is a switch of its own, as a replica has one.
func (w *world) another() *freeze.Switch {
	return &freeze.Switch{Store: w.disk, Journal: w.journal, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}
}

func (w *world) throw(kind freeze.Kind, target string) freeze.Freeze {
	w.t.Helper()
	f, err := w.sw.Throw(w.t.Context(), org, kind, target, "a test", "user:mira", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) lift(f freeze.Freeze) {
	w.t.Helper()
	if err := w.sw.Lift(w.t.Context(), org, f.ID, "user:mira", time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) frozen(want bool) {
	w.t.Helper()
	if err := w.sw.Check(org, "agt_1", "con_1", "usr_1"); errors.Is(err, freeze.ErrFrozen) != want || err != nil && !want {
		w.t.Errorf("Check: %v, want frozen = %v", err, want)
	}
}

func (w *world) pending(want int) {
	w.t.Helper()
	got, err := w.journal.Pending()
	if err != nil || len(got) != want {
		w.t.Errorf("%d entries wait in the journal (%v), want %d", len(got), err, want)
	}
}

func (w *world) verbs(f freeze.Freeze) []string {
	w.t.Helper()
	events, err := w.db.Log().Select(w.t.Context(), store.Query{Org: org, Object: string(f.ID), Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range slices.Backward(events) {
		out = append(out, e.Verb)
	}
	return out
}

func TestThrowRefuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		kind   freeze.Kind
		target string
	}{{freeze.Agent, ""}, {freeze.Connection, ""}, {freeze.User, ""}, {"", "agt_1"}, {"ALL", ""}, {"grant", "grt_1"}} {
		if _, err := w.sw.Throw(t.Context(), org, c.kind, c.target, "", "user:mira", time.Now()); fault.From(err).Reason != "bad_freeze" {
			t.Errorf("%q of %q: %v", c.kind, c.target, err)
		}
	}
	w.frozen(false)
	w.pending(0)
}

func TestCheckHitsWhatWasFrozen(t *testing.T) {
	for _, c := range []struct {
		kind         freeze.Kind
		target       string
		agent        id.Agent
		connection   id.Connection
		user         id.User
		org          id.Org
		frozen       bool
		whoIsStopped string
	}{
		{freeze.Agent, "agt_1", "agt_1", "con_1", "usr_1", org, true, "the agent"},
		{freeze.Agent, "agt_1", "agt_2", "con_1", "usr_1", org, false, "another agent"},
		{freeze.Agent, "agt_1", "agt_11", "con_1", "usr_1", org, false, "an agent of a longer name"},
		{freeze.Connection, "con_1", "agt_2", "con_1", "usr_1", org, true, "any agent on the connection"},
		{freeze.Connection, "con_1", "agt_1", "con_2", "usr_1", org, false, "another connection"},
		{freeze.User, "usr_1", "agt_2", "con_2", "usr_1", org, true, "any agent on the user's connections"},
		{freeze.User, "usr_1", "agt_1", "con_1", "usr_2", org, false, "another user"},
		{freeze.All, "", "agt_2", "con_2", "usr_2", org, true, "everything"},
		{freeze.All, "agt_1", "agt_2", "con_2", "usr_2", org, true, "everything, whatever was named"},
		{freeze.All, "", "agt_1", "con_1", "usr_1", "org_other", false, "another org"},
		// Ids of two kinds never meet.
		{freeze.Agent, "usr_1", "agt_1", "con_1", "usr_1", org, false, "a user by an agent's freeze"},
	} {
		w := newWorld(t)
		f := w.throw(c.kind, c.target)
		if err := w.sw.Check(c.org, c.agent, c.connection, c.user); (err != nil) != c.frozen {
			t.Errorf("%s: %v", c.whoIsStopped, err)
		}
		if got := f.Hits(c.agent, c.connection, c.user); got != c.frozen && c.org == org {
			t.Errorf("%s: Hits is %v", c.whoIsStopped, got)
		}
	}
}

func TestThrowIsRecordedAndLifted(t *testing.T) {
	w := newWorld(t)
	var cut []id.Freeze
	w.sw.Thrown = func(f freeze.Freeze) {
		cut = append(cut, f.ID)
		w.frozen(true) // it holds before anything is told to stop
	}
	f := w.throw(freeze.Agent, "agt_1")
	w.frozen(true)
	w.pending(0)
	if !slices.Equal(cut, []id.Freeze{f.ID}) {
		t.Errorf("cut off: %v", cut)
	}
	w.start()
	w.frozen(true)
	second := w.throw(freeze.All, "")
	w.lift(f)
	w.frozen(true) // one is lifted, the other is not
	w.lift(second)
	w.frozen(false)
	if err := w.sw.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); !errors.Is(err, freeze.ErrLifted) {
		t.Errorf("lifted twice: %v", err)
	}
	if err := w.sw.Lift(t.Context(), org, id.NewFreeze(), "user:mira", time.Now()); fault.From(err).Kind != fault.NotFound {
		t.Errorf("an unknown freeze: %v", err)
	}
	w.start()
	w.frozen(false)
	if got, want := w.verbs(f), []string{"freeze.thrown", "freeze.lifted"}; !slices.Equal(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
}

// A full disk stops nobody from stopping: the freeze holds at once and after
// a restart, and is written down when that is possible again.
func TestThrowWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	f := w.throw(freeze.Connection, "con_1")
	w.frozen(true)
	w.pending(1)
	if err := w.sw.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); !errors.Is(err, errFull) {
		t.Errorf("lifted without a record: %v", err)
	}
	w.frozen(true)
	if err := w.sw.Refresh(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	w.frozen(true) // the database knows nothing of it, and that lifts nothing

	w.disk.full.Store(false)
	other := w.throw(freeze.Agent, "agt_9")
	w.pending(1) // a later success does not hide the one that is missing
	w.lift(other)

	w.start()
	w.frozen(true)
	w.pending(0)
	if got, want := w.verbs(f), []string{"freeze.replayed"}; !slices.Equal(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
	w.lift(f)
	w.start()
	w.frozen(false)
}

// A freeze that never reached the database can be lifted without a restart,
// and stays lifted after one although the journal still tells of it.
func TestLiftWhatOnlyTheJournalKnows(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	f := w.throw(freeze.User, "usr_1")
	held := w.throw(freeze.Agent, "agt_9")
	w.disk.full.Store(false)
	w.lift(f)
	w.frozen(false)
	w.pending(1) // the other one is not written yet
	w.start()
	w.frozen(false)
	if err := w.sw.Check(org, "agt_9", "", ""); !errors.Is(err, freeze.ErrFrozen) {
		t.Errorf("the other freeze is gone: %v", err)
	}
	w.lift(held)
	if got, want := w.verbs(f), []string{"freeze.replayed", "freeze.lifted"}; !slices.Equal(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
	w.start()
	if got := w.sw.Active(); len(got) != 0 {
		t.Errorf("in force: %v", got)
	}
}

// Once all is written, the journal has nothing left to tell.
func TestLiftSettlesTheJournal(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	f := w.throw(freeze.All, "")
	w.disk.full.Store(false)
	w.lift(f)
	w.pending(0)
}

func TestThrowWrittenNowhere(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	if err := w.journal.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := w.sw.Throw(t.Context(), org, freeze.All, "", "", "user:mira", time.Now())
	if fault.From(err).Reason != "freeze_not_durable" {
		t.Errorf("%v, want freeze_not_durable", err)
	}
	w.frozen(true)
	w.disk.full.Store(false)
	if w.journal, err = audit.OpenJournal(w.path); err != nil {
		t.Fatal(err)
	}
}

// The database alone is enough.
func TestThrowWithoutJournal(t *testing.T) {
	w := newWorld(t)
	if err := w.journal.Close(); err != nil {
		t.Fatal(err)
	}
	w.throw(freeze.All, "")
	w.frozen(true)
	w.journal = nil
	w.start()
	w.frozen(true)
}

// A start that cannot write down what the journal tells is no start.
func TestLoadNeedsTheDatabase(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	w.throw(freeze.All, "")
	if err := w.another().Load(t.Context(), org); !errors.Is(err, errFull) {
		t.Errorf("Load: %v", err)
	}
	w.pending(1)
}

// What the database said before a freeze was thrown does not undo it.
func TestRefreshIsNotStale(t *testing.T) {
	w := newWorld(t)
	f := w.throw(freeze.Agent, "agt_9")
	var once sync.Once
	w.disk.read = func() {
		once.Do(func() {
			w.throw(freeze.All, "")
			w.lift(f)
		})
	}
	if err := w.sw.Refresh(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	w.frozen(true)
	if got := w.sw.Active(); len(got) != 1 || got[0].Kind != freeze.All {
		t.Errorf("in force: %v", got)
	}
}

func (w *world) inForce(want ...id.Freeze) {
	w.t.Helper()
	var got []id.Freeze
	for _, f := range w.sw.Active() {
		got = append(got, f.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("in force are %v, want %v", got, want)
	}
}

// What is frozen already is not frozen again: the answer is the freeze that is
// there, the log has one, and one lifting ends it.
func TestThrowTwice(t *testing.T) {
	w := newWorld(t)
	first := w.throw(freeze.Agent, "agt_1")
	other := w.throw(freeze.Agent, "agt_2")
	user := w.throw(freeze.User, "agt_1") // another kind is another target
	cut := 0
	w.sw.Thrown = func(freeze.Freeze) { cut++ }
	again, err := w.sw.Throw(t.Context(), org, freeze.Agent, "agt_1", "twice", "user:zoe", time.Now().Add(time.Hour))
	if err != nil || again.ID != first.ID || again.By != "user:mira" || !again.At.Equal(first.At.Truncate(time.Microsecond)) {
		t.Errorf("%+v, %v, want the first one", again, err)
	}
	if cut != 1 {
		t.Errorf("calls in flight were cut off %d times, want once more", cut)
	}
	w.inForce(first.ID, other.ID, user.ID)
	w.pending(0)
	if got := w.verbs(first); !slices.Equal(got, []string{"freeze.thrown"}) {
		t.Errorf("recorded %v", got)
	}
	w.lift(first)
	w.inForce(other.ID, user.ID)
	// Lifted, it can be frozen again, and that is a new freeze.
	if third := w.throw(freeze.Agent, "agt_1"); third.ID == first.ID {
		t.Error("a lifted freeze came back")
	}
	w.start()
	w.frozen(true)
}

// Another process has frozen it, which this one has not heard of yet; and the
// other way round, it was lifted there.
func TestThrowTwiceElsewhere(t *testing.T) {
	w := newWorld(t)
	first, err := w.another().Throw(t.Context(), org, freeze.All, "", "", "user:zoe", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if again := w.throw(freeze.All, ""); again.ID != first.ID {
		t.Errorf("a second freeze %s", again.ID)
	}
	w.inForce(first.ID)
	w.pending(0)

	if err := w.another().Lift(t.Context(), org, first.ID, "user:zoe", time.Now()); err != nil {
		t.Fatal(err)
	}
	// Here it looks frozen; to freeze it must not be answered with what is over.
	next := w.throw(freeze.All, "")
	if next.ID == first.ID {
		t.Error("answered with a freeze that was lifted")
	}
	w.inForce(next.ID)
	w.start()
	w.inForce(next.ID)
}

// Thrown again while the first could not be written, it is one freeze; and it
// is written as soon as that is possible.
func TestThrowTwiceWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	first := w.throw(freeze.Agent, "agt_1")
	if again := w.throw(freeze.Agent, "agt_1"); again.ID != first.ID {
		t.Errorf("a second freeze %s", again.ID)
	}
	w.inForce(first.ID)
	w.disk.full.Store(false)
	if again := w.throw(freeze.Agent, "agt_1"); again.ID != first.ID {
		t.Errorf("a second freeze %s", again.ID)
	}
	w.pending(0)
	if got := w.verbs(first); !slices.Equal(got, []string{"freeze.thrown"}) {
		t.Errorf("recorded %v", got)
	}

	// The database is lost after the first: the second holds by itself until it
	// is back, and then either of them can be named to lift both.
	w.disk.full.Store(true)
	w.disk.blind.Store(true)
	second := w.throw(freeze.Agent, "agt_1")
	if second.ID == first.ID {
		t.Error("answered without asking the database")
	}
	w.disk.full.Store(false)
	w.disk.blind.Store(false)
	w.lift(second)
	w.inForce()
	w.start()
	w.inForce()
}

// However many people freeze one thing at once, it is frozen once, and from the
// moment that the first of them asked.
func TestThrowTogether(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	got := make([]freeze.Freeze, 12)
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = w.sw.Throw(t.Context(), org, freeze.All, "", "", "user:mira", time.Now()); err != nil {
				t.Error(err)
			}
			if w.sw.Check(org, "agt_1", "con_1", "usr_1") == nil {
				t.Error("not frozen")
			}
		})
	}
	all.Wait()
	for _, f := range got {
		if f.ID != got[0].ID {
			t.Errorf("two freezes: %s, %s", f.ID, got[0].ID)
		}
	}
	w.inForce(got[0].ID)
	w.pending(0)
}

// Two processes share what is frozen through the database.
func TestRefreshFollowsOthers(t *testing.T) {
	w := newWorld(t)
	other := w.another()
	f := w.throw(freeze.All, "")
	if err := other.Refresh(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	if err := other.Check(org, "agt_1", "con_1", "usr_1"); !errors.Is(err, freeze.ErrFrozen) {
		t.Errorf("not frozen elsewhere: %v", err)
	}
	if err := other.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := w.sw.Refresh(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	w.frozen(false)
}

// One that was lifted elsewhere is not held for ever by a process that did
// not hear of it.
func TestLiftedElsewhere(t *testing.T) {
	w := newWorld(t)
	f := w.throw(freeze.All, "")
	if err := w.another().Lift(t.Context(), org, f.ID, "user:mira", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := w.sw.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); !errors.Is(err, freeze.ErrLifted) {
		t.Errorf("Lift: %v", err)
	}
	w.frozen(false)
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	lasting := w.throw(freeze.Agent, "agt_1")
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if w.sw.Check(org, "agt_1", "con_1", "usr_1") == nil {
					t.Error("the lasting freeze did not hold")
					return
				}
				w.sw.Active()
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			if err := w.sw.Refresh(t.Context(), org); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 8 {
		writers.Go(func() {
			con := id.Connection("con_" + string(rune('a'+i)))
			for range 5 {
				f, err := w.sw.Throw(t.Context(), org, freeze.Connection, string(con), "", "user:mira", time.Now())
				if err != nil {
					t.Error(err)
				}
				if w.sw.Check(org, "agt_2", con, "usr_2") == nil {
					t.Error("a freeze that was thrown does not hold")
				}
				if err := w.sw.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if got := w.sw.Active(); len(got) != 1 || got[0].ID != lasting.ID {
		t.Errorf("in force: %v", got)
	}
	w.pending(0)
	w.lift(lasting)
	w.start()
	w.frozen(false)
}
