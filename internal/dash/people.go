package dash

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// people is the page about everybody, for those who manage or audit.
func (s *Server) people(ctx context.Context, c *call) (reply, error) {
	v, err := s.peopleView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.People(w, v) }}, err
}

func (s *Server) peopleView(ctx context.Context, c *call) (PeoplePage, error) {
	links, err := s.Users.Links(ctx, c.who, c.now)
	if err != nil {
		return PeoplePage{}, err
	}
	chrome, err := s.chrome(ctx, c, "People", "")
	if err != nil {
		return PeoplePage{}, err
	}
	v := PeoplePage{Chrome: chrome, Manages: c.who.Role.Manages(), Rules: c.who.Role == user.Owner, Roles: []string{string(user.Member), string(user.Admin), string(user.Auditor)}}
	if v.Rules {
		v.Roles = append(v.Roles, string(user.Owner))
	}
	all, err := s.Users.Store.Users(ctx, s.Org)
	if err != nil {
		return v, err
	}
	for _, u := range all {
		row := PersonRow{
			ID: string(u.ID), Name: u.Name, Role: string(u.Role), Status: string(u.Status), CreatedAt: u.CreatedAt, Self: u.ID == c.who.User,
			Touchable: v.Manages && (u.Role != user.Owner || v.Rules),
		}
		keys, err := s.Users.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
		if err != nil {
			return v, err
		}
		identities, err := s.Users.Store.Passkeys().Identities(ctx, s.Org, u.ID)
		if err != nil {
			return v, err
		}
		row.Passkeys, row.Identities = len(keys), len(identities)
		for _, l := range links[u.ID] {
			if l.ExpiresAt.After(row.Invited) {
				row.Invited = l.ExpiresAt
			}
		}
		v.People = append(v.People, row)
	}
	return v, nil
}

// personOf is the person that a path names. Who may not manage learns nothing
// about who is here.
func personOf(c *call) (id.User, error) {
	if !c.who.Role.Manages() {
		return "", user.ErrNotOwner
	}
	ref := c.http.PathValue("id")
	if !id.Valid("usr", ref) {
		return "", user.ErrUnknown
	}
	return id.User(ref), nil
}

type invitation struct {
	Name      string          `json:"name"`
	Role      string          `json:"role"`
	Assertion json.RawMessage `json:"assertion"`
}

// invite adds a person, and shows the link by which they enrol, once.
func (s *Server) invite(ctx context.Context, c *call, req invitation) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	_, link, err := s.Users.Create(ctx, c.who, strings.TrimSpace(req.Name), user.Role(req.Role), c.now)
	if err != nil {
		return reply{}, err
	}
	return shown("link", s.enrolURL(link))
}

// enrolURL is the page behind an enrolment link, which is as secret as the link.
func (s *Server) enrolURL(link secret.Text) secret.Text {
	return secret.New(s.PublicURL + "enrol/" + link.Reveal())
}

// link makes another enrolment link for somebody, and shows it once.
func (s *Server) link(ctx context.Context, c *call, req confirmed) (reply, error) {
	who, err := personOf(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	link, err := s.Users.NewLink(ctx, c.who, who, c.now)
	if err != nil {
		return reply{}, err
	}
	return shown("link", s.enrolURL(link))
}

func (s *Server) voidLinks(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	who, err := personOf(c)
	if err != nil {
		return reply{}, err
	}
	_, err = s.Users.VoidLinks(ctx, c.who, who, c.now)
	return reply{to: "/people"}, err
}

type roleChosen struct {
	Role      string          `json:"role"`
	Assertion json.RawMessage `json:"assertion"`
}

func (s *Server) setRole(ctx context.Context, c *call, req roleChosen) (reply, error) {
	who, err := personOf(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	return reply{to: "/people"}, s.Users.SetRole(ctx, c.who, who, user.Role(req.Role), c.now)
}

func (s *Server) suspendPerson(ctx context.Context, c *call, req confirmed) (reply, error) {
	return s.setStatus(ctx, c, user.Suspended, req)
}

func (s *Server) resumePerson(ctx context.Context, c *call, req confirmed) (reply, error) {
	return s.setStatus(ctx, c, user.Active, req)
}

func (s *Server) setStatus(ctx context.Context, c *call, to user.Status, req confirmed) (reply, error) {
	who, err := personOf(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	return reply{to: "/people"}, s.Users.SetStatus(ctx, c.who, who, to, c.now)
}
