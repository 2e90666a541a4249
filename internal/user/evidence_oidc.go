package user

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/secret"
)

// signInFormat names the layout of [SignInEvidence] and how its nonce is made.
const signInFormat = "valetkey/oidc-evidence/v1"

// errOtherSight refuses a fresh login for something else than is answered now:
// for another question, or in view of something else.
var errOtherSight = fault.New(fault.Forbidden, "presence_required", "Your fresh login was for something else than what you are shown now: it was asked again, or what is there has changed or could not be read. Nothing was decided. Reload the page, look again, and log in anew for that.")

// SignInEvidence is the proof that a person logged in at the identity provider
// for one decision. IDToken is what the provider signed, with Key; its nonce is
// made of the decision digest and Salt, so that it answers nothing else. It is
// of no use as a credential: it names us alone as its audience, and nobody here
// takes it for one.
type SignInEvidence struct {
	Format    string                    `json:"format"`
	Issuer    string                    `json:"issuer"`
	ClientID  string                    `json:"clientId"`
	User      id.User                   `json:"user"`
	Identity  id.Identity               `json:"identity"`
	Subject   string                    `json:"subject"`
	Challenge protocol.URLEncodedBase64 `json:"challenge"`
	Salt      string                    `json:"salt"`
	IDToken   string                    `json:"idToken"`
	Key       json.RawMessage           `json:"key"` // a public JWK
	At        time.Time                 `json:"at"`
}

// decisionNonce is the nonce of a login for one decision.
func decisionNonce(challenge [32]byte, salt string) string {
	h := digestOf(signInFormat, string(challenge[:]), salt)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// Check verifies that e is a fresh login at e's issuer for exactly challenge.
// It needs nothing but e itself; whose account and whose key it is, is for
// [CheckEvidence] to find out.
func (e *SignInEvidence) Check(challenge [32]byte) error {
	if e.Format != signInFormat {
		return fmt.Errorf("format %q", e.Format)
	}
	if string(e.Challenge) != string(challenge[:]) {
		return errors.New("another decision was signed for")
	}
	c, err := oidc.Check(e.IDToken, e.Key, e.Issuer, e.ClientID, decisionNonce(challenge, e.Salt), e.At)
	switch {
	case err != nil:
		return err
	case c.Subject != e.Subject:
		return errors.New("it is about somebody else")
	case !c.FreshSince(e.At.Add(-SignInTTL), e.At):
		return errors.New("the login was not a fresh one")
	}
	return nil
}

// IsSignIn reports whether stored evidence is that of a login at an identity
// provider, and of no passkey.
func IsSignIn(raw []byte) bool {
	var e struct {
		Format string `json:"format"`
	}
	return json.Unmarshal(raw, &e) == nil && e.Format == signInFormat
}

// checkSignIn is [CheckEvidence] for a login at the identity provider: the
// account is linked to who, and was old enough; the issuer is known to sign
// with that key.
func checkSignIn(ctx context.Context, store IdentityStore, org id.Org, who id.User, raw []byte, challenge [32]byte) error {
	var e SignInEvidence
	if err := json.Unmarshal(raw, &e); err != nil {
		return ErrEvidence.Because(fmt.Errorf("decode evidence: %w", err))
	}
	if err := e.Check(challenge); err != nil {
		return ErrEvidence.Because(err)
	}
	v, err := store.Identity(ctx, org, e.Issuer, e.Subject)
	if err != nil && !errors.Is(err, ErrIdentity) {
		return err
	}
	if err != nil || v.User != who || v.ID != e.Identity || v.Rests(e.At) {
		return ErrEvidence.Because(fmt.Errorf("the account is not one by which %s decides", who))
	}
	thumb, err := oidc.KeyID(e.Key)
	if err != nil {
		return ErrEvidence.Because(err)
	}
	known, err := store.IssuerKey(ctx, org, e.Issuer, thumb)
	if err != nil {
		return err
	}
	if !known {
		return ErrEvidence.Because(fmt.Errorf("the key was never seen at %s", e.Issuer))
	}
	return nil
}

// keepEvidence stores what proves presence until its person says yes with it:
// coming back from the provider decides nothing by itself.
func (s *Service) keepEvidence(ctx context.Context, p Principal, c *Ceremony, token *oidc.Token, challenge [32]byte, salt string, now time.Time) (secret.Text, error) {
	v, err := s.whose(ctx, token, now)
	if err != nil {
		return secret.Text{}, err
	}
	switch {
	case v.User != p.User || c.User != p.User:
		return secret.Text{}, errPresence.Because(errors.New("somebody else logged in"))
	case v.Rests(now):
		return secret.Text{}, errIdentityNew
	}
	evidence, err := json.Marshal(SignInEvidence{
		Format: signInFormat, Issuer: s.OIDC.Issuer, ClientID: s.OIDC.ClientID, User: p.User, Identity: v.ID, Subject: v.Subject,
		Challenge: challenge[:], Salt: salt, IDToken: token.Raw, Key: token.Key, At: now.UTC(),
	})
	if err != nil {
		return secret.Text{}, fmt.Errorf("encode evidence: %w", err)
	}
	if err := CheckEvidence(ctx, s.Store.Passkeys(), s.Org, p.User, evidence, challenge); err != nil {
		return secret.Text{}, err
	}
	handle := secret.Random(32)
	h := handle.Hash()
	err = s.Store.Ceremonies().Begin(ctx, &Ceremony{
		Org: s.Org, Hash: h[:], Kind: ceremonyEvidence, User: p.User, Session: p.Session, State: evidence, CreatedAt: now, ExpiresAt: now.Add(CeremonyTTL),
	})
	return handle, err
}

// TakeEvidence returns what p's fresh login at the identity provider proves,
// once, in the session in which it was begun, for the decision that it was for.
func (s *Service) TakeEvidence(ctx context.Context, p Principal, handle secret.Text, challenge [32]byte, now time.Time) ([]byte, error) {
	evidence, err := s.takeEvidence(ctx, p, handle, challenge, now)
	if err != nil {
		s.refuse(ctx, p, Peer{}, "presence", err, now)
		return nil, err
	}
	var e SignInEvidence
	if err := json.Unmarshal(evidence, &e); err != nil {
		return nil, fmt.Errorf("decode evidence: %w", err)
	}
	said := p.Event("identity.asserted", string(e.Identity), p.User, now, map[string]string{
		"for": "decision", "issuer": e.Issuer, "challenge": fmt.Sprintf("%x", []byte(e.Challenge)),
	})
	err = s.Store.Sessions().UpdateSession(ctx, s.Org, p.Session, func(v *Session) ([]audit.Event, error) {
		if v.User != p.User || !v.Live(now) {
			return nil, ErrLogin
		}
		return []audit.Event{said}, nil
	})
	return evidence, err
}

func (s *Service) takeEvidence(ctx context.Context, p Principal, handle secret.Text, challenge [32]byte, now time.Time) ([]byte, error) {
	if _, err := s.person(ctx, p); err != nil {
		return nil, err
	}
	h := handle.Hash()
	c, err := s.Store.Ceremonies().Take(ctx, h[:], now)
	if err != nil {
		return nil, err
	}
	if c.Org != s.Org || c.Kind != ceremonyEvidence || c.Session != p.Session || c.User != p.User {
		return nil, ErrCeremony
	}
	var e SignInEvidence
	if err := json.Unmarshal(c.State, &e); err != nil {
		return nil, fmt.Errorf("decode evidence: %w", err)
	}
	if string(e.Challenge) != string(challenge[:]) {
		return nil, errOtherSight
	}
	return c.State, CheckEvidence(ctx, s.Store.Passkeys(), s.Org, p.User, c.State, challenge)
}
