package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// world is a server with people, agents and accounts, and its upstream.
type world struct {
	t      *testing.T
	srv    *server
	up     *upstream
	trap   *trap
	book   *book
	shared bool // the database is PostgreSQL, where another process might be at work

	socket *http.Client // of the operator
	net    *wire        // of everybody else
	mira   *person      // in the browser where she decides and connects
	second *person      // the same, in another browser
	user   api.User
	pat    string            // the connection whose token never changes
	cons   map[string]string // connections by login

	writer, asker, careful, reader, keeper, idle *agent

	mu     sync.Mutex
	rng    *rand.Rand
	marked int
}

// agent is a program that asks.
type agent struct {
	*client.Client
	name    string
	id      string
	options client.Options
}

// again is the agent after a restart of its own: it has its key, and nothing else.
func (w *world) again(a *agent) *client.Client {
	w.t.Helper()
	return must[*client.Client](w)(client.New(w.srv.url, a.options))
}

// wrong reports a promise that was broken. The test goes on, to see what else.
func (w *world) wrong(format string, args ...any) {
	w.t.Helper()
	w.book.do(func() { w.book.wrongs++ })
	w.t.Errorf("life %d: "+format, append([]any{w.srv.lives}, args...)...)
}

// draw is a number below n, the same for the same seed and order.
func (w *world) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// mark is a name that no other write has.
func (w *world) mark(what string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marked++
	return fmt.Sprintf("%s-%06d", what, w.marked)
}

// newWorld starts a server for the first time, and makes everything that the
// load needs.
func newWorld(t *testing.T, srv *server, seed uint64, accessTTL time.Duration) *world {
	t.Helper()
	w := &world{t: t, srv: srv, trap: &trap{}, book: newBook(), cons: map[string]string{}, rng: rand.New(rand.NewPCG(seed, 1))}
	w.up = newUpstream(t, w.trap, accessTTL)
	w.up.AllowRedirect(srv.url + "connect/github/callback")
	plain := &http.Transport{MaxIdleConnsPerHost: 16}
	// localhost may be IPv6 first, where nobody listens.
	plain.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", srv.port))
	}
	w.net = &wire{w, plain}
	w.socket = &http.Client{Transport: &wire{w, &http.Transport{DialContext: srv.dialer()}}, Timeout: time.Minute}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said last:\n%s", srv.tail())
		}
	})
	srv.start()
	srv.ready()
	w.settle()
	return w
}

// must is for the preparations, which nothing disturbs.
func must[T any](w *world) func(T, error) T {
	return func(v T, err error) T {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
		return v
	}
}

// policy makes room for one agent that writes without asking, and demands a
// passkey for another.
func policy(text string) string {
	const asks = "when { context.risk_level >= 2 }"
	return strings.Replace(text, asks, `when { context.risk_level >= 2 && principal.name != "writer" }`, 1) + `

@id("crash.careful")
@reason("This agent's writes need a passkey.")
forbid (principal, action == Action::"write", resource)
when { principal.name == "careful" }
unless { context.assurance >= 2 };
`
}

func (w *world) settle() {
	w.t.Helper()
	ctx, t := w.t.Context(), w.t
	internal := true
	must[api.Provider](w)(operator[api.Provider](w, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{
		ClientID: clientID, ClientSecret: clientSecret, Internal: &internal, Base: &api.BaseURLs{API: []string{w.up.url}, Web: w.up.url},
	}))
	mira := must[api.UserCreated](w)(operator[api.UserCreated](w, http.MethodPost, "v1/admin/users", api.UserRequest{Name: "mira", Role: "owner"}))
	key := newPasskey()
	w.user, w.mira, w.second = mira.User, must[*person](w)(newPerson(w.srv.url, w.net, key)), must[*person](w)(newPerson(w.srv.url, w.net, key))
	if err := errors.Join(w.mira.enrol(ctx, mira.EnrolmentURL), w.second.login(ctx)); err != nil {
		t.Fatal(err)
	}
	token := w.up.PersonalToken("octocat", "repo")
	pat := must[api.Connection](w)(operator[api.Connection](w, http.MethodPost, "v1/admin/connections", api.ConnectionRequest{
		Provider: "github", Name: "steady", User: "mira", Token: token.Reveal(),
	}))
	w.pat = pat.ID
	for _, login := range accounts {
		if err := w.mira.connect(ctx, w.up, login, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range w.connections() {
		w.cons[c.Account] = c.ID
	}
	texts := must[api.Page[api.Policy]](w)(operator[api.Page[api.Policy]](w, http.MethodGet, "v1/admin/policies", nil))
	must[api.Policy](w)(operator[api.Policy](w, http.MethodPut, "v1/admin/policies/pol_default", api.PolicyRequest{Text: policy(texts.Items[0].Text)}))

	w.writer, w.asker, w.careful = w.register("writer"), w.register("asker"), w.register("careful")
	w.reader, w.keeper, w.idle = w.register("reader"), w.register("keeper"), w.register("idle")
	for _, a := range []*agent{w.writer, w.asker, w.careful} {
		w.allow(a, w.pat, "broker")
	}
	for _, login := range accounts {
		w.allow(w.writer, w.cons[login], "broker")
		w.allow(w.reader, w.cons[login], "broker")
		w.allow(w.keeper, w.cons[login], "vend")
	}
}

func (w *world) register(name string) *agent {
	w.t.Helper()
	key := must[*client.Key](w)(client.GenerateKey(""))
	a := must[api.Agent](w)(operator[api.Agent](w, http.MethodPost, "v1/admin/agents", api.AgentRequest{Name: name, Owner: "mira", Key: key.PublicPEM()}))
	made := &agent{name: name, id: a.ID, options: client.Options{ClientID: a.ID, Key: key, HTTPClient: &http.Client{Transport: w.net}}}
	made.Client = w.again(made)
	return made
}

func (w *world) allow(a *agent, con, mode string) {
	w.t.Helper()
	must[api.Grant](w)(operator[api.Grant](w, http.MethodPost, "v1/admin/grants", api.GrantRequest{Agent: a.id, Connection: con, Mode: mode, Operations: []string{"*"}}))
}

// connections are all of them, also those that have ended.
func (w *world) connections() []api.Connection {
	w.t.Helper()
	return must[[]api.Connection](w)(pages[api.Connection](w, "v1/admin/connections"))
}

// look is a held action as its agent sees it.
func (w *world) look(a *agent, action string) (api.Action, error) {
	token, err := a.Token(w.t.Context())
	if err != nil {
		return api.Action{}, err
	}
	return ask[api.Action](w, &http.Client{Transport: w.net, Timeout: time.Minute}, http.MethodGet, w.srv.url+"v1/actions/"+action, token.Access.Reveal(), nil)
}

// forget closes the connections to a process that is gone.
func (w *world) forget() {
	w.net.base.CloseIdleConnections()
	if over, ok := w.socket.Transport.(*wire); ok {
		over.base.CloseIdleConnections()
	}
}

// TestMain ends the PostgreSQL server and removes the binary.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = max(code, 1)
	}
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}
