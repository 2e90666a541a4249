package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// Verdict is a person's answer to one approval.
type Verdict struct {
	Answer   approval.Answer
	Seen     action.Digest // the effect digest of what they looked at
	Reason   string        // for the agent, on a denial
	Channel  string        // "web", "cli"
	Level    approval.Level
	Evidence []byte // what proves presence, for a step-up
	Shown    string // token of the preview that they were shown, or ""
}

// MaxReason is how long a person's words to the agent may be.
const MaxReason = 1000

// Decide takes a person's answer. A yes lets the action run as soon as the
// claim loop sees it; a no ends it.
func (b *Broker) Decide(ctx context.Context, p user.Principal, ap id.Approval, v Verdict, now time.Time) (Held, error) {
	h, err := b.Queue.ByApproval(ctx, b.Org, ap)
	if err != nil {
		return Held{}, err
	}
	if err := b.mayAnswer(ctx, p, h, now); err != nil {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	if len(v.Reason) > MaxReason {
		return Held{}, fault.New(fault.Invalid, "reason_too_long", fmt.Sprintf("The reason may have at most %d bytes.", MaxReason))
	}
	// A no is taken whatever it was said in view of.
	if h.Approval.Precondition, err = b.Shown(ctx, p, h, v.Shown); err != nil && (v.Answer == approval.Yes || !errors.Is(err, ErrShown)) {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	if v.Answer == approval.Yes && v.Level >= approval.StepUp {
		// Whoever calls us may be wrong about presence; the evidence cannot be.
		if err := b.present(ctx, p.User, h.Approval, v.Evidence); err != nil {
			return Held{}, b.refusedPerson(ctx, p, h, err, now)
		}
	}
	d := approval.Decider{User: p.User, Channel: v.Channel, Level: v.Level, Evidence: v.Evidence, Precondition: h.Approval.Precondition}
	err = b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: -1, Apply: func(a *action.Action, pr *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		if pr.ID != ap {
			return nil, nil, approval.ErrNotOpen // asked again meanwhile
		}
		decided, err := pr.Decide(v.Answer, d, v.Seen, v.Reason, now)
		if err != nil {
			return nil, nil, err
		}
		var moved audit.Event
		if v.Answer == approval.Yes {
			moved, err = a.Approve(p.Actor(), now)
		} else {
			moved, err = a.Deny(p.Actor(), deniedWhy(v.Reason), now)
		}
		return []audit.Event{decided, moved}, nil, err
	}})
	if err != nil {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	return b.Queue.ByApproval(ctx, b.Org, ap)
}

// present verifies that who's passkey was touched for this very approval.
func (b *Broker) present(ctx context.Context, who id.User, p *approval.Approval, evidence []byte) error {
	return user.CheckEvidence(ctx, b.Users.Passkeys(), b.Org, who, evidence, p.Digest(approval.Yes))
}

func deniedWhy(reason string) string {
	if reason = strings.TrimSpace(reason); reason == "" {
		return "denied"
	}
	return "denied: " + reason
}

// refusedPerson records that a person was refused; it returns the refusal.
func (b *Broker) refusedPerson(ctx context.Context, p user.Principal, h Held, refusal error, now time.Time) error {
	f := fault.From(refusal)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		return refusal
	}
	e := p.Event("approval.refused", string(h.Approval.ID), h.Action.User, now, map[string]string{"reason": f.Reason})
	if err := b.Refusals.Store.Refuse(context.WithoutCancel(ctx), nil, []audit.Event{e}); err != nil {
		return err
	}
	return recorded{refusal}
}

// mayAnswer says whether p may answer: a logged-in person who is still
// active, who is among the approvers that today's rules name, or, where they
// name none, owns the connection.
func (b *Broker) mayAnswer(ctx context.Context, p user.Principal, h Held, now time.Time) error {
	if p.User == "" || p.Operator {
		return user.ErrLogin
	}
	if err := p.MayChange(); err != nil {
		return err
	}
	return b.approver(ctx, p.User, h, now)
}

func (b *Broker) approver(ctx context.Context, who id.User, h Held, now time.Time) error {
	u, err := b.Users.User(ctx, b.Org, who)
	if err != nil {
		return err
	}
	if u.Status != user.Active || u.Role == user.Auditor {
		return ErrNotApprover
	}
	owns := who == h.Action.User
	j, err := b.rejudge(ctx, h.Action, now)
	if err != nil || len(j.decision.Approvers) == 0 {
		// What cannot be judged now is refused when it is executed; who may say
		// no to it does not change.
		if owns {
			return nil
		}
		return ErrNotApprover
	}
	// Each form of entry is compared with one thing only, so that nobody becomes
	// an approver by what they call themselves.
	is := func(entry string) bool {
		role, isRole := strings.CutPrefix(entry, "role:")
		switch {
		case isRole:
			return role == string(u.Role)
		case entry == "connection-owner":
			return owns
		case strings.HasPrefix(entry, "usr_"):
			return entry == string(u.ID)
		}
		return entry == u.Name
	}
	if !j.decision.MayApprove(is) {
		return ErrNotApprover
	}
	return nil
}
