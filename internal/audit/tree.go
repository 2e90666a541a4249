package audit

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Head is the tree as a whole: how many events, and the root over them.
type Head struct {
	Size int64
	Root tlog.Hash
}

// Frontier is the right edge of the tree: the roots of the largest complete
// subtrees that make up its first Size leaves. It is a value: appending
// returns a new one and leaves the old, so that a transaction which rolls
// back simply drops the new one. The zero value is the empty tree.
type Frontier struct {
	size  int64
	peaks []tlog.Hash // largest first, one for each 1-bit of size
}

// Restore reads the frontier of the first size leaves from stored hashes, at
// most one for each bit of size.
func Restore(size int64, r tlog.HashReader) (Frontier, error) {
	if size < 0 {
		return Frontier{}, fmt.Errorf("restore frontier: size %d", size)
	}
	indexes := peakIndexes(size)
	if len(indexes) == 0 {
		return Frontier{}, nil
	}
	peaks, err := r.ReadHashes(indexes)
	if err != nil {
		return Frontier{}, fmt.Errorf("restore frontier of %d events: %w", size, err)
	}
	if len(peaks) != len(indexes) {
		return Frontier{}, fmt.Errorf("restore frontier of %d events: asked for %d hashes, got %d", size, len(indexes), len(peaks))
	}
	return Frontier{size, peaks}, nil
}

// peakIndexes returns where the peaks of a tree are stored, largest first.
func peakIndexes(size int64) []int64 {
	var indexes []int64
	for lo, rest := int64(0), size; rest > 0; {
		level := bits.Len64(uint64(rest)) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, lo>>level))
		lo += 1 << level
		rest -= 1 << level
	}
	return indexes
}

// Size returns the number of leaves.
func (f Frontier) Size() int64 { return f.size }

// Head returns the size and root.
func (f Frontier) Head() Head {
	if f.size == 0 {
		root, _ := tlog.TreeHash(0, nil) // a constant; reads nothing
		return Head{0, root}
	}
	root := f.peaks[len(f.peaks)-1]
	for i := len(f.peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.peaks[i], root)
	}
	return Head{f.size, root}
}

// push adds a leaf in place and appends to out the hashes that must be
// stored: the leaf's, then those of the subtrees it completes.
func (f *Frontier) push(leaf tlog.Hash, out []tlog.Hash) []tlog.Hash {
	out = append(out, leaf)
	for range bits.TrailingZeros64(uint64(f.size + 1)) {
		last := len(f.peaks) - 1
		leaf = tlog.NodeHash(f.peaks[last], leaf)
		f.peaks = f.peaks[:last]
		out = append(out, leaf)
	}
	f.peaks = append(f.peaks, leaf)
	f.size++
	return out
}

// clone returns a frontier that push may change.
func (f Frontier) clone() Frontier {
	return Frontier{f.size, append(make([]tlog.Hash, 0, 64), f.peaks...)}
}

// Batch is what one append must persist, in one transaction: Encoded[i] as
// event Events[i].Seq, Hashes[i] at stored-hash index FirstHash+i, and Head
// in place of the head before.
type Batch struct {
	Events    []Event // with Seq set and At in UTC microseconds
	Encoded   [][]byte
	FirstHash int64
	Hashes    []tlog.Hash
	Head      Head
}

// ErrEmptyBatch is returned for an append of no events.
var ErrEmptyBatch = errors.New("append to audit log: no events")

// Append adds events to the tree and returns the frontier after them and
// what to persist. It reads nothing and f stays as it was. One event that
// cannot be recorded fails the whole batch; use [Event.Check] to find it
// before.
func (f Frontier) Append(events []Event) (Frontier, Batch, error) {
	if len(events) == 0 {
		return f, Batch{}, ErrEmptyBatch
	}
	next := f.clone()
	b := Batch{
		Events:    make([]Event, len(events)),
		Encoded:   make([][]byte, len(events)),
		FirstHash: tlog.StoredHashCount(f.size),
		Hashes:    make([]tlog.Hash, 0, 2*len(events)+1),
	}
	for i, e := range events {
		if err := e.Check(); err != nil {
			return f, Batch{}, fmt.Errorf("append to audit log: event %d of %d: %w", i+1, len(events), err)
		}
		e.Seq = next.size
		e.At = e.At.UTC().Truncate(time.Microsecond)
		b.Events[i], b.Encoded[i] = e, e.Encode()
		b.Hashes = next.push(tlog.RecordHash(b.Encoded[i]), b.Hashes)
	}
	b.Head = next.Head()
	return next, b, nil
}
