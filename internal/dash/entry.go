package dash

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

// start leads to where this person has something to do.
func (s *Server) start(ctx context.Context, c *call) (reply, error) {
	if !c.known() {
		any, err := s.Users.AnyPasskey(ctx)
		if err != nil {
			return reply{}, err
		}
		if !any {
			return reply{to: "/welcome"}, nil
		}
		return reply{to: "/login"}, nil
	}
	fresh, err := s.beginner(ctx, c)
	if err != nil {
		return reply{}, err
	}
	if fresh {
		return reply{to: "/welcome"}, nil
	}
	return reply{to: "/inbox"}, nil
}

// beginner reports whether the four steps are not yet done.
func (s *Server) beginner(ctx context.Context, c *call) (bool, error) {
	if c.who.Role == user.Auditor {
		return false, nil
	}
	cons, err := s.Manage.ListConnections(ctx, c.who)
	if err != nil || len(cons) == 0 {
		return true, err
	}
	agents, err := s.Manage.ListAgents(ctx, c.who)
	return len(agents) == 0, err
}

// welcome is the first-run page.
func (s *Server) welcome(ctx context.Context, c *call) (reply, error) {
	if !c.known() {
		any, err := s.Users.AnyPasskey(ctx)
		if err != nil {
			return reply{}, err
		}
		if any {
			return reply{to: "/login?to=%2Fwelcome"}, nil
		}
	}
	v, err := s.welcomeView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.Welcome(w, v) }}, err
}

// welcomeRows are its rows, when they are not as the page has them.
func (s *Server) welcomeRows(ctx context.Context, c *call) (reply, error) {
	if !c.known() {
		any, err := s.Users.AnyPasskey(ctx)
		if err == nil && any {
			err = user.ErrLogin // the page that asks belongs to nobody any more
		}
		return reply{bare: true}, err
	}
	v, err := s.welcomeView(ctx, c)
	if err != nil || v.State() == c.http.URL.Query().Get("have") {
		return reply{bare: true}, err
	}
	return reply{page: func(w io.Writer) error { return s.Pages.WelcomeRows(w, v) }}, nil
}

func (s *Server) welcomeView(ctx context.Context, c *call) (WelcomePage, error) {
	chrome, err := s.chrome(ctx, c, "Welcome", "")
	if err != nil {
		return WelcomePage{}, err
	}
	v := WelcomePage{Chrome: chrome, Passkeys: s.Users.WebAuthn.Available() == nil, PublicURL: strings.TrimSuffix(s.PublicURL, "/")}
	if !c.known() {
		return v, nil
	}
	keys, err := s.Users.Store.Passkeys().OfUser(ctx, s.Org, c.who.User)
	if err != nil {
		return v, err
	}
	if v.PasskeyDone = len(keys) > 0; v.PasskeyDone {
		v.PasskeyName = keys[0].Name
	}
	if v.Providers, err = s.providers(ctx); err != nil {
		return v, err
	}
	n := s.names(ctx)
	cons, err := s.Manage.ListConnections(ctx, c.who)
	if err != nil {
		return v, err
	}
	connection := ""
	for _, con := range cons {
		ref := n.account(con)
		switch {
		case con.User != c.who.User || con.Status == vault.Revoked:
		case con.Status != vault.Active || n.forgotten(con):
			if v.Lost == nil {
				v.Lost = &Connection{ID: string(con.ID), Account: ref, CanReconnect: con.Kind == vault.ByCode, Forgotten: n.forgotten(con)}
			}
		case v.Account == nil || v.Account.Sandbox:
			v.Account, connection = &ref, con.Name // a real one, if there is one
		}
	}
	v.Providers = inOrder(v.Providers, s.Sandbox, v.Account == nil)
	if v.Account != nil {
		v.Providers = slices.DeleteFunc(v.Providers, func(p Provider) bool { return p.ID == s.Sandbox && p.ID != "" })
	}
	agents, err := s.Manage.ListAgents(ctx, c.who)
	if err != nil {
		return v, err
	}
	for _, a := range agents {
		if a.Owner != c.who.User {
			continue
		}
		seen, _, err := s.seen(ctx, a.ID)
		if err != nil {
			return v, err
		}
		// The one that has called is the one that the page is about.
		if v.Agent == nil || !seen.IsZero() && !v.AgentCalled {
			ref := agentRef(a)
			v.Agent, v.AgentCalled = &ref, !seen.IsZero()
		}
	}
	v.Snippets = s.snippets(connection, v.Account)
	waiting, err := s.Proposals.Waiting(ctx, c.who, c.now)
	if err != nil {
		return v, err
	}
	if len(waiting) > 0 {
		v.Proposed = &ProposalCard{ID: string(waiting[len(waiting)-1].ID)} // the one that waits longest
	}
	return v, s.firstAsk(ctx, c, n, &v)
}

// firstAsk finds the action that the fourth step is about: one that waits, and
// how the first one was decided.
func (s *Server) firstAsk(ctx context.Context, c *call, n *names, v *WelcomePage) error {
	mine, _, err := s.waiting(ctx, c)
	if err != nil {
		return err
	}
	if len(mine) > 0 {
		card, err := s.card(ctx, c, n, mine[0])
		if err != nil {
			return err
		}
		v.Asked = &card
	}
	decided, err := s.decided(ctx, c, n, 1)
	if err == nil && len(decided) > 0 && decided[0].By != "" {
		v.Decision = decided[0].State
	}
	return err
}

// enrol is the page behind an enrolment link. Looking at it uses nothing up:
// mail scanners and messengers look at links too.
func (s *Server) enrol(ctx context.Context, c *call) (reply, error) {
	link := c.http.PathValue("invite")
	c.header.Set("Referrer-Policy", "no-referrer") // the address holds the link's secret
	u, l, err := s.Users.Invitation(ctx, secret.New(link), c.peer, c.now)
	if c.known() && fault.From(err).Reason == user.ErrLink.Reason {
		return s.alreadyIn(ctx, c)
	}
	any, other := s.Users.AnyPasskey(ctx)
	if fault.From(err).Reason == user.ErrLink.Reason {
		return reply{}, wrongLink(link, any || other != nil).Because(err)
	}
	if err = cmp.Or(err, other); err != nil {
		return reply{}, err
	}
	if !any && !c.known() {
		v, err := s.welcomeView(ctx, c)
		v.Invite, v.Name = link, u.Name
		return reply{page: func(w io.Writer) error { return s.Pages.Welcome(w, v) }}, err
	}
	chrome, err := s.chrome(ctx, c, "Create your passkey", "")
	v := EnrolPage{Chrome: chrome, Invite: link, Name: u.Name, As: string(u.Role), Host: s.base.Hostname(), ExpiresAt: l.ExpiresAt}
	if err == nil && s.Users.OIDC != nil {
		var keys []*user.Passkey
		if keys, err = s.Users.Store.Passkeys().OfUser(ctx, s.Org, u.ID); len(keys) == 0 {
			v.SignIn = s.Users.OIDC.Name
		}
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Enrol(w, v) }}, err
}

// linkLength is that of every enrolment link's secret: 32 bytes in base64url.
const linkLength = 43

// wrongLink says what is wrong with an enrolment link that lets nobody in.
func wrongLink(link string, anybody bool) *fault.Error {
	text := "This enrolment link was used already, or has expired."
	if len(link) < linkLength {
		text = "This enrolment link is not complete: copy all of it."
	}
	if anybody {
		return fault.New(fault.Conflict, user.ErrLink.Reason, text+" If it does not work then, ask for a new one with 'valetkey user enrol-link'.")
	}
	return fault.New(fault.Conflict, user.ErrLink.Reason, text+" The terminal in which this server was started shows it; start the server again for a new one.")
}

// alreadyIn answers somebody who opens an enrolment link again that brought
// them here.
func (s *Server) alreadyIn(ctx context.Context, c *call) (reply, error) {
	chrome, err := s.chrome(ctx, c, "You are already in", "")
	v := ErrorPage{
		Chrome: chrome, Detail: "This link has been used, or has expired. You are logged in as " + c.who.Name + " and need none.",
		Next: "Go on",
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Error(w, v) }, code: http.StatusConflict}, err
}

// login asks for a passkey.
func (s *Server) login(ctx context.Context, c *call) (reply, error) {
	to := returnTo(c.http.URL.Query().Get("to"))
	if c.known() {
		return reply{to: to}, nil
	}
	any, err := s.Users.AnyPasskey(ctx)
	if err != nil {
		return reply{}, err
	}
	if !any {
		return reply{to: "/welcome"}, nil
	}
	chrome, err := s.chrome(ctx, c, "Log in", "")
	v := LoginPage{Chrome: chrome, ReturnTo: to, Host: s.base.Hostname(), Passkeys: s.Users.WebAuthn.Available() == nil}
	switch c.http.URL.Query().Get("done") {
	case "signin_failed", "identity_unlinked": // all that a stranger is told
		v.Notice = s.notice(ctx, c)
	}
	if s.Users.OIDC != nil {
		v.SignIn = s.Users.OIDC.Name
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Login(w, v) }}, err
}

// ceremony sends the browser what its authenticator needs, and keeps in it
// which ceremony this is: the answer counts in this browser only.
func (s *Server) ceremony(c *call, options []byte, handle secret.Text, err error) (reply, error) {
	if err != nil {
		return reply{}, by(err)
	}
	s.setCookie(c.header, cookieCeremony, handle, user.CeremonyTTL)
	return reply{data: options}, nil
}

// answered takes the ceremony out of the browser.
func (s *Server) answered(c *call) secret.Text {
	s.dropCookie(c.header, cookieCeremony)
	return s.cookie(c.http, cookieCeremony)
}

type enrolRequest struct {
	Invite string `json:"invite"`
}

func (s *Server) beginEnrol(ctx context.Context, c *call, req enrolRequest) (reply, error) {
	options, handle, err := s.Users.BeginEnrol(ctx, secret.New(req.Invite), c.peer, c.now)
	return s.ceremony(c, options, handle, err)
}

type enrolled struct {
	Invite     string          `json:"invite"`
	Name       string          `json:"name"`
	Credential json.RawMessage `json:"credential"`
}

func (s *Server) finishEnrol(ctx context.Context, c *call, req enrolled) (reply, error) {
	before, err := s.Users.AnyPasskey(ctx)
	if err != nil {
		return reply{}, err
	}
	got, err := s.Users.FinishEnrol(ctx, user.Principal{}, s.answered(c), req.Credential, "", c.peer, c.now)
	if err != nil {
		return reply{}, by(err)
	}
	s.enter(ctx, c, got.Login)
	to := "/"
	if !before {
		to = "/welcome"
	}
	if name := strings.TrimSpace(req.Name); name != "" && name != got.User.Name {
		// The passkey is there already; a name that does not fit must not undo it.
		if err := s.Users.Rename(ctx, c.who, c.who.User, name, c.now); err != nil {
			s.Log.InfoContext(ctx, "name not taken over", slog.String("reason", fault.From(err).Reason))
			to += "?done=name"
		}
	}
	return reply{to: to}, nil
}

type nothingSent struct{}

func (s *Server) beginLogin(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	options, handle, err := s.Users.BeginLogin(ctx, c.peer, c.now)
	return s.ceremony(c, options, handle, err)
}

type loggedIn struct {
	ReturnTo  string          `json:"return_to"`
	Assertion json.RawMessage `json:"assertion"`
}

func (s *Server) finishLogin(ctx context.Context, c *call, req loggedIn) (reply, error) {
	l, err := s.Users.FinishLogin(ctx, s.answered(c), req.Assertion, c.peer, c.now)
	if err != nil {
		return reply{}, by(err)
	}
	s.enter(ctx, c, l)
	return reply{to: returnTo(req.ReturnTo)}, nil
}

func (s *Server) beginConfirm(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	options, handle, err := s.Users.BeginConfirm(ctx, c.who, c.now)
	return s.ceremony(c, options, handle, err)
}

// confirm makes this person's session fresh, if the form brought the answer of
// their passkey.
func (s *Server) confirm(ctx context.Context, c *call, assertion json.RawMessage) error {
	if len(assertion) == 0 {
		return nil
	}
	l, err := s.Users.FinishConfirm(ctx, c.who, s.answered(c), assertion, c.now)
	if err != nil {
		return by(err)
	}
	s.enter(ctx, c, l)
	return nil
}

func (s *Server) logout(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	if err := s.Users.Logout(ctx, c.who, c.now); err != nil {
		return reply{}, err
	}
	s.dropCookie(c.header, cookieSession)
	s.dropCookie(c.header, cookieVisit)
	return reply{to: "/login"}, nil
}

// deviceScopes is what a terminal can do once it is logged in: where the
// configuration trusts command lines, more than propose. Which of the two was
// shown is in [user.Service.DeviceDigest].
func (s *Server) deviceScopes() []string {
	scopes := []string{"see what you see"}
	if s.Users.TrustCommandLine {
		scopes = append(scopes, "answer what agents ask of you, unless that needs a touch of your passkey", "change what you may change here without one")
	}
	return append(scopes, "propose changes that you confirm here with your passkey", "freeze")
}

// device confirms the login of a terminal.
func (s *Server) device(ctx context.Context, c *call) (reply, error) {
	chrome, err := s.chrome(ctx, c, "Log in a terminal", "")
	if err != nil {
		return reply{}, err
	}
	v := DevicePage{Chrome: chrome}
	show := reply{page: func(w io.Writer) error { return s.Pages.Device(w, v) }}
	q := c.http.URL.Query()
	if done := q.Get("state"); done == "approved" || done == "denied" {
		v.State = done
		return show, nil
	}
	code := q.Get("code")
	if code == "" {
		code = q.Get("user_code") // RFC 8628 §3.3.1 leaves the name to us; terminals are seen to use this one
	}
	if code == "" {
		return show, nil
	}
	d, err := s.Users.LookupDevice(ctx, c.who, code, c.now)
	switch {
	case fault.From(err).Reason == user.ErrDevice.Reason:
		v.State = "unknown"
	case err != nil:
		return reply{}, err
	default:
		digest := s.Users.DeviceDigest(d, c.who.User)
		v.Code, v.Client, v.Source, v.Scopes, v.ExpiresAt = d.UserCode, d.Label, d.Source, s.deviceScopes(), d.ExpiresAt
		v.Digest = hex.EncodeToString(digest[:])
	}
	return show, nil
}

// beginDevice asks this person's passkey to sign the login that the page showed.
func (s *Server) beginDevice(ctx context.Context, c *call, req decisionBegin) (reply, error) {
	seen, err := action.ParseDigest(req.Digest)
	if err != nil {
		return reply{}, errJSON.Because(err)
	}
	options, handle, err := s.Users.BeginDeviceApproval(ctx, c.who, c.http.PathValue("code"), seen, c.now)
	return s.ceremony(c, options, handle, err)
}

type deviceAnswer struct {
	Code      string          `json:"code"`
	Decision  string          `json:"decision"`
	Digest    string          `json:"digest"` // part of the form; what counts is the one that was signed
	Assertion json.RawMessage `json:"assertion"`
}

func (s *Server) decideDevice(ctx context.Context, c *call, req deviceAnswer) (reply, error) {
	switch approval.Answer(req.Decision) {
	case approval.Yes:
		err := s.Users.ApproveDevice(ctx, c.who, req.Code, s.answered(c), req.Assertion, c.now)
		return reply{to: "/device?state=approved"}, by(err)
	case approval.No:
		return reply{to: "/device?state=denied"}, by(s.Users.DenyDevice(ctx, c.who, req.Code, c.now))
	}
	return reply{}, errJSON
}

// seen is when and from where an agent was last heard of: its newest event.
func (s *Server) seen(ctx context.Context, a id.Agent) (at time.Time, from string, err error) {
	events, err := s.Select(ctx, Query{Org: s.Org, Actor: "agent:" + string(a), Limit: 20})
	for i, e := range events {
		if i == 0 {
			at = e.At
		}
		if src := e.Data["source"]; src != "" {
			return at, src, err
		}
	}
	return at, "", err
}
