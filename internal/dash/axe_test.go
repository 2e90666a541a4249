package dash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axeCore is where `make setup` installs the rules, as pinned in test/peers.
const axeCore = "../../test/peers/node_modules/axe-core/axe.min.js"

// judge runs the rules of WCAG 2.2, levels A and AA, over what is on the screen.
const judge = `axe.run(document, {runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}, resultTypes: ["violations"]})
	.then((r) => JSON.stringify({rules: r.passes.length, found: r.violations.map((v) => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + " — " + (n.any[0] || n.all[0] || n.none[0] || {message: ""}).message).join("\n\t"))}))`

// promised evaluates an expression whose value is a promise of a text.
func promised(expression string) chromedp.Action[string] {
	return func(ctx context.Context, t *chromedp.Target) (string, error) {
		yes := true
		got, err := cdp.Call(ctx, t, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, AwaitPromise: &yes, ReturnByValue: &yes})
		if err != nil {
			return "", err
		}
		if got.ExceptionDetails != nil {
			return "", fmt.Errorf("%s", said(got.ExceptionDetails))
		}
		var text string
		return text, json.Unmarshal(got.Result.Value, &text)
	}
}

// Everybody can use every page: axe-core finds nothing on any of them that
// WCAG 2.2 forbids at level A or AA, in light and dark, with everything that
// unfolds unfolded, and in each dialog.
func TestAccessible(t *testing.T) {
	needChromium(t)
	rules, err := os.ReadFile(axeCore)
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("VALETKEY_REQUIRE"), ","), "peers") {
			t.Fatalf("axe-core is required; run: make setup (%v)", err)
		}
		t.Skip("SKIPPED for want of peers: axe-core is not installed; run: make setup")
	}
	clock = time.Now()
	srv, ctx := previewServer(t, renderer(t)), browser(t)
	// Our policy would keep the rules out, as everything else.
	bypass := func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true})
		return chromedp.Void{}, err
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), bypass); err != nil {
		t.Fatal(err)
	}
	look := func(name, how string, prepare string) {
		t.Helper()
		text, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (string, error) {
			if _, err := exec(prepare)(ctx, target); err != nil {
				return "", err
			}
			return promised(judge)(ctx, target)
		})
		var got struct {
			Rules int
			Found []string
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &got)
		}
		if err != nil || got.Rules < 5 {
			t.Fatalf("%s, %s: %d rules were kept: %v", name, how, got.Rules, err)
		}
		for _, v := range got.Found {
			t.Errorf("%s, %s: %s", name, how, v)
		}
	}
	for _, f := range fixtures() {
		for _, scheme := range []string{"light", "dark"} {
			if err := chromedp.Do(ctx, media(scheme), chromedp.Navigate(srv.URL+"/"+f.name), exec(string(rules))); err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
			look(f.name, scheme, `for (const fold of document.querySelectorAll("details:not(.menu)")) { fold.removeAttribute("name"); fold.open = true }`)
			if scheme == "dark" {
				continue
			}
			n, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("dialog").length`))
			if err != nil {
				t.Fatal(err)
			}
			for i := range min(n, 2) {
				look(f.name, fmt.Sprintf("dialog %d", i), fmt.Sprintf(`document.querySelectorAll("dialog").forEach((d, i) => { d.close(); if (i === %d) d.showModal() })`, i))
			}
		}
	}
}
