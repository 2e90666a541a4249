package user

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// NewPasskeyRest is how long a passkey that was added to others, or let in by
// a recovery link, decides nothing critical: long enough for its owner to see
// that it is there.
const NewPasskeyRest = 24 * time.Hour

var (
	errPresence = fault.New(fault.Forbidden, "passkey_refused", "Your passkey's answer does not fit this request; nothing was done. Reload the page and try again.")
	errTooNew   = fault.New(fault.Forbidden, "passkey_too_new", "A new passkey decides nothing critical in its first 24 hours; use one that you have had for longer.")
	errNoKey    = fault.New(fault.Conflict, "no_passkey", "You have no passkey here yet; enrol one first.")
)

// evidenceFormat names the layout of [Evidence] and what its challenge means.
const evidenceFormat = "valetkey/passkey-evidence/v1"

// Evidence is the proof that a person was present for one decision. With it
// and the public key anybody can repeat the check: the signature is over
// AuthenticatorData followed by SHA-256 of ClientDataJSON, the challenge in the
// latter is the decision digest (WebAuthn §7.2).
type Evidence struct {
	Format            string                    `json:"format"`
	RPID              string                    `json:"rpId"`
	Origin            string                    `json:"origin"`
	User              id.User                   `json:"user"`
	Passkey           id.Passkey                `json:"passkey"`
	CredentialID      protocol.URLEncodedBase64 `json:"credentialId"`
	PublicKey         protocol.URLEncodedBase64 `json:"publicKey"` // a COSE_Key
	Challenge         protocol.URLEncodedBase64 `json:"challenge"`
	ClientDataJSON    protocol.URLEncodedBase64 `json:"clientDataJSON"`
	AuthenticatorData protocol.URLEncodedBase64 `json:"authenticatorData"`
	Signature         protocol.URLEncodedBase64 `json:"signature"`
	At                time.Time                 `json:"at"`
}

// BeginStepUp asks p's passkey to sign one decision: challenge is the decision
// digest itself, exactly these bytes.
func (s *Service) BeginStepUp(ctx context.Context, p Principal, challenge [32]byte, now time.Time) (options []byte, handle secret.Text, err error) {
	return s.beginPresence(ctx, p, CeremonyDecide, challenge[:], now)
}

// FinishStepUp checks the answer and returns the JSON of its [Evidence]. The
// session is not changed by it: one touch decides one thing.
func (s *Service) FinishStepUp(ctx context.Context, p Principal, handle secret.Text, response []byte, now time.Time) (evidence []byte, err error) {
	_, evidence, err = s.finishTouch(ctx, p, CeremonyDecide, "decision", handle, response, now)
	return evidence, err
}

// finishTouch checks the answer to a ceremony that binds, uses its passkey, and
// returns it with the JSON of the [Evidence]. what is for the log.
func (s *Service) finishTouch(ctx context.Context, p Principal, kind CeremonyKind, what string, handle secret.Text, response []byte, now time.Time) (*presence, []byte, error) {
	got, err := s.finishPresence(ctx, p, kind, handle, response, now)
	if err != nil {
		return nil, nil, err
	}
	r := got.parsed.Raw.AssertionResponse
	evidence, err := json.Marshal(Evidence{
		Format: evidenceFormat, RPID: s.WebAuthn.ID, Origin: s.WebAuthn.Origin, User: got.user.ID, Passkey: got.key.ID,
		CredentialID: got.cred.ID, PublicKey: got.cred.PublicKey, Challenge: got.challenge,
		ClientDataJSON: r.ClientDataJSON, AuthenticatorData: r.AuthenticatorData, Signature: r.Signature, At: now.UTC(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode evidence: %w", err)
	}
	e := p.Event("passkey.asserted", string(got.key.ID), p.User, now, map[string]string{"for": what, "challenge": hex.EncodeToString(got.challenge)})
	if err := s.finishUse(ctx, p, got, e, now); err != nil {
		return nil, nil, err
	}
	return got, evidence, nil
}

// touched is [Service.finishTouch] for a thing of this package: the answer must
// be over digest, which is made of what is stored now.
func (s *Service) touched(ctx context.Context, p Principal, kind CeremonyKind, handle secret.Text, response []byte, digest [32]byte, now time.Time) (*Passkey, error) {
	got, err := s.touchedOnce(ctx, p, kind, handle, response, func([]byte) [32]byte { return digest }, now)
	if err != nil {
		return nil, err
	}
	return got.key, nil
}

// touchedOnce is touched where the digest has the nonce of its ceremony in it.
func (s *Service) touchedOnce(ctx context.Context, p Principal, kind CeremonyKind, handle secret.Text, response []byte, digest func(nonce []byte) [32]byte, now time.Time) (*presence, error) {
	got, evidence, err := s.finishTouch(ctx, p, kind, string(kind), handle, response, now)
	if err != nil {
		return nil, err
	}
	if err := CheckEvidence(ctx, s.Store.Passkeys(), s.Org, p.User, evidence, digest(got.nonce)); err != nil {
		s.refuse(ctx, p, Peer{}, "presence", err, now)
		return nil, err
	}
	return got, nil
}

// BeginConfirm asks p's passkey for presence, before a change to who may get
// in and who may do what.
func (s *Service) BeginConfirm(ctx context.Context, p Principal, now time.Time) (options []byte, handle secret.Text, err error) {
	return s.beginPresence(ctx, p, CeremonyConfirm, nil, now)
}

// FinishConfirm makes p's session fresh; see [Principal.Fresh]. The session
// gets a new bearer value and the old one is dead: whoever had a copy of the
// cookie does not become fresh with it.
func (s *Service) FinishConfirm(ctx context.Context, p Principal, handle secret.Text, response []byte, now time.Time) (*Login, error) {
	got, err := s.finishPresence(ctx, p, CeremonyConfirm, handle, response, now)
	if err != nil {
		return nil, err
	}
	e := p.Event("passkey.asserted", string(got.key.ID), p.User, now, map[string]string{"for": "session"})
	if err := s.finishUse(ctx, p, got, e, now); err != nil {
		return nil, err
	}
	return s.renew(ctx, p, got.user, got.key.ID, map[string]string{"passkey": string(got.key.ID)}, now)
}

// renew makes p's session fresh by what proved presence, under a new bearer
// value.
func (s *Service) renew(ctx context.Context, p Principal, u *User, by id.Passkey, how map[string]string, now time.Time) (*Login, error) {
	text, hash := newBearer()
	var fresh *Session
	err := s.Store.Sessions().UpdateSession(ctx, s.Org, p.Session, func(v *Session) ([]audit.Event, error) {
		if v.User != p.User || !v.Live(now) {
			return nil, ErrLogin
		}
		v.Hash, v.AuthAt, v.SeenAt, v.PasskeyRef = hash, now, now, by
		c := *v
		fresh = &c
		return []audit.Event{p.Event("session.confirmed", string(v.ID), v.User, now, how)}, nil
	})
	if err != nil {
		return nil, err
	}
	return &Login{Bearer: text, Session: fresh, Principal: principal(fresh, u)}, nil
}

func (s *Service) beginPresence(ctx context.Context, p Principal, kind CeremonyKind, challenge []byte, now time.Time) ([]byte, secret.Text, error) {
	return s.beginBound(ctx, p, kind, challenge, nil, now)
}

// beginBound is beginPresence that keeps a nonce, which is in the challenge, for
// when the answer comes.
func (s *Service) beginBound(ctx context.Context, p Principal, kind CeremonyKind, challenge, nonce []byte, now time.Time) ([]byte, secret.Text, error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, secret.Text{}, err
	}
	u, err := s.person(ctx, p)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if err := s.try(p.place(), now); err != nil {
		return nil, secret.Text{}, err
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if len(keys) == 0 {
		return nil, secret.Text{}, errNoKey
	}
	if kind.binds() {
		guarded, err := s.guarded(ctx, u.ID, keys)
		if err != nil {
			return nil, secret.Text{}, err
		}
		if keys = settled(keys, guarded, now); len(keys) == 0 {
			return nil, secret.Text{}, errTooNew
		}
	}
	a, err := newAccount(u, keys)
	if err != nil {
		return nil, secret.Text{}, err
	}
	opts := []webauthn.LoginOption{webauthn.WithUserVerification(protocol.VerificationRequired)}
	if challenge != nil {
		opts = append(opts, webauthn.WithChallenge(challenge))
	}
	options, state, err := s.WebAuthn.party.BeginLogin(a, opts...)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("begin %s: %w", kind, err)
	}
	return s.begin(ctx, &Ceremony{Kind: kind, User: u.ID, Session: p.Session}, options, boundState{state, nonce}, now)
}

// settled are those of a person's passkeys that may decide what is critical:
// the first one, which there was nothing to protect from, and those that have
// been there for a day. guarded says that something else let this person in
// before the first one did.
func settled(keys []*Passkey, guarded bool, now time.Time) []*Passkey {
	if len(keys) == 0 {
		return nil
	}
	first := slices.MinFunc(keys, func(a, b *Passkey) int { return a.CreatedAt.Compare(b.CreatedAt) })
	var out []*Passkey
	for _, k := range keys {
		if k == first && !guarded || now.Sub(k.CreatedAt) >= NewPasskeyRest {
			out = append(out, k)
		}
	}
	return out
}

// guarded reports whether an identity let u in before the first of keys did.
func (s *Service) guarded(ctx context.Context, u id.User, keys []*Passkey) (bool, error) {
	identities, err := s.Store.Passkeys().Identities(ctx, s.Org, u)
	if err != nil || len(identities) == 0 || len(keys) == 0 {
		return false, err
	}
	first := slices.MinFunc(keys, func(a, b *Passkey) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return identities[0].CreatedAt.Before(first.CreatedAt), nil
}

// presence is an answer that holds.
type presence struct {
	user      *User
	key       *Passkey
	cred      *webauthn.Credential
	parsed    *protocol.ParsedCredentialAssertionData
	challenge []byte
	nonce     []byte // of its ceremony, or none
}

func (s *Service) finishPresence(ctx context.Context, p Principal, kind CeremonyKind, handle secret.Text, response []byte, now time.Time) (*presence, error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, err
	}
	u, err := s.person(ctx, p)
	if err != nil {
		return nil, err
	}
	c, state, err := s.take(ctx, p.place(), handle, kind, p.Session, now)
	if err == nil && c.User != p.User {
		err = ErrCeremony
	}
	if err != nil {
		s.refuse(ctx, p, Peer{}, "presence", err, now)
		return nil, err
	}
	var kept boundState
	if err := json.Unmarshal(c.State, &kept); err != nil {
		return nil, fmt.Errorf("decode ceremony: %w", err)
	}
	got, err := s.verifyPresence(ctx, u, state, response)
	if err != nil {
		if errors.Is(err, errPresence) {
			s.Log.InfoContext(ctx, "presence refused", slog.Any("error", err))
		}
		s.refuse(ctx, p, Peer{}, "presence", err, now)
		return nil, err
	}
	got.nonce = kept.Nonce
	return got, nil
}

// verifyPresence runs WebAuthn §7.2 for u: only u's passkeys that were asked
// for count.
func (s *Service) verifyPresence(ctx context.Context, u *User, state webauthn.SessionData, response []byte) (*presence, error) {
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return nil, err
	}
	a, err := newAccount(u, keys)
	if err != nil {
		return nil, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, errPresence.Because(cause(err))
	}
	if err := s.WebAuthn.exact(parsed.Response.CollectedClientData); err != nil {
		return nil, errPresence.Because(err)
	}
	cred, err := s.WebAuthn.party.ValidateLogin(a, state, parsed)
	if err != nil {
		return nil, errPresence.Because(cause(err))
	}
	var challenge protocol.URLEncodedBase64
	if err := challenge.UnmarshalJSON([]byte(`"` + state.Challenge + `"`)); err != nil {
		return nil, fmt.Errorf("decode challenge: %w", err)
	}
	for _, k := range keys {
		if string(k.CredentialID) == string(cred.ID) {
			return &presence{user: u, key: k, cred: cred, parsed: parsed, challenge: challenge}, nil
		}
	}
	return nil, errPresence
}

// finishUse moves the passkey's counter with the event that says what for.
func (s *Service) finishUse(ctx context.Context, p Principal, got *presence, e audit.Event, now time.Time) error {
	err := s.used(ctx, got.key, useOf(got.cred, got.parsed), []audit.Event{e}, now)
	if errors.Is(err, ErrRefused) {
		err = errPresence.Because(err)
		s.refuse(ctx, p, Peer{}, "presence", err, now)
	}
	if err != nil {
		return err
	}
	s.Tries.Return(p.place(), now)
	return nil
}
