package user

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/secret"
)

// Service lets people in: it makes them, enrols and asks their passkeys, and
// keeps their sessions. All fields but OIDC must be set.
type Service struct {
	Org      id.Org
	Store    Store
	WebAuthn *WebAuthn
	Tries    *Limiter // shared by everything that somebody could try to guess
	// Refused records that somebody unknown at from was turned away, at a
	// bounded rate. The event is called surface + ".refused".
	Refused func(ctx context.Context, from netip.Addr, surface string, refusal error, now time.Time)
	// TrustCommandLine lets command line logins change things and decide without
	// a touch of the passkey: for servers without browsers, by configuration.
	TrustCommandLine bool
	// OIDC is the identity provider by which people may log in, too; nil if
	// there is none.
	OIDC *oidc.Provider
	Log  *slog.Logger

	anybody atomic.Bool // somebody has a passkey; that never becomes untrue
}

// Peer is whoever is at the other end before we know who it is.
type Peer struct {
	From  netip.Addr
	Label string // "Firefox on Linux", or the host name of a terminal; the peer's own words
}

// Login is what a person gets for proving who they are. The bearer value goes
// to the client and is known to nobody else.
type Login struct {
	Bearer    secret.Text
	Session   *Session
	Principal Principal
}

// Errors of getting in.
var (
	ErrTooMany    = fault.New(fault.TooMany, "too_many_tries", "Too many tries from here; wait a minute and try again.")
	ErrLink       = fault.New(fault.Conflict, "link_used", "This enrolment link was used already, or has expired; ask for a new one with 'valetkey user enrol-link'.")
	ErrRefused    = fault.New(fault.Unauthenticated, "login_refused", "This passkey was not accepted here. Try another one, or ask an owner for a new enrolment link.")
	ErrPasskey    = fault.New(fault.NotFound, "passkey_not_found", "There is no such passkey here.")
	ErrSession    = fault.New(fault.NotFound, "session_not_found", "There is no such session.")
	ErrConfirm    = fault.New(fault.Forbidden, "confirm_required", "Confirm with your passkey in the browser first: this needs a touch within the last five minutes.")
	ErrBrowser    = fault.New(fault.Forbidden, "browser_required", "This can only be done in a browser session; open the dashboard.")
	ErrSuspended  = fault.New(fault.Forbidden, "user_suspended", "This person is suspended; an owner or admin can change that.")
	errNameTaken  = fault.New(fault.Conflict, "name_taken", "There is a person of that name already.")
	errBadName    = fault.New(fault.Invalid, "bad_name", "A name has 1 to 63 printable characters and no colon, neither begins nor ends with a space, and is no id or word of the rules.")
	errBadRole    = fault.New(fault.Invalid, "bad_role", "The role is owner, admin, member or auditor.")
	errOwnerOnly  = fault.New(fault.Forbidden, "not_allowed", "Only an owner may do this to an owner.")
	errLastOwner  = fault.New(fault.Conflict, "last_owner", "This is the last active owner; make somebody else an owner first.")
	errNoChange   = fault.New(fault.Conflict, "no_change", "This person is in that state already.")
	errNotFirst   = fault.New(fault.Conflict, "users_exist", "There are people here already; the first one cannot be made again.")
	errBadSession = fault.New(fault.Forbidden, "not_allowed", "This session belongs to somebody else.")
)

// FreshFor is how long a touch of the passkey lasts for changes to who may get
// in and who may do what.
const FreshFor = 5 * time.Minute

// Fresh says whether p has just proved presence. A stolen cookie is not enough
// to add a passkey or a person. The operator is judged by
// [Principal.MayManage].
func (p Principal) Fresh(now time.Time) error {
	switch {
	case p.Operator && p.Confirm:
		return nil
	case p.Operator:
		return ErrSocket
	case p.Kind != Browser || p.AuthAt.IsZero() || now.Sub(p.AuthAt) > FreshFor:
		return ErrConfirm
	}
	return nil
}

// try spends one try of who. Each success gives back what it spent, so that
// only failures run out.
func (s *Service) try(who string, now time.Time) error {
	if !s.Tries.Take(who, now) {
		return ErrTooMany
	}
	return nil
}

// reason is the machine-readable reason of err, for the log.
func reason(err error) string { return fault.From(err).Reason }

// clean bounds what a peer says about itself: printable, at most most runes.
func clean(label string, most int) string {
	label = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, label)
	if r := []rune(label); len(r) > most {
		label = string(r[:most])
	}
	return strings.TrimSpace(label)
}
