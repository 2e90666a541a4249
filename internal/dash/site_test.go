package dash_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	upstream "github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// site is a whole Valetkey whose pages are served at an address of its own.
type site struct {
	*vktest.World
	t    *testing.T
	dash *dash.Server
	base string // without the slash
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := vktest.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{World: w, t: t, base: "http://localhost:" + port}
	// The world is moved to the address of these pages.
	a := w.App
	a.Connect.PublicURL = s.base + "/"
	w.Sandbox.AllowRedirect(a.Connect.RedirectURI("github"))
	a.Users.WebAuthn, _ = user.NewWebAuthn(s.base, "Valetkey")
	a.Users.Tries = &user.Limiter{Burst: 100_000}
	leaving := make(chan struct{})
	s.dash = &dash.Server{
		Org: id.DefaultOrg, PublicURL: s.base + "/", Sandbox: "github", Pages: renderer(t), Users: a.Users, Broker: a.Broker, Receipts: a.Receipts, Manage: a.Manage,
		Connect: a.Connect, Refusals: a.Refusals, Proposals: a.Proposals, Checkpoint: a.Checkpointer.Last, Leaving: leaving, Log: a.Log,
		Select: func(ctx context.Context, q dash.Query) ([]audit.Event, error) {
			return a.DB.Log().Select(ctx, store.Query(q))
		},
		ClientIP: func(r *http.Request) netip.Addr {
			return a.ClientAddr(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
		},
	}
	srv := httptest.NewUnstartedServer(s.dash.Handler())
	srv.Listener.Close()
	srv.Listener = listener
	srv.Start()
	t.Cleanup(func() { close(leaving); srv.CloseClientConnections(); srv.Close() })
	return s
}

// visitor is somebody with a browser that keeps cookies and follows nothing.
type visitor struct {
	t       *testing.T
	base    string
	who     user.Principal
	cookies map[string]string
}

func (s *site) stranger() *visitor {
	return &visitor{t: s.t, base: s.base, cookies: map[string]string{}}
}

var operator = user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}

// person makes somebody who has just logged in.
func (s *site) person(name string, role user.Role) *visitor {
	s.t.Helper()
	now := time.Now()
	u, _, err := s.App.Users.Create(s.t.Context(), operator, name, role, now)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.session(user.Principal{Org: u.Org, User: u.ID, Name: name, Role: role, Kind: user.Browser, AuthAt: now})
}

// session logs p in once more.
func (s *site) session(p user.Principal) *visitor {
	s.t.Helper()
	now := time.Now()
	bearer := secret.Random(32)
	h := bearer.Hash()
	v := &user.Session{
		Org: p.Org, ID: id.NewSession(), Hash: h[:], User: p.User, Kind: user.Browser, CreatedAt: now, AuthAt: now, SeenAt: now,
		ExpiresAt: now.Add(user.Browser.Lifetime()), Version: 1,
	}
	if err := s.App.DB.Users().Sessions().CreateSession(s.t.Context(), v, nil); err != nil {
		s.t.Fatal(err)
	}
	out := s.stranger()
	out.who = p
	out.who.Session, out.who.AuthAt = v.ID, now
	out.cookies[dash.CookieName(s.dash, "session")] = bearer.Reveal()
	return out
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   string
}

func (a answer) reason() string {
	var p struct{ Reason string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Reason
}

func (a answer) location() string {
	var p struct{ Location string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Location
}

func (v *visitor) do(method, path string, header http.Header, body io.Reader) answer {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	for name, value := range v.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		site := http.SameSiteLaxMode
		if strings.HasSuffix(c.Name, "-ceremony") {
			site = http.SameSiteStrictMode
		}
		if !c.HttpOnly || c.SameSite != site || c.Path != "/" {
			v.t.Errorf("%s %s sets a loose cookie: %s", method, path, c.Name)
		}
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	return answer{res.StatusCode, res.Header, string(got)}
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.do(http.MethodGet, path, nil, nil)
}

var tokenOn = regexp.MustCompile(`name="valetkey-csrf" content="([^"]+)"`)

// token reads the form token off a page.
func (v *visitor) token() string {
	v.t.Helper()
	page := v.get("/device?state=denied") // without state of its own
	if page.code == http.StatusSeeOther {
		page = v.get(page.header.Get("Location"))
	}
	if page.code == http.StatusSeeOther {
		page = v.get(page.header.Get("Location"))
	}
	m := tokenOn.FindStringSubmatch(page.body)
	if m == nil {
		v.t.Fatalf("no form token on a page: %d", page.code)
	}
	return m[1]
}

func (v *visitor) headers() http.Header {
	v.t.Helper()
	return http.Header{"Content-Type": {"application/json"}, "Valetkey-Csrf": {v.token()}, "Sec-Fetch-Site": {"same-origin"}}
}

// post sends a form of ours as the page's script does.
func (v *visitor) post(path string, body any) answer {
	v.t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			v.t.Fatal(err)
		}
		text = string(b)
	}
	return v.do(http.MethodPost, path, v.headers(), strings.NewReader(text))
}

func (v *visitor) must(path string, body any) answer {
	v.t.Helper()
	got := v.post(path, body)
	if got.code != http.StatusOK {
		v.t.Fatalf("POST %s: %d %s", path, got.code, got.body)
	}
	return got
}

// things are what one person has: an account, an agent that may use it, and an
// action that waits.
type things struct {
	con   *vault.Connection
	agent *agent.Agent
	grant *grant.Grant
	held  broker.Outcome
}

func (s *site) things(v *visitor) things {
	s.t.Helper()
	con := s.Link(v.who, "octocat")
	a, _ := s.Agent(v.who, fmt.Sprintf("agent-%d", time.Now().UnixNano()))
	g := s.Grant(v.who, a, con, grant.Broker, []string{"*"}, nil)
	return things{con, a, g, s.ask(a, con, "Hello from a valet.")}
}

func (s *site) ask(a *agent.Agent, con *vault.Connection, text string) broker.Outcome {
	return s.submit(a, broker.Ask{
		Connection: string(con.ID), Operation: "github.issues.create_comment", Note: "says hello",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": text},
	})
}

func (s *site) submit(a *agent.Agent, ask broker.Ask) broker.Outcome {
	s.t.Helper()
	out, err := s.App.Broker.Submit(s.t.Context(), vktest.Caller(a), ask, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// questionOf is what the page of a held action asks: its decision digest.
func questionOf(o broker.Outcome) string {
	d := o.Approval.Digest(approval.Yes)
	return hex.EncodeToString(d[:])
}

// size is how many events the log has.
func (s *site) size() int64 {
	s.t.Helper()
	h, err := s.App.DB.Log().Head(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return h.Size
}

// passkey is a software authenticator with one passkey on this site.
type passkey struct {
	party virtual.RelyingParty
	auth  virtual.Authenticator
	cred  virtual.Credential
}

// enrol makes a passkey over the real routes, by a link.
func (v *visitor) enrol(link secret.Text, name string) *passkey {
	v.t.Helper()
	k := &passkey{party: virtual.RelyingParty{ID: "localhost", Name: "Valetkey", Origin: v.base}, cred: virtual.NewCredential(virtual.KeyTypeEC2)}
	for len(k.cred.Key.AttestationData()) != 77 { // the library leaves out leading zeros of a coordinate, which makes a bad key
		k.cred = virtual.NewCredential(virtual.KeyTypeEC2)
	}
	begun := v.must("/passkey/enrol/begin", map[string]string{"invite": link.Reveal()})
	opts, err := virtual.ParseAttestationOptions(begun.body)
	if err != nil {
		v.t.Fatal(err)
	}
	k.auth = virtual.NewAuthenticatorWithOptions(virtual.AuthenticatorOptions{UserHandle: []byte(opts.UserID)})
	made := virtual.CreateAttestationResponse(k.party, k.auth, k.cred, *opts)
	v.must("/passkey/enrol/finish", map[string]any{"invite": link.Reveal(), "name": name, "credential": json.RawMessage(made)})
	k.auth.AddCredential(k.cred)
	return k
}

// assert answers the options that a begin route gave.
func (v *visitor) assert(k *passkey, begin string, body any) json.RawMessage {
	v.t.Helper()
	opts, err := virtual.ParseAssertionOptions(v.must(begin, body).body)
	if err != nil {
		v.t.Fatal(err)
	}
	k.cred.Counter++
	return json.RawMessage(virtual.CreateAssertionResponse(k.party, k.auth, k.cred, *opts))
}

// consent does at the sandbox what a person does, and returns the callback.
func (v *visitor) consent(to, login string) string {
	v.t.Helper()
	back, err := upstream.Approve(v.t.Context(), http.DefaultClient, to, login)
	if err != nil {
		v.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		v.t.Fatal(err)
	}
	return u.RequestURI()
}
