package dash

import (
	"context"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/id"
)

// reliefs are those of an agent that let something through, as far as this
// person may look at them.
func (s *Server) reliefs(ctx context.Context, c *call, n *names, a id.Agent) ([]Relief, error) {
	all, err := s.Broker.ListReliefs(ctx, c.who, a, c.now)
	if err != nil {
		return nil, err
	}
	var out []Relief
	for _, r := range all {
		if !r.Live(c.now) {
			continue
		}
		out = append(out, Relief{
			ID: string(r.ID), Account: n.connection(r.Connection), Operation: r.Operation, Resource: r.Resource, By: n.person(r.By),
			Most: r.Most, Used: r.Used, ExpiresAt: r.ExpiresAt,
		})
	}
	return out, nil
}

func (s *Server) revokeRelief(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("rlf", ref) {
		return reply{}, approval.ErrReliefUnknown
	}
	r, err := s.Broker.RevokeRelief(ctx, c.who, id.Relief(ref), c.now)
	if err != nil {
		return reply{}, err
	}
	return reply{to: "/agents/" + string(r.Agent) + "?done=revoked"}, nil
}
