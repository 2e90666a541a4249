package freeze

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/id"
)

// target is what a freeze is of.
type target struct {
	org  id.Org
	kind Kind
	name string
}

// turns lets one at a time write down what becomes of a target. Who waits for a
// database that hangs keeps nobody from another target.
type turns struct {
	mu    sync.Mutex
	queue map[target]*turn
}

type turn struct {
	taken  chan struct{} // holds one while somebody has the turn
	wanted int
}

// take waits for the turn at f's target, and returns what ends it.
func (q *turns) take(f Freeze) (end func()) {
	at := target{f.Org, f.Kind, f.Target}
	q.mu.Lock()
	if q.queue == nil {
		q.queue = map[target]*turn{}
	}
	t := q.queue[at]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		q.queue[at] = t
	}
	t.wanted++
	q.mu.Unlock()
	t.taken <- struct{}{}
	return func() {
		<-t.taken
		q.mu.Lock()
		defer q.mu.Unlock()
		if t.wanted--; t.wanted == 0 {
			delete(q.queue, at)
		}
	}
}

// note keeps the number of a journal entry that tells of f.
func (s *Switch) note(f id.Freeze, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[id.Freeze][]int64{}
	}
	s.entries[f] = append(s.entries[f], n)
}

// inherit lets other, which stands for f, settle what the journal has of f.
func (s *Switch) inherit(f, other id.Freeze) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ours := s.entries[f]; f != other && len(ours) > 0 {
		s.entries[other] = append(s.entries[other], ours...)
		delete(s.entries, f)
	}
}

// settle marks what the journal has of f as recorded: the database knows f, or
// the freeze that stands for it. What cannot be marked is tried again when f is
// lifted; left over at the next start, it would be replayed.
func (s *Switch) settle(ctx context.Context, f id.Freeze, now time.Time) {
	s.mu.Lock()
	entries := s.entries[f]
	delete(s.entries, f)
	s.mu.Unlock()
	for _, n := range entries {
		if err := s.Journal.Settle(now, n); err != nil {
			s.Log.WarnContext(ctx, "freeze journal not settled; it is replayed at the next start", slog.String("freeze", string(f)), slog.Any("error", err))
			s.note(f, n)
		}
	}
}
