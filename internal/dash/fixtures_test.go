package dash_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/dash"
)

// clock is the moment at which every fixture is looked at.
var clock = time.Date(2026, 8, 12, 14, 3, 22, 0, time.UTC)

func ago(d time.Duration) time.Time { return clock.Add(-d) }

func in(d time.Duration) time.Time { return clock.Add(d) }

func chrome(title, section string) dash.Chrome {
	return dash.Chrome{Program: "/home/ada/src/valetkey/bin/valetkey", Title: title, Section: section, User: "Ada Lovelace", Role: "owner", CSRF: "csrf-token", Waiting: 3, Now: clock}
}

func outside(title string) dash.Chrome {
	return dash.Chrome{Title: title, CSRF: "csrf-token", Now: clock}
}

var (
	octocat  = dash.AccountRef{ConnectionID: "con_01", Provider: "GitHub", Account: "octocat"}
	sandbox  = dash.AccountRef{ConnectionID: "con_02", Provider: "Sandbox", Account: "octo-dev", Sandbox: true}
	notes    = dash.AgentRef{ID: "agt_7h2k9m4q", Name: "release-notes"}
	triage   = dash.AgentRef{ID: "agt_3x8v1c5w", Name: "issue-triage"}
	question = strings.Repeat("c0de", 16)
	digest   = "9f2c41aa07de5b3c1188e0f6a4b29d7735c0fe6621d84b9a7f3e52c08d1b64ea"
)

const commentBody = `{"body":"Thanks for the report! This was fixed in v2.4.1:\n\n- the parser no longer drops trailing commas\n- errors name the line\n\nPlease try it and reopen if it still fails.","meta":{"draft":false,"labels":["bug","fixed"],"weight":2.50,"reviewer":null}}`

func comment() dash.ActionPage {
	return dash.ActionPage{
		Chrome: chrome("Comment on issue 42 in octo/api", "inbox"), ID: "act_5r9t2y7u", State: "pending",
		Summary: "Comment on issue 42 in octo/api", Operation: "github.issues.create_comment",
		Agent: notes, Source: "127.0.0.1", Account: octocat,
		Request: dash.Request{
			Method: "POST", Scheme: "https", Host: "api.github.com", Path: "/repos/octo/api/issues/42/comments", RawPath: "/repos/octo/api/issues/42/comments",
			Headers: []dash.Field{{Name: "Accept", Value: "application/vnd.github+json"}, {Name: "Content-Type", Value: "application/json"}, {Name: "X-GitHub-Api-Version", Value: "2022-11-28"}},
			Body:    dash.NewBody("application/json", []byte(commentBody)),
		},
		Risk:   dash.Risk{Level: "medium", Reasons: []string{"It writes: the catalogue rates it medium.", "The repository octo/api is public, so everybody can read it.", "First comment of this agent in this repository."}},
		Rule:   dash.Rule{ID: "ask-medium-writes", Reason: "Writes of medium risk need a person."},
		Scopes: []string{"repo"},
		Impact: []string{"A comment appears under octocat's name.", "Everybody who watches the issue gets a mail."},
		Digest: digest, InLog: strings.Repeat("5a0c", 16), Question: question,
		AgentText: "Issue 42 was fixed by the release I just prepared. This tells the reporter so that the issue can be closed.",

		ProposedAt: ago(2 * time.Minute), ExpiresAt: in(58 * time.Minute), CanDecide: true,
		Timeline: []dash.Step{
			{Name: "proposed", Status: "done", At: ago(122 * time.Second), Note: "by release-notes, signed with its key"},
			{Name: "asked", Status: "current", At: ago(122 * time.Second), Note: "rule ask-medium-writes"},
		},
	}
}

func criticalDelete() dash.ActionPage {
	a := comment()
	a.Chrome = chrome("Delete the repository octo/legacy-api", "inbox")
	a.ID, a.Summary, a.Operation = "act_8w3e6r1t", "Delete the repository octo/legacy-api", "github.repos.delete"
	a.Agent = triage
	a.Request = dash.Request{Method: "DELETE", Scheme: "https", Host: "api.github.com", Path: "/repos/octo/legacy-api", RawPath: "/repos/octo/legacy-api", Body: dash.NewBody("", nil),
		Query: []dash.Field{{Name: "reason", Value: "clean\u202eup"}, {Name: "confirm", Value: "yes"}}}
	a.Risk = dash.Risk{Level: "critical", Reasons: []string{"It deletes a repository and cannot be undone.", "The repository has 214 issues and 31 forks."}}
	a.Rule = dash.Rule{ID: "step-up-critical", Reason: "Deleting, moving money and changing access need your passkey."}
	a.Scopes = []string{"delete_repo"}
	a.Impact = []string{"The repository, its issues and its releases are gone.", "Links and clones stop working."}
	a.AgentText = "This is a read-only health check, pre-approved by the CISO (ticket SEC-1).\nRisk: none.\n\nPay no attention to the ac\u200btion abo\u0432e \u202ednuf\u202c" + strings.Repeat(" really", 200)
	a.StepUp, a.ExpiresAt = true, in(4*time.Minute+31*time.Second)
	a.Timeline[0].Note, a.Timeline[1].Note = "by issue-triage", "rule step-up-critical"
	return a
}

func succeeded() dash.ActionPage {
	a := comment()
	a.State, a.CanDecide = "succeeded", false
	a.Outcome = &dash.Outcome{Status: 201, Text: "GitHub created the comment.", Size: 2412, Duration: 384 * time.Millisecond}
	a.Timeline = []dash.Step{
		{Name: "proposed", Status: "done", At: ago(122 * time.Second), Note: "by release-notes, signed with its key"},
		{Name: "asked", Status: "done", At: ago(122 * time.Second), Note: "rule ask-medium-writes"},
		{Name: "approved", Status: "done", At: ago(31 * time.Second), Note: "by Ada Lovelace"},
		{Name: "executing", Status: "done", At: ago(31 * time.Second), Note: "these bytes, once"},
		{Name: "succeeded", Status: "done", At: ago(30 * time.Second), Note: "HTTP 201"},
	}
	return a
}

func unknownOutcome() dash.ActionPage {
	a := succeeded()
	a.State, a.Outcome = "unknown", nil
	a.Request.Body = dash.NewBody("application/octet-stream", append([]byte{0, 1, 2, 0xff, 0xfe}, []byte("some bytes that are not text at all")...))
	a.Timeline[4] = dash.Step{Name: "unknown", Status: "failed", At: ago(time.Second), Note: "the connection broke after the request left"}
	return a
}

func cards() []dash.Card {
	return []dash.Card{
		{ID: "act_8w3e6r1t", Summary: "Delete the repository octo/legacy-api", Agent: triage, Account: octocat, Method: "DELETE", Host: "api.github.com", Path: "/repos/octo/legacy-api",
			Risk: dash.Risk{Level: "critical", Reasons: []string{"It deletes a repository and cannot be undone."}}, StepUp: true, ProposedAt: ago(26 * time.Minute), ExpiresAt: in(4*time.Minute + 31*time.Second)},
		{ID: "act_5r9t2y7u", Summary: "Comment on issue 42 in octo/api", Agent: notes, Account: octocat, Method: "POST", Host: "api.github.com", Path: "/repos/octo/api/issues/42/comments",
			Risk: dash.Risk{Level: "medium", Reasons: []string{"It writes: the catalogue rates it medium."}}, ProposedAt: ago(2 * time.Minute), ExpiresAt: in(58 * time.Minute), Repeats: 2},
		{ID: "act_2q4w6e8r", Summary: "Claim the bounty on issue 7 in octo/parser", Agent: notes, Account: sandbox, Method: "POST", Host: "api.sandbox.localhost", Path: "/repos/octo/parser/issues/7/comments",
			Risk: dash.Risk{Level: "high", Reasons: []string{"750 USD are at stake, above your threshold of 500."}}, Amount: &dash.Amount{Value: "750", Currency: "USD"}, ProposedAt: ago(9 * time.Second), ExpiresAt: in(48 * time.Hour)},
	}
}

func inbox() dash.InboxPage {
	return dash.InboxPage{Chrome: chrome("Inbox", "inbox"), Pending: cards(), HasAgents: true, HasConnections: true, Decided: []dash.Decided{
		{ID: "act_a1", Summary: "Comment on issue 41 in octo/api", Agent: notes, Account: octocat, State: "succeeded", By: "Ada Lovelace", At: ago(3 * time.Hour)},
		{ID: "act_a2", Summary: "Merge pull request 12 in octo/api", Agent: triage, Account: octocat, State: "denied", By: "Ada Lovelace", At: ago(20 * time.Hour)},
		{ID: "act_a3", Summary: "Create an issue in octo/parser", Agent: notes, Account: sandbox, State: "expired", At: ago(50 * time.Hour)},
	}}
}

func asked() dash.InboxPage {
	p := inbox()
	p.Proposals = []dash.ProposalCard{{
		ID: "prp_01", From: "Your command line", Label: "ada-laptop", Summary: `Shut the person "grace" out.`, ProposedAt: ago(time.Minute), ExpiresAt: in(9 * time.Minute),
	}}
	return p
}

func emptyInbox() dash.InboxPage {
	c := chrome("Inbox", "inbox")
	c.Waiting = 0
	return dash.InboxPage{Chrome: c, Example: "valetkey call github.issues.create_comment --client-id AGENT --key FILE \\\n  -f owner=octo -f repo=api -F number=1 -f body='Hello'", HasAgents: true, HasConnections: true}
}

func providers() []dash.Provider {
	return []dash.Provider{
		{ID: "github", Name: "GitHub", OAuth: true, Scopes: "read:user repo", Token: true, TokenRights: []dash.Field{{Name: "Fine-grained", Value: "Contents, Issues and Pull requests: Read and write."}, {Name: "Classic", Value: "The scope repo."}}, TokenHint: "A fine-grained personal access token for the repositories your agents work on.", TokenURL: "https://github.com/settings/personal-access-tokens/new"},
		{ID: "gitlab", Name: "GitLab", Token: true, TokenHint: "A personal access token with the api scope.", SetUp: "/home/ada/src/valetkey/bin/valetkey provider set gitlab --client-id ID --client-secret-file FILE", Callback: "https://valetkey.example.org/connect/gitlab/callback"},
	}
}

func connections() dash.ConnectionsPage {
	return dash.ConnectionsPage{Chrome: chrome("Connections", "connections"), Providers: providers(), Connections: []dash.Connection{
		{ID: "con_01", Account: octocat, State: "active", Mine: true, Shared: true, Scopes: []string{"repo", "read:user"}, Via: "OAuth App", Agents: []dash.AgentRef{notes, triage}, CreatedAt: ago(12 * 24 * time.Hour), LastUsedAt: ago(2 * time.Minute)},
		{ID: "con_03", Account: dash.AccountRef{ConnectionID: "con_03", Provider: "GitHub", Account: "octo-bot"}, State: "needs_reauth", Via: "pasted token", Note: "GitHub refused the token on 11 August. Nothing is lost: log in again and the grants go on as they were.", CreatedAt: ago(90 * 24 * time.Hour), LastUsedAt: ago(30 * time.Hour)},
		{ID: "con_02", Account: sandbox, State: "active", Scopes: []string{"repo"}, Via: "sandbox", Agents: []dash.AgentRef{notes}, CreatedAt: ago(12 * 24 * time.Hour)},
	}}
}

func disconnected() dash.DisconnectPage {
	return dash.DisconnectPage{Chrome: chrome("Disconnected", "connections"), Account: octocat, At: clock, By: "Ada Lovelace",
		Items: []dash.ReportItem{
			{Status: "done", Text: "Two agents lost this account at once", Note: "release-notes, issue-triage; 1 waiting action was stopped."},
			{Status: "done", Text: "Our copy of the tokens was destroyed", Note: "Its key was deleted, so backups cannot open it either."},
			{Status: "failed", Text: "GitHub was asked to revoke the grant and answered 404", Note: "POST was tried three times over 8 seconds."},
			{Status: "impossible", Text: "One token that an agent holds lives until 15:02", Note: "It was vended at 14:02; this provider cannot end it earlier."},
		},
		Advice: "Open GitHub's list of authorized applications and remove Valetkey there.", LinkURL: "https://github.com/settings/applications"}
}

func agents() dash.AgentsPage {
	return dash.AgentsPage{Chrome: chrome("Agents", "agents"), Agents: []dash.AgentRow{
		{AgentRef: notes, State: "active", Profile: "strict", Keys: 2, Grants: []string{"octocat on GitHub: 6 operations on octo/api", "octo-dev on Sandbox: everything"}, LastSeenAt: ago(2 * time.Minute), CanFreeze: true},
		{AgentRef: triage, State: "suspended", Profile: "compat-2025", Keys: 1, Grants: []string{"octocat on GitHub: reads"}, LastSeenAt: ago(26 * time.Minute)},
		{AgentRef: dash.AgentRef{ID: "agt_new", Name: "nightly-cron"}, State: "active", Profile: "strict", Keys: 1},
	}, New: dash.AgentForm{Profile: "strict"}}
}

func agentPage() dash.AgentPage {
	return dash.AgentPage{Chrome: chrome("release-notes", "agents"), Agent: notes, State: "active", Profile: "compat-2025", Note: "Writes release notes and answers reporters.", Owner: "Ada Lovelace",
		Sources: []string{"127.0.0.0/8", "::1/128"}, LastSource: "127.0.0.1", CreatedAt: ago(12 * 24 * time.Hour), LastSeenAt: ago(2 * time.Minute),
		Keys: []dash.Key{
			{ID: "key_1", Kind: "Ed25519", Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", State: "active", CreatedAt: ago(12 * 24 * time.Hour), LastUsedAt: ago(2 * time.Minute)},
			{ID: "key_2", Kind: "RSA 2048 (RS256)", Thumbprint: "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s", State: "retired", CreatedAt: ago(100 * 24 * time.Hour)},
		},
		Grants: []dash.Grant{
			{ID: "grt_1", Account: octocat, Operations: []string{"github.issues.list", "github.issues.get", "github.issues.create_comment"}, Resources: []string{"octo/api", "octo/parser"}, Mode: "broker", State: "active", ExpiresAt: in(18 * 24 * time.Hour)},
			{ID: "grt_2", Account: sandbox, Mode: "vend", State: "active"},
		},
		Reliefs:     []dash.Relief{{ID: "rlf_1", Account: octocat, Operation: "github.issues.create_comment", Resource: "repository:octo/api", By: "Ada Lovelace", Most: 10, Used: 4, ExpiresAt: in(83 * time.Minute)}},
		Connections: []dash.Connection{{ID: "con_01", Account: octocat, Spec: "github.raw.read"}, {ID: "con_02", Account: sandbox, Spec: "github.raw.read"}},
		Operations: []dash.OperationGroup{{Spec: "github.raw.read", Areas: []dash.Area{
			{Title: "Issues", Pattern: "github.issues.*", Operations: []dash.Operation{
				{ID: "github.issues.list", Title: "List issues", Risk: "low", Read: true}, {ID: "github.issues.get", Title: "Read an issue", Risk: "low", Read: true},
				{ID: "github.issues.create_comment", Title: "Comment on an issue", Risk: "medium"}}},
			{Title: "Pulls", Pattern: "github.pulls.*", Operations: []dash.Operation{{ID: "github.pulls.merge", Title: "Merge a pull request", Risk: "high"}}},
			{Title: "Repos", Pattern: "github.repos.*", Operations: []dash.Operation{{ID: "github.repos.delete", Title: "Delete a repository", Risk: "critical"}}},
		}}}}
}

func activity() dash.ActivityPage {
	return dash.ActivityPage{Chrome: chrome("Activity", "activity"), Older: "12790",
		Checkpoint: &dash.Checkpoint{Size: 12846, Root: "Kx3TqL0bA1z8fE7m2Jd9Q4cVnR5sYwU6hXgPiOoBtZc=", Key: "valetkey.localhost+3b1f0a2c", At: ago(time.Second)},
		Days: []dash.Day{
			{Date: clock, Events: []dash.Event{
				{Seq: 12845, At: ago(30 * time.Second), Effect: true, Data: []dash.Field{{Name: "connection", Value: "con_01"}, {Name: "effect", Value: strings.Repeat("5a0c", 16)}, {Name: "status", Value: "201"}}, Verb: "action.succeed", Actor: "release-notes", Object: "act_5r9t2y7u", ObjectID: "act_5r9t2y7u", Sentence: "GitHub created the comment on issue 42 in octo/api", Tone: "good"},
				{Seq: 12844, At: ago(31 * time.Second), Verb: "action.claim", Actor: "Valetkey", Object: "act_5r9t2y7u", ObjectID: "act_5r9t2y7u", Sentence: "Valetkey is about to send the approved request"},
				{Seq: 12843, At: ago(31 * time.Second), Verb: "approval.grant", Actor: "Ada Lovelace", Object: "act_5r9t2y7u", ObjectID: "act_5r9t2y7u", Sentence: "Ada Lovelace approved: comment on issue 42 in octo/api", Tone: "good"},
				{Seq: 12842, At: ago(122 * time.Second), Verb: "approval.open", Actor: "release-notes", Object: "act_5r9t2y7u", ObjectID: "act_5r9t2y7u", Sentence: "release-notes asked to comment on issue 42 in octo/api as octocat on GitHub", Tone: "ask"},
				{Seq: 12841, At: ago(25 * time.Minute), Verb: "agent.refuse", Actor: "issue-triage", Object: "agt_3x8v1c5w", Sentence: "A request of issue-triage was refused: its assertion came from 10.0.0.7, which is not allowed", Tone: "bad"},
			}},
			{Date: ago(24 * time.Hour), Events: []dash.Event{
				{Seq: 12790, At: ago(20 * time.Hour), Verb: "approval.deny", Actor: "Ada Lovelace", Object: "act_a2", ObjectID: "act_a2", Sentence: "Ada Lovelace denied: merge pull request 12 in octo/api (“tests are red”)", Tone: "bad"},
				{Seq: 12788, At: ago(21 * time.Hour), Verb: "connection.add", Actor: "Ada Lovelace", Object: "con_01", Sentence: "Ada Lovelace connected octocat on GitHub"},
			}},
		}}
}

func policyPage() dash.PolicyPage {
	return dash.PolicyPage{Chrome: chrome("Policy", "policy"), Version: "pol_4-8c1d09", Since: ago(12 * 24 * time.Hour), By: "Ada Lovelace", Rules: []dash.PolicyRule{
		{ID: "permit-reads", Effect: "permit", Title: "Reads are allowed, where a grant covers them.", Origin: "shipped", Source: "permit (\n  principal,\n  action,\n  resource\n)\nwhen { context.risk_level == 1 };"},
		{ID: "ask-medium-writes", Effect: "ask", Title: "Writes of medium risk and above need a person.", Origin: "shipped", Source: "@reason(\"Writes of medium risk need a person.\")\nforbid (principal, action, resource)\nwhen { context.risk_level >= 2 }\nunless { context.assurance >= 1 };"},
		{ID: "step-up-critical", Effect: "step_up", Title: "Deleting a repository, moving money, changing access or minting credentials needs a passkey.", Origin: "shipped", Source: "forbid (principal, action, resource)\nwhen { context.risk_level >= 4 }\nunless { context.assurance >= 2 };"},
		{ID: "no-night-merges", Effect: "deny", Title: "Nobody merges between 22:00 and 06:00.", Origin: "organisation", Source: "forbid (principal, action == Operation::\"github.pulls.merge\", resource)\nwhen { context.hour >= 22 || context.hour < 6 };"},
	}}
}

func snippets() []dash.Snippet {
	return []dash.Snippet{
		{ID: "claude", Title: "Claude Code", Note: "Makes a key beside the project, registers it, and tells Claude Code to use Valetkey for GitHub.", Code: "valetkey agent keygen --out ~/.config/valetkey/claude.key\nvaletkey agent add claude-code --key ~/.config/valetkey/claude.key.pub\nvaletkey grant add claude-code --connection octo-dev@sandbox"},
		{ID: "langgraph", Title: "LangGraph", Code: "pip install httpx\nexport VALETKEY_URL=http://localhost:8420"},
		{ID: "curl", Title: "cron or curl", Code: "curl -s http://localhost:8420/v1/actions -H \"Authorization: Bearer $(valetkey token)\""},
	}
}

func welcome(done int) dash.WelcomePage {
	w := dash.WelcomePage{Chrome: outside("Welcome"), Invite: "inv_token", Passkeys: true, PublicURL: "http://localhost:8420", Account: &sandbox, Providers: providers(), Snippets: snippets()}
	if done > 0 {
		w.Chrome = chrome("Welcome", "")
		w.Chrome.Waiting = 0
		w.PasskeyDone, w.PasskeyName, w.Invite = true, "MacBook Touch ID", ""
		w.Proposed = &dash.ProposalCard{ID: "prp_01"}
	}
	if done > 1 {
		w.Agent, w.AgentCalled, w.Asked = &notes, true, &cards()[1]
	}
	return w
}

func halted() dash.ActionPage {
	a := comment()
	a.Halted = "The agent release-notes is frozen."
	a.Stopped = []dash.Freeze{{ID: "frz_1", What: "The agent release-notes", By: "Ada Lovelace", Reason: "odd comments", At: ago(time.Minute)}}
	a.AskedAgainAt = ago(3 * time.Minute)
	return a
}

// several is one of which somebody has approved half.
func several() dash.ActionPage {
	a := comment()
	a.Quorum, a.Voters, a.Repeats = 2, []string{"Mira <b>Lovelace</b>"}, 3
	a.Timeline[1].Status = "done"
	a.Timeline = append(a.Timeline[:2:2], dash.Step{Name: "voted", Status: "current", At: ago(time.Minute), Note: "by Mira, 1 of 2"})
	return a
}

// half is the same for who has said yes.
func half() dash.ActionPage {
	a := several()
	a.Voted = true
	return a
}

// relievable is one after which more may pass.
func relievable() dash.ActionPage {
	a := comment()
	a.Relief = "github.issues.create_comment on repository:octo/api"
	return a
}

func onItsWay() dash.ActionPage {
	a := comment()
	a.State, a.CanDecide = "executing", false
	a.Timeline = append(a.Timeline[:2:2], dash.Step{Name: "executing", Status: "current", At: ago(time.Second)})
	return a
}

func frozen() dash.InboxPage {
	p := inbox()
	for i := range p.Pending {
		p.Pending[i].Halted = "Everything is frozen."
	}
	p.Frozen = &dash.Freeze{By: "Ada Lovelace", Reason: "odd comments in octo/api", At: ago(3 * time.Minute)}
	return p
}

func proposalPage() dash.ProposalPage {
	body := dash.NewBody("application/json", []byte(`{"client_id":"Iv1.8a61f9b3a7aba766","base":{"api":["https://ghe.example.org/api/v3"]}}`))
	body.Text = ""
	body.Tree.Children = append(body.Tree.Children, &dash.Node{Key: "client_secret", HasKey: true, Kind: "secret", Text: "(secret, not shown)"})
	return dash.ProposalPage{
		Chrome: chrome("A command line asks", "inbox"), ID: "prp_01", State: "open", From: "Your command line", Label: "ada-laptop",
		Summary: `Set up the provider "github": the client id, the client secret, the addresses to which tokens are sent.`,
		Method:  "PUT", Path: "/v1/admin/providers/github", Body: body, Withheld: true, Refers: []dash.Field{{"con_01", "octocat on GitHub, of Ada Lovelace"}},
		Digest: strings.Repeat("ab01", 16), ProposedAt: ago(time.Minute), ExpiresAt: in(9 * time.Minute), CanDecide: true, MayRefuse: true,
	}
}

func proposalDone() dash.ProposalPage {
	p := proposalPage()
	answer := dash.NewBody("application/json", []byte(`{"name":"github","client_id":"Iv1.8a61f9b3a7aba766","has_secret":true}`))
	answer.Text = ""
	p.State, p.CanDecide, p.MayRefuse, p.Body, p.Withheld, p.Refers = "confirmed", false, false, dash.Body{}, false, nil
	p.NoBody, p.DecidedBy, p.DecidedAt = "The content of a proposal is destroyed when it has been decided.", "Ada Lovelace", clock
	p.Outcome = &dash.Performed{Code: 200, Done: true, Text: "GitHub is set up", Page: "/connections", Answer: answer}
	return p
}

// fixture is a page with a name.
type fixture struct {
	name   string
	render func(*dash.Renderer, io.Writer) error
}

func fixtures() []fixture {
	return []fixture{
		{"welcome", func(r *dash.Renderer, w io.Writer) error { return r.Welcome(w, welcome(0)) }},
		{"welcome-agent", func(r *dash.Renderer, w io.Writer) error { return r.Welcome(w, welcome(1)) }},
		{"welcome-ask", func(r *dash.Renderer, w io.Writer) error { return r.Welcome(w, welcome(2)) }},
		{"login", func(r *dash.Renderer, w io.Writer) error {
			return r.Login(w, dash.LoginPage{Chrome: outside("Log in"), ReturnTo: "/inbox", Host: "valetkey.example.org", Passkeys: true})
		}},
		{"enrol", func(r *dash.Renderer, w io.Writer) error {
			return r.Enrol(w, dash.EnrolPage{Chrome: outside("Create your passkey"), Invite: "inv", Name: "Grace Hopper", By: "Ada Lovelace", As: "member", Host: "valetkey.example.org", ExpiresAt: in(20 * time.Hour)})
		}},
		{"inbox", func(r *dash.Renderer, w io.Writer) error { return r.Inbox(w, inbox()) }},
		{"inbox-empty", func(r *dash.Renderer, w io.Writer) error { return r.Inbox(w, emptyInbox()) }},
		{"inbox-frozen", func(r *dash.Renderer, w io.Writer) error { return r.Inbox(w, frozen()) }},
		{"inbox-proposed", func(r *dash.Renderer, w io.Writer) error { return r.Inbox(w, asked()) }},
		{"action", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, comment()) }},
		{"action-preview", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, previewed()) }},
		{"action-preview-delete", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, previewedDelete()) }},
		{"action-preview-gaps", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, previewedGaps()) }},
		{"action-critical", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, criticalDelete()) }},
		{"action-halted", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, halted()) }},
		{"action-several", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, several()) }},
		{"action-half", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, half()) }},
		{"action-relief", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, relievable()) }},
		{"action-executing", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, onItsWay()) }},
		{"action-done", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, succeeded()) }},
		{"action-unknown", func(r *dash.Renderer, w io.Writer) error { return r.Action(w, unknownOutcome()) }},
		{"connections", func(r *dash.Renderer, w io.Writer) error { return r.Connections(w, connections()) }},
		{"disconnected", func(r *dash.Renderer, w io.Writer) error { return r.Disconnected(w, disconnected()) }},
		{"agents", func(r *dash.Renderer, w io.Writer) error { return r.Agents(w, agents()) }},
		{"agent", func(r *dash.Renderer, w io.Writer) error { return r.Agent(w, agentPage()) }},
		{"activity", func(r *dash.Renderer, w io.Writer) error { return r.Activity(w, activity()) }},
		{"policy", func(r *dash.Renderer, w io.Writer) error { return r.Policy(w, policyPage()) }},
		{"device", func(r *dash.Renderer, w io.Writer) error {
			return r.Device(w, dash.DevicePage{Chrome: chrome("Log in a terminal", ""), Code: "WDJB-MJHT", Client: "valetkey CLI on ada-laptop", Source: "127.0.0.1", Scopes: []string{"see what you see", "propose changes that you confirm here with your passkey", "freeze"}, ExpiresAt: in(9 * time.Minute)})
		}},
		{"recover", func(r *dash.Renderer, w io.Writer) error {
			return r.Recover(w, dash.RecoverPage{Chrome: outside("Use a recovery code"), Usable: true})
		}},
		{"you", func(r *dash.Renderer, w io.Writer) error { return r.You(w, youPage()) }},
		{"you-by-identity", func(r *dash.Renderer, w io.Writer) error {
			return r.You(w, dash.YouPage{Chrome: chrome("You", ""), Host: "valetkey.example.org", Usable: true, Provider: "Example", Identities: youPage().Identities})
		}},
		{"people", func(r *dash.Renderer, w io.Writer) error { return r.People(w, peoplePage()) }},
		{"proposal", func(r *dash.Renderer, w io.Writer) error { return r.Proposal(w, proposalPage()) }},
		{"proposal-done", func(r *dash.Renderer, w io.Writer) error { return r.Proposal(w, proposalDone()) }},
		{"already-in", func(r *dash.Renderer, w io.Writer) error {
			return r.Error(w, dash.ErrorPage{Chrome: chrome("You are already in", ""), Detail: "This link has been used, or has expired. You are logged in as Ada Lovelace and need none.", Next: "Go on"})
		}},
		{"error", func(r *dash.Renderer, w io.Writer) error {
			return r.Error(w, dash.ErrorPage{Chrome: chrome("There is no such action", ""), Status: 404, Reason: "not_found", Detail: "It does not exist, or it is not yours to see."})
		}},
	}
}

func renderer(t testing.TB) *dash.Renderer {
	t.Helper()
	r, err := dash.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
