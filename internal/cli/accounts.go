package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

type providerCommand struct {
	List providerList `cmd:"" help:"List the services that accounts can be connected at."`
	Set  providerSet  `cmd:"" help:"Register your OAuth client at a service, or an instance of your own."`
}

type providerList struct{}

func (c *providerList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Provider](r.ctx, to, "v1/admin/providers", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	for _, p := range page.Items {
		how := "paste a token"
		if p.Connectable {
			how = "OAuth, or paste a token"
		}
		rows = append(rows, []string{cell(p.Name, 40), cell(p.Title, 40), fmt.Sprint(p.Operations), how, cell(p.ClientID, 40), cell(p.RedirectURI, 100)})
	}
	return r.table("There are no providers.", []string{"NAME", "TITLE", "OPERATIONS", "CONNECT BY", "CLIENT ID", "REDIRECT URI TO REGISTER"}, rows)
}

type providerSet struct {
	Name              string   `arg:"" help:"How connections and commands name it: github, or ghes for a second one."`
	Spec              string   `placeholder:"ENTRY" help:"Catalogue entry; the name if left out."`
	ClientID          string   `name:"client-id" help:"Id of your OAuth client there."`
	ClientSecretFile  string   `xor:"secret" placeholder:"FILE" help:"File that holds its secret, readable by you alone."`
	ClientSecretStdin bool     `xor:"secret" help:"Read its secret from standard input."`
	API               []string `name:"api" placeholder:"URL" help:"API base of an instance of your own. May be repeated."`
	Web               string   `placeholder:"URL" help:"Where its login pages are."`
	AuthorizeURL      string   `placeholder:"URL" help:"For the generic entry."`
	TokenURL          string   `placeholder:"URL" help:"For the generic entry."`
	TokenAuth         string   `enum:"body,basic," default:"" placeholder:"body|basic" help:"Where the client secret goes."`
	RevokeURL         string   `placeholder:"URL" help:"RFC 7009."`
	Issuer            string   `placeholder:"URL" help:"OpenID Connect issuer."`
	IdentityURL       string   `placeholder:"URL" help:"Answers who an account is."`
	IdentityID        string   `name:"identity-id" placeholder:"MEMBER" help:"Where that answer has the account's unchanging id: id, or data.id."`
	IdentityLabel     string   `placeholder:"MEMBER" help:"Where it has what people call the account."`
	Style             string   `enum:"rest,rpc,graphql," default:"" placeholder:"rest|rpc|graphql" help:"What an unlisted request means there."`
	Internal          *bool    `negatable:"" help:"Its hosts may be on your own network; the server's --allow-internal must agree."`
}

func (c *providerSet) Run(r *run) error {
	req := api.ProviderRequest{Spec: c.Spec, ClientID: c.ClientID, Internal: c.Internal}
	base := api.BaseURLs{
		API: c.API, Web: c.Web, AuthorizeURL: c.AuthorizeURL, TokenURL: c.TokenURL, TokenAuth: c.TokenAuth,
		RevokeURL: c.RevokeURL, Issuer: c.Issuer, IdentityURL: c.IdentityURL,
		IdentityID: c.IdentityID, IdentityLabel: c.IdentityLabel, Style: c.Style,
	}
	if len(c.API) > 0 || c.Web+c.AuthorizeURL+c.TokenURL+c.TokenAuth+c.RevokeURL+c.Issuer+c.IdentityURL+c.IdentityID+c.IdentityLabel+c.Style != "" {
		req.Base = &base
	}
	var clientSecret secret.Text
	if c.ClientSecretStdin || c.ClientSecretFile != "" {
		var err error
		if clientSecret, err = r.readSecret(c.ClientSecretStdin, c.ClientSecretFile); err != nil {
			return err
		}
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	p, err := setProvider(r, to, c.Name, req, clientSecret)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(p)
	}
	r.say("%s is set.", cell(p.Title, 60))
	r.note("Register this redirect URI there: %s", cell(p.RedirectURI, 300))
	return nil
}

// setProvider sends the request; only here does the secret become bytes.
func setProvider(r *run, to *remote, name string, req api.ProviderRequest, clientSecret secret.Text) (api.Provider, error) {
	req.ClientSecret = clientSecret.Reveal()
	return change[api.Provider](r.ctx, to, http.MethodPut, "v1/admin/providers/"+segment(name), req)
}

type connectionCommand struct {
	List       connectionList       `cmd:"" help:"List connected accounts."`
	Add        connectionAdd        `cmd:"" help:"Connect an account: by a token from standard input, or in the browser."`
	Disconnect connectionDisconnect `cmd:"" help:"End a connection, here and at the provider, and report what was ended."`
	Operations connectionOperations `cmd:"" help:"List what can be done at a provider, or through a connection."`
}

type connectionList struct {
	All bool `help:"Also those that were ended."`
}

func (c *connectionList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Connection](r.ctx, to, "v1/admin/connections", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	for _, k := range page.Items {
		if k.Status == "revoked" && !c.All {
			continue
		}
		used := when(k.UsedAt)
		if used == "" {
			used = "never"
		}
		rows = append(rows, []string{cell(k.Name, 40), cell(k.Account, 40) + " at " + cell(k.Provider, 30), k.Status, k.Kind, items(k.Scopes, " ", 40), used, k.ID})
	}
	return r.table("No account is connected. 'valetkey connection add github' tells how.", []string{"NAME", "ACCOUNT", "STATUS", "KIND", "SCOPES", "LAST USED", "ID"}, rows)
}

type connectionAdd struct {
	Provider   string `arg:"" help:"Which service: github. 'valetkey provider list' shows them."`
	TokenStdin bool   `xor:"token" help:"Read a personal access token from standard input."`
	TokenFile  string `xor:"token" placeholder:"FILE" help:"Read it from a file that only you can read."`
	Name       string `help:"What to call the connection; the account's name if left out."`
	Owner      string `placeholder:"USER" help:"Whose account it is: name or id."`
}

func (c *connectionAdd) Run(r *run) error {
	if !c.TokenStdin && c.TokenFile == "" {
		return c.inBrowser(r)
	}
	token, err := r.readSecret(c.TokenStdin, c.TokenFile)
	if err != nil {
		return err
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	k, err := addConnection(r, to, api.ConnectionRequest{Provider: c.Provider, Name: c.Name, User: c.Owner}, token)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(k)
	}
	r.say("Connected %s at %s as %s (%s).", cell(k.Account, 60), cell(k.Provider, 40), cell(k.Name, 60), k.ID)
	r.note("Nobody can use it yet: valetkey grant add AGENT %s --operation …", cell(k.Name, 60))
	return nil
}

// addConnection sends the request; only here does the token become bytes.
func addConnection(r *run, to *remote, req api.ConnectionRequest, token secret.Text) (api.Connection, error) {
	req.Token = token.Reveal()
	return change[api.Connection](r.ctx, to, http.MethodPost, "v1/admin/connections", req)
}

// inBrowser is for accounts that are connected by OAuth: that takes the
// browser session of their owner, so all there is to do here is to say where.
func (c *connectionAdd) inBrowser(r *run) error {
	server, err := r.serverToUse()
	if err != nil {
		return err
	}
	page := server + "connections"
	if r.json {
		return r.print(map[string]string{"open": page})
	}
	r.note("Connect the account in your browser, on this page:")
	r.say("%s", page)
	if r.tty {
		openBrowser(r.ctx, page)
	}
	return nil
}

type connectionDisconnect struct {
	Connection string `arg:"" help:"Name or id."`
}

func (c *connectionDisconnect) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	r.progress("Disconnecting, here and at the provider…")
	d, err := change[api.DisconnectReport](r.ctx, to, http.MethodDelete, "v1/admin/connections/"+segment(c.Connection), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(d)
	}
	return r.fields(disconnected(d)...)
}

// disconnected is the report as names and values. It claims no more than was
// seen.
func disconnected(d api.DisconnectReport) []string {
	upstream := "not confirmed: " + cell(d.Upstream.Detail, 400)
	if d.Upstream.Done {
		upstream = "done: " + cell(d.Upstream.Detail, 400)
	}
	probes := map[string]string{
		"dead": "the old token is dead", "still_alive": "the old token STILL WORKS at the provider",
		"unclear": "unclear whether the old token still works", "not_probed": "not tried",
	}
	probe := probes[d.Probe]
	if probe == "" {
		probe = cell(d.Probe, 60)
	}
	return []string{
		"account", cell(d.Account, 60) + " at " + cell(d.Provider, 40), "here", cell(d.Here, 400),
		"at the provider", upstream, "a look with the old token", probe, "still to do", cell(d.Todo, 400),
	}
}

type connectionOperations struct {
	Of string `arg:"" name:"provider" help:"Provider or connection."`
}

func (c *connectionOperations) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Operation](r.ctx, to, "v1/operations", url.Values{"provider": {c.Of}})
	if judge0(err) == exitNotFound {
		page, err = list[api.Operation](r.ctx, to, "v1/operations", url.Values{"connection": {c.Of}})
	}
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	return r.operations(page.Items)
}

// judge0 is the exit code of an error, or 0.
func judge0(err error) int {
	if err == nil {
		return exitOK
	}
	return judge(err).code
}

func (r *run) operations(all []api.Operation) error {
	var rows [][]string
	for _, o := range all {
		risk := string(o.Risk)
		switch {
		case o.Off:
			risk += ", always refused"
		case o.Read:
			risk += ", read"
		}
		// What stands in the path is a parameter, too.
		params := placeholders(o.Path)
		for _, p := range o.Params {
			if slices.Contains(params, p.Name) {
				continue
			}
			name := p.Name
			if !p.Required {
				name = "[" + name + "]"
			}
			params = append(params, name)
		}
		rows = append(rows, []string{cell(o.Name, 60), risk, cell(o.Title, 60), items(params, " ", 70)})
	}
	return r.table("There are no operations.", []string{"OPERATION", "RISK", "WHAT IT DOES", "PARAMETERS"}, rows)
}

// placeholders are the names in a path template.
func placeholders(path string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(path, "{")
		if !ok {
			return out
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return out
		}
		out, path = append(out, strings.TrimRight(name, ".+*")), after
	}
}

type grantCommand struct {
	Add    grantAdd    `cmd:"" help:"Let an agent use a connection."`
	List   grantList   `cmd:"" help:"List grants."`
	Revoke grantRevoke `cmd:"" help:"End a grant, at once."`
}

type grantAdd struct {
	Agent      string   `arg:"" help:"Name or id."`
	Connection string   `arg:"" help:"Name or id."`
	Operation  []string `required:"" placeholder:"NAME" sep:"," help:"An operation, or a prefix such as github.issues.*. May be repeated."`
	Resource   []string `placeholder:"NAME" sep:"," help:"octo/api or octo/*; every resource if left out. May be repeated."`
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
	r.say("Granted %s: %s on %s, %s.", g.ID, strings.Join(g.Operations, ", "), onWhat(g), until(g))
	return nil
}

func onWhat(g api.Grant) string {
	if len(g.Resources) == 0 {
		return "everything"
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
	for _, g := range page.Items {
		if g.RevokedAt.IsZero() || c.All {
			rows = append(rows, []string{g.ID, g.Agent, g.Connection, g.Mode, items(g.Operations, " ", 60), onWhat(g), until(g)})
		}
	}
	return r.table("There is no grant yet. 'valetkey grant add AGENT CONNECTION --operation …' makes one.", []string{"ID", "AGENT", "CONNECTION", "MODE", "OPERATIONS", "ON", "ENDS"}, rows)
}

type grantRevoke struct {
	ID string `arg:"" help:"Id of the grant."`
}

func (c *grantRevoke) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	g, err := change[api.Grant](r.ctx, to, http.MethodDelete, "v1/admin/grants/"+segment(c.ID), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(g)
	}
	r.say("Revoked %s.", c.ID)
	return nil
}
