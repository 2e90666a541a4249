package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// Broker is the road. All fields are set once, before it is used.
type Broker struct {
	Org      id.Org
	Store    Store
	Queue    Queue
	Log      Log
	Policies *Policies
	Freezes  *freeze.Switch
	Grants   grant.Store
	Vault    *vault.Service
	Conns    vault.Store
	Reliefs  ReliefStore
	Users    user.Store
	Agents   agent.Store
	Refusals *agent.Refusals
	Keys     *seal.Keyring
	Egress   *egress.Client
	Logger   *slog.Logger
	MaxAsked int // open questions of one approver; 0 for no cap

	authority authority
	waiters   waiters
	running   inflight
	looking   atomic.Int32 // previews under way
}

// Log is the reading side of the audit log, which is also the outbox.
type Log interface {
	Head(ctx context.Context) (audit.Head, error)
	Events(ctx context.Context, from int64, limit int) ([]audit.Event, error)
	Woken() <-chan struct{}
}

// The limits of the road.
const (
	MaxBody        = 1 << 20  // of a request that an agent submits
	MaxAnswer      = 10 << 20 // of an answer that is kept
	MaxPending     = 100      // open approvals of one agent
	MaxAsked       = 200      // open questions of one approver, unless it is set otherwise
	MaxNote        = 2000     // of an agent's words to the approver
	DefaultExpiry  = 24 * time.Hour
	PayloadKept    = 24 * time.Hour // after the end of an action
	maxJudgements  = 4              // before authority that keeps moving is an error
	maxConcurrency = 16             // executions at a time, in one process
	maxLooked      = 4096           // approved actions looked at in one round; one agent has MaxPending at most
)

// Errors of the road.
var (
	ErrUnknown       = fault.New(fault.NotFound, "action_not_found", "There is no such action.")
	ErrTooMany       = fault.New(fault.TooMany, "too_many_pending", "Too many actions of this agent wait for approval; wait until some are answered, or cancel some.")
	ErrRaced         = fault.New(fault.Conflict, "raced", "The same request was submitted at the same moment.")
	ErrKeyReused     = fault.New(fault.Conflict, "idempotency_key_reused", "This idempotency key was used for another request; use a fresh key for each.")
	ErrRan           = fault.New(fault.Conflict, "already_ran", "An action with this idempotency key was permitted and has run; look at the provider for what it did, or use a fresh key to do it again.")
	ErrNoPayload     = fault.New(fault.NotFound, "payload_gone", "The content of this action is no longer kept, or there is none.")
	ErrPolicyChanged = fault.New(fault.Conflict, "policy_changed", "Somebody else saved this policy meanwhile; reload it and look again.")
	ErrNotApprover   = fault.New(fault.Forbidden, "not_an_approver", "You are not among those who may answer this.")
	ErrBusy          = fault.New(fault.TooMany, "approver_busy", "Whoever would have to answer has too many questions open; nothing was asked. Wait until some are answered.")
	ErrVotes         = fault.New(fault.Forbidden, "votes_missing", "Fewer people said yes than have to, so nothing was sent.")
)

// Ask is what an agent asks for: an operation of the catalogue with its
// parameters, or a raw request.
type Ask struct {
	Connection string // its id, or its name or provider where that is unambiguous

	Operation string
	Params    map[string]any

	Method   string
	Path     string // escaped, below the API base; or an absolute URL at it
	RawQuery string
	Header   []action.Header
	Body     []byte

	Note   string  // the agent's own words to the approver
	Key    string  // idempotency key
	Amount *Amount // what the agent says is at stake: it can only raise
}

// Amount is money as somebody states it.
type Amount struct {
	Meaning  provider.Meaning
	Value    string
	Currency string
}

// Outcome is what became of what was asked.
type Outcome struct {
	Action   *action.Action
	Approval *approval.Approval // of a held action
	Answer   *Answer            // of an inline action; its body must be closed
	Replayed bool               // this attached to an action that was there already
	Explain  []string           // why it was permitted or held
}

// recorded marks a refusal that is in the log already.
type recorded struct{ error }

func (r recorded) Unwrap() error { return r.error }

// Recorded reports whether the refusal err was recorded by the broker, so that
// an edge does not record it twice.
func Recorded(err error) bool {
	_, ok := errors.AsType[recorded](err)
	return ok
}

// refuse records that an authenticated agent was refused; a failure of ours is
// none and passes unchanged.
func (b *Broker) refuse(ctx context.Context, c agent.Caller, surface string, refusal error, now time.Time) error {
	f := fault.From(refusal)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		return refusal
	}
	if err := b.Refusals.Known(ctx, c, surface, refusal, now); err != nil {
		return err
	}
	return recorded{refusal}
}

// Submit takes one action down the road: it is done and answered, or held for
// a human, or refused.
func (b *Broker) Submit(ctx context.Context, c agent.Caller, ask Ask, now time.Time) (Outcome, error) {
	out, err := b.submit(ctx, c, ask, now)
	if err != nil {
		return Outcome{}, b.refuse(ctx, c, "action", err, now)
	}
	return out, nil
}

func (b *Broker) submit(ctx context.Context, c agent.Caller, ask Ask, now time.Time) (Outcome, error) {
	if err := ask.check(); err != nil {
		return Outcome{}, err
	}
	relief := true
	for range maxJudgements {
		out, err := b.submitOnce(ctx, c, ask, relief, now)
		if errors.Is(err, approval.ErrReliefOver) {
			relief = false // somebody else had the last of it
			continue
		}
		if errors.Is(err, ErrMoved) || errors.Is(err, ErrRaced) {
			continue
		}
		return out, err
	}
	return Outcome{}, ErrMoved
}

func (b *Broker) submitOnce(ctx context.Context, c agent.Caller, ask Ask, relief bool, now time.Time) (Outcome, error) {
	epoch, err := b.now(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if err := b.admitted(ctx, c); err != nil {
		return Outcome{}, err
	}
	con, err := b.connection(ctx, c, ask.Connection)
	if err != nil {
		return Outcome{}, err
	}
	p, err := b.Vault.Providers.Find(ctx, con.Provider)
	if err != nil {
		return Outcome{}, err
	}
	req, m, err := render(p.Spec, ask)
	if err != nil {
		return Outcome{}, err
	}
	j, err := b.judge(ctx, subject{agent: c.Agent, name: c.Name, profile: c.Profile, source: c.Source}, con, p, m, req.Method, ask.Amount, now)
	if err != nil {
		return Outcome{}, err
	}
	a := b.freeze(con, c, req, m, j, ask, now)
	before, err := b.repeat(ctx, a, now)
	if err != nil {
		return Outcome{}, err
	}
	// A no that holds back what comes after it does so before the rules are asked.
	// Who repeats a key asks what became of it, and is told.
	if before == nil || before.Action.State == action.Denied && a.Key == "" {
		if err := b.cooled(ctx, a, now); err != nil {
			return Outcome{}, err
		}
	}
	if before != nil {
		return b.again(ctx, before)
	}
	if err := j.refusal(); err != nil {
		return Outcome{}, err
	}
	if level, asked := j.asks(); asked {
		var r *approval.Relief
		if relief {
			if r, err = b.relieved(ctx, a, j, now); err != nil {
				return Outcome{}, err
			}
		}
		if r == nil {
			return b.hold(ctx, c, a, req, j, level, epoch, now)
		}
		return b.inline(ctx, c, a, req, con, p, j, r, epoch, now)
	}
	return b.inline(ctx, c, a, req, con, p, j, nil, epoch, now)
}

// now is the epoch to judge under, with the freezes as of it.
func (b *Broker) now(ctx context.Context) (int64, error) {
	epoch, err := b.Store.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	return epoch, b.Freezes.Sync(ctx, b.Org, epoch)
}

// freeze makes the action: from here on nothing about it changes but its state.
func (b *Broker) freeze(con *vault.Connection, c agent.Caller, req *action.Request, m *provider.Match, j *judgement, ask Ask, now time.Time) *action.Action {
	party := action.Party{Org: b.Org, User: con.User, Agent: c.Agent, Connection: con.ID, Account: con.AccountID}
	a := action.New(party, req, j.amount, now)
	a.Provider, a.Operation, a.Summary, a.Risk = con.Provider, m.Operation, m.Summary, j.risk.String()
	a.Resource = resource(m.Resource)
	a.Key, a.Note, a.Source = ask.Key, ask.Note, c.Source.Unmap().String()
	return a
}

func resource(r provider.Resource) string {
	if r.ID == "" {
		return ""
	}
	return r.Type + ":" + r.ID
}

// check refuses what no phase should have to look at.
func (a Ask) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "bad_action", fmt.Sprintf(format, args...))
	}
	switch {
	case a.Connection == "":
		return bad("Name the connection to use.")
	case a.Operation == "" && a.Method == "":
		return bad("Name an operation, or a method and a path.")
	case a.Operation != "" && (a.Method != "" || a.Path != "" || a.RawQuery != "" || len(a.Body) > 0 || len(a.Header) > 0):
		return bad("Give an operation with its params, or a raw request, not both.")
	case a.Operation == "" && len(a.Params) > 0:
		return bad("Params belong to an operation.")
	case len(a.Body) > MaxBody:
		return fault.New(fault.TooLarge, "body_too_large", fmt.Sprintf("The body may have at most %d bytes.", MaxBody))
	case len(a.Note) > MaxNote:
		return bad("The note may have at most %d bytes.", MaxNote)
	case len(a.Key) > 255:
		return bad("An idempotency key has at most 255 characters.")
	}
	for _, r := range a.Key {
		if r < 0x21 || r > 0x7e {
			return bad("An idempotency key is printable ASCII without spaces.")
		}
	}
	return nil
}

// connection finds what an agent means by ref, among the connections that it
// holds a grant for. Anything else, foreign or missing, is the same refusal.
func (b *Broker) connection(ctx context.Context, c agent.Caller, ref string) (*vault.Connection, error) {
	grants, err := b.grantsOf(ctx, c.Agent)
	if err != nil {
		return nil, err
	}
	seen, hits := map[id.Connection]bool{}, []*vault.Connection(nil)
	for _, g := range grants {
		if seen[g.Connection] || id.Valid("con", ref) && string(g.Connection) != ref {
			continue
		}
		seen[g.Connection] = true
		con, err := b.Conns.Connection(ctx, b.Org, g.Connection)
		if err != nil {
			return nil, err
		}
		if string(con.ID) == ref {
			return con, nil
		}
		// A name means a connection of the agent's owner. What others grant is
		// named by its id, so that nobody can slip an account under a name that
		// the agent uses.
		if con.User == c.Owner && con.Status != vault.Revoked && (con.Name == ref || con.Provider == ref) {
			hits = append(hits, con)
		}
	}
	switch len(hits) {
	case 0:
		return nil, fault.New(grant.ErrNone.Kind, grant.ErrNone.Reason, fmt.Sprintf("There is no connection %.80q, or this agent has no grant for it; ask its owner for one.", ref))
	case 1:
		return hits[0], nil
	}
	names := ""
	for _, h := range hits {
		names += fmt.Sprintf(" %s (%s as %s)", h.ID, h.Provider, h.Account)
	}
	return nil, fault.New(fault.Conflict, "ambiguous_connection", "Several connections fit; name one by its id:"+names+".")
}

// Connections lists what an agent may use, with the grants that let it.
func (b *Broker) Connections(ctx context.Context, c agent.Caller, now time.Time) ([]Usable, error) {
	grants, err := b.grantsOf(ctx, c.Agent)
	if err != nil {
		return nil, err
	}
	var out []Usable
	at := map[id.Connection]int{}
	for _, g := range grants {
		if g.Live(now) != nil {
			continue
		}
		i, ok := at[g.Connection]
		if !ok {
			con, err := b.Conns.Connection(ctx, b.Org, g.Connection)
			if err != nil {
				return nil, err
			}
			i = len(out)
			at[g.Connection] = i
			out = append(out, Usable{Connection: con})
		}
		out[i].Grants = append(out[i].Grants, g)
	}
	return out, nil
}

// Usable is a connection that an agent may use.
type Usable struct {
	Connection *vault.Connection
	Grants     []*grant.Grant
}

// inflight counts executions in this process, so that a stop can drain them
// and a freeze can cancel them.
type inflight struct {
	mu    sync.Mutex
	calls map[id.Action]call
	group sync.WaitGroup
}

type call struct {
	action *action.Action
	cancel context.CancelCauseFunc
}

func (f *inflight) add(ctx context.Context, a *action.Action) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[id.Action]call{}
	}
	f.calls[a.ID] = call{a, cancel}
	f.group.Add(1)
	var once sync.Once
	return ctx, func() {
		once.Do(func() {
			f.mu.Lock()
			delete(f.calls, a.ID)
			f.mu.Unlock()
			cancel(nil)
			f.group.Done()
		})
	}
}

// has reports whether this process is at an action.
func (f *inflight) has(a id.Action) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.calls[a]
	return is
}

// Halt cancels the calls in flight that a freeze stops. What had been sent by
// then ends as unknown.
func (b *Broker) Halt(f freeze.Freeze) {
	b.running.mu.Lock()
	defer b.running.mu.Unlock()
	for _, c := range b.running.calls {
		if f.Hits(c.action.Agent, c.action.Connection, c.action.User) {
			c.cancel(freeze.ErrFrozen)
		}
	}
}

// Drain waits until the calls in flight have ended, or ctx has.
func (b *Broker) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		b.running.group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
