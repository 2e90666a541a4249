package httpapi

import (
	"context"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// moment is t as the wire has it: UTC, to the microsecond, and zero where there
// is none.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// actionPage is where people see and answer an action.
func (s *Server) actionPage(a *action.Action) string { return s.page("actions/" + string(a.ID)) }

func (s *Server) actionView(ctx context.Context, h broker.Held) (api.Action, error) {
	a, p := h.Action, h.Approval
	con, err := s.conns().Connection(ctx, s.Org, a.Connection)
	if err != nil {
		return api.Action{}, err
	}
	v := api.Action{
		ID: string(a.ID), State: api.ActionState(a.State), Final: a.State.Final(), Operation: a.Operation, Summary: a.Summary,
		Connection: string(a.Connection), Provider: a.Provider, Account: con.Account, Resource: a.Resource, Risk: api.Risk(a.Risk),
		Amount: amountView(a.Amount), Effect: a.Effect.String(), Note: a.Note, Agent: string(a.Agent),
		CreatedAt: moment(a.CreatedAt), UpdatedAt: moment(a.UpdatedAt), ExpiresAt: moment(a.ExpiresAt), FinishedAt: moment(a.FinishedAt),
		IdempotencyKey: a.Key,
	}
	if p != nil {
		v.Approval = &api.Ticket{
			ID: string(p.ID), Status: api.ApprovalStatus(p.Status), Level: levelView(p.Level), URL: s.actionPage(a), ExpiresAt: moment(p.ExpiresAt),
		}
		v.Explanation = p.Why
	}
	if v.Final {
		v.Outcome = &api.Outcome{
			Status: a.Status, Why: a.Why, ResponseBytes: a.AnswerSize,
			Response: a.PayloadKept && a.Status != 0,
		}
		// A person's own words reach the agent without the word that we put before
		// them.
		if a.State == action.Denied {
			v.Outcome.Why = strings.TrimPrefix(a.Why, "denied: ")
		}
	}
	return v, nil
}

// amountView reads the canonical text of an amount.
func amountView(text string) *api.Amount {
	words := strings.Fields(text)
	switch {
	case len(words) == 2 && words[1] == "unknown":
		return &api.Amount{Kind: api.AmountKind(words[0]), Unknown: true}
	case len(words) == 3:
		return &api.Amount{Kind: api.AmountKind(words[0]), Number: words[1], Currency: words[2]}
	}
	return nil
}

func levelView(l approval.Level) api.Level {
	if l == approval.Approve {
		return api.LevelApprove
	}
	return api.LevelStepUp
}

// approvalView is an approval as the person who asks may see it. why says why
// that person may not answer, or is nil.
func (s *Server) approvalView(ctx context.Context, h broker.Held, r *action.Request, why error, now time.Time) (api.Approval, error) {
	a, p := h.Action, h.Approval
	view, err := s.actionView(ctx, h)
	if err != nil {
		return api.Approval{}, err
	}
	who := api.AgentRef{ID: string(a.Agent)}
	if known, err := s.Agents.Find(ctx, string(a.Agent)); err == nil {
		who.Name = known.Name
	} else if fault.From(err).Kind != fault.NotFound {
		return api.Approval{}, err
	}
	v := api.Approval{
		ID: string(p.ID), Status: api.ApprovalStatus(p.Status), Level: levelView(p.Level), Action: view, Agent: who, User: string(p.User),
		Rules: p.Rules, Why: p.Why, Impact: p.Impact, Scopes: p.Scopes, PolicyVersion: p.PolicyVersion, CanDecide: why == nil,
		URL: s.actionPage(a), CreatedAt: moment(p.CreatedAt), ExpiresAt: moment(p.ExpiresAt),
		DecidedAt: moment(p.DecidedAt), DecidedBy: string(p.DecidedBy), Channel: p.Channel, Reason: p.Reason,
	}
	if why != nil {
		v.WhyNot = fault.From(why).Detail
	}
	if p.Level >= approval.StepUp && p.Status == approval.Open && now.Before(p.ExpiresAt) {
		d := p.Digest(approval.Yes)
		v.Challenge = base64.RawURLEncoding.EncodeToString(d[:])
	}
	if r != nil {
		u, err := r.URL()
		if err != nil {
			return api.Approval{}, err
		}
		v.Request = &api.ExactRequest{Method: r.Method, URL: u.String(), Body: r.Body, Effect: a.Effect.String()}
		if utf8.Valid(r.Body) {
			v.Request.BodyText = string(r.Body)
		}
		for _, f := range r.Header {
			v.Request.Headers = append(v.Request.Headers, api.Header{Name: f.Name, Value: f.Value})
		}
	}
	return v, nil
}

func userView(u *user.User, passkeys int) api.User {
	return api.User{ID: string(u.ID), Name: u.Name, Role: string(u.Role), Status: string(u.Status), Passkeys: passkeys, CreatedAt: moment(u.CreatedAt)}
}

func agentView(a *agent.Agent, keys []*agent.Key) api.Agent {
	v := api.Agent{
		ID: string(a.ID), Name: a.Name, Owner: string(a.Owner), Profile: string(a.Profile), Status: string(a.Status),
		Sources: []string{}, CreatedAt: moment(a.CreatedAt), SeenAt: moment(a.SeenAt),
	}
	for _, p := range a.Sources {
		v.Sources = append(v.Sources, p.String())
		if p.Bits() == 0 {
			v.Warnings = append(v.Warnings, "It may call from every address: a stolen key works from anywhere.")
		}
	}
	if a.Profile == agent.Compat2025 {
		v.Warnings = append(v.Warnings, "Profile compat-2025: for 60 seconds a leaked subject token of this agent works for whoever has it.")
	}
	for _, k := range keys {
		v.Keys = append(v.Keys, keyView(k))
	}
	return v
}

func keyView(k *agent.Key) api.AgentKey {
	return api.AgentKey{
		ID: string(k.ID), KID: k.KID, Alg: k.Alg, PublicPEM: k.PEM, Thumbprint: thumbprint(k), Status: string(k.Status),
		CreatedAt: moment(k.CreatedAt), RevokedAt: moment(k.RevokedAt),
	}
}

// thumbprint names a key by what it is, whatever kid it was registered with.
func thumbprint(k *agent.Key) string {
	parsed, err := jwt.ParsePublicKey([]byte(k.PEM), jwt.Alg(k.Alg))
	if err != nil {
		return "" // of an older program's making; the PEM shows it all the same
	}
	return parsed.Thumbprint()
}

func grantView(g *grant.Grant) api.Grant {
	return api.Grant{
		ID: string(g.ID), Agent: string(g.Agent), Connection: string(g.Connection), User: string(g.User), Mode: string(g.Mode),
		Operations: g.Operations, Resources: g.Resources, CreatedAt: moment(g.CreatedAt), CreatedBy: g.CreatedBy,
		ExpiresAt: moment(g.ExpiresAt), RevokedAt: moment(g.RevokedAt),
	}
}

// connectionView is a connection; p is its provider, or nil when that is gone.
func (s *Server) connectionView(c *vault.Connection, p *vault.Provider) api.Connection {
	v := api.Connection{
		ID: string(c.ID), Name: c.Name, Provider: c.Provider, Account: c.Account, AccountID: c.AccountID, Tenant: c.Tenant,
		Kind: string(c.Kind), Status: string(c.Status), Why: c.Why, User: string(c.User), Scopes: c.Scopes,
		CreatedAt: moment(c.CreatedAt), UsedAt: moment(c.UsedAt), RevokedAt: moment(c.RevokedAt),
	}
	if c.Status == vault.NeedsReauth {
		v.RenewURL = s.page("connections")
	}
	if p != nil {
		v.BaseURLs = p.Spec.Endpoints.APIBases
	}
	return v
}

func freezeView(f freeze.Freeze) api.Freeze {
	return api.Freeze{
		ID: string(f.ID), Kind: string(f.Kind), Target: f.Target, Reason: f.Reason, By: f.By, At: moment(f.At), LiftedAt: moment(f.LiftedAt),
	}
}

func eventView(e audit.Event, leaf string) api.Event {
	return api.Event{
		Seq: e.Seq, At: moment(e.At), Org: string(e.Org), Verb: e.Verb, Actor: e.Actor, Object: e.Object, Subject: e.Subject,
		Data: e.Data, Leaf: leaf,
	}
}
