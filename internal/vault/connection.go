package vault

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/provider"
)

// Status of a connection.
type Status string

// The statuses. A connection is never deleted by a failure; only its owner
// ends one, and a tombstone stays.
const (
	Active      Status = "active"
	NeedsReauth Status = "needs_reauth"
	Revoked     Status = "revoked"
)

// Sight says who may look through a connection, to see what an action would
// change, besides its owner.
type Sight string

// The sights. Agents never look.
const (
	OwnerLooks    Sight = ""
	ApproversLook Sight = "approvers" // whoever may answer what waits there
)

// Kind is how the credential came to us.
type Kind string

// The kinds.
const (
	ByCode  Kind = "oauth" // by an authorization code; may be refreshed
	ByPaste Kind = "token" // pasted by its owner; lives until it dies
)

// Connection is one account of one user at one provider. The tokens are
// ciphertext here; nothing but [Service] opens them.
type Connection struct {
	Org       id.Org
	ID        id.Connection
	User      id.User
	Provider  string
	Kind      Kind
	Name      string // how its owner calls it; unique for the user
	AccountID string // the provider's stable id, fetched and pinned
	Account   string // the provider's name for it: "octocat"
	Tenant    string // workspace or site, where the provider has them
	Scopes    []string
	Status    Status
	Why       string // why it is not active, for its owner
	Previews  Sight  // who sees what is there now, besides its owner

	Generation       int64 // counts token sets; fences late writers
	Access           []byte
	Refresh          []byte
	Previous         []byte // the refresh token before this one, until this one has worked
	AccessExpiresAt  time.Time
	RefreshExpiresAt time.Time
	RefreshedAt      time.Time
	Proven           bool // the present tokens have worked once

	Fence      int64     // counts leases
	LeaseUntil time.Time // by the database's clock
	Attempting bool      // a refresh was sent and its outcome is not stored
	RetryAt    time.Time // no refresh before this: the provider was down

	CreatedAt time.Time
	UsedAt    time.Time
	RevokedAt time.Time
	Version   int64
}

// Registration is one provider as this deployment uses it: which catalogue
// entry, where it is, and our client there. A provider without a client can
// still be used with pasted tokens.
type Registration struct {
	Org       id.Org
	Provider  string // our name for it: "github", or "ghes" for a second one
	Spec      string // the catalogue entry
	ClientID  string
	Secret    []byte        // sealed
	Base      provider.Base // addresses, for self-hosted instances and templates
	Internal  bool          // its hosts may be on the operator's own network
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int64
}

// Errors about connections.
var (
	ErrUnknown     = fault.New(fault.NotFound, "connection_not_found", "There is no such connection, or it is not yours.")
	ErrNeedsReauth = fault.New(fault.Conflict, "needs_reauth", "The provider no longer accepts this connection; its owner has to connect the account again.")
	ErrRevoked     = fault.New(fault.Forbidden, "connection_revoked", "This connection was disconnected by its owner.")
	ErrUpstream    = fault.New(fault.Upstream, "refresh_unavailable", "The provider did not answer the refresh; the connection is intact, try again shortly.")
	ErrStale       = fault.New(fault.Conflict, "stale_generation", "Somebody else refreshed this connection first.")
)

// Change is a pure change of one record; it returns what the log will say.
type Change[T any] func(*T) ([]audit.Event, error)

// Store keeps connections. Each change commits with its events.
type Store interface {
	Connection(ctx context.Context, org id.Org, c id.Connection) (*Connection, error)
	OfUser(ctx context.Context, org id.Org, u id.User) ([]*Connection, error)
	Connections(ctx context.Context, org id.Org) ([]*Connection, error)
	// Page lists at most limit connections, of one user or, if u is "", of
	// everybody: the latest made first, before the one named, if any.
	Page(ctx context.Context, org id.Org, u id.User, before id.Connection, limit int) ([]*Connection, error)
	UpdateConnection(ctx context.Context, org id.Org, c id.Connection, change Change[Connection]) error
	// Lease takes the refresh lease of c for ttl by the database's clock, if
	// nobody holds it, and marks an attempt as begun; it returns the connection
	// with its new fence, or ok=false. Attempting is as it was before: true
	// means that the holder before died in the middle.
	Lease(ctx context.Context, org id.Org, c id.Connection, ttl time.Duration, events []audit.Event) (leased *Connection, ok bool, err error)
	// End revokes c: tombstones it, revokes its grants, ends its open actions,
	// all in one transaction.
	End(ctx context.Context, org id.Org, c id.Connection, now time.Time, change Change[Connection]) error
	// Used moves UsedAt without an event; losing one is harmless.
	Used(ctx context.Context, org id.Org, c id.Connection, now time.Time) error
}

// RegistrationStore keeps registrations.
type RegistrationStore interface {
	Registration(ctx context.Context, org id.Org, provider string) (*Registration, error)
	Registrations(ctx context.Context, org id.Org) ([]*Registration, error)
	PutRegistration(ctx context.Context, r *Registration, events []audit.Event) error
}
