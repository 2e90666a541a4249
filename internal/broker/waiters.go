package broker

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
)

// waiters are those who wait for something to happen to an object: agents for
// their action, pages for anything at all.
type waiters struct {
	mu  sync.Mutex
	all map[string]map[chan struct{}]bool
}

// What stands for more than one object.
const (
	everything = ""          // any event about anything
	approvals  = "approvals" // an action was approved
)

// join returns a channel that gets a value after each event about object,
// however many happen before it is read.
func (w *waiters) join(object string) (woken <-chan struct{}, leave func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]map[chan struct{}]bool{}
	}
	if w.all[object] == nil {
		w.all[object] = map[chan struct{}]bool{}
	}
	w.all[object][ch] = true
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all[object], ch)
		if len(w.all[object]) == 0 {
			delete(w.all, object)
		}
	}
}

func (w *waiters) wake(object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.all[object] {
		select {
		case ch <- struct{}{}:
		default: // woken already, and has not looked yet
		}
	}
}

// Watch returns a channel that gets a value after events of any kind.
func (b *Broker) Watch() (woken <-chan struct{}, leave func()) { return b.waiters.join(everything) }

// followPause is how often the log is read at the most: when commits come
// thick, reading what several of them brought costs hardly more than reading
// one. The first after a quiet moment is read at once.
const followPause = time.Millisecond

// follow reads the log from its present end and wakes who waits.
func (b *Broker) follow(ctx context.Context) {
	next := int64(-1)
	for ctx.Err() == nil {
		pause := time.After(followPause)
		woken := b.Log.Woken()
		if err := b.catchUp(ctx, &next); err != nil && ctx.Err() == nil {
			b.Logger.ErrorContext(ctx, "following the log", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-woken:
		case <-time.After(claimPoll):
		}
		select {
		case <-ctx.Done():
		case <-pause:
		}
	}
}

func (b *Broker) catchUp(ctx context.Context, next *int64) error {
	if *next < 0 {
		head, err := b.Log.Head(ctx)
		if err != nil {
			return err
		}
		*next = head.Size
		return nil
	}
	for {
		events, err := b.Log.Events(ctx, *next, 500)
		if err != nil || len(events) == 0 {
			return err
		}
		b.dispatch(ctx, events)
		*next += int64(len(events))
	}
}

// forget drops from memory the key that e says was destroyed: another replica may
// have done it. One that lags behind the log keeps it for as long as it lags.
func (b *Broker) forget(e audit.Event) {
	switch e.Verb {
	case payloadsShredded:
		if day, err := time.Parse(time.DateOnly, e.Data["day"]); err == nil {
			b.Keys.Forget(seal.PayloadKey(e.Org, day))
		}
	case "connection.ended":
		b.Keys.Forget(seal.ConnectionKey(id.Connection(e.Object)))
	}
}

func (b *Broker) dispatch(ctx context.Context, events []audit.Event) {
	for _, e := range events {
		if strings.HasPrefix(e.Verb, "freeze.") {
			// Another replica may have thrown it: what is in flight here must end.
			if _, err := b.now(ctx); err != nil && ctx.Err() == nil {
				b.Logger.ErrorContext(ctx, "reading freezes", slog.Any("error", err))
			}
		}
		b.forget(e)
		b.waiters.wake(e.Object)
		if e.Verb == "action.approved" {
			b.waiters.wake(approvals)
		}
	}
	b.waiters.wake(everything)
}
