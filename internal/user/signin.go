package user

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/secret"
)

// What a browser goes to the identity provider for. The answer to one is never
// taken for another.
const (
	CeremonyOIDCLogin   CeremonyKind = "oidc_login"    // a session
	CeremonyOIDCInvite  CeremonyKind = "oidc_invite"   // to use an invitation up
	CeremonyOIDCLink    CeremonyKind = "oidc_link"     // to link an account to whoever is logged in
	CeremonyOIDCConfirm CeremonyKind = "oidc_confirm"  // presence, of somebody without a passkey
	CeremonyOIDCDecide  CeremonyKind = "oidc_decide"   // presence, for one decision
	ceremonyEvidence    CeremonyKind = "oidc_evidence" // that presence, waiting to be used
)

// SignInTTL is how long a person may take at the identity provider.
const SignInTTL = 10 * time.Minute

// trip is what is stored of a browser on its way. What is secret about it is
// derived from the handle, which the browser alone holds: state, nonce and PKCE
// verifier are in no database.
type trip struct {
	To        string `json:"to,omitempty"`        // the page to return to
	Challenge string `json:"challenge,omitempty"` // the decision digest, in hex
}

// derive makes one of the values that belong to a handle.
func derive(handle secret.Text, what string) string {
	mac := hmac.New(sha256.New, []byte(handle.Reveal()))
	mac.Write([]byte("valetkey/sign-in/v1\x00" + what))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// ask is the trip that belongs to a handle. For a decision the nonce is bound
// to its digest.
func (s *Service) ask(handle secret.Text, kind CeremonyKind, challenge [32]byte) oidc.Ask {
	a := oidc.Ask{State: secret.New(derive(handle, "state")), Verifier: secret.New(derive(handle, "verifier")), Nonce: derive(handle, "nonce")}
	switch kind {
	case CeremonyOIDCDecide:
		a.Fresh, a.Nonce = true, decisionNonce(challenge, derive(handle, "salt"))
	case CeremonyOIDCConfirm:
		a.Fresh = true
	case CeremonyOIDCLink, CeremonyOIDCInvite:
		a.Scopes = []string{"profile", "email"} // for the label
	}
	return a
}

// BeginSignIn sends a browser to the identity provider, to come back to to.
func (s *Service) BeginSignIn(ctx context.Context, to string, peer Peer, now time.Time) (address string, handle secret.Text, err error) {
	return s.depart(ctx, peer.place(), &Ceremony{Kind: CeremonyOIDCLogin}, trip{To: to}, now)
}

// BeginInvited sends whoever holds an enrolment link to the identity provider,
// to come in by an account there in place of a passkey.
func (s *Service) BeginInvited(ctx context.Context, link secret.Text, peer Peer, now time.Time) (address string, handle secret.Text, err error) {
	u, l, err := s.Invitation(ctx, link, peer, now)
	if err != nil {
		return "", secret.Text{}, err
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return "", secret.Text{}, err
	}
	if len(keys) > 0 { // a link that recovers is for a passkey
		return "", secret.Text{}, errKeysFirst
	}
	return s.depart(ctx, peer.place(), &Ceremony{Kind: CeremonyOIDCInvite, User: u.ID, Link: l.Hash}, trip{}, now)
}

// BeginLink sends p to the identity provider to link an account there. It takes
// a fresh touch of p's passkey: the account will let p in.
func (s *Service) BeginLink(ctx context.Context, p Principal, now time.Time) (address string, handle secret.Text, err error) {
	if _, err := s.person(ctx, p); err != nil {
		return "", secret.Text{}, err
	}
	if err := p.Fresh(now); err != nil {
		return "", secret.Text{}, err
	}
	return s.depart(ctx, p.place(), &Ceremony{Kind: CeremonyOIDCLink, User: p.User, Session: p.Session}, trip{}, now)
}

// BeginSignInAgain sends p, who has no passkey, to log in at the identity
// provider once more, to make the session fresh.
func (s *Service) BeginSignInAgain(ctx context.Context, p Principal, now time.Time) (address string, handle secret.Text, err error) {
	if _, err := s.person(ctx, p); err != nil {
		return "", secret.Text{}, err
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, p.User)
	if err != nil {
		return "", secret.Text{}, err
	}
	if len(keys) > 0 {
		return "", secret.Text{}, errKeysFirst
	}
	return s.depart(ctx, p.place(), &Ceremony{Kind: CeremonyOIDCConfirm, User: p.User, Session: p.Session}, trip{}, now)
}

// BeginReauthentication sends p to log in at the identity provider for one
// decision: challenge is the decision digest, to is the page that asks.
func (s *Service) BeginReauthentication(ctx context.Context, p Principal, challenge [32]byte, to string, now time.Time) (address string, handle secret.Text, err error) {
	if _, err := s.person(ctx, p); err != nil {
		return "", secret.Text{}, err
	}
	have, err := s.Reauthenticates(ctx, p, now)
	if err != nil {
		return "", secret.Text{}, err
	}
	if !have {
		return "", secret.Text{}, errIdentityNew
	}
	return s.depart(ctx, p.place(), &Ceremony{Kind: CeremonyOIDCDecide, User: p.User, Session: p.Session}, trip{To: to, Challenge: hex.EncodeToString(challenge[:])}, now)
}

// Reauthenticates reports whether p has an account at the identity provider
// that may decide what is critical.
func (s *Service) Reauthenticates(ctx context.Context, p Principal, now time.Time) (bool, error) {
	if s.OIDC == nil || p.User == "" {
		return false, nil
	}
	all, err := s.Store.Passkeys().Identities(ctx, s.Org, p.User)
	for _, v := range all {
		if v.Issuer == s.OIDC.Issuer && !v.Rests(now) {
			return true, nil
		}
	}
	return false, err
}

func (s *Service) depart(ctx context.Context, who string, c *Ceremony, t trip, now time.Time) (string, secret.Text, error) {
	if s.OIDC == nil {
		return "", secret.Text{}, ErrNoOIDC
	}
	// The try is given back to whoever comes back as somebody.
	if err := s.try(who, now); err != nil {
		return "", secret.Text{}, err
	}
	handle := secret.Random(32)
	var challenge [32]byte
	if t.Challenge != "" {
		if _, err := hex.Decode(challenge[:], []byte(t.Challenge)); err != nil {
			return "", secret.Text{}, fmt.Errorf("read a decision digest: %w", err)
		}
	}
	address, err := s.OIDC.AuthorizeURL(ctx, s.ask(handle, c.Kind, challenge), now)
	if err != nil {
		return "", secret.Text{}, err
	}
	if c.State, err = json.Marshal(t); err != nil {
		return "", secret.Text{}, fmt.Errorf("encode a sign-in: %w", err)
	}
	h := handle.Hash()
	c.Org, c.Hash, c.CreatedAt, c.ExpiresAt = s.Org, h[:], now, now.Add(SignInTTL)
	if err := s.Store.Ceremonies().Begin(ctx, c); err != nil {
		return "", secret.Text{}, err
	}
	return address, handle, nil
}

// SignedIn is what came of a trip to the identity provider.
type SignedIn struct {
	Kind CeremonyKind
	To   string // the page to return to, or ""
	// Login is a new session, or a renewed one; nil for a link or a decision.
	Login *Login
	// Evidence is the handle of what proves presence for one decision; see
	// [Service.TakeEvidence].
	Evidence secret.Text
}

// FinishSignIn takes what the identity provider sent back. handle is what this
// browser was given; p is who is logged in there, or nobody. Nothing is done
// unless the state is that of the handle, and it works once.
func (s *Service) FinishSignIn(ctx context.Context, p Principal, handle secret.Text, answer url.Values, peer Peer, now time.Time) (*SignedIn, error) {
	out, err := s.finishSignIn(ctx, p, handle, answer, peer, now)
	if err != nil {
		s.Log.InfoContext(ctx, "sign-in refused", slog.Any("error", err))
		s.refuse(ctx, p, peer, "signin", err, now)
		return nil, err
	}
	who := peer.place()
	if p.User != "" && out.Kind != CeremonyOIDCLogin && out.Kind != CeremonyOIDCInvite {
		who = p.place()
	}
	s.Tries.Return(who, now)
	return out, nil
}

func (s *Service) finishSignIn(ctx context.Context, p Principal, handle secret.Text, answer url.Values, peer Peer, now time.Time) (*SignedIn, error) {
	if s.OIDC == nil {
		return nil, ErrNoOIDC
	}
	// Compared before anything is used up: another site's answer ends no trip of
	// ours (RFC 9700 §4.7).
	if handle.IsZero() || len(answer["state"]) != 1 || !hmac.Equal([]byte(answer.Get("state")), []byte(derive(handle, "state"))) {
		return nil, ErrCeremony.Because(errors.New("the state is not this browser's"))
	}
	h := handle.Hash()
	c, err := s.Store.Ceremonies().Take(ctx, h[:], now)
	if err != nil {
		return nil, err
	}
	var t trip
	if c.Org != s.Org || !strings.HasPrefix(string(c.Kind), "oidc_") || c.Kind == ceremonyEvidence || json.Unmarshal(c.State, &t) != nil {
		return nil, ErrCeremony
	}
	// What was begun in a session ends in that session.
	if c.Session != "" && (c.Session != p.Session || c.User != p.User) {
		return nil, ErrCeremony.Because(errors.New("begun in another session"))
	}
	var challenge [32]byte
	if t.Challenge != "" {
		if _, err := hex.Decode(challenge[:], []byte(t.Challenge)); err != nil {
			return nil, fmt.Errorf("read a decision digest: %w", err)
		}
	}
	a := s.ask(handle, c.Kind, challenge)
	var since time.Time
	if a.Fresh {
		since = c.CreatedAt
	}
	token, err := s.OIDC.Redeem(ctx, answer, a, since, now)
	if err != nil {
		return nil, err
	}
	out := &SignedIn{Kind: c.Kind, To: t.To}
	switch c.Kind {
	case CeremonyOIDCInvite, CeremonyOIDCLink:
		out.Login, err = s.link(ctx, p, c, token, peer, now)
	case CeremonyOIDCLogin:
		out.Login, err = s.signIn(ctx, token, peer, now)
	case CeremonyOIDCConfirm:
		out.Login, err = s.signInAgain(ctx, p, token, now)
	case CeremonyOIDCDecide:
		out.Evidence, err = s.keepEvidence(ctx, p, c, token, challenge, derive(handle, "salt"), now)
	default:
		err = ErrCeremony
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// whose finds the identity that a token is about, and notes that it was used
// and by which key that was proved.
func (s *Service) whose(ctx context.Context, token *oidc.Token, now time.Time) (*Identity, error) {
	v, err := s.Store.Passkeys().Identity(ctx, s.Org, s.OIDC.Issuer, token.Subject)
	if errors.Is(err, ErrIdentity) {
		return nil, errUnlinked
	}
	if err != nil {
		return nil, err
	}
	return v, s.Store.Passkeys().UseIdentity(ctx, v, token.KeyID, now)
}

func (s *Service) signIn(ctx context.Context, token *oidc.Token, peer Peer, now time.Time) (*Login, error) {
	v, err := s.whose(ctx, token, now)
	if err != nil {
		return nil, err
	}
	u, err := s.signInWith(ctx, v)
	if err != nil {
		return nil, err
	}
	return s.openBy(ctx, u, v, time.Time{}, peer, now)
}

// link stores whose an account is: p's, or that of the invitation's person,
// who comes in with it.
func (s *Service) link(ctx context.Context, p Principal, c *Ceremony, token *oidc.Token, peer Peer, now time.Time) (*Login, error) {
	u, err := s.Store.User(ctx, s.Org, c.User)
	if err != nil {
		return nil, err
	}
	if u.Status != Active {
		return nil, ErrSuspended
	}
	invited := c.Kind == CeremonyOIDCInvite
	before, err := s.Store.Passkeys().Identities(ctx, s.Org, u.ID)
	if err != nil {
		return nil, err
	}
	v := &Identity{
		Org: s.Org, ID: id.NewIdentity(), Issuer: s.OIDC.Issuer, Subject: token.Subject, User: u.ID, Label: clean(token.Label, 100),
		First: invited && len(before) == 0, CreatedAt: now, UsedAt: now, Version: 1,
	}
	by, how := p, "session"
	if invited {
		by, how = Principal{Org: s.Org, User: u.ID}, "link"
	}
	err = s.Store.Passkeys().LinkIdentity(ctx, v, c.Link, now, []audit.Event{
		by.Event("identity.linked", string(v.ID), u.ID, now, map[string]string{"issuer": v.Issuer, "label": v.Label, "account": AccountHash(v.Issuer, v.Subject), "by": how, "source": peer.source()}),
	})
	if reason(err) == "exists" {
		return nil, errLinked
	}
	if err != nil || !invited {
		return nil, err
	}
	if err := s.Store.Passkeys().UseIdentity(ctx, v, token.KeyID, now); err != nil {
		return nil, err
	}
	return s.openBy(ctx, u, v, now, peer, now)
}

// signInAgain makes p's session fresh, under a new bearer value, because p has
// just logged in at the provider and has nothing better.
func (s *Service) signInAgain(ctx context.Context, p Principal, token *oidc.Token, now time.Time) (*Login, error) {
	v, err := s.whose(ctx, token, now)
	if err != nil {
		return nil, err
	}
	u, err := s.signInWith(ctx, v)
	if err != nil {
		return nil, err
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	switch {
	case err != nil:
		return nil, err
	case u.ID != p.User:
		return nil, ErrCeremony.Because(errors.New("somebody else logged in"))
	case len(keys) > 0:
		return nil, errKeysFirst
	}
	return s.renew(ctx, p, u, id.Passkey(v.ID), map[string]string{"identity": string(v.ID)}, now)
}
