package dash

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

// Server answers the pages. All fields must be set, except Sandbox and Program.
type Server struct {
	Org       id.Org
	PublicURL string // how browsers reach us, with its trailing slash
	Sandbox   string // the provider that is the built-in sandbox, or ""
	Program   string // how a shell starts valetkey, if not as it started this one

	Pages    *Renderer
	Users    *user.Service
	Broker   *broker.Broker
	Receipts *broker.Receipts
	Manage   *manage.Service
	Connect  *connect.Service
	Refusals *agent.Refusals
	// Proposals are changes that command lines asked for.
	Proposals *proposal.Service

	// Select reads the log for people, newest first.
	Select func(context.Context, Query) ([]audit.Event, error)
	// Checkpoint is the newest signed tree head, nil before the first; see
	// audit.Checkpointer.Last.
	Checkpoint func() (signed []byte, at audit.Checkpoint, behind int)
	// ClientIP says where a request comes from, proxies considered.
	ClientIP func(*http.Request) netip.Addr
	// Leaving is closed when the server begins to stop: live pages end.
	Leaving <-chan struct{}
	Log     *slog.Logger

	base    *url.URL
	started time.Time // the sandbox remembers nothing from before
	origin  http.CrossOriginProtection
}

// Query selects events: newest first, before a sequence number, optionally
// about one object, by one actor, or of one kind of verb.
type Query struct {
	Org    id.Org
	Before int64 // exclusive; 0 means from the newest
	Object string
	Actor  string
	Verb   string // exact, or a prefix ending in "."
	Limit  int
}

// Handler serves every page. It is called once.
func (s *Server) Handler() http.Handler {
	base, err := url.Parse(s.PublicURL)
	if err != nil {
		panic("dash: the public URL was not checked: " + err.Error())
	}
	s.base, s.started = base, time.Now()
	// Browsers that send no Sec-Fetch-Site are judged by Origin; behind a proxy
	// the Host that we see may not be the one they know.
	if err := s.origin.AddTrustedOrigin(base.Scheme + "://" + base.Host); err != nil {
		panic("dash: the public URL was not checked: " + err.Error())
	}
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, r.serve)
	}
	return s.named(mux)
}

// route is one path and what answers it.
type route struct {
	pattern string
	serve   http.Handler
}

// routes lists every path of this package.
func (s *Server) routes() []route {
	return []route{
		{"GET /assets/", s.Pages.Assets},

		// Getting in.
		{"GET /{$}", s.page(anybody, s.start)},
		{"GET /welcome", s.page(anybody, s.welcome)},
		{"GET /welcome/rows", s.part(anybody, s.welcomeRows)},
		{"GET /enrol/{invite}", s.page(anybody, s.enrol)},
		{"GET /login", s.page(anybody, s.login)},
		{"POST /passkey/enrol/begin", post(s, anybody, s.beginEnrol)},
		{"POST /passkey/enrol/finish", post(s, anybody, s.finishEnrol)},
		{"POST /passkey/login/begin", post(s, anybody, s.beginLogin)},
		{"POST /passkey/login/finish", post(s, anybody, s.finishLogin)},
		{"POST /passkey/confirm/begin", post(s, person, s.beginConfirm)},
		{"POST /logout", post(s, person, s.logout)},
		{"GET /device", s.page(person, s.device)},
		{"POST /device/{code}/passkey", post(s, person, s.beginDevice)},
		{"POST /device/decision", post(s, person, s.decideDevice)},

		{"GET /recover", s.page(anybody, s.recoverPage)},
		{"POST /recover", post(s, anybody, s.recover)},
		{"POST /signin", post(s, anybody, s.signIn)},
		{"POST /signin/invited", post(s, anybody, s.signInInvited)},
		{"POST /signin/again", post(s, person, s.signInAgain)},
		{"POST /signin/link", post(s, person, s.linkIdentity)},
		{"GET /signin/callback", s.signInCallback()},

		// Who gets in, and how.
		{"GET /you", s.page(person, s.you)},
		{"POST /you/passkeys/begin", post(s, person, s.beginAdd)},
		{"POST /you/passkeys/finish", post(s, person, s.finishAdd)},
		{"POST /you/passkeys/{id}/rename", post(s, person, s.renamePasskey)},
		{"POST /you/passkeys/{id}/touch", post(s, person, s.beginRemoval)},
		{"POST /you/passkeys/{id}/remove", post(s, person, s.removePasskey)},
		{"POST /you/sessions/{id}/end", post(s, person, s.endSession)},
		{"POST /you/sessions/end-others", post(s, person, s.endOthers)},
		{"POST /you/codes/touch", post(s, person, s.beginCodes)},
		{"POST /you/codes", post(s, person, s.makeCodes)},
		{"POST /you/identities/{id}/unlink", post(s, person, s.unlinkIdentity)},
		{"GET /people", s.page(person, s.people)},
		{"POST /people", post(s, person, s.invite)},
		{"POST /people/{id}/link", post(s, person, s.link)},
		{"POST /people/{id}/void", post(s, person, s.voidLinks)},
		{"POST /people/{id}/role", post(s, person, s.setRole)},
		{"POST /people/{id}/suspend", post(s, person, s.suspendPerson)},
		{"POST /people/{id}/resume", post(s, person, s.resumePerson)},

		// What waits.
		{"GET /inbox", s.page(person, s.inbox)},
		{"GET /inbox/list", s.part(person, s.inboxList)},
		{"GET /events/inbox", s.stream(s.inboxEvents)},
		{"GET /actions/{id}", s.page(person, s.action)},
		{"GET /actions/{id}/status", s.part(person, s.actionLive)},
		{"GET /actions/{id}/receipt", s.page(person, s.receipt)},
		{"GET /actions/{id}/preview", s.part(person, s.preview)},
		{"POST /actions/{id}/passkey", post(s, person, s.beginDecision)},
		{"POST /actions/{id}/decision", post(s, person, s.decide)},
		{"POST /actions/{id}/signin", post(s, person, s.reauthenticate)},
		{"GET /proposals/{id}", s.page(person, s.proposal)},
		{"POST /proposals/{id}/passkey", post(s, person, s.beginProposal)},
		{"POST /proposals/{id}/decision", post(s, person, s.decideProposal)},

		// What people have and give.
		{"GET /connections", s.page(person, s.connections)},
		{"POST /connections/connect", post(s, person, s.beginConnect)},
		{"GET /connect/{provider}/callback", s.callback()},
		{"POST /connections/token", post(s, person, s.addToken)},
		{"POST /connections/{id}/reconnect", post(s, person, s.reconnect)},
		{"POST /connections/{id}/disconnect", post(s, person, s.disconnect)},
		{"POST /connections/{id}/previews", post(s, person, s.sharePreviews)},
		{"GET /connections/{id}/disconnected", s.page(person, s.disconnected)},
		{"GET /agents", s.page(person, s.agents)},
		{"POST /agents", post(s, person, s.addAgent)},
		{"GET /agents/{id}", s.page(person, s.agent)},
		{"POST /agents/{id}/suspend", post(s, person, s.suspendAgent)},
		{"POST /agents/{id}/resume", post(s, person, s.resumeAgent)},
		{"POST /agents/{id}/freeze", post(s, person, s.freezeAgent)},
		{"POST /agents/{id}/keys", post(s, person, s.addKey)},
		{"POST /agents/{id}/keys/{key}/retire", post(s, person, s.retireKey)},
		{"POST /agents/{id}/grants", post(s, person, s.addGrant)},
		{"POST /grants/{id}/revoke", post(s, person, s.revokeGrant)},
		{"POST /reliefs/{id}/revoke", post(s, person, s.revokeRelief)},
		{"POST /freeze", post(s, person, s.freeze)},
		{"POST /unfreeze", post(s, person, s.unfreeze)},

		// What happened, and by which rules.
		{"GET /activity", s.page(person, s.activity)},
		{"GET /activity/list", s.part(person, s.activityList)},
		{"GET /policy", s.page(person, s.policy)},

		{"/", s.nothing()},
	}
}

// limits of one request.
const (
	maxPost = 256 << 10
	maxDeep = 16

	streamWrite = 15 * time.Second // for one event to a reader that has stopped reading
	streamBeat  = 20 * time.Second
)
