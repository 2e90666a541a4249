package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// HTTPClient returns a client for libraries that speak OAuth with a provider:
// token endpoint, revocation, metadata, identity. The same guard and the same
// rules for URLs hold, redirects are answers, bodies end at 1 MiB with
// [ErrTooLarge], nothing but GET, HEAD and OPTIONS is repeated, and errors are
// [ErrNotSent] or [ErrUnknown] in the sense of [errors.Is]: a refresh token may
// be spent by the second only. Nothing is redacted; the answers are secrets.
func (c *Client) HTTPClient() *http.Client {
	return &http.Client{
		Transport:     oauthTransport{c},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       c.timeout,
	}
}

// oauthTransport carries requests that somebody else built.
type oauthTransport struct{ c *Client }

// RoundTrip implements [http.RoundTripper].
func (t oauthTransport) RoundTrip(in *http.Request) (*http.Response, error) {
	sent, err := readBody(in.Body)
	if err != nil {
		return nil, err
	}
	if err := t.c.rules.Check(in.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrNotSent)
	}
	req := &http.Request{Method: in.Method, URL: in.URL, Header: in.Header.Clone()}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("User-Agent", t.c.userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	res, _, err := send(in.Context(), t.c.oauth, req, sent, safe(in.Method), opaque)
	if err != nil {
		return nil, err
	}
	res.Request = in
	if codings := contentCodings(res.Header); len(codings) > 0 && res.Body != http.NoBody {
		res.Body.Close()
		return nil, because(ErrEncoding, "content codings %q", codings)
	}
	res.Body = readCloser{&capped{src: res.Body, left: maxOAuthResponse}, res.Body}
	return res, nil
}

// readBody takes a request's body out of it, so that it can be sent without
// leave to be rewound.
func readBody(body io.ReadCloser) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxOAuthResponse+1))
	if err != nil {
		return nil, ErrNotSent.Because(fmt.Errorf("read request body: %w", err))
	}
	if len(b) > maxOAuthResponse {
		return nil, refuse(ErrRequest, "request body of more than %d bytes", maxOAuthResponse)
	}
	return b, nil
}

// opaque keeps errors of the network and of time, and no others: what net/http
// quotes of a malformed response may be the secrets of the request, and which
// those are only the caller knows.
func opaque(err error) error {
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
		return err
	}
	return errors.New("no well-formed response")
}

type readCloser struct {
	io.Reader
	io.Closer
}
