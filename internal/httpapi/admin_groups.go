package httpapi

import (
	"context"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// groupView names the members where they are still here.
func (s *Server) groupView(ctx context.Context, g *user.Group) api.Group {
	v := api.Group{ID: string(g.ID), Name: g.Name, Members: []api.Member{}, CreatedAt: moment(g.CreatedAt)}
	for _, m := range g.Members {
		member := api.Member{ID: string(m)}
		if u, err := s.users().User(ctx, s.Org, m); err == nil {
			member.Name = u.Name
		}
		v.Members = append(v.Members, member)
	}
	return v
}

// listGroups is GET /v1/admin/groups, for those who may look at people.
func (s *Server) listGroups(ctx context.Context, p user.Principal, _ *call, _ none) (api.Page[api.Group], error) {
	page := list[api.Group](nil)
	if err := mayLook(p); err != nil {
		return page, err
	}
	all, err := s.users().Groups().Groups(ctx, s.Org)
	if err != nil {
		return page, err
	}
	for _, g := range all {
		page.Items = append(page.Items, s.groupView(ctx, g))
	}
	return page, nil
}

// createGroup is POST /v1/admin/groups.
func (s *Server) createGroup(ctx context.Context, p user.Principal, c *call, in api.GroupRequest) (created[api.Group], error) {
	if err := p.MayManage(); err != nil {
		return created[api.Group]{}, err // whoever may not learns nothing about people
	}
	var members []id.User
	for _, ref := range in.Members {
		u, err := s.find(ctx, p, ref)
		if err != nil {
			return created[api.Group]{}, err
		}
		members = append(members, u.ID)
	}
	g, err := s.Users.CreateGroup(ctx, p, in.Name, members, c.now)
	if err != nil {
		return created[api.Group]{}, err
	}
	return created[api.Group]{value: s.groupView(ctx, g)}, nil
}

// changeGroup is PATCH /v1/admin/groups/{name}: one person at a time.
func (s *Server) changeGroup(ctx context.Context, p user.Principal, c *call, in api.GroupChange) (api.Group, error) {
	if (in.Add != "") == (in.Remove != "") {
		return api.Group{}, errOneChange
	}
	if err := p.MayManage(); err != nil {
		return api.Group{}, err
	}
	u, err := s.find(ctx, p, in.Add+in.Remove)
	if err != nil {
		return api.Group{}, err
	}
	g, err := s.Users.SetMember(ctx, p, c.ref("name"), u.ID, in.Add != "", c.now)
	if err != nil {
		return api.Group{}, err
	}
	return s.groupView(ctx, g), nil
}
