// Package freeze is the kill switch: for an agent, a connection, a user, or
// everything.
//
// Freezing must work when nothing else does. A freeze takes hold in memory
// first, then in a journal outside the database, then in the database with its
// event; a failure of the last two is reported and never undoes the first.
// Lifting one is the opposite: it needs the database, and a person.
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
	CreateFreeze(ctx context.Context, f *Freeze, events []audit.Event) error
	ActiveFreezes(ctx context.Context, org id.Org) ([]*Freeze, error)
	UpdateFreeze(ctx context.Context, org id.Org, f id.Freeze, change func(*Freeze) ([]audit.Event, error)) error
}

// What a freeze and its end may answer.
var (
	// ErrFrozen refuses everything that is frozen.
	ErrFrozen = fault.New(fault.Forbidden, "frozen", "This was frozen by a person; nothing happens until an owner lifts the freeze.")
	ErrLifted = fault.New(fault.Conflict, "not_frozen", "This freeze was lifted already.")
)

// Switch is the set of freezes in force. It is safe for concurrent use.
type Switch struct {
	Store   Store
	Journal *audit.Journal
	Log     *slog.Logger
	// Thrown, if set, is called after each new freeze, so that calls in flight
	// can be cancelled.
	Thrown func(Freeze)

	mu        sync.RWMutex
	active    map[id.Freeze]Freeze
	unwritten map[id.Freeze]bool // in force, and not in the database as far as we know
	journaled int64              // number of the newest of our journal entries
	moves     int                // counts changes of the sets above
	epoch     int64              // of the authority that active was read under, see Sync
}

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
	last := int64(-1)
	for _, entry := range pending {
		last = entry.N
		if entry.Kind != journalKind {
			continue
		}
		f := fromEntry(entry)
		s.hold(f)
		err := s.Store.CreateFreeze(ctx, &f, []audit.Event{f.event("freeze.replayed", f.By, f.At)})
		if err != nil && fault.From(err).Reason != "exists" {
			return fmt.Errorf("replay freeze %s: %w", f.ID, err)
		}
		// The database has it; whether it was lifted since, it knows too.
		s.written(f.ID)
	}
	if last >= 0 {
		if err := s.Journal.Settle(time.Now(), last); err != nil {
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

// Throw freezes target from this moment on. The freeze holds even when err is
// not nil: the error says what could not be written down.
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
	n, journalErr := s.Journal.Append(now, journalKind, f.entry())
	if journalErr == nil {
		s.noted(n)
	}
	storeErr := s.Store.CreateFreeze(context.WithoutCancel(ctx), &f, []audit.Event{f.event("freeze.thrown", actor, now)})
	if storeErr == nil {
		s.written(f.ID)
	}
	s.settle(ctx, now)
	if err := errors.Join(journalErr, storeErr); err != nil {
		s.Log.ErrorContext(ctx, "freeze holds in memory but was not recorded everywhere", slog.String("freeze", string(f.ID)), slog.Any("error", err))
		if journalErr != nil && storeErr != nil {
			return f, fault.New(fault.Unavailable, "freeze_not_durable", "The freeze holds now, but could be written nowhere: it would not survive a restart. Check the disk.").Because(err)
		}
	}
	return f, nil
}

// settle marks the journal's entries as recorded, unless a freeze is not:
// then they are replayed at the next start.
func (s *Switch) settle(ctx context.Context, now time.Time) {
	s.mu.Lock()
	n, behind := s.journaled, len(s.unwritten) > 0
	s.mu.Unlock()
	if behind || n == 0 {
		return
	}
	if err := s.Journal.Settle(now, n); err != nil {
		s.Log.WarnContext(ctx, "freeze journal not settled; it is replayed at the next start", slog.Any("error", err))
	}
}

// Lift ends a freeze. Unlike Throw it fails when it cannot be recorded.
func (s *Switch) Lift(ctx context.Context, org id.Org, f id.Freeze, actor string, now time.Time) error {
	s.mu.RLock()
	held := s.active[f]
	missing := s.unwritten[f]
	s.mu.RUnlock()
	lift := func() error {
		return s.Store.UpdateFreeze(ctx, org, f, func(f *Freeze) ([]audit.Event, error) {
			if !f.LiftedAt.IsZero() {
				return nil, ErrLifted
			}
			f.LiftedAt = now
			return []audit.Event{f.event("freeze.lifted", actor, now)}, nil
		})
	}
	err := lift()
	if missing && fault.From(err).Kind == fault.NotFound {
		// It was thrown while the database could not be written: write it now.
		if err = s.Store.CreateFreeze(ctx, &held, []audit.Event{held.event("freeze.replayed", held.By, now)}); err == nil {
			s.written(f)
			err = lift()
		}
	}
	if err != nil && !errors.Is(err, ErrLifted) {
		return err
	}
	// Also when somebody lifted it elsewhere: the database decides.
	s.release(f)
	s.settle(ctx, now)
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
		s.unwritten = map[id.Freeze]bool{}
	}
	s.active[f.ID], s.unwritten[f.ID] = f, true
	s.moves++
}

func (s *Switch) noted(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journaled = max(s.journaled, n)
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
