package broker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/seal"
)

const (
	claimPoll = time.Second // a slow poll behind the wake-ups
	sweepPoll = time.Minute
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

// payloadsShredded says that the key of a day of payloads is gone. By it other
// replicas learn to forget it, too.
const payloadsShredded = "payloads.shredded"

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
		e := audit.Event{At: now, Org: b.Org, Verb: payloadsShredded, Actor: "system", Data: map[string]string{"day": day.Format(time.DateOnly)}}
		if err := b.Queue.EndDay(ctx, b.Org, day, []audit.Event{e}); err != nil {
			return err
		}
		b.Keys.Forget(seal.PayloadKey(b.Org, day))
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
