package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
)

// directory says in people's words what the ids in an answer stand for, and
// what is frozen. It decides nothing about who may see what: it is asked about
// things that the answer shows anyway. What is gone has no name, and what
// cannot be read is a name less: an answer about a change that was made is not
// lost for it.
type directory struct {
	agents map[id.Agent]string
	conns  map[id.Connection]*vault.Connection
	people map[id.User]string
	frozen []freeze.Freeze
}

func (s *Server) directory(ctx context.Context) directory {
	d := directory{agents: map[id.Agent]string{}, conns: map[id.Connection]*vault.Connection{}, people: map[id.User]string{}, frozen: s.Manage.Freezes.Active()}
	agents, agentsErr := s.Agents.Store.Agents(ctx, s.Org)
	for _, a := range agents {
		d.agents[a.ID] = a.Name
	}
	conns, connsErr := s.conns().Connections(ctx, s.Org)
	for _, c := range conns {
		d.conns[c.ID] = c
	}
	people, peopleErr := s.users().Users(ctx, s.Org)
	for _, u := range people {
		d.people[u.ID] = u.Name
	}
	if err := errors.Join(agentsErr, connsErr, peopleErr); err != nil {
		s.Log.WarnContext(ctx, "names not read for an answer", slog.Any("error", err))
	}
	return d
}

// stopped reports whether a freeze holds for that agent, connection or person.
func (d directory) stopped(a id.Agent, c id.Connection, u id.User) bool {
	return slices.ContainsFunc(d.frozen, func(f freeze.Freeze) bool { return f.Hits(a, c, u) })
}

func (d directory) agent(v api.Agent) api.Agent {
	v.OwnerName, v.Frozen = d.people[id.User(v.Owner)], d.stopped(id.Agent(v.ID), "", "")
	return v
}

func (d directory) connection(v api.Connection) api.Connection {
	v.UserName, v.Frozen = d.people[id.User(v.User)], d.stopped("", id.Connection(v.ID), id.User(v.User))
	return v
}

func (d directory) grant(v api.Grant) api.Grant {
	v.AgentName = d.agents[id.Agent(v.Agent)]
	if c := d.conns[id.Connection(v.Connection)]; c != nil {
		v.ConnectionName, v.Provider, v.Account = c.Name, c.Provider, c.Account
	}
	return v
}

func (d directory) freeze(v api.Freeze) api.Freeze {
	switch freeze.Kind(v.Kind) {
	case freeze.Agent:
		v.TargetName = d.agents[id.Agent(v.Target)]
	case freeze.Connection:
		if c := d.conns[id.Connection(v.Target)]; c != nil {
			v.TargetName = c.Name
		}
	case freeze.User:
		v.TargetName = d.people[id.User(v.Target)]
	case freeze.All:
	}
	if by, ok := strings.CutPrefix(v.By, "user:"); ok {
		v.ByName = d.people[id.User(by)]
	}
	return v
}
