package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/provider"
)

// maxInlineBody is how much of an upstream's answer goes into a JSON answer.
const maxInlineBody = 1 << 20

// submit is POST /v1/actions.
func (s *Server) submit(ctx context.Context, who agent.Caller, c *call, in api.ActionRequest) (answerer, error) {
	raw := false
	switch c.query.Get("stream") {
	case "1":
		raw = true
	case "", "0":
	default:
		return nil, invalid("bad_parameter", `The parameter "stream" is 1 or left out.`)
	}
	ask, err := asked(in)
	if err != nil {
		return nil, err
	}
	out, err := s.Broker.Submit(ctx, who, ask, c.now)
	switch {
	case err != nil:
		return nil, err
	case out.Approval != nil:
		view, err := s.actionView(ctx, broker.Held{Action: out.Action, Approval: out.Approval})
		view.Replayed = out.Replayed
		return accepted{view}, err
	case out.Answer == nil:
		return nil, noAnswer(out.Action)
	case raw:
		return &upstream{
			action: out.Action.ID, status: out.Answer.Status, header: out.Answer.Header, body: out.Answer.Body, log: s.Log,
		}, nil
	}
	return inlined(out)
}

// accepted is a held action, with status 202.
type accepted struct{ action api.Action }

func (a accepted) answer(_ context.Context, c *call) error {
	return c.json(http.StatusAccepted, "/v1/actions/"+a.action.ID, a.action)
}

// plain is a JSON value with status 200.
type plain struct{ value any }

func (p plain) answer(_ context.Context, c *call) error { return c.json(http.StatusOK, "", p.value) }

var (
	amountNumber   = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?$`)
	amountCurrency = regexp.MustCompile(`^[A-Z]{3}$`)
)

// asked is what an agent asks for, in the broker's words.
func asked(in api.ActionRequest) (broker.Ask, error) {
	ask := broker.Ask{
		Connection: in.Connection, Operation: in.Operation, Params: in.Params, Method: in.Method, Path: in.Path, RawQuery: in.Query,
		Note: in.Note, Key: in.IdempotencyKey,
	}
	switch {
	case utf8.RuneCountInString(in.Note) > broker.MaxNote:
		return ask, invalid("bad_action", fmt.Sprintf("The note may have at most %d characters.", broker.MaxNote))
	case in.Path != "" && in.Base == "" && !strings.HasPrefix(in.Path, "/"):
		return ask, invalid("bad_action", "A path begins with a slash; another base of the provider goes into base.")
	case in.Base != "":
		ask.Path = strings.TrimSuffix(in.Base, "/") + in.Path
		if !strings.HasPrefix(in.Path, "/") || !strings.Contains(in.Base, "://") {
			return ask, invalid("bad_action", "A base is one of the connection's base_urls, and a path begins with a slash.")
		}
	}
	for name, value := range in.Headers {
		ask.Header = append(ask.Header, action.Header{Name: name, Value: value})
	}
	bodies := 0
	if len(in.Body) > 0 {
		ask.Body, bodies = in.Body, bodies+1
	}
	if in.BodyText != "" {
		ask.Body, bodies = []byte(in.BodyText), bodies+1
	}
	if len(in.BodyJSON) > 0 {
		ask.Body, bodies = in.BodyJSON, bodies+1
	}
	if bodies > 1 {
		return ask, invalid("bad_action", "Give one of body, body_text and body_json.")
	}
	if in.Amount != nil {
		a := *in.Amount
		switch {
		case a.Kind != api.AmountValue && a.Kind != api.AmountTransfer:
			return ask, invalid("bad_amount", `The kind of an amount is "value" or "transfer".`)
		case a.Unknown || !amountNumber.MatchString(a.Number) || !amountCurrency.MatchString(a.Currency):
			return ask, invalid("bad_amount", `An amount is a plain decimal such as "499.99", with a currency such as "EUR"; leave it out if you cannot tell.`)
		}
		ask.Amount = &broker.Amount{Meaning: provider.Meaning(a.Kind), Value: a.Number, Currency: a.Currency}
	}
	return ask, nil
}

// inlined reads the answer of an action that ran at once. Closing it records
// the outcome, so that comes before our own answer.
func inlined(out broker.Outcome) (answerer, error) {
	body, err := io.ReadAll(io.LimitReader(out.Answer.Body, maxInlineBody+1))
	if closing := out.Answer.Body.Close(); err == nil {
		err = closing
	}
	if err != nil && fault.From(err).Kind != fault.Internal {
		return nil, about{err, out.Action.ID} // it was done; its answer was cut off or cannot be read
	}
	if err != nil {
		return nil, err
	}
	r := api.ActionResult{
		Action: string(out.Action.ID), State: api.ActionState(out.Action.State), Status: out.Answer.Status, Headers: out.Answer.Header,
	}
	switch {
	case len(body) > maxInlineBody:
		r.Truncated = true
	case saysJSON(out.Answer.Header) && utf8.Valid(body) && json.Valid(body):
		r.Body = body
	default:
		r.BodyBase64 = body
	}
	return plain{r}, nil
}

// saysJSON reports whether a content type is JSON or a kind of it.
func saysJSON(h http.Header) bool {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// upstream is an upstream's answer as it is.
type upstream struct {
	action id.Action
	status int
	header http.Header
	body   io.ReadCloser
	log    *slog.Logger
}

// ours are headers that stay what they are here, whatever the upstream says:
// they protect the browser of somebody who opens such an answer.
var ours = []string{
	"Cache-Control", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cross-Origin-Resource-Policy",
	"Date", "Content-Length", api.HeaderAction, api.HeaderUpstreamStatus, api.HeaderRequest,
}

func (u *upstream) answer(ctx context.Context, c *call) error {
	h := c.w.Header()
	for name, values := range u.header {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(ours, name) {
			h[name] = values
		}
	}
	h.Set(api.HeaderAction, string(u.action))
	h.Set(api.HeaderUpstreamStatus, strconv.Itoa(u.status))
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	buf := make([]byte, 32<<10)
	var err error
	for {
		n, read := u.body.Read(buf)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeIn)) // not every writer has one
			if _, err = c.w.Write(buf[:n]); err == nil {
				err = rc.Flush()
			}
		}
		if err == nil {
			err = read
		}
		if err != nil {
			break
		}
	}
	if closing := u.body.Close(); closing != nil {
		u.log.WarnContext(ctx, "closing an upstream's answer", slog.String("action", string(u.action)), slog.Any("error", closing))
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	// The status is out. Only a broken connection tells the agent that what it
	// got is not all, and this is how net/http breaks one.
	panic(http.ErrAbortHandler)
}

// listActions is GET /v1/actions.
func (s *Server) listActions(ctx context.Context, who agent.Caller, c *call, _ none) (api.Page[api.Action], error) {
	page := list[api.Action](nil)
	limit, err := c.number("limit", 1, 100, 50)
	if err != nil {
		return page, err
	}
	cursor, err := c.number("cursor", 1, 1<<62, 0)
	if err != nil {
		return page, err
	}
	var found []*action.Action
	if c.query.Has("idempotency_key") {
		key := c.query.Get("idempotency_key")
		if key == "" || c.query.Has("cursor") || c.query.Has("limit") {
			return page, invalid("bad_parameter", "An idempotency key is not empty and stands alone.")
		}
		one, _, err := s.Broker.Store.Repeats(ctx, s.Org, who.Agent, key, action.Digest{})
		if err != nil {
			return page, err
		}
		if one != nil {
			found = append(found, one)
		}
	} else {
		var before time.Time
		if cursor > 0 {
			before = time.UnixMicro(cursor)
		}
		if found, err = s.Broker.Mine(ctx, who, before, int(limit)); err != nil {
			return page, err
		}
		if len(found) == int(limit) {
			page.Next = strconv.FormatInt(found[len(found)-1].CreatedAt.UnixMicro(), 10)
		}
	}
	for _, a := range found {
		h, err := s.Broker.Store.Held(ctx, s.Org, a.ID)
		if err != nil {
			return page, err
		}
		view, err := s.actionView(ctx, h)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	return page, nil
}

// actionRef is the action that the path names.
func (c *call) actionRef() (id.Action, error) {
	ref := c.ref("id")
	if !id.Valid("act", ref) {
		return "", broker.ErrUnknown
	}
	return id.Action(ref), nil
}

// getAction is GET /v1/actions/{id}.
func (s *Server) getAction(ctx context.Context, who agent.Caller, c *call, _ none) (api.Action, error) {
	ref, err := c.actionRef()
	if err != nil {
		return api.Action{}, err
	}
	wait, err := c.number("wait", 0, api.MaxWaitSeconds, 0)
	if err != nil {
		return api.Action{}, err
	}
	// An unknown one is refused at once, however long the caller would wait.
	h, err := s.Broker.Get(ctx, who, ref, c.now)
	if err != nil || wait == 0 || h.Action.State.Final() {
		return s.viewOr(ctx, h, err)
	}
	waiting, done := s.until(ctx, time.Duration(wait)*time.Second)
	defer done()
	if h, err = s.Broker.Await(waiting, who, ref, ""); err != nil {
		return api.Action{}, err
	}
	if _, err := c.again(context.WithoutCancel(ctx)); err != nil {
		return api.Action{}, err
	}
	return s.viewOr(ctx, h, nil)
}

func (s *Server) viewOr(ctx context.Context, h broker.Held, err error) (api.Action, error) {
	if err != nil {
		return api.Action{}, err
	}
	return s.actionView(ctx, h)
}

// followAction is GET /v1/actions/{id}/events. The id of a message is the
// moment of the change that it tells.
func (s *Server) followAction(ctx context.Context, who agent.Caller, c *call, _ none) (answerer, error) {
	ref, err := c.actionRef()
	if err != nil {
		return nil, err
	}
	h, err := s.Broker.Get(ctx, who, ref, c.now)
	if err != nil {
		return nil, err
	}
	return stream{func(ctx context.Context, out *events) error {
		for {
			view, err := s.actionView(ctx, h)
			if err != nil {
				return errors.Join(err, out.reconnect())
			}
			if err := out.send("action", strconv.FormatInt(h.Action.UpdatedAt.UnixMicro(), 10), view); err != nil || view.Final {
				return err
			}
			for was := h.Action.State; h.Action.State == was; {
				waiting, done := s.until(ctx, s.beats())
				h, err = s.Broker.Await(waiting, who, ref, was)
				done()
				// What was revoked meanwhile sees nothing more.
				if _, gone := c.again(context.WithoutCancel(ctx)); err != nil || gone != nil || s.leaving() {
					return out.reconnect()
				}
				if h.Action.State == was {
					if err := out.beat(); err != nil {
						return err
					}
				}
			}
		}
	}}, nil
}

// getResponse is GET /v1/actions/{id}/response.
func (s *Server) getResponse(ctx context.Context, who agent.Caller, c *call, _ none) (answerer, error) {
	ref, err := c.actionRef()
	if err != nil {
		return nil, err
	}
	h, err := s.Broker.Get(ctx, who, ref, c.now)
	if err != nil {
		return nil, err
	}
	if !h.Action.State.Final() {
		return nil, about{fault.New(fault.Conflict, "not_finished", "The action is not over, so there is no answer yet; wait for it first."), ref}
	}
	k, err := s.Broker.Answer(ctx, who, h)
	if err != nil {
		return nil, about{err, ref}
	}
	return &upstream{action: ref, status: k.Status, header: k.Header, body: io.NopCloser(strings.NewReader(string(k.Body))), log: s.Log}, nil
}

// cancelAction is POST /v1/actions/{id}/cancel.
func (s *Server) cancelAction(ctx context.Context, who agent.Caller, c *call, _ none) (api.Action, error) {
	ref, err := c.actionRef()
	if err != nil {
		return api.Action{}, err
	}
	h, err := s.Broker.Cancel(ctx, who, ref, c.now)
	return s.viewOr(ctx, h, err)
}
