package cli

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/display"
)

type agentCommand struct {
	Keygen  agentKeygen  `cmd:"" help:"Make a key pair for an agent: the private half goes to a file, the public half is printed."`
	Add     agentAdd     `cmd:"" help:"Register an agent with its public key, or make the pair here."`
	List    agentList    `cmd:"" default:"1" help:"List agents."`
	Show    agentShow    `cmd:"" help:"Show an agent and its keys."`
	Suspend agentSuspend `cmd:"" help:"Stop an agent until it is resumed."`
	Resume  agentResume  `cmd:"" help:"Let a suspended agent go on."`
	Rotate  agentRotate  `cmd:"" help:"Give an agent another key, and revoke old ones."`
	Allow   agentAllow   `cmd:"" help:"Let an agent call from more networks."`
	Profile agentProfile `cmd:"" help:"Choose the rules by which an agent's tokens are judged."`
}

type agentAdd struct {
	Name string `arg:"" help:"1 to 63 of a-z, 0-9, dot, dash and underscore."`
	keyFlags
	From    []string `placeholder:"CIDR" help:"Network it may call from; this machine only if left out. May be repeated."`
	Profile string   `enum:"strict,compat-2025" default:"strict" help:"strict, or compat-2025 for programs written for another token vault."`
	Owner   string   `placeholder:"USER" help:"Whose agent it is: name or id."`
}

func (c *agentAdd) Run(r *run) error {
	for _, s := range c.From {
		if _, err := prefix(s); err != nil {
			return usage("It looks like 203.0.113.7/32.", "--from %q is not a network.", s)
		}
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	key, undo, err := c.public(r)
	if err != nil {
		return err
	}
	a, err := change[api.Agent](r.ctx, to, http.MethodPost, "v1/admin/agents", api.AgentRequest{
		Name: c.Name, Owner: c.Owner, Profile: c.Profile, Sources: c.From, Key: key.Key, Alg: key.Alg,
	})
	if err != nil {
		r.forget(&c.keyFlags, undo, err)
		return err
	}
	if r.json {
		return r.print(a)
	}
	r.say("Registered %s (%s).", cell(a.Name, 63), a.ID)
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	if c.NewKey != "" {
		path, err := filepath.Abs(c.NewKey)
		if err != nil {
			path = c.NewKey
		}
		r.note("Its private key is %s, readable by you alone. The agent needs:\n", path)
		if to.public != "" {
			r.note("  export VALETKEY_SERVER=%s", cell(display.Shell(strings.TrimSuffix(to.public, "/")), 300))
		}
		r.note("  export VALETKEY_CLIENT_ID=%s\n  export VALETKEY_KEY_FILE=%s\n", cell(display.Shell(a.Name), 80), display.VisibleText(display.Shell(path)))
	}
	r.next("It may do nothing yet. Let it use an account:", r.command("grant add", operands{a.Name, "CONNECTION"}, "--operation", "NAME"))
	return nil
}

type agentList struct{}

func (c *agentList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Agent](r.ctx, to, "v1/admin/agents", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	grants, err := list[api.Grant](r.ctx, to, "v1/admin/grants", nil)
	if err != nil {
		return err
	}
	now := time.Now()
	may := map[string][]string{}
	for _, g := range grants.Items {
		if live(g, now) {
			may[g.Agent] = append(may[g.Agent], onWhich(g)+": "+operations(g))
		}
	}
	var rows [][]string
	idle := ""
	for _, a := range page.Items {
		what := "nothing yet"
		if all := may[a.ID]; len(all) > 0 {
			what = items(all, "; ", 60)
		} else if idle == "" {
			idle = a.Name
		}
		rows = append(rows, []string{cell(a.Name, 63), r.standing(a), what, ago(a.SeenAt, now), strings.Join(a.Sources, " "), a.Profile, a.ID})
	}
	err = r.table("There is no agent yet. 'valetkey agent add NAME --new-key FILE' makes one.", []column{
		{title: "NAME", least: 12}, {title: "STATUS"}, {title: "MAY DO", least: 16}, {title: "LAST SEEN"}, {title: "FROM", drop: 1, least: 12}, {title: "PROFILE", drop: 2}, {title: "ID", drop: 3},
	}, rows)
	if err == nil && idle != "" {
		r.maybe("To let an agent do something:", r.command("grant add", operands{idle, "CONNECTION"}, "--operation", "NAME"))
	}
	return err
}

// standing is what an agent is right now: what stops it comes first.
func (r *run) standing(a api.Agent) string {
	switch {
	case a.Frozen && a.Status != "active":
		return "frozen, " + a.Status
	case a.Frozen:
		return "frozen"
	}
	return a.Status
}

type agentRef struct {
	Agent string `arg:"" help:"Name or id."`
}

func (a agentRef) path() string { return "v1/admin/agents/" + segment(a.Agent) }

type agentShow struct{ agentRef }

func (c *agentShow) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	a, err := get[api.Agent](r.ctx, to, c.path(), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(a)
	}
	grants, err := list[api.Grant](r.ctx, to, "v1/admin/grants", url.Values{"agent": {a.ID}})
	if err != nil {
		return err
	}
	freezes, err := list[api.Freeze](r.ctx, to, "v1/admin/freezes", nil)
	if err != nil {
		return err
	}
	now := time.Now()
	owner := a.Owner
	if a.OwnerName != "" {
		owner = cell(a.OwnerName, 63)
	}
	seen := ago(a.SeenAt, now)
	if !a.SeenAt.IsZero() {
		seen += ", " + when(a.SeenAt)
	}
	var stops []string
	for _, f := range freezes.Items {
		if f.LiftedAt.IsZero() && (f.Kind == "all" || f.Kind == "agent" && f.Target == a.ID) {
			why := "since " + when(f.At) + " (" + f.ID + ")"
			if f.Kind == "all" {
				why = "with everything " + why
			}
			if f.Reason != "" {
				why += ": " + cell(f.Reason, 200)
			}
			stops = append(stops, why)
		}
	}
	if err := r.fields("name", cell(a.Name, 63), "id", a.ID, "status", r.standing(a), "frozen", strings.Join(stops, "\n"), "profile", a.Profile, "owner", owner,
		"calls from", strings.Join(a.Sources, "\n"), "since", when(a.CreatedAt), "last seen", seen); err != nil {
		return err
	}
	r.say("")
	var rows [][]string
	for _, k := range a.Keys {
		kid := k.KID
		if kid == k.Thumbprint {
			kid = "" // the usual case; once is enough
		}
		rows = append(rows, []string{k.ID, k.Alg, k.Status, ago(k.CreatedAt, now), k.Thumbprint, cell(kid, 60)})
	}
	err = r.table("It has no keys.", []column{{title: "KEY"}, {title: "ALG"}, {title: "STATUS"}, {title: "SINCE", drop: 2}, {title: "THUMBPRINT", least: 14}, {title: "OTHER KID", drop: 1, least: 10}}, rows)
	if err != nil {
		return err
	}
	r.say("")
	rows = nil
	for _, g := range grants.Items {
		if live(g, now) {
			rows = append(rows, []string{onWhich(g), operations(g), resources(g), g.Mode, ends(g, now), g.ID})
		}
	}
	err = r.table("It may do nothing yet. Let it use an account:\n  "+r.command("grant add", operands{a.Name, "CONNECTION"}, "--operation", "NAME"), []column{
		{title: "MAY USE", least: 14}, {title: "FOR", least: 12}, {title: "ON", least: 8}, {title: "MODE", drop: 1}, {title: "LEFT"}, {title: "GRANT", drop: 2},
	}, rows)
	if err != nil {
		return err
	}
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	return nil
}

type agentSuspend struct{ agentRef }

func (c *agentSuspend) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Status: "suspended"})
}

type agentResume struct{ agentRef }

func (c *agentResume) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Status: "active"})
}

type agentAllow struct {
	agentRef
	From []string `arg:"" name:"cidr" help:"Networks or addresses to add."`
}

func (c *agentAllow) Run(r *run) error {
	for _, s := range c.From {
		if _, err := prefix(s); err != nil {
			return usage("It looks like 203.0.113.7/32.", "%q is not a network.", s)
		}
	}
	return r.changeAgent(c.agentRef, api.AgentChange{Sources: c.From})
}

type agentProfile struct {
	agentRef
	Profile string `arg:"" enum:"strict,compat-2025" help:"strict or compat-2025."`
}

func (c *agentProfile) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Profile: c.Profile})
}

func (r *run) changeAgent(ref agentRef, what api.AgentChange) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	a, err := change[api.Agent](r.ctx, to, http.MethodPatch, ref.path(), what)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(a)
	}
	r.say("%s is %s, profile %s, may call from %s.", cell(a.Name, 63), r.standing(a), a.Profile, strings.Join(a.Sources, ", "))
	if a.Frozen && what.Status == "active" {
		r.next("A freeze still stops it. See it:", r.command("freeze list", nil))
	}
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	return nil
}

type agentRotate struct {
	agentRef
	keyFlags
	Revoke []string `placeholder:"KEY" help:"Id of a key to revoke, with every token it earned. May be repeated."`
}

func (c *agentRotate) Run(r *run) error {
	if c.Key == "" && c.NewKey == "" && len(c.Revoke) == 0 {
		return usage("For example: valetkey agent rotate NAME --new-key FILE, and when the agent uses it: --revoke KEY", "Say what to do: add a key, or revoke one.")
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	var out []api.AgentKey
	if c.Key != "" || c.NewKey != "" {
		key, undo, err := c.public(r)
		if err != nil {
			return err
		}
		k, err := change[api.AgentKey](r.ctx, to, http.MethodPost, c.path()+"/keys", key)
		if err != nil {
			r.forget(&c.keyFlags, undo, err)
			return err
		}
		out = append(out, k)
	}
	for _, old := range c.Revoke {
		k, err := change[api.AgentKey](r.ctx, to, http.MethodDelete, c.path()+"/keys/"+segment(old), nil)
		if err != nil {
			return err
		}
		out = append(out, k)
	}
	if r.json {
		return r.print(api.Page[api.AgentKey]{Items: out})
	}
	for _, k := range out {
		word := "Added"
		if k.Status != "active" {
			word = "Revoked"
		}
		r.say("%s %s (%s, kid %s).", word, k.ID, k.Alg, cell(k.KID, 60))
	}
	if len(c.Revoke) == 0 {
		r.next("The old keys still work. When the agent uses the new one, revoke them (agent show has their ids):", r.command("agent rotate", operands{c.Agent}, "--revoke", "KEY"))
	}
	return nil
}
