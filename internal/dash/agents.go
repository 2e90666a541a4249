package dash

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
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
		state, _ := s.agentState(a)
		row := AgentRow{AgentRef: agentRef(a), State: state, Profile: string(a.Profile)}
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

// grantsOf are the grants of an agent that this person may look at: those on
// connections of theirs, or all of them.
func (s *Server) grantsOf(ctx context.Context, c *call, a id.Agent) ([]*grant.Grant, error) {
	all, err := s.Manage.Grants.OfAgent(ctx, s.Org, a)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(g *grant.Grant) bool { return !seesAll(c.who) && g.User != c.who.User }), nil
}

func inShort(n *names, g *grant.Grant) string {
	a := n.connection(g.Connection)
	what := plural(len(g.Operations), "operation", "operations")
	switch {
	case slices.Contains(g.Operations, "*"):
		what = "everything"
	case len(g.Operations) == 1:
		what = g.Operations[0]
	}
	if len(g.Resources) > 0 {
		what += " on " + strings.Join(g.Resources[:min(len(g.Resources), 3)], ", ")
		if more := len(g.Resources) - 3; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
	}
	return a.Account + " on " + a.Provider + ": " + what
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
	v.State, v.CanResume = s.agentState(a)
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

func grantView(n *names, g *grant.Grant, now time.Time) Grant {
	v := Grant{
		ID: string(g.ID), Account: n.connection(g.Connection), Operations: g.Operations, Resources: g.Resources, Mode: string(g.Mode),
		State: "active", ExpiresAt: g.ExpiresAt,
	}
	if slices.Contains(g.Operations, "*") {
		v.Operations = nil
	}
	switch {
	case !g.RevokedAt.IsZero():
		v.State = "revoked"
	case g.Live(now) != nil:
		v.State = "expired"
	}
	return v
}

// grantable fills in what this person could grant: accounts of their own, and
// what can be done with them.
func (s *Server) grantable(ctx context.Context, c *call, n *names, v *AgentPage) error {
	cons, err := s.Manage.ListConnections(ctx, c.who)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, con := range cons {
		if con.User != c.who.User || con.Status == vault.Revoked || c.who.MayActFor(con.User) != nil {
			continue
		}
		shown := Connection{ID: string(con.ID), Account: n.account(con)}
		spec := n.spec(con.Provider)
		if spec != nil {
			shown.Spec = spec.RawRead() // the same for all providers that share a catalogue
		}
		v.Connections = append(v.Connections, shown)
		if spec == nil || seen[shown.Spec] {
			continue
		}
		seen[shown.Spec] = true
		group := OperationGroup{Spec: shown.Spec, Areas: areas(spec)}
		v.Operations = append(v.Operations, group)
	}
	return nil
}

// areas sorts the operations of a catalogue by what they are about, in its own
// order; within an area reads come first, and what is harmless before what is
// not.
func areas(spec *provider.Spec) []Area {
	var out []Area
	for _, op := range spec.Operations {
		if op.Off {
			continue
		}
		prefix := op.Name[:strings.LastIndexByte(op.Name, '.')+1]
		i := slices.IndexFunc(out, func(a Area) bool { return a.Pattern == prefix+"*" })
		if i < 0 {
			_, name, _ := strings.Cut(strings.TrimSuffix(prefix, "."), ".")
			i, out = len(out), append(out, Area{Title: areaTitle(name), Pattern: prefix + "*"})
		}
		out[i].Operations = append(out[i].Operations, Operation{ID: op.Name, Title: op.Title, Risk: op.Risk.String(), Read: op.Read})
	}
	rank := []string{"low", "medium", "high", "critical"}
	reads := func(o Operation) int {
		if o.Read {
			return 0
		}
		return 1
	}
	for _, a := range out {
		slices.SortStableFunc(a.Operations, func(x, y Operation) int {
			return cmp.Or(reads(x)-reads(y), slices.Index(rank, x.Risk)-slices.Index(rank, y.Risk), strings.Compare(x.ID, y.ID))
		})
	}
	return out
}

// areaTitle is what people call an area.
func areaTitle(name string) string {
	known := map[string]string{"repos": "Repositories", "pulls": "Pull requests", "git": "Branches", "contents": "Files", "actions": "Workflows"}
	return first(known[name], sentence(strings.ReplaceAll(name, "_", " ")))
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

// resumeAgent lets an agent go on, whether it was suspended or frozen.
func (s *Server) resumeAgent(ctx context.Context, c *call, req confirmed) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	a, _, err := s.Manage.Agent(ctx, c.who, c.http.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	// What makes an agent dangerous takes as much as lifting a freeze does.
	if err := c.who.Fresh(c.now); err != nil {
		return reply{}, err
	}
	for _, f := range s.Manage.Freezes.Active() {
		if f.Org == s.Org && f.Kind == freeze.Agent && f.Target == string(a.ID) {
			if err := s.Manage.Unfreeze(ctx, c.who, f.ID, c.now); err != nil {
				return reply{}, err
			}
		}
	}
	if a.Status == agent.Suspended {
		err = s.Manage.ResumeAgent(ctx, c.who, string(a.ID), c.now)
	}
	return s.toAgent(c, "", err)
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

type newGrant struct {
	Connection string          `json:"connection"`
	Operations []string        `json:"operations"`
	Resources  string          `json:"resources"`
	Everything string          `json:"everything"` // "yes" if no resource is named on purpose
	Expires    string          `json:"expires"`
	Mode       string          `json:"mode"`
	Assertion  json.RawMessage `json:"assertion"`
}

// A form that was left empty must not grant everything.
var (
	errReach = fault.New(fault.Invalid, "resources_missing", "Name what it may be used on, or choose everything the account can reach.")
	errBoth  = fault.New(fault.Invalid, "resources_ambiguous", "Name what it may be used on or choose everything, not both.")
)

// addGrant lets an agent use an account of this person's. Handing out tokens
// takes their passkey; the rule is the service's.
func (s *Server) addGrant(ctx context.Context, c *call, req newGrant) (reply, error) {
	want := manage.Grant{
		Agent: c.http.PathValue("id"), Connection: req.Connection, Mode: grant.Mode(req.Mode), Operations: req.Operations,
		Resources: strings.FieldsFunc(req.Resources, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' || r == ' ' || r == '\t' }),
	}
	switch everything := req.Everything == "yes"; {
	case !everything && len(want.Resources) == 0:
		return reply{}, errReach
	case everything && len(want.Resources) > 0:
		return reply{}, errBoth
	}
	switch req.Expires {
	case "":
	case "24h", "168h", "720h":
		d, err := time.ParseDuration(req.Expires)
		if err != nil {
			return reply{}, errJSON.Because(err)
		}
		want.ExpiresAt = c.now.Add(d)
	default:
		return reply{}, errJSON
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	_, err := s.Manage.CreateGrant(ctx, c.who, want, c.now)
	return s.toAgent(c, "granted", err)
}

func (s *Server) revokeGrant(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	ref := c.http.PathValue("id")
	unknown := fault.New(fault.NotFound, "grant_not_found", "There is no such grant.")
	if !id.Valid("grt", ref) {
		return reply{}, unknown
	}
	g, err := s.Manage.Grants.Grant(ctx, s.Org, id.Grant(ref))
	if err != nil {
		return reply{}, err
	}
	if err := s.Manage.RevokeGrant(ctx, c.who, g.ID, c.now); err != nil {
		if !seesAll(c.who) && g.User != c.who.User {
			return reply{}, unknown.Because(err)
		}
		return reply{}, err
	}
	return reply{to: "/agents/" + string(g.Agent) + "?done=revoked"}, nil
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
