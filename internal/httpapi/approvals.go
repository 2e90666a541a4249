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
		view, err := s.shownView(ctx, shown, false, mayNot(p, shown, c.now), c.now)
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
	if shown.WhyNot != nil {
		return shown.WhyNot
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
	return s.shownView(ctx, shown, true, mayNot(p, shown, c.now), c.now)
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
	v := broker.Verdict{Answer: approval.Answer(in.Decision), Seen: seen, Reason: in.Reason, Channel: "web", Level: approval.Approve, Relief: in.Relief}
	if in.CooldownMinutes < 0 || in.CooldownMinutes > int(broker.MaxCooldown/time.Minute) {
		return api.Approval{}, invalid("bad_cooldown", "A no holds back equal requests for 1 minute to 24 hours.")
	}
	v.Cooldown = time.Duration(in.CooldownMinutes) * time.Minute
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
	return s.shownView(ctx, shown, true, mayNot(p, shown, c.now), c.now)
}

// shownView is approvalView with what concerns the person who looks.
func (s *Server) shownView(ctx context.Context, shown broker.Shown, whole bool, why error, now time.Time) (api.Approval, error) {
	req := shown.Request
	if !whole {
		req = nil
	}
	v, err := s.approvalView(ctx, shown.Held, req, why, now)
	if err != nil {
		return v, err
	}
	p := shown.Approval
	v.Voted, v.CanRelieve, v.Repeats, v.AskAgainAt = shown.Voted, shown.Relievable, p.Repeats, moment(p.CoolUntil)
	if p.Quorum > 1 {
		v.Quorum = p.Quorum
		for _, vote := range p.Votes {
			by := api.Vote{By: string(vote.User), At: moment(vote.At), Level: levelView(vote.Level), Channel: vote.Channel}
			if u, err := s.users().User(ctx, s.Org, vote.User); err == nil {
				by.ByName = u.Name
			}
			v.Votes = append(v.Votes, by)
		}
	}
	return v, nil
}
