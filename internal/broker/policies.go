package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
)

// Policies keeps the rules in force compiled.
type Policies struct {
	Org   id.Org
	Store PolicyStore
	Epoch func(context.Context) (int64, error)

	mu    sync.Mutex
	epoch int64
	set   *policy.Set
	saved map[id.Policy]string // who saved a text last, as an actor
}

// Set returns the rules in force. Rules that cannot be read are an error: then
// nothing is judged, and nothing happens.
func (p *Policies) Set(ctx context.Context) (*policy.Set, error) {
	epoch, err := p.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.set != nil && p.epoch == epoch {
		return p.set, nil
	}
	docs, err := p.All(ctx)
	if err != nil {
		return nil, err
	}
	sources := make([]policy.Source, len(docs))
	saved := map[id.Policy]string{}
	for i, d := range docs {
		saved[d.ID] = d.UpdatedBy
		sources[i] = policy.Source{ID: d.ID, Name: d.Name, Owner: d.Owner, Text: d.Text}
	}
	set, err := policy.Compile(sources)
	if err != nil {
		return nil, fmt.Errorf("compile policies: %w", err)
	}
	p.epoch, p.set, p.saved = epoch, set, saved
	return set, nil
}

// All lists the stored policies, with the default that ships where the org has
// not saved its own.
func (p *Policies) All(ctx context.Context) ([]*policy.Document, error) {
	docs, err := p.Store.Policies(ctx, p.Org)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		if d.ID == policy.DefaultID {
			return docs, nil
		}
	}
	def := policy.Default()
	return append([]*policy.Document{{Org: p.Org, ID: def.ID, Name: def.Name, Text: def.Text}}, docs...), nil
}

// Save checks a policy text and puts it in force.
func (p *Policies) Save(ctx context.Context, who user.Principal, d policy.Document, now time.Time) error {
	place := who.MayManage()
	if d.Owner != "" {
		place = who.MayActFor(d.Owner)
	}
	// Where somebody may not do it from here, it is put to people as a proposal:
	// that is the answer only to rules that could be saved.
	elsewhere := errors.Is(place, user.ErrSocket) || errors.Is(place, user.ErrCLI)
	if place != nil && !elsewhere {
		return place
	}
	if problems := policy.Check(d.Text); len(problems) > 0 {
		return fault.New(fault.Invalid, "bad_policy", policy.Problems(problems).Error())
	}
	docs, err := p.All(ctx)
	if err != nil {
		return err
	}
	// The whole set must still compile: two texts may clash.
	sources := []policy.Source{{ID: d.ID, Name: d.Name, Owner: d.Owner, Text: d.Text}}
	for _, o := range docs {
		if o.ID != d.ID {
			sources = append(sources, policy.Source{ID: o.ID, Name: o.Name, Owner: o.Owner, Text: o.Text})
		}
	}
	set, err := policy.Compile(sources)
	if err != nil {
		return fault.New(fault.Invalid, "bad_policy", err.Error())
	}
	for _, p := range set.Broken() {
		if d.Owner != "" && p.Source == d.Name {
			return fault.New(fault.Invalid, "bad_policy", p.String())
		}
	}
	if elsewhere {
		return place
	}
	if d.ID == "" {
		d.ID = id.NewPolicy()
	}
	d.Org, d.UpdatedBy, d.UpdatedAt = p.Org, who.Actor(), now
	e := who.Event("policy.saved", string(d.ID), d.Owner, now, map[string]string{"name": d.Name, "version": set.Version()})
	return p.Store.PutPolicy(ctx, &d, []audit.Event{e})
}

// SavedBy names who saved a text last, as the log does; "" for one that ships.
func (p *Policies) SavedBy(ctx context.Context, ref id.Policy) (string, error) {
	if _, err := p.Set(ctx); err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved[ref], nil
}
