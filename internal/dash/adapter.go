package dash

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/provider"
)

// access says who may call a path at all. What they may see and change is
// decided by the services.
type access int

const (
	person access = iota // somebody who is logged in; the zero value, so that forgetting to choose closes
	anybody
)

// reply is what a handler answers.
type reply struct {
	page func(io.Writer) error // a page, or a part of one
	to   string                // or: where to go next
	data []byte                // or: JSON
	file string                // data is kept under this name
	bare bool                  // a part that has not changed
	code int                   // of a page; 200 if it is 0
}

// handler is what one path does. Those behind GET change nothing.
type handler func(context.Context, *call) (reply, error)

// page adapts a handler of a whole page.
func (s *Server) page(who access, do handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		if to, ok := s.byName(r); ok {
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		c, err := s.open(w, r, false)
		if err == nil && who == person && !c.known() {
			http.Redirect(w, r, loginURL(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		var out reply
		if err == nil {
			s.welcomeIn(c)
			out, err = do(r.Context(), c)
		}
		switch {
		case err != nil:
			s.fail(w, c, err)
		case out.to != "":
			http.Redirect(w, r, out.to, http.StatusSeeOther)
		case out.file != "":
			w.Header().Set("Content-Type", api.MediaJSON)
			w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", out.file))
			s.send(w, c, http.StatusOK, out.data)
		default:
			s.render(w, c, cmp.Or(out.code, http.StatusOK), out.page)
		}
	})
}

// part adapts a handler of a part that a page fetches by itself.
func (s *Server) part(who access, do handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		c, err := s.open(w, r, true)
		if err == nil && who == person && !c.known() {
			err = user.ErrLogin
		}
		var out reply
		if err == nil {
			out, err = do(r.Context(), c)
		}
		switch {
		case err != nil:
			f := s.known(c, err)
			w.WriteHeader(f.Kind.Status()) // the page keeps what it shows
		case out.bare:
			w.WriteHeader(http.StatusNoContent)
		default:
			s.render(w, c, http.StatusOK, out.page)
		}
	})
}

// byName leads a browser that came by the address of this machine to our name:
// passkeys and cookies belong to that.
func (s *Server) byName(r *http.Request) (string, bool) {
	host, port := hostOf(r)
	if host == s.base.Hostname() || !config.Loopback(s.base.Hostname()) || !config.Loopback(host) || port != s.base.Port() {
		return "", false
	}
	return strings.TrimSuffix(s.PublicURL, "/") + r.URL.RequestURI(), true
}

// post adapts a handler of a change. Its request is JSON, from a page of ours.
func post[Req any](s *Server, who access, do func(context.Context, *call, Req) (reply, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		c, err := s.open(w, r, false)
		var out reply
		if err == nil {
			out, err = posted(s, w, c, who, do)
		}
		if err != nil {
			s.record(r.Context(), c, err)
			s.problem(w, c, err)
			return
		}
		body := out.data
		if body == nil {
			if body, err = json.Marshal(map[string]string{"location": out.to}); err != nil {
				s.problem(w, c, fmt.Errorf("encode an answer: %w", err))
				return
			}
		}
		w.Header().Set("Content-Type", api.MediaJSON)
		s.send(w, c, http.StatusOK, body)
	})
}

func posted[Req any](s *Server, w http.ResponseWriter, c *call, who access, do func(context.Context, *call, Req) (reply, error)) (reply, error) {
	if err := s.ours(c); err != nil {
		return reply{}, err
	}
	if who == person && !c.known() {
		return reply{}, user.ErrLogin
	}
	var req Req
	if err := decode(w, c.http, &req); err != nil {
		return reply{}, err
	}
	if err := s.again(c); err != nil {
		return reply{}, err
	}
	return do(c.http.Context(), c, req)
}

var (
	errMedia = fault.New(fault.Invalid, "bad_content_type", "Send JSON: the content type must be application/json.")
	errQuery = fault.New(fault.Invalid, "query_parameters", "Send everything in the body.")
	errLarge = fault.New(fault.TooLarge, "body_too_large", fmt.Sprintf("The body may have at most %d bytes.", maxPost))
	errJSON  = fault.New(fault.Invalid, "bad_json", "The body is not the JSON object that belongs here.")
)

// decode reads a body strictly: one object, no member twice, none unknown.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if r.URL.RawQuery != "" {
		return errQuery
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != api.MediaJSON || len(r.Header.Values("Content-Type")) != 1 || r.Header.Get("Content-Encoding") != "" {
		return errMedia
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return errMedia
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPost))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return errLarge
	}
	if err != nil {
		return errJSON.Because(err)
	}
	if err := provider.CheckJSON(body, provider.Limits{Bytes: maxPost, Depth: maxDeep}); err != nil {
		return errJSON.Because(err)
	}
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return errJSON
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errJSON.Because(err)
	}
	return nil
}

// known is what may be said of err; what may not is logged, here and nowhere
// else.
func (s *Server) known(c *call, err error) *fault.Error {
	f := fault.From(err)
	ctx := c.http.Context()
	switch {
	case f.Kind != fault.Internal && f.Kind != fault.Unavailable:
	case ctx.Err() != nil: // the browser went away, and with it the query
	default:
		s.Log.ErrorContext(ctx, "page failed", slog.String("path", c.http.Pattern), slog.Any("error", err))
	}
	return f
}

// problem answers a refused change (RFC 9457).
func (s *Server) problem(w http.ResponseWriter, c *call, err error) {
	f := s.known(c, err)
	body, err := json.Marshal(api.Problem{
		Type: "about:blank", Title: http.StatusText(f.Kind.Status()), Status: f.Kind.Status(), Detail: f.Detail, Reason: f.Reason,
	})
	if err != nil {
		body = []byte(`{}`)
	}
	w.Header().Set("Content-Type", api.MediaProblem)
	s.send(w, c, f.Kind.Status(), body)
}

// fail answers a page that cannot be shown.
func (s *Server) fail(w http.ResponseWriter, c *call, err error) {
	f := s.known(c, err)
	v := ErrorPage{Status: f.Kind.Status(), Reason: f.Reason, Detail: f.Detail}
	title := map[fault.Kind]string{
		fault.NotFound: "There is nothing here", fault.Forbidden: "This is not for you", fault.Invalid: "This link is not right",
		fault.Conflict: "This is over", fault.TooMany: "Too many tries", fault.Unavailable: "Not now", fault.Upstream: "The provider did not answer",
	}[f.Kind]
	chrome, err := s.chrome(c.http.Context(), c, first(title, "Something went wrong"), "")
	if err != nil {
		chrome = Chrome{Title: "Something went wrong", Now: c.now}
	}
	v.Chrome = chrome
	s.render(w, c, v.Status, func(w io.Writer) error { return s.Pages.Error(w, v) })
}

// nothing answers what is at no path of ours.
func (s *Server) nothing() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		c, err := s.open(w, r, true)
		if err == nil {
			err = fault.New(fault.NotFound, "not_found", "There is no such page.")
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.problem(w, c, err)
			return
		}
		s.fail(w, c, err)
	})
}

// render renders into memory first: an error still becomes an error.
func (s *Server) render(w http.ResponseWriter, c *call, code int, page func(io.Writer) error) {
	var b bytes.Buffer
	if err := page(&b); err != nil {
		s.Log.ErrorContext(c.http.Context(), "page not rendered", slog.Any("error", err))
		code = http.StatusInternalServerError
		b.Reset()
	}
	s.send(w, c, code, b.Bytes())
}

func (s *Server) send(w http.ResponseWriter, c *call, code int, body []byte) {
	w.WriteHeader(code)
	if c.http.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		s.Log.DebugContext(c.http.Context(), "answer not delivered", slog.Any("error", err))
	}
}

// noted marks a refusal that the service has recorded itself.
type noted struct{ error }

func (n noted) Unwrap() error { return n.error }

// by marks errors of a service that records its refusals.
func by(err error) error {
	if err == nil {
		return nil
	}
	return noted{err}
}

// record writes a refused change into the log, unless it is there already. Of
// people whom we do not know that is done at a bounded rate.
func (s *Server) record(ctx context.Context, c *call, refusal error) {
	f := fault.From(refusal)
	if _, done := errors.AsType[noted](refusal); done || broker.Recorded(refusal) {
		return
	}
	switch f.Kind {
	case fault.Internal, fault.Unavailable, fault.Upstream:
		return
	}
	if !c.known() {
		s.Refusals.Unknown(ctx, c.peer.From, "page", refusal, c.now)
		return
	}
	data := map[string]string{"reason": f.Reason, "path": c.http.Pattern, "source": c.peer.From.Unmap().String()}
	// What nobody registered is a word of whoever sent it, and stays out.
	if at := c.http.PathValue("provider"); at != "" && s.names(ctx).spec(at) != nil {
		data["provider"] = at
	}
	e := c.who.Event("page.refused", string(c.who.Session), c.who.User, c.now, data)
	if err := s.Refusals.Store.Refuse(context.WithoutCancel(ctx), nil, []audit.Event{e}); err != nil {
		s.Log.ErrorContext(ctx, "refusal not recorded", slog.Any("error", err))
	}
}
