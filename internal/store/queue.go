package store

import (
	"context"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
)

const (
	approvedQ = `select id from actions where state = 'approved' and org = $1 and operation not like '%.token.vend' order by updated_at limit $2`
	overdueQ  = `select id from actions where state in ('pending', 'approved') and expires_at <= $1 and org = $2 order by expires_at limit $3`
	stuckQ    = `select id from actions where state = 'executing' and org = $1 and updated_at < $2 order by id`
	intentsQ  = `select action from intents where org = $1 and at < $2 order by action`
)

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
		// Theirs to answer first of all, or put before them by name.
		add(" and (p.user_id = $%[1]d or exists (select 1 from approval_asked q where q.org = p.org and q.approval = p.id and q.user_id = $%[1]d))", string(u))
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

// Cooling lists denials that hold back equal requests.
func (s *Actions) Cooling(ctx context.Context, org id.Org, a id.Agent, after time.Time) ([]broker.Held, error) {
	return s.db.held(ctx, s.db.reader, "and p.action = a.id where p.org = $1 and p.agent = $2 and p.cool_until > $3 and p.status = 'denied' order by p.id", string(org), string(a), micros(after))
}
