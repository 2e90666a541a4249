package httpapi

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// listAgents is GET /v1/admin/agents.
func (s *Server) listAgents(ctx context.Context, p user.Principal, _ *call, _ none) (api.Page[api.Agent], error) {
	page := list[api.Agent](nil)
	all, err := s.Manage.ListAgents(ctx, p)
	if err != nil {
		return page, err
	}
	names := s.directory(ctx)
	for _, a := range all {
		page.Items = append(page.Items, names.agent(agentView(a, nil)))
	}
	return page, nil
}

// getAgent is GET /v1/admin/agents/{ref}.
func (s *Server) getAgent(ctx context.Context, p user.Principal, c *call, _ none) (api.Agent, error) {
	return s.agent(ctx, p, c.ref("ref"))
}

func (s *Server) agent(ctx context.Context, p user.Principal, ref string) (api.Agent, error) {
	a, keys, err := s.Manage.Agent(ctx, p, ref)
	if err != nil {
		return api.Agent{}, err
	}
	return s.directory(ctx).agent(agentView(a, keys)), nil
}

// registerAgent is POST /v1/admin/agents.
func (s *Server) registerAgent(ctx context.Context, p user.Principal, c *call, in api.AgentRequest) (created[api.Agent], error) {
	sources, err := networks(in.Sources)
	if err != nil {
		return created[api.Agent]{}, err
	}
	owner, err := s.ownerOf(ctx, p, in.Owner)
	if err != nil {
		return created[api.Agent]{}, err
	}
	a, k, err := s.Manage.RegisterAgent(ctx, p, agent.Registration{
		Name: in.Name, Owner: owner, Profile: agent.Profile(in.Profile), Sources: sources, Key: []byte(in.Key), Alg: in.Alg,
	}, c.now)
	if err != nil {
		return created[api.Agent]{}, err
	}
	return created[api.Agent]{s.directory(ctx).agent(agentView(a, []*agent.Key{k})), "/v1/admin/agents/" + string(a.ID)}, nil
}

// networks reads CIDRs and single addresses.
func networks(texts []string) ([]netip.Prefix, error) {
	if len(texts) > 100 {
		return nil, invalid("bad_source", "An agent has at most 100 networks.")
	}
	var out []netip.Prefix
	for _, t := range texts {
		p, err := netip.ParsePrefix(t)
		if a, single := netip.ParseAddr(t); single == nil && a.Zone() == "" {
			p, err = a.Unmap().Prefix(a.Unmap().BitLen())
		}
		if err != nil {
			return nil, invalid("bad_source", fmt.Sprintf("%.60q is no network; write 203.0.113.0/24, or a single address.", t))
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// changeAgent is PATCH /v1/admin/agents/{ref}: one change at a time.
func (s *Server) changeAgent(ctx context.Context, p user.Principal, c *call, in api.AgentChange) (api.Agent, error) {
	named := 0
	for _, there := range []bool{in.Status != "", in.Profile != "", len(in.Sources) > 0} {
		if there {
			named++
		}
	}
	if named != 1 {
		return api.Agent{}, errOneChange
	}
	ref := c.ref("ref")
	var err error
	switch {
	case in.Status == string(agent.Suspended):
		err = s.Manage.SuspendAgent(ctx, p, ref, c.now)
	case in.Status == string(agent.Active):
		err = s.Manage.ResumeAgent(ctx, p, ref, c.now)
	case in.Status != "":
		err = invalid("bad_status", "The status is active or suspended.")
	case in.Profile != "":
		err = s.Manage.SetProfile(ctx, p, ref, agent.Profile(in.Profile), c.now)
	default:
		var from []netip.Prefix
		if from, err = networks(in.Sources); err == nil {
			err = s.Manage.AllowSources(ctx, p, ref, from, c.now)
		}
	}
	if err != nil {
		return api.Agent{}, err
	}
	return s.agent(ctx, p, ref)
}

// listKeys is GET /v1/admin/agents/{ref}/keys.
func (s *Server) listKeys(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.AgentKey], error) {
	page := list[api.AgentKey](nil)
	_, keys, err := s.Manage.Agent(ctx, p, c.ref("ref"))
	for _, k := range keys {
		page.Items = append(page.Items, keyView(k))
	}
	return page, err
}

// addKey is POST /v1/admin/agents/{ref}/keys.
func (s *Server) addKey(ctx context.Context, p user.Principal, c *call, in api.AgentKeyRequest) (created[api.AgentKey], error) {
	k, err := s.Manage.AddKey(ctx, p, c.ref("ref"), []byte(in.Key), in.Alg, c.now)
	if err != nil {
		return created[api.AgentKey]{}, err
	}
	return created[api.AgentKey]{value: keyView(k)}, nil
}

// revokeKey is DELETE /v1/admin/agents/{ref}/keys/{id}.
func (s *Server) revokeKey(ctx context.Context, p user.Principal, c *call, _ none) (api.AgentKey, error) {
	missing := fault.New(fault.NotFound, "key_not_found", "This agent has no such key.")
	ref := id.Key(c.ref("id"))
	_, keys, err := s.Manage.Agent(ctx, p, c.ref("ref"))
	if err != nil {
		return api.AgentKey{}, err
	}
	if !slices.ContainsFunc(keys, func(k *agent.Key) bool { return k.ID == ref }) {
		return api.AgentKey{}, missing
	}
	if err := s.Manage.RevokeKey(ctx, p, c.ref("ref"), ref, c.now); err != nil {
		return api.AgentKey{}, err
	}
	_, keys, err = s.Manage.Agent(ctx, p, c.ref("ref"))
	for _, k := range keys {
		if k.ID == ref {
			return keyView(k), err
		}
	}
	return api.AgentKey{}, missing
}
