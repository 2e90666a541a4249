package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

const org = id.DefaultOrg

// scene is a world with one person and one connected account.
type scene struct {
	*vktest.World
	t    *testing.T
	mira user.Principal
	con  *vault.Connection
}

func newScene(t *testing.T, options ...vktest.Option) *scene {
	w := vktest.New(t, options...)
	s := &scene{World: w, t: t, mira: w.Person("mira")}
	s.con = w.Link(s.mira, "octocat")
	return s
}

func (s *scene) vault() *vault.Service { return s.App.Vault }

// row is the stored connection.
func (s *scene) row() *vault.Connection {
	s.t.Helper()
	c, err := s.App.DB.Connections().Connection(s.t.Context(), org, s.con.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// change changes the stored connection.
func (s *scene) change(f func(*vault.Connection)) {
	s.t.Helper()
	err := s.App.DB.Connections().UpdateConnection(s.t.Context(), org, s.con.ID, func(c *vault.Connection) ([]audit.Event, error) {
		f(c)
		return nil, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// age makes the access token end in d after eight hours of life, as far as we
// know.
func (s *scene) age(d time.Duration) {
	s.t.Helper()
	end := time.Now().Add(d)
	s.change(func(c *vault.Connection) {
		c.AccessExpiresAt, c.RefreshedAt, c.RetryAt = end, end.Add(-8*time.Hour), time.Time{}
	})
}

func (s *scene) use() (vault.Credential, error) {
	return s.vault().Use(s.t.Context(), s.con.ID, time.Now())
}

func (s *scene) mustUse() vault.Credential {
	s.t.Helper()
	c, err := s.use()
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// refreshes is how often the token endpoint was called since the account was
// connected, which takes one call.
func (s *scene) refreshes() int { return s.Sandbox.Count("POST", "/login/oauth/access_token") - 1 }

// alive says whether the sandbox accepts a token.
func (s *scene) alive(token secret.Text) bool {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.Upstream+"/user", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (s *scene) events(verb string) []audit.Event {
	s.t.Helper()
	got, err := s.App.DB.Log().Select(s.t.Context(), store.Query{Org: org, Object: string(s.con.ID), Verb: verb, Limit: 100})
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Reverse(got)
	return got
}

// log starts events in mira's name.
func (s *scene) log(verb, object string, data map[string]string) audit.Event {
	return s.mira.Event(verb, object, s.mira.User, time.Now(), data)
}

func (s *scene) disconnect() vault.Report {
	s.t.Helper()
	r, err := s.vault().Disconnect(s.t.Context(), s.con.ID, time.Now(), s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// second is another process on the same database.
func (s *scene) second() *vault.Service {
	v := s.vault()
	return &vault.Service{Org: v.Org, Store: v.Store, Keys: v.Keys, Providers: v.Providers, OAuth: v.OAuth, Log: slog.New(slog.NewTextHandler(s.t.Output(), nil))}
}

// lax is a provider whose refresh tokens go on working, and which tests hold
// up and answer for.
type lax struct {
	server *httptest.Server

	mu    sync.Mutex
	calls int
	got   []string // refresh tokens, in the order of the calls
	// answer, if set, answers the n-th call; it returns false to leave it to lax.
	answer func(n int, w http.ResponseWriter, r *http.Request) bool
}

// lend makes lax the place of the provider of s.con.
func lend(s *scene) *lax {
	l := &lax{}
	l.server = httptest.NewServer(l)
	s.t.Cleanup(l.server.Close)
	s.provider(vault.Registration{
		Provider: "github", Spec: "github", ClientID: "sandbox-client", Internal: true,
		Base: provider.Base{API: []string{l.server.URL}, Web: l.server.URL},
	})
	return l
}

func (s *scene) provider(r vault.Registration) {
	s.t.Helper()
	err := s.App.Providers.Set(s.t.Context(), r, secret.New("sandbox-client-secret"), s.App.Egress.CheckURL, time.Now(), s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.App.Providers.All(s.t.Context()); err != nil { // egress asks for internal hosts
		s.t.Fatal(err)
	}
}

func (l *lax) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "no form", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	l.calls++
	n, answer := l.calls, l.answer
	l.got = append(l.got, r.PostForm.Get("refresh_token"))
	l.mu.Unlock()
	if answer != nil && answer(n, w, r) {
		return
	}
	tokens(w, fmt.Sprintf("access-%d", n), fmt.Sprintf("refresh-%d", n))
}

// tokens answers with tokens; without a refresh token if it is empty.
func tokens(w http.ResponseWriter, access, refresh string) {
	body := map[string]any{"access_token": access, "token_type": "bearer", "expires_in": 28800}
	if refresh != "" {
		body["refresh_token"] = refresh
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}

// refuse answers with an OAuth error.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q}`, code)
}

// then sets how calls are answered from now on.
func (l *lax) then(answer func(n int, w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (l *lax) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// sent is the refresh token of call n, from 1.
func (l *lax) sent(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[n-1]
}

// await waits until it is so, for a few seconds.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came to: %s", what)
		}
	}
}
