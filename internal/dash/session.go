package dash

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// Cookies of ours. None can be read by a script.
//
// Over HTTPS they carry the __Host- prefix (RFC 6265bis §4.1.3.2): no other
// host of the same domain can set one. Plain HTTP exists on localhost only,
// where browsers do not agree on Secure cookies; there the port is part of
// the name, because cookies do not keep ports apart and two servers on one
// machine would log each other out.
const (
	cookieSession  = "session"  // the session's bearer value
	cookieVisit    = "visit"    // what form tokens are made from
	cookieCeremony = "ceremony" // the handle of the passkey ceremony under way
	cookieSignIn   = "signin"   // the handle of a trip to the identity provider
	cookieProof    = "proof"    // the handle of what a trip for a decision proved
)

func (s *Server) cookieName(what string) string {
	if s.base.Scheme == "https" {
		return "__Host-valetkey-" + what
	}
	port := s.base.Port()
	if port == "" {
		port = "80"
	}
	return "valetkey-" + port + "-" + what
}

// setCookie sends a cookie to the browser; life zero means until it closes,
// negative that it ends.
//
// Who follows a link to us from a mail has to arrive logged in, and the form
// token has to be on the page that opens, so the first two are Lax: browsers send
// them with a visit from elsewhere, and never with a POST from elsewhere, which
// every change is; and what comes back from the identity provider comes from
// there. What a passkey signed, or a fresh login proved, only ever comes from a
// page of ours.
func (s *Server) setCookie(h http.Header, what string, value secret.Text, life time.Duration) {
	c := &http.Cookie{
		Name: s.cookieName(what), Value: value.Reveal(), Path: "/", HttpOnly: true,
		Secure: s.base.Scheme == "https", SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second),
	}
	if what == cookieCeremony {
		c.SameSite = http.SameSiteStrictMode
	}
	h.Add("Set-Cookie", c.String())
}

func (s *Server) dropCookie(h http.Header, what string) {
	s.setCookie(h, what, secret.Text{}, -time.Second)
}

// cookie reads one of our cookies. Two of one name are nobody's: somebody
// else put one of them there.
func (s *Server) cookie(r *http.Request, what string) secret.Text {
	got := r.CookiesNamed(s.cookieName(what))
	if len(got) != 1 || len(got[0].Value) > 256 {
		return secret.Text{}
	}
	return secret.New(got[0].Value)
}

// call is one request of somebody.
type call struct {
	http   *http.Request
	header http.Header // of the answer
	who    user.Principal
	bearer secret.Text
	visit  secret.Text
	peer   user.Peer
	now    time.Time
}

// open finds out who asks. Who keeps a page open without doing anything stays
// logged in for as long as an idle session lasts and no longer: what a page
// fetches by itself does not count as use.
func (s *Server) open(w http.ResponseWriter, r *http.Request, byItself bool) (*call, error) {
	c := &call{http: r, header: w.Header(), now: time.Now(), bearer: s.cookie(r, cookieSession), visit: s.cookie(r, cookieVisit)}
	c.peer = user.Peer{From: s.ClientIP(r), Label: browserName(r.UserAgent())}
	if c.bearer.IsZero() {
		return c, nil
	}
	var err error
	if byItself {
		c.who, err = s.look(r.Context(), c.bearer, c.now)
	} else {
		c.who, err = s.Users.Authenticate(r.Context(), c.bearer, user.Browser, c.now)
	}
	if err != nil && fault.From(err).Kind != fault.Unauthenticated {
		return c, err
	}
	return c, nil
}

// again looks once more who asks, after a body that took its time to arrive:
// whoever was logged out or suspended meanwhile changes nothing with it.
func (s *Server) again(c *call) error {
	if !c.known() {
		return nil
	}
	c.now = time.Now()
	was := c.who.Session
	var err error
	if c.who, err = s.look(c.http.Context(), c.bearer, c.now); err != nil {
		return err
	}
	if c.who.Session != was { // never: a bearer is one session's
		c.who = user.Principal{}
		return user.ErrLogin
	}
	return nil
}

// look is [user.Service.Authenticate] without its trace: it says whose session
// bearer is and leaves the moment of its last use as it stands.
func (s *Server) look(ctx context.Context, bearer secret.Text, now time.Time) (user.Principal, error) {
	h := bearer.Hash()
	v, u, err := s.Users.Store.Sessions().ByHash(ctx, h[:])
	if err != nil {
		return user.Principal{}, err
	}
	if v.Org != s.Org || v.Kind != user.Browser || !v.Live(now) || u.Status != user.Active {
		return user.Principal{}, user.ErrLogin
	}
	return user.Principal{Org: v.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: v.ID, Kind: v.Kind, Label: v.Label, AuthAt: v.AuthAt}, nil
}

// known reports whether somebody is logged in.
func (c *call) known() bool { return c.who.User != "" }

// enter puts a new login into the browser. What was logged in there ends.
func (s *Server) enter(ctx context.Context, c *call, l *user.Login) {
	if c.known() && c.who.Session != l.Principal.Session {
		if err := s.Users.Logout(ctx, c.who, c.now); err != nil {
			s.Log.WarnContext(ctx, "former session not closed", "error", err)
		}
	}
	c.who, c.bearer = l.Principal, l.Bearer
	s.setCookie(c.header, cookieSession, l.Bearer, l.Session.ExpiresAt.Sub(c.now))
}

// token is what every form has to send back: it proves that the form stands on
// a page that this browser got from us, for this session. It is bound to the
// session's name, not to its bearer value, so that a confirmation, which
// changes the latter, leaves the page in use.
func (c *call) token() string {
	if c.visit.IsZero() {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(c.visit.Reveal()))
	mac.Write([]byte("valetkey/form/v1\x00" + string(c.who.Session)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// welcomeIn gives a browser that has none the cookie that form tokens are made
// from.
func (s *Server) welcomeIn(c *call) {
	if c.visit.IsZero() {
		c.visit = secret.Random(32)
		s.setCookie(c.header, cookieVisit, c.visit, 0)
	}
}

var (
	errCrossSite = fault.New(fault.Forbidden, "cross_site", "This came from another site; nothing was changed.")
	errToken     = fault.New(fault.Forbidden, "form_token", "This page is out of date; reload it and try again.")
)

// ours refuses a change that did not come from a page of ours.
func (s *Server) ours(c *call) error {
	if err := s.origin.Check(c.http); err != nil {
		return errCrossSite.Because(err)
	}
	sent := c.http.Header.Values("Valetkey-Csrf")
	want := c.token()
	if len(sent) != 1 || want == "" || !hmac.Equal([]byte(sent[0]), []byte(want)) {
		return errToken
	}
	return nil
}

// browserName says which browser it is, for the list of sessions.
func browserName(agent string) string {
	pick := func(list ...[2]string) string {
		for _, p := range list {
			if strings.Contains(agent, p[0]) {
				return p[1]
			}
		}
		return ""
	}
	// The order matters: each of them also names those after it.
	name := pick([2]string{"Edg/", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"Firefox/", "Firefox"}, [2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"})
	on := pick([2]string{"Android", "Android"}, [2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"}, [2]string{"Mac OS X", "macOS"}, [2]string{"Windows", "Windows"}, [2]string{"Linux", "Linux"})
	switch {
	case name == "":
		return "Browser"
	case on == "":
		return name
	}
	return name + " on " + on
}
