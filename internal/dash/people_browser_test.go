package dash_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/valetkey/valetkey/internal/user"
)

// anotherKey is a second authenticator, of the kind that one plugs in.
func anotherKey(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb, HasResidentKey: true, HasUserVerification: true,
		IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	return chromedp.Void{}, err
}

// One's own page and that of people, in a real browser: a second passkey, which
// every page then speaks of, recovery codes, an invitation, another's role, and
// the way back in by a code.
func TestPeopleInBrowser(t *testing.T) {
	if _, err := os.Stat(chromium); err != nil {
		if strings.Contains(os.Getenv("VALETKEY_REQUIRE"), "chromium") {
			t.Fatalf("%s is required", chromium)
		}
		t.Skipf("%s is missing: the pages are not tried in a browser", chromium)
	}
	s := newSite(t)
	_, link, err := s.App.Users.CreateFirst(t.Context(), "Ada", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.person("grace", user.Member)
	b := &tab{t: t, ctx: browser(t), base: s.base}
	listen(t, b.ctx, "401", "429")
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(1280, 900), authenticator); err != nil {
		t.Fatal(err)
	}
	b.open("/enrol/" + link.Reveal())
	b.click("#welcome-rows form button")
	b.until(`location.pathname === "/welcome"`)

	b.open("/you")
	b.says("it cannot be removed before there is another")
	b.click(`form[action="/you/codes"] button`)
	b.until(`!document.querySelector("#codes-shown").hidden`)
	codes, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector("#codes-shown pre").textContent`))
	if err != nil || len(strings.Fields(codes)) != user.RecoveryCodes {
		t.Fatalf("codes %q, %v", codes, err)
	}
	b.until(`document.querySelector("#codes-shown a[download]").href.startsWith("blob:")`)
	b.open("/you")
	b.says("10 codes left")
	if page, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.documentElement.outerHTML`)); err != nil || strings.Contains(page, strings.Fields(codes)[0]) {
		t.Errorf("the codes are shown twice, %v", err)
	}

	b.open("/people")
	b.fill("#p-name", "Linus")
	b.click(`form[action="/people"] button`)
	b.until(`document.querySelector("#link-shown pre").textContent.startsWith(location.origin + "/enrol/")`)
	b.shot("people")
	b.open("/people")
	b.says("an enrolment link works until")

	if err := chromedp.Do(b.ctx, anotherKey); err != nil {
		t.Fatal(err)
	}
	b.open("/you")
	b.fill("#new-key", "Key ring")
	b.click(`form[action="/you/passkeys/finish"] button`)
	b.until(`location.search === "?done=passkey_added"`)
	b.says("A passkey was added to your account")
	b.shot("you")
	b.open("/agents")
	b.says("If that was not you")

	b.click(`form[action="/logout"] button`)
	b.until(`location.pathname === "/login"`)
	b.open("/recover")
	b.fill("#code", "BCDF-GHJK-LMNP-QRST-VWXZ")
	b.click(`form[action="/recover"] button`)
	b.says("This recovery code is not right")
	b.fill("#code", strings.ToLower(strings.Fields(codes)[4]))
	b.click(`form[action="/recover"] button`)
	b.until(`location.pathname.startsWith("/enrol/")`)
	b.says("Create your passkey")
}
