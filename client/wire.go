package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

const (
	maxAnswer = 8 << 20          // of JSON; a result holds at most 1 MiB, base64 at worst
	quick     = time.Minute      // for calls that only look something up
	patient   = 10 * time.Minute // for submissions, which wait for the upstream
)

// call is one request of the API.
type call struct {
	method string
	path   string // below the address, without a leading slash
	query  url.Values
	body   []byte // JSON, or nil
	accept string // JSON if empty
}

// send sends cl with an access token and returns the answer, of whatever status.
// A token that the server no longer takes is replaced once: what is refused for
// its token was not done, so even a submission may be sent again.
func (c *Client) send(ctx context.Context, cl call) (*http.Response, secret.Text, error) {
	for again := false; ; again = true {
		t, err := c.Token(ctx)
		if err != nil {
			return nil, secret.Text{}, err
		}
		req, err := http.NewRequestWithContext(ctx, cl.method, c.address+cl.path, bytes.NewReader(cl.body))
		if err != nil {
			return nil, secret.Text{}, &Error{Reason: ReasonBadRequest, Detail: "The request cannot be built.", Err: err}
		}
		req.URL.RawQuery = cl.query.Encode()
		req.Header.Set("Accept", api.MediaJSON+", "+api.MediaProblem)
		if cl.accept != "" {
			req.Header.Set("Accept", cl.accept)
		}
		if cl.body != nil {
			req.Header.Set("Content-Type", api.MediaJSON)
		}
		req.Header.Set("User-Agent", c.agent)
		req.Header.Set("Authorization", "Bearer "+t.Access.Reveal())
		res, err := c.http.Do(req)
		if err != nil {
			return nil, t.Access, unreachable(ctx, err)
		}
		if res.StatusCode != http.StatusUnauthorized || again {
			return res, t.Access, nil
		}
		io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
		res.Body.Close()
		c.access.drop(t)
	}
}

// unreachable wraps an error of the transport. The caller's own cancellation
// stays visible to errors.Is.
func unreachable(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL says nothing that the caller does not know
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &Error{Reason: ReasonUnreachable, Detail: "The server did not answer.", Err: err}
}

// read reads a whole answer that is JSON, or the error that it is.
func read(ctx context.Context, res *http.Response, out any, sent ...secret.Text) error {
	defer res.Body.Close()
	now := time.Now()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return unreachable(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		return refusal(res, body, now, sent...)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind != api.MediaJSON || len(body) > maxAnswer {
		return &Error{Status: res.StatusCode, Reason: ReasonBadAnswer, Detail: "The answer is not JSON of a reasonable size; check the address, and any proxy before it."}
	}
	if err := json.Unmarshal(body, out); err != nil {
		// The decoder's message may quote the answer.
		return &Error{Status: res.StatusCode, Reason: ReasonBadAnswer, Detail: "The answer cannot be read; is the server of another version?"}
	}
	return nil
}

// ask sends a request without effect, or one that is harmless to repeat, and
// decodes the answer into out.
func (c *Client) ask(ctx context.Context, timeout time.Duration, cl call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, sent, err := c.send(ctx, cl)
	if err != nil {
		return err
	}
	return read(ctx, res, out, sent)
}

// list collects all pages of a list.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	var all []T
	seen := map[string]bool{}
	for {
		var page api.Page[T]
		if err := c.ask(ctx, quick, call{method: http.MethodGet, path: path, query: query}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		if seen[page.Next] {
			return nil, &Error{Reason: ReasonBadAnswer, Detail: "The server's pages go in a circle."}
		}
		seen[page.Next] = true
		if query == nil {
			query = url.Values{}
		}
		query.Set("cursor", page.Next)
	}
}

// backoff is how long to wait between attempts: from half a second doubling to
// half a minute, of which a random half is left out so that many agents do not
// return at once.
type backoff struct{ attempts int }

func (b *backoff) reset() { b.attempts = 0 }

// wait waits for the next attempt, at least as long as the server asked for.
func (b *backoff) wait(ctx context.Context, atLeast time.Duration) error {
	d := min(500*time.Millisecond<<min(b.attempts, 6), 30*time.Second)
	b.attempts++
	d = d/2 + rand.N(d/2)
	t := time.NewTimer(max(d, atLeast))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// checkID refuses what cannot be an id before it becomes part of a path.
func checkID(id string) error {
	for i := range len(id) {
		if ch := id[i]; !(ch >= 'a' && ch <= 'z' || ch >= '0' && ch <= '9' || ch == '_') {
			return &Error{Reason: ReasonBadRequest, Detail: fmt.Sprintf("%.60q is not an id.", id)}
		}
	}
	if id == "" {
		return &Error{Reason: ReasonBadRequest, Detail: "The id is empty."}
	}
	return nil
}
