package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
)

func (s *Server) agents(ctx context.Context, c *call) (reply, error) {
	chrome, err := s.chrome(ctx, c, "Agents", "agents")
	if err != nil {
		return reply{}, err
	}
	all, err := s.Manage.ListAgents(ctx, c.who)
	if err != nil {
		return reply{}, err
	}
	n := s.names(ctx)
	v := AgentsPage{Chrome: chrome, New: AgentForm{Profile: string(agent.Strict)}}
	for _, a := range all {
		state, own := s.agentState(a)
		row := AgentRow{AgentRef: agentRef(a), State: state, Profile: string(a.Profile), CanFreeze: !own && mayFreeze(c.who, a)}
		keys, err := s.Manage.Agents.Store.Keys().OfAgent(ctx, s.Org, a.ID)
		if err != nil {
			return reply{}, err
		}
		for _, k := range keys {
			if k.Status == agent.KeyActive {
				row.Keys++
			}
		}
		grants, err := s.grantsOf(ctx, c, a.ID)
		if err != nil {
			return reply{}, err
		}
		for _, g := range grants {
			if g.Live(c.now) == nil {
				row.Grants = append(row.Grants, inShort(n, g))
			}
		}
		if row.LastSeenAt, _, err = s.seen(ctx, a.ID); err != nil {
			return reply{}, err
		}
		v.Agents = append(v.Agents, row)
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Agents(w, v) }}, nil
}

func (s *Server) agent(ctx context.Context, c *call) (reply, error) {
	a, keys, err := s.Manage.Agent(ctx, c.who, c.http.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	chrome, err := s.chrome(ctx, c, a.Name, "agents")
	if err != nil {
		return reply{}, err
	}
	n := s.names(ctx)
	v := AgentPage{
		Chrome: chrome, Agent: agentRef(a), Profile: string(a.Profile), Owner: n.person(a.Owner), CreatedAt: a.CreatedAt,
	}
	state, own := s.agentState(a)
	v.State, v.Suspended, v.CanFreeze = state, a.Status == agent.Suspended, !own && mayFreeze(c.who, a)
	for _, p := range a.Sources {
		v.Sources = append(v.Sources, p.String())
	}
	if v.LastSeenAt, v.LastSource, err = s.seen(ctx, a.ID); err != nil {
		return reply{}, err
	}
	slices.SortStableFunc(keys, func(a, b *agent.Key) int { return strings.Compare(string(a.Status), string(b.Status)) })
	for _, k := range keys {
		state := "active"
		if k.Status != agent.KeyActive {
			state = "retired"
		}
		v.Keys = append(v.Keys, Key{ID: string(k.ID), Kind: keyKind(k.Alg), Thumbprint: k.KID, State: state, CreatedAt: k.CreatedAt})
	}
	grants, err := s.grantsOf(ctx, c, a.ID)
	if err != nil {
		return reply{}, err
	}
	for _, g := range grants {
		v.Grants = append(v.Grants, grantView(n, g, c.now))
	}
	slices.SortStableFunc(v.Grants, func(a, b Grant) int { return strings.Compare(a.State, b.State) }) // "active" is first
	if v.Reliefs, err = s.reliefs(ctx, c, n, a.ID); err != nil {
		return reply{}, err
	}
	if err := s.grantable(ctx, c, n, &v); err != nil {
		return reply{}, err
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Agent(w, v) }}, nil
}

// keyKind names a key the way people do.
func keyKind(alg string) string {
	switch alg {
	case "ES256":
		return "P-256"
	case "EdDSA", "Ed25519":
		return "Ed25519"
	}
	return "RSA (" + alg + ")"
}

type newAgent struct {
	Name      string `json:"name"`
	PublicKey string `json:"public_key"`
	Profile   string `json:"profile"`
	Sources   string `json:"sources"`
}

func (s *Server) addAgent(ctx context.Context, c *call, req newAgent) (reply, error) {
	from, err := sources(req.Sources)
	if err != nil {
		return reply{}, err
	}
	a, _, err := s.Manage.RegisterAgent(ctx, c.who, agent.Registration{
		Name: strings.TrimSpace(req.Name), Profile: agent.Profile(req.Profile), Sources: from, Key: []byte(strings.TrimSpace(req.PublicKey)),
	}, c.now)
	if err != nil {
		return reply{}, err
	}
	return reply{to: "/agents/" + string(a.ID)}, nil
}

// sources reads networks, one on a line; an address is a network of one.
func sources(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' || r == ' ' || r == '\t' }) {
		p, err := netip.ParsePrefix(word)
		if addr, other := netip.ParseAddr(word); other == nil {
			addr = addr.Unmap().WithZone("")
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || len(out) == 100 {
			return nil, fault.New(fault.Invalid, "bad_source", fmt.Sprintf("%.60q is not a network; write one on a line, such as 203.0.113.0/24 or 203.0.113.7.", word))
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (s *Server) toAgent(c *call, done string, err error) (reply, error) {
	to := "/agents/" + c.http.PathValue("id")
	if done != "" {
		to += "?done=" + done
	}
	return reply{to: to}, err
}

func (s *Server) suspendAgent(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	return s.toAgent(c, "", s.Manage.SuspendAgent(ctx, c.who, c.http.PathValue("id"), c.now))
}

// confirmed is a form that a touch of the passkey came with, or nothing else.
type confirmed struct {
	Assertion json.RawMessage `json:"assertion"`
}

var errNotSuspended = fault.New(fault.Conflict, "not_suspended", "This agent is not suspended; reload the page.")

// resumeAgent ends a suspension. A freeze is lifted by itself.
func (s *Server) resumeAgent(ctx context.Context, c *call, req confirmed) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	a, _, err := s.Manage.Agent(ctx, c.who, c.http.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	if a.Status != agent.Suspended {
		return reply{}, errNotSuspended
	}
	return s.toAgent(c, "", s.Manage.ResumeAgent(ctx, c.who, string(a.ID), c.now))
}

type agentFreeze struct {
	Back string `json:"back"` // "list" where the button stood there
}

// freezeAgent stops one agent at once: nothing is asked first, because what it
// stops can only go on by a touch of an owner's passkey anyway.
func (s *Server) freezeAgent(ctx context.Context, c *call, req agentFreeze) (reply, error) {
	if _, err := s.Manage.Freeze(ctx, c.who, freeze.Agent, c.http.PathValue("id"), "", c.now); err != nil {
		return reply{}, err
	}
	if req.Back == "list" {
		return reply{to: "/agents?done=frozen"}, nil
	}
	return s.toAgent(c, "frozen", nil)
}

type newKey struct {
	PublicKey string `json:"public_key"`
}

func (s *Server) addKey(ctx context.Context, c *call, req newKey) (reply, error) {
	_, err := s.Manage.AddKey(ctx, c.who, c.http.PathValue("id"), []byte(strings.TrimSpace(req.PublicKey)), "", c.now)
	return s.toAgent(c, "key", err)
}

var errKey = fault.New(fault.NotFound, "key_not_found", "This agent has no such key.")

func (s *Server) retireKey(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	key := c.http.PathValue("key")
	if !id.Valid("key", key) {
		return reply{}, errKey
	}
	return s.toAgent(c, "retired", s.Manage.RevokeKey(ctx, c.who, c.http.PathValue("id"), id.Key(key), c.now))
}

type freezeRequest struct {
	Reason string `json:"reason"`
}

func (s *Server) freeze(ctx context.Context, c *call, req freezeRequest) (reply, error) {
	if _, err := s.Manage.Freeze(ctx, c.who, freeze.All, "", strings.TrimSpace(req.Reason), c.now); err != nil {
		return reply{}, err
	}
	return reply{to: "/inbox"}, nil
}

type unfreezeRequest struct {
	ID        string          `json:"id"` // which one; all that stop everything if empty
	Assertion json.RawMessage `json:"assertion"`
}

var errNotFrozen = fault.New(fault.Conflict, "not_frozen", "This is not frozen any more; reload the page.")

func (s *Server) unfreeze(ctx context.Context, c *call, req unfreezeRequest) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	lifted := false
	for _, f := range s.Manage.Freezes.Active() {
		if f.Org != s.Org || req.ID == "" && f.Kind != freeze.All || req.ID != "" && string(f.ID) != req.ID {
			continue
		}
		if err := s.Manage.Unfreeze(ctx, c.who, f.ID, c.now); err != nil {
			return reply{}, err
		}
		lifted = true
	}
	if !lifted {
		return reply{}, errNotFrozen
	}
	return reply{to: "/inbox?done=unfrozen"}, nil
}
