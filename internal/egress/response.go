package egress

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/valetkey/valetkey/internal/fault"
)

// Response is what came back, as far as it may be seen.
type Response struct {
	Status int
	// Header holds what may be passed on. Content-Length and Content-Encoding
	// are gone: the body is inflated and may have been redacted. Location stays,
	// for the caller to judge.
	Header http.Header
	// Challenge is what WWW-Authenticate said, redacted. It is for the broker,
	// which must tell a dead token from a missing scope; agents do not see it.
	Challenge []string
	// Body streams. Reading it ends with io.EOF only if the response was
	// complete; otherwise with ErrTruncated, ErrTooLarge or ErrEncoding.
	Body io.ReadCloser
	// Resent says that a repeatable request was written to more than one
	// connection.
	Resent bool

	body *body
	hits int // in the header
}

// Redacted returns how often the credential was found and replaced so far:
// in the header, in what was read of the body and, after its end, in the
// trailer. A hit means that upstream echoes credentials: raise an alarm.
func (r *Response) Redacted() int {
	return r.hits + r.body.text.Hits() + int(r.body.trailerHits.Load())
}

// Trailer returns the trailer fields that may be seen, once the body was read
// to its end; nil before, and where there are none.
func (r *Response) Trailer() http.Header { return r.body.trailer }

func newResponse(res *http.Response, red *Redactor, resent bool, limit int64, cancel context.CancelFunc) *Response {
	r := &Response{Status: res.StatusCode, Resent: resent}
	r.Header, r.hits = filter(res.Header, red)
	for _, v := range res.Header["Www-Authenticate"] {
		v, n := red.String(v)
		r.Challenge = append(r.Challenge, v)
		r.hits += n
	}
	r.body = &body{upstream: res, red: red, cancel: cancel}
	r.body.text = red.Reader(content(res, limit))
	r.Body = r.body
	return r
}

// content returns the body of res, inflated and bounded.
func content(res *http.Response, limit int64) io.Reader {
	wire := &capped{src: res.Body, left: limit}
	if res.Body == http.NoBody || res.Request != nil && res.Request.Method == http.MethodHead {
		return wire
	}
	switch codings := contentCodings(res.Header); {
	case len(codings) == 0:
		return wire
	case len(codings) == 1 && (codings[0] == "gzip" || codings[0] == "x-gzip"): // RFC 9110 §8.4.1.3
		return &capped{src: &inflater{src: wire}, left: limit}
	default:
		return broken{because(ErrEncoding, "content codings %q", codings)}
	}
}

// contentCodings lists what was done to the body, without the coding that
// does nothing.
func contentCodings(h http.Header) []string {
	var out []string
	for _, line := range h["Content-Encoding"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
				out = append(out, name)
			}
		}
	}
	return out
}

// body is a response body for the caller.
type body struct {
	upstream    *http.Response
	red         *Redactor
	text        *RedactReader
	cancel      context.CancelFunc
	once        sync.Once
	ended       error
	trailer     http.Header
	trailerHits atomic.Int64
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	n, err := b.text.Read(p)
	if err != nil {
		b.ended = b.end(err)
	}
	return n, b.ended
}

// end settles what reading ended with.
func (b *body) end(err error) error {
	if err == io.EOF {
		if len(b.upstream.Trailer) > 0 {
			var hits int
			b.trailer, hits = filter(b.upstream.Trailer, b.red)
			b.trailerHits.Add(int64(hits))
		}
		return io.EOF
	}
	if _, ours := errors.AsType[*fault.Error](err); ours {
		return err
	}
	return ErrTruncated.Because(b.red.hide(err))
}

// Close implements [io.Closer]. It gives the connection back if the body was
// read to its end, and closes it otherwise.
func (b *body) Close() error {
	var err error
	b.once.Do(func() {
		err = b.upstream.Body.Close()
		b.cancel()
	})
	return err
}

// capped reads at most left bytes, and says ErrTooLarge if there are more.
type capped struct {
	src  io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1] // one more byte tells "full" from "too much"
	}
	n, err := c.src.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

// inflater inflates gzip. It reads the head with the first Read, so that
// a call returns before its body begins.
type inflater struct {
	src io.Reader
	gz  *gzip.Reader
}

func (i *inflater) Read(p []byte) (int, error) {
	if i.gz == nil {
		gz, err := gzip.NewReader(i.src)
		if errors.Is(err, gzip.ErrHeader) {
			return 0, ErrEncoding.Because(err)
		}
		if err != nil {
			return 0, err // io.EOF too: an empty body has nothing to inflate
		}
		i.gz = gz
	}
	return i.gz.Read(p)
}

// broken is a body that cannot be read.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
