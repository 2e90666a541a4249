package user

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

var (
	errLastKey  = fault.New(fault.Conflict, "last_passkey", "This is your last passkey; add another one first, or nothing would let you in again.")
	errRestLeft = fault.New(fault.Conflict, "last_settled_passkey", "The passkeys that would be left are new and decide nothing critical yet; wait until one of them is a day old.")
)

// Keys lists p's own passkeys, oldest first.
func (s *Service) Keys(ctx context.Context, p Principal) ([]*Passkey, error) {
	if p.User == "" || p.Org != s.Org {
		return nil, ErrLogin
	}
	return s.Store.Passkeys().OfUser(ctx, s.Org, p.User)
}

// removalFormat names the layout of [Passkey.Removal].
const removalFormat = "valetkey/passkey-removal/v2"

// Removal is what a passkey of k's person signs to remove k, once: a passkey
// that is synced counts no signatures, so an answer that somebody kept would
// serve again without the nonce.
func (k *Passkey) Removal(nonce []byte) [32]byte {
	return digestOf(removalFormat, string(k.Org), string(k.User), string(k.ID), string(k.CredentialID), string(nonce))
}

// remove says which of a person's passkeys goes, if it may.
//
// The last one stays: without it only somebody else could let them in again.
// And one stays that may decide what is critical now. What counts as somebody's
// first passkey is the oldest that they have, so that otherwise a passkey that
// came in an hour ago would cut its day short by removing those before it.
func remove(all []*Passkey, guarded bool, which id.Passkey, now time.Time) (*Passkey, error) {
	i := slices.IndexFunc(all, func(k *Passkey) bool { return k.ID == which })
	switch {
	case i < 0:
		return nil, ErrPasskey
	case len(all) == 1:
		return nil, errLastKey
	}
	for _, k := range settled(all, guarded, now) {
		if k.ID != which {
			return all[i], nil
		}
	}
	return nil, errRestLeft
}

// BeginRemoval asks p for a touch of one of p's passkeys, the one that goes or
// another, to remove which. A new one does not do; see [NewPasskeyRest].
func (s *Service) BeginRemoval(ctx context.Context, p Principal, which id.Passkey, now time.Time) (options []byte, handle secret.Text, err error) {
	k, _, err := s.removable(ctx, p, which, now)
	if err != nil {
		s.refuse(ctx, p, Peer{}, "passkey", err, now)
		return nil, secret.Text{}, err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	digest := k.Removal(nonce)
	return s.beginBound(ctx, p, CeremonyRemove, digest[:], nonce, now)
}

// endsWith says whether v ends when the passkey of its person is removed, from
// the session in and by a touch of the passkey by.
//
// A terminal goes with the passkey that let it in, and one of which that is not
// known goes too. Of browsers only the last touch is kept, so none is trusted
// to have nothing of the passkey in it, but for the one in which the person sits
// and touches another.
func (v *Session) endsWith(gone id.Passkey, in id.Session, by id.Passkey) bool {
	switch {
	case v.ID == in:
		return v.PasskeyRef == gone || by == gone
	case v.Kind == CLI:
		return v.PasskeyRef == gone || v.PasskeyRef == ""
	}
	return true
}

// FinishRemoval checks the answer and removes the passkey. With it go the
// terminals that it let in or approved, and p's sessions in browsers, but for
// this one if another passkey answered in it last.
func (s *Service) FinishRemoval(ctx context.Context, p Principal, which id.Passkey, handle secret.Text, response []byte, now time.Time) error {
	k, guarded, err := s.removable(ctx, p, which, now)
	if err != nil {
		s.refuse(ctx, p, Peer{}, "passkey", err, now)
		return err
	}
	got, err := s.touchedOnce(ctx, p, CeremonyRemove, handle, response, k.Removal, now)
	if err != nil {
		return err
	}
	digest := k.Removal(got.nonce)
	err = s.Store.Passkeys().RemovePasskey(ctx, s.Org, p.User, which, now, func(all []*Passkey) ([]audit.Event, error) {
		k, err := remove(all, guarded, which, now)
		if err != nil {
			return nil, err
		}
		return []audit.Event{p.Event("passkey.removed", string(k.ID), k.User, now, map[string]string{
			"name": k.Name, "passkey": string(got.key.ID), "digest": hex.EncodeToString(digest[:]), "nonce": hex.EncodeToString(got.nonce),
		})}, nil
	}, func(v *Session) bool { return v.endsWith(which, p.Session, got.key.ID) })
	if err != nil {
		s.refuse(ctx, p, Peer{}, "passkey", err, now)
	}
	return err
}

// removable is the passkey that p may remove now. Somebody else's looks like
// one that is not there.
func (s *Service) removable(ctx context.Context, p Principal, which id.Passkey, now time.Time) (k *Passkey, guarded bool, err error) {
	u, err := s.person(ctx, p)
	if err != nil {
		return nil, false, err
	}
	all, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return nil, false, err
	}
	if guarded, err = s.guarded(ctx, u.ID, all); err != nil {
		return nil, false, err
	}
	k, err = remove(all, guarded, which, now)
	return k, guarded, err
}
