package oauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/internal/oauth"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/provider/catalog"
	"github.com/valetkey/valetkey/secret"
)

const issuer = "https://vault.test/"

// world is a deployment on a real store with the sandbox as its upstream: Ada,
// whose account octocat is connected; Bob, who has nothing; and two agents.
type world struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	logs    *lockedBuffer
	sandbox *sandbox.Server
	base    string // of the sandbox

	db     *store.DB
	keys   *seal.Keyring
	agents *agent.Service
	broker *broker.Broker
	users  *user.Service
	vault  *vault.Service
	signer *jwt.Signer
	server *httptest.Server

	ada, bob *user.User
	con      *vault.Connection
	personal secret.Text
	one, two *program     // agents of profile strict; one may have the token of con
	hops     atomic.Int64 // spreads anonymous requests over many addresses
	far      atomic.Bool  // requests come from an address that nobody allowed
	still    atomic.Int32 // requests come from the one address of this number, which is allowed
}

// program is an agent from its own side.
type program struct {
	jwttest.Pair
	*agent.Agent
	key *agent.Key
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir(), logs: &lockedBuffer{}}
	w.sandbox = sandbox.New(sandbox.Options{ClientID: "client", ClientSecret: secret.New("client-secret-of-the-sandbox")})
	upstream := httptest.NewServer(w.sandbox.Handler())
	t.Cleanup(upstream.Close)
	w.base = upstream.URL
	w.signer = must[*jwt.Signer](t)(jwt.NewSigner(must[secret.Text](t)(jwt.GenerateSigningKey())))
	w.open()
	t.Cleanup(func() { w.close() })
	w.people()
	return w
}

// open builds the deployment on what is on disk.
func (w *world) open() {
	t := w.t
	t.Helper()
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db := must[*store.DB](t)(store.Open(w.ctx, secret.New("sqlite:"+filepath.Join(w.dir, "test.db")), log))
	kek := must[*seal.FileKEK](t)(seal.NewFileKEK(filepath.Join(w.dir, "root.key")))
	keys := must[*seal.Keyring](t)(seal.Open(w.ctx, kek, db.Keys()))
	db.Authenticate(keys.RowMAC())
	w.db, w.keys = db, keys

	org := id.DefaultOrg
	specs := must[map[string]*provider.Spec](t)(catalog.Load())
	providers := &vault.Providers{Org: org, Catalog: specs, Store: db.Registrations(), Keys: keys, Epoch: db.Epoch}
	loopback := func(host string) bool { return host == "127.0.0.1" }
	out := egress.New(egress.Options{
		Guard:     &egress.Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		AllowHTTP: loopback, Internal: loopback, Log: log,
	})
	w.vault = &vault.Service{Org: org, Store: db.Connections(), Keys: keys, Providers: providers, OAuth: &vault.OAuth{Client: out}, Log: log}
	w.agents = &agent.Service{Org: org, Store: db.Agents(), Issuer: issuer, Epoch: db.Epoch}
	refusals := &agent.Refusals{Org: org, Store: db.Agents().Tokens(), Log: log}
	journal := must[*audit.Journal](t)(audit.OpenJournal(filepath.Join(w.dir, "journal")))
	t.Cleanup(func() { _ = journal.Close() })
	w.broker = &broker.Broker{
		Org: org, Store: db.Actions(), Queue: db.Actions(), Log: db.Log(),
		Policies: &broker.Policies{Org: org, Store: db.Policies(), Epoch: db.Epoch},
		Freezes:  &freeze.Switch{Store: db.Freezes(), Journal: journal, Log: log},
		Grants:   db.Grants(), Vault: w.vault, Conns: db.Connections(), Users: db.Users(), Agents: db.Agents(), Refusals: refusals,
		Keys: keys, Egress: out, Logger: log, Reliefs: db.Reliefs(),
	}
	web, _ := user.NewWebAuthn(issuer, "Valetkey")
	w.users = &user.Service{
		Org: org, Store: db.Users(), WebAuthn: web, Tries: &user.Limiter{Burst: 1000}, Refused: refusals.Unknown, Log: log,
	}
	s := &oauth.Server{
		Issuer: issuer, Agents: w.agents, Broker: w.broker, Refusals: refusals, Users: w.users, Signer: w.signer, Log: log,
		ClientIP: func(*http.Request) netip.Addr {
			if w.far.Load() {
				return netip.MustParseAddr("192.0.2.9")
			}
			if n := w.still.Load(); n > 0 {
				return netip.AddrFrom4([4]byte{127, 255, 255, byte(n)})
			}
			n := w.hops.Add(1)
			return netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)})
		},
	}
	mux := http.NewServeMux()
	s.Routes(mux)
	w.server = httptest.NewServer(mux)
}

func (w *world) close() {
	w.server.Close()
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart is what a stop and a start leave: the disk.
func (w *world) restart() {
	w.close()
	w.open()
}

func (w *world) people() {
	t, now := w.t, time.Now()
	t.Helper()
	var err error
	if w.ada, _, err = w.users.CreateFirst(w.ctx, "Ada", now); err != nil {
		t.Fatal(err)
	}
	if w.bob, _, err = w.users.Create(w.ctx, w.browser(w.ada), "Bob", user.Member, now); err != nil {
		t.Fatal(err)
	}
	reg := &vault.Registration{
		Org: id.DefaultOrg, Provider: "github", Spec: "github", ClientID: "client", Internal: true, CreatedAt: now, UpdatedAt: now,
		Base: provider.Base{API: []string{w.base}, Web: w.base},
	}
	place := seal.Place{Key: seal.ConfigKey(reg.Org), Org: reg.Org, Table: "registrations", Row: reg.Provider, Column: "secret"}
	reg.Secret = must[[]byte](t)(w.keys.Seal(w.ctx, place, secret.New("client-secret-of-the-sandbox")))
	if err := w.db.Registrations().PutRegistration(w.ctx, reg, nil); err != nil {
		t.Fatal(err)
	}
	w.personal = w.sandbox.PersonalToken("octocat", "repo", "read:user")
	w.con = w.connect(w.ada, w.personal)
	w.one = w.program("agent-1", agent.Strict, jwttest.New(t, jwt.ES256, "agent-1-k1"))
	w.two = w.program("agent-2", agent.Strict, jwttest.New(t, jwt.ES256, "agent-2-k1"))
	w.grant(w.one, w.con, grant.Vend)
}

// browser is u in a browser, who has just touched the passkey.
func (w *world) browser(u *user.User) user.Principal {
	return user.Principal{Org: u.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: "ses_test", Kind: user.Browser, AuthAt: time.Now()}
}

func (w *world) connect(u *user.User, token secret.Text) *vault.Connection {
	w.t.Helper()
	linker := &connect.Service{
		Org: id.DefaultOrg, Store: w.db.Flows(), Vault: w.vault, Conns: w.db.Connections(), Providers: w.vault.Providers, OAuth: w.vault.OAuth,
		Keys: w.keys, PublicURL: issuer, Log: slog.New(slog.DiscardHandler),
	}
	return must[*vault.Connection](w.t)(linker.AddToken(w.ctx, w.browser(u), u.ID, "github", "", token, time.Now()))
}

func (w *world) log(u *user.User) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return w.browser(u).Event(verb, object, u.ID, time.Now(), data)
	}
}

func (w *world) program(name string, profile agent.Profile, p jwttest.Pair) *program {
	w.t.Helper()
	a, k, err := w.agents.Register(w.ctx, agent.Registration{Name: name, Owner: w.ada.ID, Profile: profile, Key: p.JWK(w.t)}, time.Now(), w.log(w.ada))
	if err != nil {
		w.t.Fatal(err)
	}
	return &program{p, a, k}
}

func (w *world) grant(p *program, con *vault.Connection, mode grant.Mode) *grant.Grant {
	w.t.Helper()
	g := &grant.Grant{
		Org: con.Org, ID: id.NewGrant(), Agent: p.ID, Connection: con.ID, User: con.User, Mode: mode, Operations: []string{"*"},
		CreatedAt: time.Now(), CreatedBy: "user:" + string(con.User), Version: 1,
	}
	if err := w.db.Grants().CreateGrant(w.ctx, g, []audit.Event{w.log(w.ada)("grant.created", string(g.ID), nil)}); err != nil {
		w.t.Fatal(err)
	}
	return g
}

// policy puts another text beside the rules that ship.
func (w *world) policy(text string) {
	w.t.Helper()
	d := policy.Document{Name: "more.cedar", Text: text}
	if err := w.broker.Policies.Save(w.ctx, w.browser(w.ada), d, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	api.TokenResponse
	api.TokenError
}

func (w *world) do(req *http.Request) answer {
	w.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &a.TokenResponse); err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(body, &a.TokenError); err != nil {
			w.t.Fatal(err)
		}
	}
	if res.StatusCode >= 400 {
		w.wellRefused(a)
	}
	return a
}

// wellRefused holds every refusal of every test to the form that SDKs read.
func (w *world) wellRefused(a answer) {
	w.t.Helper()
	switch {
	case a.header.Get("Content-Type") != "application/json":
		w.t.Errorf("a refusal of type %q: %.100s", a.header.Get("Content-Type"), a.body)
	case a.TokenError.Error == "" || a.Description == "":
		w.t.Errorf("a refusal without error or description: %s", a.body)
	case a.header.Get("WWW-Authenticate") != "":
		w.t.Error("a refusal with WWW-Authenticate")
	case a.header.Get("Cache-Control") != "no-store":
		w.t.Error("a refusal without Cache-Control: no-store")
	case a.AccessToken != "":
		w.t.Error("a refusal with a token")
	case strings.ContainsAny(a.Description, "\"\\\n"):
		w.t.Errorf("characters outside of RFC 6749 §5.2: %q", a.Description)
	}
}

func (w *world) post(path, contentType, body string) answer {
	w.t.Helper()
	req := must[*http.Request](w.t)(http.NewRequestWithContext(w.ctx, http.MethodPost, w.server.URL+path, strings.NewReader(body)))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return w.do(req)
}

// form is the parameters of a request.
type form map[string]string

func (f form) with(pairs ...string) form {
	out := form{}
	for k, v := range f {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if out[pairs[i]] = pairs[i+1]; pairs[i+1] == "" {
			delete(out, pairs[i])
		}
	}
	return out
}

func (f form) encode() string {
	v := url.Values{}
	for name, value := range f {
		v.Set(name, value)
	}
	return v.Encode()
}

func (f form) json(t *testing.T) string { return string(must[[]byte](t)(json.Marshal(f))) }

func (w *world) send(f form) answer {
	w.t.Helper()
	return w.post("/oauth/token", "application/x-www-form-urlencoded", f.encode())
}

func (w *world) sendJSON(f form) answer {
	w.t.Helper()
	return w.post("/oauth/token", "application/json", f.json(w.t))
}

// credentials asks for an access token of the API.
func credentials(assertion string) form {
	return form{"grant_type": api.GrantClientCredentials, "client_assertion_type": api.AssertionJWT, "client_assertion": assertion}
}

// exchange asks for a provider's token as profile strict has it.
func exchange(subject, assertion string) form {
	return form{
		"grant_type": api.GrantVaultExchange, "subject_token_type": api.SubjectJWT, "subject_token": subject,
		"requested_token_type": api.RequestedVaultToken, "connection": "github",
		"client_assertion_type": api.AssertionJWT, "client_assertion": assertion,
	}
}

// ask is a good exchange of p for Ada's account.
func (w *world) ask(p *program) form {
	return exchange(p.Subject(w.claims(p)), p.Assertion(assertionClaims(p.Name)))
}

func (w *world) claims(p *program) jwttest.Object { return subjectClaims(p.Name, string(w.ada.ID)) }

// events are what the log has since a mark.
func (w *world) events(since int64) []audit.Event {
	w.t.Helper()
	return must[[]audit.Event](w.t)(w.db.Log().Events(w.ctx, since, 5000))
}

func (w *world) mark() int64 {
	w.t.Helper()
	return must[audit.Head](w.t)(w.db.Log().Head(w.ctx)).Size
}

// refusedOnce checks that the log has exactly one refusal since a mark and
// returns its reason and actor.
func (w *world) refusedOnce(since int64, verb string) (reason, actor string) {
	w.t.Helper()
	n := 0
	for _, e := range w.events(since) {
		if strings.HasSuffix(e.Verb, ".refused") {
			n++
			reason, actor = e.Data["reason"], e.Actor
			if e.Verb != verb {
				w.t.Errorf("the event is %s, want %s", e.Verb, verb)
			}
		}
	}
	if n != 1 {
		w.t.Errorf("%d refusals in the log, want one", n)
	}
	return reason, actor
}

// wantRefused checks one refusal on the wire and in the log.
func (w *world) wantRefused(name, verb string, req func() answer, status int, code, reason string) answer {
	w.t.Helper()
	since, calls := w.mark(), len(w.sandbox.Ledger())
	a := req()
	if a.status != status || a.TokenError.Error != code {
		w.t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, status, code)
	}
	if got, _ := w.refusedOnce(since, verb); got != reason {
		w.t.Errorf("%s: recorded as %q, want %q", name, got, reason)
	}
	if n := len(w.sandbox.Ledger()); n != calls {
		w.t.Errorf("%s: %d calls upstream", name, n-calls)
	}
	return a
}
