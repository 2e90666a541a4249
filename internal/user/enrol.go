package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// Enrolment is a new passkey. Login is set when it came in by a link: the
// ceremony proved presence, so the person need not touch the passkey again.
type Enrolment struct {
	Passkey *Passkey
	User    *User
	Login   *Login
}

var (
	errExists  = fault.New(fault.Conflict, "passkey_exists", "This passkey is registered here already; log in with it.")
	errEnrol   = fault.New(fault.Invalid, "passkey_refused", "The browser's answer does not make a passkey for this server; start again, with a device that asks for a fingerprint, face or PIN.")
	errTooMany = fault.New(fault.Conflict, "too_many_passkeys", fmt.Sprintf("A person has at most %d passkeys.", maxPasskeys))
)

const maxPasskeys = 20

// Invitation is what the page behind an enrolment link shows.
func (s *Service) Invitation(ctx context.Context, link secret.Text, peer Peer, now time.Time) (*User, *Link, error) {
	if err := s.try(peer.place(), now); err != nil {
		return nil, nil, err
	}
	u, l, err := s.openLink(ctx, link, now)
	if err != nil {
		s.refuseUnknown(ctx, peer, "enrolment", err, now)
		return nil, nil, err
	}
	s.Tries.Return(peer.place(), now)
	return u, l, nil
}

// openLink finds who a live link is for. Every link that lets nobody in is
// refused alike.
func (s *Service) openLink(ctx context.Context, link secret.Text, now time.Time) (*User, *Link, error) {
	h := link.Hash()
	l, err := s.Store.Passkeys().Link(ctx, h[:])
	if err != nil {
		return nil, nil, err
	}
	if l.Org != s.Org || !l.UsedAt.IsZero() || !now.Before(l.ExpiresAt) {
		return nil, nil, ErrLink
	}
	u, err := s.Store.User(ctx, s.Org, l.User)
	if err != nil {
		return nil, nil, err
	}
	if u.Status != Active {
		return nil, nil, ErrLink.Because(ErrSuspended)
	}
	return u, l, nil
}

// BeginEnrol begins to make a passkey for the person whom link is for. It
// returns the options for navigator.credentials.create and the handle that
// [Service.FinishEnrol] wants back.
func (s *Service) BeginEnrol(ctx context.Context, link secret.Text, peer Peer, now time.Time) (options []byte, handle secret.Text, err error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, secret.Text{}, err
	}
	// The try is given back when the ceremony succeeds: beginning costs a row.
	if err := s.try(peer.place(), now); err != nil {
		return nil, secret.Text{}, err
	}
	u, l, err := s.openLink(ctx, link, now)
	if err != nil {
		s.refuseUnknown(ctx, peer, "enrolment", err, now)
		return nil, secret.Text{}, err
	}
	return s.beginEnrol(ctx, u, &Ceremony{Kind: CeremonyEnrol, User: u.ID, Link: l.Hash}, now)
}

// BeginAdd begins to make another passkey for p, who must have used one within
// the last minutes: otherwise a stolen cookie would become a key of its own.
func (s *Service) BeginAdd(ctx context.Context, p Principal, now time.Time) (options []byte, handle secret.Text, err error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, secret.Text{}, err
	}
	u, err := s.person(ctx, p)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if err := p.Fresh(now); err != nil {
		return nil, secret.Text{}, err
	}
	if err := s.try(p.place(), now); err != nil {
		return nil, secret.Text{}, err
	}
	return s.beginEnrol(ctx, u, &Ceremony{Kind: CeremonyEnrol, User: u.ID, Session: p.Session}, now)
}

// person loads the active person in p's browser session.
func (s *Service) person(ctx context.Context, p Principal) (*User, error) {
	if p.User == "" || p.Kind != Browser || p.Session == "" || p.Org != s.Org {
		return nil, ErrBrowser
	}
	u, err := s.Store.User(ctx, s.Org, p.User)
	if err != nil {
		return nil, err
	}
	if u.Status != Active {
		return nil, ErrSuspended
	}
	return u, nil
}

func (s *Service) beginEnrol(ctx context.Context, u *User, c *Ceremony, now time.Time) ([]byte, secret.Text, error) {
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if len(keys) >= maxPasskeys {
		return nil, secret.Text{}, errTooMany
	}
	a, err := newAccount(u, keys)
	if err != nil {
		return nil, secret.Text{}, err
	}
	have := make([]protocol.CredentialDescriptor, len(a.keys))
	for i, k := range a.keys {
		have[i] = k.Descriptor()
	}
	options, state, err := s.WebAuthn.party.BeginRegistration(a, webauthn.WithExclusions(have))
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("begin enrolment: %w", err)
	}
	return s.begin(ctx, c, options, state, now)
}

// FinishEnrol checks the browser's answer and stores the passkey under name
// ("Work laptop"; the peer's label if empty). p is who began it with
// [Service.BeginAdd], or zero for a link.
func (s *Service) FinishEnrol(ctx context.Context, p Principal, handle secret.Text, response []byte, name string, peer Peer, now time.Time) (*Enrolment, error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, err
	}
	who := peer.place()
	if p.User != "" {
		who = p.place()
	}
	c, state, err := s.take(ctx, who, handle, CeremonyEnrol, p.Session, now)
	if err != nil {
		s.refuse(ctx, p, peer, "enrolment", err, now)
		return nil, err
	}
	out, err := s.finishEnrol(ctx, p, c, state, response, name, peer, now)
	if err != nil {
		s.refuse(ctx, p, peer, "enrolment", err, now)
		return nil, err
	}
	s.Tries.Return(who, now)
	s.anybody.Store(true)
	return out, nil
}

func (s *Service) finishEnrol(ctx context.Context, p Principal, c *Ceremony, state webauthn.SessionData, response []byte, name string, peer Peer, now time.Time) (*Enrolment, error) {
	u, err := s.Store.User(ctx, s.Org, c.User)
	if err != nil {
		return nil, err
	}
	if u.Status != Active || c.Session != "" && p.User != c.User {
		return nil, ErrCeremony
	}
	cred, err := s.verifyNew(u, state, response)
	if err != nil {
		return nil, errEnrol.Because(err)
	}
	k := &Passkey{
		Org: s.Org, ID: id.NewPasskey(), User: u.ID, CredentialID: cred.ID, Name: clean(name, 63),
		CreatedAt: now, UsedAt: now, Version: 1,
	}
	if k.Name == "" {
		k.Name = clean(peer.Label, 63)
	}
	if k.Name == "" {
		k.Name = "Passkey"
	}
	if k.Credential, err = json.Marshal(cred); err != nil {
		return nil, fmt.Errorf("encode passkey: %w", err)
	}
	by, how := p, "session"
	if c.Session == "" {
		by, how = Principal{Org: s.Org, User: u.ID}, "link"
	}
	err = s.Store.Passkeys().Enrol(ctx, k, c.Link, now, []audit.Event{
		by.Event("passkey.enrolled", string(k.ID), u.ID, now, map[string]string{
			"name": k.Name, "by": how, "source": peer.source(), "key": keyHash(cred.PublicKey),
		}),
	})
	if reason(err) == "exists" {
		return nil, errExists
	}
	if err != nil {
		return nil, err
	}
	out := &Enrolment{Passkey: k, User: u}
	if c.Session == "" {
		if out.Login, err = s.open(ctx, u, k, peer, now); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// verifyNew runs WebAuthn §7.1: challenge, origin, RP ID, user presence and
// user verification, key and self-consistency. Attestation is not asked for:
// who holds the link, or the session, chooses the authenticator.
func (s *Service) verifyNew(u *User, state webauthn.SessionData, response []byte) (*webauthn.Credential, error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, cause(err)
	}
	if err := s.WebAuthn.exact(parsed.Response.CollectedClientData); err != nil {
		return nil, err
	}
	cred, err := s.WebAuthn.party.CreateCredential(account{user: u}, state, parsed)
	if err != nil {
		return nil, cause(err)
	}
	if !cred.Flags.UserVerified || !cred.Flags.UserPresent {
		return nil, errors.New("user not verified")
	}
	return cred, nil
}

// cause unfolds the library's errors: the part that says what was wrong is not
// in their text.
func cause(err error) error {
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.DevInfo != "" {
		return fmt.Errorf("%w: %.300s", err, e.DevInfo)
	}
	return err
}

// refuseUnknown records that somebody we do not know was turned away. What
// failed on our side is not theirs and not recorded as a refusal.
func (s *Service) refuseUnknown(ctx context.Context, peer Peer, surface string, refusal error, now time.Time) {
	if fault.From(refusal).Kind != fault.Internal && fault.From(refusal).Kind != fault.Unavailable {
		s.Refused(ctx, peer.From, surface, refusal, now)
	}
}

// refuse records that p was turned away, or whoever is at peer when p is
// nobody. Each refusal of a person is one event.
func (s *Service) refuse(ctx context.Context, p Principal, peer Peer, surface string, refusal error, now time.Time) {
	if p.User == "" || p.Session == "" {
		s.refuseUnknown(ctx, peer, surface, refusal, now)
		return
	}
	if k := fault.From(refusal).Kind; k == fault.Internal || k == fault.Unavailable {
		return
	}
	e := p.Event(surface+".refused", string(p.Session), p.User, now, map[string]string{"reason": reason(refusal)})
	err := s.Store.Sessions().UpdateSession(context.WithoutCancel(ctx), s.Org, p.Session, func(*Session) ([]audit.Event, error) {
		return []audit.Event{e}, nil
	})
	if err != nil {
		s.Log.ErrorContext(ctx, "refusal not recorded", slog.String("surface", surface), slog.Any("error", err))
	}
}
