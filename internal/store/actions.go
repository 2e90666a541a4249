package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
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
		integer("version", &p.Version), text("precondition", &p.Precondition), integer("quorum", &p.Quorum), integer("repeats", &p.Repeats),
		moment("cool_until", &p.CoolUntil),
	}
}).later("precondition", "quorum", "repeats", "cool_until")

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
	if err := s.db.replayed(ctx, b.Proofs); err != nil {
		return err
	}
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.checkEpoch(b.Epoch); err != nil {
			return err
		}
		if err := tx.spend(b.Proofs); err != nil {
			return err
		}
		tx.Emit(b.Events...)
		if b.Relief != "" {
			if err := useRelief(tx, b); err != nil {
				return err
			}
		}
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
	if err := s.db.replayed(ctx, h.Proofs); err != nil {
		return err
	}
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
		if err := unhurried(tx, h); err != nil {
			return err
		}
		tx.Emit(h.Events...)
		if err := actions.insert(tx, a); err != nil {
			return err
		}
		if err := approvals.insert(tx, h.Approval); err != nil {
			return err
		}
		if err := askPeople(tx, h.Approval, h.Asked); err != nil {
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
	rows.Close() // one answer at a time is open on a connection
	for _, h := range out {
		if h.Approval.Quorum > 1 {
			if h.Approval.Votes, err = db.votes(ctx, q, h.Approval); err != nil {
				return nil, err
			}
		}
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

// The verbs are expressions, so that the index of objects is what finds them.
const claimedQ = `select count(*) from audit_events where object = $1 and verb || '' = 'action.executing' or object = $2 and verb || '' = 'approval.spent'`

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
	if err := s.db.replayed(ctx, m.Proofs); err != nil {
		return err
	}
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
		voted, was := len(h.Approval.Votes), h.Approval.Status
		events, opened, err := m.Apply(h.Action, h.Approval)
		if err != nil {
			return err
		}
		if m.Authority {
			tx.moveAuthority()
		}
		tx.Emit(events...)
		if m.Relief != nil {
			if err := reliefs.insert(tx, m.Relief); err != nil {
				return err
			}
		}
		if was == approval.Open {
			if err := answered(tx, h.Approval); err != nil {
				return err
			}
		}
		if err := actions.update(tx, h.Action); err != nil {
			return err
		}
		if err := approvals.update(tx, h.Approval); err != nil {
			return err
		}
		// After the row that all of them write: who was slower in another process
		// votes on what is there then.
		for _, v := range h.Approval.Votes[voted:] {
			if err := votes.insert(tx, &v); err != nil {
				return err
			}
		}
		if opened != nil {
			if err := approvals.insert(tx, opened); err != nil {
				return err
			}
			if err := askPeople(tx, opened, m.Asked); err != nil {
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
