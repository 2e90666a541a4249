package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

const cookieName = "valetkey_session"

// record is the store's log as the API reads it.
type record struct{ *store.Log }

func (r record) Select(ctx context.Context, q httpapi.Selection) ([]audit.Event, error) {
	return r.Log.Select(ctx, store.Query(q))
}

func (r record) Snapshot(ctx context.Context) (httpapi.Snapshot, error) { return r.Log.Snapshot(ctx) }

// world is a running Valetkey with the API before it.
type world struct {
	*vktest.World
	t       *testing.T
	api     *httpapi.Server
	leaving chan struct{}
	base    string // of the served API
	host    string // that browsers use
	socket  *http.Client
	router  routers.Router

	mira  user.Principal // a member; the connection is hers
	con   *vault.Connection
	bot   *agent.Agent
	token string // of bot
}

func newWorld(t *testing.T, change ...func(*http.Server, *httpapi.Server)) *world {
	t.Helper()
	w := &world{World: vktest.New(t), t: t, leaving: make(chan struct{})}
	a := w.App
	w.api = &httpapi.Server{
		Org: id.DefaultOrg, Version: "test", StartedAt: time.Now(), Config: w.Config,
		Agents: a.Agents, Refusals: a.Refusals, Users: a.Users, Broker: a.Broker, Receipts: a.Receipts, Manage: a.Manage, Connect: a.Connect, Proposals: a.Proposals,
		Checkpointer: a.Checkpointer, Record: record{a.DB.Log()}, Cookie: cookieName,
		EnrolURL: func(link secret.Text) string { return w.Config.PublicURL + "enrol#" + link.Reveal() },
		ClientIP: func(r *http.Request) netip.Addr {
			return a.ClientAddr(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
		},
		Leaving: w.leaving, Log: a.Log,
	}
	a.Proposals.Perform = w.api.Perform
	srv := httptest.NewUnstartedServer(nil)
	for _, c := range change {
		c(srv.Config, w.api)
	}
	srv.Config.Handler = w.api.Handler()
	srv.Start()
	t.Cleanup(srv.Close)
	w.base = srv.URL
	public, err := url.Parse(w.Config.PublicURL)
	if err != nil {
		t.Fatal(err)
	}
	w.host = public.Host
	w.openSocket()
	for _, text := range []string{api.MediaLines, api.MediaEvents} {
		openapi3filter.RegisterBodyDecoder(text, openapi3filter.FileBodyDecoder)
	}
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	// The library knows version 3.0; these are words of 3.1 that it does not.
	words := openapi3.AllowExtraSiblingFields("examples", "contentEncoding", "identifier", "description")
	if w.router, err = legacy.NewRouter(doc, openapi3.DisableExamplesValidation(), words); err != nil {
		t.Fatal(err)
	}
	return w
}

// furnish makes mira, her connection, and an agent with a grant for it.
func (w *world) furnish() *world {
	w.t.Helper()
	w.mira = w.person("mira", user.Member)
	w.con = w.Link(w.mira, "octocat")
	w.bot, _ = w.Agent(w.mira, "triage")
	w.Grant(w.mira, w.bot, w.con, grant.Broker, []string{"github.*"}, []string{"octo/api"})
	w.token = w.bearer(w.bot)
	return w
}

func (w *world) openSocket() {
	dir, err := os.MkdirTemp("", "vk")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "operator.sock")
	l, err := httpapi.ListenOperator(w.t.Context(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		w.t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}
	srv := w.api.OperatorServer()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	w.socket = &http.Client{Transport: transport}
	w.t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		<-done
	})
}

// person makes somebody with a role.
func (w *world) person(name string, role user.Role) user.Principal {
	w.t.Helper()
	now := time.Now()
	u, _, err := w.App.Users.Create(w.t.Context(), user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}, name, role, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return user.Principal{Org: u.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: id.NewSession(), Kind: user.Browser, AuthAt: now}
}

// login opens a session of p, whose presence was proved at the given time.
func (w *world) login(p user.Principal, kind user.SessionKind, at time.Time) string {
	w.t.Helper()
	text := secret.New("vks_" + secret.Random(32).Reveal())
	h := text.Hash()
	now := time.Now()
	v := &user.Session{
		Org: p.Org, ID: id.NewSession(), Hash: h[:], User: p.User, Kind: kind, CreatedAt: now, AuthAt: at, SeenAt: now,
		ExpiresAt: now.Add(time.Hour), Version: 1,
	}
	if err := w.App.DB.Users().Sessions().CreateSession(w.t.Context(), v, []audit.Event{p.Event("session.opened", string(v.ID), p.User, now, nil)}); err != nil {
		w.t.Fatal(err)
	}
	return text.Reveal()
}

// bearer gets a an access token.
func (w *world) bearer(a *agent.Agent) string {
	w.t.Helper()
	keys, err := w.App.DB.Agents().Keys().OfAgent(w.t.Context(), a.Org, a.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	c := vktest.Caller(a)
	c.Key = keys[0].ID
	text, _, err := w.App.Agents.Issue(w.t.Context(), c, nil, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return text.Reveal()
}

// who sends a request: one of these, or nobody.
type who struct {
	bearer   string
	cookie   string
	operator bool
}

func (w *world) agent() who   { return who{bearer: w.token} }
func (w *world) socket0() who { return who{operator: true} }
func (w *world) browser(p user.Principal) who {
	return who{cookie: w.login(p, user.Browser, time.Now())}
}
func (w *world) commandLine(p user.Principal) who {
	return who{bearer: w.login(p, user.CLI, time.Now())}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if a.header.Get("Content-Type") != api.MediaProblem || json.Unmarshal(a.body, &p) != nil || p.Status != a.status || p.Reason == "" {
		t.Fatalf("no problem document: %d %s %.300s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if p.Instance != a.header.Get(api.HeaderRequest) {
		t.Errorf("instance %q, request %q", p.Instance, a.header.Get(api.HeaderRequest))
	}
	return p
}

func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if a.status/100 != 2 || dec.Decode(&v) != nil {
		t.Fatalf("no %T: %d %.500s", v, a.status, a.body)
	}
	return v
}

// send sends a request and holds request and answer against the document.
func (w *world) send(by who, method, path string, body any) answer {
	w.t.Helper()
	a := w.raw(w.request(by, method, path, body), by)
	w.conforms(method, path, body, a)
	return a
}

func (w *world) request(by who, method, path string, body any) *http.Request {
	w.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	base := w.base
	if by.operator {
		base = "http://operator"
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, base+path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", api.MediaJSON)
	}
	if by.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+by.bearer)
	}
	if by.cookie != "" {
		req.AddCookie(&http.Cookie{Name: cookieName, Value: by.cookie})
		req.Host = w.host
	}
	return req
}

func (w *world) raw(req *http.Request, by who) answer {
	w.t.Helper()
	client := http.DefaultClient
	if by.operator {
		client = w.socket
	}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	if !strings.HasPrefix(res.Header.Get(api.HeaderRequest), "req_") || res.Header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s %s: request %q, cache %q", req.Method, req.URL.Path, res.Header.Get(api.HeaderRequest), res.Header.Get("Cache-Control"))
	}
	return answer{res.StatusCode, res.Header, b}
}

// conforms holds an exchange against the OpenAPI document.
func (w *world) conforms(method, path string, body any, a answer) {
	w.t.Helper()
	if err := w.nonconforming(method, path, body, a); err != nil {
		w.t.Errorf("%s %s, answered %d, is not in the document: %v", method, path, a.status, err)
	}
}

// nonconforming says what in an exchange is not in the document: a request that
// was served, or any answer.
func (w *world) nonconforming(method, path string, body any, a answer) error {
	w.t.Helper()
	req := w.request(who{}, method, path, body)
	req.URL.Scheme, req.URL.Host, req.Host = "", "", ""
	route, params, err := w.router.FindRoute(req)
	if err != nil {
		if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed {
			return nil
		}
		return err
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if a.status/100 == 2 {
		if err := openapi3filter.ValidateRequest(w.t.Context(), in); err != nil {
			return err
		}
	}
	if strings.HasSuffix(path, "/response") || strings.Contains(path, "stream=1") && a.status == 200 {
		return nil // the upstream's
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: in.Options}
	out.SetBodyBytes(a.body)
	return openapi3filter.ValidateResponse(w.t.Context(), out)
}

func (w *world) client() *http.Client { return http.DefaultClient }

// events returns what was recorded since from.
func (w *world) events(from int64) []audit.Event {
	w.t.Helper()
	e, err := w.App.DB.Log().Events(w.t.Context(), from, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) size() int64 {
	w.t.Helper()
	h, err := w.App.DB.Log().Head(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Size
}
