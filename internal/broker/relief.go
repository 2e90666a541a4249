package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/provider"
)

// lenient reports whether a relief may answer for a human: the rules want one
// person and no passkey, and what is asked is one listed operation, below
// critical, that moves no money.
func (j *judgement) lenient() bool {
	level, asked := j.asks()
	return asked && level == approval.Approve && j.decision.Quorum <= 1 && j.match.Listed && j.risk < provider.Critical && j.amount == ""
}

// relieve makes the relief that p gives with a yes.
func (b *Broker) relieve(p user.Principal, h Held, j *judgement, most int, now time.Time) (*approval.Relief, error) {
	if j == nil || !j.lenient() || j.match.Operation != h.Action.Operation {
		return nil, approval.ErrNoRelief
	}
	return h.Approval.Relieve(h.Action, p.User, int(j.risk), most, now)
}

// relievable reports whether a yes may come with a relief.
func (b *Broker) relievable(h Held, j *judgement) bool {
	_, err := b.relieve(user.Principal{}, h, j, 1, time.Time{})
	return err == nil
}

// relieved finds a relief that answers for a human, or nil. It counts for no
// more than its giver does now: by today's rules they must be able to approve
// this very action.
func (b *Broker) relieved(ctx context.Context, a *action.Action, j *judgement, now time.Time) (*approval.Relief, error) {
	if !j.lenient() {
		return nil, nil
	}
	all, err := b.Reliefs.Reliefs(ctx, b.Org, a.Agent, now)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if !r.Fits(a, now) || int(j.risk) > r.Risk {
			continue
		}
		switch err := b.mayApprove(ctx, r.By, a, j); {
		case err == nil:
			return r, nil
		case final(err, "unfit") == "":
			return nil, err
		}
	}
	return nil, nil
}

// relievedWhy says in one sentence why nobody was asked.
func relievedWhy(r *approval.Relief) string {
	return fmt.Sprintf("It is let through by the relief %s, which %s gave with the approval %s: %d of %d are left.", r.ID, r.By, r.Approval, r.Most-r.Used-1, r.Most)
}

// sees says whether p may look at a relief: who gave it, whose account it is,
// and those who look at everything.
func sees(p user.Principal, r *approval.Relief) bool {
	return p.Operator || p.Role.Manages() || p.Role == user.Auditor || p.User != "" && (p.User == r.User || p.User == r.By)
}

// ListReliefs lists the reliefs that have not expired, newest first, of one
// agent or ("") of all.
func (b *Broker) ListReliefs(ctx context.Context, p user.Principal, a id.Agent, now time.Time) ([]*approval.Relief, error) {
	all, err := b.Reliefs.Reliefs(ctx, b.Org, a, now)
	if err != nil {
		return nil, err
	}
	var out []*approval.Relief
	for _, r := range all {
		if sees(p, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// RevokeRelief ends a relief. Who gave it may, whose account it is, and those
// who manage the org.
func (b *Broker) RevokeRelief(ctx context.Context, p user.Principal, ref id.Relief, now time.Time) (*approval.Relief, error) {
	var ended approval.Relief
	err := b.Reliefs.UpdateRelief(ctx, b.Org, ref, func(r *approval.Relief) ([]audit.Event, error) {
		if !sees(p, r) {
			return nil, approval.ErrReliefUnknown
		}
		if p.Role == user.Auditor {
			return nil, user.ErrNotOwner
		}
		if err := p.MayChange(); err != nil {
			return nil, err
		}
		e, err := r.Revoke(p.Actor(), now)
		ended = *r
		return []audit.Event{e}, err
	})
	if err != nil {
		return nil, fmt.Errorf("revoke %s: %w", ref, err)
	}
	return &ended, nil
}
