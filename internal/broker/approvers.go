package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// The refusals of four eyes. They have one reason and say which of the eyes
// are missing.
var (
	errOwnAgent = fault.New(fault.Forbidden, "four_eyes", "The agent that asks is yours, and a rule wants somebody else's eyes on it; another approver has to answer.")
	errOwnRule  = fault.New(fault.Forbidden, "four_eyes", "You saved the rules that ask last, and they want somebody else's eyes on it; another approver has to answer.")
)

// noApprovers refuses a question that nobody could answer.
func noApprovers(there, needed int) error {
	what := "Nobody may answer this by the rules that ask for it"
	if there > 0 {
		what = fmt.Sprintf("The rules ask for %d people, and only %d may answer this", needed, there)
	}
	return fault.New(fault.Forbidden, "no_approvers", what+"; nothing was asked. Whoever keeps the rules has to name others.")
}

// mayApprove says whether who may answer: somebody active who is no auditor,
// who is among the approvers that the rules name or, where they name none, owns
// the connection; and whom four eyes does not rule out. j is nil where it could
// not be judged.
func (b *Broker) mayApprove(ctx context.Context, who id.User, a *action.Action, j *judgement) error {
	u, err := b.person(ctx, who)
	if err != nil {
		return err
	}
	return b.fit(ctx, u, a, j)
}

func (b *Broker) fit(ctx context.Context, u *user.User, a *action.Action, j *judgement) error {
	if u.Status != user.Active || u.Role == user.Auditor {
		return ErrNotApprover
	}
	owns := u.ID == a.User
	if j == nil || len(j.decision.Approvers) == 0 {
		if !owns {
			return ErrNotApprover
		}
		return b.fourEyes(ctx, u, a, j)
	}
	// Each form of entry is compared with one thing only, so that nobody becomes
	// an approver by what they call themselves.
	var failed error
	is := func(entry string) bool {
		role, isRole := strings.CutPrefix(entry, "role:")
		group, isGroup := strings.CutPrefix(entry, "group:")
		switch {
		case isRole:
			return role == string(u.Role)
		case isGroup:
			in, err := b.inGroup(ctx, u.ID, group)
			failed = errors.Join(failed, err)
			return in
		case entry == "connection-owner":
			return owns
		case strings.HasPrefix(entry, "usr_"):
			return entry == string(u.ID)
		}
		return entry == u.Name
	}
	named := j.decision.MayApprove(is)
	if failed != nil {
		return failed
	}
	if !named {
		return ErrNotApprover
	}
	return b.fourEyes(ctx, u, a, j)
}

// inGroup reports whether who is in a group. A group that nobody made has no
// members.
func (b *Broker) inGroup(ctx context.Context, who id.User, name string) (bool, error) {
	g, err := keep(ctx, b, name, func(a *authority) map[string]*user.Group { return a.groups }, func() (*user.Group, error) {
		g, err := b.Users.Groups().Group(ctx, b.Org, name)
		if errors.Is(err, user.ErrGroup) {
			return nil, nil
		}
		return g, err
	})
	return g != nil && g.Has(who), err
}

// fourEyes keeps those out who had a hand in the question, where a rule wants
// that: whoever owns the agent that asks, and whoever saved a text last of
// which a rule asks.
func (b *Broker) fourEyes(ctx context.Context, u *user.User, a *action.Action, j *judgement) error {
	if j == nil || !j.decision.FourEyes {
		return nil
	}
	who, err := b.Agents.Agent(ctx, b.Org, a.Agent)
	if err != nil {
		return err
	}
	if who.Owner == u.ID {
		return errOwnAgent
	}
	for _, r := range j.decision.Rules {
		by, err := b.Policies.SavedBy(ctx, r.Policy)
		if err != nil {
			return err
		}
		if by == "user:"+string(u.ID) {
			return errOwnRule
		}
	}
	return nil
}

// asked lists who may answer what j asks.
func (b *Broker) asked(ctx context.Context, a *action.Action, j *judgement) ([]id.User, error) {
	var all []*user.User
	var err error
	if len(j.decision.Approvers) == 0 {
		owner, err := b.person(ctx, a.User)
		if err != nil {
			return nil, err
		}
		all = []*user.User{owner}
	} else if all, err = b.Users.Users(ctx, b.Org); err != nil {
		return nil, err
	}
	var out []id.User
	for _, u := range all {
		switch err := b.fit(ctx, u, a, j); fault.From(err).Kind {
		case fault.Forbidden:
		default:
			if err != nil {
				return nil, err
			}
			out = append(out, u.ID)
		}
	}
	return out, nil
}

// stands verifies a granted approval once more, by today's rules: enough
// people said yes, each of whom still may, each with their own passkey where
// that was asked. Where it does not stand for good, why is the reason; an error
// without one is ours, and says nothing about the approval.
func (b *Broker) stands(ctx context.Context, h Held, j *judgement) (why string, err error) {
	p := h.Approval
	votes := p.Yes()
	distinct := map[id.User]bool{}
	for _, v := range votes {
		distinct[v.User] = true
	}
	if len(distinct) < p.Needs() {
		return ErrVotes.Reason, ErrVotes
	}
	for _, v := range votes {
		if err := b.mayApprove(ctx, v.User, h.Action, j); err != nil {
			return final(err, fault.From(err).Reason), err
		}
		if p.Level >= approval.StepUp {
			if err := b.present(ctx, v.User, p, v.Precondition, v.Evidence); err != nil {
				return final(err, "evidence_missing"), err
			}
		}
	}
	return "", nil
}

// final is the reason for which err ends an action, or "" when it is a failure
// of ours.
func final(err error, why string) string {
	if f := fault.From(err); f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		return ""
	}
	return why
}

// demandsMore reports whether today's rules want more than was given: a higher
// level, or more people. What they want less of does not matter.
func (j *judgement) demandsMore(p *approval.Approval) bool {
	level, asked := j.asks()
	return asked && (level > p.Level || j.decision.Quorum > p.Needs())
}
