package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/user"
)

// payloadPlace is where a request or an answer is sealed: under the key of its
// org and day, so that a day can be shredded as a whole.
func payloadPlace(a *action.Action, part string) seal.Place {
	return seal.Place{Key: seal.PayloadKey(a.Org, a.CreatedAt), Org: a.Org, Table: "payloads", Row: string(a.ID), Column: part}
}

// repeat finds the action that a repeat of a attaches to, or nil.
func (b *Broker) repeat(ctx context.Context, a *action.Action, now time.Time) (*Outcome, error) {
	byKey, byEffect, err := b.Store.Repeats(ctx, a.Org, a.Agent, a.Key, a.Effect)
	if err != nil {
		return nil, err
	}
	if byKey != nil && byKey.Attaches(now) {
		if byKey.Effect != a.Effect {
			return nil, ErrKeyReused
		}
		return b.attach(ctx, byKey)
	}
	if a.Key == "" && byEffect != nil && byEffect.Attaches(now) {
		return b.attach(ctx, byEffect)
	}
	return nil, nil
}

// maxRepeats is where counting repeats ends.
const maxRepeats = 9999

// again is what a repeat gets, counted: whoever is asked sees how often.
func (b *Broker) again(ctx context.Context, out *Outcome) (Outcome, error) {
	if out.Action.State != action.Pending || out.Approval.Repeats >= maxRepeats {
		return *out, nil
	}
	err := b.Store.Move(ctx, b.Org, out.Action.ID, Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		if p.Status != approval.Open {
			return nil, nil, approval.ErrNotOpen
		}
		p.Repeats++
		return nil, nil, nil
	}})
	if err != nil && !errors.Is(err, approval.ErrNotOpen) {
		return Outcome{}, err
	}
	return *out, nil
}

func (b *Broker) attach(ctx context.Context, a *action.Action) (*Outcome, error) {
	h, err := b.Store.Held(ctx, a.Org, a.ID)
	if err != nil {
		return nil, err
	}
	return &Outcome{Action: h.Action, Approval: h.Approval, Replayed: true, Explain: h.Approval.Why}, nil
}

// hold parks an action for its humans.
func (b *Broker) hold(ctx context.Context, c agent.Caller, a *action.Action, req *action.Request, j *judgement, level approval.Level, epoch int64, now time.Time) (Outcome, error) {
	p := b.ticket(a, j, level, now)
	held, err := a.Hold(p.ID, p.ExpiresAt, now)
	if err != nil {
		return Outcome{}, err
	}
	asked, err := b.asked(ctx, a, j)
	if err != nil {
		return Outcome{}, err
	}
	if len(asked) < p.Needs() {
		return Outcome{}, noApprovers(len(asked), p.Needs())
	}
	sealed, err := b.Keys.SealBytes(ctx, payloadPlace(a, "request"), req.Encode())
	if err != nil {
		return Outcome{}, fmt.Errorf("seal request of %s: %w", a.ID, err)
	}
	err = b.Store.Hold(ctx, Hold{
		Epoch: epoch, Proofs: c.Proofs, Action: a, Approval: p, Request: sealed, MaxOpen: MaxPending, Asked: asked, MaxAsked: b.MaxAsked,
		Events: []audit.Event{held, p.Opened(a, c.Actor(), now)},
	})
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Action: a, Approval: p, Explain: p.Why}, nil
}

// ticket opens the approval that a judgement asks for.
func (b *Broker) ticket(a *action.Action, j *judgement, level approval.Level, now time.Time) *approval.Approval {
	ttl := j.decision.Expires
	if ttl <= 0 {
		ttl = DefaultExpiry
	}
	p := approval.New(a, level, ttl, now)
	p.PolicyVersion, p.SpecHash = j.decision.PolicyVersion, j.specHash
	if j.decision.Quorum > 1 {
		p.Quorum = j.decision.Quorum
	}
	for _, r := range j.decision.Rules {
		p.Rules = append(p.Rules, r.String())
	}
	p.Why = slices.Clone(j.facts)
	for _, s := range j.decision.Explain() {
		if !slices.Contains(p.Why, s) { // the decision tells the facts, too
			p.Why = append(p.Why, s)
		}
	}
	if s := j.lack.warning(); s != "" {
		p.Why = append(p.Why, s)
	}
	p.Impact, p.Scopes = j.match.Summary, j.match.Scopes
	return p
}

// Get returns one of the caller's held actions, and notes that its outcome was
// seen. Somebody else's action looks like a missing one.
func (b *Broker) Get(ctx context.Context, c agent.Caller, a id.Action, now time.Time) (Held, error) {
	h, err := b.Store.Held(ctx, b.Org, a)
	if err != nil {
		return Held{}, err
	}
	if h.Action.Agent != c.Agent {
		return Held{}, ErrUnknown
	}
	if h.Action.State.Final() && h.Action.FetchedAt.IsZero() {
		err := b.Store.Move(ctx, b.Org, a, Move{Epoch: -1, Apply: func(a *action.Action, _ *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			a.FetchedAt = now
			return nil, nil, nil
		}})
		if err != nil {
			return Held{}, err
		}
		h.Action.FetchedAt = now
	}
	return h, nil
}

// Await returns the caller's action when it has moved on from state, when it
// has ended, or when ctx is done; then as it stands.
func (b *Broker) Await(ctx context.Context, c agent.Caller, a id.Action, from action.State) (Held, error) {
	woken, done := b.waiters.join(string(a))
	defer done()
	for {
		h, err := b.Get(context.WithoutCancel(ctx), c, a, time.Now())
		if err != nil || h.Action.State.Final() || from != "" && h.Action.State != from {
			return h, err
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return h, nil
		}
	}
}

// Mine lists the caller's held actions, newest first.
func (b *Broker) Mine(ctx context.Context, c agent.Caller, before time.Time, limit int) ([]*action.Action, error) {
	return b.Queue.OfAgent(ctx, b.Org, c.Agent, before, min(max(limit, 1), 100))
}

// ByKey returns the caller's newest held action with this idempotency key.
func (b *Broker) ByKey(ctx context.Context, c agent.Caller, key string) (*action.Action, error) {
	byKey, _, err := b.Store.Repeats(ctx, b.Org, c.Agent, key, action.Digest{})
	if err == nil && byKey == nil {
		err = ErrUnknown
	}
	return byKey, err
}

// Cancel takes back an open action of the caller's.
func (b *Broker) Cancel(ctx context.Context, c agent.Caller, a id.Action, now time.Time) (Held, error) {
	if _, err := b.Get(ctx, c, a, now); err != nil {
		return Held{}, b.refuse(ctx, c, "action", err, now)
	}
	err := b.Store.Move(ctx, b.Org, a, Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		cancelled, err := a.Cancel(now)
		if err != nil {
			return nil, nil, err
		}
		withdrawn, err := p.Withdraw(c.Actor(), "cancelled", now)
		return []audit.Event{cancelled, withdrawn}, nil, err
	}})
	if err != nil {
		return Held{}, b.refuse(ctx, c, "action", err, now)
	}
	return b.Store.Held(ctx, b.Org, a)
}

// Request opens the frozen request of a held action, for whoever may see it.
func (b *Broker) Request(ctx context.Context, a *action.Action) (*action.Request, error) {
	sealed, err := b.Store.Payload(ctx, a.Org, a.ID, "request")
	if err != nil {
		return nil, err
	}
	plain, err := b.Keys.OpenBytes(ctx, payloadPlace(a, "request"), sealed)
	if err != nil {
		return nil, fmt.Errorf("open request of %s: %w", a.ID, err)
	}
	return action.DecodeRequest(plain)
}

// Inbox lists approvals of a status that p may answer or look at, newest first.
func (b *Broker) Inbox(ctx context.Context, p user.Principal, status approval.Status, before time.Time, limit int) ([]Held, error) {
	whose := p.User
	if p.Operator || p.Role.Manages() || p.Role == user.Auditor {
		whose = ""
	}
	return b.Queue.Inbox(ctx, b.Org, whose, status, before, min(max(limit, 1), 200))
}

// Shown is a held action as a person sees it.
type Shown struct {
	Held
	Request   *action.Request // nil when its content is gone, or not for p's eyes
	MayAnswer bool
	// Voted says that this person said yes already, and can only say no now.
	Voted bool
	// Relievable says that a yes may let more of the kind through.
	Relievable bool
	WhyNot     error // why this person may not answer, whatever its state; or nil
}

// Show returns an approval with the exact request, for people who may see it:
// the owner of the connection, and whoever may answer. Others with a right to
// look get the facts without the content.
func (b *Broker) Show(ctx context.Context, p user.Principal, ap id.Approval, now time.Time) (Shown, error) {
	h, err := b.Queue.ByApproval(ctx, b.Org, ap)
	if err != nil {
		return Shown{}, err
	}
	j, unfit := b.mayAnswer(ctx, p, h, now)
	answers := unfit == nil
	owner := p.User != "" && p.User == h.Action.User
	looks := p.Operator || p.Role.Manages() || p.Role == user.Auditor
	if !answers && !owner && !looks {
		return Shown{}, ErrUnknown
	}
	s := Shown{Held: h, MayAnswer: answers && h.Approval.Status == approval.Open && now.Before(h.Approval.ExpiresAt)}
	s.Voted = s.MayAnswer && h.Approval.VotedBy(p.User)
	s.Relievable = s.MayAnswer && !s.Voted && b.relievable(h, j)
	s.WhyNot = unfit
	if answers || owner || p.Operator {
		s.Request, err = b.Request(ctx, h.Action)
		if fault.From(err).Reason == ErrNoPayload.Reason {
			err = nil
		}
	}
	return s, err
}

// Find returns the held action with this id, for a person; see Show.
func (b *Broker) Find(ctx context.Context, p user.Principal, a id.Action, now time.Time) (Shown, error) {
	h, err := b.Store.Held(ctx, b.Org, a)
	if err != nil {
		return Shown{}, err
	}
	return b.Show(ctx, p, h.Approval.ID, now)
}
