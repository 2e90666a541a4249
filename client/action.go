package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/api"
)

// Outcome is what became of a submission: either it ran, or it is held.
type Outcome struct {
	Result *api.ActionResult // it was permitted and ran
	Held   *api.Action       // it waits for a human; or it attached to an earlier one, which may be over

	IdempotencyKey string // with which it was submitted
}

// Submit asks for an action. A request without an idempotency key gets a random
// one, so that each call of Submit is one intent. Set a key of your own, derived
// from the task at hand, if the program may be restarted between submitting and
// learning what became of it: the same request with the same key then attaches
// to the held action instead of asking people twice.
func (c *Client) Submit(ctx context.Context, r api.ActionRequest) (*Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	out := &Outcome{IdempotencyKey: withKey(&r)}
	res, held, err := c.submit(ctx, r, nil)
	if err != nil || held != nil {
		out.Held = held
		return nilOnError(out, err)
	}
	out.Result = new(api.ActionResult)
	if err := read(ctx, res, out.Result); err != nil {
		out.Result = nil
		out.Held, err = c.lost(ctx, r.IdempotencyKey, err)
		return nilOnError(out, err)
	}
	return out, nil
}

func nilOnError(o *Outcome, err error) (*Outcome, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

func withKey(r *api.ActionRequest) string {
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = rand.Text()
	}
	return r.IdempotencyKey
}

// attempts is how often a submission is sent that the server was too busy for.
const attempts = 5

// submit sends r until it is taken. It returns the answer of an action that ran,
// with its body unread, or the held action.
func (c *Client) submit(ctx context.Context, r api.ActionRequest, query url.Values) (*http.Response, *api.Action, error) {
	body, err := encode(r)
	if err != nil {
		return nil, nil, err
	}
	cl := call{method: http.MethodPost, path: "v1/actions", query: query, body: body}
	if query != nil {
		cl.accept = "*/*"
	}
	var pause backoff
	for n := 1; ; n++ {
		res, sent, err := c.send(ctx, cl)
		switch {
		case err == nil && res.StatusCode == http.StatusOK:
			return res, nil, nil
		case err == nil:
			var a api.Action
			if err = read(ctx, res, &a, sent); err == nil && res.StatusCode == http.StatusAccepted {
				return nil, &a, nil
			}
		}
		e := asError(err)
		switch {
		case e == nil && err != nil:
			return nil, nil, err
		case e == nil:
			e = &Error{Status: res.StatusCode, Reason: ReasonBadAnswer, Detail: "The answer has a status that this API does not use."}
		}
		e.IdempotencyKey = r.IdempotencyKey
		switch {
		case sent.IsZero() || isDial(e): // no access token, or no connection: nothing was sent
			if !e.transient() {
				return nil, nil, e
			}
		case e.nothingHappened():
		case !mayHaveHappened(e):
			return nil, nil, e
		default:
			held, err := c.lost(ctx, r.IdempotencyKey, e)
			return nil, held, err
		}
		if n == attempts {
			return nil, nil, e
		}
		if pause.wait(ctx, e.RetryAfter) != nil {
			return nil, nil, e
		}
	}
}

// mayHaveHappened reports whether e leaves open what became of a submission: no
// complete answer, an error that the server did not foresee, or the answer of
// something between us and the server. A refusal in the words of the API does
// not, and neither does a redirect or refusal of something that stands in for it.
func mayHaveHappened(e *Error) bool {
	switch e.Reason {
	case ReasonUnreachable:
		return true
	case ReasonBadAnswer:
		return e.Status < 300 || e.Status >= 500
	}
	return e.Status == http.StatusInternalServerError
}

func encode(r api.ActionRequest) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // so that a JSON body stays as it was written
	if err := enc.Encode(r); err != nil {
		return nil, &Error{Reason: ReasonBadRequest, Detail: "The request is no JSON.", Err: err}
	}
	return b.Bytes(), nil
}

// isDial reports whether err came before anything could be sent: no connection,
// or one to somebody whose certificate we do not trust.
func isDial(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// lost is for a submission whose answer did not arrive: it may be held, it may
// have run, it may never have got there. The first can be found out, so that
// waiting can go on; the other two are for the caller to judge, who alone knows
// whether a repetition does harm.
func (c *Client) lost(ctx context.Context, key string, cause error) (*api.Action, error) {
	e := &Error{
		Reason: ReasonAnswerLost, IdempotencyKey: key, Err: cause,
		Detail: "The request was sent and its answer lost: it may have happened. Look before repeating it.",
	}
	var pause backoff
	absent := 0
	for n := 0; n < attempts && absent < 2; n++ {
		// Once is not enough: the server may still be at work on it.
		if pause.wait(ctx, 0) != nil {
			return nil, e
		}
		var page api.Page[api.Action]
		err := c.ask(ctx, quick, call{method: http.MethodGet, path: "v1/actions", query: url.Values{"idempotency_key": {key}}}, &page)
		if err != nil {
			if a := asError(err); a == nil || !a.transient() {
				return nil, e
			}
			continue
		}
		for i := range page.Items {
			if page.Items[i].IdempotencyKey == key {
				return &page.Items[i], nil
			}
		}
		absent++
	}
	return nil, e
}

// pollPause is the shortest time between two polls that changed nothing, for a
// server that does not wait.
const pollPause = time.Second

// Await waits until nothing more will happen to an action, for hours or days,
// and returns it. It goes on through restarts of the server and lost
// connections; only ctx or a refusal ends it. If ctx does, the error has the
// reason [ReasonWaiting], and the action goes on without us.
func (c *Client) Await(ctx context.Context, id string) (*api.Action, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	wait := call{method: http.MethodGet, path: "v1/actions/" + id, query: url.Values{"wait": {strconv.Itoa(api.MaxWaitSeconds)}}}
	var pause backoff
	for {
		var a api.Action
		began := time.Now()
		err := c.ask(ctx, (api.MaxWaitSeconds+30)*time.Second, wait, &a)
		if ctx.Err() != nil && (err != nil || !a.Final) {
			return nil, &Error{Reason: ReasonWaiting, Detail: "The action is not over; wait for it again.", Action: id, Err: ctx.Err()}
		}
		var atLeast time.Duration
		switch e := asError(err); {
		case err == nil && a.Final:
			return &a, nil
		case err == nil:
			pause.reset()
			if time.Since(began) >= pollPause {
				continue
			}
			atLeast = pollPause
		case e == nil || !e.transient():
			return nil, err
		default:
			atLeast = e.RetryAfter
		}
		// The end of ctx is noticed at the top, with the error that tells it.
		_ = pause.wait(ctx, atLeast)
	}
}

// Cancel withdraws a held action that has not begun to execute.
func (c *Client) Cancel(ctx context.Context, id string) (*api.Action, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	var a api.Action
	if err := c.ask(ctx, quick, call{method: http.MethodPost, path: "v1/actions/" + id + "/cancel"}, &a); err != nil {
		return nil, err
	}
	return &a, nil
}

// Response is what the upstream answered.
type Response struct {
	Action string // id of the action
	Status int    // the upstream's HTTP status
	Header http.Header
	Body   io.ReadCloser // to be closed by the caller; an early end is an error, never an EOF
}

// Response returns the kept answer of a held action that was executed. Answers
// are kept for a day.
func (c *Client) Response(ctx context.Context, id string) (*Response, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	res, sent, err := c.send(ctx, call{method: http.MethodGet, path: "v1/actions/" + id + "/response", accept: "*/*"})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errAnswer(read(ctx, res, new(json.RawMessage), sent))
	}
	r, err := upstream(res)
	if err == nil && r.Action == "" {
		r.Action = id
	}
	return r, err
}

// errAnswer turns a success that should not be one into an error.
func errAnswer(err error) error {
	if err != nil {
		return err
	}
	return &Error{Reason: ReasonBadAnswer, Detail: "The answer has a status that this API does not use."}
}

// upstream reads what is ours off a raw answer.
func upstream(res *http.Response) (*Response, error) {
	status, err := strconv.Atoi(res.Header.Get(api.HeaderUpstreamStatus))
	if err != nil || status < 100 || status > 999 {
		res.Body.Close()
		return nil, &Error{Status: res.StatusCode, Reason: ReasonBadAnswer, Detail: "The answer lacks " + api.HeaderUpstreamStatus + "; check the address, and any proxy before it."}
	}
	r := &Response{Action: res.Header.Get(api.HeaderAction), Status: status, Header: res.Header, Body: res.Body}
	r.Header.Del(api.HeaderUpstreamStatus)
	r.Header.Del(api.HeaderAction)
	return r, nil
}

// Do submits an action, waits for people where they are asked, and returns what
// the upstream answered, whatever its status. An action that ended without such
// an answer is an [*Error] whose Reason is the state. If ctx ends first, the
// error's Action is what to [Client.Await].
func (c *Client) Do(ctx context.Context, r api.ActionRequest) (*Response, error) {
	key := withKey(&r)
	res, held, err := c.submit(ctx, r, url.Values{"stream": {"1"}})
	if err == nil && held == nil {
		var out *Response
		if out, err = upstream(res); err == nil {
			return out, nil
		}
		held, err = c.lost(ctx, key, err)
	}
	if err != nil {
		return nil, err
	}
	if !held.Final {
		if held, err = c.Await(ctx, held.ID); err != nil {
			return nil, err
		}
	}
	if held.Outcome != nil && held.Outcome.Status != 0 {
		return c.Response(ctx, held.ID)
	}
	return nil, ended(held)
}

// ended says why an action brought no answer.
func ended(a *api.Action) *Error {
	e := &Error{Reason: string(a.State), Action: a.ID, Explanation: a.Explanation, IdempotencyKey: a.IdempotencyKey}
	switch a.State {
	case api.StateDenied:
		e.Detail = "A person said no."
	case api.StateExpired:
		e.Detail = "Nobody answered in time."
	case api.StateUnknown:
		e.Detail = "It was sent and the provider's answer lost: it may have happened. Look before repeating it."
	default:
		e.Detail = fmt.Sprintf("The action is %s.", a.State)
	}
	if a.Outcome != nil && a.Outcome.Why != "" {
		e.Detail += " (" + clean(a.Outcome.Why, nil) + ")"
	}
	return e
}
