package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// retryLater is how long an approved action waits that could not be tried.
const retryLater = 10 * time.Second

// execute runs one approved action from storage. It returns how long to leave
// it alone when it stays approved.
func (b *Broker) execute(ctx context.Context, ref id.Action) time.Duration {
	h, err := b.Store.Held(ctx, b.Org, ref)
	if err != nil || h.Action.State != action.Approved || action.Vends(h.Action.Operation) {
		if err != nil && ctx.Err() == nil {
			b.Logger.ErrorContext(ctx, "reading an approved action", slog.String("action", string(ref)), slog.Any("error", err))
		}
		return retryLater
	}
	ready, err := b.prepare(ctx, h)
	if err != nil {
		if ctx.Err() == nil {
			b.Logger.WarnContext(ctx, "approved action not executed yet", slog.String("action", string(ref)), slog.Any("error", err))
		}
		if errors.Is(err, errUnread) {
			return retryUnread
		}
		return retryLater
	}
	if ready == nil {
		return 0 // refused or asked again
	}
	b.perform(ctx, h, ready)
	return 0
}

// ready is an approved action that may be claimed.
type ready struct {
	epoch   int64
	request *action.Request
	digest  action.Digest
	prov    *vault.Provider
	cred    vault.Credential
	lack    lack
	target  string // how what the approver was shown stands, or ""
}

// prepare judges an approved action again, by today's rules, on the stored
// bytes. nil without an error means that it was refused or asked again.
func (b *Broker) prepare(ctx context.Context, h Held) (*ready, error) {
	for range maxJudgements {
		r, err := b.prepareOnce(ctx, h)
		if !errors.Is(err, ErrMoved) {
			return r, err
		}
	}
	return nil, ErrMoved
}

func (b *Broker) prepareOnce(ctx context.Context, h Held) (*ready, error) {
	now := time.Now()
	epoch, err := b.now(ctx)
	if err != nil {
		return nil, err
	}
	req, err := b.Request(ctx, h.Action)
	switch {
	case errors.Is(err, ErrNoPayload), errors.Is(err, seal.ErrRefused), errors.Is(err, seal.ErrShredded), errors.Is(err, action.ErrStored):
		// What was approved is gone, or is not what was sealed.
		return nil, b.end(ctx, h, "payload_unreadable", err)
	case err != nil:
		return nil, err // the database did not answer: looked at again
	}
	digest := req.Effect(h.Action.Party, h.Action.Amount)
	if digest != h.Action.Effect || digest != h.Approval.Effect {
		return nil, b.end(ctx, h, action.ErrMismatch.Reason, action.ErrMismatch)
	}
	j, p, err := b.judgeStored(ctx, h.Action, req, now)
	if err != nil {
		if f := fault.From(err); f.Kind == fault.Internal || f.Kind == fault.Unavailable {
			return nil, err
		}
		if errors.Is(err, vault.ErrNeedsReauth) {
			return nil, err // its owner may connect again before the approval expires
		}
		return nil, b.end(ctx, h, fault.From(err).Reason, err)
	}
	if err := j.refusal(); err != nil {
		if fault.From(err).Reason == missingScope {
			return nil, j.lack.waits() // as above: they may connect again with it
		}
		return nil, b.end(ctx, h, fault.From(err).Reason, err)
	}
	if why, err := b.stands(ctx, h, j); err != nil {
		if why == "" {
			return nil, err
		}
		return nil, b.end(ctx, h, why, err)
	}
	level, _ := j.asks()
	if j.match.Operation != h.Action.Operation || j.amount != h.Action.Amount || j.demandsMore(h.Approval) {
		return nil, b.reask(ctx, h, j, max(level, approval.Approve), "policy_changed", epoch, now)
	}
	target, moved, err := b.unmoved(ctx, h, req, p, epoch, now)
	if err != nil {
		return nil, err
	}
	if moved {
		return nil, b.reask(ctx, h, j, max(level, h.Approval.Level), targetChanged, epoch, now)
	}
	cred, err := b.Vault.Use(ctx, h.Action.Connection, now)
	if err != nil {
		return nil, err
	}
	return &ready{epoch: epoch, request: req, digest: digest, prov: p, cred: cred, lack: j.lack, target: target}, nil
}

// judgeStored classifies and judges a stored action by today's rules.
func (b *Broker) judgeStored(ctx context.Context, a *action.Action, req *action.Request, now time.Time) (*judgement, *vault.Provider, error) {
	con, err := b.Conns.Connection(ctx, b.Org, a.Connection)
	if err != nil {
		return nil, nil, err
	}
	if con.AccountID != a.Account || con.User != a.User {
		return nil, nil, fault.New(fault.Conflict, "account_changed", "The connection belongs to another account than the one this was approved for.")
	}
	p, err := b.Vault.Providers.Find(ctx, con.Provider)
	if err != nil {
		return nil, nil, err
	}
	who, err := b.Agents.Agent(ctx, b.Org, a.Agent)
	if err != nil {
		return nil, nil, err
	}
	if who.Status != agent.Active {
		return nil, nil, agent.ErrSuspended
	}
	var m *provider.Match
	if action.Vends(a.Operation) {
		m = vendMatch(p.Spec, con)
	} else if m, err = reclassify(p.Spec, req); err != nil {
		return nil, nil, err
	}
	stated := statedAmount(a.Amount)
	// Rules about networks speak of where it was asked from.
	source, err := netip.ParseAddr(a.Source)
	if err != nil {
		source = netip.Addr{} // not known, which is what rules then see
	}
	j, err := b.judge(ctx, subject{agent: who.ID, name: who.Name, profile: who.Profile, source: source}, con, p, m, req.Method, stated, now)
	return j, p, err
}

// rejudge is judgeStored for a question about an action, not its execution.
func (b *Broker) rejudge(ctx context.Context, a *action.Action, now time.Time) (*judgement, error) {
	req, err := b.Request(ctx, a)
	if err != nil {
		return nil, err
	}
	j, _, err := b.judgeStored(ctx, a, req, now)
	return j, err
}

// end refuses an approved action for good.
func (b *Broker) end(ctx context.Context, h Held, why string, cause error) error {
	now := time.Now()
	b.Logger.WarnContext(ctx, "approved action refused at execution", slog.String("action", string(h.Action.ID)), slog.String("why", why), slog.Any("error", cause))
	return b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		refused, err := a.Refuse(why, now)
		if err != nil {
			return nil, nil, err
		}
		withdrawn, err := p.Withdraw("system", why, now)
		return []audit.Event{refused, withdrawn}, nil, err
	}})
}

// reask spends an approval for nothing and asks again, because today's rules
// see another thing in the same bytes, or demand more, or because what was shown
// is no longer there.
func (b *Broker) reask(ctx context.Context, h Held, j *judgement, level approval.Level, why string, epoch int64, now time.Time) error {
	next := b.ticket(h.Action, j, level, now)
	if why == targetChanged && h.Approval.Needs() > 1 {
		next.Quorum = max(next.Quorum, h.Approval.Quorum) // as its level, no less than before
	}
	who, err := b.asked(ctx, h.Action, j)
	if err != nil {
		return err
	}
	return b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: epoch, Asked: who, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		withdrawn, err := p.Withdraw("system", why, now)
		if err != nil {
			return nil, nil, err
		}
		a.Operation, a.Summary, a.Risk = j.match.Operation, j.match.Summary, j.risk.String()
		asked, err := a.Reask(next.ID, why, next.ExpiresAt, now)
		if err != nil {
			return nil, nil, err
		}
		opened := *next
		return []audit.Event{withdrawn, asked, opened.Opened(a, "system", now)}, &opened, nil
	}})
}

// perform claims and sends. From the claim on nothing is tried twice.
func (b *Broker) perform(ctx context.Context, h Held, r *ready) {
	// The answer must be recorded even when the server is told to stop.
	ctx, done := b.running.add(context.WithoutCancel(ctx), h.Action)
	defer done()
	now := time.Now()
	err := b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: r.epoch, Claims: true, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		spent, err := p.Spend(r.digest, now)
		if err != nil {
			return nil, nil, err
		}
		claimed, err := a.Claim(r.digest, now)
		if err == nil && r.target != "" {
			claimed.Data["target"] = r.target
		}
		return []audit.Event{spent, claimed}, nil, err
	}})
	if err != nil {
		if !errors.Is(err, ErrMoved) && !errors.Is(err, action.ErrState) && !errors.Is(err, approval.ErrNotOpen) {
			b.Logger.WarnContext(ctx, "claiming an approved action", slog.String("action", string(h.Action.ID)), slog.Any("error", err))
		}
		return // another replica has it, or authority moved: it is looked at again
	}
	if err := b.Freezes.Check(b.Org, h.Action.Agent, h.Action.Connection, h.Action.User); err != nil {
		// Nothing has left. The freeze cancelled ctx, and the record is made all the
		// same.
		b.finish(context.WithoutCancel(ctx), h.Action.ID, action.Outcome{State: action.Failed, Why: fault.From(err).Reason}, nil)
		return
	}
	ans, out := b.collect(ctx, h.Action, r)
	var sealed []byte
	if ans != nil {
		if sealed, err = b.Keys.SealBytes(ctx, payloadPlace(h.Action, "answer"), ans.encode()); err != nil {
			b.Logger.ErrorContext(ctx, "sealing an answer", slog.String("action", string(h.Action.ID)), slog.Any("error", err))
			sealed = nil
		}
	}
	b.finish(context.WithoutCancel(ctx), h.Action.ID, out, sealed)
}

// finish records an outcome. The upstream has acted by now, so a database that
// fails is tried again; if it stays away, the action is found executing later
// on (see Tidy), or at the next start, and becomes unknown.
func (b *Broker) finish(ctx context.Context, ref id.Action, out action.Outcome, sealed []byte) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := b.Store.Move(ctx, b.Org, ref, Move{Epoch: -1, Answer: sealed, Apply: func(a *action.Action, _ *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			e, err := a.Finish(out, time.Now())
			return []audit.Event{e}, nil, err
		}})
		if err == nil {
			return
		}
		b.Logger.ErrorContext(ctx, "recording an outcome", slog.String("action", string(ref)), slog.Any("error", err))
		if fault.From(err).Kind != fault.Unavailable || wait > 10*time.Second {
			return
		}
		time.Sleep(wait)
	}
}

// collect sends the request of a claimed action and reads the whole answer.
func (b *Broker) collect(ctx context.Context, a *action.Action, r *ready) (*kept, action.Outcome) {
	res, cred, err := b.send(ctx, a, r.request, r.prov, r.cred, func(data map[string]string) error {
		return b.Store.Move(ctx, b.Org, a.ID, Move{Epoch: -1, Apply: func(a *action.Action, _ *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			return []audit.Event{retried(a, data)}, nil, nil
		}})
	})
	if err != nil {
		return nil, lost(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer+1))
	out := byStatus(res.Status, r.lack)
	out.AnswerSize, out.Redacted = int64(len(body)), res.Redacted()
	if err != nil {
		out.Why = fault.From(err).Reason
	}
	b.learned(ctx, a.Connection, cred, res.Status)
	return &kept{Status: res.Status, Header: res.Header, Body: body}, out
}
