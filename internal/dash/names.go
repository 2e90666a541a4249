package dash

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

var noTime time.Time

// names turns ids into what people call things, once each for one page. What
// cannot be found keeps its id: a page about it is still true.
type names struct {
	s      *Server
	ctx    context.Context //nolint:containedctx // a names lives for one request and is passed nowhere
	people map[id.User]string
	agents map[id.Agent]*agent.Agent
	conns  map[id.Connection]AccountRef
	specs  map[string]*provider.Spec
	acts   map[id.Action]string
}

func (s *Server) names(ctx context.Context) *names {
	return &names{s: s, ctx: ctx, people: map[id.User]string{}, agents: map[id.Agent]*agent.Agent{}, conns: map[id.Connection]AccountRef{}, specs: map[string]*provider.Spec{}, acts: map[id.Action]string{}}
}

func (n *names) person(u id.User) string {
	got, ok := n.people[u]
	if !ok {
		got = string(u)
		if v, err := n.s.Users.Store.User(n.ctx, n.s.Org, u); err == nil {
			got = v.Name
		}
		n.people[u] = got
	}
	return got
}

func (n *names) agent(a id.Agent) AgentRef { return agentRef(n.bot(a)) }

func (n *names) suspended(a id.Agent) bool { return n.bot(a).Status == agent.Suspended }

// bot is an agent; of one that cannot be found nothing but its id is known.
func (n *names) bot(a id.Agent) *agent.Agent {
	got, ok := n.agents[a]
	if !ok {
		v, err := n.s.Manage.Agents.Store.Agent(n.ctx, n.s.Org, a)
		if err != nil {
			v = &agent.Agent{ID: a, Name: string(a)}
		}
		n.agents[a], got = v, v
	}
	return got
}

func agentRef(a *agent.Agent) AgentRef { return AgentRef{string(a.ID), a.Name} }

// forgotten reports whether c is an account at a sandbox of an earlier start:
// that one knew its tokens, the one of now does not.
func (n *names) forgotten(c *vault.Connection) bool {
	known := c.CreatedAt
	if c.RefreshedAt.After(known) {
		known = c.RefreshedAt
	}
	return c.Provider == n.s.Sandbox && c.Provider != "" && c.Status == vault.Active && known.Before(n.s.started)
}

// spec is a provider's, or nil when it is configured no more.
func (n *names) spec(name string) *provider.Spec {
	got, ok := n.specs[name]
	if !ok {
		if p, err := n.s.Manage.Providers.Find(n.ctx, name); err == nil {
			got = p.Spec
		}
		n.specs[name] = got
	}
	return got
}

func (n *names) provider(name string) string {
	if name == n.s.Sandbox && name != "" {
		return "Sandbox"
	}
	if spec := n.spec(name); spec != nil {
		return spec.Name
	}
	return name
}

// account names a connection the way a person knows it.
func (n *names) account(c *vault.Connection) AccountRef {
	return AccountRef{ConnectionID: string(c.ID), Provider: n.provider(c.Provider), Account: c.Account, Sandbox: c.Provider == n.s.Sandbox && c.Provider != ""}
}

func (n *names) connection(con id.Connection) AccountRef {
	got, ok := n.conns[con]
	if !ok {
		got = AccountRef{ConnectionID: string(con), Account: string(con), Provider: "a provider"}
		if v, err := n.s.Manage.Conns.Connection(n.ctx, n.s.Org, con); err == nil {
			got = n.account(v)
		}
		n.conns[con] = got
	}
	return got
}

// operation says what an operation is in a few words.
func (n *names) operation(name string) string {
	if strings.HasSuffix(name, ".token.vend") {
		return "Hand out a token"
	}
	if strings.HasSuffix(name, ".raw.read") {
		return "Read something"
	}
	if strings.HasSuffix(name, ".raw.write") {
		return "Send an unlisted request"
	}
	all, err := n.s.Manage.Providers.All(n.ctx)
	if err != nil {
		return name
	}
	for _, p := range all {
		if op, ok := p.Spec.Operation(name); ok {
			return op.Title
		}
	}
	return name
}

// does says what the action of an event is about: in the words of its own page,
// which name the thing, if it has one.
func (n *names) does(e audit.Event) string {
	act := id.Action(e.Object)
	if e.Data["approval"] == "" || !id.Valid("act", e.Object) {
		return lower(n.operation(e.Data["operation"]))
	}
	got, ok := n.acts[act]
	if !ok {
		if h, err := n.s.Broker.Store.Held(n.ctx, n.s.Org, act); err == nil {
			got = h.Action.Summary
		}
		got = first(got, n.operation(e.Data["operation"]))
		n.acts[act] = got
	}
	return lower(got)
}

// actor says who did something, from the log's name for them.
func (n *names) actor(a string) string {
	kind, which, _ := strings.Cut(a, ":")
	switch kind {
	case "user":
		return n.person(id.User(which))
	case "agent":
		return n.agent(id.Agent(which)).Name
	case "operator":
		return "the operator"
	case "system":
		return "Valetkey"
	case "anonymous":
		return "somebody unknown"
	}
	return a
}

// object says what something was done to.
func (n *names) object(o string) string {
	kind, _, _ := strings.Cut(o, "_")
	switch kind {
	case "usr":
		return n.person(id.User(o))
	case "agt":
		return n.agent(id.Agent(o)).Name
	case "con":
		a := n.connection(id.Connection(o))
		return a.Account + " on " + a.Provider
	}
	return o
}

// sentence begins s with a capital letter.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
