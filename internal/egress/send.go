package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
)

// send takes one request to the wire. repeatable says whether its bytes may
// reach a second connection; what provably did not leave is tried again in any
// case. resent says that the bytes did reach more than one. hide makes an error
// that upstream had a hand in fit for a log.
func send(ctx context.Context, t *http.Transport, req *http.Request, body []byte, repeatable bool, hide func(error) error) (res *http.Response, resent bool, err error) {
	if !repeatable {
		hideKey(req.Header)
	}
	for range maxFresh {
		a := &attempt{repeatable: repeatable}
		traced := req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) {
				if c, ok := info.Conn.(*conn); ok {
					a.got(c, info.Reused)
				}
			},
		}))
		setBody(traced, body, repeatable)
		res, err = t.RoundTrip(traced)
		if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
			res.Body.Close()
			err = errUnasked
		}
		if err == nil {
			return res, a.resent(), nil
		}
		sent, reused := a.seal()
		if sent {
			return nil, false, ErrUnknown.Because(hide(err))
		}
		if !reused || ctx.Err() != nil {
			break
		}
	}
	if errors.Is(err, ErrAddress) {
		// The guard's verdict, and not the general "not sent", is what the
		// caller should see.
		return nil, false, fmt.Errorf("%w: %w", ErrAddress.Because(err), ErrNotSent)
	}
	return nil, false, ErrNotSent.Because(err)
}

// setBody gives req its body. GetBody, by which net/http rewinds it, exists
// only if req may be sent twice. A request without content has no body at all,
// so that it says Content-Length: 0 where that is expected.
func setBody(req *http.Request, body []byte, repeatable bool) {
	if len(body) == 0 {
		return
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = open()
	req.ContentLength = int64(len(body))
	if repeatable {
		req.GetBody = open
	}
}

// hideKey writes idempotency headers in lower case. net/http takes them as
// leave to send a request without content again, and looks for the canonical
// spelling only; to upstream the spelling is the same (RFC 9110 §5.1).
func hideKey(h http.Header) {
	for canonical, plain := range map[string]string{"Idempotency-Key": "idempotency-key", "X-Idempotency-Key": "x-idempotency-key"} {
		if key, found := h[canonical]; found {
			delete(h, canonical)
			h[plain] = key
		}
	}
}

// hide keeps err as it is unless its text holds a secret: net/http quotes
// malformed responses, and a response may quote the request.
func (r *Redactor) hide(err error) error {
	if text, hits := r.String(err.Error()); hits > 0 {
		return errors.New(text)
	}
	return err
}
