package user

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Identity is who a person is at the identity provider: the pair of issuer and
// subject, which is never given to anybody else (OIDC Core §5.7). A mail address
// is a label and proves nothing.
type Identity struct {
	Org       id.Org
	ID        id.Identity
	Issuer    string
	Subject   string
	User      id.User
	Label     string // how its person knows the account again
	First     bool   // it came with an invitation, before there was anything to protect
	CreatedAt time.Time
	UsedAt    time.Time
	Version   int64
}

// AccountHash names an account at an identity provider in the log, without the
// name that the provider gave it.
func AccountHash(issuer, subject string) string {
	h := digestOf("valetkey/account/v1", issuer, subject)
	return hex.EncodeToString(h[:])
}

// Rests reports whether v is too new to decide what is critical; see
// [NewPasskeyRest].
func (v *Identity) Rests(now time.Time) bool {
	return !v.First && now.Sub(v.CreatedAt) < NewPasskeyRest
}

// IdentityStore keeps identities, and the keys with which their issuers were
// seen to sign.
type IdentityStore interface {
	// Identities lists those of u, oldest first.
	Identities(ctx context.Context, org id.Org, u id.User) ([]*Identity, error)
	// Identity finds whose a subject is; [ErrIdentity] when nobody's.
	Identity(ctx context.Context, org id.Org, issuer, subject string) (*Identity, error)
	// LinkIdentity adds an identity and, if link is not nil, uses that enrolment
	// link up, as Enrol does. A fault of reason "exists" says that the subject
	// is somebody's already.
	LinkIdentity(ctx context.Context, v *Identity, link []byte, now time.Time, events []audit.Event) error
	// UseIdentity says when an identity was last used, and that its issuer
	// signed with the key that has this thumbprint.
	UseIdentity(ctx context.Context, v *Identity, key string, now time.Time) error
	// UnlinkIdentity removes an identity of u and ends the sessions that it
	// opened. left sees how many passkeys u has and may refuse.
	UnlinkIdentity(ctx context.Context, org id.Org, u id.User, which id.Identity, now time.Time, left func(v *Identity, passkeys int) ([]audit.Event, error)) error
	// IssuerKey reports whether an issuer was seen to sign with this key.
	IssuerKey(ctx context.Context, org id.Org, issuer, thumbprint string) (bool, error)
}

// Errors about identities.
var (
	ErrIdentity     = fault.New(fault.NotFound, "identity_not_found", "There is no such account here.")
	ErrNoOIDC       = fault.New(fault.Conflict, "no_identity_provider", "This server has no identity provider; log in with a passkey.")
	errUnlinked     = fault.New(fault.Unauthenticated, "identity_unlinked", "This account belongs to nobody here. Log in with your passkey and link it on your page, or ask for an invitation.")
	errLinked       = fault.New(fault.Conflict, "identity_linked", "This account belongs to somebody here already.")
	errKeysFirst    = fault.New(fault.Forbidden, "passkey_required", "You have a passkey: use it. The identity provider confirms only those who have none.")
	errIdentityNew  = fault.New(fault.Forbidden, "identity_too_new", "An account that was linked less than 24 hours ago decides nothing critical; use a passkey that you have had for longer.")
	errLastIdentity = fault.New(fault.Conflict, "last_identity", "This account is your only way in; add a passkey first.")
)

// Identities lists p's own identities.
func (s *Service) Identities(ctx context.Context, p Principal) ([]*Identity, error) {
	if p.User == "" || p.Org != s.Org {
		return nil, ErrLogin
	}
	return s.Store.Passkeys().Identities(ctx, s.Org, p.User)
}

// Unlink removes one of p's identities, and ends the sessions that it opened.
// It takes a fresh touch, as linking does.
func (s *Service) Unlink(ctx context.Context, p Principal, which id.Identity, now time.Time) error {
	if _, err := s.person(ctx, p); err != nil {
		return err
	}
	if err := p.Fresh(now); err != nil {
		return err
	}
	return s.Store.Passkeys().UnlinkIdentity(ctx, s.Org, p.User, which, now, func(v *Identity, passkeys int) ([]audit.Event, error) {
		if passkeys == 0 {
			return nil, errLastIdentity
		}
		return []audit.Event{p.Event("identity.unlinked", string(v.ID), v.User, now, map[string]string{"issuer": v.Issuer, "label": v.Label})}, nil
	})
}

// signInWith says who may sign in by v: an active person, or nobody.
func (s *Service) signInWith(ctx context.Context, v *Identity) (*User, error) {
	u, err := s.Store.User(ctx, s.Org, v.User)
	if err != nil {
		return nil, err
	}
	if u.Status != Active {
		return nil, errUnlinked.Because(ErrSuspended)
	}
	return u, nil
}

// openBy opens a browser session that an identity earned. at is when its
// person proved presence here, which a login elsewhere is not: zero.
func (s *Service) openBy(ctx context.Context, u *User, v *Identity, at time.Time, peer Peer, now time.Time) (*Login, error) {
	text, hash := newBearer()
	n := &Session{
		// What opened it is an identity in place of a passkey, and its end ends the
		// session in the same way.
		Org: s.Org, ID: id.NewSession(), Hash: hash, User: u.ID, Kind: Browser, Label: clean(peer.Label, 100), PasskeyRef: id.Passkey(v.ID),
		CreatedAt: now, AuthAt: at, SeenAt: now, ExpiresAt: now.Add(Browser.Lifetime()), Version: 1,
	}
	p := principal(n, u)
	e := p.Event("session.opened", string(n.ID), u.ID, now, map[string]string{
		"kind": string(n.Kind), "identity": string(v.ID), "issuer": v.Issuer, "label": n.Label, "source": peer.source(),
	})
	err := s.Store.Sessions().CreateSession(ctx, n, []audit.Event{e})
	if overtaken(err) {
		return nil, errUnlinked.Because(err)
	}
	if err != nil {
		return nil, err
	}
	return &Login{Bearer: text, Session: n, Principal: p}, nil
}
