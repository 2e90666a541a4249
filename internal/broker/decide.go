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
	// Cooldown, with a no, is how long equal requests are refused without asking.
	Cooldown time.Duration
	// Relief, with a yes, is how many more of the kind are let through without
	// asking, for [approval.ReliefFor].
	Relief int
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
	j, err := b.mayAnswer(ctx, p, h, now)
	if err != nil {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	if err := v.check(); err != nil {
		return Held{}, err
	}
	if len(v.Reason) > MaxReason {
		return Held{}, fault.New(fault.Invalid, "reason_too_long", fmt.Sprintf("The reason may have at most %d bytes.", MaxReason))
	}
	// A no is taken whatever it was said in view of.
	shown, err := b.Shown(ctx, p, h, v.Shown)
	if err != nil && (v.Answer == approval.Yes || !errors.Is(err, ErrShown)) {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	if v.Answer == approval.Yes && v.Level >= approval.StepUp {
		// Whoever calls us may be wrong about presence; the evidence cannot be.
		if err := b.present(ctx, p.User, h.Approval, shown, v.Evidence); err != nil {
			return Held{}, b.refusedPerson(ctx, p, h, err, now)
		}
	}
	var relief *approval.Relief
	if v.Relief > 0 {
		if relief, err = b.relieve(p, h, j, v.Relief, now); err != nil {
			return Held{}, b.refusedPerson(ctx, p, h, err, now)
		}
	}
	d := approval.Decider{User: p.User, Channel: v.Channel, Level: v.Level, Evidence: v.Evidence, Precondition: shown}
	err = b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: -1, Relief: relief, Authority: v.Cooldown > 0, Apply: func(a *action.Action, pr *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		if pr.ID != ap {
			return nil, nil, approval.ErrNotOpen // asked again meanwhile
		}
		decided, err := pr.Decide(v.Answer, d, v.Seen, v.Reason, now)
		if err != nil {
			return nil, nil, err
		}
		events := []audit.Event{decided}
		if relief != nil {
			events = append(events, relief.Given(now))
		}
		var moved audit.Event
		switch {
		case pr.Status == approval.Open:
			return events, nil, nil // a vote: it waits for others
		case v.Answer == approval.Yes:
			moved, err = a.Approve(p.Actor(), now)
		default:
			if v.Cooldown > 0 {
				pr.CoolUntil = now.Add(v.Cooldown)
				events[0].Data["cool_until"] = pr.CoolUntil.UTC().Format(time.RFC3339)
			}
			moved, err = a.Deny(p.Actor(), deniedWhy(v.Reason), now)
		}
		return append(events, moved), nil, err
	}})
	if err != nil {
		return Held{}, b.refusedPerson(ctx, p, h, err, now)
	}
	return b.Queue.ByApproval(ctx, b.Org, ap)
}

// The bounds of a cooldown.
const (
	MinCooldown = time.Minute
	MaxCooldown = 24 * time.Hour
)

func (v Verdict) check() error {
	switch {
	case v.Cooldown != 0 && v.Answer != approval.No:
		return fault.New(fault.Invalid, "bad_cooldown", "Only a no holds back what comes after it.")
	case v.Cooldown != 0 && (v.Cooldown < MinCooldown || v.Cooldown > MaxCooldown):
		return fault.New(fault.Invalid, "bad_cooldown", "A no holds back equal requests for 1 minute to 24 hours.")
	case v.Relief != 0 && v.Answer != approval.Yes:
		return fault.New(fault.Invalid, "bad_relief", "Only a yes lets more of the kind through.")
	case v.Relief < 0 || v.Relief > approval.MaxRelief:
		return approval.ErrReliefMost
	}
	return nil
}

// present verifies that who's passkey was touched for this very approval, in
// view of what they were shown.
func (b *Broker) present(ctx context.Context, who id.User, p *approval.Approval, precondition string, evidence []byte) error {
	return user.CheckEvidence(ctx, b.Users.Passkeys(), b.Org, who, evidence, p.DigestOf(approval.Yes, precondition))
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

// mayAnswer says whether p may answer: a logged-in person whom [mayApprove]
// accepts. It returns what today's rules say, or nil where that cannot be
// known.
func (b *Broker) mayAnswer(ctx context.Context, p user.Principal, h Held, now time.Time) (*judgement, error) {
	if p.User == "" || p.Operator {
		return nil, user.ErrLogin
	}
	if err := p.MayChange(); err != nil {
		return nil, err
	}
	j, err := b.rejudge(ctx, h.Action, now)
	if err != nil {
		// What cannot be judged now is refused when it is executed; who may say
		// no to it does not change.
		j = nil
	}
	return j, b.mayApprove(ctx, p.User, h.Action, j)
}
