package broker

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/vault"
)

// targetChanged is why something is asked again that was approved in view of
// what has become something else.
const targetChanged = "target_changed"

// retryUnread is how long an approved action is left alone whose target cannot
// be looked at.
const retryUnread = time.Minute

// errUnread says that it cannot be told whether what was shown is still there.
var errUnread = fault.New(fault.Unavailable, "target_unread", "What this would change cannot be read at the moment, so it is not known whether it is still what was approved; it is tried again.")

// standing of what an approver was shown, at execution. It stands in the event
// of the claim.
const (
	targetHeld   = "held"   // it is as it was shown
	targetUnread = "unread" // it could not be read, and the operation does not insist
)

// unmoved looks again at what the approvers were shown, and says how it stands;
// moved means that it is something else, for at least one of them. Where the description of the provider
// no longer says how to look, it counts as moved: nobody knows.
func (b *Broker) unmoved(ctx context.Context, h Held, req *action.Request, p *vault.Provider, epoch int64, now time.Time) (how string, moved bool, err error) {
	shown := h.Approval.Preconditions()
	switch len(shown) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", true, nil // it moved between their answers, and is not what both saw
	}
	con, err := b.Conns.Connection(ctx, b.Org, h.Action.Connection)
	if err != nil {
		return "", false, err
	}
	plan, err := planned(p.Spec, req)
	if err != nil {
		return "", false, err
	}
	if plan == nil {
		return "", true, nil
	}
	found, err := b.observe(ctx, observer{actor: "system", held: h, con: con, prov: p, plan: plan, epoch: epoch, now: now})
	if err != nil {
		return "", false, err
	}
	switch got := plan.Show(found).Precondition; {
	case got == shown[0]:
		return targetHeld, false, nil
	case got != "":
		return "", true, nil
	case plan.Strict:
		return "", false, errUnread
	}
	return targetUnread, false, nil
}
