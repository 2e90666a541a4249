package dash

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

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
	errEmpty = fault.New(fault.Invalid, "grant_empty", "Choose what it may ask for, and name what it may be used on, or choose everything the account can reach.")
	errWhat  = fault.New(fault.Invalid, "operations_missing", "Choose what it may ask for.")
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
	case len(want.Operations) == 0 && !everything && len(want.Resources) == 0:
		return reply{}, errEmpty
	case len(want.Operations) == 0:
		return reply{}, errWhat
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
