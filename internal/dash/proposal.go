package dash

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

// findProposal returns the proposal that the path names, if it is this
// person's to decide.
func (s *Server) findProposal(ctx context.Context, c *call) (proposal.Shown, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("prp", ref) {
		return proposal.Shown{}, proposal.ErrUnknown
	}
	return s.Proposals.Get(ctx, c.who, id.Proposal(ref), c.now)
}

func (s *Server) proposal(ctx context.Context, c *call) (reply, error) {
	shown, err := s.findProposal(ctx, c)
	if err != nil {
		return reply{}, err
	}
	v, err := s.proposalView(ctx, c, shown)
	return reply{page: func(w io.Writer) error { return s.Pages.Proposal(w, v) }}, err
}

// from says who proposed p, in words of ours. The name of a command line is the
// command line's own and stands beside them.
func from(p *proposal.Proposal) string {
	if p.User == "" {
		_, uid, _ := strings.Cut(p.By, ":")
		return "The operator (uid " + uid + ") on the server's machine"
	}
	return "Your command line"
}

func (s *Server) proposalView(ctx context.Context, c *call, shown proposal.Shown) (ProposalPage, error) {
	p := shown.Proposal
	chrome, err := s.chrome(ctx, c, "A command line asks", "inbox")
	if err != nil {
		return ProposalPage{}, err
	}
	n := s.names(ctx)
	v := ProposalPage{
		Chrome: chrome, ID: string(p.ID), State: string(p.At(c.now)), Summary: s.title(ctx, n, p), From: from(p), Label: p.Label, Method: p.Method, Path: p.Path,
		Query: p.Query, Digest: hex.EncodeToString(p.Digest[:]), ProposedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt, DecidedAt: p.DecidedAt,
		MayRefuse: shown.MayDecide == nil,
	}
	if p.DecidedBy != "" {
		v.DecidedBy = n.person(p.DecidedBy)
	}
	if p.Settled(c.now) {
		v.NoBody = "The content of a proposal is destroyed when it has been decided. Its digest stays in the log."
	} else {
		v.Body, v.Withheld = withoutSecrets(shown.Request)
		v.Refers = s.refers(ctx, c, n, p.Path, v.Body.Tree)
	}
	v.CanDecide, v.WhyNot = s.mayConfirm(ctx, c, shown, v.Body)
	v.Outcome = s.performed(n, shown)
	return v, nil
}

// mayConfirm says whether this person may confirm what the page shows, or why
// not in one sentence.
func (s *Server) mayConfirm(ctx context.Context, c *call, shown proposal.Shown, b Body) (bool, string) {
	switch {
	case shown.MayDecide != nil:
		return false, fault.From(shown.MayDecide).Detail
	case c.who.Role == user.Auditor:
		return false, "Auditors look; they do not decide."
	case b.Opaque != "" || b.Tree != nil && !whole(b.Tree):
		return false, errNotWhole.Detail
	}
	if why := s.gone(ctx, c, shown.Proposal, b.Tree); why != "" {
		return false, why + " Confirming would change nothing; give the command again if something is still to be done."
	}
	if err := s.Users.WebAuthn.Available(); err != nil {
		return false, fault.From(err).Detail
	}
	return true, ""
}

// errNotWhole keeps what does not fit on a page from being confirmed by it.
var errNotWhole = fault.New(fault.Conflict, "proposal_not_shown", "This request cannot be shown whole, so it cannot be confirmed here; propose it in smaller parts.")

// secrets are the members of our API's requests that hold one.
func secretMember(name string) bool { return name == "client_secret" || name == "token" }

// withoutSecrets is a body of ours for reading: its tree, with the values of
// secrets left out, and therefore without its bytes.
func withoutSecrets(raw []byte) (b Body, withheld bool) {
	b = NewBody(api.MediaJSON, raw)
	b.Text, b.Dump, b.Left = "", nil, 0
	if b.Tree != nil {
		withheld = withhold(b.Tree)
	}
	return b, withheld
}

func withhold(n *Node) (any bool) {
	for _, child := range n.Children {
		if secretMember(child.Key) {
			*child = Node{Key: child.Key, HasKey: true, Kind: "secret", Text: "(secret, not shown)"}
			any = true
			continue
		}
		any = withhold(child) || any
	}
	return any
}

// Limits of a string in a tree; see the template "string".
const (
	stringHead = 1200
	stringRest = 40000
)

// whole reports whether the page shows everything in n.
func whole(n *Node) bool {
	if n.Left > 0 {
		return false
	}
	if n.Kind == "string" {
		head, more := display.Clip(n.Text, stringHead)
		if more > 0 {
			if _, more = display.Clip(n.Text[len(head):], stringRest); more > 0 {
				return false
			}
		}
	}
	for _, child := range n.Children {
		if !whole(child) {
			return false
		}
	}
	return true
}

// refers says what the names in a request stand for now, as far as this person
// may see those things.
func (s *Server) refers(ctx context.Context, c *call, n *names, path string, tree *Node) []Field {
	var out []Field
	add := func(kind, ref string) {
		if text := s.referent(ctx, c, n, kind, ref); text != "" {
			out = append(out, Field{ref, text})
		}
	}
	at := strings.Split(path, "/")
	for i := 0; i+1 < len(at); i++ {
		if ref, err := url.PathUnescape(at[i+1]); err == nil {
			add(strings.TrimSuffix(at[i], "s"), ref)
		}
	}
	if tree != nil {
		for _, member := range tree.Children {
			if member.Kind == "string" {
				add(member.Key, member.Text)
			}
		}
	}
	return out
}

func (s *Server) referent(ctx context.Context, c *call, n *names, kind, ref string) string {
	switch kind {
	case "agent":
		if a, _, err := s.Manage.Agent(ctx, c.who, ref); err == nil {
			return fmt.Sprintf("the agent %s of %s, %s", a.Name, n.person(a.Owner), a.ID)
		}
	case "connection":
		if con, err := s.Manage.Connection(ctx, c.who, ref); err == nil {
			a := n.account(con)
			return fmt.Sprintf("%s on %s, of %s, %s", a.Account, a.Provider, n.person(con.User), con.ID)
		}
	case "grant":
		all, err := s.Manage.ListGrants(ctx, c.who)
		if err != nil {
			return ""
		}
		for _, g := range all {
			if string(g.ID) == ref {
				a := n.connection(g.Connection)
				return fmt.Sprintf("what the agent %s may do with %s on %s", n.agent(g.Agent).Name, a.Account, a.Provider)
			}
		}
	case "freeze":
		for _, f := range s.Manage.Freezes.Active() {
			if string(f.ID) == ref && f.Org == s.Org {
				return fmt.Sprintf("the freeze of %s by %s: %s", first(n.object(f.Target), "everything"), n.actor(f.By), first(f.Reason, "no reason given"))
			}
		}
	case "user", "owner":
		if u := id.User(ref); id.Valid("usr", ref) && (seesAll(c.who) || u == c.who.User) {
			return n.person(u)
		}
	}
	return ""
}

// performed says what came of a confirmed proposal.
func (s *Server) performed(n *names, shown proposal.Shown) *Performed {
	if shown.State != proposal.Confirmed && shown.State != proposal.Failed {
		return nil
	}
	v := &Performed{Code: shown.Status, Done: shown.Status/100 == 2}
	var p api.Problem
	switch {
	case shown.Status == 0:
		v.Text = "It is being carried out. If this does not change, nobody knows whether it happened: look before you repeat it."
		return v
	case v.Done:
		v.Text, v.Page = s.came(n, shown.Proposal, shown.Outcome)
	case json.Unmarshal(shown.Outcome, &p) == nil && p.Detail != "":
		v.Text = "It was not done: " + p.Detail
	default:
		v.Text = "It was not done (" + http.StatusText(shown.Status) + ")."
	}
	if v.Done {
		v.Answer, _ = withoutSecrets(shown.Outcome)
	}
	return v
}

// beginProposal asks this person's passkey to sign the digest of what the page
// showed.
func (s *Server) beginProposal(ctx context.Context, c *call, req decisionBegin) (reply, error) {
	shown, err := s.findProposal(ctx, c)
	if err != nil {
		return reply{}, err
	}
	if err := s.confirmable(ctx, c, shown, req.Digest); err != nil {
		return reply{}, err
	}
	options, handle, err := s.Users.BeginStepUp(ctx, c.who, shown.Digest, c.now)
	return s.ceremony(c, options, handle, err)
}

// confirmable refuses what this person cannot confirm with what they saw.
func (s *Server) confirmable(ctx context.Context, c *call, shown proposal.Shown, seen string) error {
	digest, err := action.ParseDigest(seen)
	switch {
	case err != nil:
		return errJSON.Because(err)
	case shown.MayDecide != nil:
		return shown.MayDecide
	case [32]byte(digest) != shown.Digest:
		return proposal.ErrStale
	}
	body, _ := withoutSecrets(shown.Request)
	if ok, why := s.mayConfirm(ctx, c, shown, body); !ok {
		return fault.New(fault.Forbidden, "not_confirmable", why)
	}
	return nil
}

type proposalDecision struct {
	Decision  string          `json:"decision"`
	Digest    string          `json:"digest"`
	Assertion json.RawMessage `json:"assertion"`
}

// decideProposal answers a proposal. A yes is carried out at once, in this
// person's name.
func (s *Server) decideProposal(ctx context.Context, c *call, req proposalDecision) (reply, error) {
	shown, err := s.findProposal(ctx, c)
	if err != nil {
		return reply{}, err
	}
	here := reply{to: "/proposals/" + string(shown.ID)}
	switch req.Decision {
	case "refuse":
		return here, s.Proposals.Refuse(ctx, c.who, shown.ID, c.now)
	case "confirm":
	default:
		return reply{}, errJSON
	}
	if err := s.confirmable(ctx, c, shown, req.Digest); err != nil {
		return reply{}, err
	}
	if len(req.Assertion) == 0 {
		return reply{}, proposal.ErrPresence
	}
	evidence, err := s.Users.FinishStepUp(ctx, c.who, s.answered(c), req.Assertion, c.now)
	if err != nil {
		return reply{}, by(err)
	}
	_, err = s.Proposals.Confirm(ctx, c.who, shown.ID, shown.Digest, evidence, c.now)
	return here, err
}
