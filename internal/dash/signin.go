package dash

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// SignInPath is where an identity provider sends the browser back to.
const SignInPath = "signin/callback"

// leave sends the browser to the identity provider, and keeps in it which trip
// this is.
func (s *Server) leave(c *call, address string, handle secret.Text, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	s.setCookie(c.header, cookieSignIn, handle, user.SignInTTL)
	return reply{to: address}, nil
}

type returning struct {
	ReturnTo string `json:"return_to"`
}

func (s *Server) signIn(ctx context.Context, c *call, req returning) (reply, error) {
	address, handle, err := s.Users.BeginSignIn(ctx, returnTo(req.ReturnTo), c.peer, c.now)
	return s.leave(c, address, handle, err)
}

func (s *Server) signInInvited(ctx context.Context, c *call, req enrolRequest) (reply, error) {
	address, handle, err := s.Users.BeginInvited(ctx, secret.New(req.Invite), c.peer, c.now)
	if fault.From(err).Reason == user.ErrLink.Reason {
		err = by(err) // the service has recorded it
	}
	return s.leave(c, address, handle, err)
}

func (s *Server) linkIdentity(ctx context.Context, c *call, req confirmed) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	address, handle, err := s.Users.BeginLink(ctx, c.who, c.now)
	return s.leave(c, address, handle, err)
}

func (s *Server) signInAgain(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	address, handle, err := s.Users.BeginSignInAgain(ctx, c.who, c.now)
	return s.leave(c, address, handle, err)
}

func (s *Server) unlinkIdentity(ctx context.Context, c *call, req confirmed) (reply, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("idn", ref) {
		return reply{}, user.ErrIdentity
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	return reply{to: "/you"}, s.Users.Unlink(ctx, c.who, id.Identity(ref), c.now)
}

// reauthenticate sends an approver to log in once more, for one decision: a yes
// to what was on the page.
func (s *Server) reauthenticate(ctx context.Context, c *call, req decisionBegin) (reply, error) {
	held, err := s.find(ctx, c)
	if err != nil {
		return reply{}, err
	}
	_, err = asksThis(held, req.Digest, req.Question)
	switch {
	case err != nil:
		return reply{}, err
	case !held.MayAnswer:
		return reply{}, broker.ErrNotApprover
	case held.Approval.Level != approval.StepUp:
		return reply{}, errNoPresence
	}
	if err := s.cannotRun(ctx, held.Action); err != nil {
		return reply{}, err
	}
	// The login is bound to what this person has been shown, as the passkey is.
	if held.Approval.Precondition, err = s.Broker.Shown(ctx, c.who, held.Held, req.Shown); err != nil {
		return reply{}, err
	}
	address, handle, err := s.Users.BeginReauthentication(ctx, c.who, held.Approval.Digest(approval.Yes), "/actions/"+string(held.Action.ID)+"?signed=in", c.now)
	return s.leave(c, address, handle, err)
}

// signedIn takes the proof of a fresh login out of the browser, for a yes to
// this approval.
func (s *Server) signedIn(ctx context.Context, c *call, p *approval.Approval) ([]byte, error) {
	handle := s.cookie(c.http, cookieProof)
	s.dropCookie(c.header, cookieProof)
	evidence, err := s.Users.TakeEvidence(ctx, c.who, handle, p.Digest(approval.Yes), c.now)
	return evidence, by(err)
}

// signInCallback is where the identity provider sends the browser back to. It
// completes only what this browser began, and decides nothing: a login for a
// decision only makes the page's button one that can be pressed. The browser
// goes on to an address without code and state.
func (s *Server) signInCallback() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet { // HEAD comes from scanners
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		c, err := s.open(w, r, false)
		if err != nil {
			s.fail(w, c, err)
			return
		}
		handle := s.cookie(r, cookieSignIn)
		got, err := s.Users.FinishSignIn(r.Context(), c.who, handle, r.URL.Query(), c.peer, c.now)
		to := "/login?done=signin_failed"
		if err != nil {
			s.known(c, err)
			s.Log.InfoContext(r.Context(), "not signed in", slog.String("reason", fault.From(err).Reason))
			if fault.From(err).Reason == "identity_unlinked" {
				to = "/login?done=identity_unlinked"
			}
			if c.known() {
				to = "/you?done=signin_failed"
			}
		} else {
			s.dropCookie(c.header, cookieSignIn)
			to = s.arrive(r.Context(), c, got)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
}

// arrive puts what a trip brought into the browser, and says where to go on.
func (s *Server) arrive(ctx context.Context, c *call, got *user.SignedIn) string {
	if got.Login != nil {
		s.enter(ctx, c, got.Login)
	}
	switch got.Kind {
	case user.CeremonyOIDCDecide:
		s.setCookie(c.header, cookieProof, got.Evidence, user.CeremonyTTL)
		return got.To
	case user.CeremonyOIDCLink:
		return "/you?done=identity_linked"
	case user.CeremonyOIDCConfirm:
		return "/you?done=confirmed"
	case user.CeremonyOIDCInvite:
		return "/welcome"
	}
	return returnTo(got.To)
}

// proofed says whether this browser brings the proof of a fresh login.
func (s *Server) proofed(c *call) bool { return !s.cookie(c.http, cookieProof).IsZero() }

// offerSignIn says on an action's page that its reader may prove presence at the
// identity provider, or has just done so. Where passkeys do not work at all, that
// is the way.
func (s *Server) offerSignIn(ctx context.Context, c *call, v *ActionPage) error {
	may, err := s.Users.Reauthenticates(ctx, c.who, c.now)
	if err != nil || !may {
		return err
	}
	v.SignInAt, v.CanDecide, v.WhyNot = s.Users.OIDC.Name, true, ""
	keys, err := s.Users.Keys(ctx, c.who)
	if err != nil {
		return err
	}
	v.NoPasskey = len(keys) == 0 || s.Users.WebAuthn.Available() != nil
	v.SignedIn = c.http.URL.Query().Get("signed") == "in" && s.proofed(c)
	return nil
}

// presenceOf is what proves that whoever answers is there: a passkey's answer,
// or a fresh login at the identity provider; nil where the form brought neither.
func (s *Server) presenceOf(ctx context.Context, c *call, p *approval.Approval, assertion json.RawMessage, signed bool) ([]byte, error) {
	switch {
	case len(assertion) > 0:
		evidence, err := s.presence(ctx, c, p, assertion)
		return evidence, by(err)
	case signed:
		return s.signedIn(ctx, c, p)
	}
	return nil, nil
}
