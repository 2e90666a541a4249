// Package agent is who asks: programs that hold a private key of their own.
//
// We hold the public halves. An agent proves itself by signing short-lived
// JWTs; [Service.Assert] checks a client assertion (RFC 7523) and
// [Service.Subject] the subject token of a vault exchange. What comes out is a
// [Caller], which every function that acts for an agent takes as an argument.
//
// The single use of a token's jti is not recorded here: a Caller carries the
// [Proof]s that must be spent, and whoever records what the caller did spends
// them in the same transaction. So nothing can be done twice with one
// signature, and no signature is used up by something that did not happen.
package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Profile says which rules an agent's subject tokens are judged by. It is a
// property of the agent, never of a request.
type Profile string

// The profiles.
const (
	Strict Profile = "strict"
	// Compat2025 accepts what workers of the 2025 beta send. For 60 seconds a
	// leaked subject token of such an agent is a bearer credential.
	Compat2025 Profile = "compat-2025"
)

// Status of an agent.
type Status string

// The statuses.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
)

// Agent is a registered program.
type Agent struct {
	Org       id.Org
	ID        id.Agent
	Name      string // unique within the org; also accepted as client_id
	Owner     id.User
	Profile   Profile
	Status    Status
	Sources   []netip.Prefix // where it may call from
	CreatedAt time.Time
	SeenAt    time.Time
	Version   int64
}

// KeyStatus of a public key.
type KeyStatus string

// The statuses of a key.
const (
	KeyActive  KeyStatus = "active"
	KeyRevoked KeyStatus = "revoked"
)

// Key is one public key of an agent.
type Key struct {
	Org       id.Org
	ID        id.Key
	Agent     id.Agent
	KID       string // as in the JWT header; unique within the agent
	Alg       string
	PEM       string // SubjectPublicKeyInfo
	Status    KeyStatus
	CreatedAt time.Time
	RevokedAt time.Time
	Version   int64
}

// MaxKeys is how many active keys an agent may have: enough to rotate.
const MaxKeys = 5

// Token is an access token that we issued to an agent. Only its hash is kept.
type Token struct {
	Org       id.Org
	ID        id.Token
	Hash      []byte
	Agent     id.Agent
	Key       id.Key // the key that proved it; revoking the key ends the token
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt time.Time
	RevokedAt time.Time
	Version   int64
}

// TokenTTL is how long an access token lives.
const TokenTTL = 10 * time.Minute

// Proof is a jti (or the hash of a token without one) that must be spent when
// what it authorizes is recorded. Until says how long it must be remembered.
type Proof struct {
	Agent id.Agent
	JTI   string
	Until time.Time
}

// Caller is an authenticated agent, and how we know.
type Caller struct {
	Org     id.Org
	Agent   id.Agent
	Name    string
	Owner   id.User
	Profile Profile
	Key     id.Key
	Token   id.Token // "" when it signed this very request
	Source  netip.Addr
	Proofs  []Proof // to spend with what this call records
	// Stale says that the signature is good and what it signed is not: it has
	// expired, or is for somebody else. There is nothing to spend, so whoever
	// captured it can present it as often as they like.
	Stale bool
	// Subject is the user a subject token names, or "".
	Subject      id.User
	AuditContext string
}

// Actor is how the log names c.
func (c Caller) Actor() string { return "agent:" + string(c.Agent) }

// Event starts an audit event of c's doing.
func (c Caller) Event(verb, object string, subject id.User, now time.Time, data map[string]string) audit.Event {
	return audit.Event{At: now, Org: c.Org, Verb: verb, Actor: c.Actor(), Object: object, Subject: string(subject), Data: data}
}

// Errors about agents. Until a signature verifies there is one answer,
// ErrUnauthenticated, whatever was wrong.
var (
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "invalid_client", "The agent could not be authenticated.")
	ErrSuspended       = fault.New(fault.Forbidden, "agent_suspended", "This agent is suspended; its owner can resume it.")
	ErrReplayed        = fault.New(fault.Unauthenticated, "replayed", "This signed token was used before; sign a fresh one with its own jti for each request.")
	ErrUnknown         = fault.New(fault.NotFound, "agent_not_found", "There is no such agent.")
	ErrToken           = fault.New(fault.Unauthenticated, "invalid_token", "The access token is unknown, expired or revoked; get a new one from /oauth/token.")
)

// Change is a pure change of one record; it returns what the log will say.
type Change[T any] func(*T) ([]audit.Event, error)

// Store keeps agents, their keys and tokens, and the jti they spent. Each
// change commits together with its events, or not at all.
type Store interface {
	CreateAgent(ctx context.Context, a *Agent, keys []*Key, events []audit.Event) error
	Agent(ctx context.Context, org id.Org, a id.Agent) (*Agent, error)
	// ByName finds an agent by its name; names and ids share one namespace for
	// client_id.
	ByName(ctx context.Context, org id.Org, name string) (*Agent, error)
	Agents(ctx context.Context, org id.Org) ([]*Agent, error)
	UpdateAgent(ctx context.Context, org id.Org, a id.Agent, change Change[Agent]) error
	Keys() KeyStore
	Tokens() TokenStore
}

// KeyStore keeps public keys.
type KeyStore interface {
	CreateKey(ctx context.Context, k *Key, events []audit.Event) error
	OfAgent(ctx context.Context, org id.Org, a id.Agent) ([]*Key, error)
	UpdateKey(ctx context.Context, org id.Org, k id.Key, change Change[Key]) error
}

// TokenStore keeps access tokens and spends proofs.
type TokenStore interface {
	// Issue stores a token, spends proofs and records events, all or nothing.
	// It fails with ErrReplayed when a proof was spent before.
	Issue(ctx context.Context, t *Token, proofs []Proof, events []audit.Event) error
	ByHash(ctx context.Context, hash []byte) (*Token, *Agent, *Key, error)
	// Revoke ends a token, spending proofs as Issue does.
	Revoke(ctx context.Context, org id.Org, t id.Token, proofs []Proof, now time.Time, events []audit.Event) error
	// Spend spends proofs and records events that change nothing else.
	Spend(ctx context.Context, proofs []Proof, events []audit.Event) error
	// Unspent returns those of proofs that were not spent yet. It only looks: the
	// answer may be over by the time it is read.
	Unspent(ctx context.Context, proofs []Proof) ([]Proof, error)
	// Refuse spends the proofs of a refused call and records the refusal; proofs
	// that were spent before do not matter then.
	Refuse(ctx context.Context, proofs []Proof, events []audit.Event) error
}
