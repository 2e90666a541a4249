package httpapi

import (
	"context"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

func reliefView(r *approval.Relief) api.Relief {
	return api.Relief{
		ID: string(r.ID), Agent: string(r.Agent), Connection: string(r.Connection), Operation: r.Operation, Resource: r.Resource,
		By: string(r.By), Approval: string(r.Approval), Most: r.Most, Used: r.Used, CreatedAt: moment(r.CreatedAt),
		ExpiresAt: moment(r.ExpiresAt), RevokedAt: moment(r.RevokedAt),
	}
}

// listReliefs is GET /v1/admin/reliefs, of one agent if wanted: those that have
// not expired.
func (s *Server) listReliefs(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Relief], error) {
	page := list[api.Relief](nil)
	var of id.Agent
	if c.query.Has("agent") {
		a, err := s.Agents.Find(ctx, c.query.Get("agent"))
		if err != nil {
			return page, err
		}
		of = a.ID
	}
	all, err := s.Broker.ListReliefs(ctx, p, of, c.now)
	if err != nil {
		return page, err
	}
	names := s.directory(ctx)
	for _, r := range all {
		v := reliefView(r)
		v.AgentName = names.bot(r.Agent).Name
		page.Items = append(page.Items, v)
	}
	return page, nil
}

// revokeRelief is DELETE /v1/admin/reliefs/{id}.
func (s *Server) revokeRelief(ctx context.Context, p user.Principal, c *call, _ none) (api.Relief, error) {
	ref := c.ref("id")
	if !id.Valid("rlf", ref) {
		return api.Relief{}, approval.ErrReliefUnknown
	}
	r, err := s.Broker.RevokeRelief(ctx, p, id.Relief(ref), c.now)
	if err != nil {
		return api.Relief{}, err
	}
	v := reliefView(r)
	v.AgentName = s.directory(ctx).bot(r.Agent).Name
	return v, nil
}
