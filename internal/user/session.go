package user

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// touchEvery bounds how often using a session is written down.
const touchEvery = time.Minute

// newBearer makes the value that a client holds. The prefix lets an edge and a
// secret scanner tell it from an agent's token.
func newBearer() (secret.Text, []byte) {
	text := secret.Token("vks_", 32)
	h := text.Hash()
	return text, h[:]
}

// open starts a browser session of u, who has just used k.
func (s *Service) open(ctx context.Context, u *User, k *Passkey, peer Peer, now time.Time) (*Login, error) {
	text, hash := newBearer()
	v := &Session{
		Org: s.Org, ID: id.NewSession(), Hash: hash, User: u.ID, Kind: Browser, Label: clean(peer.Label, 100), PasskeyRef: k.ID,
		CreatedAt: now, AuthAt: now, SeenAt: now, ExpiresAt: now.Add(Browser.Lifetime()), Version: 1,
	}
	p := principal(v, u)
	e := p.Event("session.opened", string(v.ID), u.ID, now, map[string]string{
		"kind": string(v.Kind), "passkey": string(k.ID), "label": v.Label, "source": peer.source(),
	})
	err := s.Store.Sessions().CreateSession(ctx, v, []audit.Event{e})
	if overtaken(err) {
		return nil, ErrRefused.Because(err)
	}
	if err != nil {
		return nil, err
	}
	return &Login{Bearer: text, Session: v, Principal: p}, nil
}

// overtaken says that a session was not opened because the passkey that opens it
// was removed, the identity unlinked, or its person suspended, since it answered.
func overtaken(err error) bool {
	return errors.Is(err, ErrPasskey) || errors.Is(err, ErrIdentity) || errors.Is(err, ErrSuspended)
}

func principal(v *Session, u *User) Principal {
	return Principal{Org: v.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: v.ID, Kind: v.Kind, Label: v.Label, AuthAt: v.AuthAt}
}

// Authenticate returns who holds bearer. A cookie is not accepted where a
// command line token belongs, nor the other way round. Every bearer that
// lets nobody in is refused alike.
func (s *Service) Authenticate(ctx context.Context, bearer secret.Text, kind SessionKind, now time.Time) (Principal, error) {
	if bearer.IsZero() {
		return Principal{}, ErrLogin
	}
	h := bearer.Hash()
	v, u, err := s.Store.Sessions().ByHash(ctx, h[:])
	if err != nil {
		return Principal{}, err
	}
	if v.Org != s.Org || v.Kind != kind || !v.Live(now) || u.Status != Active {
		return Principal{}, ErrLogin
	}
	if now.Sub(v.SeenAt) >= touchEvery {
		if err := s.Store.Sessions().Touch(ctx, s.Org, v.ID, now); err != nil {
			// The session only looks idle for longer than it was.
			s.Log.WarnContext(ctx, "session not touched", slog.Any("error", err))
		}
	}
	p := principal(v, u)
	p.Confirm = v.Kind == CLI && s.TrustCommandLine
	return p, nil
}

// Logins lists the sessions of a person that are alive, newest first: one's
// own, or anybody's for those who manage or audit, and for the operator.
func (s *Service) Logins(ctx context.Context, p Principal, of id.User, now time.Time) ([]*Session, error) {
	if (p.User == "" || p.User != of) && !p.Operator && !p.Role.Manages() && p.Role != Auditor {
		return nil, ErrNotOwner
	}
	all, err := s.Store.Sessions().OfUser(ctx, s.Org, of)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(v *Session) bool { return !v.Live(now) }), nil
}

// Logout ends p's own session. It is no error when it has ended already.
func (s *Service) Logout(ctx context.Context, p Principal, now time.Time) error {
	if p.Session == "" {
		return nil
	}
	return s.close(ctx, p, p.Session, "logout", now)
}

// RevokeSession ends a session from elsewhere: one's own, or anybody's for a
// manager. It is the safe direction and needs no touch of the passkey.
func (s *Service) RevokeSession(ctx context.Context, by Principal, which id.Session, now time.Time) error {
	return s.close(ctx, by, which, "revoked", now)
}

func (s *Service) close(ctx context.Context, by Principal, which id.Session, why string, now time.Time) error {
	return s.Store.Sessions().UpdateSession(ctx, s.Org, which, func(v *Session) ([]audit.Event, error) {
		if v.User != by.User || by.User == "" {
			if by.MayManage() != nil {
				return nil, errBadSession
			}
		}
		if !v.RevokedAt.IsZero() {
			return nil, nil
		}
		v.RevokedAt = now
		return []audit.Event{by.Event("session.closed", string(v.ID), v.User, now, map[string]string{"why": why})}, nil
	})
}
