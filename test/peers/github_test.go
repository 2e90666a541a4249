package peers_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

const (
	title = "The importer stops at an empty line"
	said  = "I can reproduce this on main; a fix is under way."
)

// testGitHub is the main road: an account is connected through GitHub's own
// login, an agent reads, asks to write, a person sees the exact request and
// approves, GitHub has the comment, the account is disconnected, and nothing
// more is possible.
func testGitHub(t *testing.T, node, binary string) {
	b := startBrowser(t)
	here, there := freePort(t), freePort(t)
	e := startEmulator(t, node, there, fmt.Sprintf("http://localhost:%d/connect/github/callback", here.n))
	number := e.open(t, title).Number
	s := startServer(t, binary, here, "http")

	s.setProvider(t, e)
	enrol(t, s, b)
	connectAccount(t, s, e, b)
	key, agentID := addAgent(t, s, b)
	grantIssues(t, s, b, agentID)

	agent := newClient(t, s, key)
	readIssues(t, s, key, number)
	held := askToComment(t, agent, s, b, number)
	approve(t, s, e, b, held, number)
	seeComment(t, agent, s, e, b, held, number)

	seeReceipt(t, node, agent, s, b)

	disconnect(t, s, e, b)
	seeRefusal(t, agent, s, e, key, number)
	s.cli(t, 0, "", "audit", "verify")
	// The tokens were the emulator's to make: all of them begin like this.
	s.keeps(t, "gho_", appSecret)
}

// enrol makes the first person, with their passkey.
func enrol(t *testing.T, s *server, b *browser) {
	t.Helper()
	var ada api.UserCreated
	s.json(t, &ada, "", "user", "add", "ada", "--role", "owner")
	b.visit(ada.EnrolmentURL)
	b.fill("input[name=name]", "Ada")
	b.click("form[data-enrol] button")
	b.at(s, "/welcome")
	b.until(`document.querySelector("li.step.done")`)
}

// addAgent makes a key where the agent runs, and registers its public half.
// Since there is a passkey, the command line proposes that, and the person
// confirms it with a touch.
func addAgent(t *testing.T, s *server, b *browser) (key, agentID string) {
	t.Helper()
	key = filepath.Join(s.dir, "triage.key")
	page := strings.TrimSpace(s.cli(t, 5, "", "agent", "add", "triage", "--new-key", key, "--no-wait").stdout)
	if !strings.HasPrefix(page, s.url+"/proposals/prp_") {
		t.Fatalf("the command line does not say where to confirm: %q", page)
	}
	s.cli(t, 4, "", "agent", "show", "triage")
	b.visit(page)
	b.shot("proposal")
	if got := b.text("h1"); !strings.Contains(got, `Register the agent "triage"`) {
		t.Errorf("the page says %q", got)
	}
	b.until(`document.querySelector("button.approve").disabled === false`)
	b.click("button.approve")
	b.until(`document.querySelector("section.outcome")`)
	if got := b.text("section.outcome .came"); got != "triage is registered" {
		t.Fatalf("the proposal came to: %s", got)
	}
	var agent api.Agent
	s.json(t, &agent, "", "agent", "show", "triage")
	return key, agent.ID
}

func connectAccount(t *testing.T, s *server, e *emulator, b *browser) {
	t.Helper()
	b.visit(s.url + "/connections")
	b.click(`form[action="/connections/connect"]:has(input[name=provider][value=github]) button`)
	b.until(fmt.Sprintf("location.href.startsWith(%q) && document.readyState === 'complete'", e.url+"/login/oauth/authorize"))
	if page := b.text("body"); !strings.Contains(page, "Sign in to GitHub") || !strings.Contains(page, "Authorize Valetkey") {
		t.Errorf("this is not GitHub's login: %s", page)
	}
	b.click(`form:has(input[name=login][value=octo]) button`)
	b.at(s, "/welcome?done=connected")
	b.visit(s.url + "/connections")
	if got := b.texts(".conn .card-top h2"); len(got) != 1 || got[0] != "octo on "+e.title() {
		t.Fatalf("connected accounts: %q, want one of octo", got)
	}
	b.shot("connections")
}

// grantIssues lets the agent list issues, comment on them, and ask for
// collaborators, in one repository.
func grantIssues(t *testing.T, s *server, b *browser, agentID string) {
	t.Helper()
	b.visit(s.url + "/agents/" + agentID)
	b.exec(`for (const op of document.querySelectorAll('#grant input[type=checkbox]'))
		if (op.checked !== ["github.issues.list", "github.issues.create_comment", "github.collaborators.add"].includes(op.value)) op.click()`)
	b.fill("#g-res", "octo/api")
	b.click("#grant button[data-passkey]")
	b.at(s, "/agents/"+agentID+"?done=granted")
	want := []string{"github.collaborators.add", "github.issues.create_comment", "github.issues.list"}
	got := b.texts(".grant code.scope")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("granted %q, want %q", got, want)
	}
}

func newClient(t *testing.T, s *server, keyFile string) *client.Client {
	t.Helper()
	key, err := client.LoadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(s.url, client.Options{ClientID: "triage", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readIssues is a read, on the command line: it passes without anybody.
func readIssues(t *testing.T, s *server, key string, number int) {
	t.Helper()
	var got []issue
	s.json(t, &resultOf{t, &got}, "", listArgs(s, key, "api")...)
	if want := []issue{{number, title}}; !cmp.Equal(got, want) {
		t.Fatalf("issues read: %v, want %v", got, want)
	}
	if p := s.refused(t, 3, listArgs(s, key, "other")...); p.Reason != "resource_not_granted" {
		t.Errorf("a read outside the grant: %+v", p)
	}
}

func listArgs(s *server, key, repo string) []string {
	return []string{"call", "github.issues.list", "-c", "github", "--server", s.url, "--client-id", "triage", "--key", key, "-f", "owner=octo", "-f", "repo=" + repo}
}

// resultOf decodes the answer inside an action's result.
type resultOf struct {
	t    *testing.T
	into any
}

func (r *resultOf) UnmarshalJSON(raw []byte) error {
	var res api.ActionResult
	if err := json.Unmarshal(raw, &res); err != nil {
		return err
	}
	if res.Status != 200 {
		r.t.Errorf("GitHub answered %d", res.Status)
	}
	return json.Unmarshal(res.Body, r.into)
}

// askToComment submits a write, which is held, and appears in the open inbox
// by itself.
func askToComment(t *testing.T, agent *client.Client, s *server, b *browser, number int) *api.Action {
	t.Helper()
	b.visit(s.url + "/inbox")
	// The page asks once when it is connected; from then on it is told.
	b.fetched("/inbox/list", "#inbox-list[data-count='0']")
	out, err := agent.Submit(t.Context(), api.ActionRequest{
		Connection: "github", Operation: "github.issues.create_comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": number, "body": said},
		Note:   "The reporter waits for a word.",
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.Held == nil {
		t.Fatalf("the comment was not asked about: %+v", out.Result)
	}
	b.until(`document.querySelector("#inbox-list[data-count='1'] article.card")`)
	b.shot("inbox")
	return out.Held
}

// approve reads what the page says will be sent, and agrees.
func approve(t *testing.T, s *server, e *emulator, b *browser, held *api.Action, number int) {
	t.Helper()
	if n := len(e.comments(t, number)); n != 0 {
		t.Fatalf("%d comments before anybody approved", n)
	}
	b.click("#inbox-list article.card a.cover")
	b.at(s, "/actions/"+held.ID)
	body := fmt.Sprintf(`{"body":%q}`, said)
	sum := sha256.Sum256([]byte(body))
	shown := map[string]string{
		"headline": b.text(".request h2"),
		"method":   b.text(".request .method"),
		"url":      b.text(".request .url-text"),
		"value":    b.text(".request .json .string"),
		"bytes":    b.text(".request pre.exact"),
		"digest":   b.text(".request .hash code"),
		"note":     b.text(".agent-says blockquote"),
	}
	want := map[string]string{
		"headline": "Exactly this will be sent",
		"method":   "POST",
		"url":      fmt.Sprintf("%s/repos/octo/api/issues/%d/comments", e.url, number),
		"value":    said,
		"bytes":    body,
		"digest":   hex.EncodeToString(sum[:]),
		"note":     "The reporter waits for a word.",
	}
	if d := cmp.Diff(want, shown); d != "" {
		t.Fatalf("the page shows another request (-want +got):\n%s", d)
	}
	b.until(`document.querySelector("button.approve").disabled === false`)
	b.shot("action")
	b.click("button.approve")
}

// seeComment asks the agent, GitHub and the page what became of it.
func seeComment(t *testing.T, agent *client.Client, s *server, e *emulator, b *browser, held *api.Action, number int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done, err := agent.Await(ctx, held.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != api.StateSucceeded {
		t.Fatalf("the action is %s", done.State)
	}
	var want comment
	want.Body, want.User.Login = said, "octo"
	if d := cmp.Diff([]comment{want}, e.comments(t, number)); d != "" {
		t.Fatalf("comments at GitHub (-want +got):\n%s", d)
	}
	b.visit(s.url + "/actions/" + held.ID)
	if got := b.text(".outcome"); !strings.Contains(got, "HTTP 201") || !strings.Contains(got, e.title()+" accepted the request") {
		t.Errorf("the page tells of it: %s", got)
	}
	b.shot("approved")
}

// disconnect ends the connection. The emulator cannot revoke a token, and the
// report has to say that it ended here and not there.
func disconnect(t *testing.T, s *server, e *emulator, b *browser) {
	t.Helper()
	b.visit(s.url + "/connections")
	b.click(".conn button[data-open]")
	b.click("dialog[open] button.danger")
	b.until(`/^\/connections\/con_\w+\/disconnected$/.test(location.pathname) && document.readyState === "complete"`)
	b.shot("disconnected")
	done, failed := b.texts(".report-list li.done"), b.texts(".report-list li.failed")
	if !contains(done, "Our copy of the tokens was destroyed") {
		t.Errorf("the report does not say that it ended here: %q", done)
	}
	if !contains(failed, e.title()+" was asked to end the tokens and answered 404") {
		t.Errorf("the report does not say that it did not end there: %q", failed)
	}
	if !contains(failed, "still takes it") {
		t.Errorf("the report does not say that the token lives: %q", failed)
	}
	if contains(done, "GitHub") {
		t.Errorf("the report claims something of GitHub: %q", done)
	}
	if advice := b.text(".advice"); !strings.Contains(advice, "End the access of Valetkey") {
		t.Errorf("the report does not say what to do: %s", advice)
	}
}

func contains(lines []string, text string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, text) })
}

// seeRefusal asks again, both ways; nothing reaches GitHub.
func seeRefusal(t *testing.T, agent *client.Client, s *server, e *emulator, key string, number int) {
	t.Helper()
	_, err := agent.Submit(t.Context(), api.ActionRequest{
		Connection: "github", Operation: "github.issues.create_comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": number, "body": said},
	})
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || refused.Status != 404 || refused.Reason != "connection_not_found" {
		t.Errorf("a comment after the end: %v, want a refusal", err)
	}
	if p := s.refused(t, 4, listArgs(s, key, "api")...); p.Reason != "connection_not_found" {
		t.Errorf("a read after the end: %+v", p)
	}
	if n := len(e.comments(t, number)); n != 1 {
		t.Errorf("%d comments at GitHub, want the one", n)
	}
}
