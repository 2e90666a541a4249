package dash

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

func (s *Server) connections(ctx context.Context, c *call) (reply, error) {
	chrome, err := s.chrome(ctx, c, "Connections", "connections")
	if err != nil {
		return reply{}, err
	}
	v := ConnectionsPage{Chrome: chrome}
	if v.Connections, err = s.connectionViews(ctx, c); err != nil {
		return reply{}, err
	}
	v.Providers, err = s.providers(ctx)
	v.Providers = inOrder(v.Providers, s.Sandbox, len(v.Connections) == 0)
	return reply{page: func(w io.Writer) error { return s.Pages.Connections(w, v) }}, err
}

// connectionViews are the connections that this person may look at, those that
// have ended last.
func (s *Server) connectionViews(ctx context.Context, c *call) ([]Connection, error) {
	cons, err := s.Manage.ListConnections(ctx, c.who)
	if err != nil {
		return nil, err
	}
	grants, err := s.Manage.ListGrants(ctx, c.who)
	if err != nil {
		return nil, err
	}
	n := s.names(ctx)
	slices.SortStableFunc(cons, func(a, b *vault.Connection) int { return ended(a) - ended(b) })
	var out []Connection
	for _, con := range cons {
		v := Connection{
			ID: string(con.ID), Account: n.account(con), State: string(con.Status), Scopes: con.Scopes, Via: via(con), Note: con.Why,
			CreatedAt: con.CreatedAt, LastUsedAt: con.UsedAt, Mine: con.User == c.who.User, CanReconnect: con.Kind == vault.ByCode,
			Shared: con.Previews == vault.ApproversLook,
		}
		if v.Account.Sandbox {
			v.Via = "a login at the built-in sandbox"
		}
		if n.forgotten(con) {
			v.State, v.Forgotten = string(vault.NeedsReauth), true
			v.Note = "The sandbox lives in memory, and was started again since: it does not know this login any more. Log in once more; grants go on as they were."
		}
		if !v.Mine {
			v.Owner = n.person(con.User)
		}
		if con.Status == vault.NeedsReauth && con.Kind == vault.ByPaste {
			v.Note = strings.TrimSpace(v.Note + " Paste a new token below; grants go on as they were.")
		}
		for _, g := range grants {
			if g.Connection == con.ID && g.Live(c.now) == nil {
				if ref := n.agent(g.Agent); !slices.Contains(v.Agents, ref) {
					v.Agents = append(v.Agents, ref)
				}
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func ended(c *vault.Connection) int {
	if c.Status == vault.Revoked {
		return 1
	}
	return 0
}

func via(c *vault.Connection) string {
	if c.Kind == vault.ByPaste {
		return "a pasted token"
	}
	return "a login"
}

// providers lists what can be connected.
func (s *Server) providers(ctx context.Context) ([]Provider, error) {
	all, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return nil, err
	}
	n := s.names(ctx)
	var out []Provider
	for name, p := range all {
		v := Provider{
			ID: name, Name: n.provider(name), OAuth: p.ClientID != "" && p.Spec.Auth.URL != "",
			Token: p.Spec.Identity.URL != "" && !p.Spec.Auth.Permissions && name != s.Sandbox,
		}
		if v.OAuth && !p.Spec.Auth.Permissions {
			v.Scopes = strings.Join(p.Spec.Auth.DefaultScopes, " ")
		}
		if v.Token {
			v.TokenHint = fmt.Sprintf("A personal access token of %s with the rights that your agents need.", v.Name)
			if p.Spec.Endpoints.WebBase == "https://github.com" {
				v.TokenURL, v.TokenRights = "https://github.com/settings/personal-access-tokens/new", githubRights
			}
		}
		v.Register = "an application at " + v.Name
		if p.Spec.Auth.Permissions {
			kind, which, other := strings.Cut(v.Name, " (")
			v.Register, v.Name = fmt.Sprintf("a %s App at %s", kind, v.Name), kind+" App"
			if other {
				v.Name += " (" + which
			}
		}
		if !v.OAuth && p.Spec.Auth.URL != "" {
			v.SetUp = fmt.Sprintf("%s provider set %s --client-id ID --client-secret-file FILE%s", s.program(), quoted(name), s.elsewhere())
			v.Callback = s.Connect.RedirectURI(name)
		}
		if v.OAuth || v.Token || v.SetUp != "" {
			out = append(out, v)
		}
	}
	return out, nil
}

// inOrder sorts what can be connected: what a person can connect at once before
// what needs an operator first. The sandbox leads where there is nothing yet to
// try things with, and comes last where somebody looks for an account of theirs.
func inOrder(list []Provider, sandbox string, beginner bool) []Provider {
	rank := func(p Provider) int {
		switch {
		case p.ID == sandbox && beginner:
			return 0
		case p.ID == sandbox:
			return 4
		case p.OAuth:
			return 1
		case p.Token:
			return 2
		}
		return 3
	}
	slices.SortFunc(list, func(a, b Provider) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a.ID, b.ID)) })
	return list
}

// githubRights say what a pasted token needs for the operations of the
// catalogue; a test compares them with it.
var githubRights = []Field{
	{"Fine-grained", "Choose the repositories. Then Contents, Issues and Pull requests: Read-only to let agents read, Read and write to let them write. Metadata: Read-only comes with them."},
	{"Only if you want it", "Actions: Read and write, to start workflows. Workflows: Read and write, to change their files. Administration: Read and write, to create, change or delete repositories and to invite people."},
	{"Classic", "The scope repo. Besides: read:user to see whose it is, workflow to change workflow files, delete_repo to delete repositories."},
}

type providerChosen struct {
	Provider string `json:"provider"`
	Scopes   string `json:"scopes"`
}

// beginConnect sends the browser to the provider's login.
func (s *Server) beginConnect(ctx context.Context, c *call, req providerChosen) (reply, error) {
	to, err := s.Connect.Begin(ctx, c.who, req.Provider, strings.Fields(req.Scopes), "", c.now)
	return reply{to: to}, err
}

func (s *Server) reconnect(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	con, err := s.Manage.Connection(ctx, c.who, c.http.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	to, err := s.Connect.Begin(ctx, c.who, con.Provider, nil, con.ID, c.now)
	return reply{to: to}, err
}

// callback is where a provider sends the browser back to. It is the one GET
// that changes something, and it completes only what this very session began.
// Whatever happens, the browser goes on to an address without code and state,
// so that they stay in no history and reach nobody as a referrer.
func (s *Server) callback() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet { // HEAD comes from scanners
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		c, err := s.open(w, r, false)
		if err != nil {
			s.fail(w, c, err)
			return
		}
		err = s.complete(r.Context(), c)
		done, to := "connected", "/connections"
		if err != nil {
			s.record(r.Context(), c, err)
			s.known(c, err)
			s.Log.InfoContext(r.Context(), "account not connected", slog.String("provider", r.PathValue("provider")), slog.String("reason", fault.From(err).Reason))
			if done = failure(err); done == "cancelled" {
				done += "&at=" + url.QueryEscape(r.PathValue("provider"))
			}
		}
		if done == "connected" || strings.HasPrefix(done, "cancelled") { // a login that this person began
			if beginner, err := s.beginner(r.Context(), c); err == nil && beginner {
				to = "/welcome"
			}
		}
		http.Redirect(w, r, to+"?done="+done, http.StatusSeeOther)
	})
}

func (s *Server) complete(ctx context.Context, c *call) error {
	q := c.http.URL.Query()
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(q[name]) > 1 { // two values, and two readers who take different ones
			return connect.ErrFlow
		}
	}
	if !c.known() {
		return connect.ErrFlow
	}
	_, err := s.Connect.Complete(ctx, c.who, connect.Callback{
		Provider: c.http.PathValue("provider"), State: secret.New(q.Get("state")), Code: secret.New(q.Get("code")), Issuer: q.Get("iss"), Error: q.Get("error"),
	}, c.now)
	if fault.From(err).Reason == connect.ErrDenied.Reason && q.Get("error") == "access_denied" { // RFC 6749 §4.1.2.1
		return errCancelled.Because(err)
	}
	return err
}

// errCancelled is a no of the person at the provider, which is no fault of
// anybody's.
var errCancelled = fault.New(fault.Forbidden, "login_cancelled", "You cancelled at the provider; nothing was connected.")

// failure is the word of the notice that says why nothing was connected.
func failure(err error) string {
	f := fault.From(err)
	switch {
	case f.Reason == connect.ErrOther.Reason:
		return "other_account"
	case f.Reason == errCancelled.Reason:
		return "cancelled"
	case f.Reason == connect.ErrDenied.Reason:
		return "denied"
	case f.Kind == fault.Upstream || f.Kind == fault.Internal || f.Kind == fault.Unavailable:
		return "provider"
	}
	return "not_connected"
}

type tokenPasted struct {
	Provider string `json:"provider"`
	Token    string `json:"token"`
}

func (s *Server) addToken(ctx context.Context, c *call, req tokenPasted) (reply, error) {
	if _, err := s.Connect.AddToken(ctx, c.who, c.who.User, req.Provider, "", secret.New(req.Token), c.now); err != nil {
		return reply{}, err
	}
	beginner, err := s.beginner(ctx, c)
	if err == nil && beginner {
		return reply{to: "/welcome?done=connected"}, nil
	}
	return reply{to: "/connections?done=connected"}, nil
}

func (s *Server) disconnect(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	report, err := s.Manage.Disconnect(ctx, c.who, c.http.PathValue("id"), c.now)
	if err != nil {
		return reply{}, err
	}
	return reply{to: "/connections/" + string(report.Connection) + "/disconnected"}, nil
}

// disconnected tells from the log what a disconnect did, and what it could not
// do.
func (s *Server) disconnected(ctx context.Context, c *call) (reply, error) {
	con, err := s.Manage.Connection(ctx, c.who, c.http.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	if con.Status != vault.Revoked {
		return reply{to: "/connections#" + string(con.ID)}, nil
	}
	chrome, err := s.chrome(ctx, c, "Disconnected", "connections")
	if err != nil {
		return reply{}, err
	}
	n := s.names(ctx)
	v := DisconnectPage{Chrome: chrome, Account: n.account(con), At: con.RevokedAt}
	events, err := s.Select(ctx, Query{Org: s.Org, Object: string(con.ID), Verb: "connection.", Limit: 50})
	if err != nil {
		return reply{}, err
	}
	who := v.Account.Provider
	finished := false
	for _, e := range events {
		switch e.Verb {
		case "connection.revoked":
			v.By, v.At = n.actor(e.Actor), e.At
		case "connection.ended":
			finished = true
			v.Items = append(v.Items, upstreamItem(n, con, e.Data["upstream"] == "true", e.Data["status"]), probeItem(who, e.Data["probe"]))
			if e.Data["upstream"] != "true" {
				v.Advice = fmt.Sprintf("End the access of Valetkey in your account settings at %s.", who)
				if spec := n.spec(con.Provider); spec != nil && strings.HasPrefix(spec.Endpoints.WebBase, "https://") {
					v.LinkURL = spec.Endpoints.WebBase
				}
			}
		}
	}
	here := []ReportItem{
		{Status: "done", Text: "Nothing here uses this account any more", Note: s.lost(ctx, n, con.ID)},
		{Status: "done", Text: "Our copy of the tokens was destroyed", Note: "The key that sealed them was deleted here. A backup from before today still holds both, sealed by the root key."},
	}
	if !finished {
		here = here[:1]
		v.Items = append(v.Items, ReportItem{Status: "failed", Text: "The end of the tokens was interrupted", Note: "It is completed when the server starts again."})
	}
	v.Items = append(here, v.Items...)
	return reply{page: func(w io.Writer) error { return s.Pages.Disconnected(w, v) }}, nil
}

// lost says which agents could use a connection.
func (s *Server) lost(ctx context.Context, n *names, con id.Connection) string {
	grants, err := s.Manage.Grants.OfConnection(ctx, s.Org, con)
	if err != nil || len(grants) == 0 {
		return "No agent had a grant for it."
	}
	var who []string
	vended := false
	for _, g := range grants {
		if name := n.agent(g.Agent).Name; !slices.Contains(who, name) {
			who = append(who, name)
		}
		vended = vended || g.Mode == grant.Vend
	}
	text := "Grants of " + strings.Join(who, ", ") + " ended with it, and what waited for approval was stopped."
	if vended {
		text += " A token that an agent already holds lives until the provider ends it."
	}
	return text
}

func upstreamItem(n *names, con *vault.Connection, done bool, code string) ReportItem {
	who := n.provider(con.Provider)
	spec := n.spec(con.Provider)
	switch {
	case done:
		return ReportItem{Status: "done", Text: who + " confirmed that it ended the tokens"}
	case con.Kind == vault.ByPaste && code == "0":
		return ReportItem{Status: "impossible", Text: who + " could not be asked to end the token", Note: "It was pasted, not issued to this server, so only you can revoke it."}
	case spec != nil && (spec.Revoke.Kind == "" || spec.Revoke.Kind == "none"):
		return ReportItem{Status: "impossible", Text: who + " has no way to end a token from outside", Note: "It was ended here, not there."}
	case code == "" || code == "0":
		return ReportItem{Status: "failed", Text: who + " could not be asked to end the tokens"}
	}
	return ReportItem{Status: "failed", Text: fmt.Sprintf("%s was asked to end the tokens and answered %s", who, code)}
}

func probeItem(who, probe string) ReportItem {
	switch probe {
	case "dead":
		return ReportItem{Status: "done", Text: "The old token was tried once more, and is dead"}
	case "still_alive":
		return ReportItem{Status: "failed", Text: "The old token was tried once more, and " + who + " still takes it"}
	case "unclear":
		return ReportItem{Status: "failed", Text: "Whether the old token is dead could not be told", Note: who + " did not answer clearly."}
	}
	return ReportItem{Status: "impossible", Text: "Whether the old token is dead was not tried", Note: "There is no harmless call to try it with."}
}
