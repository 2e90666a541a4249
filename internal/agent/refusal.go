package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Refusals records that somebody was turned away. An authenticated agent's
// refusals are one event each. Whoever is not authenticated could fill the log
// at will, and so could whoever captured a signature that is good for nothing
// any more: those are one event each up to a rate per source, beyond it they are
// counted and the count is one event per minute.
type Refusals struct {
	Org   id.Org
	Store TokenStore
	Log   *slog.Logger

	mu      sync.Mutex
	sources map[netip.Prefix]*tally
	unsaid  int // counted, and not written because the store failed
}

type tally struct {
	second int64 // the second that seen counts
	seen   int
	over   int // beyond the rate, not written yet
}

const (
	refusalRate    = 10     // events a second from one source
	refusalSources = 10_000 // sources told apart; more are one
)

// Known records the refusal of an authenticated agent, and spends its proofs,
// so that one signature is refused once. A signature that has nothing to spend,
// or that was used before, is recorded at a bounded rate: beyond it there is one
// look and no change, however often it is sent. It returns an error when the
// refusal could not be recorded.
func (r *Refusals) Known(ctx context.Context, c Caller, surface string, refusal error, now time.Time) error {
	ctx = context.WithoutCancel(ctx)
	f := fault.From(refusal)
	e := []audit.Event{c.Event(surface+".refused", "", c.Subject, now, map[string]string{"reason": f.Reason, "source": c.Source.Unmap().String()})}
	fresh, err := r.Store.Unspent(ctx, c.Proofs)
	if err != nil {
		fresh = c.Proofs // the change will tell, and say why it cannot be made
	}
	again := c.Stale || len(fresh) < len(c.Proofs)
	if !again && len(fresh) > 0 {
		if err := r.Store.Spend(ctx, fresh, e); !errors.Is(err, ErrReplayed) {
			return err
		}
		again, fresh = true, nil // somebody was faster
	}
	// Beside one that was used before a fresh one is used up, too, and each is
	// that once.
	if again && len(fresh) == 0 && !r.admit(c.Source.Unmap(), now) {
		return nil
	}
	return r.Store.Refuse(ctx, c.Proofs, e)
}

// Unknown records that somebody at from was refused before we knew who it was.
func (r *Refusals) Unknown(ctx context.Context, from netip.Addr, surface string, refusal error, now time.Time) {
	from = from.Unmap()
	if !r.admit(from, now) {
		return
	}
	f := fault.From(refusal)
	e := audit.Event{At: now, Org: r.Org, Verb: surface + ".refused", Actor: "anonymous", Data: map[string]string{"reason": f.Reason, "source": from.String()}}
	if err := r.Store.Refuse(context.WithoutCancel(ctx), nil, []audit.Event{e}); err != nil {
		r.Log.ErrorContext(ctx, "refusal not recorded", slog.String("surface", surface), slog.Any("error", err))
	}
}

// source is what refusals are counted by: an IPv4 address, or the /64 that one
// IPv6 host commonly owns.
func source(from netip.Addr) netip.Prefix {
	bits := 32
	if from.Is6() {
		bits = 64
	}
	p, err := from.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (r *Refusals) admit(from netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources = map[netip.Prefix]*tally{}
	}
	key := source(from)
	t := r.sources[key]
	if t == nil {
		if len(r.sources) >= refusalSources {
			key = netip.Prefix{}
		}
		if t = r.sources[key]; t == nil {
			t = &tally{}
			r.sources[key] = t
		}
	}
	if s := now.Unix(); t.second != s {
		t.second, t.seen = s, 0
	}
	t.seen++
	if t.seen > refusalRate {
		t.over++
		return false
	}
	return true
}

// Run writes the counts of what was over the rate, once a minute and when ctx
// ends.
func (r *Refusals) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx), time.Now())
			return nil
		case now := <-tick.C:
			r.flush(ctx, now)
		}
	}
}

func (r *Refusals) flush(ctx context.Context, now time.Time) {
	r.mu.Lock()
	total, sources := r.unsaid, 0
	r.unsaid = 0
	for key, t := range r.sources {
		if t.over > 0 {
			total += t.over
			sources++
			t.over = 0
		} else if t.second < now.Unix()-60 {
			delete(r.sources, key)
		}
	}
	r.mu.Unlock()
	if total == 0 {
		return
	}
	e := audit.Event{At: now, Org: r.Org, Verb: "refusals.counted", Actor: "system", Data: map[string]string{"count": strconv.Itoa(total), "sources": strconv.Itoa(sources)}}
	if err := r.Store.Refuse(ctx, nil, []audit.Event{e}); err != nil {
		r.Log.ErrorContext(ctx, "counted refusals not recorded", slog.Int("count", total), slog.Any("error", err))
		r.mu.Lock()
		r.unsaid += total
		r.mu.Unlock()
	}
}
