// Package user is who owns things here: people, their passkeys, and the
// sessions and tokens through which they act.
//
// A [Principal] is an authenticated person (or the operator on the host's own
// socket); functions that act for somebody take one as an argument. Bearer
// values (session cookies, command line tokens, enrolment links, device codes)
// are stored only as hashes. The package never sees HTTP.
//
// Invariants: a terminal is let in, and a passkey removed, by a touch whose
// challenge is the digest of just that; a passkey that is younger than a day
// gives no such touch, unless it is its person's oldest; nobody's last passkey
// can be removed. Whom a passkey let in goes with it, and whatever was open to a
// person when they were suspended stays closed when they come back.
package user

import (
	"context"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Role is what a person may do to the deployment.
type Role string

// The roles, strongest first.
const (
	Owner   Role = "owner"
	Admin   Role = "admin"
	Member  Role = "member"
	Auditor Role = "auditor"
)

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r == Owner || r == Admin || r == Member || r == Auditor }

// Manages reports whether r may change agents, policies and other people.
func (r Role) Manages() bool { return r == Owner || r == Admin }

// Status of a person.
type Status string

// The statuses.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
)

// User is a person.
type User struct {
	Org       id.Org
	ID        id.User
	Name      string // what others see; unique within the org
	Role      Role
	Status    Status
	Handle    []byte // the WebAuthn user handle: 32 random bytes, no personal data
	CreatedAt time.Time
	Version   int64
}

// Passkey is one WebAuthn credential of a person. Credential is the JSON of
// the library's record: public key, counters, flags, transports.
type Passkey struct {
	Org          id.Org
	ID           id.Passkey
	User         id.User
	CredentialID []byte
	Name         string
	Credential   []byte
	CreatedAt    time.Time
	UsedAt       time.Time
	Version      int64
}

// SessionKind tells browsers from command lines.
type SessionKind string

// The kinds of session.
const (
	Browser SessionKind = "browser"
	CLI     SessionKind = "cli"
)

// Session is one login. The bearer value is known to the client only.
type Session struct {
	Org        id.Org
	ID         id.Session
	Hash       []byte // SHA-256 of the bearer value
	User       id.User
	Kind       SessionKind
	Label      string // "Firefox on Linux", "laptop"
	CreatedAt  time.Time
	AuthAt     time.Time // when the person last proved presence
	SeenAt     time.Time
	ExpiresAt  time.Time // absolute
	RevokedAt  time.Time
	PasskeyRef id.Passkey // the passkey that last answered in it, or, of a terminal, for it
	Version    int64
}

// Idle is how long a session of kind k lives without being used.
func (k SessionKind) Idle() time.Duration {
	if k == CLI {
		return 7 * 24 * time.Hour
	}
	return 30 * time.Minute
}

// Lifetime is how long a session of kind k lives at most.
func (k SessionKind) Lifetime() time.Duration {
	if k == CLI {
		return 30 * 24 * time.Hour
	}
	return 12 * time.Hour
}

// Live reports whether s may still be used.
func (s *Session) Live(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.ExpiresAt) && now.Before(s.SeenAt.Add(s.Kind.Idle()))
}

// Link is a one-time enrolment link: whoever holds it may add the first
// passkey of its user.
type Link struct {
	Org       id.Org
	Hash      []byte
	User      id.User
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time
	Version   int64
}

// LinkTTL is how long an enrolment link may be used.
const LinkTTL = 24 * time.Hour

// DeviceStatus is where a device authorization stands (RFC 8628).
type DeviceStatus string

// The device statuses.
const (
	DevicePending  DeviceStatus = "pending"
	DeviceApproved DeviceStatus = "approved"
	DeviceDenied   DeviceStatus = "denied"
	DeviceUsed     DeviceStatus = "used"
)

// Device is one `valetkey login` in progress (RFC 8628 §3.2).
type Device struct {
	Org       id.Org
	Hash      []byte // of the device code
	UserCode  string // "BCDF-GHJK", shown to the person
	Label     string // what asks: host name and command
	Source    string // from which address
	Status    DeviceStatus
	User      id.User    // who approved
	Passkey   id.Passkey // with which touch
	CreatedAt time.Time
	ExpiresAt time.Time
	PolledAt  time.Time
	Version   int64
}

// Principal is an authenticated person, or the operator on the host's socket.
type Principal struct {
	Org      id.Org
	User     id.User // "" for the operator
	Name     string
	Role     Role
	Session  id.Session
	Kind     SessionKind
	Label    string // the session's: what the other end calls itself
	AuthAt   time.Time
	Operator bool // came over the operator socket
	UID      int  // of the process at the other end of the socket
	// Confirm says that changes without a touch of the passkey are allowed to the
	// operator socket and to command lines: nobody has a passkey yet, or the
	// configuration says so.
	Confirm bool
}

// Actor is how the log names p.
func (p Principal) Actor() string {
	if p.Operator {
		return "operator:" + strconv.Itoa(p.UID)
	}
	return "user:" + string(p.User)
}

// Errors about people.
var (
	ErrUnknown  = fault.New(fault.NotFound, "user_not_found", "There is no such person here.")
	ErrNotOwner = fault.New(fault.Forbidden, "not_allowed", "Your role does not allow this; ask an owner or admin.")
	ErrSocket   = fault.New(fault.Forbidden, "passkey_required", "Once a passkey exists, the operator socket only reads, proposes and freezes; an owner or admin confirms this with a passkey in the browser.")
	ErrCLI      = fault.New(fault.Forbidden, "browser_required", "A command line login reads, proposes and freezes; this needs a touch of your passkey in the browser.")
	ErrLogin    = fault.New(fault.Unauthenticated, "login_required", "Log in first: open the dashboard, or run 'valetkey login'.")
)

// remote says whether p is at a command line, where nobody can be asked for a
// passkey.
func (p Principal) remote() bool { return p.Kind == CLI && !p.Confirm }

// MayChange says whether p is where things may be changed at all: in a
// browser, or where the configuration trusts command lines. It says nothing
// about what p may change.
func (p Principal) MayChange() error {
	switch {
	case p.Operator && !p.Confirm:
		return ErrSocket
	case p.remote():
		return ErrCLI
	case p.User == "" && !p.Operator:
		return ErrLogin
	}
	return nil
}

// MayManage says whether p may change agents, grants, providers and people.
// Who never may learns so at once: there is nothing to confirm.
func (p Principal) MayManage() error {
	switch {
	case p.Operator && p.Confirm:
		return nil
	case p.Operator:
		return ErrSocket
	case !p.Role.Manages():
		return ErrNotOwner
	case p.remote():
		return ErrCLI
	}
	return nil
}

// MayActFor says whether p may manage what belongs to u: u's own connections
// and their grants. Owning a connection is what counts; an admin cannot use
// another person's account.
func (p Principal) MayActFor(u id.User) error {
	switch {
	case p.Operator && p.Confirm:
		return nil
	case p.Operator:
		return ErrSocket
	case p.User != u || p.User == "" || p.Role == Auditor:
		return ErrNotOwner
	case p.remote():
		return ErrCLI
	}
	return nil
}

// Event starts an audit event of p's doing.
func (p Principal) Event(verb, object string, subject id.User, now time.Time, data map[string]string) audit.Event {
	return audit.Event{At: now, Org: p.Org, Verb: verb, Actor: p.Actor(), Object: object, Subject: string(subject), Data: data}
}

// Change is a pure change of one record; it returns what the log will say.
type Change[T any] func(*T) ([]audit.Event, error)

// Store keeps people. Each method that changes something commits the change
// and its events together, or neither.
type Store interface {
	CreateUser(ctx context.Context, u *User, link *Link, events []audit.Event) error
	User(ctx context.Context, org id.Org, u id.User) (*User, error)
	Users(ctx context.Context, org id.Org) ([]*User, error)
	// UpdateUser changes a person. A suspension ends their sessions, and voids
	// their unused links and the terminals that they let in and that did not come
	// for their session yet.
	UpdateUser(ctx context.Context, org id.Org, u id.User, change Change[User]) error
	// UpdateAmong changes one person, seeing everybody as they are in that
	// moment: what it decides about all of them holds when it is committed.
	UpdateAmong(ctx context.Context, org id.Org, u id.User, change func(u *User, all []*User) ([]audit.Event, error)) error
	Passkeys() PasskeyStore
	Recovery() RecoveryStore
	Sessions() SessionStore
	Devices() DeviceStore
	Ceremonies() CeremonyStore
	Groups() GroupStore
}

// PasskeyStore keeps passkeys and the links that let a first one in.
type PasskeyStore interface {
	CreateLink(ctx context.Context, l *Link, events []audit.Event) error
	Link(ctx context.Context, hash []byte) (*Link, error)
	// Enrol adds a passkey and, if link is not nil, uses the link up; it fails
	// with a fault of reason "link_used" when somebody was faster.
	Enrol(ctx context.Context, p *Passkey, link []byte, now time.Time, events []audit.Event) error
	ByCredential(ctx context.Context, credentialID []byte) (*Passkey, error)
	OfUser(ctx context.Context, org id.Org, u id.User) ([]*Passkey, error)
	UpdatePasskey(ctx context.Context, org id.Org, p id.Passkey, change Change[Passkey]) error
	// RemovePasskey removes a passkey of u, ends those of u's sessions that ends
	// says, and denies the terminals that the passkey approved. change sees all of
	// u's passkeys as they are in that moment, oldest first, and may refuse; it
	// fails with [ErrPasskey] when there is no such passkey. A passkey that was
	// removed is never found again, whatever the database says.
	RemovePasskey(ctx context.Context, org id.Org, u id.User, p id.Passkey, now time.Time, change func([]*Passkey) ([]audit.Event, error), ends func(*Session) bool) error
	// Any reports whether anybody has a passkey yet.
	Any(ctx context.Context, org id.Org) (bool, error)
	// Links lists the enrolment links that were not used, oldest first.
	Links(ctx context.Context, org id.Org) ([]*Link, error)
	// VoidLinks uses up every enrolment link of u and reports how many. Without
	// one there is no event either.
	VoidLinks(ctx context.Context, org id.Org, u id.User, now time.Time, events []audit.Event) (int, error)
	// What proves presence may be an identity's, too.
	IdentityStore
}

// SessionStore keeps logins.
type SessionStore interface {
	// CreateSession fails with [ErrPasskey], [ErrIdentity] or [ErrSuspended] when
	// the passkey that opens it was removed meanwhile, the identity unlinked, or
	// its person suspended.
	CreateSession(ctx context.Context, s *Session, events []audit.Event) error
	ByHash(ctx context.Context, hash []byte) (*Session, *User, error)
	// OfUser lists the sessions of u that were not ended, newest first.
	OfUser(ctx context.Context, org id.Org, u id.User) ([]*Session, error)
	// Touch moves SeenAt without an event; losing one is harmless.
	Touch(ctx context.Context, org id.Org, s id.Session, now time.Time) error
	UpdateSession(ctx context.Context, org id.Org, s id.Session, change Change[Session]) error
	// EndOthers ends every session of u but keep, with an event for each, and
	// reports how many.
	EndOthers(ctx context.Context, org id.Org, u id.User, keep id.Session, now time.Time, event func(*Session) audit.Event) (int, error)
}

// DeviceStore keeps device authorizations.
type DeviceStore interface {
	CreateDevice(ctx context.Context, d *Device, events []audit.Event) error
	ByCode(ctx context.Context, userCode string) (*Device, error)
	ByHash(ctx context.Context, hash []byte) (*Device, error)
	// UpdateDevice changes the device with this hash of its device code. Approving
	// it fails as CreateSession does.
	UpdateDevice(ctx context.Context, hash []byte, change Change[Device]) error
	// Redeem changes a device and opens the session that it earned; it fails as
	// CreateSession does.
	Redeem(ctx context.Context, hash []byte, change Change[Device], s *Session, events []audit.Event) error
}
