package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// WriteExport writes the log up to a checkpoint in a form that anyone can
// verify offline: the encoded events, a line each, then the checkpoint. The
// events are those of a Source; the export covers exactly as many as the
// checkpoint does. It does not verify them; that is what the reader does.
func WriteExport(ctx context.Context, w io.Writer, src Source, checkpoint []byte, v *Verifier) error {
	c, err := v.Parse(checkpoint)
	if err != nil {
		return fmt.Errorf("export audit log: %w", err)
	}
	var n int64
	for r, err := range src.Records(ctx) {
		if err != nil {
			return fmt.Errorf("export audit log: event %d: %w", n, err)
		}
		if n == c.Size {
			break
		}
		if _, err := w.Write(append(r.Encoded[:len(r.Encoded):len(r.Encoded)], '\n')); err != nil {
			return fmt.Errorf("export audit log: event %d: %w", n, err)
		}
		n++
	}
	if n < c.Size {
		return fmt.Errorf("export audit log: the checkpoint covers %d events, the log ends after %d", c.Size, n)
	}
	if _, err := w.Write(append(encodeLine(checkpoint), '\n')); err != nil {
		return fmt.Errorf("export audit log: checkpoint: %w", err)
	}
	return nil
}

// Export is a written export as a Source. Its head is what its last
// checkpoint says.
type Export struct {
	r           io.ReadSeeker
	head        Head
	origin      string
	checkpoints [][]byte
}

var _ Source = (*Export)(nil)

// ErrCutOff means that an export has no checkpoint line at its end.
var ErrCutOff = errors.New("the export has no checkpoint at its end: it was cut off")

// OpenExport finds the checkpoints of an export. It is lenient, so that
// [Verify] can say what is wrong and where.
func OpenExport(r io.ReadSeeker) (*Export, error) {
	x := &Export{r: r}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("open audit export: %w", err)
	}
	var n int64
	for line, err := range readLines(r) {
		if err != nil {
			return nil, fmt.Errorf("open audit export: line %d: %w", n+1, err)
		}
		n++
		if signed, ok := decodeLine(bytes.TrimRight(line, "\r\n")); ok {
			x.checkpoints = append(x.checkpoints, signed)
		}
	}
	if len(x.checkpoints) == 0 {
		return nil, fmt.Errorf("open audit export: %w after event %d", ErrCutOff, n-1)
	}
	// The signature is checked by whoever verifies: what an unsigned head
	// claims is compared with the events anyway.
	text, _, ok := strings.Cut(string(x.checkpoints[len(x.checkpoints)-1]), "\n\n")
	c, err := parseBody(text + "\n")
	if !ok || err != nil {
		return nil, fmt.Errorf("open audit export: %w", errors.Join(ErrCheckpoint, err))
	}
	x.head, x.origin = c.Head, c.Origin
	return x, nil
}

// Origin returns the name of the log that the last checkpoint claims, before
// any signature was checked; it helps to choose the key.
func (x *Export) Origin() string { return x.origin }

// Checkpoints yields the export's own checkpoints, for who has no others.
func (x *Export) Checkpoints() iter.Seq2[[]byte, error] { return Checkpoints(x.checkpoints...) }

// Head implements [Source].
func (x *Export) Head(context.Context) (Head, error) { return x.head, nil }

// Hashes implements [Source]: an export has no stored hashes.
func (x *Export) Hashes(context.Context) iter.Seq2[tlog.Hash, error] { return nil }

// Records implements [Source]. Every line that is not a checkpoint to the
// last byte counts as an event, so that nothing in the file goes unread.
func (x *Export) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if _, err := x.r.Seek(0, io.SeekStart); err != nil {
			yield(Record{}, err)
			return
		}
		var n int64
		for line, err := range readLines(x.r) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			whole, ended := bytes.CutSuffix(line, []byte("\n"))
			if !ended {
				whole = line[:len(line):len(line)]
				whole = append(whole, " (no line end)"...)
			}
			if _, ok := decodeLine(whole); ok {
				continue
			}
			if !yield(Record{Seq: n, Encoded: whole}, nil) {
				return
			}
			n++
		}
	}
}
