package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// Run executes approved actions, ends overdue ones, and wakes waiters, until
// ctx is done. It follows the log: whatever replica approved, this one sees.
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { b.follow(ctx) })
	loops.Go(func() { b.claimLoop(ctx) })
	loops.Go(func() { b.sweepLoop(ctx) })
	<-ctx.Done()
	return nil
}

const (
	claimPoll = time.Second // a slow poll behind the wake-ups
	sweepPoll = time.Minute
)

func (b *Broker) claimLoop(ctx context.Context) {
	slots := make(chan struct{}, maxConcurrency)
	var busy sync.Map // actions that this process is at
	var wait sync.WaitGroup
	defer wait.Wait()
	woken, leave := b.waiters.join(approvals)
	defer leave()
	for ctx.Err() == nil {
		b.expire(ctx, time.Now())
		due, err := b.Queue.Approved(ctx, b.Org, maxLooked)
		if err != nil && ctx.Err() == nil {
			b.Logger.ErrorContext(ctx, "looking for approved actions", slog.Any("error", err))
		}
		for _, a := range due {
			if _, at := busy.LoadOrStore(a, true); at {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wait.Go(func() {
				defer func() { <-slots }()
				hold := b.execute(ctx, a)
				if hold > 0 {
					time.AfterFunc(hold, func() { busy.Delete(a) })
				} else {
					busy.Delete(a)
				}
			})
		}
		select {
		case <-ctx.Done():
		case <-woken:
		case <-time.After(claimPoll):
		}
	}
}

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
	case errors.Is(err, ErrNoPayload), errors.Is(err, seal.ErrRefused), errors.Is(err, seal.ErrShredded):
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
		return nil, b.end(ctx, h, fault.From(err).Reason, err)
	}
	if err := b.approver(ctx, h.Approval.DecidedBy, h, now); err != nil {
		return nil, b.end(ctx, h, fault.From(err).Reason, err)
	}
	if h.Approval.Level >= approval.StepUp {
		if err := b.present(ctx, h.Approval.DecidedBy, h.Approval, h.Approval.Evidence); err != nil {
			if f := fault.From(err); f.Kind == fault.Internal || f.Kind == fault.Unavailable {
				return nil, err
			}
			return nil, b.end(ctx, h, "evidence_missing", err)
		}
	}
	level, asked := j.asks()
	if j.match.Operation != h.Action.Operation || j.amount != h.Action.Amount || asked && level > h.Approval.Level {
		return nil, b.reask(ctx, h, j, max(level, approval.Approve), epoch, now)
	}
	cred, err := b.Vault.Use(ctx, h.Action.Connection, now)
	if err != nil {
		return nil, err
	}
	return &ready{epoch: epoch, request: req, digest: digest, prov: p, cred: cred, lack: j.lack}, nil
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
// see another thing in the same bytes, or demand more.
func (b *Broker) reask(ctx context.Context, h Held, j *judgement, level approval.Level, epoch int64, now time.Time) error {
	next := b.ticket(h.Action, j, level, now)
	return b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: epoch, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		withdrawn, err := p.Withdraw("system", "policy_changed", now)
		if err != nil {
			return nil, nil, err
		}
		a.Operation, a.Summary, a.Risk = j.match.Operation, j.match.Summary, j.risk.String()
		asked, err := a.Reask(next.ID, "policy_changed", next.ExpiresAt, now)
		if err != nil {
			return nil, nil, err
		}
		opened := *next
		return []audit.Event{withdrawn, asked, opened.Opened("system", now)}, &opened, nil
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

// learned tells the vault what an answer says about the token.
func (b *Broker) learned(ctx context.Context, con id.Connection, cred vault.Credential, status int) {
	if status == http.StatusUnauthorized || cred.Proven {
		return
	}
	if err := b.Vault.Worked(ctx, con, cred.Generation); err != nil {
		b.Logger.WarnContext(ctx, "noting that a token worked", slog.String("connection", string(con)), slog.Any("error", err))
	}
}

func retried(a *action.Action, data map[string]string) audit.Event {
	data["effect"] = a.Commitment()
	return audit.Event{At: time.Now(), Org: a.Org, Verb: "action.retried", Actor: "system", Object: string(a.ID), Subject: string(a.User), Data: data}
}

// send makes the call. A complete 401 means that the request was not executed:
// with a fresh token it is made once more, under an intent of its own.
func (b *Broker) send(ctx context.Context, a *action.Action, req *action.Request, p *vault.Provider, cred vault.Credential, intent func(map[string]string) error) (*egress.Response, vault.Credential, error) {
	for attempt := 1; ; attempt++ {
		res, err := b.call(ctx, req, p, cred)
		if err != nil || res.Status != http.StatusUnauthorized || attempt == 2 {
			return res, cred, err
		}
		fresh, err := b.Vault.Replace(ctx, a.Connection, cred.Generation, time.Now())
		if err != nil || fresh.Generation == cred.Generation {
			return res, cred, nil // the 401 is the answer
		}
		if err := intent(map[string]string{"attempt": strconv.Itoa(attempt + 1), "generation": strconv.FormatInt(fresh.Generation, 10)}); err != nil {
			return res, cred, nil
		}
		res.Body.Close()
		cred = fresh
	}
}

// call hands the frozen request to egress.
func (b *Broker) call(ctx context.Context, req *action.Request, p *vault.Provider, cred vault.Credential) (*egress.Response, error) {
	u, err := req.URL()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	place, err := p.Spec.Locate(u.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	base, err := url.Parse(place.Base)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	h := http.Header{}
	for _, f := range req.Header {
		h.Add(f.Name, f.Value)
	}
	return b.Egress.Do(ctx, egress.Request{
		Method: req.Method, URL: u, Base: base, Header: h, Body: req.Body, Credential: cred.Token, Attach: attach(p.Spec),
	})
}

func attach(s *provider.Spec) egress.Attach {
	switch s.Credential.Attach {
	case "header":
		return egress.Attach{Kind: egress.InHeader, Name: s.Credential.Header}
	case "basic":
		return egress.Attach{Kind: egress.Basic}
	}
	return egress.Attach{Kind: egress.Bearer}
}

// byStatus reads the outcome from a complete status line. A 403 to a token
// that lacks a scope is put down to that.
func byStatus(status int, lack lack) action.Outcome {
	out := action.Outcome{State: action.Succeeded, Status: status}
	switch {
	case status == http.StatusForbidden && len(lack.scopes) > 0:
		out.State, out.Why = action.Failed, missingScope
	case status >= 300:
		out.State, out.Why = action.Failed, "upstream_"+strconv.Itoa(status)
	}
	return out
}

// lost is the outcome when no answer came.
func lost(ctx context.Context, err error) action.Outcome {
	frozen := errors.Is(context.Cause(ctx), freeze.ErrFrozen)
	switch {
	case errors.Is(err, egress.ErrNotSent) && frozen:
		return action.Outcome{State: action.Failed, Why: freeze.ErrFrozen.Reason}
	case errors.Is(err, egress.ErrNotSent):
		return action.Outcome{State: action.Failed, Why: fault.From(err).Reason}
	case frozen:
		return action.Outcome{State: action.Unknown, Why: "frozen_in_flight"}
	}
	return action.Outcome{State: action.Unknown, Why: "answer_lost"}
}

// expire ends what nobody answered, or executed, in time.
func (b *Broker) expire(ctx context.Context, now time.Time) {
	late, err := b.Queue.Overdue(ctx, b.Org, now, 500)
	if err != nil {
		if ctx.Err() == nil {
			b.Logger.ErrorContext(ctx, "looking for overdue actions", slog.Any("error", err))
		}
		return
	}
	for _, ref := range late {
		err := b.Store.Move(ctx, b.Org, ref, Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			expired, err := a.Expire(now)
			if err != nil {
				return nil, nil, err
			}
			closed, err := p.Expire(now)
			return []audit.Event{expired, closed}, nil, err
		}})
		if err != nil && !errors.Is(err, action.ErrState) && ctx.Err() == nil {
			b.Logger.ErrorContext(ctx, "expiring an action", slog.String("action", string(ref)), slog.Any("error", err))
		}
	}
}

// sweep drops what has outlived its use. A day of payloads ends with its key:
// what is left of them in free pages of the database, or in a copy of that table,
// is noise from then on. The key goes a while after its day, so that nobody is
// just about to store what it has sealed.
func (b *Broker) sweep(ctx context.Context, now time.Time) error {
	kept := now.Add(-PayloadKept)
	if err := b.Queue.Sweep(ctx, b.Org, kept, now); err != nil {
		return err
	}
	days, err := b.Queue.EmptyDays(ctx, b.Org, kept)
	if err != nil {
		return err
	}
	for _, day := range days {
		if err := b.Keys.Shred(ctx, seal.PayloadKey(b.Org, day)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) sweepLoop(ctx context.Context) {
	for {
		b.Tidy(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepPoll):
		}
	}
}

// Abandoned is how long after its beginning an execution that this process is
// not at is taken for nobody's: no call of another one takes so long.
const Abandoned = 15 * time.Minute

// Tidy deletes what is kept no longer, and ends what nobody is at any more: an
// execution of a process that died, which the start after it could not tell
// from that of another replica, or one whose outcome could not be recorded.
func (b *Broker) Tidy(ctx context.Context, now time.Time) {
	if err := b.sweep(ctx, now); err != nil && ctx.Err() == nil {
		b.Logger.ErrorContext(ctx, "sweeping", slog.Any("error", err))
	}
	if err := b.Recover(ctx, now.Add(-Abandoned)); err != nil && ctx.Err() == nil {
		b.Logger.ErrorContext(ctx, "looking for abandoned actions", slog.Any("error", err))
	}
}

// Recover records as unknown what a crash left between its intent and its
// outcome. It runs before the server accepts anything, and now and then after
// that. What began since before is left alone, where other replicas may be at
// it; so is what this process is at.
func (b *Broker) Recover(ctx context.Context, before time.Time) error {
	held, inline, err := b.Queue.Orphans(ctx, b.Org, before)
	if err != nil {
		return err
	}
	out := action.Outcome{State: action.Unknown, Why: "interrupted"}
	for _, ref := range held {
		if b.running.has(ref) {
			continue
		}
		b.Logger.WarnContext(ctx, "an execution was interrupted and its outcome is unknown", slog.String("action", string(ref)))
		b.finish(ctx, ref, out, nil)
	}
	for _, ref := range inline {
		if b.running.has(ref) {
			continue
		}
		b.Logger.WarnContext(ctx, "an inline action was interrupted and its outcome is unknown", slog.String("action", string(ref)))
		e := audit.Event{At: time.Now(), Org: b.Org, Verb: "action.unknown", Actor: "system", Object: string(ref), Data: map[string]string{"why": out.Why, "inline": "1"}}
		if err := b.Store.End(ctx, b.Org, ref, []audit.Event{e}); err != nil {
			return err
		}
	}
	return nil
}
