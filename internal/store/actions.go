package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/seal"
)

var (
	_ broker.Store       = (*Actions)(nil)
	_ broker.Queue       = (*Actions)(nil)
	_ broker.PolicyStore = (*Policies)(nil)
)

// Actions implements [broker.Store] and [broker.Queue].
type Actions struct{ db *DB }

// Actions returns the store of held actions.
func (db *DB) Actions() *Actions { return &Actions{db} }

var actions = newTable("actions", "org id", true, func(a *action.Action) []field {
	return []field{
		text("org", &a.Org), text("id", &a.ID), text("user_id", &a.User), text("agent", &a.Agent), text("connection", &a.Connection),
		text("account_id", &a.Account), text("provider", &a.Provider), text("operation", &a.Operation), text("summary", &a.Summary),
		text("resource", &a.Resource), text("risk", &a.Risk), text("amount", &a.Amount), array32("effect", &a.Effect), blob("salt", &a.Salt),
		text("idempotency", &a.Key), text("source", &a.Source), text("note", &a.Note), text("state", &a.State), text("approval", &a.Approval), text("why", &a.Why),
		integer("status", &a.Status), integer("body_size", &a.BodySize), integer("answer_size", &a.AnswerSize), moment("created_at", &a.CreatedAt),
		moment("updated_at", &a.UpdatedAt), moment("expires_at", &a.ExpiresAt), moment("finished_at", &a.FinishedAt),
		moment("fetched_at", &a.FetchedAt), flag("payload_kept", &a.PayloadKept), integer("version", &a.Version),
	}
})

var approvals = newTable("approvals", "org id", true, func(p *approval.Approval) []field {
	return []field{
		text("org", &p.Org), text("id", &p.ID), text("action", &p.Action), text("agent", &p.Agent), text("user_id", &p.User),
		array32("effect", &p.Effect), integer("level", &p.Level), text("status", &p.Status), text("policy_version", &p.PolicyVersion),
		text("spec_hash", &p.SpecHash), blob("nonce", &p.Nonce), list("rules", &p.Rules), list("why", &p.Why), text("impact", &p.Impact),
		list("scopes", &p.Scopes), moment("created_at", &p.CreatedAt), moment("expires_at", &p.ExpiresAt), moment("decided_at", &p.DecidedAt),
		text("decided_by", &p.DecidedBy), text("channel", &p.Channel), text("reason", &p.Reason), blob("evidence", &p.Evidence),
		integer("version", &p.Version),
	}
})

// Epoch counts changes of authority.
func (s *Actions) Epoch(ctx context.Context) (int64, error) { return s.db.Epoch(ctx) }

const (
	beginIntentQ = `insert into intents (org, action, at, event) values ($1, $2, $3, $4)`
	endIntentQ   = `delete from intents where org = $1 and action = $2`
	putPayloadQ  = `insert into payloads (org, action, part, sealed) values ($1, $2, $3, $4) on conflict (org, action, part) do update set sealed = excluded.sealed`
	payloadQ     = `select sealed from payloads where org = $1 and action = $2 and part = $3`
)

// Begin records the intent of an inline action, or a vending.
func (s *Actions) Begin(ctx context.Context, b broker.Begin) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.checkEpoch(b.Epoch); err != nil {
			return err
		}
		if err := tx.spend(b.Proofs); err != nil {
			return err
		}
		tx.Emit(b.Events...)
		if b.Intent == "" {
			return nil
		}
		at := b.Events[0]
		if _, err := tx.ExecContext(tx.ctx, beginIntentQ, string(b.Org), string(b.Intent), micros(at.At), at.Verb); err != nil {
			return fmt.Errorf("record intent: %w", err)
		}
		return nil
	})
}

// End records the outcome of an inline action.
func (s *Actions) End(ctx context.Context, org id.Org, a id.Action, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		res, err := tx.ExecContext(tx.ctx, endIntentQ, string(org), string(a))
		if err != nil {
			return fmt.Errorf("record outcome: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(action.ErrState, err)
		}
		tx.Emit(events...)
		return nil
	})
}

// Hold stores a new action with its approval and sealed request.
func (s *Actions) Hold(ctx context.Context, h broker.Hold) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.checkEpoch(h.Epoch); err != nil {
			return err
		}
		if err := tx.spend(h.Proofs); err != nil {
			return err
		}
		a := h.Action
		if err := confirmHold(tx, a, h.MaxOpen); err != nil {
			return err
		}
		// The look-up before this ran outside the transaction: look again.
		byKey, byEffect, err := repeats(tx.ctx, tx.db, tx, a.Org, a.Agent, a.Key, a.Effect)
		if err != nil {
			return err
		}
		if byKey != nil && byKey.Attaches(a.CreatedAt) {
			return broker.ErrRaced
		}
		if a.Key == "" && byEffect != nil && byEffect.Attaches(a.CreatedAt) {
			return broker.ErrRaced
		}
		if open, err := openApprovals(tx, a); err != nil {
			return err
		} else if open >= h.MaxOpen {
			return broker.ErrTooMany
		}
		tx.Emit(h.Events...)
		if err := actions.insert(tx, a); err != nil {
			return err
		}
		if err := approvals.insert(tx, h.Approval); err != nil {
			return err
		}
		return putPayload(tx, a.Org, a.ID, "request", h.Request)
	})
}

const (
	countOpenQ = `select count(*) from approvals where org = $1 and agent = $2 and status in ('open', 'granted')`
	alikeQ     = `select id from actions where org = $1 and agent = $2 and created_at >= $3 and effect = $4 union select id from actions where org = $1 and agent = $2 and created_at >= $3 and idempotency = $5 and idempotency <> ''`
)

func openApprovals(tx *Tx, a *action.Action) (int, error) {
	var open int
	if err := tx.QueryRowContext(tx.ctx, countOpenQ, string(a.Org), string(a.Agent)).Scan(&open); err != nil {
		return 0, fmt.Errorf("count open approvals: %w", err)
	}
	return open, nil
}

// holdSkew is how far apart the clocks of two replicas may be for each to see
// what the other stores at the same moment.
const holdSkew = time.Hour

// confirmHold makes sure that no other replica holds a repeat of a, or fills
// the agent's cap, between the checks that follow it and the commit. What is
// there already is for those checks.
func confirmHold(tx *Tx, a *action.Action, most int) error {
	if !tx.db.engine.shared() {
		return nil
	}
	alike := func() ([]id.Action, error) {
		return actionIDs(tx.ctx, tx, alikeQ, string(a.Org), string(a.Agent), micros(a.CreatedAt.Add(-holdSkew)), a.Effect[:], a.Key)
	}
	before, err := alike()
	if err != nil {
		return err
	}
	b := tx.batch
	b.held = append(b.held, a.ID)
	tx.confirm(func() error {
		after, err := alike()
		if err != nil {
			return err
		}
		for _, other := range after {
			if !slices.Contains(before, other) && !slices.Contains(b.held, other) {
				return fmt.Errorf("hold %s: %w", a.ID, errStale)
			}
		}
		if open, err := openApprovals(tx, a); err != nil {
			return err
		} else if open > most {
			return fmt.Errorf("hold %s: %w", a.ID, errStale)
		}
		return nil
	})
	return nil
}

func putPayload(tx *Tx, org id.Org, a id.Action, part string, sealed []byte) error {
	if _, err := tx.ExecContext(tx.ctx, putPayloadQ, string(org), string(a), part, sealed); err != nil {
		return fmt.Errorf("store payload: %w", err)
	}
	return nil
}

// heldQ reads actions with one of their approvals each, in one statement: two
// would show one of them before a concurrent move and the other after it.
var heldQ = "select " + actions.columnsOf("a") + ", " + approvals.columnsOf("p") + " from actions a join approvals p on p.org = a.org "

const (
	presentQ = `and p.id = a.approval where a.org = $1 and a.id = $2`
	pastQ    = `and p.action = a.id where p.org = $1 and p.id = $2`
)

func (db *DB) held(ctx context.Context, q queries, which string, args ...any) ([]broker.Held, error) {
	if !findable(args) {
		return nil, nil
	}
	rows, err := q.QueryContext(ctx, heldQ+which, args...)
	if err != nil {
		return nil, fmt.Errorf("list held actions: %w", err)
	}
	defer rows.Close()
	var out []broker.Held
	for rows.Next() {
		a, p := actions.reading(), approvals.reading()
		if err := rows.Scan(append(a.dst, p.dst...)...); err != nil {
			return nil, fmt.Errorf("list held actions: %w", err)
		}
		var h broker.Held
		if h.Action, err = a.done(db); err != nil {
			return nil, err
		}
		if h.Approval, err = p.done(db); err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list held actions: %w", err)
	}
	return out, nil
}

// present returns an action with its present approval.
func (db *DB) present(ctx context.Context, q queries, org id.Org, a id.Action) (broker.Held, error) {
	got, err := db.held(ctx, q, presentQ, string(org), string(a))
	if err != nil || len(got) == 1 {
		return one(got), err
	}
	if _, err = actions.one(ctx, db, q, "where org = $1 and id = $2", string(org), string(a)); err == nil {
		err = fmt.Errorf("approval of %s: %w", a, errTorn)
	}
	return broker.Held{}, named(err, broker.ErrUnknown)
}

// errTorn means that half of a pair is missing, which we never leave behind.
var errTorn = errors.New("store: its row is gone")

func one(held []broker.Held) (h broker.Held) {
	if len(held) > 0 {
		h = held[0]
	}
	return h
}

// Held returns an action and its present approval.
func (s *Actions) Held(ctx context.Context, org id.Org, a id.Action) (broker.Held, error) {
	return s.db.present(ctx, s.db.reader, org, a)
}

const claimedQ = `select count(*) from audit_events where object = $1 and verb = 'action.executing' or object = $2 and verb = 'approval.spent'`

// unclaimed fails when the log says that the action was executed, or its
// approval spent, whatever their rows say.
func (tx *Tx) unclaimed(h broker.Held) error {
	var n int
	if err := tx.QueryRowContext(tx.ctx, claimedQ, string(h.Action.ID), string(h.Approval.ID)).Scan(&n); err != nil {
		return fmt.Errorf("look for an execution in the log: %w", err)
	}
	if n > 0 {
		tx.db.logger.Error("an executed action was put back", slog.String("action", string(h.Action.ID)))
		return action.ErrState
	}
	return nil
}

// Move changes an action and its approval together.
func (s *Actions) Move(ctx context.Context, org id.Org, a id.Action, m broker.Move) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if m.Epoch >= 0 {
			if err := tx.checkEpoch(m.Epoch); err != nil {
				return err
			}
		}
		if err := tx.spend(m.Proofs); err != nil {
			return err
		}
		h, err := tx.db.present(tx.ctx, tx, org, a)
		if err != nil {
			return err
		}
		if m.Claims {
			if err := tx.unclaimed(h); err != nil {
				return err
			}
		}
		events, opened, err := m.Apply(h.Action, h.Approval)
		if err != nil {
			return err
		}
		tx.Emit(events...)
		if err := actions.update(tx, h.Action); err != nil {
			return err
		}
		if err := approvals.update(tx, h.Approval); err != nil {
			return err
		}
		if opened != nil {
			if err := approvals.insert(tx, opened); err != nil {
				return err
			}
		}
		if m.Answer == nil {
			return nil
		}
		return putPayload(tx, org, a, "answer", m.Answer)
	})
}

// Payload returns the sealed request or answer.
func (s *Actions) Payload(ctx context.Context, org id.Org, a id.Action, part string) ([]byte, error) {
	var sealed []byte
	err := s.db.reader.QueryRowContext(ctx, payloadQ, string(org), string(a), part).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, broker.ErrNoPayload
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", part, a, err)
	}
	return sealed, nil
}

// Repeats finds what a repeat of a request may attach to.
func (s *Actions) Repeats(ctx context.Context, org id.Org, a id.Agent, key string, effect action.Digest) (byKey, byEffect *action.Action, err error) {
	return repeats(ctx, s.db, s.db.reader, org, a, key, effect)
}

func repeats(ctx context.Context, db *DB, q queries, org id.Org, a id.Agent, key string, effect action.Digest) (byKey, byEffect *action.Action, err error) {
	if key != "" {
		byKey, err = actions.one(ctx, db, q, "where org = $1 and agent = $2 and idempotency = $3 order by created_at desc, id desc limit 1", string(org), string(a), key)
		if err != nil && !errors.Is(err, errNotFound) {
			return nil, nil, err
		}
	}
	byEffect, err = actions.one(ctx, db, q, "where org = $1 and agent = $2 and effect = $3 and idempotency = '' order by created_at desc, id desc limit 1", string(org), string(a), effect[:])
	if err != nil && !errors.Is(err, errNotFound) {
		return nil, nil, err
	}
	return byKey, byEffect, nil
}

func actionIDs(ctx context.Context, q queries, text string, args ...any) ([]id.Action, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	defer rows.Close()
	var out []id.Action
	for rows.Next() {
		var a string
		if err := rows.Scan(&a); err != nil {
			return nil, fmt.Errorf("list actions: %w", err)
		}
		out = append(out, id.Action(a))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	return out, nil
}

const (
	approvedQ = `select id from actions where state = 'approved' and org = $1 and operation not like '%.token.vend' order by updated_at limit $2`
	overdueQ  = `select id from actions where state in ('pending', 'approved') and expires_at <= $1 and org = $2 order by expires_at limit $3`
	stuckQ    = `select id from actions where state = 'executing' and org = $1 and updated_at < $2 order by id`
	intentsQ  = `select action from intents where org = $1 and at < $2 order by action`
)

// Approved lists actions to execute.
func (s *Actions) Approved(ctx context.Context, org id.Org, limit int) ([]id.Action, error) {
	return actionIDs(ctx, s.db.reader, approvedQ, string(org), limit)
}

// Overdue lists open actions whose time is up.
func (s *Actions) Overdue(ctx context.Context, org id.Org, now time.Time, limit int) ([]id.Action, error) {
	return actionIDs(ctx, s.db.reader, overdueQ, micros(now), string(org), limit)
}

// Orphans lists executions that began before the given time and have no
// outcome.
func (s *Actions) Orphans(ctx context.Context, org id.Org, before time.Time) (held, inline []id.Action, err error) {
	if held, err = actionIDs(ctx, s.db.reader, stuckQ, string(org), micros(before)); err != nil {
		return nil, nil, err
	}
	inline, err = actionIDs(ctx, s.db.reader, intentsQ, string(org), micros(before))
	return held, inline, err
}

// Inbox lists approvals with their actions.
func (s *Actions) Inbox(ctx context.Context, org id.Org, u id.User, status approval.Status, before time.Time, limit int) ([]broker.Held, error) {
	q, args := "and p.action = a.id where p.org = $1 and p.status = $2", []any{string(org), string(status)}
	add := func(cond string, arg any) {
		args = append(args, arg)
		q += fmt.Sprintf(cond, len(args))
	}
	if u != "" {
		add(" and p.user_id = $%d", string(u))
	}
	if !before.IsZero() {
		add(" and p.created_at < $%d", micros(before))
	}
	add(" order by p.created_at desc, p.id desc limit $%d", limit)
	return s.db.held(ctx, s.db.reader, q, args...)
}

// OfAgent lists an agent's held actions, newest first.
func (s *Actions) OfAgent(ctx context.Context, org id.Org, a id.Agent, before time.Time, limit int) ([]*action.Action, error) {
	until := int64(1<<63 - 1)
	if !before.IsZero() {
		until = micros(before)
	}
	return actions.many(ctx, s.db, s.db.reader, "where org = $1 and agent = $2 and created_at < $3 order by created_at desc, id desc limit $4", string(org), string(a), until, limit)
}

// ByApproval finds the action of an approval, present or past.
func (s *Actions) ByApproval(ctx context.Context, org id.Org, p id.Approval) (broker.Held, error) {
	got, err := s.db.held(ctx, s.db.reader, pastQ, string(org), string(p))
	if err != nil || len(got) == 1 {
		return one(got), err
	}
	if _, err = approvals.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(org), string(p)); err == nil {
		err = fmt.Errorf("action of %s: %w", p, errTorn)
	}
	return broker.Held{}, named(err, broker.ErrUnknown)
}

// sweepPiece is how many rows one change of a sweep takes: few enough that
// nobody else notices the wait.
const sweepPiece = 500

const (
	sweepSpentQ      = `delete from spent where (agent, jti) in (select agent, jti from spent where until < $1 order by until limit $2)`
	sweepFlowsQ      = `delete from flows where (org, id) in (select org, id from flows where expires_at < $1 order by expires_at limit $2)`
	sweepDevicesQ    = `delete from devices where hash in (select hash from devices where expires_at < $1 order by expires_at limit $2)`
	sweepTokensQ     = `delete from agent_tokens where (org, id) in (select org, id from agent_tokens where expires_at < $1 order by expires_at limit $2)`
	sweepCeremoniesQ = `delete from ceremonies where hash in (select hash from ceremonies where expires_at < $1 order by expires_at limit $2)`
	dropPayloadQ     = `delete from payloads where org = $1 and action = $2`
)

// deviceKept is how long after its end a device authorization still answers
// that it has ended.
const deviceKept = time.Hour

// Sweep drops what has outlived its use.
func (s *Actions) Sweep(ctx context.Context, org id.Org, ended, now time.Time) error {
	for _, old := range []struct {
		text  string
		until time.Time
	}{
		{sweepSpentQ, now}, {sweepFlowsQ, now}, {sweepDevicesQ, now.Add(-deviceKept)}, {sweepTokensQ, now}, {sweepCeremoniesQ, now},
	} {
		if err := s.sweep(ctx, func(tx *Tx) (int64, error) {
			res, err := tx.ExecContext(tx.ctx, old.text, micros(old.until), sweepPiece)
			if err != nil {
				return 0, fmt.Errorf("sweep: %w", err)
			}
			return res.RowsAffected()
		}); err != nil {
			return err
		}
	}
	return s.sweep(ctx, func(tx *Tx) (int64, error) {
		old, err := actions.many(tx.ctx, tx.db, tx, "where payload_kept = 1 and finished_at > 0 and finished_at < $1 and org = $2 order by finished_at limit $3", micros(ended), string(org), sweepPiece)
		if err != nil {
			return 0, err
		}
		for _, a := range old {
			a.PayloadKept = false
			if err := actions.update(tx, a); err != nil {
				return 0, err
			}
			if _, err := tx.ExecContext(tx.ctx, dropPayloadQ, string(org), string(a.ID)); err != nil {
				return 0, fmt.Errorf("sweep payloads: %w", err)
			}
		}
		return int64(len(old)), nil
	})
}

const (
	payloadKeysQ = `select name from data_keys where name >= $1 and name < $2 order by name`
	payloadOfQ   = `select count(*) from payloads p join actions a on a.org = p.org and a.id = p.action where p.org = $1 and a.created_at >= $2 and a.created_at < $3`
)

// EmptyDays lists days whose payloads are gone and whose key is not. Payloads
// are sealed under the day on which their action was made.
func (s *Actions) EmptyDays(ctx context.Context, org id.Org, before time.Time) ([]time.Time, error) {
	// Names of days sort as days do.
	last := string(seal.PayloadKey(org, before))
	first := strings.TrimSuffix(last, before.UTC().Format(time.DateOnly))
	names, err := s.payloadKeys(ctx, first, last)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for _, name := range names {
		day, err := time.Parse(time.DateOnly, strings.TrimPrefix(name, first))
		if err != nil {
			return nil, fmt.Errorf("list days of payloads: %w", err)
		}
		end, n := day.AddDate(0, 0, 1), 0
		if end.After(before) {
			continue
		}
		if err := s.db.reader.QueryRowContext(ctx, payloadOfQ, string(org), micros(day), micros(end)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count payloads of a day: %w", err)
		}
		if n == 0 {
			out = append(out, day)
		}
	}
	return out, nil
}

func (s *Actions) payloadKeys(ctx context.Context, first, last string) ([]string, error) {
	rows, err := s.db.reader.QueryContext(ctx, payloadKeysQ, first, last)
	if err != nil {
		return nil, fmt.Errorf("list days of payloads: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("list days of payloads: %w", err)
		}
		out = append(out, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list days of payloads: %w", err)
	}
	return out, nil
}

// sweep runs piece, a change each time, until there is no whole one left.
func (s *Actions) sweep(ctx context.Context, piece func(*Tx) (int64, error)) error {
	for {
		var n int64
		err := s.db.write(ctx, func(tx *Tx) (err error) {
			n, err = piece(tx)
			return err
		})
		if err != nil || n < sweepPiece {
			return err
		}
	}
}

// Policies implements [broker.PolicyStore].
type Policies struct{ db *DB }

// Policies returns the store of policies.
func (db *DB) Policies() *Policies { return &Policies{db} }

var policies = newTable("policies", "org id", true, func(d *policy.Document) []field {
	return []field{
		text("org", &d.Org), text("id", &d.ID), text("name", &d.Name), text("owner", &d.Owner), text("body", &d.Text),
		text("updated_by", &d.UpdatedBy), moment("updated_at", &d.UpdatedAt), integer("version", &d.Version),
	}
})

// Policies lists all policies, the org's first.
func (s *Policies) Policies(ctx context.Context, org id.Org) ([]*policy.Document, error) {
	return policies.many(ctx, s.db, s.db.reader, "where org = $1 order by owner, name", string(org))
}

// PutPolicy creates a policy (version 0) or replaces the version that d names.
func (s *Policies) PutPolicy(ctx context.Context, d *policy.Document, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		put := *d
		if put.Version == 0 {
			put.Version = 1
			return policies.insert(tx, &put)
		}
		err := policies.update(tx, &put)
		if errors.Is(err, errStale) {
			return broker.ErrPolicyChanged
		}
		return err
	})
}
