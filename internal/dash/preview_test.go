package dash_test

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
func previewServer(t testing.TB, r *dash.Renderer) *httptest.Server {
	mux := http.NewServeMux()
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
		<-req.Context().Done()
	})
	mux.HandleFunc("GET /welcome/rows", func(w http.ResponseWriter, req *http.Request) { w.WriteHeader(http.StatusNoContent) })
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv
}

// browser starts Chromium, whose clock stands at the fixtures' moment.
func browser(t testing.TB) context.Context {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// listen fails the test when the browser reports a refused script, style or
// request.
func listen(t testing.TB, ctx context.Context) {
	err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && !strings.Contains(e.Entry.Text, "status of 404") {
			t.Errorf("the browser says: %s (%s)", e.Entry.Text, e.Entry.URL)
		}
		if e, ok := ev.(*runtime.EventExceptionThrown); ok {
			t.Errorf("a script failed: %s", e.ExceptionDetails.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, enable); err != nil {
		t.Fatal(err)
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
				err := chromedp.Do(ctx,
					chromedp.EmulateViewport(width, 800),
					media(scheme),
					chromedp.Navigate(srv.URL+"/"+f.name),
					chromedp.Sleep(1100*time.Millisecond), // the buttons arm
				)
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				overflow, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`))
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
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
