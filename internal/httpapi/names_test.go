package httpapi_test

import (
	"context"
	"testing"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// Beside the ids of what a person may see stand its names, and whether it is
// frozen; nobody sees more things for it.
func TestNames(t *testing.T) {
	w := newWorld(t).furnish()
	mira, owner, vera := w.browser(w.mira), w.browser(w.person("olga", user.Owner)), w.browser(w.person("vera", user.Member))

	grants := into[api.Page[api.Grant]](t, w.send(mira, "GET", "/v1/admin/grants", nil)).Items
	if len(grants) != 1 || grants[0].AgentName != "triage" || grants[0].ConnectionName == "" || grants[0].Account != "octocat" || grants[0].Provider != "github" {
		t.Fatalf("grants: %+v", grants)
	}
	if a := into[api.Agent](t, w.send(mira, "GET", "/v1/admin/agents/triage", nil)); a.OwnerName != "mira" || a.Frozen || len(a.Keys) != 1 || a.Keys[0].Thumbprint != a.Keys[0].KID || len(a.Keys[0].Thumbprint) != 43 {
		t.Errorf("agent: %+v", a)
	}

	f := into[api.Freeze](t, w.send(mira, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage"}))
	if f.TargetName != "triage" || f.ByName != "mira" || f.Already {
		t.Errorf("frozen: %+v", f)
	}
	if again := into[api.Freeze](t, w.send(owner, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage"})); !again.Already || again.ID != f.ID || again.ByName != "mira" {
		t.Errorf("frozen again: %+v", again)
	}
	if all := into[api.Page[api.Freeze]](t, w.send(mira, "GET", "/v1/admin/freezes", nil)).Items; len(all) != 1 || all[0].TargetName != "triage" || all[0].ByName != "mira" {
		t.Errorf("freezes: %+v", all)
	}
	if all := into[api.Page[api.Agent]](t, w.send(mira, "GET", "/v1/admin/agents", nil)).Items; len(all) != 1 || !all[0].Frozen || all[0].Status != "active" {
		t.Errorf("agents: %+v", all)
	}
	if con := into[api.Connection](t, w.send(mira, "GET", "/v1/admin/connections/github", nil)); con.Frozen || con.UserName != "mira" {
		t.Errorf("connection: %+v", con)
	}
	for _, path := range []string{"/v1/admin/agents", "/v1/admin/grants", "/v1/admin/freezes", "/v1/admin/connections"} {
		if all := into[api.Page[map[string]any]](t, w.send(vera, "GET", path, nil)).Items; len(all) != 0 {
			t.Errorf("a stranger sees %s: %v", path, all)
		}
	}

	// A person who is frozen takes their connections with them, not their agents.
	into[api.Freeze](t, w.send(owner, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "user", Target: "mira"}))
	if con := into[api.Connection](t, w.send(owner, "GET", "/v1/admin/connections/github", nil)); !con.Frozen {
		t.Errorf("connection of a frozen person: %+v", con)
	}
}

// readers count what is read of all agents, and of one.
type readers struct {
	agent.Store
	lists, reads int
}

func (r *readers) Agents(ctx context.Context, org id.Org) ([]*agent.Agent, error) {
	r.lists++
	return r.Store.Agents(ctx, org)
}

func (r *readers) Agent(ctx context.Context, org id.Org, a id.Agent) (*agent.Agent, error) {
	r.reads++
	return r.Store.Agent(ctx, org, a)
}

type connections struct {
	vault.Store
	lists int
}

func (c *connections) Connections(ctx context.Context, org id.Org) ([]*vault.Connection, error) {
	c.lists++
	return c.Store.Connections(ctx, org)
}

type people struct {
	user.Store
	lists int
}

func (p *people) Users(ctx context.Context, org id.Org) ([]*user.User, error) {
	p.lists++
	return p.Store.Users(ctx, org)
}

// For the names on a page nobody else's are read, and each once.
func TestNamesOfOnePage(t *testing.T) {
	w := newWorld(t).furnish()
	for range 3 {
		w.Grant(w.mira, w.bot, w.con, grant.Broker, []string{"github.*"}, []string{"octo/api"})
	}
	mira := w.browser(w.mira)
	// The server is wired already: it is given others of what is to be counted.
	a := w.App
	manage := *a.Manage
	bots, conns, all := &readers{Store: a.Agents.Store}, &connections{Store: manage.Conns}, &people{Store: a.Users.Store}
	manage.Conns = conns
	w.api.Manage, w.api.Agents = &manage, &agent.Service{Org: a.Agents.Org, Store: bots, Issuer: a.Agents.Issuer, Epoch: a.Agents.Epoch}
	w.api.Users = &user.Service{Org: a.Users.Org, Store: all, WebAuthn: a.Users.WebAuthn, Tries: a.Users.Tries, Refused: a.Users.Refused, Log: a.Users.Log}
	for _, path := range []string{"/v1/admin/grants", "/v1/admin/connections"} {
		items := into[api.Page[map[string]any]](t, w.send(mira, "GET", path, nil)).Items
		if len(items) == 0 || items[0]["agent_name"] != "triage" && items[0]["user_name"] != "mira" {
			t.Errorf("%s: %v", path, items)
		}
	}
	if bots.lists+conns.lists+all.lists != 0 || bots.reads != 1 {
		t.Errorf("agents were listed %d times and read %d times, connections listed %d times, people %d", bots.lists, bots.reads, conns.lists, all.lists)
	}
}

// An agent is told what it may use, and nothing about people.
func TestAgentsAreToldNoNames(t *testing.T) {
	w := newWorld(t).furnish()
	all := into[api.Page[api.Connection]](t, w.send(w.agent(), "GET", "/v1/connections", nil)).Items
	if len(all) != 1 || all[0].UserName != "" || len(all[0].Grants) != 1 || all[0].Grants[0].AgentName != "" {
		t.Errorf("%+v", all)
	}
}

// What a request cannot be made without is required, whether the catalogue says
// so or the operation is not told from others without it.
func TestNeededParameters(t *testing.T) {
	w := newWorld(t).furnish()
	required := map[string]map[string]bool{}
	for _, o := range into[api.Page[api.Operation]](t, w.send(w.browser(w.mira), "GET", "/v1/operations?provider=github", nil)).Items {
		required[o.Name] = map[string]bool{}
		for _, p := range o.Params {
			required[o.Name][p.Name] = p.Required
		}
	}
	for _, c := range []struct {
		operation, param string
		want             bool
	}{
		{"github.git.create_branch", "ref", true},   // decides
		{"github.git.create_branch", "sha", true},   // says so
		{"github.git.create_branch", "owner", true}, // in the path
		{"github.contents.get", "path", true},       // in the path, over several segments
		{"github.contents.get", "ref", false},
		{"github.repos.create", "org", false}, // in one of two paths
		{"github.issues.list", "state", false},
	} {
		if got, there := required[c.operation][c.param]; !there || got != c.want {
			t.Errorf("%s %s: required %v (there: %v), want %v", c.operation, c.param, got, there, c.want)
		}
	}
}
