package freeze_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
)

// stuck is a store whose writes of one target hang until they are let go.
type stuck struct {
	freeze.Store
	target string
	in     chan string
	let    chan struct{}
}

func (s *stuck) CreateFreeze(ctx context.Context, f *freeze.Freeze, events []audit.Event) (*freeze.Freeze, error) {
	if f.Target == s.target {
		s.in <- f.Target
		<-s.let
	}
	return s.Store.CreateFreeze(ctx, f, events)
}

// A write to the database that hangs keeps no freeze out of the journal, and
// none of another target out of the database.
func TestThrowWhileTheDatabaseHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := &stuck{Store: w.sw.Store, target: "agt_1", in: make(chan string, 9), let: make(chan struct{})}
		w.sw.Store = s
		done := make(chan id.Freeze, 2)
		throw := func() { done <- w.throw(freeze.Agent, "agt_1").ID }
		go throw()
		<-s.in
		go throw() // waits for the one before it
		synctest.Wait()
		w.pending(2)

		other := w.throw(freeze.Agent, "agt_2")
		w.pending(2)
		w.lift(other)
		w.pending(2)

		// Who is killed now has frozen it, once.
		again := &freeze.Switch{Store: w.disk, Journal: w.journal, Log: w.sw.Log}
		if err := again.Load(t.Context(), org); err != nil {
			t.Fatal(err)
		}
		if got := again.Active(); len(got) != 1 || got[0].Target != "agt_1" {
			t.Errorf("in force after a restart: %v", got)
		}
		close(s.let)
		if a, b := <-done, <-done; a != b {
			t.Errorf("two freezes: %s, %s", a, b)
		}
	})
}

// replica is a process beside w's, with a journal of its own.
func (w *world) replica() *freeze.Switch {
	w.t.Helper()
	j, err := audit.OpenJournal(filepath.Join(w.t.TempDir(), "journal"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = j.Close() })
	sw := w.another()
	sw.Journal = j
	return sw
}

// Where another replica's freeze won, ours is over with it: it does not come
// back at a start after theirs was lifted, whatever else the journal waits for.
func TestLiftedStaysLiftedWhereAnotherReplicaWon(t *testing.T) {
	for _, liftedBy := range []string{"here", "there"} {
		w := newWorld(t)
		w.disk.full.Store(true)
		owed := w.throw(freeze.User, "usr_9") // keeps the journal from being done
		w.disk.full.Store(false)

		other := w.replica()
		first, err := other.Throw(t.Context(), org, freeze.Agent, "agt_1", "", "user:zoe", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if again := w.throw(freeze.Agent, "agt_1"); again.ID != first.ID {
			t.Errorf("a second freeze %s", again.ID)
		}
		by := map[string]*freeze.Switch{"here": w.sw, "there": other}[liftedBy]
		if err := by.Lift(t.Context(), org, first.ID, "user:zoe", time.Now()); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.inForce(owed.ID)
	}
}

// The same where ours could not be written, and is lifted by its own name.
func TestLiftedStaysLiftedByTheNameOfOurs(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	owed := w.throw(freeze.User, "usr_9")
	ours := w.throw(freeze.Agent, "agt_1")
	w.disk.full.Store(false)
	other := w.replica()
	if _, err := other.Throw(t.Context(), org, freeze.Agent, "agt_1", "", "user:zoe", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.lift(ours)
	w.inForce(owed.ID)
	w.start()
	w.inForce(owed.ID)
}

// What could not be settled when it was written is settled when it is lifted.
func TestLiftSettlesWhatThrowCouldNot(t *testing.T) {
	w := newWorld(t)
	broken := true
	w.disk.read = func() {
		if broken { // between our entry and its end
			_ = w.journal.Close()
		}
	}
	first, err := w.replica().Throw(t.Context(), org, freeze.Agent, "agt_1", "", "user:zoe", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.throw(freeze.Agent, "agt_1")
	broken = false
	if w.journal, err = audit.OpenJournal(w.path); err != nil {
		t.Fatal(err)
	}
	w.sw.Journal = w.journal
	w.pending(1)
	w.lift(first)
	w.pending(0)
	w.start()
	w.inForce()
}

// unliftable takes freezes and not their end.
type unliftable struct{ freeze.Store }

func (unliftable) UpdateFreeze(context.Context, id.Org, id.Freeze, func(*freeze.Freeze) ([]audit.Event, error)) error {
	return errFull
}

// halfway loses the database after the freeze was written by its lifting.
type halfway struct {
	freeze.Store
	sw *freeze.Switch
}

func (h halfway) CreateFreeze(ctx context.Context, f *freeze.Freeze, events []audit.Event) (*freeze.Freeze, error) {
	defer func() { h.sw.Store = unliftable{h.Store} }()
	return h.Store.CreateFreeze(ctx, f, events)
}

// A lifting that gets half way lifts nothing.
func TestLiftHalfWay(t *testing.T) {
	w := newWorld(t)
	w.disk.full.Store(true)
	f := w.throw(freeze.All, "")
	w.disk.full.Store(false)
	w.sw.Store = halfway{w.disk, w.sw}
	if err := w.sw.Lift(t.Context(), org, f.ID, "user:mira", time.Now()); !errors.Is(err, errFull) {
		t.Errorf("Lift: %v", err)
	}
	w.frozen(true)
	w.pending(0)
	w.start()
	w.frozen(true)
}
