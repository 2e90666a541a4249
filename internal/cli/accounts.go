package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

type providerCommand struct {
	List providerList `cmd:"" default:"1" help:"List the services that accounts can be connected at."`
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
		how := "token"
		if p.Connectable {
			how = "OAuth or token"
		}
		rows = append(rows, []string{cell(p.Name, 40), cell(p.Title, 40), fmt.Sprint(p.Operations), how, cell(p.ClientID, 40), cell(p.RedirectURI, 100)})
	}
	return r.table("There are no providers.", []column{
		{title: "NAME"}, {title: "TITLE", drop: 2}, {title: "OPERATIONS", drop: 3}, {title: "CONNECT BY", drop: 1}, {title: "CLIENT ID", drop: 4}, {title: "REDIRECT URI TO REGISTER", least: 24},
	}, rows)
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
	List       connectionList       `cmd:"" default:"1" help:"List connected accounts."`
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
	now := time.Now()
	renew := ""
	for _, k := range page.Items {
		if k.Status == "revoked" && !c.All {
			continue
		}
		status := k.Status
		if k.Status == "needs_reauth" {
			status, renew = "connect again", k.RenewURL
		}
		if k.Frozen && k.Status != "revoked" {
			status = "frozen"
		}
		rows = append(rows, []string{cell(k.Name, 40), cell(k.Account, 40) + " at " + cell(k.Provider, 30), status, cell(k.UserName, 40), ago(k.UsedAt, now), k.Kind, items(k.Scopes, " ", 40), k.ID})
	}
	err = r.table("No account is connected. 'valetkey connection add github' tells how.", []column{
		{title: "NAME", least: 12}, {title: "ACCOUNT", least: 16}, {title: "STATUS"}, {title: "OWNER", drop: 1}, {title: "LAST USED"}, {title: "KIND", drop: 3}, {title: "SCOPES", drop: 2, least: 12}, {title: "ID", drop: 4},
	}, rows)
	if err == nil && renew != "" {
		r.hint("To connect again: %s", cell(renew, 300))
	}
	return err
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
	r.next("No agent can use it yet. Let one:", r.command("grant add", operands{"AGENT", k.Name}, "--operation", "NAME"))
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
