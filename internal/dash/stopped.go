package dash

import (
	"cmp"
	"slices"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// freezes are those in force here, the widest first.
func (s *Server) freezes() []freeze.Freeze {
	all := slices.DeleteFunc(s.Manage.Freezes.Active(), func(f freeze.Freeze) bool { return f.Org != s.Org })
	width := []freeze.Kind{freeze.All, freeze.User, freeze.Agent, freeze.Connection}
	slices.SortFunc(all, func(a, b freeze.Freeze) int {
		return cmp.Or(slices.Index(width, a.Kind)-slices.Index(width, b.Kind), a.At.Compare(b.At))
	})
	return all
}

// stops says in a sentence what keeps a from running, or "". It is for telling:
// the broker judges again by itself before anything is sent.
func (s *Server) stops(n *names, a *action.Action) string {
	for _, f := range s.freezes() {
		if f.Hits(a.Agent, a.Connection, a.User) {
			return n.frozen(f) + " is frozen."
		}
	}
	if n.suspended(a.Agent) {
		return "The agent " + n.agent(a.Agent).Name + " is suspended."
	}
	return ""
}

// frozen names what a freeze stops, as the beginning of a sentence.
func (n *names) frozen(f freeze.Freeze) string {
	switch f.Kind {
	case freeze.Agent:
		return "The agent " + n.agent(id.Agent(f.Target)).Name
	case freeze.Connection:
		a := n.connection(id.Connection(f.Target))
		return "The connection " + a.Account + " on " + a.Provider
	case freeze.User:
		return "Everything of " + n.person(id.User(f.Target))
	}
	return "Everything"
}

// agentState is what holds for an agent, whoever stopped it: a freeze is
// stronger than its status. own says whether that is a freeze of this agent.
func (s *Server) agentState(a *agent.Agent) (state string, own bool) {
	state = string(a.Status)
	for _, f := range s.freezes() {
		switch {
		case f.Kind == freeze.All:
			state = "frozen"
		case f.Kind == freeze.Agent && f.Target == string(a.ID):
			state, own = "frozen", true
		}
	}
	return state, own
}

// mayFreeze says whether p is offered to freeze a. The rule is the service's.
func mayFreeze(p user.Principal, a *agent.Agent) bool { return p.Role.Manages() || a.Owner == p.User }
