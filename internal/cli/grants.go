package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
)

type grantCommand struct {
	Add    grantAdd    `cmd:"" help:"Let an agent use a connection."`
	List   grantList   `cmd:"" default:"1" help:"List grants."`
	Revoke grantRevoke `cmd:"" help:"End a grant, at once."`
}

type grantAdd struct {
	Agent      string   `arg:"" help:"Name or id."`
	Connection string   `arg:"" help:"Name or id."`
	Operation  []string `required:"" placeholder:"NAME" sep:"," help:"An operation, a prefix such as github.issues.*, or * for everything; 'valetkey operation list' shows them. May be repeated."`
	Resource   []string `placeholder:"NAME" sep:"," help:"What the provider calls it; at GitHub octo/api, or octo/* for all of octo. Any resource if left out. May be repeated."`
	Mode       string   `enum:"broker,vend" default:"broker" help:"broker: Valetkey makes the calls. vend: the agent may also hold the token itself, and do all that it allows."`
	Expires    string   `placeholder:"WHEN" help:"When it ends: a duration such as 8h or 30d, or a date such as 2027-01-31. Never, if left out."`
}

func (c *grantAdd) Run(r *run) error {
	at, err := expiry(c.Expires, time.Now())
	if err != nil {
		return err
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	g, err := change[api.Grant](r.ctx, to, http.MethodPost, "v1/admin/grants", api.GrantRequest{
		Agent: c.Agent, Connection: c.Connection, Mode: c.Mode, Operations: c.Operation, Resources: c.Resource, ExpiresAt: at,
	})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(g)
	}
	vend := ""
	if g.Mode == "vend" {
		vend = ", and hold its token"
	}
	r.say("%s may use %s for %s on %s%s, %s (%s).", granted(g), onWhich(g), operations(g), resources(g), vend, until(g), g.ID)
	for _, w := range g.Warnings {
		r.note("Warning: %s", cell(w, 600))
	}
	r.maybe("To see what that is, as the agent:", r.command("call", nil, append([]string{"--list", "--key", "FILE"}, flag("--client-id", granted(g))...)...))
	return nil
}

// live reports whether a grant can be used.
func live(g api.Grant, now time.Time) bool {
	return g.RevokedAt.IsZero() && (g.ExpiresAt.IsZero() || now.Before(g.ExpiresAt))
}

// granted is the agent of a grant as people call it.
func granted(g api.Grant) string {
	if g.AgentName != "" {
		return cell(g.AgentName, 63)
	}
	return g.Agent
}

// onWhich is the connection of a grant as people call it.
func onWhich(g api.Grant) string {
	switch {
	case g.ConnectionName != "":
		return cell(g.ConnectionName, 60)
	case g.Account != "":
		return cell(g.Account, 60) + " at " + cell(g.Provider, 40)
	}
	return g.Connection
}

// operations are those of a grant; an asterisk alone is easily overlooked.
func operations(g api.Grant) string {
	if slices.Contains(g.Operations, "*") {
		return "everything"
	}
	return items(g.Operations, ", ", 60)
}

func resources(g api.Grant) string {
	if len(g.Resources) == 0 {
		return "any resource"
	}
	return items(g.Resources, ", ", 80)
}

func until(g api.Grant) string {
	switch {
	case !g.RevokedAt.IsZero():
		return "revoked"
	case g.ExpiresAt.IsZero():
		return "without end"
	}
	return "until " + when(g.ExpiresAt)
}

// ends is how long a grant can be used, for a column of a list.
func ends(g api.Grant, now time.Time) string {
	switch {
	case !g.RevokedAt.IsZero():
		return "revoked"
	case g.ExpiresAt.IsZero():
		return "no end"
	}
	return left(g.ExpiresAt, now)
}

// expiry reads when something ends: from now on, or a moment.
func expiry(s string, now time.Time) (time.Time, error) {
	if s == "" || s == "never" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at.UTC(), nil
		}
	}
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err = fmt.Sscanf(days+"\n", "%d\n", &n); err == nil && n <= 36500 {
			d = time.Duration(n) * 24 * time.Hour
		}
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d <= 0 {
		return time.Time{}, usage("Say 8h, 30d or 2027-01-31.", "%q is not a time in the future.", s)
	}
	return now.Add(d).UTC().Truncate(time.Second), nil
}

type grantList struct {
	Agent      string `placeholder:"NAME" help:"Only those of this agent."`
	Connection string `placeholder:"NAME" help:"Only those for this connection."`
	All        bool   `help:"Also those that were revoked."`
}

func (c *grantList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	q := url.Values{}
	if c.Agent != "" {
		q.Set("agent", c.Agent)
	}
	if c.Connection != "" {
		q.Set("connection", c.Connection)
	}
	page, err := list[api.Grant](r.ctx, to, "v1/admin/grants", q)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	now := time.Now()
	for _, g := range page.Items {
		if !g.RevokedAt.IsZero() && !c.All {
			continue
		}
		account := ""
		if g.Account != "" {
			account = cell(g.Account, 40) + " at " + cell(g.Provider, 30)
		}
		mode := g.Mode
		if mode == "broker" {
			mode = "" // what nearly all of them are
		}
		rows = append(rows, []string{granted(g), onWhich(g), account, operations(g), resources(g), mode, ends(g, now), g.ID})
	}
	err = r.table("There is no grant yet. 'valetkey grant add AGENT CONNECTION --operation NAME' makes one.", []column{
		{title: "AGENT", least: 10}, {title: "MAY USE", least: 12}, {title: "ACCOUNT", drop: 3, least: 12}, {title: "FOR", least: 12}, {title: "ON", least: 8}, {title: "MODE", drop: 1}, {title: "LEFT"}, {title: "GRANT", drop: 2},
	}, rows)
	if err == nil && len(rows) > 0 {
		r.maybe("To end one:", r.command("grant revoke", operands{"AGENT", "CONNECTION"}))
	}
	return err
}

type grantRevoke struct {
	Grant      string `arg:"" help:"Id of the grant, grt_…; or the name or id of its agent."`
	Connection string `arg:"" optional:"" help:"With an agent: name or id of the connection that it may no longer use."`
}

func (c *grantRevoke) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	id := c.Grant
	if c.Connection != "" || !strings.HasPrefix(id, "grt_") {
		if id, err = c.only(r, to); err != nil {
			return err
		}
	}
	g, err := change[api.Grant](r.ctx, to, http.MethodDelete, "v1/admin/grants/"+segment(id), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(g)
	}
	r.say("%s may no longer use %s for %s on %s (%s).", granted(g), onWhich(g), operations(g), resources(g), g.ID)
	return nil
}

// only finds the one grant that an agent has for a connection. Where there are
// several, which one is meant is not guessed.
func (c *grantRevoke) only(r *run, to *remote) (string, error) {
	q := url.Values{"agent": {c.Grant}}
	if c.Connection != "" {
		q.Set("connection", c.Connection)
	}
	page, err := list[api.Grant](r.ctx, to, "v1/admin/grants", q)
	if err != nil {
		return "", err
	}
	now := time.Now()
	all := slices.DeleteFunc(page.Items, func(g api.Grant) bool { return !live(g, now) })
	switch len(all) {
	case 0:
		return "", &failure{Code: exitNotFound, Reason: "grant_not_found", Text: fmt.Sprintf("%s has no such grant in force.", cell(c.Grant, 63)), Next: "'valetkey grant list' shows what there is."}
	case 1:
		return all[0].ID, nil
	}
	var ids []string
	for _, g := range all {
		ids = append(ids, fmt.Sprintf("%s (%s for %s on %s)", g.ID, onWhich(g), operations(g), resources(g)))
	}
	return "", usage("Name one: "+strings.Join(ids, ", ")+".", "%s has several such grants.", cell(c.Grant, 63))
}
