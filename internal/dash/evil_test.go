package dash_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// evilPage is what somebody else's site does to a browser that is logged in
// here: it sends forms of every encoding, fetches without asking, loads our
// pages as pictures, scripts and frames, opens them and speaks to them. What it
// could learn or do it writes down.
const evilPage = `<!doctype html><title>evil</title><body><script>
window.log = [];
const base = %q, action = %q, digest = %q, question = %q, agent = %q, grant = %q, con = %q;
const changes = [
	["/actions/" + action + "/decision", {decision: "approve", digest, question, reason: ""}],
	["/actions/" + action + "/decision", {decision: "deny", digest, question, reason: "evil"}],
	["/freeze", {reason: "evil"}], ["/logout", {}],
	["/agents", {name: "evil", public_key: "x", profile: "strict", sources: ""}],
	["/agents/" + agent + "/suspend", {}], ["/grants/" + grant + "/revoke", {}],
	["/connections/" + con + "/disconnect", {}], ["/passkey/confirm/begin", {}],
];
const told = (what) => window.log.push(what);
async function send() {
	for (const [path, body] of changes) {
		const json = JSON.stringify(body);
		for (const init of [
			{mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: json},
			{mode: "no-cors", body: new URLSearchParams(body)},
			{mode: "no-cors", body: new Blob([json], {type: "application/json"})},
			{mode: "cors", headers: {"Content-Type": "application/json", "Valetkey-Csrf": "x"}, body: json},
			{mode: "cors", headers: {"Content-Type": "text/plain"}, body: json},
		]) {
			try {
				const r = await fetch(base + path, {method: "POST", credentials: "include", ...init});
				if (r.type !== "opaque") told("read an answer of " + path + ": " + r.status);
			} catch {}
		}
		navigator.sendBeacon(base + path, new Blob([json], {type: "text/plain"}));
		for (const kind of ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]) {
			const frame = document.createElement("iframe");
			frame.name = "f" + Math.random();
			document.body.append(frame);
			const form = document.createElement("form");
			form.method = "POST"; form.action = base + path; form.enctype = kind; form.target = frame.name;
			// As text/plain this is JSON: {"…":"…","x":"="}
			const field = document.createElement("input");
			field.name = json.slice(0, -1) + (json === "{}" ? "" : ",") + '"x":"'; field.value = '"}';
			form.append(field);
			document.body.append(form);
			form.submit();
		}
	}
	for (const path of ["/inbox", "/actions/" + action, "/activity", "/logout", "/freeze", "/connect/github/callback?state=x&code=y", "/enrol/x", "/events/inbox"]) {
		for (const tag of ["img", "script", "iframe", "object", "embed", "video", "audio", "link"]) {
			const e = document.createElement(tag);
			if (tag === "link") { e.rel = "stylesheet"; e.href = base + path } else if (tag === "object") e.data = base + path; else e.src = base + path;
			if (tag === "img" || tag === "script" || tag === "link") e.onload = () => told(tag + " of " + path + " was loaded");
			document.body.append(e);
		}
		try { const r = await Promise.race([fetch(base + path, {credentials: "include"}), new Promise((_, no) => setTimeout(no, 800))]); told("read " + path + ": " + r.status) } catch {}
	}
	try { new EventSource(base + "/events/inbox", {withCredentials: true}).onmessage = () => told("read events") } catch {}
	const w = window.open(base + "/actions/" + action, "victim", "popup,width=900,height=1200");
	await new Promise((ok) => setTimeout(ok, 1500));
	if (w) {
		for (const message of ["approve", {decision: "approve"}, {htmx: "trigger"}]) try { w.postMessage(message, "*") } catch {}
		try { told("read a window: " + w.document.title) } catch {}
		try { if (w.length) told("counted frames: " + w.length) } catch {}
		try { w.location = "javascript:document.forms[0].submit()" } catch {}
		try { w.location.hash = "#approve" } catch {}
	}
	await new Promise((ok) => setTimeout(ok, 700));
	for (const f of document.querySelectorAll("iframe")) try { if (f.contentDocument && f.contentDocument.body && f.contentDocument.body.innerText) told("read a frame: " + f.contentDocument.body.innerText.slice(0, 80)) } catch {}
	window.done = true;
}
send();
</script>`

// Pages of others in a browser that is logged in here: from another port of this
// machine, which is the same site to a browser and sends our cookies; from
// another site; and from a name of theirs that leads to us. Nothing changes,
// nothing is read, no page of ours is framed (P-54).
func TestEvilOrigins(t *testing.T) {
	needChromium(t)
	s := newSite(t)
	v := s.person("mira", user.Owner)
	th := s.things(v)
	port := s.base[strings.LastIndex(s.base, ":"):]
	var mu sync.Mutex
	base := s.base
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, evilPage, base, th.held.Action.ID, th.held.Action.Effect, questionOf(th.held), th.agent.ID, th.grant.ID, th.con.ID)
	}))
	t.Cleanup(func() { evil.CloseClientConnections(); evil.Close() })
	away, err := url.Parse(evil.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t, chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"), chromedp.Flag("disable-popup-blocking", true))
	for name, value := range v.cookies {
		set := func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, t, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: s.base, SameSite: network.CookieSameSiteLax, HTTPOnly: ptr(true)})
			return chromedp.Void{}, err
		}
		if err := chromedp.Do(ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	b := &tab{t: t, ctx: ctx, base: s.base}
	b.open("/inbox")
	b.says("Comment on octo/api#1") // logged in, and it has the form's cookie

	for name, site := range map[string]struct{ from, to string }{
		"another port of this machine": {"http://localhost:" + away.Port() + "/", s.base},
		"another site":                 {"http://evil.example:" + away.Port() + "/", s.base},
		"another site, by our address": {"http://evil.example:" + away.Port() + "/", "http://127.0.0.1" + port},
	} {
		mu.Lock()
		base = site.to
		mu.Unlock()
		before := s.size()
		if err := chromedp.Do(ctx, chromedp.Navigate(site.from)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.until(`window.done === true`)
		learned, err := chromedp.Run(ctx, chromedp.Evaluate[string](`window.log.join("; ")`))
		if err != nil || learned != "" {
			t.Errorf("%s: %s (%v)", name, learned, err)
		}
		s.untouched(name, v, th, before)
	}

	// The name of theirs leads to us: their page was loaded from it before.
	before := s.size()
	for _, path := range []string{"/", "/inbox", "/login", "/welcome", "/actions/" + string(th.held.Action.ID)} {
		if err := chromedp.Do(ctx, chromedp.Navigate("http://evil.example"+port+path)); err != nil {
			t.Fatal(err)
		}
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.host + " " + document.body.innerText`))
		if err != nil || !strings.HasPrefix(text, "evil.example"+port+" This is ") {
			t.Errorf("rebound to %s: %.200s (%v)", path, text, err)
		}
		got, err := chromedp.Run(ctx, promised(`Promise.all(["/login", "/passkey/login/begin", "/freeze", "/logout"].map((p, i) => fetch(p, i ? {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"} : {}).then((r) => r.status))).then((all) => all.join(" "))`))
		if err != nil || got != "421 421 421 421" {
			t.Errorf("rebound, fetched: %s (%v)", got, err)
		}
	}
	s.untouched("rebinding", v, th, before)

	// The browser is still logged in, and the person can still decide.
	b.open("/inbox")
	b.says("Comment on octo/api#1")
}

func ptr[T any](v T) *T { return &v }

// untouched checks that nothing of v's has changed since the log had this size:
// all that happened was refused.
func (s *site) untouched(name string, v *visitor, th things, before int64) {
	s.t.Helper()
	ctx := s.t.Context()
	events, err := s.App.DB.Log().Events(ctx, before, 10_000)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range events {
		// A window that somebody else opens is our page all the same, and that looks
		// at what is there now.
		if !strings.HasSuffix(e.Verb, ".refused") && e.Verb != "refusals.counted" && e.Verb != "preview.read" {
			s.t.Errorf("%s: %s by %s on %s", name, e.Verb, e.Actor, e.Object)
		}
	}
	h, err := s.App.DB.Actions().Held(ctx, id.DefaultOrg, th.held.Action.ID)
	if err != nil || h.Approval.Status != approval.Open || h.Action.State != "pending" {
		s.t.Errorf("%s: the action is %v, %v", name, h.Action, err)
	}
	if n := s.Sandbox.Count("POST", "/repos/"); n != 0 {
		s.t.Errorf("%s: %d calls upstream", name, n)
	}
	if len(s.App.Freezes.Active()) != 0 {
		s.t.Errorf("%s: something is frozen", name)
	}
	if got := v.get("/inbox"); got.code != http.StatusOK {
		s.t.Errorf("%s: the session ended: %d", name, got.code)
	}
	s.t.Logf("%s: %d refusals recorded, nothing changed", name, len(events))
}
