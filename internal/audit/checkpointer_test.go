package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
)

// shelf is a sink in memory that can be away.
type shelf struct {
	mu   sync.Mutex
	cps  [][]byte
	away bool
}

func (s *shelf) Write(_ context.Context, cp []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errors.New("the sink is away")
	}
	s.cps = append(s.cps, bytes.Clone(cp))
	return nil
}

func (s *shelf) Last(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cps) == 0 {
		return nil, nil
	}
	return s.cps[len(s.cps)-1], nil
}

func (s *shelf) All(context.Context) iter.Seq2[[]byte, error] { return audit.Checkpoints(s.cps...) }

func (s *shelf) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *shelf) sizes(t *testing.T, v *audit.Verifier) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, cp := range s.cps {
		c, err := v.Parse(cp)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(c.Size))
	}
	return strings.Join(out, " ")
}

// start runs c until the returned function is called.
func start(t *testing.T, c *audit.Checkpointer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func newCheckpointer(s *audit.Signer, log audit.Log, sinks ...audit.Sink) (*audit.Checkpointer, *bytes.Buffer) {
	var logged bytes.Buffer
	return &audit.Checkpointer{Log: log, Signer: s, Sinks: sinks, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, &logged
}

func TestCheckpointerSignsGrowthAndAtStop(t *testing.T) {
	s, v := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		m, sink := &memory{head: audit.Frontier{}.Head()}, &shelf{}
		c, _ := newCheckpointer(s, m, sink)
		stop := start(t, c)
		time.Sleep(3500 * time.Millisecond)
		if got := sink.sizes(t, v); got != "" {
			t.Errorf("checkpoints of an empty log: %s", got)
		}
		m.add(t, events(0, 5)...)
		time.Sleep(3 * time.Second) // three ticks, one growth
		m.add(t, events(5, 1)...)
		time.Sleep(time.Second)
		m.add(t, events(6, 3)...)
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if got := sink.sizes(t, v); got != "5 6 9" {
			t.Errorf("checkpoints of %s events, want 5 6 9", got)
		}
		if r := verify(t, m, v, sink.cps...); !r.OK() || r.Tail != 0 {
			t.Errorf("%v", r)
		}
		signed, cp, behind := c.Last()
		if !bytes.Equal(signed, sink.cps[2]) || cp.Size != 9 || behind != 0 {
			t.Errorf("Last = %q, %+v, %d", signed, cp, behind)
		}
	})
}

func TestCheckpointerRefusesForkAndShrink(t *testing.T) {
	s, v := newSigner(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *memory)
		want  error
	}{
		"shrunk": {func(t *testing.T, m *memory) { back(t, m, 7) }, audit.ErrShrunk},
		"emptied": {func(t *testing.T, m *memory) {
			m.records = nil
			m.rehash(t)
			m.head = m.frontier.Head()
		}, audit.ErrShrunk},
		"same size, other root": {func(t *testing.T, m *memory) { back(t, m, 7); m.add(t, events(900, 3)...) }, audit.ErrForked},
		"grown fork":            {func(t *testing.T, m *memory) { back(t, m, 7); m.add(t, events(900, 20)...) }, audit.ErrForked},
		"rewritten": {func(t *testing.T, m *memory) {
			change(t, m, 2, func(e *audit.Event) { e.Object = "act_other" })
			m.rehash(t)
			m.add(t, events(10, 5)...)
		}, audit.ErrForked},
		"damaged hashes": {func(t *testing.T, m *memory) { m.add(t, events(10, 5)...); m.hashes[14][0] ^= 1 }, audit.ErrForked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, sink := &memory{}, &shelf{}
				m.add(t, events(0, 10)...)
				cp, _ := newCheckpointer(s, m, sink)
				var faults []error
				cp.OnFault = func(err error) { faults = append(faults, err) }
				stop := start(t, cp)
				time.Sleep(1500 * time.Millisecond)
				bad := m.clone()
				c.spoil(t, bad)
				m.mu.Lock()
				m.hashes, m.head = bad.hashes, bad.head
				m.mu.Unlock()
				time.Sleep(2 * time.Second)
				if err := stop(); !errors.Is(err, c.want) {
					t.Errorf("Run = %v, want %v", err, c.want)
				}
				if len(faults) != 1 || !errors.Is(faults[0], c.want) {
					t.Errorf("faults %v", faults)
				}
				if got := sink.sizes(t, v); got != "10" {
					t.Errorf("signed %s", got)
				}
				// Once stopped it stays stopped, whatever the log says then.
				if err := cp.Anchor(t.Context(), time.Now()); !errors.Is(err, c.want) {
					t.Errorf("Anchor = %v", err)
				}

				// A server started on that log learns it from the sink.
				again, _ := newCheckpointer(s, m, &shelf{}, sink)
				if err := again.Resume(t.Context()); !errors.Is(err, c.want) {
					t.Errorf("Resume = %v", err)
				}
				if err := again.Anchor(t.Context(), time.Now()); !errors.Is(err, c.want) {
					t.Errorf("Anchor after Resume = %v", err)
				}
			})
		})
	}
}

// back restores the log as it was with n events.
func back(t *testing.T, m *memory, n int) {
	t.Helper()
	m.records = m.records[:n]
	m.rehash(t)
}

func TestCheckpointerSinkAwayForADay(t *testing.T) {
	s, v := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		m, away, there := &memory{}, &shelf{}, &shelf{}
		c, logged := newCheckpointer(s, m, away, there)
		m.add(t, events(0, 1)...)
		stop := start(t, c)
		time.Sleep(1500 * time.Millisecond)
		away.set(true)
		for i := range 24 {
			m.add(t, events(1+i, 1)...)
			time.Sleep(time.Hour)
		}
		if _, _, behind := c.Last(); behind != 1 {
			t.Errorf("%d sinks behind", behind)
		}
		if r := verify(t, m, v, away.cps...); !r.OK() || r.Tail != 24 {
			t.Errorf("while away:\n%v", r)
		}
		away.set(false)
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if got := away.sizes(t, v); got != "1 25" {
			t.Errorf("the sink that was away has %s", got)
		}
		if got := len(there.cps); got != 25 {
			t.Errorf("the other has %d checkpoints", got)
		}
		if n := strings.Count(logged.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings for one outage:\n%s", n, logged)
		}
	})
}

// deaf is a log that cannot be read for a while.
type deaf struct {
	*memory
	mu  sync.Mutex
	off bool
}

func (d *deaf) Head(ctx context.Context) (audit.Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return audit.Head{}, errors.New("database is locked")
	}
	return d.memory.Head(ctx)
}

func TestCheckpointerOutlivesReadErrors(t *testing.T) {
	s, v := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		d, sink := &deaf{memory: &memory{}, off: true}, &shelf{}
		d.add(t, events(0, 4)...)
		c, _ := newCheckpointer(s, d, sink)
		stop := start(t, c)
		time.Sleep(10 * time.Second)
		d.mu.Lock()
		d.off = false
		d.mu.Unlock()
		time.Sleep(1 * time.Second)
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if got := sink.sizes(t, v); got != "4" {
			t.Errorf("signed %q", got)
		}
	})
}

func TestCheckpointerResumes(t *testing.T) {
	s, _ := newSigner(t)
	m := &memory{}
	m.add(t, events(0, 10)...)
	path := filepath.Join(t.TempDir(), "checkpoints")
	sink := openSink(t, path)
	c, _ := newCheckpointer(s, m, sink)
	check(t, c.Anchor(t.Context(), epoch))
	check(t, sink.Close())

	sink = openSink(t, path)
	c, _ = newCheckpointer(s, m, sink)
	check(t, c.Resume(t.Context()))
	check(t, c.Anchor(t.Context(), epoch)) // nothing new, nothing written
	m.add(t, events(10, 3)...)
	check(t, c.Anchor(t.Context(), epoch.Add(time.Second)))
	if got := len(all(t, sink)); got != 2 {
		t.Errorf("%d checkpoints", got)
	}

	// After a change of key the old checkpoints still bind.
	next, _ := newSigner(t)
	c, _ = newCheckpointer(next, m, sink)
	if err := c.Resume(t.Context()); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("a sink of another key: %v", err)
	}
	both, err := audit.NewVerifier(next.VerifierKey(), s.VerifierKey())
	check(t, err)
	c, _ = newCheckpointer(next, m, sink)
	c.Verifier = both
	check(t, c.Resume(t.Context()))
	m.add(t, events(13, 1)...)
	check(t, c.Anchor(t.Context(), epoch.Add(2*time.Second)))
	r, err := audit.Verify(t.Context(), m, both, sink.All(t.Context()))
	if err != nil || !r.OK() || r.Checkpoints != 3 || r.Tail != 0 {
		t.Errorf("%v\n%v", err, r)
	}
}
