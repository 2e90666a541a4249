package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/vault"
)

// at is what a proposal's path names below the API's root: "agents", "triage",
// "keys", "key_…".
func at(path string) []string {
	rest, ok := strings.CutPrefix(path, "/v1/admin/")
	if !ok {
		return nil
	}
	out := strings.Split(rest, "/")
	for i, part := range out {
		if text, err := url.PathUnescape(part); err == nil {
			out[i] = text
		}
	}
	return out
}

// title says what p does, with the names of things that its own sentence knows
// only by their ids. The sentence itself is part of what is signed.
func (s *Server) title(ctx context.Context, n *names, p *proposal.Proposal) string {
	if to := at(p.Path); p.Method == http.MethodDelete && len(to) == 2 && to[0] == "freezes" {
		if what := s.thawed(ctx, n, to[1]); what != "" {
			return fmt.Sprintf("Lift the freeze of %s: what it stopped goes on.", what)
		}
	}
	return p.Summary
}

// thawed names what a freeze stops or stopped, by the log: it is told the same
// way after it was lifted.
func (s *Server) thawed(ctx context.Context, n *names, ref string) string {
	if !id.Valid("frz", ref) {
		return ""
	}
	events, err := s.Select(ctx, Query{Org: s.Org, Object: ref, Verb: "freeze.", Limit: 10})
	if err != nil || len(events) == 0 {
		return ""
	}
	kind, target := events[0].Data["kind"], events[0].Data["target"]
	switch kind {
	case "all":
		return "everything"
	case "agent":
		return "the agent " + n.object(target)
	case "connection":
		return "the connection " + n.object(target)
	case "user":
		return "everything of " + n.object(target)
	}
	return ""
}

// gone says that something which an open proposal names is not there any more,
// so that confirming it could only fail, or is "".
func (s *Server) gone(ctx context.Context, c *call, p *proposal.Proposal, body *Node) string {
	missing := func(kind, ref string) string {
		switch kind {
		case "agents", "agent":
			if _, _, err := s.Manage.Agent(ctx, c.who, ref); fault.From(err).Kind == fault.NotFound {
				return fmt.Sprintf("There is no agent %q any more.", ref)
			}
		case "connections", "connection":
			con, err := s.Manage.Connection(ctx, c.who, ref)
			if err == nil && con.Status == vault.Revoked || fault.From(err).Kind == fault.NotFound {
				return fmt.Sprintf("The connection %q is not there any more.", ref)
			}
		case "grants":
			if !id.Valid("grt", ref) {
				return ""
			}
			g, err := s.Manage.Grants.Grant(ctx, s.Org, id.Grant(ref))
			if err == nil && !g.RevokedAt.IsZero() || fault.From(err).Kind == fault.NotFound {
				return "This grant was revoked already."
			}
		case "freezes":
			for _, f := range s.freezes() {
				if string(f.ID) == ref {
					return ""
				}
			}
			return "This freeze was lifted already."
		}
		return ""
	}
	if to := at(p.Path); len(to) >= 2 {
		if why := missing(to[0], to[1]); why != "" {
			return why
		}
	}
	if body != nil {
		for _, member := range body.Children {
			if member.Kind == "string" && (member.Key == "agent" || member.Key == "connection") {
				if why := missing(member.Key, member.Text); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

// came says in a sentence what a carried out proposal has made, with the page
// where it is; answer is the API's, or nil for who may not see it.
func (s *Server) came(n *names, p *proposal.Proposal, answer []byte) (text, link string) {
	var a struct {
		ID, Name, Agent, Status string
	}
	if json.Unmarshal(answer, &a) != nil {
		a.ID = "" // its members may have other kinds; the path still tells what it was about
	}
	to := at(p.Path)
	if len(to) == 0 {
		return "It was done.", ""
	}
	ref := ""
	if len(to) > 1 {
		ref = to[1]
	}
	page := func(prefix, ref string) string {
		if id.Valid(prefix, ref) {
			return map[string]string{"agt": "/agents/", "con": "/connections#"}[prefix] + ref
		}
		return map[string]string{"agt": "/agents", "con": "/connections"}[prefix]
	}
	named := func(ref string) string {
		if id.Valid("agt", ref) {
			return n.agent(id.Agent(ref)).Name
		}
		return ref
	}
	switch p.Method + " " + to[0] {
	case "POST agents":
		if len(to) > 1 {
			return "The key was added to " + named(ref), page("agt", ref)
		}
		return first(a.Name, "The agent") + " is registered", page("agt", a.ID)
	case "PATCH agents":
		if a.Status == "suspended" {
			return named(ref) + " is suspended", page("agt", first(a.ID, ref))
		}
		return named(ref) + " is as the command wanted it", page("agt", first(a.ID, ref))
	case "DELETE agents":
		return "The key was retired", page("agt", ref)
	case "POST grants":
		if a.Agent == "" {
			return "The grant holds", "/agents"
		}
		return named(a.Agent) + " may do it from now on", page("agt", a.Agent)
	case "DELETE grants":
		return "The grant is revoked", "/agents"
	case "POST connections":
		return "The account is connected", page("con", a.ID)
	case "DELETE connections":
		if id.Valid("con", ref) {
			return "The account is disconnected", "/connections/" + ref + "/disconnected"
		}
		return "The account is disconnected", "/connections"
	case "PUT providers":
		return n.provider(ref) + " is set up", "/connections"
	case "PUT policies":
		return "The rules are in force", "/policy"
	case "DELETE freezes":
		return "The freeze is lifted", "/inbox"
	}
	return "It was done.", ""
}
