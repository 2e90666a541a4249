package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// call is one request on its way. Who asks is no part of it: that is an
// argument of its own.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	route route
	id    string // names this request, in the answer and in the operator's log
	from  netip.Addr
	now   time.Time
	query url.Values
	body  []byte // as it came, once it was read
	// again authenticates once more, for whoever waits longer than a change of
	// authority may take to hold.
	again func(context.Context) (caller, error)
}

// ref is the part of the path with this name.
func (c *call) ref(name string) string { return c.r.PathValue(name) }

// endpoint is what one route does for whoever asks.
type endpoint func(ctx context.Context, who caller, c *call) (any, error)

// byAgent adapts a method for agents: decode strictly, call.
func byAgent[Req, Res any](do func(context.Context, agent.Caller, *call, Req) (Res, error)) endpoint {
	return func(ctx context.Context, who caller, c *call) (any, error) {
		if who.agent == nil {
			return nil, errPerson
		}
		var in Req
		if err := decode(c, &in); err != nil {
			return nil, err
		}
		return do(ctx, *who.agent, c, in)
	}
}

// byPerson adapts a method for people. Who they are is found out once more
// after the body: whoever was logged out or suspended while it trickled in does
// not get that one change done. Agents are looked at again by the broker.
func byPerson[Req, Res any](do func(context.Context, user.Principal, *call, Req) (Res, error)) endpoint {
	return func(ctx context.Context, who caller, c *call) (any, error) {
		if who.person == nil {
			return nil, errAgent
		}
		var in Req
		if err := decode(c, &in); err != nil {
			return nil, err
		}
		p := *who.person
		if c.waits() {
			now, err := c.again(ctx)
			switch {
			case err != nil:
				return nil, err
			case now.person == nil || now.person.Actor() != p.Actor():
				return nil, user.ErrLogin
			}
			p = *now.person
		}
		return do(ctx, p, c, in)
	}
}

// waits reports whether there is a body to wait for, be it an empty one.
func (c *call) waits() bool { return c.r.Body != nil && c.r.Body != http.NoBody }

// byEither is a route that agents and people read with other eyes.
func byEither[Res any](a func(context.Context, agent.Caller, *call, none) (Res, error), p func(context.Context, user.Principal, *call, none) (Res, error)) endpoint {
	return func(ctx context.Context, who caller, c *call) (any, error) {
		if who.agent != nil {
			return byAgent(a)(ctx, who, c)
		}
		return byPerson(p)(ctx, who, c)
	}
}

// byAnyone adapts a method that does not ask who is there.
func byAnyone[Res any](do func(context.Context, *call) (Res, error)) endpoint {
	return func(ctx context.Context, _ caller, c *call) (any, error) {
		if err := c.noBody(); err != nil {
			return nil, err
		}
		return do(ctx, c)
	}
}

// decode reads the body that a route takes, or makes sure that there is none.
func decode[Req any](c *call, into *Req) error {
	var err error
	if _, without := any(into).(*none); without {
		err = c.noBody()
	} else {
		err = c.readBody(into)
	}
	if err != nil {
		return err
	}
	// The clock is read after the body: one that trickles in must not let what
	// has expired meanwhile pass.
	c.now = time.Now()
	// The server's time for reading a request is over with the body. Left in
	// place it would end whoever waits, or reads a long answer.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	return nil
}

// answerer is a result that is more than a JSON value with status 200. An
// error means that nothing was written yet.
type answerer interface {
	answer(ctx context.Context, c *call) error
}

// created is a result with status 201.
type created[T any] struct {
	value    T
	location string // where it can be seen, or ""
}

func (r created[T]) answer(_ context.Context, c *call) error {
	return c.json(http.StatusCreated, r.location, r.value)
}

// json writes v.
func (c *call) json(status int, location string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	h := c.w.Header()
	if location != "" {
		h.Set("Location", location)
	}
	h.Set("Content-Type", api.MediaJSON)
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // whoever asked may have gone
	return nil
}

// paths is the outside of every answer: its name, the headers that keep it out
// of caches and from being run by a browser, and the addresses that do not
// exist.
func (s *Server) paths(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := "req_" + strings.ToLower(rand.Text())
		h := w.Header()
		h.Set(api.HeaderRequest, request)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// The mux would redirect an address that is not in its plain form, and
		// what stands before us may have read it in another way.
		if r.URL.Path != path.Clean(r.URL.Path) {
			refuse(w, errPath, request, "", false)
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			if allow := allowed(mux, r); allow != "" {
				h.Set("Allow", allow)
				refuse(w, errMethod, request, "", false)
				return
			}
			refuse(w, errPath, request, "", false)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// allowed lists the methods that the address of r takes.
func allowed(mux *http.ServeMux, r *http.Request) string {
	var out []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(other); pattern != "" {
			out = append(out, m)
		}
	}
	return strings.Join(out, ", ")
}

// serve owns the phases of a route: who asks, what with, the call, the answer.
func (s *Server) serve(rt route, authenticate authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, route: rt, id: w.Header().Get(api.HeaderRequest), from: s.ClientIP(r), now: time.Now()}
		ctx := r.Context()
		c.again = func(ctx context.Context) (caller, error) { return authenticate(ctx, c, time.Now()) }
		who, out, err := s.phases(ctx, c, authenticate)
		if err != nil && rt.proposes(who.person, err) {
			out, err = s.propose(ctx, *who.person, c)
		}
		if err == nil {
			if special, ok := out.(answerer); ok {
				err = special.answer(ctx, c)
			} else {
				err = c.json(http.StatusOK, "", out)
			}
		}
		if err != nil {
			s.fail(ctx, who, c, err)
		}
	})
}

func (s *Server) phases(ctx context.Context, c *call, authenticate authenticator) (who caller, out any, err error) {
	if c.r.Method == http.MethodHead && c.route.who != anyone {
		c.w.Header().Set("Allow", http.MethodGet)
		return who, nil, errMethod
	}
	if c.route.who != anyone {
		if who, err = authenticate(ctx, c, c.now); err != nil {
			return who, nil, err
		}
	}
	switch {
	case c.route.who == agents && who.agent == nil:
		return who, nil, errPerson
	case c.route.who == people && who.person == nil:
		return who, nil, errAgent
	}
	if err = single(c.r.Header, "Content-Type", "Content-Encoding", "Last-Event-Id"); err != nil {
		return who, nil, err
	}
	if c.query, err = readQuery(c.r.URL.RawQuery, c.route.query); err != nil {
		return who, nil, err
	}
	out, err = c.route.do(ctx, who, c)
	return who, out, err
}

// fail answers with a refusal, after it is in the log; or with an internal
// error, after the operator was told.
func (s *Server) fail(ctx context.Context, who caller, c *call, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		// Whoever asked has gone. A status that nobody reads keeps the server from
		// writing an empty success.
		refuse(c.w, fault.From(err), c.id, "", who.presented)
		return
	}
	if recording := s.record(ctx, who, c, err); recording != nil {
		err = recording
	}
	f := fault.From(err)
	at := []any{slog.String("request", c.id), slog.String("route", c.route.pattern), slog.String("reason", f.Reason)}
	switch f.Kind {
	case fault.Internal:
		s.Log.ErrorContext(ctx, "request failed", append(at, slog.Any("error", err))...)
	case fault.Unavailable, fault.Upstream:
		s.Log.WarnContext(ctx, "request not served", append(at, slog.Any("error", err))...)
	default:
		s.Log.DebugContext(ctx, "request refused", append(at, slog.Any("error", err))...)
	}
	var a id.Action
	if that, ok := errors.AsType[about](err); ok {
		a = that.action
	}
	refuse(c.w, f, c.id, a, who.presented)
}

// surface is what the log calls refusals at this edge.
const surface = "api"

// record writes a refusal down, once: the broker has recorded its own, and a
// failure of ours is no refusal.
func (s *Server) record(ctx context.Context, who caller, c *call, refusal error) error {
	f := fault.From(refusal)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable || f.Kind == fault.Upstream || broker.Recorded(refusal) {
		return nil
	}
	switch {
	case who.agent != nil:
		return s.Refusals.Known(ctx, *who.agent, surface, refusal, c.now)
	case who.person != nil:
		p := *who.person
		e := p.Event(surface+".refused", "", p.User, c.now, map[string]string{
			"reason": f.Reason, "route": c.route.pattern, "source": c.source(),
		})
		return s.Refusals.Store.Refuse(context.WithoutCancel(ctx), nil, []audit.Event{e})
	}
	s.Refusals.Unknown(ctx, c.from, surface, refusal, c.now)
	return nil
}

func (c *call) source() string {
	if !c.from.IsValid() {
		return "unknown"
	}
	return c.from.Unmap().String()
}
