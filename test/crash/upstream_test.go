package crash_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
)

const (
	clientID     = "crash-client"
	clientSecret = "crash-client-secret"
	comments     = "/repos/octocat/hello-world/issues/1/comments"
	tokenPath    = "/login/oauth/access_token"
)

// upstream is the sandbox behind the places where a life can end. Its ledger
// outlives the server.
type upstream struct {
	*sandbox.Server
	url    string
	client *http.Client // of people's browsers
	trap   *trap

	mu      sync.Mutex
	writes  map[string][]time.Time // by marker: when each one that was performed had arrived
	calls   []time.Time            // of the API, performed or not, as they arrived
	codes   map[string]string      // whose authorization codes are
	tokens  map[string]string      // whose tokens are
	newest  map[string]string      // the access token of an account
	rotated map[string]bool        // an account's newest token has not been seen in use
	maybe   map[string]bool        // a life ended at such a moment: the account may have to be connected again
}

// accounts are the logins that are connected by OAuth and whose tokens rotate;
// spares are connected and disconnected again.
var (
	accounts = []string{"ada", "bob", "cleo"}
	spares   = []string{"dora", "emil"}
)

func newUpstream(t *testing.T, trap *trap, accessTTL time.Duration) *upstream {
	t.Helper()
	seed := sandbox.DefaultSeed()
	for _, login := range slices.Concat(accounts, spares) {
		seed.Users = append(seed.Users, sandbox.User{Login: login, Name: login, Email: login + "@sandbox.test"})
	}
	u := &upstream{
		Server: sandbox.New(sandbox.Options{ClientID: clientID, ClientSecret: secret.New(clientSecret), Seed: seed, AccessTTL: accessTTL}),
		trap:   trap, writes: map[string][]time.Time{}, codes: map[string]string{}, tokens: map[string]string{},
		newest: map[string]string{}, rotated: map[string]bool{}, maybe: map[string]bool{},
	}
	srv := httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(srv.Close)
	u.url, u.client = srv.URL, srv.Client()
	return u
}

// expect says whose account a code is for.
func (u *upstream) expect(code, login string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.codes[code] = login
}

// seen says that somebody holds a token: then it had been made durable.
func (u *upstream) seen(token string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if login := u.tokens[token]; login != "" && u.newest[login] == token {
		u.rotated[login], u.maybe[login] = false, false
	}
}

// proven says that the server acknowledged to have the tokens of an account.
func (u *upstream) proven(login string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rotated[login], u.maybe[login] = false, false
}

// died says that a life has ended: the tokens that were rotated, and that the
// server has not shown to have, may be lost.
func (u *upstream) died() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for login, is := range u.rotated {
		u.maybe[login] = u.maybe[login] || is
	}
}

// mayNeedOwner reports whether an account may have to be connected again.
func (u *upstream) mayNeedOwner(login string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.maybe[login]
}

// part names a call for the trap: a write, a read, a refresh, a code, the look
// at who an account is, the end of a token.
func part(r *http.Request, form url.Values) string {
	switch {
	case r.URL.Path == tokenPath && form.Get("grant_type") == "refresh_token":
		return "refresh"
	case r.URL.Path == tokenPath:
		return "code"
	case r.Method == http.MethodPost && r.URL.Path == comments:
		return "write"
	case strings.HasPrefix(r.URL.Path, "/repos/"):
		return "read"
	case r.URL.Path == "/user":
		return "identity"
	case strings.HasPrefix(r.URL.Path, "/applications/"):
		return "goodbye"
	}
	return ""
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	if r.Method == http.MethodPost && r.URL.Path == comments {
		u.trap.pass("up:write:headers") // the body may still be on the way
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller died in the middle, and an upstream does nothing then
	}
	var form url.Values
	if r.URL.Path == tokenPath {
		form, _ = url.ParseQuery(string(body)) // a body that is no form is no grant that we know
	}
	what := part(r, form)
	if what == "write" || what == "read" {
		u.mu.Lock()
		u.calls = append(u.calls, arrived)
		u.mu.Unlock()
		u.seen(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	if u.trap.pass("up:"+what+":arrived") && rand.N(2) == 0 {
		return // killed before the upstream acted: here it does not act at all
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	u.Handler().ServeHTTP(rec, r)
	u.note(what, form, body, rec, arrived)
	if u.trap.pass("up:" + what + ":performed") {
		return
	}
	u.answer(w, rec, what)
}

// note writes down what was performed.
func (u *upstream) note(what string, form url.Values, body []byte, rec *httptest.ResponseRecorder, arrived time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch what {
	case "write":
		var c struct {
			Body string `json:"body"`
		}
		if rec.Code == http.StatusCreated && json.Unmarshal(body, &c) == nil {
			marker, _, _ := strings.Cut(c.Body, " ")
			u.writes[marker] = append(u.writes[marker], arrived)
		}
	case "refresh", "code":
		var t struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(rec.Body.Bytes(), &t) != nil || t.Access == "" {
			return
		}
		login := u.codes[form.Get("code")]
		if what == "refresh" {
			login = u.tokens[form.Get("refresh_token")]
		}
		u.tokens[t.Access], u.tokens[t.Refresh], u.newest[login] = login, login, t.Access
		u.rotated[login] = what == "refresh"
	}
}

// answer sends what was recorded, unless the caller dies in the middle of it.
func (u *upstream) answer(w http.ResponseWriter, rec *httptest.ResponseRecorder, what string) {
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	raw := rec.Body.Bytes()
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(rec.Code)
	flush := http.NewResponseController(w)
	if _, err := w.Write(raw[:len(raw)/2]); err != nil {
		return
	}
	if u.trap.armed("up:" + what + ":half") {
		_ = flush.Flush() // whoever is killed reads nothing
		if u.trap.pass("up:" + what + ":half") {
			panic(http.ErrAbortHandler)
		}
	}
	if _, err := w.Write(raw[len(raw)/2:]); err != nil {
		return
	}
	_ = flush.Flush()
	u.trap.pass("up:" + what + ":answered")
}
