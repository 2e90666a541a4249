// Package approval is a human's answer to exactly one action.
//
// An [Approval] is a one-shot ticket: open, then granted, denied, expired or
// withdrawn; a granted one is spent by the execution it was given for, at most
// once, and only for the bytes that were shown. The approver answers the
// decision digest, which binds the effect to what else was on the page: the
// rules in force, the provider's description, a nonce, the time the answer is
// good for, and what was there to be changed, where that was shown.
//
// The state machine is pure; see package action for how it is applied.
package approval

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Status is where an approval stands.
type Status string

// The statuses.
const (
	Open      Status = "open"
	Granted   Status = "granted"
	Denied    Status = "denied"
	Expired   Status = "expired"
	Withdrawn Status = "withdrawn"
	Spent     Status = "spent"
)

// Level is how much assurance an answer must bring.
type Level int

// The levels are those that policies read as context.assurance.
const (
	Approve Level = 1 // a logged-in human said yes to this digest
	StepUp  Level = 2 // the same, with a passkey touched for this very digest
)

// Approval is the ticket. Rules and the facts of the page are stored with it.
type Approval struct {
	Org           id.Org
	ID            id.Approval
	Action        id.Action
	Agent         id.Agent
	User          id.User // whose connection it is: the first approver
	Effect        action.Digest
	Level         Level
	Status        Status
	PolicyVersion string
	SpecHash      string
	Nonce         []byte   // 128 bits; makes each question a new one
	Rules         []string // names of the rules that asked
	Why           []string // the facts and rules, in plain sentences, as shown
	Impact        string
	Scopes        []string
	CreatedAt     time.Time
	ExpiresAt     time.Time
	DecidedAt     time.Time
	DecidedBy     id.User
	Channel       string    // "web", "cli"
	Reason        string    // the human's own words on a denial
	Evidence      []byte    // JSON; what proves the presence, for StepUp
	Precondition  string    // stands for what was there when it was answered, as shown; "" if nothing was
	Quorum        int       // how many have to say yes; 0 means one
	Votes         []Vote    // who of several said yes, in that order; kept beside the row
	Repeats       int       // how often the agent asked the same again while it was open
	CoolUntil     time.Time // equal requests are refused until then; set by a denial
	Version       int64
}

// Errors that a move may return.
var (
	ErrNotOpen  = fault.New(fault.Conflict, "approval_not_open", "This approval was already answered or withdrawn; reload to see how.")
	ErrExpired  = fault.New(fault.Conflict, "approval_expired", "This approval has expired; the agent has to ask again.")
	ErrMismatch = fault.New(fault.Conflict, "approval_mismatch", "The request is not the one that was approved; nothing was sent.")
	ErrStale    = fault.New(fault.Conflict, "approval_stale", "What you saw is not what is stored; reload and look again.")
	ErrPresence = fault.New(fault.Forbidden, "presence_required", "This one needs your passkey for this very request; open its page and approve there.")
)

// New opens an approval for a, to be answered before ttl has passed.
func New(a *action.Action, level Level, ttl time.Duration, now time.Time) *Approval {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	return &Approval{
		Org: a.Org, ID: id.NewApproval(), Action: a.ID, Agent: a.Agent, User: a.User, Effect: a.Effect,
		Level: level, Status: Open, Nonce: nonce, CreatedAt: now, ExpiresAt: now.Add(ttl), Version: 1,
	}
}

// Answer is what the human said.
type Answer string

// The answers.
const (
	Yes Answer = "approve"
	No  Answer = "deny"
)

const decisionFormat = "valetkey/decision/v2"

// Digest is the decision digest: what the approver answers, and for a step-up
// the WebAuthn challenge itself.
func (a *Approval) Digest(answer Answer) [sha256.Size]byte {
	return a.DigestOf(answer, a.Precondition)
}

// DigestOf is the decision digest of somebody who was shown this of what is
// there: each of several people answers what they saw themselves.
func (a *Approval) DigestOf(answer Answer, precondition string) [sha256.Size]byte {
	h := sha256.New()
	parts := []string{
		decisionFormat, string(a.Org), string(a.ID), string(a.Effect[:]), string(answer), strconv.Itoa(int(a.Level)),
		a.PolicyVersion, a.SpecHash, string(a.Nonce), strconv.FormatInt(a.ExpiresAt.UnixMicro(), 10), precondition,
	}
	if a.Quorum > 1 {
		// Who signs knows of how many they are one.
		parts = append(parts, "quorum", strconv.Itoa(a.Quorum))
	}
	for _, s := range parts {
		writeField(h, s)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Decider is who answers, and how sure we are of their presence.
type Decider struct {
	User     id.User
	Channel  string
	Level    Level  // the assurance that this answer carries
	Evidence []byte // for StepUp
	// Precondition is what they were shown of what is there now; what the browser
	// says of it is not enough.
	Precondition string
}

func (d Decider) actor() string { return "user:" + string(d.User) }

// Decide answers an open approval. seen is the effect digest of the page that
// was answered: an answer to anything else is stale.
func (a *Approval) Decide(answer Answer, d Decider, seen action.Digest, reason string, now time.Time) (audit.Event, error) {
	switch {
	case a.Status != Open:
		return audit.Event{}, ErrNotOpen
	case !now.Before(a.ExpiresAt):
		return audit.Event{}, ErrExpired
	case seen != a.Effect:
		return audit.Event{}, ErrStale
	case answer == Yes && (d.Level < a.Level || d.Level >= StepUp && len(d.Evidence) == 0):
		// A step-up that cannot be shown to anybody later is none.
		return audit.Event{}, ErrPresence
	case answer != Yes && answer != No:
		return audit.Event{}, fault.New(fault.Invalid, "bad_decision", `A decision is "approve" or "deny".`)
	}
	if answer == Yes && a.Quorum > 1 {
		if err := a.vote(d, now); err != nil {
			return audit.Event{}, err
		}
		if len(a.Votes) < a.Quorum {
			return a.event("approval.voted", d.actor(), now, a.said(answer, d, now)), nil
		}
	}
	a.DecidedAt, a.DecidedBy, a.Channel, a.Reason, a.Evidence = now, d.User, d.Channel, reason, d.Evidence
	a.Precondition = d.Precondition
	a.Status = Granted
	verb := "approval.granted"
	if answer == No {
		a.Status, verb = Denied, "approval.denied"
	}
	return a.event(verb, d.actor(), now, a.said(answer, d, now)), nil
}

// said is what the log keeps of an answer.
func (a *Approval) said(answer Answer, d Decider, now time.Time) map[string]string {
	answered := a.DigestOf(answer, d.Precondition)
	data := map[string]string{
		"channel": d.Channel, "level": strconv.Itoa(int(d.Level)), "decision": hex.EncodeToString(answered[:]),
		"seconds": strconv.FormatInt(int64(now.Sub(a.CreatedAt)/time.Second), 10),
	}
	if h := evidenceHash(d.Evidence); h != "" {
		data["evidence"] = h
	}
	if a.Quorum > 1 {
		data["votes"], data["quorum"] = strconv.Itoa(len(a.Votes)), strconv.Itoa(a.Quorum)
	}
	return data
}

// Spend uses a up for the execution of the action with digest d: one
// execution of exactly the bytes the human saw.
func (a *Approval) Spend(d action.Digest, now time.Time) (audit.Event, error) {
	switch {
	case a.Status != Granted:
		return audit.Event{}, ErrNotOpen
	case !now.Before(a.ExpiresAt):
		return audit.Event{}, ErrExpired
	case a.Effect != d:
		return audit.Event{}, ErrMismatch
	}
	a.Status = Spent
	return a.event("approval.spent", "system", now, nil), nil
}

// Expire ends an approval that was not answered, or not used, in time.
func (a *Approval) Expire(now time.Time) (audit.Event, error) {
	if (a.Status != Open && a.Status != Granted) || now.Before(a.ExpiresAt) {
		return audit.Event{}, ErrNotOpen
	}
	a.Status = Expired
	return a.event("approval.expired", "system", now, nil), nil
}

// Withdraw ends an approval whose question has gone away.
func (a *Approval) Withdraw(actor, why string, now time.Time) (audit.Event, error) {
	if a.Status != Open && a.Status != Granted {
		return audit.Event{}, ErrNotOpen
	}
	a.Status = Withdrawn
	return a.event("approval.withdrawn", actor, now, map[string]string{"why": why}), nil
}

// Opened is the event that a was put before humans, with what stands above the
// request on their page.
func (a *Approval) Opened(of *action.Action, actor string, now time.Time) audit.Event {
	return a.event("approval.opened", actor, now, map[string]string{
		"level": strconv.Itoa(int(a.Level)), "policy": a.PolicyVersion,
		"shown": shown(a.Nonce, of.Operation, of.Summary, of.Resource, of.Risk, a.Rules, a.Why),
	})
}

// shown is how the log names our own words about a request: a digest that the
// nonce blinds.
func shown(nonce []byte, operation, summary, resource, risk string, rules, why []string) string {
	h := sha256.New()
	fields := []string{string(nonce), operation, summary, resource, risk, strconv.Itoa(len(rules))}
	for _, s := range slices.Concat(fields, rules, why) {
		writeField(h, s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writeField prefixes each field with its length, so that no two lists of
// fields have the same encoding.
func writeField(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

func (a *Approval) event(verb, actor string, now time.Time, data map[string]string) audit.Event {
	if data == nil {
		data = map[string]string{}
	}
	data["action"] = string(a.Action)
	return audit.Event{At: now, Org: a.Org, Verb: verb, Actor: actor, Object: string(a.ID), Subject: string(a.User), Data: data}
}
