package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// VendTTL is the longest life that we announce for a vended token. Clients
// keep a token for as long as they are told, so this is also how long a
// revocation may take to reach one that holds it.
const VendTTL = 5 * time.Minute

// VendAsk asks for a token of a user's connection.
type VendAsk struct {
	User       id.User
	Connection string   // provider, name or id
	Hint       string   // which account, where there are several: its id or name at the provider
	Scopes     []string // narrower scopes, or none for what the connection has
}

// Vended is a token that an agent may hold.
type Vended struct {
	Token     secret.Text
	Scopes    []string
	ExpiresIn time.Duration
}

// ErrScopes refuses scopes that the token does not have, or cannot be cut to.
var ErrScopes = fault.New(fault.Invalid, "invalid_scope", "The connection's token has other scopes and cannot be narrowed; leave the scope out, or ask its owner to connect with the scopes you need.")

// Vend hands a token to an agent whose grant lets it hold one. When policy
// asks for a human the action is held and the outcome says so; after the
// approval the same request succeeds.
func (b *Broker) Vend(ctx context.Context, c agent.Caller, ask VendAsk, now time.Time) (*Vended, Outcome, error) {
	for range maxJudgements {
		v, out, err := b.vend(ctx, c, ask, now)
		switch {
		case errors.Is(err, ErrMoved) || errors.Is(err, ErrRaced):
			continue
		case err != nil:
			return nil, Outcome{}, b.refuse(ctx, c, "exchange", err, now)
		}
		return v, out, nil
	}
	return nil, Outcome{}, ErrMoved
}

func (b *Broker) vend(ctx context.Context, c agent.Caller, ask VendAsk, now time.Time) (*Vended, Outcome, error) {
	epoch, err := b.now(ctx)
	if err != nil {
		return nil, Outcome{}, err
	}
	if err := b.admitted(ctx, c); err != nil {
		return nil, Outcome{}, err
	}
	con, err := b.vendable(ctx, c, ask)
	if err != nil {
		return nil, Outcome{}, err
	}
	p, err := b.Vault.Providers.Find(ctx, con.Provider)
	if err != nil {
		return nil, Outcome{}, err
	}
	m := vendMatch(p.Spec, con)
	j, err := b.judge(ctx, subject{agent: c.Agent, name: c.Name, profile: c.Profile, source: c.Source}, con, p, m, "POST", nil, now)
	if err != nil {
		return nil, Outcome{}, err
	}
	if len(ask.Scopes) > 0 && !sameScopes(ask.Scopes, con.Scopes) {
		return nil, Outcome{}, ErrScopes
	}
	if err := j.refusal(); err != nil {
		return nil, Outcome{}, err
	}
	if level, asked := j.asks(); asked {
		return b.vendHeld(ctx, c, con, m, j, level, epoch, now)
	}
	cred, err := b.credential(ctx, con, now)
	if err != nil {
		return nil, Outcome{}, err
	}
	e := c.Event("token.vended", string(con.ID), con.User, now, vendData(c, con, cred, j))
	if err := b.Store.Begin(ctx, Begin{Org: b.Org, Epoch: epoch, Proofs: c.Proofs, Events: []audit.Event{e}}); err != nil {
		return nil, Outcome{}, err
	}
	return vended(cred, now), Outcome{}, b.Freezes.Check(b.Org, c.Agent, con.ID, con.User)
}

// credential is a token that is worth holding. One that is about to end, and
// that the provider does not renew just now, is good for a call of ours but not
// for an agent, which has to carry it home first.
func (b *Broker) credential(ctx context.Context, con *vault.Connection, now time.Time) (vault.Credential, error) {
	cred, err := b.Vault.UseOf(ctx, con, now)
	if err == nil && !cred.ExpiresAt.IsZero() && cred.ExpiresAt.Sub(now) < time.Second {
		return vault.Credential{}, vault.ErrUpstream
	}
	return cred, err
}

func vendData(c agent.Caller, con *vault.Connection, cred vault.Credential, j *judgement) map[string]string {
	data := map[string]string{
		"agent": string(c.Agent), "provider": con.Provider, "generation": fmt.Sprint(cred.Generation), "risk": j.risk.String(),
		"policy": j.decision.PolicyVersion, "source": c.Source.String(), "key": string(c.Key),
	}
	if c.AuditContext != "" {
		data["audit_context"] = c.AuditContext
	}
	return data
}

func vended(cred vault.Credential, now time.Time) *Vended {
	v := &Vended{Token: cred.Token, Scopes: cred.Scopes, ExpiresIn: VendTTL}
	if left := cred.ExpiresAt.Sub(now); !cred.ExpiresAt.IsZero() && left < v.ExpiresIn {
		v.ExpiresIn = max(left, 0).Truncate(time.Second)
	}
	return v
}

// vendable finds the connection that is meant: of this user, at this provider,
// with this account. Several accounts without a hint mean the one that was
// connected first, so that the answer does not change when another is added.
// What is missing, foreign or disconnected looks the same.
func (b *Broker) vendable(ctx context.Context, c agent.Caller, ask VendAsk) (*vault.Connection, error) {
	usable, err := b.Connections(ctx, c, time.Now())
	if err != nil {
		return nil, err
	}
	var hits []*vault.Connection
	for _, u := range usable {
		con := u.Connection
		if con.User != ask.User || con.Status == vault.Revoked {
			continue
		}
		if ask.Hint != "" && ask.Hint != con.AccountID && ask.Hint != con.Account {
			continue
		}
		if ask.Connection == con.Provider || ask.Connection == con.Name || ask.Connection == string(con.ID) {
			hits = append(hits, con)
		}
	}
	if len(hits) == 0 {
		return nil, grant.ErrNone
	}
	sort.Slice(hits, func(i, k int) bool { return hits[i].CreatedAt.Before(hits[k].CreatedAt) })
	return hits[0], nil
}

// vendMatch classifies handing out con's token: it is as risky as the worst
// operation that its scopes allow.
func vendMatch(spec *provider.Spec, con *vault.Connection) *provider.Match {
	m := &provider.Match{
		Operation: strings.TrimSuffix(spec.RawRead(), ".raw.read") + action.VendSuffix, Listed: true, Risk: provider.High,
		Why:     []string{"the agent would hold the token itself, and everything its scopes allow"},
		Scopes:  con.Scopes,
		Summary: fmt.Sprintf("hand out the token of %s at %s", con.Account, spec.Name),
	}
	if spec.Auth.Permissions || len(con.Scopes) == 0 {
		m.Risk = provider.Critical
		m.Why = append(m.Why, "what the token may do is not limited by scopes, so the worst is assumed")
		return m
	}
	for i := range spec.Operations {
		op := &spec.Operations[i]
		for _, s := range op.Scopes {
			if slices.Contains(con.Scopes, s) && op.Risk > m.Risk {
				m.Risk = op.Risk
				m.Why = append(m.Why, fmt.Sprintf("its scope %s allows %s, which is %s", s, op.Name, op.Risk))
			}
		}
	}
	return m
}

// vendRequest is the canonical form of a vending, so that it has an effect
// digest like every other action.
func vendRequest(con *vault.Connection) *action.Request {
	scopes := slices.Sorted(slices.Values(con.Scopes))
	return &action.Request{
		Method: "POST", Scheme: "valetkey", Host: con.Provider, Port: "0", Path: "/token/vend",
		Body: fmt.Appendf(nil, `{"connection":%q,"scopes":%q}`, con.ID, strings.Join(scopes, " ")),
	}
}

// vendHeld asks humans, or uses what they answered.
func (b *Broker) vendHeld(ctx context.Context, c agent.Caller, con *vault.Connection, m *provider.Match, j *judgement, level approval.Level, epoch int64, now time.Time) (*Vended, Outcome, error) {
	req := vendRequest(con)
	a := b.freeze(con, c, req, m, j, Ask{}, now)
	_, before, err := b.Store.Repeats(ctx, a.Org, a.Agent, "", a.Effect)
	if err != nil {
		return nil, Outcome{}, err
	}
	if before == nil || !before.Attaches(now) {
		if err := b.cooled(ctx, a, now); err != nil {
			return nil, Outcome{}, err
		}
		out, err := b.hold(ctx, c, a, req, j, level, epoch, now)
		return nil, out, err
	}
	out, err := b.attach(ctx, before)
	if err != nil {
		return nil, Outcome{}, err
	}
	if out.Action.State != action.Approved {
		return nil, *out, nil
	}
	h := Held{Action: out.Action, Approval: out.Approval}
	if j.demandsMore(h.Approval) {
		if err := b.reask(ctx, h, j, level, "policy_changed", epoch, now); err != nil {
			return nil, Outcome{}, err
		}
		if out, err = b.attach(ctx, h.Action); err != nil {
			return nil, Outcome{}, err
		}
		return nil, *out, nil
	}
	if _, err := b.stands(ctx, h, j); err != nil {
		return nil, Outcome{}, err
	}
	cred, err := b.credential(ctx, con, now)
	if err != nil {
		return nil, Outcome{}, err
	}
	err = b.Store.Move(ctx, b.Org, h.Action.ID, Move{Epoch: epoch, Proofs: c.Proofs, Claims: true, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
		digest := req.Effect(a.Party, a.Amount)
		spent, err := p.Spend(digest, now)
		if err != nil {
			return nil, nil, err
		}
		claimed, err := a.Claim(digest, now)
		if err != nil {
			return nil, nil, err
		}
		ended, err := a.Finish(action.Outcome{State: action.Succeeded}, now)
		a.FetchedAt = now
		e := c.Event("token.vended", string(con.ID), con.User, now, vendData(c, con, cred, j))
		return []audit.Event{spent, claimed, e, ended}, nil, err
	}})
	if err != nil {
		return nil, Outcome{}, err
	}
	return vended(cred, now), Outcome{}, b.Freezes.Check(b.Org, c.Agent, con.ID, con.User)
}

func sameScopes(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// statedAmount reads back the canonical text of an amount.
func statedAmount(s string) *Amount {
	parts := strings.Fields(s)
	if len(parts) != 3 {
		return nil
	}
	return &Amount{Meaning: provider.Meaning(parts[0]), Value: parts[1], Currency: parts[2]}
}
