package client_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/jwt"
)

// issuer is where the fake server lives; it is reached through pipes, so that
// whole conversations run on the clock of a synctest bubble.
const issuer = "https://valetkey.test/"

// server speaks the wire of the real one: it judges what is signed by the rules
// of package jwt, and each jti works once. A handler set by on goes before its
// own.
type server struct {
	t        *testing.T
	key      jwt.Key
	lifetime int64 // expires_in of what it issues

	mu       sync.Mutex
	calls    map[string]int // by "METHOD /path"
	tokens   map[string]bool
	jtis     map[string]bool
	subjects []jwt.Claims
	forms    []url.Values
	handlers map[string]http.HandlerFunc
}

func newServer(t *testing.T, k *client.Key) *server {
	t.Helper()
	public, err := jwt.ParsePublicKey([]byte(k.PublicPEM()), jwt.Alg(k.Alg()))
	if err != nil {
		t.Fatal(err)
	}
	return &server{
		t: t, key: public, lifetime: 600, calls: map[string]int{}, tokens: map[string]bool{}, jtis: map[string]bool{},
		handlers: map[string]http.HandlerFunc{},
	}
}

func (s *server) on(route string, h http.HandlerFunc) { s.handlers[route] = h }

func (s *server) count(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[route]
}

// revoke ends all access tokens.
func (s *server) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := r.Method + " " + r.URL.Path
	s.mu.Lock()
	s.calls[route]++
	s.mu.Unlock()
	if r.URL.Path == "/oauth/token" {
		if h := s.handlers[route]; h != nil {
			h(w, r)
			return
		}
		s.token(w, r)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	ok = ok && s.tokens[token]
	s.mu.Unlock()
	if !ok {
		problem(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	if h := s.handlers[route]; h != nil {
		h(w, r)
		return
	}
	problem(w, http.StatusNotFound, "not_found")
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, api.TokenError{Error: "invalid_request"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forms = append(s.forms, r.PostForm)
	now := time.Now()
	spend := func(raw string, rules jwt.Rules) (jwt.Claims, bool) {
		c, _, err := jwt.Verify(raw, []jwt.Key{s.key}, rules, now)
		if err != nil {
			s.t.Errorf("a token that the server refuses: %v", err)
		}
		if s.jtis[c.ID] {
			s.t.Errorf("jti %s used twice", c.ID)
		}
		s.jtis[c.ID] = true
		return c, err == nil
	}
	if r.PostForm.Get("client_assertion_type") != api.AssertionJWT {
		s.t.Errorf("client_assertion_type = %q", r.PostForm.Get("client_assertion_type"))
	}
	if _, ok := spend(r.PostForm.Get("client_assertion"), jwt.ClientAssertion(issuer)); !ok {
		oauthError(w, http.StatusUnauthorized, api.TokenError{Error: "invalid_client"})
		return
	}
	text := "vka_canary_" + rand.Text()
	answer := api.TokenResponse{AccessToken: text, TokenType: "Bearer", ExpiresIn: s.lifetime}
	if r.PostForm.Get("grant_type") == api.GrantVaultExchange {
		c, ok := spend(r.PostForm.Get("subject_token"), jwt.VaultSubject(issuer, true))
		if !ok {
			oauthError(w, http.StatusBadRequest, api.TokenError{Error: "invalid_request"})
			return
		}
		s.subjects = append(s.subjects, c)
		answer.Scope, answer.IssuedTokenType = "repo read:user", r.PostForm.Get("requested_token_type")
	} else {
		s.tokens[text] = true
	}
	reply(w, http.StatusOK, answer)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", api.MediaJSON)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", api.MediaProblem)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Reason: reason, Detail: "What to do about " + reason + "."})
}

func oauthError(w http.ResponseWriter, status int, e api.TokenError) { reply(w, status, e) }

// drop loses the connection without an answer.
func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// run gives f a client and its server in a bubble, over pipes.
func run(t *testing.T, f func(t *testing.T, s *server, c *client.Client)) {
	t.Helper()
	k := newKey(t, client.ES256)
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, k)
		transport := s.start(t)
		f(t, s, newClient(t, issuer, k, transport))
	})
}

// start serves over pipes until the test ends.
func (s *server) start(t *testing.T) *http.Transport {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	// The pipes are plain, so TLS is left out on both sides.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		<-done
	})
	return transport
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newKey(t *testing.T, alg client.Alg) *client.Key {
	t.Helper()
	k, err := client.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newClient(t *testing.T, issuer string, k *client.Key, rt http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New(issuer, client.Options{ClientID: "worker", Key: k, HTTPClient: &http.Client{Transport: rt}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError checks reason and status of err and returns it.
func wantError(t *testing.T, err error, reason string, status int) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("error %v (%T), want a *client.Error with reason %s", err, err, reason)
	}
	if e.Reason != reason || e.Status != status {
		t.Fatalf("error %v: reason %q, status %d, want %q, %d", e, e.Reason, e.Status, reason, status)
	}
	return e
}

func held(id string, state api.ActionState, final bool) api.Action {
	return api.Action{ID: id, State: state, Final: final, Operation: "github.issues.create_comment"}
}
