package user

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/secret"
)

// BeginLogin begins a login. No name is asked for, so the answer tells nothing
// about who is here; the authenticator finds its passkey by our host name.
func (s *Service) BeginLogin(ctx context.Context, peer Peer, now time.Time) (options []byte, handle secret.Text, err error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, secret.Text{}, err
	}
	if err := s.try(peer.place(), now); err != nil {
		return nil, secret.Text{}, err
	}
	opts, state, err := s.WebAuthn.party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("begin login: %w", err)
	}
	return s.begin(ctx, &Ceremony{Kind: CeremonyLogin}, opts, state, now)
}

// FinishLogin checks the answer to a login and opens a session. Whatever is
// wrong, the refusal is the same; the log says more.
func (s *Service) FinishLogin(ctx context.Context, handle secret.Text, response []byte, peer Peer, now time.Time) (*Login, error) {
	if err := s.WebAuthn.Available(); err != nil {
		return nil, err
	}
	_, state, err := s.take(ctx, peer.place(), handle, CeremonyLogin, "", now)
	if err != nil {
		s.refuseUnknown(ctx, peer, "login", err, now)
		return nil, err
	}
	u, k, use, err := s.verifyLogin(ctx, state, response)
	if err != nil {
		if errors.Is(err, ErrRefused) {
			s.Log.InfoContext(ctx, "login refused", slog.Any("error", err))
			s.refuseUnknown(ctx, peer, "login", err, now)
		}
		return nil, err
	}
	// From here on we know who it is, so a refusal is an event of theirs.
	me := Principal{Org: s.Org, User: u.ID}
	var events []audit.Event
	if u.Status != Active {
		events = append(events, me.Event("login.refused", string(k.ID), u.ID, now, map[string]string{"reason": ErrSuspended.Reason, "source": peer.source()}))
	}
	if err := s.used(ctx, k, use, events, now); err != nil {
		return nil, err
	}
	if u.Status != Active {
		return nil, ErrRefused.Because(ErrSuspended)
	}
	l, err := s.open(ctx, u, k, peer, now)
	if err != nil {
		return nil, err
	}
	s.Tries.Return(peer.place(), now)
	return l, nil
}

// verifyLogin runs WebAuthn §7.2 for whichever person the answer names.
func (s *Service) verifyLogin(ctx context.Context, state webauthn.SessionData, response []byte) (*User, *Passkey, use, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, nil, use{}, ErrRefused.Because(cause(err))
	}
	if err := s.WebAuthn.exact(parsed.Response.CollectedClientData); err != nil {
		return nil, nil, use{}, ErrRefused.Because(err)
	}
	var u *User
	k, err := s.Store.Passkeys().ByCredential(ctx, parsed.RawID)
	if err == nil && k.Org == s.Org {
		u, err = s.Store.User(ctx, s.Org, k.User)
	}
	switch {
	case errors.Is(err, ErrPasskey) || err == nil && u == nil:
		return nil, nil, use{}, ErrRefused.Because(ErrPasskey)
	case err != nil:
		return nil, nil, use{}, err
	}
	a, err := newAccount(u, []*Passkey{k})
	if err != nil {
		return nil, nil, use{}, err
	}
	_, cred, err := s.WebAuthn.party.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		if !bytes.Equal(handle, u.Handle) {
			return nil, errors.New("the passkey belongs to somebody else")
		}
		return a, nil
	}, state, parsed)
	if err != nil {
		return nil, nil, use{}, ErrRefused.Because(cause(err))
	}
	return u, k, useOf(cred, parsed), nil
}

// use is what an answer changes in the record of its passkey.
type use struct {
	count uint32 // of signatures, by the authenticator; 0 if it does not count
	flags webauthn.CredentialFlags
}

// useOf takes the count from the answer: where it went back, the library's
// record keeps the old one.
func useOf(cred *webauthn.Credential, parsed *protocol.ParsedCredentialAssertionData) use {
	return use{parsed.Response.AuthenticatorData.Counter, cred.Flags}
}

// used records that k answered, with events. It is refused when the
// authenticator's counter did not move forward: then there may be two of them
// (WebAuthn §6.1.1). The comparison is with what is stored at that moment, so
// that of two answers with one counter one is refused.
func (s *Service) used(ctx context.Context, k *Passkey, by use, events []audit.Event, now time.Time) error {
	cloned := false
	err := s.Store.Passkeys().UpdatePasskey(ctx, s.Org, k.ID, func(p *Passkey) ([]audit.Event, error) {
		rec, err := p.record()
		if err != nil {
			return nil, err
		}
		out := events
		before := rec.Authenticator.SignCount
		if cloned = by.count <= before && (by.count != 0 || before != 0); cloned {
			rec.Authenticator.CloneWarning = true
			out = []audit.Event{{
				At: now, Org: s.Org, Verb: "passkey.clone_suspected", Actor: "system", Object: string(p.ID), Subject: string(p.User),
				Data: map[string]string{"stored": fmt.Sprint(before), "answered": fmt.Sprint(by.count)},
			}}
		} else {
			rec.Authenticator.SignCount, rec.Flags = by.count, by.flags
			p.UsedAt = now
		}
		if p.Credential, err = json.Marshal(rec); err != nil {
			return nil, fmt.Errorf("encode passkey: %w", err)
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	if cloned {
		s.Log.WarnContext(ctx, "passkey counter went back", slog.String("passkey", string(k.ID)), slog.String("user", string(k.User)))
		return ErrRefused.Because(errors.New("counter went back"))
	}
	return nil
}
