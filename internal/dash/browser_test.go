package dash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/valetkey/valetkey/internal/dash"
)

// TestInBrowser tries in a real Chromium what only a browser can tell: that
// the policies hold and nothing of ours breaks by them, that live parts are
// swapped under Trusted Types, and that a button is inert until it was seen.
func TestInBrowser(t *testing.T) {
	if _, err := os.Stat(chromium); err != nil {
		if strings.Contains(os.Getenv("VALETKEY_REQUIRE"), "chromium") {
			t.Fatalf("%s is required", chromium)
		}
		t.Skipf("%s is missing: pages are not tried in a browser", chromium)
	}
	clock = time.Now()
	r := renderer(t)
	posts, touches := make(chan string, 4), make(chan bool)
	long := pages(r, strings.Repeat("averylongname", 6))
	srv := previewServer(t, r, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /long/{name}", func(w http.ResponseWriter, req *http.Request) {
			dash.SetHeaders(w.Header())
			if err := long[req.PathValue("name")](w); err != nil {
				t.Error(err)
			}
		})
		mux.HandleFunc("GET /inbox/list", func(w http.ResponseWriter, req *http.Request) {
			v := inbox()
			v.Pending = v.Pending[:1]
			v.Pending[0].Agent.Name = "<img src=x onerror=alert(1)>"
			var b bytes.Buffer
			if err := r.InboxList(&b, v); err != nil {
				t.Error(err)
			}
			dash.SetHeaders(w.Header())
			_, _ = w.Write(b.Bytes())
		})
		mux.HandleFunc("GET /evil", func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.WriteString(w, `<div id="inbox-list"><a href="javascript:alert(1)" onclick="alert(1)">x</a></div>`)
		})
		mux.HandleFunc("POST /actions/{id}/decision", func(w http.ResponseWriter, req *http.Request) {
			var body map[string]any
			if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			out, _ := json.Marshal(body)
			posts <- req.Header.Get("Valetkey-Csrf") + " " + req.Header.Get("Content-Type") + " " + req.PathValue("id") + " " + string(out)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"detail":"It was decided <b>already</b>."}`)
		})
		mux.HandleFunc("POST /actions/{id}/passkey", func(w http.ResponseWriter, req *http.Request) {
			<-touches // until the test goes on
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"reason":"question_changed","detail":"It was asked again."}`)
		})
		mux.HandleFunc("POST /agents", func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			posts <- string(body)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"reason":"private_key","detail":"This contains a private key."}`)
		})
	})
	ctx := browser(t)
	listen(t, ctx, "409", "400", "refused markup", "TrustedHTML", "htmx:", "inline event handler")

	// Live parts.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 1400), chromedp.Navigate(srv.URL+"/inbox"),
		chromedp.WaitVisible(chromedp.CSS("#inbox-list .card"))); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, exec(`htmx.trigger(document.body, "valetkey:inbox")`)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, `document.querySelectorAll("#inbox-list .card").length === 1`)
	if count, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("img").length`)); err != nil || count != 0 {
		t.Errorf("an agent's name became %d images (%v)", count, err)
	}
	// Markup that could run is refused even if our own server sent it.
	if err := chromedp.Do(ctx, exec(`htmx.ajax("GET", "/evil", {target: "#inbox-list", swap: "outerHTML"}).catch(() => {})`), chromedp.Sleep(400*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if evil, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!document.querySelector("a[onclick]")`)); err != nil || evil {
		t.Errorf("a handler attribute was swapped in (%v)", err)
	}
	stopped, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => { try { document.body.innerHTML = "<b onclick=x>"; return false } catch { return true } })()`))
	if err != nil || !stopped {
		t.Errorf("a handler could be written into the page (%v)", err)
	}

	// The approve button.
	if err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+"/action")); err != nil {
		t.Fatal(err)
	}
	const button = `document.querySelector("[data-arm]")`
	early, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`performance.now() > 500 || `+button+`.disabled`))
	if err != nil || !early {
		t.Errorf("the button is live at once (%v)", err)
	}
	wait(t, ctx, button+`.disabled === false`)
	if at, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`performance.now()`)); err != nil || at < 600 {
		t.Errorf("armed after %.0f ms (%v)", at, err)
	}
	if err := chromedp.Do(ctx, exec(button+`.click()`)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, `document.querySelector(".decision .form-error").textContent === "It was decided <b>already</b>."`)
	want := `csrf-token application/json act_5r9t2y7u {"cooldown":"","decision":"approve","digest":"` + digest + `","question":"` + question + `","reason":""}`
	if got := <-posts; got != want {
		t.Errorf("sent %s\nwant %s", got, want)
	}
	if link, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!document.querySelector(".form-error .reload")`)); err != nil || !link {
		t.Errorf("a reload is offered for a refusal that it does not help (%v)", err)
	}
	// Out of sight it is inert again.
	if err := chromedp.Do(ctx, exec(`document.querySelector(".decision").style.display = "none"`)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, button+`.disabled === true`)

	// What is under way is said, and what helps is offered.
	if err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+"/action-critical")); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, button+`.disabled === false`)
	if err := chromedp.Do(ctx, exec(button+`.click()`)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, `document.querySelector(".decision .form-status").textContent === "Waiting for your passkey…"`)
	if role, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector(".decision .form-status").getAttribute("role")`)); err != nil || role != "status" {
		t.Errorf("nobody who does not look is told: role %q (%v)", role, err)
	}
	close(touches)
	wait(t, ctx, `document.querySelector(".decision .form-error .reload")?.textContent === "Reload the page"`)
	wait(t, ctx, `document.querySelector(".decision .form-status").textContent === ""`)

	// A private key goes nowhere and stays nowhere, be it found here or there.
	const field = `document.querySelector("#agent-key")`
	add := func(key string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+"/agents"), exec(`document.querySelector("#agent-name").value = "triage"; `+field+`.value = `+strconv.Quote(key)+`; document.querySelector("form[action='/agents'] button").click()`)); err != nil {
			t.Fatal(err)
		}
		wait(t, ctx, `!document.querySelector("form[action='/agents'] .form-error").hidden`)
		if left, err := chromedp.Run(ctx, chromedp.Evaluate[string](field+`.value + `+field+`.textContent + document.body.innerText.match(/CANARY.*/g)`)); err != nil || left != "null" {
			t.Errorf("the page still holds %q (%v)", left, err)
		}
	}
	for _, key := range []string{"-----BEGIN EC PRIVATE KEY-----\nCANARY\n-----END EC PRIVATE KEY-----", `{"kty":"OKP","crv":"Ed25519","x":"a","d":"CANARY"}`, `{"keys":[{"kty":"oct","k":"CANARY"}]}`, `{"d": "CANARY", broken`} {
		add(key)
		select {
		case sent := <-posts:
			t.Errorf("a private key was sent: %s", sent)
		default:
		}
	}
	add("CANARY that only the server knows")
	<-posts

	// Choosing operations: nothing is chosen by itself, and what is hidden is not sent.
	pick := `[...new FormData(document.querySelector("form[data-pick-form]")).getAll("operations[]")].join(" ")`
	chosen := func(want, how string) {
		t.Helper()
		if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](pick)); err != nil || got != want {
			t.Errorf("%s: %q is chosen, want %q (%v)", how, got, want, err)
		}
	}
	press := func(selector string) {
		t.Helper()
		if err := chromedp.Do(ctx, exec(`document.querySelector(`+strconv.Quote(selector)+`).click()`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(srv.URL+"/agent")); err != nil {
		t.Fatal(err)
	}
	chosen("", "at first")
	press(`[data-pick=reads]`)
	chosen("github.issues.list github.issues.get", "all reads")
	press(`input[value="github.issues.*"]`)
	chosen("github.issues.*", "a whole area")
	press(`input[value="github.repos.delete"]`)
	wait(t, ctx, `document.querySelector("[data-pick-count]").textContent === "Chosen: 1 whole area and 1 operation."`)
	press(`[data-pick=none]`)
	chosen("", "nothing")
	if err := chromedp.Do(ctx, exec(`const f = document.querySelector("[data-pick-filter]"); f.value = "MERGE write"; f.dispatchEvent(new Event("input"))`)); err != nil {
		t.Fatal(err)
	}
	seen := `[...document.querySelectorAll("details.area:not([hidden]) .choice.op:not(.all):not([hidden]) input")].map((i) => i.value).join(" ")`
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](seen)); err != nil || got != "github.pulls.merge" {
		t.Errorf("the filter shows %q (%v)", got, err)
	}
	chosen("", "a filter")

	var paths []string
	for _, f := range fixtures() {
		paths = append(paths, "/"+f.name)
	}
	for name := range long {
		paths = append(paths, "/long/"+name)
	}
	fits(t, ctx, srv.URL, paths)
}

// fits measures every page on a small phone: nothing may be wider than it.
func fits(t *testing.T, ctx context.Context, base string, paths []string) {
	for _, path := range paths {
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(360, 800), chromedp.Navigate(base+path),
			exec(`for (const fold of document.querySelectorAll("details:not(.menu):not(.checkpoint)")) { fold.removeAttribute("name"); fold.open = true; }`)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		// What scrolls inside a box of its own may be as wide as it likes.
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			const out = [], page = document.scrollingElement;
			if (page.scrollWidth > 360) out.push("the page: " + page.scrollWidth);
			const scrolls = (el) => { for (; el && el !== document.body; el = el.parentElement) if (getComputedStyle(el).overflowX !== "visible") return true; return false; };
			for (const el of document.body.querySelectorAll("*")) {
				const box = el.getBoundingClientRect();
				if (box.width && box.right > 360.5 && !scrolls(el)) out.push(el.tagName + "." + el.getAttribute("class") + ": " + Math.round(box.right));
			}
			for (const el of document.querySelectorAll("pre.code")) if (el.clientWidth && el.clientWidth < 200) out.push("a code box of " + el.clientWidth);
			return out.slice(0, 6).join("; ");
		})()`))
		if err != nil || wide != "" {
			t.Errorf("%s on a phone: %s (%v)", path, wide, err)
		}
	}
}
