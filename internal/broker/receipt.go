package broker

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// Proofs is the log as receipts need it.
type Proofs interface {
	// Latest returns the newest event with this verb and object, by this actor
	// ("" for any), as it was hashed, or nil.
	Latest(ctx context.Context, org id.Org, verb, object, actor string) ([]byte, error)
	ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
}

// Receipts issues receipts of what was decided.
type Receipts struct {
	Broker  *Broker
	Proofs  Proofs
	Anchors *audit.Checkpointer
	Issuer  string // the public URL
}

// Errors of receipts.
var (
	ErrUndecided  = fault.New(fault.Conflict, "not_decided", "Nobody has answered this yet, so there is nothing to prove.")
	ErrAskedAgain = fault.New(fault.Conflict, "asked_again", "This answer was not used: the rules changed, and the question was asked again. Ask for the receipt of the action.")
)

// Issue makes the receipt of a decided action, which is named by its own id or
// by that of its approval, for a person who may see what is in it. It is
// anchored as of now.
func (r *Receipts) Issue(ctx context.Context, p user.Principal, ref string, now time.Time) (*approval.Receipt, error) {
	shown, err := r.find(ctx, p, ref, now)
	if err != nil {
		return nil, err
	}
	a, q := shown.Action, shown.Approval
	switch {
	case a.Approval != q.ID:
		return nil, ErrAskedAgain
	case q.DecidedBy == "":
		return nil, ErrUndecided
	}
	out := &approval.Receipt{
		Format: approval.ReceiptFormat, Issuer: r.Issuer, LogKey: r.Anchors.Signer.VerifierKey(), IssuedAt: now.UTC().Truncate(time.Second),
		Action: r.action(ctx, a, shown.Request), Question: question(q), Decisions: r.decisions(ctx, q),
	}
	var leaves [][]byte
	for _, want := range out.Wanted() {
		leaf, err := r.Proofs.Latest(ctx, a.Org, want.Verb, want.Object, want.Actor)
		if err != nil {
			return nil, err
		}
		if leaf != nil {
			leaves = append(leaves, leaf)
		}
	}
	// The events were committed before this checkpoint is signed, so it has them.
	if err := r.Anchors.Anchor(ctx, now); err != nil {
		return nil, fault.New(fault.Unavailable, "not_anchored", "The log cannot be anchored right now, so nothing can be proven; try again.").Because(err)
	}
	signed, cp, _ := r.Anchors.Last()
	out.Checkpoint = string(signed)
	err = out.Show(leaves, cp.Size, tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) { return r.Proofs.ReadHashes(ctx, at) }))
	if err != nil {
		return nil, err
	}
	if err := out.Sign(r.Anchors.Signer); err != nil {
		return nil, err
	}
	// A receipt that does not hold would be blamed on whoever shows it.
	if v := out.Verify(approval.Trust{}); !v.OK() {
		return nil, fmt.Errorf("receipt of %s does not hold: %+v", ref, v.Links)
	}
	return out, nil
}

func (r *Receipts) find(ctx context.Context, p user.Principal, ref string, now time.Time) (Shown, error) {
	switch {
	case id.Valid("act", ref):
		return r.Broker.Find(ctx, p, id.Action(ref), now)
	case id.Valid("apr", ref):
		return r.Broker.Show(ctx, p, id.Approval(ref), now)
	}
	return Shown{}, ErrUnknown
}

// action tells what was asked for. Names help people; nothing rests on them.
func (r *Receipts) action(ctx context.Context, a *action.Action, req *action.Request) approval.ReceiptAction {
	out := approval.ReceiptAction{
		ID: a.ID, Org: a.Org, User: a.User, Agent: a.Agent, Connection: a.Connection, Account: a.Account, Provider: a.Provider,
		Operation: a.Operation, Summary: a.Summary, Resource: a.Resource, Risk: a.Risk, Amount: a.Amount,
		Effect: a.Effect.String(), Salt: base64.StdEncoding.EncodeToString(a.Salt), Request: req,
		State: a.State, Status: a.Status, Why: a.Why, CreatedAt: a.CreatedAt.UTC(),
	}
	if !a.FinishedAt.IsZero() {
		at := a.FinishedAt.UTC()
		out.FinishedAt = &at
	}
	if ag, err := r.Broker.Agents.Agent(ctx, a.Org, a.Agent); err == nil {
		out.AgentName = ag.Name
	}
	if con, err := r.Broker.Conns.Connection(ctx, a.Org, a.Connection); err == nil {
		out.Handle = con.Account
	}
	return out
}

func question(p *approval.Approval) approval.ReceiptQuestion {
	return approval.ReceiptQuestion{
		ID: p.ID, Level: p.Level, Quorum: p.Quorum, PolicyVersion: p.PolicyVersion, SpecHash: p.SpecHash, Nonce: base64.StdEncoding.EncodeToString(p.Nonce),
		OpenedAt: p.CreatedAt.UTC(), ExpiresAt: p.ExpiresAt.UTC(), Rules: p.Rules, Why: p.Why,
	}
}

// decisions lists the answers: each yes of several is one of its own.
func (r *Receipts) decisions(ctx context.Context, p *approval.Approval) []approval.ReceiptDecision {
	var out []approval.ReceiptDecision
	for _, v := range p.Yes() {
		out = append(out, r.decision(ctx, p, approval.Yes, v))
	}
	if p.Status == approval.Denied {
		out = append(out, r.decision(ctx, p, approval.No, approval.Vote{User: p.DecidedBy, At: p.DecidedAt, Channel: p.Channel, Evidence: p.Evidence, Precondition: p.Precondition}))
	}
	return out
}

func (r *Receipts) decision(ctx context.Context, p *approval.Approval, answer approval.Answer, v approval.Vote) approval.ReceiptDecision {
	digest := p.DigestOf(answer, v.Precondition)
	level := approval.Approve
	if len(v.Evidence) > 0 {
		level = approval.StepUp
	}
	d := approval.ReceiptDecision{
		Answer: answer, Digest: hex.EncodeToString(digest[:]), By: v.User, At: v.At.UTC(), Channel: v.Channel, Level: level,
		Precondition: v.Precondition, Evidence: json.RawMessage(v.Evidence),
	}
	if v.User == p.DecidedBy && (p.Status == approval.Denied) == (answer == approval.No) {
		d.Reason = p.Reason
	}
	if u, err := r.Broker.Users.User(ctx, p.Org, v.User); err == nil {
		d.ByName = u.Name
	}
	return d
}
