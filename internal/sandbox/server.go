package sandbox

import (
	"bytes"
	"crypto/tls"
	"embed"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/secret"
)

const (
	maxBody          = 10 << 20
	defaultAccessTTL = 8 * time.Hour
)

//go:embed pages/*.html static
var files embed.FS

// Options says who the one OAuth application is and what the world holds.
type Options struct {
	ClientID     string      // the application's id
	ClientSecret secret.Text // without one, no exchange succeeds
	ClientName   string      // shown on the consent page; the id if empty
	RedirectURIs []string    // compared byte by byte; see also AllowRedirect
	Issuer       string      // sent as iss with the code (RFC 9207); "" sends none, as GitHub does
	Seed         Seed        // the world at the start; DefaultSeed if it has no users
	AccessTTL    time.Duration
	Log          *slog.Logger // nil logs nothing
}

// Server is the sandbox. All its methods are safe for concurrent use.
type Server struct {
	clientID     string
	clientSecret secret.Text
	clientName   string
	issuer       string
	log          *slog.Logger
	api, site    http.Handler // for programs, for people
	own          http.Handler // the ledger and the pages' own parts
	look         *template.Template

	// mu guards everything below. Every handler runs with it held, and
	// writes into memory: no I/O happens under it.
	mu        sync.Mutex
	redirects map[string]bool
	world     *world
	authority *authority
	ledger    ledger
	mishaps   mishaps
}

// New makes a server. It panics if the seed contradicts itself (an issue by
// an unknown user), which is a mistake of the program that wrote the seed.
func New(o Options) *Server {
	if len(o.Seed.Users) == 0 {
		o.Seed = DefaultSeed()
	}
	if o.AccessTTL <= 0 {
		o.AccessTTL = defaultAccessTTL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.ClientName == "" {
		o.ClientName = o.ClientID
	}
	s := &Server{
		clientID: o.ClientID, clientSecret: o.ClientSecret, clientName: o.ClientName, issuer: o.Issuer, log: o.Log,
		look:      template.Must(template.New("").Funcs(pageFuncs).ParseFS(files, "pages/*.html")),
		redirects: map[string]bool{},
		world:     newWorld(o.Seed, time.Now()),
		authority: newAuthority(o.AccessTTL),
	}
	for _, uri := range o.RedirectURIs {
		s.redirects[uri] = true
	}
	s.api, s.site, s.own = s.apiRoutes(), s.siteRoutes(), s.ownRoutes()
	return s
}

// AllowRedirect registers a redirect URI. It is compared byte by byte.
func (s *Server) AllowRedirect(uri string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redirects[uri] = true
}

// Handler returns the whole service: OAuth, API and pages on one origin.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.receive) }

// apiRoutes lists every path that programs call.
func (s *Server) apiRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/oauth/authorize", s.showConsent)
	mux.HandleFunc("POST /login/oauth/authorize", s.takeConsent)
	mux.HandleFunc("POST /login/oauth/access_token", s.issueToken)

	mux.Handle("POST /applications/{client}/token", s.application(s.checkToken))
	mux.Handle("DELETE /applications/{client}/token", s.application(s.deleteToken))
	mux.Handle("DELETE /applications/{client}/grant", s.application(s.deleteGrant))

	mux.Handle("GET /user", s.call(s.self))
	mux.Handle("GET /user/repos", s.call(s.listRepos))
	mux.Handle("GET /search/issues", s.call(s.searchIssues))

	const repo = " /repos/{owner}/{repo}"
	mux.Handle("GET"+repo, s.call(s.showRepo))
	mux.Handle("DELETE"+repo, s.call(s.deleteRepo))
	mux.Handle("POST"+repo+"/forks", s.call(s.forkRepo))
	mux.Handle("GET"+repo+"/issues", s.call(s.listIssues))
	mux.Handle("POST"+repo+"/issues", s.call(s.createIssue))
	mux.Handle("GET"+repo+"/issues/{number}", s.call(s.showIssue))
	mux.Handle("PATCH"+repo+"/issues/{number}", s.call(s.updateIssue))
	mux.Handle("GET"+repo+"/issues/{number}/comments", s.call(s.listComments))
	mux.Handle("POST"+repo+"/issues/{number}/comments", s.call(s.createComment))
	mux.Handle("POST"+repo+"/issues/{number}/labels", s.call(s.addLabels))
	mux.Handle("GET"+repo+"/pulls", s.call(s.listPulls))
	mux.Handle("POST"+repo+"/pulls", s.call(s.createPull))
	mux.Handle("GET"+repo+"/pulls/{number}", s.call(s.showPull))
	mux.Handle("PUT"+repo+"/pulls/{number}/merge", s.call(s.mergePull))
	mux.Handle("GET"+repo+"/releases/tags/{tag...}", s.call(s.showRelease))
	mux.Handle("POST"+repo+"/releases", s.call(s.createRelease))
	mux.Handle("GET"+repo+"/contents/{path...}", s.call(s.showContents))
	mux.Handle("PUT"+repo+"/contents/{path...}", s.call(s.putContents))
	mux.Handle("GET"+repo+"/git/ref/{ref...}", s.call(s.showRef))
	mux.Handle("POST"+repo+"/git/refs", s.call(s.createRef))
	mux.Handle("DELETE"+repo+"/git/refs/{ref...}", s.call(s.deleteRef))

	mux.HandleFunc("/", s.noSuchPage)
	return mux
}

// siteRoutes lists every path that people look at.
func (s *Server) siteRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.homePage)
	mux.HandleFunc("GET /{owner}/{repo}", s.repoPage)
	mux.HandleFunc("GET /{owner}/{repo}/issues", s.repoPage)
	mux.HandleFunc("GET /{owner}/{repo}/issues/{number}", s.issuePage)
	mux.HandleFunc("GET /{owner}/{repo}/pull/{number}", s.issuePage)
	mux.HandleFunc("/", s.noSuchPage)
	return mux
}

// ownRoutes lists what is neither: the ledger and the pages' own parts. These
// calls are not recorded and meet no mishaps.
func (s *Server) ownRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ledger", s.ledgerPage)
	mux.HandleFunc("GET /_sandbox/style.css", s.asset("static/style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /_sandbox/live.js", s.asset("static/live.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /_sandbox/live/{owner}/{repo}/{number}", s.issueFragment)
	mux.HandleFunc("/", s.noSuchPage)
	return mux
}

// route picks the routes by the first segment: `/repos/{owner}/{repo}/issues`
// and `/{owner}/{repo}/issues/{number}` overlap, so one mux cannot hold both.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	// A mux answers an unclean path with a redirect. The service imitated
	// here does not, and a client under test must not meet one by accident.
	if p := r.URL.Path; p != path.Clean(p) || !strings.HasPrefix(p, "/") {
		s.noSuchPage(w, r)
		return
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "login", "applications", "user", "search", "repos":
		s.api.ServeHTTP(w, r)
	default:
		s.site.ServeHTTP(w, r)
	}
}

// receive is the road of every request: read it whole, perform it in one step
// under the mutex, then answer as the mishaps say.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil { // a request that came from a transport in this process
		r.Body = http.NoBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	out, then := s.perform(r, body, err)
	s.log.DebugContext(r.Context(), "sandbox call", slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
		slog.Int("status", out.status), slog.String("login", out.login))
	if then.delay > 0 {
		timer := time.NewTimer(then.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if then.drop {
		reset(w)
		return
	}
	out.send(w)
}

// perform does what the request asks and records it, in one step.
func (s *Server) perform(r *http.Request, body []byte, readErr error) (*answer, mishap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := newAnswer()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if strings.HasPrefix(r.URL.Path, "/_") {
		s.own.ServeHTTP(out, r)
		return out, mishap{}
	}
	who := s.authority.caller(r.Header, now)
	c := s.ledger.receive(r, body, who.login, now)
	then := s.mishaps.meet(r.URL.EscapedPath())
	switch {
	case readErr != nil:
		failure(http.StatusRequestEntityTooLarge, "The request body could not be read, or is too large").write(out, nil)
	case then.redirect != "":
		out.Header().Set("Location", then.redirect)
		out.WriteHeader(http.StatusFound)
	case then.status != 0:
		failure(then.status, http.StatusText(then.status)).write(out, nil)
	default:
		s.route(out, r)
		if credential := r.Header.Get("Authorization"); s.mishaps.echo && credential != "" && !speaksSecrets(r.URL.Path) {
			out.echo(credential)
		}
	}
	then.drop = then.drop || out.lost
	c.Status, c.Dropped, out.login = out.status, then.drop, who.login
	return out, then
}

// reset breaks the connection off, so that the client sees a reset and not a
// clean end: the difference between "lost" and "finished" must be seen.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2 and recorders cannot be hijacked; this aborts them
		panic(http.ErrAbortHandler)
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) // a failure leaves an ordinary close, which is as good
	}
	conn.Close()
}
