package oauth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
)

// errApproval is a person's turn, not a failure.
var errApproval = fault.New(fault.Forbidden, codeApproval, "A person has to approve this first.")

var errUnsupportedSubject = fault.New(fault.Invalid, "unsupported_subject_token_type",
	"The subject_token_type "+api.SubjectJWT+" is the one that is accepted here: a JWT that the agent signs with its own key.")

// trade is an exchange in the words of one of its two grant types.
type trade struct {
	connection string
	requested  []string // the requested_token_types that are fine
	implied    string   // when none is requested
	err        error    // a parameter that makes no sense, reported once the asker is known
}

// vaultExchange is the grant as Auth0 has it (auth0-wire.md §4.1).
func vaultExchange(c *call) trade {
	return trade{
		connection: c.get("connection"),
		requested:  []string{api.RequestedVaultToken, requestedFederated},
		implied:    api.RequestedVaultToken,
	}
}

// standardExchange is the grant of RFC 8693. It names the account by audience,
// "the logical name of the target service" (§2.1), or as the other one does.
func standardExchange(c *call) trade {
	t := trade{
		connection: c.get("connection"),
		requested:  []string{tokenTypeAccess, api.RequestedVaultToken, requestedFederated},
		implied:    tokenTypeAccess,
	}
	audience := c.get("audience")
	switch {
	case c.get("resource") != "":
		t.err = fault.New(fault.Invalid, codeInvalidTarget, "Name the connection by audience or connection; resource is not supported.")
	case t.connection == "":
		t.connection = audience
	case audience != "" && audience != t.connection:
		t.err = fault.New(fault.Invalid, codeInvalidTarget, "audience and connection name two different targets; send one of them.")
	}
	return t
}

// exchange hands out a token of a user's connection. The agent proves itself
// by the subject token, and in profile strict by a client assertion beside it
// (auth0-wire.md §10).
func (s *Server) exchange(ctx context.Context, c *call, t trade) (reply, error) {
	c.surface = surfaceExchange
	switch kind := c.get("subject_token_type"); {
	case kind == "":
		return nil, missing("subject_token_type")
	case kind != api.SubjectJWT:
		return nil, errUnsupportedSubject
	case c.get("subject_token") == "":
		return nil, missing("subject_token")
	}
	if err := s.identify(ctx, c); err != nil {
		return nil, err
	}
	kind, err := c.requestedType(t)
	switch {
	case err != nil:
		return nil, err
	case t.err != nil:
		return nil, t.err
	case c.get("actor_token") != "" || c.get("actor_token_type") != "":
		// RFC 8693 §2.1: whom an agent acts for is said by its grants.
		return nil, unreadable("actor_token", "Leave out actor_token: an agent acts as itself, for the user that the subject token names.")
	case t.connection == "":
		return nil, missing("connection")
	case !id.Valid("usr", string(c.caller.Subject)):
		// Nobody's id: a malformed one reaches neither a query nor the log.
		c.caller.Subject = ""
		return nil, grant.ErrNone
	}
	v, out, err := s.Broker.Vend(ctx, c.caller, broker.VendAsk{
		User: c.caller.Subject, Connection: t.connection, Hint: c.get("login_hint"), Scopes: strings.Fields(c.get("scope")),
	}, c.now)
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, s.held(ctx, c, out)
	}
	return issued{token: v.Token, scopes: v.Scopes, expires: v.ExpiresIn, kind: kind}, nil
}

// identify knows the agent of an exchange, and the user it names. Both proofs
// must be of one agent, and both are spent by what follows.
func (s *Server) identify(ctx context.Context, c *call) error {
	if err := c.noSecret(); err != nil {
		return err
	}
	var client agent.Caller
	if c.get("client_assertion") != "" || c.get("client_assertion_type") != "" {
		if err := s.authenticate(ctx, c); err != nil {
			return err
		}
		client = c.caller
	}
	who, err := s.Agents.Subject(ctx, c.get("subject_token"), c.get("client_id"), c.from, c.now)
	if client.Agent == "" {
		c.caller = who
	}
	switch {
	case err != nil:
		return err
	case client.Agent == "" && who.Profile != agent.Compat2025:
		return errNoAssertion
	case client.Agent != "" && client.Agent != who.Agent:
		return fault.New(fault.Invalid, "client_mismatch", "The client assertion and the subject token are signed by two different agents.")
	}
	who.Proofs = slices.Concat(who.Proofs, client.Proofs)
	c.caller = who
	// auth0-wire.md §10: only compat-2025 reads this parameter.
	if ref := c.get("client_credential_id"); who.Profile == agent.Compat2025 && id.Valid("key", ref) && ref != string(who.Key) {
		return unreadable("wrong_key", "client_credential_id names another key than the one that signed.")
	}
	return nil
}

// requestedType is what the answer calls the token that it brings.
func (c *call) requestedType(t trade) (string, error) {
	asked := c.get("requested_token_type")
	switch {
	case asked == "" && c.caller.Profile == agent.Compat2025:
		return t.implied, nil
	case asked == "":
		return "", unreadable("missing_requested_token_type", "The parameter requested_token_type is missing: set it to %s.", t.implied)
	case slices.Contains(t.requested, asked):
		return asked, nil
	}
	return "", errUnsupportedRequested(t.implied)
}

func errUnsupportedRequested(want ...string) *fault.Error {
	return fault.New(fault.Invalid, "unsupported_requested_token_type", fmt.Sprintf("Only the provider's access token is handed out: set requested_token_type to %s.", strings.Join(want, " or ")))
}

// held says what became of an exchange that is up to a person.
func (s *Server) held(ctx context.Context, c *call, out broker.Outcome) error {
	a := out.Action
	// A fresh question is in the log with its approval and has spent the proofs.
	// A repeat that attaches to it is not, and has not.
	c.recorded = !out.Replayed
	if a.State.Final() {
		// Telling the agent how it ended is what fetching it would have done: from
		// here on runs the time after which the same exchange asks afresh.
		if _, err := s.Broker.Get(ctx, c.caller, a.ID, c.now); err != nil {
			return err
		}
	}
	page := s.Issuer + "actions/" + string(a.ID)
	var f *fault.Error
	switch a.State {
	case action.Proposed, action.Pending:
		f = fault.New(fault.Forbidden, errApproval.Reason, fmt.Sprintf("A person has to approve this first, on the page %s. Wait for the action %s, then ask again with a fresh signature.", page, a.ID))
	case action.Approved:
		f = fault.New(fault.Forbidden, "approval_insufficient", fmt.Sprintf("The rules have become stricter since this was approved; cancel the action %s and ask again.", a.ID))
	case action.Denied:
		f = fault.New(fault.Forbidden, "denied", fmt.Sprintf("A person denied this; %s shows who and why.", page))
	case action.Expired, action.Cancelled, action.Revoked:
		f = fault.New(fault.Forbidden, string(a.State), fmt.Sprintf("The question whether to allow this ended unanswered or was withdrawn (%s); ask again.", a.State))
	default:
		f = fault.New(fault.Conflict, "in_progress", "The same exchange is being done at this moment; ask again.")
	}
	return about{f, a.ID}
}
