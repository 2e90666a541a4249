package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/display"
)

// story is what one step of the demo leaves for the next.
type story struct {
	me      *remote // the person, at the command line
	user    api.User
	account api.Connection
	bot     *client.Client
	agent   api.Agent
	ears    *ears
	comment api.ActionRequest
	held    *api.Action
}

type step struct {
	title string
	play  func(context.Context) error
}

func (d *demo) all() []step {
	return []step{
		{"A server starts, with a sandbox for an upstream", d.starts},
		{"A person enrols a passkey", d.enrols},
		{"They connect an account by OAuth", d.connects},
		{"They log in at the command line", d.logsIn},
		{"They register an agent, whose key never leaves this machine", d.registers},
		{"They let it use issues of one repository", d.grants},
		{"The agent reads: that passes", d.reads},
		{"It wants to write: that waits for a person", d.asks},
		{"The person looks at the exact request, and approves it", d.approves},
		{"The agent learns the outcome; it happened exactly once", d.learns},
		{"Asking again attaches to what is done", d.repeats},
		{"A signature that was seen before opens nothing", d.replays},
		{"The token itself is not handed out", d.vends},
		{"One command stops the agent", d.freezes},
		{"The person disconnects the account", d.disconnects},
		{"The log proves all of it", d.verifies},
		{"The token is found nowhere", d.searches},
	}
}

func (d *demo) starts(ctx context.Context) error {
	var ready api.Health
	err := eventually(ctx, 10*time.Second, func() (bool, error) {
		var err error
		ready, err = get[api.Health](ctx, &remote{base: d.base, http: http.DefaultClient}, "readyz", nil)
		if unavailable(err) {
			return false, nil
		}
		return ready.Status == "ok", err
	})
	if err != nil {
		return err
	}
	d.shows("server  %s", d.base)
	d.shows("sandbox %s", d.box.url)
	if err := d.holds(true, "the server is ready"); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(d.data, "root.key"))
	if err != nil {
		return fmt.Errorf("look at the root key: %w", err)
	}
	return d.holds(info.Mode().Perm() == 0o600, "its root key is a file that only its owner can read")
}

func (d *demo) enrols(ctx context.Context) error {
	link, err := firstLink(ctx, d.app, "Mira")
	if err != nil {
		return err
	}
	page := d.app.EnrolURL(link)
	d.canaries.add(link.Reveal())
	if err := d.person.enrol(ctx, page); err != nil {
		return err
	}
	if err := d.holds(true, "the passkey is enrolled, over the pages that a browser uses"); err != nil {
		return err
	}
	again, err := newSoftwarePerson(d.base)
	if err != nil {
		return err
	}
	return d.holds(again.enrol(ctx, page) != nil, "the link works once: a second use is refused")
}

func (d *demo) connects(ctx context.Context) error {
	if err := d.person.connect(ctx, "github"); err != nil {
		return err
	}
	all, err := d.app.DB.Connections().Connections(ctx, d.app.Manage.Org)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%d connections, want 1", len(all))
	}
	c := all[0]
	if err := d.holds(c.Account == "octocat" && c.AccountID == "583231", "it is pinned to who it is: %s, id %s", c.Account, c.AccountID); err != nil {
		return err
	}
	return d.holds(len(c.Access) > 0 && !d.canaries.find(c.Access) && d.canaries.count() > 2, "its tokens are sealed")
}

func (d *demo) logsIn(ctx context.Context) error {
	token, err := d.loginAs(ctx)
	if err != nil {
		return err
	}
	d.canaries.add(token.Reveal())
	d.me = overNetwork(d.base, token)
	me, err := get[api.Me](ctx, d.me, "v1/me", nil)
	if err != nil {
		return err
	}
	if me.User == nil {
		return errors.New("nobody is logged in")
	}
	d.user = *me.User
	cons, err := list[api.Connection](ctx, d.me, "v1/admin/connections", nil)
	if err != nil {
		return err
	}
	if len(cons.Items) != 1 {
		return fmt.Errorf("%d connections, want 1", len(cons.Items))
	}
	d.account = cons.Items[0]
	return d.holds(d.user.Role == "owner", "the device flow ends in a login as %s, confirmed in the browser", cell(d.user.Name, 60))
}

func (d *demo) registers(ctx context.Context) error {
	key, err := client.GenerateKey("")
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "agent.pem")
	if err := key.Save(path); err != nil {
		return err
	}
	private, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the agent's key: %w", err)
	}
	err = d.person.register(ctx, "careless", string(private))
	if err := d.holds(judge0(err) == exitFailed, "the server refuses a private key, and keeps nothing of it (%s)", reasonOf(err)); err != nil {
		return err
	}
	d.canaries.add(strings.Split(string(private), "\n")[1])
	if _, auto := d.person.(*softwarePerson); auto {
		_, err = change[api.Agent](ctx, d.me, http.MethodPost, "v1/admin/agents", api.AgentRequest{Name: "triage", Key: key.PublicPEM()})
		if err := d.holds(isOpen(err), "a stored login registers nobody, it only proposes: that takes a passkey (%s)", reasonOf(err)); err != nil {
			return err
		}
	}
	if err := d.person.register(ctx, "triage", key.PublicPEM()); err != nil {
		return err
	}
	if d.agent, err = get[api.Agent](ctx, d.me, "v1/admin/agents/triage", nil); err != nil {
		return err
	}
	d.ears = &ears{canaries: d.canaries}
	if d.bot, err = client.New(d.base, client.Options{ClientID: "triage", Key: key, HTTPClient: &http.Client{Transport: d.ears}, UserAgent: "valetkey-demo"}); err != nil {
		return err
	}
	return d.holds(d.agent.Profile == "strict", "agent %s is registered by its public key", d.agent.Name)
}

func (d *demo) grants(ctx context.Context) error {
	cons, err := d.bot.Connections(ctx)
	if err != nil {
		return err
	}
	if err := d.holds(len(cons) == 0, "without a grant the agent sees no account"); err != nil {
		return err
	}
	if err := d.person.grant(ctx, d.agent.ID, d.account.ID, "github.issues.*", "octo/api"); err != nil {
		return err
	}
	if cons, err = d.bot.Connections(ctx); err != nil {
		return err
	}
	ok := len(cons) == 1 && len(cons[0].Grants) == 1 && cons[0].Grants[0].Mode == "broker" && cons[0].Account == "octocat"
	return d.holds(ok, "triage may use github.issues.* on octo/api, through Valetkey only")
}

func (d *demo) reads(ctx context.Context) error {
	before := d.box.Count("GET", "/repos/octo/api/issues")
	out, err := d.bot.Submit(ctx, api.ActionRequest{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}})
	if err != nil {
		return err
	}
	if out.Result == nil {
		return errors.New("reading waits for a person")
	}
	var issues []struct {
		Number int    `json:"number"`
		Title  string `json:"title"`
	}
	if err := json.Unmarshal(out.Result.Body, &issues); err != nil {
		return fmt.Errorf("read the issues: %w", err)
	}
	for _, i := range issues {
		d.shows("#%d %s", i.Number, cell(i.Title, 70))
	}
	if err := d.holds(out.Result.Status == 200 && len(issues) > 0, "issues of octo/api are answered at once"); err != nil {
		return err
	}
	if err := d.holds(d.box.Count("GET", "/repos/octo/api/issues") == before+1, "the upstream was called once"); err != nil {
		return err
	}
	_, err = d.bot.Submit(ctx, api.ActionRequest{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}})
	return d.holds(judge0(err) == exitRefused, "another repository is refused (%s)", reasonOf(err))
}

const commentPath = "/repos/octo/api/issues/1/comments"

func (d *demo) asks(ctx context.Context) error {
	d.comment = api.ActionRequest{
		Connection: "github", Operation: "github.issues.create_comment", IdempotencyKey: "demo-comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": "Hello from a valet."}, Note: "I looked at the issue and want to say hello.",
	}
	out, err := d.bot.Submit(ctx, d.comment)
	if err != nil {
		return err
	}
	if d.held = out.Held; d.held == nil {
		return errors.New("a write was not held")
	}
	if err := d.holds(d.held.State == api.StatePending, "the comment is held: %s", d.held.ID); err != nil {
		return err
	}
	for _, why := range d.held.Explanation {
		d.shows("%s", cell(why, 110))
	}
	return d.holds(d.box.Count("POST", commentPath) == 0, "nothing reached the upstream")
}

func (d *demo) approves(ctx context.Context) error {
	a, err := get[api.Approval](ctx, d.me, "v1/approvals/"+segment(d.held.Approval.ID), nil)
	if err != nil {
		return err
	}
	q := a.Request
	if q == nil {
		return errors.New("the request is not shown")
	}
	d.shows("%s %s", q.Method, shownURL(q.URL))
	for _, h := range q.Headers {
		d.shows("%s: %s", cell(h.Name, 60), cell(h.Value, 80))
	}
	d.shows("%s", display.VisibleText(q.BodyText))
	d.shows("effect %s", q.Effect)
	if err := d.holds(q.BodyText == `{"body":"Hello from a valet."}` && q.URL == d.box.url+commentPath, "the approver sees method, address and body, byte for byte"); err != nil {
		return err
	}
	if err := d.agentDecides(ctx, a); err != nil {
		return err
	}
	if p, auto := d.person.(*softwarePerson); auto {
		err = p.decide(ctx, a.Action.ID, strings.Repeat("0", 64))
		if err := d.holds(judge0(err) != exitOK, "a yes to anything else than these bytes is refused (%s)", reasonOf(err)); err != nil {
			return err
		}
	}
	if err := d.holds(d.box.Count("POST", commentPath) == 0, "still nothing reached the upstream"); err != nil {
		return err
	}
	if err := d.person.approve(ctx, a); err != nil {
		return err
	}
	return d.holds(true, "%s approves", cell(d.user.Name, 60))
}

// agentDecides lets the agent try to answer for the person.
func (d *demo) agentDecides(ctx context.Context, a api.Approval) error {
	t, err := d.bot.Token(ctx)
	if err != nil {
		return err
	}
	agent := overNetwork(d.base, t.Access)
	_, err = change[api.Approval](ctx, agent, http.MethodPost, "v1/approvals/"+segment(a.ID)+"/decision", api.Decision{Decision: api.AnswerApprove, Effect: a.Action.Effect})
	return d.holds(judge0(err) == exitRefused, "the agent cannot approve for itself (%s)", reasonOf(err))
}
