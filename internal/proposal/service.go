package proposal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/user"
)

// Store keeps proposals. Each method commits its change and its events
// together, or neither.
type Store interface {
	// CreateProposal stores a new one, unless its proposer has most open ones
	// already: then it fails with [ErrTooMany].
	CreateProposal(ctx context.Context, p *Proposal, most int, events []audit.Event) error
	Proposal(ctx context.Context, org id.Org, p id.Proposal) (*Proposal, error)
	// OpenProposals lists those that nobody has decided, newest first.
	OpenProposals(ctx context.Context, org id.Org) ([]*Proposal, error)
	UpdateProposal(ctx context.Context, org id.Org, p id.Proposal, change func(*Proposal) ([]audit.Event, error)) error
	// ForgetProposals removes those that were made before a moment, without an
	// event: what became of them is in the log.
	ForgetProposals(ctx context.Context, org id.Org, before time.Time) error
}

// Service keeps proposals and has them carried out. All fields must be set.
type Service struct {
	Org   id.Org
	Store Store
	Keys  *seal.Keyring
	// Passkeys are those that evidence is checked against.
	Passkeys user.PasskeyStore
	// Perform carries a request out in the name of p, through the route that it
	// names, and returns what that answers.
	Perform func(ctx context.Context, p user.Principal, r Request) (status int, answer []byte)
	Log     *slog.Logger
}

// Shown is a proposal with what it holds, as far as whoever looks may see it.
type Shown struct {
	*Proposal
	Request []byte // the body; nil where there is none, and once it was decided
	Outcome []byte // the answer, for who proposed it and who confirmed it
	// MayDecide says why who looks may not answer it, or is nil.
	MayDecide error
}

// place is where a sealed part of p stands. The key is one of the day, as for
// every payload.
func place(p *Proposal, column string) seal.Place {
	return seal.Place{Key: seal.PayloadKey(p.Org, p.CreatedAt), Org: p.Org, Table: "proposals", Row: string(p.ID), Column: column}
}

// Open makes a proposal of what p asked for and may not do from where they are.
func (s *Service) Open(ctx context.Context, p user.Principal, r Request, now time.Time) (*Proposal, error) {
	v := New(p, r, now)
	if len(r.Body) > 0 {
		var err error
		if v.Body, err = s.Keys.SealBytes(ctx, place(v, "body"), r.Body); err != nil {
			return nil, err
		}
	}
	if err := s.Store.CreateProposal(ctx, v, Most, []audit.Event{v.Opened(now)}); err != nil {
		return nil, err
	}
	return v, nil
}

// Get returns a proposal to who proposed it and to who may decide it. To
// everybody else there is none.
func (s *Service) Get(ctx context.Context, p user.Principal, which id.Proposal, now time.Time) (Shown, error) {
	v, err := s.Store.Proposal(ctx, s.Org, which)
	if err != nil {
		return Shown{}, err
	}
	if !v.proposer(p) && !v.decider(p) {
		return Shown{}, ErrUnknown
	}
	out := Shown{Proposal: v, MayDecide: v.mayDecide(p)}
	if out.MayDecide == nil {
		out.MayDecide = v.open(now)
	}
	if out.Request, err = s.body(ctx, v); err != nil {
		return Shown{}, err
	}
	if len(v.Answer) > 0 && (v.proposer(p) || v.DecidedBy == p.User && p.Kind == user.Browser) {
		if out.Outcome, err = s.Keys.OpenBytes(ctx, place(v, "answer"), v.Answer); err != nil {
			return Shown{}, err
		}
	}
	return out, nil
}

// body opens the body of v, and makes sure that it is the one of its digest.
// When it was destroyed there is nothing to compare.
func (s *Service) body(ctx context.Context, v *Proposal) ([]byte, error) {
	if v.State != Open && v.State != Confirmed || v.Status != 0 {
		return nil, nil
	}
	var plain []byte
	if len(v.Body) > 0 {
		var err error
		if plain, err = s.Keys.OpenBytes(ctx, place(v, "body"), v.Body); err != nil {
			return nil, err
		}
	}
	if v.digest(plain) != v.Digest {
		return nil, fmt.Errorf("open proposal %s: its content is not that of its digest", v.ID)
	}
	return plain, nil
}

// Waiting lists the open proposals that p may decide, newest first.
func (s *Service) Waiting(ctx context.Context, p user.Principal, now time.Time) ([]*Proposal, error) {
	all, err := s.Store.OpenProposals(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	var out []*Proposal
	for _, v := range all {
		if v.mayDecide(p) == nil && v.open(now) == nil {
			out = append(out, v)
		}
	}
	return out, nil
}

// Confirm has a proposal carried out in p's name. The evidence is of a touch of
// p's passkey for seen, which is the digest of what p saw.
func (s *Service) Confirm(ctx context.Context, p user.Principal, which id.Proposal, seen [sha256.Size]byte, evidence []byte, now time.Time) (*Proposal, error) {
	v, err := s.Store.Proposal(ctx, s.Org, which)
	if err != nil {
		return nil, err
	}
	// Opened before it is claimed: what cannot be read stays as it is.
	body, err := s.body(ctx, v)
	if err != nil {
		return nil, err
	}
	trial := *v
	if _, err := trial.Confirm(p, seen, evidence, now); err != nil {
		return nil, err
	}
	if err := user.CheckEvidence(ctx, s.Passkeys, s.Org, p.User, evidence, v.Digest); err != nil {
		return nil, err
	}
	err = s.Store.UpdateProposal(ctx, s.Org, which, func(u *Proposal) ([]audit.Event, error) {
		e, err := u.Confirm(p, seen, evidence, now)
		v = u
		return []audit.Event{e}, err
	})
	if err != nil {
		return nil, err
	}
	// From here it is carried out whether or not anybody waits for it.
	ctx = context.WithoutCancel(ctx)
	p.AuthAt = now // the touch was for this very request
	status, answer := s.Perform(ctx, p, Request{Method: v.Method, Path: v.Path, Query: v.Query, Body: body})
	var sealed []byte
	if len(answer) > 0 {
		if sealed, err = s.Keys.SealBytes(ctx, place(v, "answer"), answer); err != nil {
			return nil, fmt.Errorf("keep the answer to %s: %w", which, err)
		}
	}
	err = s.Store.UpdateProposal(ctx, s.Org, which, func(u *Proposal) ([]audit.Event, error) {
		e, err := u.Finish(status, sealed, now)
		v = u
		return []audit.Event{e}, err
	})
	return v, err
}

// Refuse ends a proposal with p's no.
func (s *Service) Refuse(ctx context.Context, p user.Principal, which id.Proposal, now time.Time) error {
	return s.Store.UpdateProposal(ctx, s.Org, which, func(v *Proposal) ([]audit.Event, error) {
		e, err := v.Refuse(p, now)
		return []audit.Event{e}, err
	})
}

// sweepEvery is how often what has run out is destroyed.
const sweepEvery = time.Minute

// Run destroys what has run out, until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			if err := s.Sweep(ctx, now); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "proposals not swept", slog.Any("error", err))
			}
		}
	}
}

// Sweep ends the proposals that nobody answered in time, and forgets those that
// are a day old.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	all, err := s.Store.OpenProposals(ctx, s.Org)
	if err != nil {
		return err
	}
	for _, v := range all {
		if now.Before(v.ExpiresAt) {
			continue
		}
		err := s.Store.UpdateProposal(ctx, s.Org, v.ID, func(v *Proposal) ([]audit.Event, error) {
			e, err := v.Expire(now)
			return []audit.Event{e}, err
		})
		if err != nil && fault.From(err).Reason != ErrNotOpen.Reason { // somebody was faster
			return err
		}
	}
	return s.Store.ForgetProposals(ctx, s.Org, now.Add(-Kept))
}
