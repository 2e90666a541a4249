package egress

import (
	"io"
	"slices"
	"sync/atomic"
)

// Reads begin small, because most answers are, and grow with a body that fills
// them. What was read is searched and passed on at once, so a stream of events
// stays one.
const (
	firstRead = 4 << 10
	fullRead  = 32 << 10
)

// A RedactReader reads another reader without the secrets of its Redactor. It
// holds back only what may be the beginning of one.
type RedactReader struct {
	src  io.Reader
	red  *Redactor
	buf  []byte // what was read and not yet passed on, then room
	held int    // bytes of buf that wait for more
	size int    // how much is read at a time
	full bool   // the last read took all of it
	out  []byte // searched, not yet fetched
	done []byte // the backing of out
	err  error  // what src ended with
	hits atomic.Int64
}

// Reader makes a RedactReader of src.
func (r *Redactor) Reader(src io.Reader) *RedactReader {
	return &RedactReader{src: src, red: r}
}

// Hits returns how many secrets were found so far.
func (r *RedactReader) Hits() int { return int(r.hits.Load()) }

// Read implements [io.Reader].
func (r *RedactReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *RedactReader) fill() {
	if r.size == 0 || r.full && r.size < fullRead {
		r.size = max(firstRead, 2*r.size)
		r.buf = append(make([]byte, 0, r.held+r.size), r.buf[:r.held]...)
	}
	r.buf = slices.Grow(r.buf[:r.held], r.size)
	n, err := r.src.Read(r.buf[r.held : r.held+r.size])
	r.full, r.err = n == r.size, err
	if n == 0 && err == nil {
		return
	}
	out, rest, hits := r.red.scan(r.done[:0], r.buf[:r.held+n], err != nil)
	r.hits.Add(int64(hits))
	r.done, r.out = out, out
	r.held = copy(r.buf[:cap(r.buf)], rest)
}
