package dash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/dash"
)

// naughty are the strings that break other people's programs, after our own
// that try to deceive an approver.
func naughty(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../display/testdata/naughty_strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 461 {
		t.Fatalf("%d naughty strings, %v", len(all), err)
	}
	for _, c := range corpus(t) {
		all = append(all, c.Value)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// turning gives one string after the other, from one on, and around.
func turning(all []string, from int) (next func() string, taken *int) {
	taken = new(int)
	return func() string {
		s := all[(from+*taken)%len(all)]
		*taken++
		return s
	}, taken
}

// Pages on which every text is another of the strings have the shape of
// harmless ones, in as many turns as it takes for each page to show each string.
func TestNaughtyTextNeverBecomesMarkup(t *testing.T) {
	r, all := renderer(t), naughty(t)
	for name, harmless := range pages(r, "harmless") {
		base := strip(skeleton(t, output(t, harmless)))
		for from := 0; from < len(all); {
			next, taken := turning(all, from)
			page := output(t, pagesOf(r, next)[name])
			if diff := cmp.Diff(base, strip(skeleton(t, page))); diff != "" {
				t.Fatalf("%s from string %d on: the page changed shape:\n%s", name, from, diff)
			}
			from += max(1, *taken)
		}
	}
}

// needChromium skips the test, or fails it where it is required.
func needChromium(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		if strings.Contains(os.Getenv("VALETKEY_REQUIRE"), "chromium") {
			t.Fatalf("%s is required", chromium)
		}
		t.Skipf("%s is missing: pages are not tried in a browser", chromium)
	}
}

// watched is what a browser did that no page of ours should make it do.
type watched struct {
	mu   sync.Mutex
	said []string
}

func (w *watched) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// take returns what was seen since the last time.
func (w *watched) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.said
	w.said = nil
	return out
}

// watch reports every request that leaves for somewhere else, and every dialog.
func watch(t *testing.T, ctx context.Context, base string) *watched {
	t.Helper()
	w := &watched{}
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, base+"/") && !strings.HasPrefix(u, "data:image/svg+xml") && u != "about:blank" {
				w.add("a request for %.200s", u)
			}
		case *page.EventJavascriptDialogOpening:
			w.add("a dialog: %.200s", e.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	on := func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := cdp.Call(ctx, t, page.Enable, page.EnableParams{})
		return chromedp.Void{}, err
	}
	if err := chromedp.Do(ctx, on); err != nil {
		t.Fatal(err)
	}
	return w
}

// grown says what is on a page that can run, load or lead elsewhere: counts by
// kind, which no text changes; handlers, of which there are none; and what the
// policy has stopped.
const grown = `(() => {
	const n = (q) => document.querySelectorAll(q).length, out = {};
	for (const q of ["script", "iframe", "object", "embed", "img", "video", "audio", "base", "meta", "link", "form", "style", "svg script", "foreignObject", "math", "template", "marquee", "[srcdoc]", "[style]", "input", "button"]) out[q] = n(q);
	out.handlers = [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length;
	out.schemes = [...document.querySelectorAll("[href], [src], [action], [formaction]")].filter((e) => ["href", "src", "action", "formaction"].some((a) => /^\s*(javascript|vbscript|data|file|blob):/i.test(e.getAttribute(a) || ""))).length;
	return JSON.stringify(out);
})()`

// Every string, on every page, in a real browser: nothing of it runs, is
// fetched, opens a dialog or becomes an element, and the policy has nothing to
// stop (P-24).
func TestNaughtyTextInBrowser(t *testing.T) {
	needChromium(t)
	clock = time.Now()
	r, all := renderer(t), naughty(t)
	names := []string{}
	for name := range pages(r, "") {
		names = append(names, name)
	}
	slices.Sort(names)
	var mu sync.Mutex
	sizes := map[string]int{}
	srv := previewServer(t, r, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /naughty/{name}/{from}", func(w http.ResponseWriter, req *http.Request) {
			from, err := strconv.Atoi(req.PathValue("from"))
			next, taken := turning([]string{"harmless"}, 0)
			if err == nil {
				next, taken = turning(all, from)
			}
			dash.SetHeaders(w.Header())
			if err := pagesOf(r, next)[req.PathValue("name")](w); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sizes[req.URL.Path] = max(1, *taken)
		})
	})
	ctx := browser(t)
	listen(t, ctx, "404")
	seen := watch(t, ctx, srv.URL)
	shape := func(path string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (string, error) {
			if _, err := chromedp.Navigate(srv.URL+path)(ctx, target); err != nil {
				return "", err
			}
			return chromedp.Evaluate[string](grown)(ctx, target)
		})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, what := range seen.take() {
			t.Errorf("%s: %s", path, what)
		}
		return got
	}
	loads := 0
	for _, name := range names {
		want := shape("/naughty/" + name + "/harmless")
		if !strings.Contains(want, `"handlers":0`) || !strings.Contains(want, `"schemes":0`) {
			t.Errorf("%s: %s", name, want)
		}
		// A page with few texts shows those that could become markup.
		mu.Lock()
		little := sizes["/naughty/"+name+"/harmless"] < 12
		mu.Unlock()
		for from := 0; from < len(all); loads++ {
			if little && !strings.Contains(all[from], "<") {
				from++
				loads--
				continue
			}
			path := fmt.Sprintf("/naughty/%s/%d", name, from)
			if got := shape(path); got != want {
				t.Errorf("%s: %s\nwant %s", path, got, want)
			}
			mu.Lock()
			from += sizes[path]
			mu.Unlock()
		}
	}
	t.Logf("%d strings on %d pages, in %d loads", len(all), len(names), loads)
}

// invisibles are characters that leave no mark on a screen, or the mark of
// another.
var invisibles = []rune{
	0x00AD, 0x034F, 0x061C, 0x115F, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2060, 0x2061, 0x2063,
	0x2066, 0x2067, 0x2069, 0x206A, 0x3164, 0xFE0F, 0xFEFF, 0xFFA0, 0x00A0, 0x2003, 0x2009, 0x202F, 0x3000, 0x0007, 0x001B, 0x0085, 0xE0001, 0xE0041, 0xE007F, 0xE0100,
}

// Two payloads that differ in one character that cannot be seen differ in what
// can be seen: in the page's text without all such characters, and in its
// picture.
func TestInvisibleDifferenceOnScreen(t *testing.T) {
	needChromium(t)
	clock = time.Now()
	r := renderer(t)
	srv := previewServer(t, r, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /pair/{name}", func(w http.ResponseWriter, req *http.Request) {
			dash.SetHeaders(w.Header())
			text := req.URL.Query().Get("text")
			views := map[string]func() error{
				"action": func() error {
					v := comment()
					raw, _ := json.Marshal(map[string]string{"to": text})
					v.Request.Body = dash.NewBody("application/json", raw)
					return r.Action(w, v)
				},
				"path":  func() error { v := comment(); v.Request.Path = "/" + text; return r.Action(w, v) },
				"note":  func() error { v := comment(); v.AgentText = text; return r.Action(w, v) },
				"inbox": func() error { v := inbox(); v.Pending[0].Summary = text; return r.Inbox(w, v) },
				"agents": func() error {
					v := agents()
					v.Agents[0].Name = text
					return r.Agents(w, v)
				},
				"activity": func() error { v := activity(); v.Days[0].Events[0].Sentence = text; return r.Activity(w, v) },
			}
			if err := views[req.PathValue("name")](); err != nil {
				t.Error(err)
			}
		})
	})
	ctx := browser(t)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 1600), media("light")); err != nil {
		t.Fatal(err)
	}
	const readable = `document.querySelector("main").innerText.replace(/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\s]/gu, "").replace(/\d+(s|min|h|d)ago|in\d+:\d\d/g, "")`
	read := func(name, text string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (string, error) {
			if _, err := chromedp.Navigate(srv.URL+"/pair/"+name+"?"+url.Values{"text": {text}}.Encode())(ctx, target); err != nil {
				return "", err
			}
			return chromedp.Evaluate[string](readable)(ctx, target)
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, name := range []string{"action", "path", "note", "inbox", "agents", "activity"} {
		plain := read(name, "acct-12 34")
		if plain != read(name, "acct-12 34") || !strings.Contains(plain, "acct-1234") {
			t.Fatalf("%s is not the same twice, or says nothing: %.300s", name, plain)
		}
		chosen := invisibles
		if name != "action" {
			chosen = []rune{0x200B, 0x202E, 0xFE0F, 0x00A0, 0x00AD, 0xE0041, 0x3164, 0x001B}
		}
		for _, r := range chosen {
			for _, text := range []string{"acct-12" + string(r) + " 34", "acct-12 34" + string(r)} {
				if read(name, text) == plain {
					t.Errorf("%s: %U in %q makes no difference on the screen", name, r, text)
				}
			}
		}
	}
	// Pictures of the body, which an approver looks at.
	shot := func(text string) string {
		t.Helper()
		read("action", text)
		picture, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
			if _, err := exec(`for (const e of document.querySelectorAll("[data-clock], time, .decision, code")) e.style.visibility = "hidden"`)(ctx, target); err != nil {
				return nil, err
			}
			return chromedp.CaptureScreenshot()(ctx, target)
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(picture)
	}
	plain := shot("acct-12 34")
	if plain != shot("acct-12 34") {
		t.Log("pictures of one page differ, so nothing is learned from those of two")
		return
	}
	for _, r := range []rune{0x200B, 0x202E, 0xFE0F, 0xE0041} {
		if shot("acct-12"+string(r)+" 34") == plain {
			t.Errorf("%U makes no difference in the picture", r)
		}
	}
}
