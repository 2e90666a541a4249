package cli

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/display"
)

type approvalsCommand struct {
	List    approvalsList    `cmd:"" default:"1" help:"List what waits for a decision."`
	Show    approvalsShow    `cmd:"" help:"Show exactly what would be sent."`
	Approve approvalsApprove `cmd:"" help:"Approve exactly what was shown, once."`
	Deny    approvalsDeny    `cmd:"" help:"Say no; the agent is told the reason."`
}

type approvalsList struct {
	Status string `enum:"open,granted,denied,expired,withdrawn,spent,all" default:"open" help:"Which: open, granted, denied, expired, withdrawn, spent or all."`
}

func (c *approvalsList) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	page := api.Page[api.Approval]{Items: []api.Approval{}}
	for _, status := range statuses {
		if c.Status != "all" && c.Status != string(status) {
			continue
		}
		some, err := list[api.Approval](r.ctx, to, "v1/approvals", url.Values{"status": {string(status)}})
		if err != nil {
			return err
		}
		page.Items = append(page.Items, some.Items...)
	}
	if r.json {
		return r.print(page)
	}
	now := time.Now()
	var rows [][]string
	for _, a := range page.Items {
		rest := string(a.Status)
		if a.Status == api.ApprovalOpen {
			rest = left(a.ExpiresAt, now)
		}
		level := "approve"
		if a.Level != api.LevelApprove {
			level = "passkey"
		}
		if a.Quorum > 1 {
			level += fmt.Sprintf(", %d of %d", len(a.Votes), a.Quorum)
		}
		rows = append(rows, []string{a.ID, cell(a.Agent.Name, 30), cell(a.Action.Summary, 70), string(a.Action.Risk), level, rest, a.Action.ID})
	}
	last := "LEFT"
	if c.Status != "open" {
		last = "STATUS"
	}
	err = r.table("Nothing waits for you.", []column{
		{title: "APPROVAL"}, {title: "AGENT", least: 8}, {title: "WANTS TO", least: 16}, {title: "RISK", drop: 1}, {title: "NEEDS"}, {title: last}, {title: "ACTION", drop: 2},
	}, rows)
	if err == nil && len(rows) > 0 {
		r.maybe("To see exactly what one would send:", r.command("approvals show", operands{rows[0][0]}))
	}
	return err
}

// statuses are those that approvals are listed by, what matters first.
var statuses = [...]api.ApprovalStatus{
	api.ApprovalOpen, api.ApprovalGranted, api.ApprovalSpent, api.ApprovalDenied, api.ApprovalExpired, api.ApprovalWithdrawn,
}

type approvalRef struct {
	ID string `arg:"" help:"Id of the approval or of its action."`
}

// find loads the approval with an exact request. An agent hands on the id of
// its action, so that is taken, too.
func (c *approvalRef) find(r *run, to *remote) (api.Approval, error) {
	if !strings.HasPrefix(c.ID, "act_") {
		return get[api.Approval](r.ctx, to, "v1/approvals/"+segment(c.ID), nil)
	}
	for _, status := range statuses {
		page, err := list[api.Approval](r.ctx, to, "v1/approvals", url.Values{"status": {string(status)}})
		if err != nil {
			return api.Approval{}, err
		}
		for _, a := range page.Items {
			if a.Action.ID == c.ID {
				return get[api.Approval](r.ctx, to, "v1/approvals/"+segment(a.ID), nil)
			}
		}
	}
	return api.Approval{}, &failure{Code: exitNotFound, Reason: "approval_not_found", Text: fmt.Sprintf("No approval of %s is yours to see.", cell(c.ID, 60)), Next: "'valetkey approvals list --status all' shows them."}
}

type approvalsShow struct{ approvalRef }

func (c *approvalsShow) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	a, err := c.find(r, to)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(a)
	}
	if err := r.showApproval(a); err != nil {
		return err
	}
	r.say("")
	switch {
	case !a.CanDecide && a.WhyNot != "":
		r.say("%s", cell(a.WhyNot, 300))
	case a.Status != api.ApprovalOpen:
	case a.Level != api.LevelApprove:
		r.say("This needs your passkey: %s", cell(a.URL, 300))
	default:
		r.say("Decide on its page: %s", cell(a.URL, 300))
	}
	return nil
}

// maxShown is how much of a body a terminal shows at once.
const maxShown = 16 << 10

// showApproval prints what a person judges by: facts of ours first, then the
// exact request, and what the agent says of it last and apart.
func (r *run) showApproval(a api.Approval) error {
	state := string(a.Status)
	if a.Status == api.ApprovalOpen {
		state = "open, " + left(a.ExpiresAt, time.Now()) + " left"
	}
	resource, impact := cell(a.Action.Resource, 200), cell(a.Impact, 400)
	if a.Impact == a.Action.Summary {
		impact = "" // said already
	}
	err := r.fields("approval", a.ID, "action", a.Action.ID, "status", state, "agent", cell(a.Agent.Name, 63),
		"account", cell(a.Action.Account, 100)+" at "+cell(a.Action.Provider, 60), "wants to", r.bold(cell(a.Action.Summary, 500)),
		"operation", cell(a.Action.Operation, 100), "on", resource, "amount", amount(a.Action.Amount), "risk", string(a.Action.Risk),
		"why it asks", lines(reasons(a.Why, a.Action)), "rules", items(a.Rules, ", ", 300), "impact", impact, "scopes", items(a.Scopes, " ", 200),
		"votes", voted(a), "asked again", repeats(a))
	if err != nil {
		return err
	}
	r.say("")
	switch q := a.Request; {
	case q == nil:
		r.say("The request is no longer kept. Its effect digest is %s.", a.Action.Effect)
	default:
		r.say("%s", r.bold("Exactly this is sent, and nothing else:"))
		r.say("")
		r.say("  %s %s", cell(q.Method, 20), shownURL(q.URL))
		for _, h := range q.Headers {
			r.say("  %s: %s", cell(h.Name, 100), cell(h.Value, 1000))
		}
		if len(q.Body) > 0 {
			r.say("")
			r.body(q)
		}
		r.say("")
		r.say("  effect %s", q.Effect)
	}
	if a.Action.Note != "" {
		r.say("")
		r.say("The agent says (unverified): %s", cell(a.Action.Note, 2000))
	}
	return nil
}

// body shows a body so that nothing in it hides: text line by line, anything
// else as a dump.
func (r *run) body(q *api.ExactRequest) {
	if q.BodyText == "" {
		shown := q.Body[:min(len(q.Body), maxShown)]
		for _, line := range strings.Split(strings.TrimRight(hex.Dump(shown), "\n"), "\n") {
			r.say("  %s", line)
		}
		if more := len(q.Body) - len(shown); more > 0 {
			r.say("  … %d more bytes; --json has them all", more)
		}
		return
	}
	head, more := display.Clip(q.BodyText, maxShown)
	for _, line := range strings.Split(head, "\n") {
		r.say("  %s", display.VisibleText(line))
	}
	if more > 0 {
		r.say("  … %d more characters; --json has them all", more)
	}
}

// shownURL shows a URL with its host in ASCII; what hides in the rest is made
// visible.
func shownURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return display.VisibleText(raw)
	}
	if !strings.Contains(u.Host, "[") { // an IPv6 address keeps its brackets
		host, port := display.Host(u.Hostname()), u.Port()
		if port != "" {
			host += ":" + port
		}
		u.Host = host
	}
	return display.VisibleText(u.String())
}

func lines(all []string) string {
	shown := make([]string, len(all))
	for i, s := range all {
		shown[i] = cell(s, 400)
	}
	return strings.Join(shown, "\n")
}

func amount(a *api.Amount) string {
	switch {
	case a == nil:
		return ""
	case a.Unknown:
		return string(a.Kind) + ", unknown how much"
	}
	return fmt.Sprintf("%s %s (%s)", cell(a.Number, 40), cell(a.Currency, 10), a.Kind)
}

type approvalsApprove struct {
	approvalRef
	Effect string `placeholder:"DIGEST" help:"Approve only if the effect is this one, as shown before. Without it the request is shown and you are asked."`
	Relief int    `placeholder:"N" help:"Let up to N more of the kind through without asking, for two hours: the same operation on the same resource."`
}

func (c *approvalsApprove) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	a, err := c.find(r, to)
	if err != nil {
		return err
	}
	switch {
	case a.Status != api.ApprovalOpen:
		return &failure{Code: exitFailed, Reason: "not_open", Text: fmt.Sprintf("There is nothing to decide any more: it is %s.", a.Status)}
	case a.Level != api.LevelApprove:
		return onItsPage(a, "presence_required", "This one needs your passkey, which a terminal cannot ask.")
	}
	effect := c.Effect
	if effect == "" {
		if r.json || !isTerminal(r.in) {
			return usage("Look first: "+r.command("approvals show", operands{c.ID})+". Then pass the digest that it shows: --effect "+display.VisibleText(display.Shell(a.Action.Effect)), "Nobody has looked at what this approves.")
		}
		if err := r.showApproval(a); err != nil {
			return err
		}
		r.say("")
		if err := r.confirm("Approve exactly this, once? Type yes: "); err != nil {
			return err
		}
		effect = a.Action.Effect
	}
	return r.decide(to, a, api.Decision{Decision: api.AnswerApprove, Effect: effect, Relief: c.Relief})
}

// onItsPage says where a decision is made that a command line may not make:
// one sentence and one link.
func onItsPage(a api.Approval, reason, why string) error {
	return &failure{Code: exitRefused, Reason: reason, Text: why, Next: "Decide on its page: " + display.VisibleText(a.URL)}
}

// confirm asks for a whole word: a key pressed by accident is no decision.
func (r *run) confirm(question string) error {
	fmt.Fprint(r.err, question)
	var word string
	if _, err := fmt.Fscanln(r.in, &word); err != nil || !strings.EqualFold(word, "yes") {
		return &failure{Code: exitRefused, Reason: "not_confirmed", Text: "Nothing was decided."}
	}
	return nil
}

type approvalsDeny struct {
	approvalRef
	Reason string `placeholder:"TEXT" help:"Told to the agent, in your words."`
	For    string `placeholder:"TIME" help:"Refuse equal requests for this long without asking, such as 30m or 2h; at most 24h."`
}

func (c *approvalsDeny) Run(r *run) error {
	minutes, err := cooldown(c.For)
	if err != nil {
		return err
	}
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	a, err := c.find(r, to)
	if err != nil {
		return err
	}
	return r.decide(to, a, api.Decision{Decision: api.AnswerDeny, Effect: a.Action.Effect, Reason: c.Reason, CooldownMinutes: minutes})
}

func (r *run) decide(to *remote, a api.Approval, d api.Decision) error {
	out, err := change[api.Approval](r.ctx, to, http.MethodPost, "v1/approvals/"+segment(a.ID)+"/decision", d)
	if refusedFor(err, "browser_required") || refusedFor(err, "presence_required") {
		return onItsPage(a, "browser_required", "This server takes decisions in the browser only.")
	}
	if err != nil {
		return err
	}
	if r.json {
		return r.print(out)
	}
	word := "Approved"
	switch {
	case d.Decision == api.AnswerDeny:
		word = "Denied"
	case out.Status == api.ApprovalOpen:
		word = fmt.Sprintf("You said yes, %d of %d", len(out.Votes), out.Quorum)
	}
	r.say("%s: %s (%s).", word, cell(out.Action.Summary, 300), out.Action.ID)
	return nil
}

// cooldown reads --for, in whole minutes.
func cooldown(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Minute || d > 24*time.Hour || d%time.Minute != 0 {
		return 0, usage("Write it as 30m or 2h: from 1m to 24h, in whole minutes.", "%s is no time to hold something back for.", cell(s, 40))
	}
	return int(d / time.Minute), nil
}

// voted says who has said yes to a question that takes several.
func voted(a api.Approval) string {
	if a.Quorum < 2 {
		return ""
	}
	said := make([]string, len(a.Votes))
	for i, v := range a.Votes {
		if said[i] = cell(v.ByName, 63); said[i] == "" {
			said[i] = v.By
		}
	}
	out := fmt.Sprintf("%d of %d", len(said), a.Quorum)
	if len(said) > 0 {
		out += ": " + strings.Join(said, ", ") + " said yes"
	}
	return out
}

func repeats(a api.Approval) string {
	switch a.Repeats {
	case 0:
		return ""
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", a.Repeats)
}
