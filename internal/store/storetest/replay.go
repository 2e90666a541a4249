package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
)

// testReplays: a signature that was used is refused without waiting for whoever
// writes, and one that was not is used up beside it.
func testReplays(t *testing.T, d Database) {
	db, raw, ctx := d.Open(t), d.Raw(t), t.Context()
	w, tokens := newWorld(db), db.Agents().Tokens()
	a, p := w.pending(w.agent.ID, "")
	used, fresh := proofOf(w.agent.ID, "used"), proofOf(w.agent.ID, "fresh")
	must(t, tokens.Spend(ctx, used, nil))
	both := append(used, fresh...)

	// Somebody writes and does not end.
	busy, err := raw.Conn(ctx)
	must(t, err)
	defer busy.Close()
	begin := "begin immediate"
	if d.Engine == "postgres" {
		begin = "begin; lock table spent in share row exclusive mode; lock table audit_head in share row exclusive mode"
	}
	_, err = busy.ExecContext(ctx, begin)
	must(t, err)
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	idle := func(*action.Action, *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		return nil, nil, nil
	}
	for name, err := range map[string]error{
		"Spend":  tokens.Spend(limited, both, nil),
		"Issue":  tokens.Issue(limited, w.token, both, nil),
		"Revoke": tokens.Revoke(limited, org, w.token.ID, both, now, nil),
		"Begin":  db.Actions().Begin(limited, broker.Begin{Org: org, Proofs: both}),
		"Hold":   db.Actions().Hold(limited, broker.Hold{Action: a, Approval: p, Proofs: both}),
		"Move":   db.Actions().Move(limited, org, id.NewAction(), broker.Move{Epoch: -1, Proofs: both, Apply: idle}),
	} {
		refused(t, name, err, agent.ErrReplayed)
	}
	left, err := tokens.Unspent(limited, both)
	must(t, err)
	same(t, left, fresh, nil)
	_, err = busy.ExecContext(ctx, "rollback")
	must(t, err)

	// What was refused spent nothing; its refusal does, all of it.
	must(t, tokens.Refuse(ctx, both, nil))
	left, err = tokens.Unspent(ctx, both)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("unspent after a refusal: %v", left)
	}
	refused(t, "Spend after a refusal", tokens.Spend(ctx, fresh, nil), agent.ErrReplayed)
}
