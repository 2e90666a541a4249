package peers_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium with an empty profile and a passkey authenticator in
// it, and the person in front of it.
type browser struct {
	t   *testing.T
	ctx context.Context
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		lacking(t, "chromium", "Chromium is not installed; on Debian: apt-get install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	// Not the test's own context: that is done before a failed test is asked
	// where it was.
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 80*time.Second)
	t.Cleanup(cancel)
	b := &browser{t, ctx}
	// Tall enough that the button to approve is in view: it arms only there.
	// The browser lives as long as the context of the first call.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), authenticator); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.confess()
		}
	})
	return b
}

// authenticator gives the page a platform authenticator whose owner agrees to
// everything.
func authenticator(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		return chromedp.Void{}, err
	}
	_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	})
	return chromedp.Void{}, err
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *browser) visit(url string) {
	b.t.Helper()
	b.do("visit "+url, chromedp.Navigate(url))
}

// click clicks as a person does: with the mouse, on what is visible.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.exec(fmt.Sprintf("document.querySelector(%q).select()", selector)) // what stands there is typed over
	b.do("fill "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// until waits until a JavaScript expression is true on the page, whichever
// page that is by then.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 15*time.Second)
	defer cancel()
	var err error
	for {
		var ok bool
		if ok, err = chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")")); ok {
			return
		}
		select {
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
			b.t.Fatalf("never true: %s (%v)", expression, err)
		}
	}
}

// fetched waits until the page has fetched a part of itself, and it stands.
func (b *browser) fetched(part, selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`performance.getEntriesByType("resource").some(e => e.name.endsWith(%q))`, part))
	b.until(fmt.Sprintf(`document.querySelector(%q)`, selector+":not(.htmx-request, .htmx-swapping, .htmx-settling)"))
}

// at waits until the browser is at a path of s.
func (b *browser) at(s *server, path string) {
	b.t.Helper()
	b.until(fmt.Sprintf("location.href.startsWith(%q) && document.readyState === 'complete'", s.url+path))
}

// text is the text of the one element that selector finds.
func (b *browser) text(selector string) string {
	b.t.Helper()
	texts := b.texts(selector)
	if len(texts) != 1 {
		b.t.Fatalf("%s: %d elements %q, want one", selector, len(texts), texts)
	}
	return texts[0]
}

func (b *browser) texts(selector string) []string {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](fmt.Sprintf(
		`[...document.querySelectorAll(%q)].map(e => e.textContent.replace(/\s+/g, " ").trim())`, selector)))
	if err != nil {
		b.t.Fatalf("read %s: %v", selector, err)
	}
	return got
}

// exec runs a statement on the page.
func (b *browser) exec(statement string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("(() => { "+statement+"; return true })()")); err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
}

// shot keeps a picture of the page in $VALETKEY_SHOTS, if that is set.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("VALETKEY_SHOTS")
	if dir == "" {
		return
	}
	b.until("document.getAnimations().every(a => a.playState === 'finished')")
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatalf("picture %s: %v", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	writeFile(b.t, filepath.Join(dir, name+".png"), 0o644, png)
}

// confess says where a failed test left the browser.
func (b *browser) confess() {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	page, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		b.t.Logf("the browser is lost: %v", err)
		return
	}
	b.t.Logf("the browser is at %s", strings.TrimSpace(page))
}
