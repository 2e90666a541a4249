package dash_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// tab is a real browser with a software authenticator in it.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string
	n    int
}

// open goes to a path and waits for the page.
func (b *tab) open(path string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(b.base+path)); err != nil {
		b.t.Fatalf("open %s: %v", path, err)
	}
}

// until waits until an expression is true in whatever page there is.
func (b *tab) until(expression string) {
	b.t.Helper()
	var last error
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if ok {
			return
		}
		last = err
		if err := chromedp.Do(b.ctx, chromedp.Sleep(60*time.Millisecond)); err != nil {
			b.t.Fatal(err)
		}
	}
	page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`))
	b.shot("failed")
	b.t.Fatalf("never true: %s (%v)\n%s", expression, last, page)
}

// says waits until the page says something.
func (b *tab) says(text string) {
	b.t.Helper()
	b.until("document.body.innerText.includes(" + strconv.Quote(text) + ")")
}

// click presses what a selector finds, as a person would: only when it is there
// and live.
func (b *tab) click(selector string) {
	b.t.Helper()
	q := strconv.Quote(selector)
	b.until(fmt.Sprintf(`document.querySelector(%s) && !document.querySelector(%s).disabled`, q, q))
	if err := chromedp.Do(b.ctx, exec(fmt.Sprintf(`document.querySelector(%s).click()`, q))); err != nil {
		b.t.Fatalf("click %s: %v", selector, err)
	}
}

func (b *tab) fill(selector, text string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, exec(fmt.Sprintf(`document.querySelector(%s).value = %s`, strconv.Quote(selector), strconv.Quote(text)))); err != nil {
		b.t.Fatalf("fill %s: %v", selector, err)
	}
}

// shot photographs the page, wide and narrow, light and dark, into the
// directory that VALETKEY_SHOTS names, and fails when a page is too wide.
func (b *tab) shot(name string) {
	dir := os.Getenv("VALETKEY_SHOTS")
	if dir == "" {
		return
	}
	b.t.Helper()
	b.n++
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"dark", "light"} {
			if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 900), media(scheme), chromedp.Sleep(80*time.Millisecond)); err != nil {
				b.t.Fatal(err)
			}
			size, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]int64](`[document.documentElement.scrollWidth, document.documentElement.scrollHeight]`))
			if err != nil {
				b.t.Fatal(err)
			}
			if size[0] > width {
				b.t.Errorf("%s is wider than %d pixels", name, width)
			}
			if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, min(max(900, size[1]), 4000)), chromedp.Sleep(60*time.Millisecond)); err != nil {
				b.t.Fatal(err)
			}
			picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				b.t.Fatal(err)
			}
			file := fmt.Sprintf("%02d-%s-%s-%d.png", b.n, name, scheme, width)
			if err := os.WriteFile(filepath.Join(dir, file), picture, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// authenticator puts a software passkey device into the browser.
func authenticator(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		return chromedp.Void{}, err
	}
	_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	return chromedp.Void{}, err
}

// owner is whom an agent belongs to, logged in elsewhere.
func (s *site) owner(a *agent.Agent) user.Principal {
	return user.Principal{Org: a.Org, User: a.Owner, Role: user.Owner, Kind: user.Browser, AuthAt: time.Now()}
}

// The whole road in a real browser, by a person who has nothing but the link
// that the terminal printed.
func TestRoadInBrowser(t *testing.T) {
	if _, err := os.Stat(chromium); err != nil {
		if strings.Contains(os.Getenv("VALETKEY_REQUIRE"), "chromium") {
			t.Fatalf("%s is required", chromium)
		}
		t.Skipf("%s is missing: the road is not tried in a browser", chromium)
	}
	s := newSite(t)
	_, link, err := s.App.Users.CreateFirst(t.Context(), "owner", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t, ctx: browser(t), base: s.base}
	listen(t, b.ctx, "401")
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(1280, 900), authenticator); err != nil {
		t.Fatal(err)
	}

	// The passkey.
	b.open("/enrol/" + link.Reveal())
	b.says("Give your agents a valet key")
	b.shot("first-run")
	b.fill("#w-name", "Mira Koch")
	b.click("#welcome-rows form button")
	b.until(`location.pathname === "/welcome"`)
	b.says("Nobody else can decide for you")
	b.shot("passkey-done")

	// The account, over the provider's consent page.
	b.fill("#scopes-github", "read:user repo delete_repo")
	b.click(`form[action="/connections/connect"] button`)
	b.until(`location.pathname === "/login/oauth/authorize"`)
	b.click(`input[name=login][value=octocat]`)
	b.click(`button[value=approve]`)
	b.until(`location.pathname === "/welcome" && location.search === "?done=connected"`)
	b.says("octocat on Sandbox")
	b.shot("account-done")
	cons, err := s.App.DB.Connections().Connections(t.Context(), "org_default")
	if err != nil || len(cons) != 1 || cons[0].Status != vault.Active {
		t.Fatalf("%d connections, %v", len(cons), err)
	}

	// The agent and its grant.
	b.open("/agents")
	b.fill("#agent-name", "triage")
	b.fill("#agent-key", strings.ReplaceAll(publicKey, `\n`, "\n"))
	b.shot("agents")
	b.click(`form[action="/agents"] button`)
	b.says("Without a grant every request is refused")
	b.fill("#g-res", "octo/api\noctocat/hello-world")
	b.click(`input[value="github.issues.create_comment"]`)
	b.click(`input[value="github.repos.delete"]`)
	b.shot("grant")
	b.click(`form[action$="/grants"] button:not([type=button])`)
	b.says("The grant holds from now on")
	b.shot("agent")
	bot, err := s.App.Agents.Find(t.Context(), "triage")
	if err != nil {
		t.Fatal(err)
	}

	// It asks, and the inbox that is open already shows it by itself.
	b.open("/inbox")
	b.says("Nothing waits for you")
	b.shot("inbox-empty")
	held := s.ask(bot, cons[0], "Thanks for the report!\n\nThis is fixed in v2.4.1 \u202egnidaelsim\u202c, please try it.")
	b.says("Comment on octo/api#1")
	b.until(`document.title.startsWith("(1)")`)
	b.shot("inbox")
	b.click(".cover")
	b.until(`location.pathname === "/actions/` + string(held.Action.ID) + `"`)
	b.says("U+202E")
	b.shot("action")
	b.click(`button[value=approve]`)
	b.says("accepted the request")
	b.says("HTTP 201")
	b.says("Exactly this was sent")
	b.shot("action-done")
	if n := s.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 1 {
		t.Errorf("%d comments upstream", n)
	}
	b.open("/welcome")
	b.says("That is all there is to it")
	b.shot("welcome-done")

	// A critical one: the page is open while somebody else's hand would not do.
	critical := s.submit(bot, broker.Ask{
		Connection: string(cons[0].ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}, Note: "No longer needed.",
	})
	b.open("/actions/" + string(critical.Action.ID))
	b.says("Approve with passkey")
	b.says("The repository and all that is in it")
	b.until(`document.querySelector("input[name=shown]").form.id === "decide-form"`)
	b.shot("critical")
	b.click(`button[value=approve]`)
	b.says("accepted the request")
	b.says("with passkey")
	b.shot("critical-done")
	if n := s.Sandbox.Count("DELETE", "/repos/octocat/hello-world"); n != 1 {
		t.Errorf("%d deletions upstream", n)
	}
	if h, err := s.App.DB.Actions().Held(t.Context(), "org_default", critical.Action.ID); err != nil || h.Approval.Precondition == "" {
		t.Errorf("the answer does not cover what was shown (%v)", err)
	}

	// Answered elsewhere: every part of the open page follows.
	elsewhere := s.ask(bot, cons[0], "From another window.")
	b.open("/actions/" + string(elsewhere.Action.ID))
	b.until(`document.querySelector("button[value=approve]")?.disabled === false`)
	b.click("#headers > summary")
	if _, err := s.App.Broker.Decide(t.Context(), s.owner(bot), elsewhere.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: elsewhere.Action.Effect, Channel: "web", Level: approval.Approve}, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.says("accepted the request")
	for _, part := range []string{"Exactly this was sent", "asked to act as", "Why it was asked", "What happened"} {
		b.says(part)
	}
	b.until(`document.querySelector("header.headline .chip.state.succeeded") && !document.querySelector("[data-arm]") && document.querySelector("#headers").open`)

	// Frozen while it is looked at.
	cold := s.ask(bot, cons[0], "In the cold.")
	b.open("/actions/" + string(cold.Action.ID))
	b.until(`document.querySelector("button[value=approve]")?.disabled === false`)
	s.freeze(freeze.Agent, string(bot.ID))
	b.says("The agent triage is frozen.")
	b.until(`!document.querySelector("button[value=approve]") && document.querySelector("button[value=deny]")`)
	b.shot("action-frozen")
	b.open("/inbox")
	b.shot("inbox-frozen")
	b.open("/agents")
	b.shot("agents-frozen")
	s.thaw()

	// Denied, with words for the agent.
	no := s.ask(bot, cons[0], "Second thoughts.")
	b.open("/actions/" + string(no.Action.ID))
	b.fill("textarea[name=reason]", "The tests are red.")
	b.click(`button[value=deny]`)
	b.says("Mira Koch said no: The tests are red.")
	b.shot("denied")

	// Stop everything, and go on by a touch.
	b.click(`button.freeze`)
	b.fill("#freeze-dialog input[name=reason]", "odd comments")
	b.click(`#freeze-dialog button.danger`)
	b.says("Everything is stopped")
	b.shot("frozen")
	b.click(`form[action="/unfreeze"] button`)
	b.says("Agents may ask again")

	for _, page := range []string{"activity", "policy", "connections", "device"} {
		b.open("/" + page)
		b.says("Valetkey")
		b.shot(page)
	}
	b.open("/no/such/page")
	b.shot("error")
	b.open("/connections")
	b.click(`button[data-open^="#disconnect-"]`)
	b.shot("disconnect-dialog")
	b.click(`dialog[open] button.danger`)
	b.says("confirmed that it ended the tokens")
	b.shot("disconnected")

	// Out, back to where one wanted to go, in.
	b.click(`form[action="/logout"] button`)
	b.until(`location.pathname === "/login"`)
	b.open("/policy")
	b.until(`location.search === "?to=%2Fpolicy"`)
	b.shot("login")
	b.click(`form[action="/passkey/login/finish"] button`)
	b.until(`location.pathname === "/policy"`)
}

// TestPictures makes the pictures of the documentation anew, from a server that
// runs, in the directory that VALETKEY_PICTURES names.
func TestPictures(t *testing.T) {
	dir := os.Getenv("VALETKEY_PICTURES")
	if dir == "" {
		t.Skip("no VALETKEY_PICTURES: the documentation keeps its pictures")
	}
	s := newSite(t)
	s.dash.Sandbox = "" // it stands for GitHub here
	v := s.person("Ada", user.Owner)
	con := s.Link(v.who, "octocat")
	bot, _ := s.Agent(v.who, "triage")
	s.Grant(v.who, bot, con, grant.Broker, []string{"*"}, nil)
	s.submit(bot, broker.Ask{
		Connection: string(con.ID), Operation: "github.repos.delete", Params: map[string]any{"owner": "octocat", "repo": "hello-world"}, Note: "Nothing has been pushed there for a year.",
	})
	held := s.submit(bot, broker.Ask{
		Connection: string(con.ID), Operation: "github.issues.create_comment", Note: "The reporter waits for a word.",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": "I can reproduce this on main; a fix is under way."},
	})
	b := &tab{t: t, ctx: browser(t), base: s.base}
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(1280, 900), media("light")); err != nil {
		t.Fatal(err)
	}
	for name, value := range v.cookies {
		set := func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, t, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: s.base})
			return chromedp.Void{}, err
		}
		if err := chromedp.Do(b.ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	for name, page := range map[string]struct {
		path   string
		height int64
	}{"inbox": {"/inbox", 620}, "action": {"/actions/" + string(held.Action.ID), 900}} {
		b.open(page.path)
		if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(1280, page.height), chromedp.Sleep(time.Second)); err != nil { // the button arms
			t.Fatal(err)
		}
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
