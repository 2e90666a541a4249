// Package grant is by whose leave an agent uses an account.
//
// A [Grant] lets one agent use one connection: for some operations, on some
// resources, until some time, by the broker or by vending. Default deny: what
// no live grant covers is refused before any policy is asked. A grant never
// widens; to give more, a new one is made.
package grant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Mode is how the agent may use the connection.
type Mode string

// The modes. Vend includes Broker: who may hold the token may also ask us to
// use it.
const (
	Broker Mode = "broker"
	Vend   Mode = "vend"
)

// Grant lets Agent use Connection, which belongs to User.
type Grant struct {
	Org        id.Org
	ID         id.Grant
	Agent      id.Agent
	Connection id.Connection
	User       id.User
	Mode       Mode
	Operations []string // exact names, or a prefix ending in ".*"; "*" is everything
	Resources  []string // "octo/api", "octo/*", "organization:octo", "*"; empty is every resource
	ExpiresAt  time.Time
	RevokedAt  time.Time
	CreatedAt  time.Time
	CreatedBy  string // actor
	Version    int64
}

// Refusals. Each says what to do.
var (
	ErrNone      = fault.New(fault.NotFound, "connection_not_found", "There is no such connection, or this agent has no grant for it; ask its owner for one.")
	ErrExpired   = fault.New(fault.Forbidden, "grant_expired", "The grant for this connection has expired; ask its owner to renew it.")
	ErrRevoked   = fault.New(fault.Forbidden, "grant_revoked", "The grant for this connection was revoked.")
	ErrOperation = fault.New(fault.Forbidden, "operation_not_granted", "The grant does not cover this operation; ask the owner of the connection to add it.")
	ErrResource  = fault.New(fault.Forbidden, "resource_not_granted", "The grant does not cover this resource; ask the owner of the connection to add it.")
	ErrVend      = fault.New(fault.Forbidden, "vending_not_granted", "The grant lets Valetkey make calls for this agent, not hand out tokens.")
)

// Live reports whether g can be used at all, and if not, why.
func (g *Grant) Live(now time.Time) error {
	switch {
	case !g.RevokedAt.IsZero():
		return ErrRevoked
	case !g.ExpiresAt.IsZero() && !now.Before(g.ExpiresAt):
		return ErrExpired
	}
	return nil
}

// Resource is what a request touches: "octo/api" of the kind "repository".
// Without an id it names none.
type Resource struct {
	Kind, ID string
	Plain    bool // a pattern without a kind is one of this kind
}

// Covers says whether g allows operation on r. A grant that is limited to
// resources does not cover a request that names none: what it touches cannot be
// told.
func (g *Grant) Covers(operation string, r Resource, now time.Time) error {
	if err := g.Live(now); err != nil {
		return err
	}
	if !anyMatch(g.Operations, operation, ".") {
		if raw(operation) {
			return errRaw(operation)
		}
		return ErrOperation
	}
	switch {
	case len(g.Resources) == 0:
	case r.ID == "":
		return errUnnamed(g.Resources)
	case !r.in(g.Resources):
		return ErrResource
	}
	return nil
}

// raw reports whether operation stands for the requests that a provider's
// catalogue does not list.
func raw(operation string) bool {
	return strings.HasSuffix(operation, ".raw.read") || strings.HasSuffix(operation, ".raw.write")
}

// errRaw is [ErrOperation] for a request that the catalogue does not list.
func errRaw(operation string) error {
	return fault.New(fault.Forbidden, ErrOperation.Reason, fmt.Sprintf("The catalogue does not list this request, and the grant covers listed operations only; ask the owner of the connection for a grant with --operation '*' or --operation %s.", operation))
}

// errUnnamed is [ErrResource] for a request that names no resource, which no
// grant that is held to some can cover.
func errUnnamed(held []string) error {
	said := strings.Join(held[:min(len(held), 3)], ", ")
	if len(held) > 3 {
		said += fmt.Sprintf(" and %d more", len(held)-3)
	}
	return fault.New(fault.Forbidden, ErrResource.Reason, fmt.Sprintf("The grant covers this operation, but only on %s, and this request names no resource, so what it touches cannot be told; ask the owner of the connection for a grant of this operation without resources.", said))
}

// Closer reports whether refusal says that its grant comes closer to what was
// asked than that of other does: a grant that ended is further away than one
// that lacks the operation, and that one further than one that has it and
// lacks the resource. Of two that ended neither is closer.
func Closer(refusal, other error) bool { return closeness(refusal) > closeness(other) }

func closeness(refusal error) int {
	for rank, all := range [][]error{1: {ErrExpired, ErrRevoked}, {ErrOperation, ErrVend}, {ErrResource}} {
		for _, e := range all {
			if errors.Is(refusal, e) {
				return rank
			}
		}
	}
	return 0
}

// in reports whether one of patterns names r. Those of other kinds than the
// plain one carry their kind: "octo/*" are repositories, and not the teams of
// octo. "*" is everything that has a name.
func (r Resource) in(patterns []string) bool {
	switch {
	case r.ID == "":
		return false
	case r.Plain && anyMatch(patterns, r.ID, "/"):
		return true
	}
	return anyMatch(patterns, r.Kind+":"+r.ID, "/")
}

// CoversVend says whether g lets the agent hold the token itself. A token
// reaches everything its scopes reach, so a grant that is limited to resources
// never vends.
func (g *Grant) CoversVend(now time.Time) error {
	switch err := g.Live(now); {
	case err != nil:
		return err
	case g.Mode != Vend:
		return ErrVend
	case len(g.Resources) > 0:
		return ErrResource
	}
	return nil
}

// anyMatch compares without case, as the providers' resources do; operations
// are lower case anyway.
func anyMatch(patterns []string, s, sep string) bool {
	for _, p := range patterns {
		if p == "*" || same(p, s) {
			return true
		}
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasSuffix(prefix, sep) &&
			len(s) > len(prefix) && same(prefix, s[:len(prefix)]) {
			return true
		}
	}
	return false
}

// same compares without the case of ASCII letters. Unicode's folding would
// take the Kelvin sign for a k, which no provider does.
func same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Validate checks a new grant.
func (g *Grant) Validate(now time.Time) error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "bad_grant", fmt.Sprintf(format, args...))
	}
	if g.Mode != Broker && g.Mode != Vend {
		return bad("The mode is %q; it must be broker or vend.", g.Mode)
	}
	if len(g.Operations) == 0 {
		return bad(`Name at least one operation, such as github.issues.*, or "*" for all.`)
	}
	if len(g.Operations)+len(g.Resources) > 200 {
		return bad("A grant names at most 200 operations and resources.")
	}
	for _, p := range g.Operations {
		if err := checkPattern(p, "."); err != nil {
			return bad("Operation %q: %v.", p, err)
		}
	}
	for _, p := range g.Resources {
		if err := checkPattern(p, "/"); err != nil {
			return bad("Resource %q: %v.", p, err)
		}
	}
	if g.Mode == Vend && len(g.Resources) > 0 {
		return bad("A vended token cannot be held to resources; leave them out, or use mode broker.")
	}
	if !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(now) {
		return bad("The expiry lies in the past.")
	}
	return nil
}

func checkPattern(p, sep string) error {
	if p == "*" {
		return nil
	}
	body, wild := strings.CutSuffix(p, "*")
	switch {
	case p == "" || len(p) > 200:
		return fmt.Errorf("must have 1 to 200 characters")
	case strings.Contains(body, "*"):
		return fmt.Errorf("a * may only stand at the end, after %q", sep)
	case wild && (!strings.HasSuffix(body, sep) || body == sep):
		return fmt.Errorf("a * may only stand at the end, after %q", sep)
	}
	for _, r := range p {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("has a character outside printable ASCII")
		}
	}
	return nil
}

// Listing is which grants to list. Empty members select everything.
type Listing struct {
	User       id.User
	Agent      id.Agent
	Connection id.Connection
	Before     id.Grant // exclusive, and made later than what is listed
	Limit      int
}

// Store keeps grants. Each change commits with its events.
type Store interface {
	CreateGrant(ctx context.Context, g *Grant, events []audit.Event) error
	Grant(ctx context.Context, org id.Org, g id.Grant) (*Grant, error)
	// ForUse returns every grant of agent on connection, newest first.
	ForUse(ctx context.Context, org id.Org, agent id.Agent, connection id.Connection) ([]*Grant, error)
	OfAgent(ctx context.Context, org id.Org, agent id.Agent) ([]*Grant, error)
	OfConnection(ctx context.Context, org id.Org, connection id.Connection) ([]*Grant, error)
	Grants(ctx context.Context, org id.Org) ([]*Grant, error)
	// Page lists the grants that fit, the latest made first.
	Page(ctx context.Context, org id.Org, which Listing) ([]*Grant, error)
	UpdateGrant(ctx context.Context, org id.Org, g id.Grant, change func(*Grant) ([]audit.Event, error)) error
}
