package httpapi

import (
	"context"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// me is GET /v1/me.
func (s *Server) me(ctx context.Context, p user.Principal, c *call, _ none) (api.Me, error) {
	v := api.Me{Kind: string(p.Kind), AuthAt: moment(p.AuthAt), Changes: p.Fresh(c.now) == nil}
	if p.Operator {
		v.Kind, v.UID = "operator", &p.UID
		return v, nil
	}
	u, err := s.person(ctx, p.User)
	v.User = &u
	return v, err
}

// person is a user with how many passkeys they have.
func (s *Server) person(ctx context.Context, who id.User) (api.User, error) {
	u, err := s.users().User(ctx, s.Org, who)
	if err != nil {
		return api.User{}, err
	}
	return s.withPasskeys(ctx, u)
}

func (s *Server) withPasskeys(ctx context.Context, u *user.User) (api.User, error) {
	keys, err := s.users().Passkeys().OfUser(ctx, s.Org, u.ID)
	return userView(u, len(keys)), err
}

// listUsers is GET /v1/admin/users. Who may not look at everybody sees
// themselves.
func (s *Server) listUsers(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.User], error) {
	page := list[api.User](nil)
	var links map[id.User][]*user.Link
	if mayLook(p) == nil {
		var err error
		if links, err = s.Users.Links(ctx, p, c.now); err != nil {
			return page, err
		}
	}
	all, err := s.users().Users(ctx, s.Org)
	if err != nil {
		return page, err
	}
	for _, u := range all {
		if mayLook(p) != nil && u.ID != p.User {
			continue
		}
		v, err := s.withPasskeys(ctx, u)
		if err != nil {
			return page, err
		}
		for _, l := range links[u.ID] {
			if l.ExpiresAt.After(v.LinkExpiresAt) {
				v.LinkExpiresAt = moment(l.ExpiresAt)
			}
		}
		page.Items = append(page.Items, v)
	}
	return page, nil
}

// find resolves an id or a name to a person, for those who may look; anybody
// finds themselves.
func (s *Server) find(ctx context.Context, p user.Principal, ref string) (*user.User, error) {
	all, err := s.users().Users(ctx, s.Org)
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		if string(u.ID) == ref || u.Name == ref {
			if mayLook(p) == nil || u.ID == p.User {
				return u, nil
			}
		}
	}
	if err := mayLook(p); err != nil {
		return nil, err // whether there is such a person is not for them
	}
	return nil, user.ErrUnknown
}

// ownerOf is whose something is that p makes: the person that ref names, or p;
// for the operator, who owns nothing, the only person there is.
func (s *Server) ownerOf(ctx context.Context, p user.Principal, ref string) (id.User, error) {
	if ref != "" {
		u, err := s.find(ctx, p, ref)
		if err != nil {
			return "", err
		}
		return u.ID, nil
	}
	if !p.Operator {
		return p.User, nil
	}
	all, err := s.users().Users(ctx, s.Org)
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", fault.New(fault.Invalid, "bad_owner", "The operator owns nothing: say whose it is, with the id or name of a person.")
	}
	return all[0].ID, nil
}

// createUser is POST /v1/admin/users.
func (s *Server) createUser(ctx context.Context, p user.Principal, c *call, in api.UserRequest) (created[api.UserCreated], error) {
	role := user.Role(in.Role)
	if role == "" {
		role = user.Member
	}
	u, link, err := s.Users.Create(ctx, p, in.Name, role, c.now)
	if err != nil {
		return created[api.UserCreated]{}, err
	}
	return created[api.UserCreated]{value: s.invited(userView(u, 0), link, c)}, nil
}

func (s *Server) invited(u api.User, link secret.Text, c *call) api.UserCreated {
	return api.UserCreated{User: u, EnrolmentURL: s.EnrolURL(link), ExpiresAt: moment(c.now.Add(user.LinkTTL))}
}

// enrolLink is POST /v1/admin/users/{ref}/enrol-link.
func (s *Server) enrolLink(ctx context.Context, p user.Principal, c *call, _ none) (created[api.UserCreated], error) {
	u, err := s.find(ctx, p, c.ref("ref"))
	if err != nil {
		return created[api.UserCreated]{}, err
	}
	link, err := s.Users.NewLink(ctx, p, u.ID, c.now)
	if err != nil {
		return created[api.UserCreated]{}, err
	}
	v, err := s.withPasskeys(ctx, u)
	return created[api.UserCreated]{value: s.invited(v, link, c)}, err
}

// changeUser is PATCH /v1/admin/users/{ref}: one change at a time, so that none
// is left half done.
func (s *Server) changeUser(ctx context.Context, p user.Principal, c *call, in api.UserChange) (api.User, error) {
	changes := 0
	for _, v := range []string{in.Name, in.Status, in.Role} {
		if v != "" {
			changes++
		}
	}
	if changes != 1 {
		return api.User{}, errOneChange
	}
	u, err := s.find(ctx, p, c.ref("ref"))
	if err != nil {
		return api.User{}, err
	}
	switch {
	case in.Name != "":
		err = s.Users.Rename(ctx, p, u.ID, in.Name, c.now)
	case in.Role != "":
		err = s.Users.SetRole(ctx, p, u.ID, user.Role(in.Role), c.now)
	default:
		err = s.Users.SetStatus(ctx, p, u.ID, user.Status(in.Status), c.now)
	}
	if err != nil {
		return api.User{}, err
	}
	return s.person(ctx, u.ID)
}

var errOneChange = invalid("one_change", "Name exactly one change; several need several requests, so that none is left half done.")
