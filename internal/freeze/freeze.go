// Package freeze is the kill switch: for an agent, a connection, a user, or
// everything.
//
// Freezing must work when nothing else does. A freeze takes hold in memory
// first, then in a journal outside the database, then in the database with its
// event; a failure of the last two is reported and never undoes the first.
// Lifting one is the opposite: it needs the database, and a person.
//
// Of one target there is one freeze in force: who freezes what is frozen gets
// the freeze that is there, and one lifting ends it.
package freeze

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Kind is what is frozen.
type Kind string

// The kinds.
const (
	Agent      Kind = "agent"
	Connection Kind = "connection"
	User       Kind = "user"
	All        Kind = "all"
)

// Freeze is one thrown switch.
type Freeze struct {
	Org      id.Org
	ID       id.Freeze
	Kind     Kind
	Target   string // the id, or "" for All
	Reason   string
	By       string // actor
	At       time.Time
	LiftedAt time.Time
	Version  int64
}

// Store keeps freezes; each change commits with its events.
type Store interface {
	// CreateFreeze stores f, unless a freeze of the same target is in force: then
	// nothing is stored or recorded. It returns the one that is in force after it.
	CreateFreeze(ctx context.Context, f *Freeze, events []audit.Event) (*Freeze, error)
	ActiveFreezes(ctx context.Context, org id.Org) ([]*Freeze, error)
	UpdateFreeze(ctx context.Context, org id.Org, f id.Freeze, change func(*Freeze) ([]audit.Event, error)) error
}

// What a freeze and its end may answer.
var (
	// ErrFrozen refuses everything that is frozen.
	ErrFrozen = fault.New(fault.Forbidden, "frozen", "This was frozen by a person; nothing happens until an owner lifts the freeze.")
	ErrLifted = fault.New(fault.Conflict, "not_frozen", "This freeze was lifted already.")
	ErrThawed = fault.New(fault.Conflict, "not_frozen", "This is not frozen; 'valetkey freeze list' shows what is.")
)

// Switch is the set of freezes in force. It is safe for concurrent use.
type Switch struct {
	Store   Store
	Journal *audit.Journal
	Log     *slog.Logger
	// Thrown, if set, is called after each new freeze, so that calls in flight
	// can be cancelled.
	Thrown func(Freeze)

	turns turns // to write down what was made of a target; what holds, holds without one

	mu        sync.RWMutex
	active    map[id.Freeze]Freeze
	unwritten map[id.Freeze]progress // in force, and not in the database as far as we know
	entries   map[id.Freeze][]int64  // of the journal, to be settled when that freeze is written
	moves     int                    // counts changes of the sets above
	epoch     int64                  // of the authority that active was read under, see Sync
}

// progress is how far a freeze in force has come on its way to the database.
type progress int

const (
	written progress = iota
	thrown           // somebody is about to write it
	owed             // that failed; the journal has it, or nothing but memory
)

// journalKind marks our entries in the journal.
const journalKind = "freeze"

// Load takes the freezes in force from the database and from journal entries
// that never reached it, and writes those down.
func (s *Switch) Load(ctx context.Context, org id.Org) error {
	if err := s.Refresh(ctx, org); err != nil {
		return err
	}
	pending, err := s.Journal.Pending()
	if err != nil {
		return fmt.Errorf("read freeze journal: %w", err)
	}
	for _, entry := range pending {
		if entry.Kind != journalKind {
			continue
		}
		f := fromEntry(entry)
		s.hold(f)
		_, err := s.Store.CreateFreeze(ctx, &f, []audit.Event{f.event("freeze.replayed", f.By, f.At)})
		if err != nil && fault.From(err).Reason != "exists" {
			return fmt.Errorf("replay freeze %s: %w", f.ID, err)
		}
		// The database has it; whether it was lifted since, it knows too.
		s.written(f.ID)
		if err := s.Journal.Settle(time.Now(), entry.N); err != nil {
			return fmt.Errorf("settle freeze journal: %w", err)
		}
	}
	return s.Refresh(ctx, org)
}

func fromEntry(e audit.JournalEntry) Freeze {
	return Freeze{
		Org: id.Org(e.Data["org"]), ID: id.Freeze(e.Data["id"]), Kind: Kind(e.Data["kind"]), Target: e.Data["target"],
		Reason: e.Data["reason"], By: e.Data["by"], At: e.At, Version: 1,
	}
}

func (f *Freeze) entry() map[string]string {
	return map[string]string{
		"org": string(f.Org), "id": string(f.ID), "kind": string(f.Kind), "target": f.Target, "reason": f.Reason, "by": f.By,
	}
}

// Throw freezes target from this moment on, and returns the freeze in force: an
// older one where the target was frozen already. The freeze holds even when err
// is not nil: the error says what could not be written down.
func (s *Switch) Throw(ctx context.Context, org id.Org, kind Kind, target, reason, actor string, now time.Time) (Freeze, error) {
	switch kind {
	case Agent, Connection, User:
		if target == "" {
			return Freeze{}, fault.New(fault.Invalid, "bad_freeze", "Say which one to freeze.")
		}
	case All:
		target = ""
	default:
		return Freeze{}, fault.New(fault.Invalid, "bad_freeze", "Freeze an agent, a connection, a user, or all.")
	}
	f := Freeze{Org: org, ID: id.NewFreeze(), Kind: kind, Target: target, Reason: reason, By: actor, At: now, Version: 1}
	s.hold(f)
	if s.Thrown != nil {
		s.Thrown(f)
	}
	// It holds. The journal is told before anything waits for the database, or
	// for somebody who waits for it.
	n, journalErr := s.Journal.Append(now, journalKind, f.entry())
	if journalErr == nil {
		s.note(f.ID, n)
	}
	// What follows is done one by one for each target in this process, so that
	// each change sees what the one before it made of it.
	defer s.turns.take(f)()
	if there, ok := s.standing(ctx, f); ok {
		s.inherit(f.ID, there.ID)
		s.release(f.ID)
		s.settle(ctx, there.ID, now)
		return there, nil
	}
	if late, ok := s.other(f, owed); ok {
		s.inherit(f.ID, late.ID)
		s.release(f.ID)
		f = late // it could not be written when it was thrown: now it may
	}
	there, storeErr := s.Store.CreateFreeze(context.WithoutCancel(ctx), &f, []audit.Event{f.event("freeze.thrown", f.By, now)})
	switch {
	case storeErr != nil:
		s.owe(f.ID)
	case there.ID == f.ID:
		s.written(f.ID)
		s.settle(ctx, f.ID, now)
	default:
		// Another replica was faster. Ours holds until theirs is known here.
		s.inherit(f.ID, there.ID)
		if err := s.Refresh(context.WithoutCancel(ctx), org); err != nil {
			s.Log.WarnContext(ctx, "freeze of another replica not read yet", slog.String("freeze", string(there.ID)), slog.Any("error", err))
			s.written(f.ID)
		} else {
			s.release(f.ID)
		}
		s.settle(ctx, there.ID, now)
		f = *there
	}
	if err := errors.Join(journalErr, storeErr); err != nil {
		s.Log.ErrorContext(ctx, "freeze holds in memory but was not recorded everywhere", slog.String("freeze", string(f.ID)), slog.Any("error", err))
		if journalErr != nil && storeErr != nil {
			return f, fault.New(fault.Unavailable, "freeze_not_durable", "The freeze holds now, but could be written nowhere: it would not survive a restart. Check the disk.").Because(err)
		}
	}
	return f, nil
}

// standing returns the freeze of f's target that was written before f. What is
// known here may have been lifted elsewhere, so the database is asked; where it
// does not answer there is none.
func (s *Switch) standing(ctx context.Context, f Freeze) (Freeze, bool) {
	if _, ok := s.other(f, written); !ok {
		return Freeze{}, false
	}
	if err := s.Refresh(context.WithoutCancel(ctx), f.Org); err != nil {
		return Freeze{}, false
	}
	return s.other(f, written)
}

// other finds another freeze of f's target that is in force and that far.
func (s *Switch) other(f Freeze, far progress) (Freeze, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.active {
		if g.ID != f.ID && g.Org == f.Org && g.Kind == f.Kind && g.Target == f.Target && s.unwritten[g.ID] == far {
			return g, true
		}
	}
	return Freeze{}, false
}

// Lift ends a freeze. Unlike Throw it fails when it cannot be recorded.
func (s *Switch) Lift(ctx context.Context, org id.Org, f id.Freeze, actor string, now time.Time) error {
	if f, here := s.held(f); here {
		// Of one that is not known here there is nothing to write down but its end.
		defer s.turns.take(f)()
	}
	held, _ := s.held(f)
	missing := s.far(f) != written
	lift := func(f id.Freeze) error {
		return s.Store.UpdateFreeze(ctx, org, f, func(f *Freeze) ([]audit.Event, error) {
			if !f.LiftedAt.IsZero() {
				return nil, ErrLifted
			}
			f.LiftedAt = now
			return []audit.Event{f.event("freeze.lifted", actor, now)}, nil
		})
	}
	err := lift(f)
	if missing && fault.From(err).Kind == fault.NotFound {
		// It was thrown while the database could not be written: write it now, or
		// find the one that its target was frozen by already.
		there, lost := s.Store.CreateFreeze(ctx, &held, []audit.Event{held.event("freeze.replayed", held.By, now)})
		if lost != nil {
			return lost
		}
		s.written(f)
		s.inherit(f, there.ID)
		s.settle(ctx, there.ID, now)
		if err = lift(there.ID); err == nil || errors.Is(err, ErrLifted) {
			s.release(there.ID)
		}
	}
	if err != nil && !errors.Is(err, ErrLifted) {
		return err
	}
	// Also when somebody lifted it elsewhere: the database decides. What the
	// journal has of it must not come back at the next start.
	s.release(f)
	s.settle(ctx, f, now)
	return err
}

// Check refuses what is frozen.
func (s *Switch) Check(org id.Org, agent id.Agent, connection id.Connection, user id.User) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.active {
		if f.Org == org && f.hits(agent, connection, user) {
			return ErrFrozen
		}
	}
	return nil
}

// Hits reports whether f stops an action of agent on user's connection.
func (f Freeze) Hits(agent id.Agent, connection id.Connection, user id.User) bool {
	return f.hits(agent, connection, user)
}

func (f *Freeze) hits(agent id.Agent, connection id.Connection, user id.User) bool {
	switch f.Kind {
	case All:
		return true
	case Agent:
		return f.Target == string(agent)
	case Connection:
		return f.Target == string(connection)
	case User:
		return f.Target == string(user)
	}
	return false
}

// Active lists the freezes in force, in no particular order.
func (s *Switch) Active() []Freeze {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Freeze, 0, len(s.active))
	for _, f := range s.active {
		out = append(out, f)
	}
	return out
}

// Sync reads the freezes again when authority has moved since they were read:
// another replica may have thrown or lifted one. What it finds thrown is told
// to Thrown, so that calls in flight here are cancelled too.
func (s *Switch) Sync(ctx context.Context, org id.Org, epoch int64) error {
	s.mu.RLock()
	known := s.epoch == epoch
	had := make(map[id.Freeze]bool, len(s.active))
	for f := range s.active {
		had[f] = true
	}
	s.mu.RUnlock()
	if known {
		return nil
	}
	if err := s.Refresh(ctx, org); err != nil {
		return err
	}
	s.mu.Lock()
	s.epoch = epoch
	s.mu.Unlock()
	for _, f := range s.Active() {
		if !had[f.ID] && s.Thrown != nil {
			s.Thrown(f)
		}
	}
	return nil
}

// Refresh takes over what the database says, and keeps what this process froze
// and could not write down.
func (s *Switch) Refresh(ctx context.Context, org id.Org) error {
	for {
		s.mu.RLock()
		before := s.moves
		s.mu.RUnlock()
		stored, err := s.Store.ActiveFreezes(ctx, org)
		if err != nil {
			return fmt.Errorf("load freezes: %w", err)
		}
		if s.replace(stored, before) {
			return nil
		}
	}
}

// replace takes over stored, unless something was thrown or lifted while it
// was read: it may be older than that.
func (s *Switch) replace(stored []*Freeze, before int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moves != before {
		return false
	}
	next := make(map[id.Freeze]Freeze, len(stored))
	for f := range s.unwritten {
		next[f] = s.active[f]
	}
	for _, f := range stored {
		next[f.ID] = *f
	}
	s.active = next
	return true
}

func (s *Switch) hold(f Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		s.active = map[id.Freeze]Freeze{}
	}
	if s.unwritten == nil {
		s.unwritten = map[id.Freeze]progress{}
	}
	s.active[f.ID], s.unwritten[f.ID] = f, thrown
	s.moves++
}

func (s *Switch) owe(f id.Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwritten[f] = owed
}

func (s *Switch) held(f id.Freeze) (Freeze, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	held, ok := s.active[f]
	return held, ok
}

func (s *Switch) far(f id.Freeze) progress {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.unwritten[f]
}

func (s *Switch) written(f id.Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unwritten, f)
	s.moves++
}

func (s *Switch) release(f id.Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, f)
	delete(s.unwritten, f)
	s.moves++
}

func (f *Freeze) event(verb, actor string, now time.Time) audit.Event {
	return audit.Event{At: now, Org: f.Org, Verb: verb, Actor: actor, Object: string(f.ID), Data: map[string]string{"kind": string(f.Kind), "target": f.Target}}
}
