package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// cooled refuses what a person said no to a while ago, and not again for now:
// the same operation on the same resource, by the same agent with the same
// connection.
func (b *Broker) cooled(ctx context.Context, a *action.Action, now time.Time) error {
	noes, err := keep(ctx, b, a.Agent, func(k *authority) map[id.Agent][]Held { return k.noes }, func() ([]Held, error) {
		return b.Queue.Cooling(ctx, b.Org, a.Agent, now)
	})
	if err != nil {
		return err
	}
	for _, h := range noes {
		if holdsBack(h, a, now) {
			return deniedRecently(h)
		}
	}
	return nil
}

// holdsBack reports whether a denial is one of a's kind, and lasts.
func holdsBack(h Held, a *action.Action, now time.Time) bool {
	was := h.Action
	return now.Before(h.Approval.CoolUntil) && was.Agent == a.Agent && was.Connection == a.Connection &&
		was.Operation == a.Operation && was.Resource == a.Resource
}

// deniedRecently tells the agent, in the person's words where there are any.
func deniedRecently(h Held) error {
	said := fmt.Sprintf("A person said no to this, and not to ask again before %s.", h.Approval.CoolUntil.UTC().Format("2006-01-02 15:04 UTC"))
	if h.Approval.Reason != "" {
		said += " Their words: " + h.Approval.Reason
	}
	return fault.New(fault.Forbidden, "denied_recently", said)
}
