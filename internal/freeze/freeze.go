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
	"encoding/json"
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

// Journal is the record outside the database. Append is durable when it
// returns.
type Journal interface {
	Append(kind string, data json.RawMessage) error
}

// ErrFrozen refuses everything that is frozen.
var ErrFrozen = fault.New(fault.Forbidden, "frozen", "This was frozen by a person; nothing happens until an owner lifts the freeze.")

// Switch is the set of freezes in force. It is safe for concurrent use.
type Switch struct {
	Store   Store
	Journal Journal
	Log     *slog.Logger
	// Thrown, if set, is called after each new freeze, so that calls in flight
	// can be cancelled.
	Thrown func(Freeze)

	mu     sync.RWMutex
	active map[id.Freeze]Freeze
}

// Load takes the freezes in force from the database and from journal entries
// that never reached it, and writes those down.
func (s *Switch) Load(ctx context.Context, org id.Org, entries []json.RawMessage) error {
	stored, err := s.Store.ActiveFreezes(ctx, org)
	if err != nil {
		return fmt.Errorf("load freezes: %w", err)
	}
	s.mu.Lock()
	s.active = make(map[id.Freeze]Freeze, len(stored))
	for _, f := range stored {
		s.active[f.ID] = *f
	}
	s.mu.Unlock()
	lifted := map[id.Freeze]bool{}
	var pending []Freeze
	for _, raw := range entries {
		var f Freeze
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("read freeze journal: %w", err)
		}
		if !f.LiftedAt.IsZero() {
			lifted[f.ID] = true
			continue
		}
		pending = append(pending, f)
	}
	for _, f := range pending {
		s.mu.RLock()
		_, known := s.active[f.ID]
		s.mu.RUnlock()
		if known || lifted[f.ID] || f.Org != org {
			continue
		}
		s.hold(f)
		if err := s.Store.CreateFreeze(ctx, &f, []audit.Event{f.event("freeze.replayed", f.By, f.At)}); err != nil {
			if fault.From(err).Reason != "exists" {
				return fmt.Errorf("replay freeze %s: %w", f.ID, err)
			}
			// The database has seen it and it was lifted since.
			s.release(f.ID)
		}
	}
	return nil
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
	raw, err := json.Marshal(f)
	if err != nil {
		return f, fmt.Errorf("encode freeze: %w", err)
	}
	journalErr := s.Journal.Append("freeze", raw)
	storeErr := s.Store.CreateFreeze(context.WithoutCancel(ctx), &f, []audit.Event{f.event("freeze.thrown", actor, now)})
	if err := errors.Join(journalErr, storeErr); err != nil {
		s.Log.ErrorContext(ctx, "freeze holds in memory but was not recorded everywhere", slog.String("freeze", string(f.ID)), slog.Any("error", err))
		if journalErr != nil && storeErr != nil {
			return f, fault.New(fault.Unavailable, "freeze_not_durable", "The freeze holds now, but could be written nowhere: it would not survive a restart. Check the disk.").Because(err)
		}
	}
	return f, nil
}

// Lift ends a freeze. Unlike Throw it fails when it cannot be recorded.
func (s *Switch) Lift(ctx context.Context, org id.Org, f id.Freeze, actor string, now time.Time) error {
	var lifted Freeze
	err := s.Store.UpdateFreeze(ctx, org, f, func(f *Freeze) ([]audit.Event, error) {
		if !f.LiftedAt.IsZero() {
			return nil, fault.New(fault.Conflict, "not_frozen", "This freeze was lifted already.")
		}
		f.LiftedAt = now
		lifted = *f
		return []audit.Event{f.event("freeze.lifted", actor, now)}, nil
	})
	if err != nil {
		return err
	}
	raw, err := json.Marshal(lifted)
	if err != nil {
		return fmt.Errorf("encode freeze: %w", err)
	}
	if err := s.Journal.Append("freeze", raw); err != nil {
		// The database knows it is lifted, and a replay finds it there.
		s.Log.WarnContext(ctx, "lifted freeze not in journal", slog.String("freeze", string(f)), slog.Any("error", err))
	}
	s.release(f)
	return nil
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

// Refresh replaces the set by what the database says, keeping what this
// process froze and could not write down.
func (s *Switch) Refresh(ctx context.Context, org id.Org) error {
	stored, err := s.Store.ActiveFreezes(ctx, org)
	if err != nil {
		return fmt.Errorf("refresh freezes: %w", err)
	}
	for _, f := range stored {
		s.hold(*f)
	}
	return nil
}

func (s *Switch) hold(f Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		s.active = map[id.Freeze]Freeze{}
	}
	s.active[f.ID] = f
}

func (s *Switch) release(f id.Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, f)
}

func (f *Freeze) event(verb, actor string, now time.Time) audit.Event {
	return audit.Event{At: now, Org: f.Org, Verb: verb, Actor: actor, Object: string(f.ID), Data: map[string]string{"kind": string(f.Kind), "target": f.Target}}
}
