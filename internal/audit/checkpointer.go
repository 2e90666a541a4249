package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Log is the log as a Checkpointer reads it.
type Log interface {
	// Head returns the committed head, read from the primary.
	Head(ctx context.Context) (Head, error)
	// ReadHashes returns the stored hashes with the given indexes.
	ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
}

// What a Checkpointer stops for. Either means that history was lost or
// replaced: a database restored from an old backup, two databases in turn
// under one key, or tampering.
var (
	ErrShrunk = errors.New("the audit log is shorter than a checkpoint signed before")
	ErrForked = errors.New("the audit log does not extend a checkpoint signed before")
)

// Checkpointer signs the head of a log whenever it grew and writes the
// checkpoint to every sink. Before it signs it demands proof that the head
// extends the last one signed; without it, it signs nothing ever after. A
// sink that fails is tried again at each tick and holds up nothing else: it
// gets the newest checkpoint when it is back.
//
// Fill the exported fields, call Resume before serving, then Run.
type Checkpointer struct {
	Log    Log
	Signer *Signer
	// Verifier knows the keys that signed what is in the sinks already. Nil
	// stands for the signer's own key.
	Verifier *Verifier
	Sinks    []Sink
	// OnFault is called once, with an error that wraps ErrShrunk or
	// ErrForked, so that the server can stop taking requests. It must not
	// call the Checkpointer.
	OnFault func(error)
	Logger  *slog.Logger
	Every   time.Duration // zero stands for a second

	mu      sync.Mutex
	resumed bool
	fault   error
	last    Checkpoint
	signed  []byte // the note of last; nil when nothing was signed or found
	behind  []bool // by sink: last has not reached it
	failing bool   // a warning was logged and no success since; Run only
}

// Resume reads the last checkpoint of every sink and checks that the log
// extends them all. It returns an error that wraps [ErrShrunk] or [ErrForked]
// when the log fell behind its sinks: the server must not serve then.
func (c *Checkpointer) Resume(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resume(ctx)
}

func (c *Checkpointer) resume(ctx context.Context) error {
	if c.resumed || c.fault != nil {
		return c.fault
	}
	v := c.Verifier
	if v == nil {
		var err error
		if v, err = c.Signer.Verifier(); err != nil {
			return err
		}
	}
	var found []Checkpoint
	c.last, c.signed, c.behind = Checkpoint{}, nil, make([]bool, len(c.Sinks))
	for i, sink := range c.Sinks {
		signed, err := sink.Last(ctx)
		if err != nil {
			return fmt.Errorf("resume checkpoints from sink %d: %w", i+1, err)
		}
		if signed == nil {
			continue
		}
		p, err := v.Parse(signed)
		if err != nil {
			return fmt.Errorf("resume checkpoints from sink %d: %w", i+1, err)
		}
		found = append(found, p)
		if c.signed == nil || p.Size > c.last.Size {
			c.last, c.signed = p, signed
		}
	}
	head, err := c.Log.Head(ctx)
	if err != nil {
		return fmt.Errorf("resume checkpoints: read head: %w", err)
	}
	for _, p := range found {
		if err := c.extends(ctx, p, head); err != nil {
			return c.stop(fmt.Errorf("resume checkpoints: %w", err))
		}
	}
	c.resumed = true
	return nil
}

// Anchor signs the head at the given time if it grew, and brings every sink
// up to date. Run calls it at each tick; call it where a fresh checkpoint is
// wanted at once, as for an export.
func (c *Checkpointer) Anchor(ctx context.Context, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return c.fault
	}
	if err := c.resume(ctx); err != nil {
		return err
	}
	head, err := c.Log.Head(ctx)
	if err != nil {
		return fmt.Errorf("anchor audit log: read head: %w", err)
	}
	if err := c.extends(ctx, c.last, head); err != nil {
		return c.stop(fmt.Errorf("anchor audit log: %w", err))
	}
	if head.Size > c.last.Size {
		signed, err := c.Signer.Sign(head, now)
		if err != nil {
			return fmt.Errorf("anchor audit log: %w", err)
		}
		c.last, c.signed = Checkpoint{c.Signer.Origin(), head, now.UTC().Truncate(time.Microsecond)}, signed
		for i := range c.behind {
			c.behind[i] = true
		}
	}
	var errs []error
	for i, sink := range c.Sinks {
		if !c.behind[i] {
			continue
		}
		if err := sink.Write(ctx, c.signed); err != nil {
			errs = append(errs, fmt.Errorf("anchor audit log: sink %d: %w", i+1, err))
			continue
		}
		c.behind[i] = false
	}
	return errors.Join(errs...)
}

// extends checks that head has everything that p signed as its beginning.
// An error of reading is not a verdict and wraps neither sentinel.
func (c *Checkpointer) extends(ctx context.Context, p Checkpoint, head Head) error {
	switch {
	case p.Size == 0:
		return nil
	case head.Size < p.Size:
		return fmt.Errorf("%w: %d events now, %d at %s", ErrShrunk, head.Size, p.Size, p.At.Format(time.RFC3339))
	}
	proof, err := ProveExtension(p.Size, head.Size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		return c.Log.ReadHashes(ctx, indexes)
	}))
	if err != nil {
		return err
	}
	if err := CheckExtension(proof, p.Head, head); err != nil {
		return fmt.Errorf("%w: %d events now, %d at %s", ErrForked, head.Size, p.Size, p.At.Format(time.RFC3339))
	}
	return nil
}

// stop remembers a fault for good and reports it; other errors pass through.
func (c *Checkpointer) stop(err error) error {
	if c.fault == nil && (errors.Is(err, ErrShrunk) || errors.Is(err, ErrForked)) {
		c.fault = err
		if c.OnFault != nil {
			c.OnFault(err)
		}
	}
	return err
}

// Last returns the newest signed checkpoint, or nil, and the number of sinks
// that it has not reached.
func (c *Checkpointer) Last() (signed []byte, cp Checkpoint, behind int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.behind {
		if b {
			behind++
		}
	}
	return c.signed, c.last, behind
}

// lastWord bounds the checkpoint that is made at stop.
const lastWord = 5 * time.Second

// Run anchors the log at each tick and once more when ctx ends. It returns
// nil then, and a fault as soon as there is one; other errors are logged and
// the next tick tries again.
func (c *Checkpointer) Run(ctx context.Context) error {
	every := c.Every
	if every <= 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
			defer cancel()
			return c.once(last)
		case <-tick.C:
			if err := c.once(ctx); err != nil {
				return err
			}
		}
	}
}

// once anchors and returns only faults.
func (c *Checkpointer) once(ctx context.Context) error {
	err := c.Anchor(ctx, time.Now())
	switch {
	case err == nil:
		if c.failing {
			c.Logger.InfoContext(ctx, "checkpoints are written again")
		}
		c.failing = false
	case errors.Is(err, ErrShrunk), errors.Is(err, ErrForked):
		return err
	case !c.failing && ctx.Err() == nil:
		// Once, not each second for as long as the sink is away.
		c.failing = true
		c.Logger.WarnContext(ctx, "checkpoint not written, trying again", slog.Any("error", err))
	}
	return nil
}
