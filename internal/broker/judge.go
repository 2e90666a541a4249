package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/risk"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// subject is who is judged: at submission the caller, at execution the agent
// as it is then.
type subject struct {
	agent   id.Agent
	name    string
	profile agent.Profile
	source  netip.Addr
}

// judgement is what freeze, grant, risk and policy say of one request.
type judgement struct {
	match    *provider.Match
	decision policy.Decision
	risk     provider.Risk
	facts    []string
	amount   string // canonical text, part of the effect
	specHash string
	lack     lack
}

// render makes the frozen request of what was asked, and classifies it. Typed
// parameters are rendered once, by us; a raw request keeps its bytes.
func render(spec *provider.Spec, ask Ask) (*action.Request, *provider.Match, error) {
	var in provider.Request
	if ask.Operation != "" {
		op, ok := spec.Operation(ask.Operation)
		if !ok {
			return nil, nil, fault.New(fault.Invalid, "unknown_operation", fmt.Sprintf("%s has no operation of this name; GET /v1/operations lists them.", spec.Name))
		}
		r, err := op.Render(spec, ask.Params)
		if err != nil {
			return nil, nil, refused(err)
		}
		in = r
	} else {
		in = provider.Request{Method: ask.Method, Path: ask.Path, RawQuery: ask.RawQuery, Body: ask.Body, Header: http.Header{}}
		if strings.Contains(ask.Path, "://") {
			place, err := spec.Locate(ask.Path)
			if err != nil {
				return nil, nil, refused(err)
			}
			if place.RawQuery != "" && ask.RawQuery != "" {
				return nil, nil, fault.New(fault.Invalid, "bad_query", "Give the query in the URL or beside it, not both.")
			}
			in.Base, in.Path = place.Base, place.Path
			if place.RawQuery != "" {
				in.RawQuery = place.RawQuery
			}
		}
		for _, h := range ask.Header {
			if !egress.HeaderAllowed(h.Name) {
				return nil, nil, fault.New(fault.Invalid, "header_refused", fmt.Sprintf("The header %.60q may not be sent upstream.", h.Name))
			}
			in.Header.Add(h.Name, h.Value)
		}
		if len(in.Body) > 0 && in.Header.Get("Content-Type") == "" {
			in.Header.Set("Content-Type", "application/json")
		}
		for name, value := range spec.Headers {
			if in.Header.Get(name) == "" {
				in.Header.Set(name, value)
			}
		}
	}
	m, err := spec.Match(in)
	if err != nil {
		return nil, nil, refused(err)
	}
	req, err := frozen(&m, in)
	return req, &m, err
}

// refused turns a refusal of the provider's rules into a fault.
func refused(err error) error {
	if r, ok := errors.AsType[*provider.Refusal](err); ok {
		return fault.New(fault.Invalid, string(r.Reason), sentence(r.Detail))
	}
	return err
}

// sentence makes a detail of a provider one sentence. A first word with a dot
// in it is an identifier, such as the name of an operation, and stays as it is.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	if first, _, _ := strings.Cut(s, " "); strings.Contains(first, ".") {
		return s + "."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// frozen is the request as it will be sent, in canonical parts.
func frozen(m *provider.Match, in provider.Request) (*action.Request, error) {
	base, err := url.Parse(m.Base)
	if err != nil {
		return nil, fmt.Errorf("base of %s: %w", m.Operation, err)
	}
	port := base.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[base.Scheme]
	}
	r := &action.Request{
		Method: in.Method, Scheme: base.Scheme, Host: strings.ToLower(base.Hostname()), Port: port,
		Path: strings.TrimSuffix(base.EscapedPath(), "/") + m.Path, Query: m.RawQuery, Body: in.Body,
	}
	for name, values := range in.Header {
		for _, v := range values {
			r.Header = append(r.Header, action.Header{Name: name, Value: v})
		}
	}
	action.SortHeaders(r.Header)
	_, err = r.URL()
	return r, err
}

// reclassify reads a stored request by today's description of its provider.
func reclassify(spec *provider.Spec, r *action.Request) (*provider.Match, error) {
	in, err := given(spec, r)
	if err != nil {
		return nil, err
	}
	m, err := spec.Match(in)
	if err != nil {
		return nil, refused(err)
	}
	return &m, nil
}

// given is a stored request in the form in which a description reads it.
func given(spec *provider.Spec, r *action.Request) (provider.Request, error) {
	u, err := r.URL()
	if err != nil {
		return provider.Request{}, err
	}
	place, err := spec.Locate(u.String())
	if err != nil {
		return provider.Request{}, refused(err)
	}
	in := provider.Request{Method: r.Method, Base: place.Base, Path: place.Path, RawQuery: r.Query, Body: r.Body, Header: http.Header{}}
	for _, h := range r.Header {
		in.Header.Add(h.Name, h.Value)
	}
	return in, nil
}

// judge runs phases 1 to 3. A refusal by freeze, grant, owner or connection is
// an error; what policy says is in the judgement.
func (b *Broker) judge(ctx context.Context, s subject, con *vault.Connection, p *vault.Provider, m *provider.Match, method string, stated *Amount, now time.Time) (*judgement, error) {
	if err := b.Freezes.Check(b.Org, s.agent, con.ID, con.User); err != nil {
		return nil, err
	}
	if err := b.granted(ctx, s.agent, con, p.Spec, m, now); err != nil {
		return nil, err
	}
	if err := b.alive(ctx, con); err != nil {
		return nil, err
	}
	set, err := b.Policies.Set(ctx)
	if err != nil {
		return nil, err
	}
	j := &judgement{match: m, specHash: p.SpecHash(), lack: lacks(con, p.Spec, m)}
	amount := raise(m.Amount, stated)
	j.amount = canonicalAmount(amount)
	j.assess(m, amount)
	j.decision = set.Decide(policy.Input{
		Org: b.Org, User: con.User,
		Agent:      policy.Agent{ID: s.agent, Name: s.name, Profile: string(s.profile)},
		Connection: policy.Connection{ID: con.ID, Provider: con.Provider, Account: con.Account, AccountID: con.AccountID},
		Operation:  m.Operation, Listed: m.Listed, Read: m.Read, Vend: action.Vends(m.Operation), Method: method,
		Resource: policy.Resource{Type: m.Resource.Type, ID: m.Resource.ID},
		Risk:     int(j.risk), Scopes: m.Scopes, Amount: policyAmount(amount), Now: now, Source: s.source, Facts: j.facts,
	})
	return j, nil
}

// granted finds a live grant that covers the request. The refusal is that of
// the grant that comes closest.
func (b *Broker) granted(ctx context.Context, who id.Agent, con *vault.Connection, spec *provider.Spec, m *provider.Match, now time.Time) error {
	grants, err := b.grantsOf(ctx, who)
	if err != nil {
		return err
	}
	refusal := error(grant.ErrNone)
	for _, g := range grants {
		if g.Connection != con.ID {
			continue
		}
		if g.User != con.User {
			continue // the connection changed hands: what its former owner allowed is void
		}
		if action.Vends(m.Operation) {
			err = g.CoversVend(now)
		} else {
			err = g.Covers(m.Operation, grant.Resource{Kind: m.Resource.Type, ID: m.Resource.ID, Plain: m.Resource.Type == spec.PlainType()}, now)
		}
		if err == nil {
			return nil
		}
		if grant.Closer(err, refusal) {
			refusal = err
		}
	}
	return refusal
}

// alive checks that the connection can be used and its owner is still here,
// before a human is woken for something that could not happen.
func (b *Broker) alive(ctx context.Context, con *vault.Connection) error {
	switch con.Status {
	case vault.Active:
	case vault.NeedsReauth:
		return vault.ErrNeedsReauth
	default:
		return vault.ErrRevoked
	}
	owner, err := b.person(ctx, con.User)
	if err != nil {
		return err
	}
	if owner.Status != user.Active {
		return fault.New(fault.Forbidden, "owner_suspended", "The owner of this connection is suspended, so it cannot be used.")
	}
	return nil
}

// raise takes the larger of what we found in the request and what the agent
// says: its word can only raise.
func raise(found *provider.Amount, stated *Amount) *provider.Amount {
	if stated == nil {
		return found
	}
	said := &provider.Amount{Meaning: stated.Meaning, Value: stated.Value, Currency: stated.Currency}
	if said.Meaning != provider.Transfer {
		said.Meaning = provider.Value
	}
	switch {
	case found == nil:
		return said
	case found.Unknown:
		return found
	case found.Meaning == said.Meaning && found.Currency == said.Currency:
		if policy.Less(found.Value, said.Value) {
			return said
		}
		return found
	}
	// Two statements that cannot be compared: nobody knows how much it is.
	worst := &provider.Amount{Meaning: found.Meaning, Currency: found.Currency, Unknown: true}
	if said.Meaning == provider.Transfer {
		worst.Meaning = provider.Transfer
	}
	return worst
}

func canonicalAmount(a *provider.Amount) string {
	switch {
	case a == nil:
		return ""
	case a.Unknown:
		return string(a.Meaning) + " unknown"
	}
	return string(a.Meaning) + " " + a.Value + " " + a.Currency
}

func policyAmount(a *provider.Amount) *policy.Amount {
	if a == nil {
		return nil
	}
	return &policy.Amount{Kind: string(a.Meaning), Number: a.Value, Currency: a.Currency, Unknown: a.Unknown}
}

// assess computes the risk and says what raised it.
func (j *judgement) assess(m *provider.Match, amount *provider.Amount) {
	var why []string
	for _, s := range m.Why {
		why = append(why, sentence(s))
	}
	got := risk.Assess(risk.Input{
		Operation: m.Operation, Base: m.Risk, Why: why, Listed: m.Listed, Read: m.Read, Vend: action.Vends(m.Operation), Amount: amount,
	})
	j.risk, j.facts = got.Level, got.Sentences()
}

// refusal is the error of a judgement that denies.
func (j *judgement) refusal() error {
	if j.decision.Verdict == policy.Permit || j.decision.Verdict == policy.Ask || j.decision.Verdict == policy.StepUp {
		return j.lack.refusal()
	}
	return fault.New(fault.Forbidden, j.decision.Code, strings.Join(j.decision.Explain(), " "))
}

// asks says which answer a judgement needs, if any.
func (j *judgement) asks() (approval.Level, bool) {
	level, ok := j.decision.Verdict.Level()
	return approval.Level(level), ok && level > policy.Nobody
}
