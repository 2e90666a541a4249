package egress_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// read fetches everything of a response that an agent could see, as one text.
func read(t *testing.T, c *egress.Client, r egress.Request) (*egress.Response, string, error) {
	t.Helper()
	res, err := c.Do(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A server that takes a request on a kept-alive connection, acts, and resets
// the connection is asked once, whatever would let an HTTP client repeat.
func TestUnsafeIsSentOnce(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, body := range []string{"", "{}"} {
			for _, header := range []http.Header{nil, {"Idempotency-Key": {"k1"}}, {"idempotency-key": {"k1"}}} {
				t.Run(fmt.Sprintf("%s/body=%s/%v", method, body, header), func(t *testing.T) {
					w := newWorld(t)
					var acted atomic.Int64
					w.script(func(c net.Conn, r *http.Request) bool {
						io.Copy(io.Discard, r.Body)
						if r.URL.Path == "/warm" {
							io.WriteString(c, ok)
							return true
						}
						acted.Add(1)
						return false
					})
					c := w.client()
					if _, _, err := read(t, c, request(t, "GET", "/warm")); err != nil {
						t.Fatal(err)
					}
					r := request(t, method, "/act")
					r.Body, r.Header = []byte(body), header
					if err := do(t, c, r); !errors.Is(err, egress.ErrUnknown) || errors.Is(err, egress.ErrNotSent) {
						t.Errorf("Do: %v, want %v", err, egress.ErrUnknown)
					}
					if n := acted.Load(); n != 1 {
						t.Errorf("upstream acted %d times", n)
					}
				})
			}
		}
	}
}

// The same death under a request that may be repeated is survived, and told.
func TestRepeatable(t *testing.T) {
	for _, c := range []struct {
		method, body string
		idempotent   bool
	}{{"GET", "", false}, {"OPTIONS", "", false}, {"POST", "{}", true}, {"POST", "", true}} {
		w := newWorld(t)
		var seen atomic.Int64
		w.script(func(conn net.Conn, r *http.Request) bool {
			io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/act" && seen.Add(1) == 1 {
				return false
			}
			io.WriteString(conn, ok)
			return true
		})
		client := w.client()
		read(t, client, request(t, "GET", "/warm"))
		r := request(t, c.method, "/act")
		r.Body, r.Idempotent = []byte(c.body), c.idempotent
		if c.idempotent {
			r.Header = http.Header{"Idempotency-Key": {"k1"}}
		}
		res, body, err := read(t, client, r)
		if err != nil || body != "ok" || !res.Resent || seen.Load() != 2 {
			t.Errorf("%s: %q, %v, resent %v, seen %d times", c.method, body, err, res.Resent, seen.Load())
		}
	}
}

// A connection that died while it was idle is no reason to fail: nothing left.
func TestDeadIdleConnection(t *testing.T) {
	w := newWorld(t)
	var acted atomic.Int64
	closed := make(chan struct{}, 8)
	w.script(func(c net.Conn, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, ok)
		if r.Method == "POST" {
			acted.Add(1)
			return true
		}
		c.Close()
		closed <- struct{}{}
		return false
	})
	c := w.client()
	for range 5 {
		read(t, c, request(t, "GET", "/"))
		<-closed
		r := request(t, "POST", "/act")
		r.Body = []byte("{}")
		// The race between our write and the news of the close is real; an
		// unknown outcome is its honest name. Never twice is what counts.
		if err := do(t, c, r); err != nil && !errors.Is(err, egress.ErrUnknown) && !errors.Is(err, egress.ErrNotSent) {
			t.Error(err)
		}
	}
	if n := acted.Load(); n > 5 {
		t.Errorf("acted %d times on 5 requests", n)
	}
}

func TestNotSent(t *testing.T) {
	w := newWorld(t)
	w.names["private.test"] = []string{"10.0.0.1"}
	w.names["nobody.test"] = []string{"93.184.216.99"}
	w.names["wrong.test"] = []string{public}
	var asked atomic.Int64
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	c := w.client()
	for host, reason := range map[string]string{
		"private.test": "address_refused",
		"nobody.test":  "not_sent", // dial fails
		"wrong.test":   "not_sent", // certificate of another host
		"absent.test":  "not_sent", // no such name
	} {
		base := parse(t, "https://"+host)
		err := do(t, c, egress.Request{Method: "POST", URL: base, Base: base, Credential: secret.New(canary)})
		if !errors.Is(err, egress.ErrNotSent) || errors.Is(err, egress.ErrUnknown) || fault.From(err).Reason != reason {
			t.Errorf("%s: %v, want not sent, shown as %s", host, err, reason)
		}
		if reason == "address_refused" && !errors.Is(err, egress.ErrAddress) {
			t.Errorf("%s: %v is not %v", host, err, egress.ErrAddress)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Do(ctx, request(t, "POST", "/")); !errors.Is(err, egress.ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("upstream was asked %d times", n)
	}
}

func TestUnknown(t *testing.T) {
	w := newWorld(t)
	got := make(chan struct{}, 1)
	w.script(func(c net.Conn, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/close":
			return false
		case "/garbage":
			io.WriteString(c, r.Header.Get("Authorization")+"\r\n\r\n")
		case "/half":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
		case "/switch":
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		case "/silent":
			got <- struct{}{}
			io.Copy(io.Discard, c)
		}
		return false
	})
	c := w.client()
	for _, path := range []string{"/close", "/garbage", "/half", "/switch"} {
		err := do(t, c, request(t, "POST", path))
		if !errors.Is(err, egress.ErrUnknown) || errors.Is(err, egress.ErrNotSent) {
			t.Errorf("%s: %v, want %v", path, err, egress.ErrUnknown)
		}
		if err != nil && leaks(err.Error(), canary) {
			t.Errorf("%s leaks the credential: %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-got; cancel() }()
	if _, err := c.Do(ctx, request(t, "POST", "/silent")); !errors.Is(err, egress.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after: %v", err)
	}
	hasty := w.client(func(o *egress.Options) { o.HeaderTimeout = 30 * time.Millisecond })
	if err := do(t, hasty, request(t, "POST", "/silent")); !errors.Is(err, egress.ErrUnknown) {
		t.Errorf("no head in time: %v", err)
	}
	<-got
}

func TestOriginIsPinned(t *testing.T) {
	w := newWorld(t)
	w.names["evil.test"] = []string{public}
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("upstream was asked") }))
	c := w.client(func(o *egress.Options) { o.AllowHTTP = func(string) bool { return true } })
	for _, target := range []string{"https://evil.test/", "https://allowed.test:8443/", "http://allowed.test/", "http://allowed.test:443/", "https://allowed.test@evil.test/", "https://api.allowed.test/"} {
		err := do(t, c, egress.Request{Method: "GET", URL: parse(t, target), Base: parse(t, "https://allowed.test"), Credential: secret.New(canary)})
		if !errors.Is(err, egress.ErrURL) || !errors.Is(err, egress.ErrNotSent) {
			t.Errorf("%s: %v, want %v", target, err, egress.ErrURL)
		}
	}
	for _, r := range []egress.Request{{Method: "GET", URL: parse(t, "https://allowed.test/")}, {Method: "GET", Base: parse(t, "https://allowed.test/")}} {
		if err := do(t, c, r); !errors.Is(err, egress.ErrURL) {
			t.Errorf("a URL or base too few: %v", err)
		}
	}
}

// One resolution serves one connection: a name that was public when it was
// looked up and is private now is refused, and one bad address spoils a set.
func TestRebinding(t *testing.T) {
	w := newWorld(t)
	w.names["rebind1.test"] = []string{public, "127.0.0.1"}
	w.names["mixed6.test"] = []string{public + " ::1"}
	w.names["nat64.test"] = []string{"64:ff9b::a00:1"}
	w.names["alias.test"] = []string{"cname:localhost 127.0.0.1"}
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := w.client()
	if err := call(t, c, "https://rebind1.test/"); err != nil {
		t.Fatalf("public answer: %v", err)
	}
	c.CloseIdle()
	for _, u := range []string{"https://rebind1.test/", "https://mixed6.test/", "https://nat64.test/", "https://alias.test/"} {
		if err := call(t, c, u); !errors.Is(err, egress.ErrAddress) {
			t.Errorf("%s: %v, want %v", u, err, egress.ErrAddress)
		}
	}
	if traps := w.traps(); len(traps) > 0 {
		t.Errorf("dialled %q", traps)
	}
}

// Of several addresses, the next is tried when one does not answer.
func TestSeveralAddresses(t *testing.T) {
	w := newWorld(t)
	w.names["allowed.test"] = []string{"93.184.216.99 2606:2800:220::99 " + public}
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err := do(t, w.client(), request(t, "GET", "/")); err != nil {
		t.Error(err)
	}
}

// Proxies from the environment are not asked.
func TestNoProxy(t *testing.T) {
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://"+trap.Addr().String())
	}
	w := newWorld(t)
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err := do(t, w.client(), request(t, "GET", "/")); err != nil {
		t.Error(err)
	}
	trap.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
	if c, err := trap.Accept(); err == nil {
		c.Close()
		t.Error("the proxy was asked")
	}
}

func loopback(o *egress.Options) {
	o.Guard = &egress.Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	o.AllowHTTP = func(host string) bool { return host == "127.0.0.1" }
	o.Dial = nil
}

// The operator's own network: plain HTTP to a named host, with the dialer of
// production.
func TestInternalHTTP(t *testing.T) {
	w := newWorld(t)
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.Host) }), ReadHeaderTimeout: time.Minute}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	base := parse(t, "http://"+ln.Addr().String())
	r := egress.Request{Method: "GET", URL: base, Base: base, Credential: secret.New(canary)}
	if _, body, err := read(t, w.client(loopback), r); err != nil || body != base.Host {
		t.Errorf("allowed: %q, %v", body, err)
	}
	if err := do(t, w.client(func(o *egress.Options) { loopback(o); o.AllowHTTP = nil }), r); !errors.Is(err, egress.ErrURL) {
		t.Errorf("http to a host that was not named: %v", err)
	}
	if err := do(t, w.client(func(o *egress.Options) { loopback(o); o.Guard = nil }), r); !errors.Is(err, egress.ErrAddress) {
		t.Errorf("network that was not opened: %v", err)
	}
}

func TestConcurrentCalls(t *testing.T) {
	w := newWorld(t)
	var acted atomic.Int64
	w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		acted.Add(1)
		io.Copy(rw, r.Body)
	}))
	c := w.client()
	errs := make(chan error)
	for i := range 50 {
		go func() {
			r := request(t, "POST", "/")
			r.Body = []byte(strings.Repeat(fmt.Sprint(i), 100))
			res, err := c.Do(t.Context(), r)
			if err == nil {
				var b []byte
				b, err = io.ReadAll(res.Body)
				res.Body.Close()
				if string(b) != string(r.Body) {
					err = fmt.Errorf("got %q for %q", b, r.Body)
				}
			}
			errs <- err
		}()
	}
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if acted.Load() != 50 {
		t.Errorf("acted %d times", acted.Load())
	}
}

func BenchmarkDo(b *testing.B) {
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(rw, `{"id":1}`)
	}), ReadHeaderTimeout: time.Minute}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	var o egress.Options
	loopback(&o)
	c := egress.New(o)
	defer c.CloseIdle()
	base := &url.URL{Scheme: "http", Host: ln.Addr().String()}
	b.ReportAllocs()
	for b.Loop() {
		res, err := c.Do(b.Context(), egress.Request{Method: "POST", URL: base, Base: base, Body: []byte("{}"), Credential: secret.New(canary)})
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}
