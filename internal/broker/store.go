package broker

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
)

// ErrMoved is what a [Store] answers when authority changed since the epoch
// under which something was judged.
var ErrMoved = fault.New(fault.Conflict, "authority_moved", "The rules changed while this was being decided; try again.")

// Begin is the intent of an inline action: what must be durable before the
// first byte leaves.
type Begin struct {
	Org    id.Org
	Epoch  int64
	Proofs []agent.Proof
	Events []audit.Event
	// Intent, if not empty, is the inline action that has begun. It is listed
	// by [Queue.Orphans] until End records its outcome.
	Intent id.Action
	// Relief, if not empty, is the relief that lets Intent through: it is counted
	// down, or Begin fails with approval.ErrReliefOver.
	Relief id.Relief
}

// Hold is a new action that waits for humans.
type Hold struct {
	Epoch    int64
	Proofs   []agent.Proof
	Action   *action.Action
	Approval *approval.Approval
	Request  []byte // sealed
	MaxOpen  int    // the agent's cap of pending actions
	// Asked are the people who may answer. Each has a cap of open questions, too:
	// Hold fails with ErrBusy when fewer than are needed are below it.
	Asked    []id.User
	MaxAsked int // 0 for no cap
	Events   []audit.Event
}

// Move is a change of a held action together with its approval.
type Move struct {
	Epoch  int64 // judged under this epoch; negative when the move needs none
	Proofs []agent.Proof
	Answer []byte // the sealed answer to keep, or nil
	// Claims says that this move starts the execution: it fails with
	// action.ErrState when the log has one of the action, or of its approval,
	// already. A row can be put back to what it was; the log cannot, unnoticed.
	Claims    bool
	Authority bool // it changes what is judged from here on
	// Relief, if not nil, is stored with the change.
	Relief *approval.Relief
	Asked  []id.User // who may answer the approval that Apply opens
	// Apply changes a and p and says what happened. Votes that it adds to p are
	// stored. It is pure and may run
	// twice. A non-nil opened is a new approval to store.
	Apply func(a *action.Action, p *approval.Approval) (events []audit.Event, opened *approval.Approval, err error)
}

// Held is a held action with its present approval.
type Held struct {
	Action   *action.Action
	Approval *approval.Approval
}

// Store keeps held actions. Each method is one atomic change with its events.
type Store interface {
	// Epoch is the number of changes of authority so far.
	Epoch(ctx context.Context) (int64, error)
	// Begin records an intent; it fails with ErrMoved, or agent.ErrReplayed.
	Begin(ctx context.Context, b Begin) error
	// End records the outcome of an inline action.
	End(ctx context.Context, org id.Org, a id.Action, events []audit.Event) error
	// Hold stores a new action; it fails as Begin does, with ErrTooMany over
	// the cap, or with ErrRaced when an equal request was faster.
	Hold(ctx context.Context, h Hold) error
	Held(ctx context.Context, org id.Org, a id.Action) (Held, error)
	Move(ctx context.Context, org id.Org, a id.Action, m Move) error
	// Payload returns the sealed "request" or "answer".
	Payload(ctx context.Context, org id.Org, a id.Action, part string) ([]byte, error)
	// Repeats returns the newest action of agent with this idempotency key,
	// and the newest with this effect and no key.
	Repeats(ctx context.Context, org id.Org, a id.Agent, key string, effect action.Digest) (byKey, byEffect *action.Action, err error)
}

// Queue finds work and lists it for people.
type Queue interface {
	// Approved lists actions that wait for execution, oldest first.
	Approved(ctx context.Context, org id.Org, limit int) ([]id.Action, error)
	// Overdue lists open actions whose time is up.
	Overdue(ctx context.Context, org id.Org, now time.Time, limit int) ([]id.Action, error)
	// Orphans lists held actions left executing, and inline ones without an
	// outcome, that began before the given time.
	Orphans(ctx context.Context, org id.Org, before time.Time) (held, inline []id.Action, err error)
	// Inbox lists approvals of this status on connections of user ("" for all),
	// newest first, created before the given time (zero for all).
	Inbox(ctx context.Context, org id.Org, user id.User, status approval.Status, before time.Time, limit int) ([]Held, error)
	// OfAgent lists an agent's held actions, newest first.
	OfAgent(ctx context.Context, org id.Org, a id.Agent, before time.Time, limit int) ([]*action.Action, error)
	// ByApproval finds the action an approval belongs to.
	ByApproval(ctx context.Context, org id.Org, p id.Approval) (Held, error)
	// Sweep drops payloads of actions that ended before the given time, and
	// proofs and flows that can no longer matter at now.
	Sweep(ctx context.Context, org id.Org, ended, now time.Time) error
	// Cooling lists the denials of an agent's actions that hold back equal
	// requests after the given time.
	Cooling(ctx context.Context, org id.Org, a id.Agent, after time.Time) ([]Held, error)
	// EmptyDays lists the UTC days that ended before the given time, of which
	// there is a key for payloads and no payload any more.
	EmptyDays(ctx context.Context, org id.Org, before time.Time) ([]time.Time, error)
	// EndDay deletes the key for payloads of such a day. It does nothing, and
	// records nothing, if the key is gone already or a payload has come.
	EndDay(ctx context.Context, org id.Org, day time.Time, events []audit.Event) error
}

// ReliefStore keeps reliefs. They are given by [Store.Move] and used by
// [Store.Begin].
type ReliefStore interface {
	// Reliefs lists the reliefs of an agent ("" for all) that end after the given
	// time, newest first.
	Reliefs(ctx context.Context, org id.Org, a id.Agent, after time.Time) ([]*approval.Relief, error)
	UpdateRelief(ctx context.Context, org id.Org, r id.Relief, change func(*approval.Relief) ([]audit.Event, error)) error
}

// PolicyStore keeps policies.
type PolicyStore interface {
	Policies(ctx context.Context, org id.Org) ([]*policy.Document, error)
	PutPolicy(ctx context.Context, d *policy.Document, events []audit.Event) error
}
