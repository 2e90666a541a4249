package httpapi

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// directory says in people's words what the ids in an answer stand for, and
// what is frozen. It decides nothing about who may see what: it is asked about
// things that the answer shows anyway, and reads those and no others. What is
// gone has no name, and what cannot be read is a name less: an answer about a
// change that was made is not lost for it.
type directory struct {
	bot    func(id.Agent) agent.Agent
	conn   func(id.Connection) vault.Connection
	person func(id.User) user.User
	frozen []freeze.Freeze
}

func (s *Server) directory(ctx context.Context) directory {
	return directory{
		bot: remembered(ctx, s, s.Agents.Store.Agent), conn: remembered(ctx, s, s.conns().Connection), person: remembered(ctx, s, s.users().User),
		frozen: s.Manage.Freezes.Active(),
	}
}

// remembered reads each thing once.
func remembered[K comparable, V any](ctx context.Context, s *Server, read func(context.Context, id.Org, K) (*V, error)) func(K) V {
	known := map[K]V{}
	return func(k K) V {
		v, ok := known[k]
		if ok {
			return v
		}
		found, err := read(ctx, s.Org, k)
		if err == nil {
			v = *found
		} else if fault.From(err).Kind != fault.NotFound {
			s.Log.WarnContext(ctx, "a name not read for an answer", slog.Any("error", err))
		}
		known[k] = v
		return v
	}
}

// stopped reports whether a freeze holds for that agent, connection or person.
func (d directory) stopped(a id.Agent, c id.Connection, u id.User) bool {
	return slices.ContainsFunc(d.frozen, func(f freeze.Freeze) bool { return f.Hits(a, c, u) })
}

func (d directory) agent(v api.Agent) api.Agent {
	v.OwnerName, v.Frozen = d.person(id.User(v.Owner)).Name, d.stopped(id.Agent(v.ID), "", "")
	return v
}

func (d directory) connection(v api.Connection) api.Connection {
	v.UserName, v.Frozen = d.person(id.User(v.User)).Name, d.stopped("", id.Connection(v.ID), id.User(v.User))
	return v
}

func (d directory) grant(v api.Grant) api.Grant {
	c := d.conn(id.Connection(v.Connection))
	v.AgentName, v.ConnectionName, v.Provider, v.Account = d.bot(id.Agent(v.Agent)).Name, c.Name, c.Provider, c.Account
	return v
}

func (d directory) freeze(v api.Freeze) api.Freeze {
	switch freeze.Kind(v.Kind) {
	case freeze.Agent:
		v.TargetName = d.bot(id.Agent(v.Target)).Name
	case freeze.Connection:
		v.TargetName = d.conn(id.Connection(v.Target)).Name
	case freeze.User:
		v.TargetName = d.person(id.User(v.Target)).Name
	case freeze.All:
	}
	if by, ok := strings.CutPrefix(v.By, "user:"); ok {
		v.ByName = d.person(id.User(by)).Name
	}
	return v
}
