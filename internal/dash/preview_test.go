package dash_test

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/valetkey/valetkey/internal/dash"
)

var (
	previewDir  = flag.String("preview-dir", "", "write a picture of every page to this directory, with Chromium")
	previewOnly = flag.String("preview-only", "", "only pages whose name contains this")
)

// previewServer serves the fixtures as the real server would serve pages.
func previewServer(t testing.TB, r *dash.Renderer, more ...func(*http.ServeMux)) *httptest.Server {
	mux, leaving := http.NewServeMux(), make(chan struct{})
	for _, add := range more {
		add(mux)
	}
	mux.Handle("GET "+dash.AssetPrefix, r.Assets)
	for _, f := range fixtures() {
		mux.HandleFunc("GET /"+f.name, func(w http.ResponseWriter, req *http.Request) {
			var page bytes.Buffer
			if err := f.render(r, &page); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			dash.SetHeaders(w.Header())
			_, _ = w.Write(page.Bytes())
		})
	}
	mux.HandleFunc("GET /events/inbox", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		select {
		case <-req.Context().Done():
		case <-leaving: // a browser may come back while the server closes
		}
	})
	mux.HandleFunc("GET /welcome/rows", func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { close(leaving); srv.CloseClientConnections(); srv.Close() })
	return srv
}

// chromium is where Debian puts it.
const chromium = "/usr/bin/chromium"

// browser starts Chromium, whose clock stands at the fixtures' moment.
func browser(t testing.TB, more ...chromedp.ExecAllocatorOption) context.Context {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(opts, more...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// listen fails the test when the browser reports a refused script, style or
// request, unless its words contain one of those expected.
func listen(t testing.TB, ctx context.Context, expected ...string) {
	known := func(text string) bool {
		return slices.ContainsFunc(append(expected, "status of 404"), func(e string) bool { return strings.Contains(text, e) })
	}
	err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && !known(e.Entry.Text) {
			t.Errorf("the browser says: %s (%s)", e.Entry.Text, e.Entry.URL)
		}
		if e, ok := ev.(*runtime.EventExceptionThrown); ok && !known(said(e.ExceptionDetails)) {
			t.Errorf("a script failed: %s", said(e.ExceptionDetails))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, enable); err != nil {
		t.Fatal(err)
	}
}

func said(d *runtime.ExceptionDetails) string {
	if d.Exception != nil {
		return d.Text + " " + d.Exception.Description
	}
	return d.Text
}

// exec runs a statement in the page.
func exec(statement string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Evaluate[bool]("(() => { "+statement+"; return true })()")(ctx, t)
		return chromedp.Void{}, err
	}
}

// wait waits until an expression is true in the page.
func wait(t testing.TB, ctx context.Context, expression string) {
	t.Helper()
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if ok, err := chromedp.Run(short, chromedp.Poll[bool](expression)); err != nil || !ok {
		t.Fatalf("never true: %s (%v)", expression, err)
	}
}

func enable(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	_, err := cdp.Call(ctx, t, log.Enable, cdp.Empty{})
	return chromedp.Void{}, err
}

func media(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return chromedp.Void{}, err
	}
}

// TestPreview photographs every page, light and dark, wide and narrow, and
// fails when a page is wider than the window or the browser complains.
func TestPreview(t *testing.T) {
	if *previewDir == "" {
		t.Skip("no -preview-dir: nothing is photographed")
	}
	if err := os.MkdirAll(*previewDir, 0o755); err != nil {
		t.Fatal(err)
	}
	srv, ctx := previewServer(t, renderer(t)), browser(t)
	clock = time.Now() // the pages' scripts go by the browser's clock
	listen(t, ctx)
	for _, f := range fixtures() {
		if !strings.Contains(f.name, *previewOnly) {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800), media(scheme), chromedp.Navigate(srv.URL+"/"+f.name)); err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				size, err := chromedp.Run(ctx, chromedp.Evaluate[[]int64](`[document.documentElement.scrollWidth, document.documentElement.scrollHeight]`))
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				overflow := size[0] > width
				// The window is made as high as the page, and the buttons arm.
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, max(800, size[1])), chromedp.Sleep(900*time.Millisecond)); err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				if overflow {
					t.Errorf("%s is wider than %d pixels", f.name, width)
				}
				name := f.name + "-" + scheme + "-" + map[int64]string{1280: "wide", 360: "phone"}[width] + ".png"
				if err := os.WriteFile(filepath.Join(*previewDir, name), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
