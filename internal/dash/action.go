package dash

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// find returns the held action that the path names.
func (s *Server) find(ctx context.Context, c *call) (broker.Shown, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("act", ref) {
		return broker.Shown{}, broker.ErrUnknown
	}
	return s.Broker.Find(ctx, c.who, id.Action(ref), c.now)
}

func (s *Server) action(ctx context.Context, c *call) (reply, error) {
	v, err := s.actionView(ctx, c)
	if err == nil && v.Preview != nil && v.Preview.State == "later" && c.http.URL.Query().Has("now") {
		// Without a script, the page waits for what it is asked to show.
		var shown broker.Shown
		if shown, err = s.find(ctx, c); err == nil {
			err = s.peek(ctx, c, shown, v.Preview)
		}
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Action(w, v) }}, err
}

// actionLive is the page again, when it is not as the browser has it.
func (s *Server) actionLive(ctx context.Context, c *call) (reply, error) {
	v, err := s.actionView(ctx, c)
	if err != nil || v.Have() == c.http.URL.Query().Get("have") {
		return reply{bare: true}, err
	}
	return reply{page: func(w io.Writer) error { return s.Pages.ActionLive(w, v) }}, nil
}

func (s *Server) actionView(ctx context.Context, c *call) (ActionPage, error) {
	shown, err := s.find(ctx, c)
	if err != nil {
		return ActionPage{}, err
	}
	a, p := shown.Action, shown.Approval
	chrome, err := s.chrome(ctx, c, sentence(a.Summary), "inbox")
	if err != nil {
		return ActionPage{}, err
	}
	n := s.names(ctx)
	v := ActionPage{
		Chrome: chrome, ID: string(a.ID), State: string(a.State), Summary: chrome.Title, Operation: a.Operation,
		Agent: n.agent(a.Agent), Account: n.connection(a.Connection), Risk: Risk{Level: a.Risk, Reasons: facts(a, p)}, Scopes: p.Scopes,
		Amount: amount(a.Amount), Digest: a.Effect.String(), InLog: a.Commitment(), Question: question(p), Source: a.Source, AgentText: a.Note, ProposedAt: a.CreatedAt, ExpiresAt: p.ExpiresAt,
		StepUp: p.Level == approval.StepUp, CanDecide: shown.MayAnswer, Voted: shown.Voted, Repeats: p.Repeats,
	}
	if p.Quorum > 1 {
		v.Quorum = p.Quorum
		for _, vote := range p.Votes {
			v.Voters = append(v.Voters, n.person(vote.User))
		}
	}
	if shown.Relievable {
		v.Relief = a.Operation + " on " + a.Resource
	}
	if strings.HasSuffix(a.Operation, ".raw.read") || strings.HasSuffix(a.Operation, ".raw.write") {
		v.Operation = ""
	}
	if len(p.Rules) > 0 {
		v.Rule = s.rule(ctx, p.Rules[0])
		// The rule's own words stand above the facts.
		v.Risk.Reasons = slices.DeleteFunc(v.Risk.Reasons, func(why string) bool { return why == v.Rule.Reason })
	}
	switch {
	case shown.Request != nil:
		v.Request = request(shown.Request)
	case !a.PayloadKept:
		v.NoRequest = "The content of an action is destroyed a day after it has ended. Its digest stays in the log."
	default:
		v.NoRequest = "Only the owner of the account, and whoever may answer, sees what is in the request."
	}
	if !v.CanDecide {
		v.WhyNot = s.whyNot(c, n, shown)
	} else if v.StepUp {
		if err := s.Users.WebAuthn.Available(); err != nil {
			v.CanDecide, v.WhyNot = false, fault.From(err).Detail
		}
		if err := s.offerSignIn(ctx, c, &v); err != nil {
			return v, err
		}
	}
	if v.Open() {
		v.Halted = s.stops(n, a)
		v.Preview = s.previewLater(ctx, c, n, shown)
	}
	events, err := s.Select(ctx, Query{Org: s.Org, Object: string(a.ID), Limit: 100})
	if err != nil {
		return v, err
	}
	slices.Reverse(events)
	for _, e := range events {
		if e.Verb == "action.reasked" {
			v.AskedAgainAt, v.AskedAgainWhy = e.At, plainWhy(e.Data["why"])
		}
	}
	v.Receipt = p.DecidedBy != "" && p.ID == a.Approval
	v.Timeline = timeline(n, a, p, events)
	if v.Outcome = outcome(n, a, p, events); v.Outcome != nil {
		err = s.result(ctx, n, shown, v.Outcome)
	}
	return v, err
}

// whyNot says in one sentence why this person may not answer.
func (s *Server) whyNot(c *call, n *names, shown broker.Shown) string {
	switch {
	case !c.now.Before(shown.Approval.ExpiresAt):
		return "The time to answer is over; the agent has to ask again."
	case c.who.Role == user.Auditor:
		return "Auditors look; they do not decide."
	case shown.WhyNot != nil && fault.From(shown.WhyNot).Reason == "four_eyes":
		return fault.From(shown.WhyNot).Detail
	case namesApprovers(shown.Approval):
		return "It is for the people to decide whom the rules name, and you are not among them."
	}
	a := n.connection(shown.Action.Connection)
	return fmt.Sprintf("It is for %s to decide, who owns %s on %s, or for whom the rules name.", n.person(shown.Action.User), a.Account, a.Provider)
}

// timeline tells the life of an action from its events, oldest first.
func timeline(n *names, a *action.Action, p *approval.Approval, events []audit.Event) []Step {
	var out []Step
	add := func(name, status, note string, at time.Time) { out = append(out, Step{name, status, note, at}) }
	for _, e := range events {
		switch e.Verb {
		case "action.held":
			add("proposed", "done", "by "+n.actor(e.Actor), e.At)
			add("asked", "done", asked(p), e.At)
		case "action.reasked":
			add("asked", "done", "again: "+plainWhy(e.Data["why"]), e.At)
		case "action.approved":
			voted(n, p, &out)
			note := "by " + n.actor(e.Actor)
			if p.Level == approval.StepUp && len(p.Evidence) > 0 {
				note += ", with passkey"
				if user.IsSignIn(p.Evidence) {
					note = "by " + n.actor(e.Actor) + ", logged in anew for it"
				}
			}
			add("approved", "done", note, e.At)
		case "action.denied":
			voted(n, p, &out)
			add("denied", "failed", "by "+n.actor(e.Actor), e.At)
		case "action.executing":
			add("executing", "done", "these bytes, once", e.At)
		case "action.succeeded":
			add("succeeded", "done", answered(e), e.At)
		case "action.failed", "action.unknown":
			note := answered(e)
			if note == "" {
				note = plainWhy(e.Data["why"])
			}
			add(strings.TrimPrefix(e.Verb, "action."), "failed", note, e.At)
		case "action.expired", "action.cancelled", "action.revoked":
			add(strings.TrimPrefix(e.Verb, "action."), "failed", plainWhy(e.Data["why"]), e.At)
		}
	}
	if a.State == action.Pending {
		voted(n, p, &out)
	}
	if len(out) == 0 {
		return out
	}
	switch last := &out[len(out)-1]; a.State {
	case action.Pending:
		last.Status = "current"
	case action.Executing:
		last.Status = "current"
	case action.Approved:
		add("executing", "current", "in a moment", time.Time{})
	}
	return out
}

// voted adds who of several said yes before it was decided.
func voted(n *names, p *approval.Approval, to *[]Step) {
	if p.Quorum < 2 {
		return
	}
	for i, v := range p.Votes {
		if p.Status != approval.Open && p.Status != approval.Denied && v.User == p.DecidedBy {
			continue // the last one: it is the approval
		}
		*to = append(*to, Step{"voted", "done", fmt.Sprintf("by %s, %d of %d", n.person(v.User), i+1, p.Quorum), v.At})
	}
}

func asked(p *approval.Approval) string {
	switch len(p.Rules) {
	case 0:
		return ""
	case 1:
		return "rule " + p.Rules[0]
	}
	return "rules " + strings.Join(p.Rules, ", ")
}

func answered(e audit.Event) string {
	if code := e.Data["status"]; code != "" {
		return "HTTP " + code
	}
	return ""
}

// plainWhy says a stable reason in words.
func plainWhy(reason string) string {
	known := map[string]string{
		"expired": "nobody answered in time", "cancelled": "the agent took it back", "policy_changed": "the rules changed and ask for more",
		"target_changed":     "what it would change was no longer as it had been shown",
		"connection_revoked": "the account was disconnected", "agent_suspended": "the agent was suspended", "frozen": "it was frozen",
		"grant_revoked": "the grant was revoked", "grant_expired": "the grant has expired", "connection_not_found": "the agent has no grant any more",
	}
	return first(known[reason], strings.ReplaceAll(reason, "_", " "))
}

// outcome says what came of an action that has ended.
func outcome(n *names, a *action.Action, p *approval.Approval, events []audit.Event) *Outcome {
	if !a.State.Final() {
		return nil
	}
	v := &Outcome{Status: a.Status, Size: a.AnswerSize}
	var began time.Time
	for _, e := range events {
		if e.Verb == "action.executing" {
			began = e.At
		}
	}
	if !began.IsZero() && !a.FinishedAt.IsZero() {
		v.Duration = a.FinishedAt.Sub(began)
	}
	who := n.connection(a.Connection).Provider
	switch a.State {
	case action.Succeeded:
		v.Text = who + " accepted the request."
	case action.Failed:
		v.Text = who + " refused the request. Nothing else was tried."
		if a.Status == 0 {
			v.Text = "It was not sent: " + plainWhy(a.Why) + "."
		}
	case action.Unknown:
		return nil
	case action.Denied:
		v.Text = n.person(p.DecidedBy) + " said no. Nothing was sent."
		if p.Reason != "" {
			v.Text = n.person(p.DecidedBy) + " said no: " + p.Reason
		}
		if !p.CoolUntil.IsZero() {
			v.Text += " Equal requests are refused until " + p.CoolUntil.UTC().Format("15:04 UTC on 2 January") + "."
		}
	default:
		v.Text = "Nothing was sent: " + plainWhy(a.Why) + "."
	}
	return v
}

// rule finds the words of a rule by its name.
func (s *Server) rule(ctx context.Context, name string) Rule {
	v := Rule{ID: name}
	docs, err := s.Broker.Policies.All(ctx)
	if err != nil {
		return v
	}
	for _, d := range docs {
		for _, r := range rulesOf(d) {
			if r.ID == name {
				v.Reason = r.Title
			}
		}
	}
	return v
}

// question names what an approval asks: which one it is, under which rules, for
// how long and what for. A page carries it, and an answer brings it back.
func question(p *approval.Approval) string {
	d := p.Digest(approval.Yes)
	return hex.EncodeToString(d[:])
}

var (
	errNoPresence = fault.New(fault.Conflict, "no_step_up", "This action does not ask for a passkey; reload the page.")
	errOther      = fault.New(fault.Conflict, "question_changed", "Nothing was decided: this was asked again after your page was loaded, because the rules changed, or what it would change. Reload, look at what is asked now, and decide that.")
)

// asksThis checks that an answer is one to what stands open, and not to something
// that looked like it: digest is the effect that stood on the page, of the
// question that stood there.
func asksThis(shown broker.Shown, digest, of string) (action.Digest, error) {
	if shown.Approval.Status != approval.Open {
		return action.Digest{}, approval.ErrNotOpen
	}
	seen, err := action.ParseDigest(digest)
	if err != nil {
		return seen, errJSON.Because(err)
	}
	if b, err := hex.DecodeString(of); err != nil || len(b) != sha256.Size {
		return seen, errJSON
	}
	switch {
	case seen != shown.Action.Effect:
		return seen, approval.ErrStale
	case of != question(shown.Approval):
		return seen, errOther
	}
	return seen, nil
}

// cannotRun refuses a yes that would only end what it says yes to: what is
// frozen or suspended is judged again before it is sent, and then stopped for
// good. That judgement is the guard; this keeps somebody from losing the
// question by answering it.
func (s *Server) cannotRun(ctx context.Context, a *action.Action) error {
	why := s.stops(s.names(ctx), a)
	if why == "" {
		return nil
	}
	return fault.New(fault.Conflict, "cannot_run", why+" A yes would end this action without sending it, so it was not taken.")
}

type decisionBegin struct {
	Digest   string `json:"digest"`
	Question string `json:"question"`
	Shown    string `json:"shown"`
}

// beginDecision asks this person's passkey to sign the decision digest of a
// yes to what was on the page.
func (s *Server) beginDecision(ctx context.Context, c *call, req decisionBegin) (reply, error) {
	shown, err := s.find(ctx, c)
	if err != nil {
		return reply{}, err
	}
	_, err = asksThis(shown, req.Digest, req.Question)
	switch {
	case err != nil:
		return reply{}, err
	case !shown.MayAnswer:
		return reply{}, broker.ErrNotApprover
	case shown.Approval.Level != approval.StepUp:
		return reply{}, errNoPresence
	}
	if err := s.cannotRun(ctx, shown.Action); err != nil {
		return reply{}, err
	}
	if shown.Approval.Precondition, err = s.Broker.Shown(ctx, c.who, shown.Held, req.Shown); err != nil {
		return reply{}, err
	}
	options, handle, err := s.Users.BeginStepUp(ctx, c.who, shown.Approval.Digest(approval.Yes), c.now)
	return s.ceremony(c, options, handle, err)
}

type decision struct {
	Decision  string          `json:"decision"`
	Digest    string          `json:"digest"`
	Question  string          `json:"question"`
	Shown     string          `json:"shown"`
	Reason    string          `json:"reason"`
	Cooldown  string          `json:"cooldown"` // "", "30m", "2h", "24h": with a no
	Relief    string          `json:"relief"`   // "", or how many more: with a yes
	Assertion json.RawMessage `json:"assertion"`
	Signed    string          `json:"signed"` // "in": by a fresh login at the identity provider
}

// decide answers an action. Digest and question are what stood on the page: an
// answer to anything else decides nothing.
func (s *Server) decide(ctx context.Context, c *call, req decision) (reply, error) {
	shown, err := s.find(ctx, c)
	if err != nil {
		return reply{}, err
	}
	seen, err := asksThis(shown, req.Digest, req.Question)
	if err != nil {
		return reply{}, err
	}
	if approval.Answer(req.Decision) == approval.Yes && shown.MayAnswer {
		if err := s.cannotRun(ctx, shown.Action); err != nil {
			return reply{}, err
		}
	}
	v := broker.Verdict{Answer: approval.Answer(req.Decision), Seen: seen, Reason: strings.TrimSpace(req.Reason), Channel: "web", Level: approval.Approve, Shown: req.Shown}
	// The form has both choices, and sends both with either button.
	switch v.Answer {
	case approval.Yes:
		v.Relief, err = number(req.Relief)
	case approval.No:
		v.Cooldown, err = period(req.Cooldown)
	}
	if err != nil {
		return reply{}, errJSON.Because(err)
	}
	if signed := req.Signed == "in"; v.Answer == approval.Yes && (signed || len(req.Assertion) > 0) {
		if shown.Approval.Precondition, err = s.Broker.Shown(ctx, c.who, shown.Held, req.Shown); err != nil {
			return reply{}, err
		}
		if v.Evidence, err = s.presenceOf(ctx, c, shown.Approval, req.Assertion, signed); err != nil {
			return reply{}, err
		}
	}
	if v.Evidence != nil {
		v.Level = approval.StepUp
	}
	if _, err := s.Broker.Decide(ctx, c.who, shown.Approval.ID, v, c.now); err != nil {
		return reply{}, err
	}
	return reply{to: "/actions/" + string(shown.Action.ID)}, nil
}

func number(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.Atoi(s)
}

func period(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

// presence checks that the passkey signed a yes to this very approval: the
// answer to another one, begun in the same browser, is none to this.
func (s *Server) presence(ctx context.Context, c *call, p *approval.Approval, assertion json.RawMessage) ([]byte, error) {
	evidence, err := s.Users.FinishStepUp(ctx, c.who, s.answered(c), assertion, c.now)
	if err != nil {
		return nil, err
	}
	var signed user.Evidence
	if err := json.Unmarshal(evidence, &signed); err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	want := p.Digest(approval.Yes)
	if subtle.ConstantTimeCompare(signed.Challenge, want[:]) != 1 {
		return nil, approval.ErrPresence
	}
	return evidence, nil
}
