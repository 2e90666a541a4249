package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// CeremonyKind is what a passkey is being asked for. An answer to one kind is
// never taken for another.
type CeremonyKind string

// The kinds of ceremony.
const (
	CeremonyEnrol   CeremonyKind = "enrol"   // a new passkey
	CeremonyLogin   CeremonyKind = "login"   // a new session
	CeremonyConfirm CeremonyKind = "confirm" // presence, for a session that exists
	CeremonyDecide  CeremonyKind = "decide"  // presence, for one decision
	CeremonyDevice  CeremonyKind = "device"  // presence, to let one terminal in
	CeremonyRemove  CeremonyKind = "remove"  // presence, to remove one passkey
	CeremonyCodes   CeremonyKind = "codes"   // presence, for new recovery codes
)

// binds reports whether an answer of kind k is for one thing, whose digest is
// the challenge. Such a thing is critical: a new passkey answers nothing of it.
func (k CeremonyKind) binds() bool {
	return k == CeremonyDecide || k == CeremonyDevice || k == CeremonyRemove || k == CeremonyCodes
}

// Ceremony is a challenge that waits for its one answer. It is stored, because
// the answer may reach another replica, and removed by the first answer,
// whether that is right or wrong. The client holds a handle to it, which is
// stored only as its hash.
type Ceremony struct {
	Org       id.Org
	Hash      []byte // SHA-256 of the handle
	Kind      CeremonyKind
	User      id.User    // "" for a login
	Session   id.Session // in which it was begun, or ""
	Link      []byte     // hash of the enrolment link that began it, or none
	State     []byte     // JSON: the challenge and what the answer has to match
	CreatedAt time.Time
	ExpiresAt time.Time
}

// CeremonyTTL is how long a person may take to touch the passkey.
const CeremonyTTL = 5 * time.Minute

// ErrCeremony refuses an answer that nothing waits for.
var ErrCeremony = fault.New(fault.Conflict, "ceremony_over", "This took too long, or was answered already; start again.")

// CeremonyStore keeps ceremonies for their few minutes.
type CeremonyStore interface {
	// Begin stores c and forgets some of those that have expired.
	Begin(ctx context.Context, c *Ceremony) error
	// Take removes the ceremony with this hash and returns it, to one caller
	// only; ErrCeremony when there is none, or it has expired.
	Take(ctx context.Context, hash []byte, now time.Time) (*Ceremony, error)
}

// boundState is the state of a ceremony whose challenge is a digest: what the
// library wants to see again, and what we drew for the digest.
type boundState struct {
	*webauthn.SessionData
	Nonce []byte `json:"nonce,omitempty"`
}

// begin stores c with what is to be seen again, and returns the options for the
// browser and the handle to the ceremony.
func (s *Service) begin(ctx context.Context, c *Ceremony, options, state any, now time.Time) ([]byte, secret.Text, error) {
	out, err := json.Marshal(options)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("encode passkey options: %w", err)
	}
	if c.State, err = json.Marshal(state); err != nil {
		return nil, secret.Text{}, fmt.Errorf("encode ceremony: %w", err)
	}
	handle := secret.Random(32)
	h := handle.Hash()
	c.Org, c.Hash, c.CreatedAt, c.ExpiresAt = s.Org, h[:], now, now.Add(CeremonyTTL)
	if err := s.Store.Ceremonies().Begin(ctx, c); err != nil {
		return nil, secret.Text{}, err
	}
	return out, handle, nil
}

// take ends the ceremony behind handle, which must be of this kind and begun
// in this session. A handle that nothing waits for costs who a try; a live one
// was paid for when it was made.
func (s *Service) take(ctx context.Context, who string, handle secret.Text, kind CeremonyKind, session id.Session, now time.Time) (*Ceremony, webauthn.SessionData, error) {
	var state webauthn.SessionData
	h := handle.Hash()
	c, err := s.Store.Ceremonies().Take(ctx, h[:], now)
	if err == nil && (c.Org != s.Org || c.Kind != kind || c.Session != session) {
		err = ErrCeremony
	}
	if errors.Is(err, ErrCeremony) && !s.Tries.Take(who, now) {
		err = ErrTooMany
	}
	if err != nil {
		return nil, state, err
	}
	if err := json.Unmarshal(c.State, &state); err != nil {
		return nil, state, fmt.Errorf("decode ceremony: %w", err)
	}
	return c, state, nil
}
