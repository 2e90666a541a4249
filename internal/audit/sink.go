package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
)

// Sink keeps signed checkpoints outside the database. It has one writer,
// whose checkpoints come in growing order; several replicas have a sink each.
type Sink interface {
	// Write appends a checkpoint; it is durable when Write returns.
	Write(ctx context.Context, checkpoint []byte) error
	// Last returns the newest checkpoint, or nil when there is none.
	Last(ctx context.Context) ([]byte, error)
	// All yields every checkpoint in the order of writing.
	All(ctx context.Context) iter.Seq2[[]byte, error]
}

// FileSink is a Sink in a file of JSON lines. Checkpoints hold no secret
// (sizes, roots, times), so the file may be read by whoever audits: 0644.
type FileSink struct{ file *appendFile }

var _ Sink = (*FileSink)(nil)

// OpenFileSink opens or creates the file. Its directory should be on another
// disk than the database, or it will be lost and rolled back together with it.
func OpenFileSink(path string) (*FileSink, error) {
	file, err := openAppendFile(path, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint file: %w", err)
	}
	return &FileSink{file}, nil
}

// Close closes the file.
func (s *FileSink) Close() error { return s.file.close() }

// Write implements [Sink]. It returns [ErrFileChanged] when the file is not
// as this process left it.
func (s *FileSink) Write(ctx context.Context, checkpoint []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.file.append(encodeLine(checkpoint)); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// Last implements [Sink]. It reads the end of the file only: the file grows
// by a line a second for years.
func (s *FileSink) Last(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tail, whole, err := s.tail()
	if err != nil {
		return nil, fmt.Errorf("read last checkpoint: %w", err)
	}
	lines := bytes.Split(tail, []byte("\n"))
	// What follows the last line end is empty or torn; what precedes the
	// first is part of a line unless the tail is the whole file.
	lines = lines[:len(lines)-1]
	if !whole && len(lines) > 0 {
		lines = lines[1:]
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if bytes.HasSuffix(lines[i], []byte(cancel[:1])) {
			continue // torn by a crash
		}
		signed, ok := decodeLine(lines[i])
		if !ok {
			return nil, fmt.Errorf("read last checkpoint: %s: a line that is no checkpoint", s.file.path)
		}
		return signed, nil
	}
	if !whole {
		return nil, fmt.Errorf("read last checkpoint: %s: none in its last %d bytes", s.file.path, len(tail))
	}
	return nil, nil
}

// tail returns the end of the file, and whether that is all of it.
func (s *FileSink) tail() ([]byte, bool, error) {
	const enough = 4 * maxNote
	f, err := os.Open(s.file.path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	n := min(info.Size(), enough)
	b := make([]byte, n)
	if n > 0 {
		if _, err := f.ReadAt(b, info.Size()-n); err != nil {
			return nil, false, err
		}
	}
	return b, n == info.Size(), nil
}

// All implements [Sink]. A line that is whole but no checkpoint is yielded
// as it is, so that whoever verifies sees that it does not verify.
func (s *FileSink) All(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for line, err := range s.file.lines() {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, fmt.Errorf("read checkpoints: %w", err))
				return
			}
			signed, ok := decodeLine(line)
			if !ok {
				signed = bytes.Clone(line)
			}
			if !yield(signed, nil) {
				return
			}
		}
	}
}

// ReadCheckpoints reads what a [FileSink] wrote, from a copy of its file. What
// is no checkpoint is refused: a file of something else must not look like one
// without checkpoints. What a crash left half written is passed over.
func ReadCheckpoints(r io.Reader) ([][]byte, error) {
	var out [][]byte
	for line, err := range wholeLines(r) {
		if err != nil {
			return nil, fmt.Errorf("read checkpoints: %w", err)
		}
		signed, ok := decodeLine(line)
		if !ok {
			return nil, fmt.Errorf("read checkpoints: line %d of those that are whole is none", len(out)+1)
		}
		out = append(out, signed)
	}
	return out, nil
}
