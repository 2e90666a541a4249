package audit

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// Verify reads a whole log once, as a stream, and compares every event with
// its place, its encoding, its columns and its stored hashes, the whole with
// the head, and each prefix with the outside checkpoints of that size. Each
// sequence of checkpoints is one sink's, in the order of writing. It needs
// memory for a few hundred hashes, whatever the size of the log.
//
// The error is for what kept it from reading; what it read and found wrong
// is in the report. It stops reading events at the first that is wrong.
func Verify(ctx context.Context, src Source, v *Verifier, checkpoints ...iter.Seq2[[]byte, error]) (Report, error) {
	head, err := src.Head(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("verify audit log: read head: %w", err)
	}
	w := &walk{verifier: v}
	for _, seq := range checkpoints {
		if err := w.follow(seq); err != nil {
			return Report{}, err
		}
	}
	defer w.stop()
	if hashes := src.Hashes(ctx); hashes != nil {
		next, stop := iter.Pull2(hashes)
		defer stop()
		w.hashes = next
	}

	if err := w.compare(); err != nil { // a checkpoint of the empty log
		return Report{}, err
	}
	for r, err := range src.Records(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Report{}, fmt.Errorf("verify audit log: read event %d: %w", w.frontier.size, err)
		}
		if w.frontier.size == head.Size {
			w.broken(head.Size, head.Size, "there are more events than the head counts (%d)", head.Size)
			break
		}
		if err := w.record(r); err != nil {
			return Report{}, err
		}
		if w.stopAt {
			break
		}
		if err := w.compare(); err != nil {
			return Report{}, err
		}
	}
	return w.finish(head)
}

// walk is the state of one verification.
type walk struct {
	verifier *Verifier
	frontier Frontier
	hashes   func() (tlog.Hash, error, bool) // nil: the source keeps none
	buf      []tlog.Hash
	cursors  []*cursor
	stopAt   bool // an event is wrong; what follows cannot be placed
	report   Report
}

// broken and incomplete note the finding that begins first.
func (w *walk) broken(first, last int64, format string, args ...any) {
	keepFirst(&w.report.Integrity, first, last, format, args...)
}

func (w *walk) incomplete(first, last int64, format string, args ...any) {
	keepFirst(&w.report.Completeness, first, last, format, args...)
}

func keepFirst(at **Finding, first, last int64, format string, args ...any) {
	if *at == nil || first < (*at).First {
		*at = &Finding{first, last, fmt.Sprintf(format, args...)}
	}
}

// record checks one event and adds it to the tree.
func (w *walk) record(r Record) error {
	n := w.frontier.size
	wrong := func(format string, args ...any) {
		w.broken(n, n, format, args...)
		w.stopAt = true
	}
	e, err := Decode(r.Encoded)
	switch {
	case err != nil:
		wrong("%v", err)
		return nil
	case e.Seq != n:
		wrong("event %d stands in its place", e.Seq)
		return nil
	case r.Seq != n:
		wrong("it is kept under the key %d", r.Seq)
		return nil
	}
	for name, value := range r.Columns {
		if own, ok := e.column(name); !ok || own != value {
			wrong("column %s differs from the event", name)
			return nil
		}
	}
	if w.frontier.peaks == nil {
		w.frontier = w.frontier.clone()
	}
	w.buf = w.frontier.push(tlog.RecordHash(r.Encoded), w.buf[:0])
	if w.hashes == nil {
		return nil
	}
	for i, want := range w.buf {
		got, err, ok := w.hashes()
		if err != nil {
			return fmt.Errorf("verify audit log: read hashes of event %d: %w", n, err)
		}
		if ok && got == want {
			continue
		}
		// The event goes back out of the count: it is not sound. The peaks
		// are not needed again, because the walk stops here.
		w.frontier.size = n
		switch {
		case !ok:
			wrong("its stored hash is missing")
		case i == 0:
			wrong("it differs from its stored hash")
		default:
			// All leaf hashes below are right, so a stored inner hash is not.
			wrong("the stored hash over the %d events up to it differs", int64(1)<<i)
		}
		return nil
	}
	return nil
}

// column returns the field that a source may keep a copy of.
func (e Event) column(name string) (string, bool) {
	switch name {
	case "at":
		return strconv.FormatInt(e.At.UnixMicro(), 10), true
	case "org":
		return string(e.Org), true
	case "verb":
		return e.Verb, true
	case "actor":
		return e.Actor, true
	case "object":
		return e.Object, true
	case "subject":
		return e.Subject, true
	}
	return "", false
}

// finish judges the end of the log, and the checkpoints that are left.
func (w *walk) finish(head Head) (Report, error) {
	have := w.frontier.size
	w.report.Events = have
	if !w.stopAt {
		w.report.Root = w.frontier.Head().Root
		switch {
		case have < head.Size:
			w.broken(have, head.Size-1, "the log ends here, its head counts %d events", head.Size)
		case w.report.Integrity == nil && w.report.Root != head.Root:
			// Each event is in order and so are the stored hashes, if any:
			// the head, or some event since the last checkpoint, is not.
			w.broken(min(w.report.Anchor.Size, max(have-1, 0)), max(have-1, 0), "the root over all events is not the head's: the head or one of these events was changed")
		}
		if w.hashes != nil && w.report.Integrity == nil {
			_, err, more := w.hashes()
			if err != nil {
				return Report{}, fmt.Errorf("verify audit log: read hashes: %w", err)
			}
			if more {
				w.broken(have, have, "there are stored hashes of events that are not there")
			}
		}
	}
	for _, c := range w.cursors {
		for c.open {
			if c.at.Size > have && !w.stopAt {
				w.incomplete(have, c.at.Size-1, "checkpoint %d covers %d events, the log ends after %d", c.n, c.at.Size, have)
			}
			if err := w.advance(c); err != nil {
				return Report{}, err
			}
		}
		w.report.Checkpoints += c.n
	}
	w.report.Tail = have - w.report.Anchor.Size
	return w.report, nil
}

// cursor walks along one sink's checkpoints.
type cursor struct {
	next func() ([]byte, error, bool)
	stop func()
	at   Checkpoint // the one to compare next
	n    int        // its number, from 1
	seen bool       // at holds one
	open bool
}

func (w *walk) follow(seq iter.Seq2[[]byte, error]) error {
	next, stop := iter.Pull2(seq)
	c := &cursor{next: next, stop: stop, open: true}
	w.cursors = append(w.cursors, c)
	return w.advance(c)
}

func (w *walk) stop() {
	for _, c := range w.cursors {
		c.stop()
	}
}

// advance moves to the next checkpoint that could follow the last. One that
// could not is a finding of its own and is compared with nothing.
func (w *walk) advance(c *cursor) error {
	for {
		signed, err, ok := c.next()
		if err != nil {
			return fmt.Errorf("verify audit log: read checkpoint %d: %w", c.n+1, err)
		}
		if !ok {
			c.open = false
			return nil
		}
		c.n++
		p, err := w.verifier.Parse(signed)
		switch {
		case err != nil:
			w.incomplete(c.at.Size, c.at.Size, "checkpoint %d: %v", c.n, err)
		case c.seen && p.Size < c.at.Size:
			w.incomplete(p.Size, c.at.Size-1, "checkpoint %d covers %d events, one before it %d: the log shrank", c.n, p.Size, c.at.Size)
		case c.seen && p.Size == c.at.Size && p.Root != c.at.Root:
			w.incomplete(min(w.report.Anchor.Size, max(p.Size-1, 0)), max(p.Size-1, 0), "checkpoint %d and one before it name other roots for the same %d events: the log was shown in two versions", c.n, p.Size)
		default:
			c.at, c.seen = p, true
			return nil
		}
	}
}

// compare holds the tree so far against every checkpoint of its size.
func (w *walk) compare() error {
	size := w.frontier.size
	for _, c := range w.cursors {
		for c.open && c.at.Size == size {
			if root := w.frontier.Head().Root; c.at.Root != root {
				w.broken(min(w.report.Anchor.Size, max(size-1, 0)), max(size-1, 0), "checkpoint %d names another root for the first %d events: one of these was changed", c.n, size)
				w.incomplete(min(w.report.Anchor.Size, max(size-1, 0)), max(size-1, 0), "checkpoint %d does not fit the log", c.n)
			} else if w.report.Integrity == nil && size >= w.report.Anchor.Size {
				w.report.Anchor, w.report.AnchorNumber = c.at, c.n
			}
			if err := w.advance(c); err != nil {
				return err
			}
		}
	}
	return nil
}
