package dash_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
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
	posts := make(chan string, 4)
	srv := previewServer(t, r, func(mux *http.ServeMux) {
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
	})
	ctx := browser(t)
	listen(t, ctx, "409", "refused markup", "TrustedHTML", "htmx:", "inline event handler")

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
	want := `csrf-token application/json act_5r9t2y7u {"decision":"approve","digest":"` + digest + `","reason":""}`
	if got := <-posts; got != want {
		t.Errorf("sent %s\nwant %s", got, want)
	}
	// Out of sight it is inert again.
	if err := chromedp.Do(ctx, exec(`document.querySelector(".decision").style.display = "none"`)); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, button+`.disabled === true`)
}
