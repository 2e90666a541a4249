package connect

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
)

// Flow is one account being connected: from the button to the callback. It is
// bound to the browser session that began it and works once.
type Flow struct {
	Org         id.Org
	ID          id.Flow
	State       []byte // SHA-256 of the state parameter
	Session     id.Session
	User        id.User
	Provider    string
	Verifier    []byte // the PKCE code verifier, sealed
	Scopes      []string
	RedirectURI string
	Reconnect   id.Connection // the connection to renew, or ""
	CreatedAt   time.Time
	ExpiresAt   time.Time
	UsedAt      time.Time
	Version     int64
}

// FlowTTL is how long a person may take at the provider.
const FlowTTL = 10 * time.Minute

// ErrFlow refuses a callback that does not complete what its session started.
// It does not say which of the reasons it was.
var ErrFlow = fault.New(fault.Forbidden, "connect_not_started_here", "This link does not belong to a connection that you started in this browser, or it was used already; start again from the connections page.")

// Store keeps flows and creates connections.
type Store interface {
	CreateFlow(ctx context.Context, f *Flow, events []audit.Event) error
	// TakeFlow marks the flow with this state used, if it is live and belongs to
	// session, and returns it; otherwise ErrFlow.
	TakeFlow(ctx context.Context, state []byte, session id.Session, provider string, now time.Time) (*Flow, error)
	// Record writes events that belong to no change.
	Record(ctx context.Context, events []audit.Event) error
	CreateConnection(ctx context.Context, c *vault.Connection, events []audit.Event) error
	// ByAccount finds the user's live connection to this account, or nil.
	ByAccount(ctx context.Context, org id.Org, user id.User, provider, accountID string) (*vault.Connection, error)
}
