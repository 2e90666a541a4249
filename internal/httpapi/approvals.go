package httpapi

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// listApprovals is GET /v1/approvals: those that the person may answer or look
// at, newest first, without the requests.
func (s *Server) listApprovals(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Approval], error) {
	page := list[api.Approval](nil)
	status := approval.Status(c.query.Get("status"))
	switch status {
	case "":
		status = approval.Open
	case approval.Open, approval.Granted, approval.Denied, approval.Expired, approval.Withdrawn, approval.Spent:
	default:
		return page, invalid("bad_parameter", "A status is open, granted, denied, expired, withdrawn or spent.")
	}
	limit, err := c.number("limit", 1, 200, 50)
	if err != nil {
		return page, err
	}
	cursor, err := c.number("cursor", 1, 1<<62, 0)
	if err != nil {
		return page, err
	}
	var before time.Time
	if cursor > 0 {
		before = time.UnixMicro(cursor)
	}
	found, err := s.Broker.Inbox(ctx, p, status, before, int(limit))
	if err != nil {
		return page, err
	}
	for _, h := range found {
		shown, err := s.Broker.Show(ctx, p, h.Approval.ID, c.now)
		if err != nil {
			return page, err
		}
		view, err := s.approvalView(ctx, shown.Held, nil, mayNot(p, shown, c.now), c.now)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, view)
	}
	if len(found) == int(limit) {
		page.Next = strconv.FormatInt(found[len(found)-1].Approval.CreatedAt.UnixMicro(), 10)
	}
	return page, nil
}

// mayNot says why p may not answer what is shown, or nil.
func mayNot(p user.Principal, shown broker.Shown, now time.Time) error {
	switch ap := shown.Approval; {
	case shown.MayAnswer:
		return nil
	case p.User == "":
		return user.ErrLogin
	case p.MayChange() != nil:
		return p.MayChange()
	case ap.Status == approval.Open && !now.Before(ap.ExpiresAt):
		return approval.ErrExpired
	case ap.Status != approval.Open:
		return approval.ErrNotOpen
	}
	return broker.ErrNotApprover
}

// approvalRef is the approval that the path names.
func (c *call) approvalRef() (id.Approval, error) {
	ref := c.ref("id")
	if !id.Valid("apr", ref) {
		return "", broker.ErrUnknown
	}
	return id.Approval(ref), nil
}

// getApproval is GET /v1/approvals/{id}.
func (s *Server) getApproval(ctx context.Context, p user.Principal, c *call, _ none) (api.Approval, error) {
	ref, err := c.approvalRef()
	if err != nil {
		return api.Approval{}, err
	}
	shown, err := s.Broker.Show(ctx, p, ref, c.now)
	if err != nil {
		return api.Approval{}, err
	}
	return s.approvalView(ctx, shown.Held, shown.Request, mayNot(p, shown, c.now), c.now)
}

// decide is POST /v1/approvals/{id}/decision. Its answers carry the assurance
// of a login: what needs a passkey is answered on the page, where the passkey
// signs what it shows, and the refusal says where that is.
func (s *Server) decide(ctx context.Context, p user.Principal, c *call, in api.Decision) (api.Approval, error) {
	ref, err := c.approvalRef()
	if err != nil {
		return api.Approval{}, err
	}
	seen, err := action.ParseDigest(in.Effect)
	if err != nil {
		return api.Approval{}, invalid("bad_effect", "Send the effect digest of what you saw: 64 hexadecimal characters.")
	}
	v := broker.Verdict{Answer: approval.Answer(in.Decision), Seen: seen, Reason: in.Reason, Channel: "web", Level: approval.Approve}
	if p.Kind == user.CLI {
		v.Channel = "cli"
	}
	if v.Answer != approval.Yes && v.Answer != approval.No {
		return api.Approval{}, invalid("bad_decision", `A decision is "approve" or "deny".`)
	}
	h, err := s.Broker.Decide(ctx, p, ref, v, c.now)
	if f := fault.From(err); err != nil && (f.Reason == approval.ErrPresence.Reason || f.Reason == user.ErrCLI.Reason) {
		shown, missing := s.Broker.Show(ctx, p, ref, c.now)
		if missing != nil {
			return api.Approval{}, err
		}
		return api.Approval{}, fault.New(f.Kind, f.Reason, fmt.Sprintf(
			"This needs your passkey, which is asked for in the browser: open %s and answer there.", s.actionPage(shown.Action))).Because(err)
	}
	if err != nil {
		return api.Approval{}, err
	}
	shown, err := s.Broker.Show(ctx, p, h.Approval.ID, c.now)
	if err != nil {
		return api.Approval{}, err
	}
	return s.approvalView(ctx, shown.Held, shown.Request, mayNot(p, shown, c.now), c.now)
}
