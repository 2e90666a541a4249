package action

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// State is where an action is in its life; the package comment draws it.
type State string

// The states.
const (
	Proposed  State = "proposed"
	Pending   State = "pending"
	Approved  State = "approved"
	Executing State = "executing"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Unknown   State = "unknown"
	Denied    State = "denied"
	Expired   State = "expired"
	Cancelled State = "cancelled"
	Revoked   State = "revoked"
)

// Final reports whether nothing can happen to an action in this state.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Unknown, Denied, Expired, Cancelled, Revoked:
		return true
	}
	return false
}

// Action is one thing an agent wants done. Held actions are stored; the
// request and the response are sealed beside the row and never part of it.
type Action struct {
	Party
	ID          id.Action
	Provider    string
	Operation   string // "github.issues.create_comment"
	Summary     string // one plain line, rendered by us
	Resource    string // "repository:octo/api", or ""
	Risk        string // "low" … "critical"
	Amount      string // canonical amount, or ""
	Effect      Digest
	Salt        []byte // blinds the digest in the log, so that erasing the row leaves nothing to guess at
	Key         string // the agent's idempotency key, or ""
	Source      string // the address that it was asked from
	Note        string // the agent's own words to the approver; untrusted
	State       State
	Approval    id.Approval
	Why         string // why it ended as it did: a stable reason
	Status      int    // the upstream's HTTP status, once known
	BodySize    int64
	AnswerSize  int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ExpiresAt   time.Time // when a pending action expires
	FinishedAt  time.Time
	FetchedAt   time.Time // when the agent first saw the outcome
	PayloadKept bool      // the sealed request and response still exist
	Version     int64
}

// New freezes r for p. The caller fills in what judgement found.
func New(p Party, r *Request, amount string, now time.Time) *Action {
	salt := make([]byte, 16)
	rand.Read(salt)
	return &Action{
		Party: p, ID: id.NewAction(), Amount: amount, Effect: r.Effect(p, amount), Salt: salt,
		State: Proposed, BodySize: int64(len(r.Body)), CreatedAt: now, UpdatedAt: now, PayloadKept: true, Version: 1,
	}
}

// Commitment is how the log names the effect: a salted digest, which says
// nothing once the salt is erased.
func (a *Action) Commitment() string {
	h := sha256.New()
	h.Write(a.Salt)
	h.Write(a.Effect[:])
	return hex.EncodeToString(h.Sum(nil))
}

// RepeatWindow is how long after its outcome was fetched a held action still
// answers a repeat of itself.
const RepeatWindow = 10 * time.Minute

// VendSuffix ends the name of the operation that hands out a token.
const VendSuffix = ".token.vend"

// Vends reports whether an operation hands out a token.
func Vends(operation string) bool { return strings.HasSuffix(operation, VendSuffix) }

// Attaches reports whether a repeat of a attaches to it instead of asking
// afresh. A token that was handed out is not kept, so there is nothing to
// attach to.
func (a *Action) Attaches(now time.Time) bool {
	if a.State == Succeeded && Vends(a.Operation) {
		return false
	}
	return !a.State.Final() || a.FetchedAt.IsZero() || now.Before(a.FetchedAt.Add(RepeatWindow))
}

// Errors that a move may return.
var (
	ErrState    = fault.New(fault.Conflict, "wrong_state", "The action is no longer in a state that allows this; fetch it to see where it stands.")
	ErrMismatch = fault.New(fault.Conflict, "digest_mismatch", "The stored request is not the one that was approved; nothing was sent.")
)

func (a *Action) move(to State, verb, actor string, now time.Time, data map[string]string) audit.Event {
	a.State, a.UpdatedAt = to, now
	if to.Final() {
		a.FinishedAt = now
	}
	if data == nil {
		data = map[string]string{}
	}
	data["effect"] = a.Commitment()
	data["operation"] = a.Operation
	data["agent"] = string(a.Agent)
	data["connection"] = string(a.Connection)
	if a.Approval != "" {
		data["approval"] = string(a.Approval)
	}
	return audit.Event{At: now, Org: a.Org, Verb: verb, Actor: actor, Object: string(a.ID), Subject: string(a.User), Data: data}
}

func (a *Action) actor() string { return "agent:" + string(a.Agent) }

// Hold parks a new action for a human's answer.
func (a *Action) Hold(approval id.Approval, expires, now time.Time) (audit.Event, error) {
	if a.State != Proposed {
		return audit.Event{}, ErrState
	}
	a.Approval, a.ExpiresAt = approval, expires
	return a.move(Pending, "action.held", a.actor(), now, map[string]string{"risk": a.Risk}), nil
}

// Approve records that its approval was granted by actor.
func (a *Action) Approve(actor string, now time.Time) (audit.Event, error) {
	if a.State != Pending {
		return audit.Event{}, ErrState
	}
	return a.move(Approved, "action.approved", actor, now, nil), nil
}

// Claim takes an approved action for execution. d is the effect digest
// recomputed from the bytes that are about to be sent.
func (a *Action) Claim(d Digest, now time.Time) (audit.Event, error) {
	switch {
	case a.State != Approved:
		return audit.Event{}, ErrState
	case d != a.Effect:
		return audit.Event{}, ErrMismatch
	}
	return a.move(Executing, "action.executing", "system", now, nil), nil
}

// Start takes a permitted action straight into execution, without a human.
func (a *Action) Start(now time.Time) (audit.Event, error) {
	if a.State != Proposed {
		return audit.Event{}, ErrState
	}
	return a.move(Executing, "action.executing", a.actor(), now, map[string]string{"risk": a.Risk, "inline": "1"}), nil
}

// Reask sends an approved action back to its humans, because today's rules
// demand more than was given.
func (a *Action) Reask(approval id.Approval, why string, expires, now time.Time) (audit.Event, error) {
	if a.State != Approved {
		return audit.Event{}, ErrState
	}
	a.Approval, a.ExpiresAt, a.Why = approval, expires, why
	return a.move(Pending, "action.reasked", "system", now, map[string]string{"why": why}), nil
}

// Outcome is how an execution ended.
type Outcome struct {
	State      State  // Succeeded, Failed or Unknown
	Status     int    // the upstream's status; 0 when there was no complete answer
	Why        string // stable reason when not succeeded
	AnswerSize int64
	Redacted   int // echoes of the credential that were cut out of the answer
}

// Finish records how the execution ended.
func (a *Action) Finish(o Outcome, now time.Time) (audit.Event, error) {
	if a.State != Executing || (o.State != Succeeded && o.State != Failed && o.State != Unknown) {
		return audit.Event{}, ErrState
	}
	a.Status, a.Why, a.AnswerSize = o.Status, o.Why, o.AnswerSize
	data := map[string]string{"answer_bytes": strconv.FormatInt(o.AnswerSize, 10)}
	if o.Status != 0 {
		data["status"] = strconv.Itoa(o.Status)
	}
	if o.Why != "" {
		data["why"] = o.Why
	}
	if o.Redacted > 0 {
		data["redacted"] = strconv.Itoa(o.Redacted)
	}
	return a.move(o.State, "action."+string(o.State), "system", now, data), nil
}

// Deny ends a pending action by a human's no. reason is the human's own text;
// it stays in the row, not in the log.
func (a *Action) Deny(actor, reason string, now time.Time) (audit.Event, error) {
	if a.State != Pending {
		return audit.Event{}, ErrState
	}
	a.Why = reason
	return a.move(Denied, "action.denied", actor, now, nil), nil
}

// Refuse ends an approved action that today's rules forbid.
func (a *Action) Refuse(why string, now time.Time) (audit.Event, error) {
	if a.State != Approved {
		return audit.Event{}, ErrState
	}
	a.Why = why
	return a.move(Revoked, "action.revoked", "system", now, map[string]string{"why": why}), nil
}

// Expire ends an action nobody answered in time.
func (a *Action) Expire(now time.Time) (audit.Event, error) {
	if (a.State != Pending && a.State != Approved) || now.Before(a.ExpiresAt) {
		return audit.Event{}, ErrState
	}
	a.Why = "expired"
	return a.move(Expired, "action.expired", "system", now, nil), nil
}

// Cancel ends an open action at its agent's wish.
func (a *Action) Cancel(now time.Time) (audit.Event, error) {
	if a.State != Pending && a.State != Approved {
		return audit.Event{}, ErrState
	}
	a.Why = "cancelled"
	return a.move(Cancelled, "action.cancelled", a.actor(), now, nil), nil
}

// Revoke ends an open action whose agent, connection or grant is gone.
func (a *Action) Revoke(why string, now time.Time) (audit.Event, error) {
	if a.State != Pending && a.State != Approved {
		return audit.Event{}, ErrState
	}
	a.Why = why
	return a.move(Revoked, "action.revoked", "system", now, map[string]string{"why": why}), nil
}
