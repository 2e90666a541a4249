package store

import (
	"context"
	"fmt"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
)

var votes = newTable("approval_votes", "org approval user_id", true, func(v *approval.Vote) []field {
	return []field{
		text("org", &v.Org), text("approval", &v.Approval), text("user_id", &v.User), moment("at", &v.At), text("channel", &v.Channel),
		integer("level", &v.Level), blob("evidence", &v.Evidence), text("precondition", &v.Precondition), integer("version", &v.Version),
	}
})

// votes returns who said yes to p, in that order.
func (db *DB) votes(ctx context.Context, q queries, p *approval.Approval) ([]approval.Vote, error) {
	rows, err := votes.many(ctx, db, q, "where org = $1 and approval = $2 order by at, user_id", string(p.Org), string(p.ID))
	if err != nil {
		return nil, err
	}
	var out []approval.Vote
	for _, v := range rows {
		out = append(out, *v)
	}
	return out, nil
}

const (
	askQ      = `insert into approval_asked (org, approval, user_id, open) values ($1, $2, $3, 1)`
	answeredQ = `update approval_asked set open = 0 where org = $1 and approval = $2 and open = 1`
	askedQ    = `select count(*) from approval_asked where org = $1 and user_id = $2 and open = 1`
)

// askPeople notes whom p is put before.
func askPeople(tx *Tx, p *approval.Approval, who []id.User) error {
	for _, u := range who {
		if _, err := tx.ExecContext(tx.ctx, askQ, string(p.Org), string(p.ID), string(u)); err != nil {
			return fmt.Errorf("ask about %s: %w", p.ID, err)
		}
	}
	return nil
}

// answered takes p off everybody's list once it is not open any more.
func answered(tx *Tx, p *approval.Approval) error {
	if p.Status == approval.Open {
		return nil
	}
	if _, err := tx.ExecContext(tx.ctx, answeredQ, string(p.Org), string(p.ID)); err != nil {
		return fmt.Errorf("take %s off the lists: %w", p.ID, err)
	}
	return nil
}

// unhurried refuses a question when too few of those who may answer it have
// room for another one. Two replicas may let a few more in at one moment.
func unhurried(tx *Tx, h broker.Hold) error {
	if h.MaxAsked <= 0 {
		return nil
	}
	free := 0
	for _, u := range h.Asked {
		var open int
		if err := tx.QueryRowContext(tx.ctx, askedQ, string(h.Approval.Org), string(u)).Scan(&open); err != nil {
			return fmt.Errorf("count open questions: %w", err)
		}
		if open < h.MaxAsked {
			free++
		}
		if free >= h.Approval.Needs() {
			return nil
		}
	}
	return broker.ErrBusy
}
