package dash

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/vault"
)

func (s *Server) inbox(ctx context.Context, c *call) (reply, error) {
	v, err := s.inboxView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.Inbox(w, v) }}, err
}

func (s *Server) inboxList(ctx context.Context, c *call) (reply, error) {
	v, err := s.inboxView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.InboxList(w, v) }}, err
}

func (s *Server) inboxView(ctx context.Context, c *call) (InboxPage, error) {
	chrome, err := s.chrome(ctx, c, "Inbox", "inbox")
	if err != nil {
		return InboxPage{}, err
	}
	v := InboxPage{Chrome: chrome, Example: s.example("--client-id AGENT --key FILE"+s.elsewhere(), "octo", "api")}
	mine, others, err := s.waiting(ctx, c)
	if err != nil {
		return v, err
	}
	proposed, err := s.Proposals.Waiting(ctx, c.who, c.now)
	if err != nil {
		return v, err
	}
	n := s.names(ctx)
	for _, p := range proposed[:min(len(proposed), maxCards)] {
		v.Proposals = append(v.Proposals, ProposalCard{
			ID: string(p.ID), From: from(p), Label: p.Label, Summary: s.title(ctx, n, p), ProposedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt,
		})
	}
	for _, h := range mine[:min(len(mine), maxCards)] {
		card, err := s.card(ctx, c, n, h)
		if err != nil {
			return v, err
		}
		v.Pending = append(v.Pending, card)
	}
	v.More = len(mine) - len(v.Pending)
	for _, h := range others {
		v.Others = append(v.Others, Decided{
			ID: string(h.Action.ID), Summary: sentence(h.Action.Summary), Agent: n.agent(h.Action.Agent), Account: n.connection(h.Action.Connection),
			By: n.person(h.Action.User), At: h.Action.CreatedAt,
		})
	}
	if v.Decided, err = s.decided(ctx, c, n, 10); err != nil {
		return v, err
	}
	cons, err := s.Manage.ListConnections(ctx, c.who)
	if err != nil {
		return v, err
	}
	v.HasConnections = slices.ContainsFunc(cons, func(con *vault.Connection) bool { return con.Status != vault.Revoked })
	agents, err := s.Manage.ListAgents(ctx, c.who)
	v.HasAgents = len(agents) > 0
	return v, err
}

// card is one waiting action. Method and address come from the frozen request.
func (s *Server) card(ctx context.Context, c *call, n *names, h broker.Held) (Card, error) {
	a, p := h.Action, h.Approval
	v := Card{
		ID: string(a.ID), Summary: sentence(a.Summary), Agent: n.agent(a.Agent), Account: n.connection(a.Connection), Amount: amount(a.Amount),
		Risk: Risk{Level: a.Risk, Reasons: facts(a, p)}, StepUp: p.Level == approval.StepUp, ProposedAt: a.CreatedAt, ExpiresAt: p.ExpiresAt, Repeats: p.Repeats,
	}
	v.Halted = s.stops(n, a)
	shown, err := s.Broker.Show(ctx, c.who, p.ID, c.now)
	if err != nil {
		return v, err
	}
	if r := shown.Request; r != nil {
		shown := request(r)
		v.Method, v.Host, v.Port, v.Path = shown.Method, shown.Host, shown.Port, shown.Path
	}
	return v, nil
}

// decided lists what was decided lately, newest first.
func (s *Server) decided(ctx context.Context, c *call, n *names, limit int) ([]Decided, error) {
	var all []broker.Held
	for _, status := range []approval.Status{approval.Granted, approval.Spent, approval.Denied, approval.Expired, approval.Withdrawn} {
		some, err := s.Broker.Inbox(ctx, c.who, status, noTime, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b broker.Held) int { return endedAt(b).Compare(endedAt(a)) })
	var out []Decided
	for _, h := range all[:min(len(all), limit)] {
		d := Decided{
			ID: string(h.Action.ID), Summary: sentence(h.Action.Summary), Agent: n.agent(h.Action.Agent), Account: n.connection(h.Action.Connection),
			State: string(h.Action.State), At: endedAt(h),
		}
		if h.Approval.DecidedBy != "" {
			d.By = n.person(h.Approval.DecidedBy)
		}
		out = append(out, d)
	}
	return out, nil
}

func endedAt(h broker.Held) time.Time {
	if !h.Approval.DecidedAt.IsZero() {
		return h.Approval.DecidedAt
	}
	return h.Action.UpdatedAt
}

// facts are the sentences that led to the risk, without those that say what
// the reader is about to decide.
func facts(a *action.Action, p *approval.Approval) []string {
	var out []string
	for _, why := range p.Why {
		if strings.TrimSuffix(why, ".") == a.Operation+" is "+a.Risk {
			continue // said by the chip already
		}
		if strings.Contains(why, "needs a human's approval") || strings.HasPrefix(why, "It would pass with") || slices.Contains(out, why) {
			continue
		}
		out = append(out, why)
	}
	return out
}

// amount reads the canonical text of an action's amount.
func amount(text string) *Amount {
	meaning, rest, ok := strings.Cut(text, " ")
	if !ok {
		return nil
	}
	value, currency, _ := strings.Cut(rest, " ")
	if value == "unknown" {
		value, currency = "an unknown amount", ""
	}
	return &Amount{Value: value, Currency: currency, Moves: meaning == "transfer"}
}

// decoded is a path as it reads; one that cannot be decoded stays as it is.
func decoded(p string) string {
	if text, err := url.PathUnescape(p); err == nil {
		return text
	}
	return p
}

// request is the frozen request for reading.
func request(r *action.Request) Request {
	v := Request{Method: r.Method, Scheme: r.Scheme, Host: r.Host, Path: decoded(r.Path), RawPath: r.Path, Raw: r.Query}
	if !(r.Scheme == "https" && r.Port == "443") && !(r.Scheme == "http" && r.Port == "80") {
		v.Port = r.Port
	}
	kind := ""
	for _, h := range r.Header {
		v.Headers = append(v.Headers, Field{h.Name, h.Value})
		if h.Name == "content-type" {
			kind = h.Value
		}
	}
	for pair := range strings.SplitSeq(r.Query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		v.Query = append(v.Query, Field{unescaped(name), unescaped(value)})
	}
	v.Body = NewBody(kind, r.Body)
	return v
}

func unescaped(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		return text
	}
	return s
}
