package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/internal/egress"
)

func TestHTTPClientRefuses(t *testing.T) {
	w := newWorld(t)
	w.names["private.test"] = []string{"10.0.0.1"}
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("upstream was asked") }))
	c := w.client().HTTPClient()
	for u, want := range map[string]error{
		"http://allowed.test/token":        egress.ErrURL,
		"https://allowed.test:8443/token":  egress.ErrURL,
		"https://127.0.0.1/token":          egress.ErrAddress,
		"https://169.254.169.254/token":    egress.ErrAddress,
		"https://metadata.google.internal": egress.ErrURL,
		"https://private.test/token":       egress.ErrAddress,
	} {
		res, err := c.Get(u)
		if err == nil {
			res.Body.Close()
		}
		if !errors.Is(err, want) || !errors.Is(err, egress.ErrNotSent) {
			t.Errorf("%s: %v, want %v", u, err, want)
		}
	}
	if traps := w.traps(); len(traps) > 0 {
		t.Errorf("dialled %q", traps)
	}
}

func TestHTTPClient(t *testing.T) {
	w := newWorld(t)
	var spent atomic.Int64
	w.script(func(c net.Conn, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/redirect":
			io.WriteString(c, "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
		case "/big":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+strings.Repeat("a", 2<<20))
			return false
		case "/gzip":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx")
		case "/spend":
			spent.Add(1)
			return false
		case "/malformed":
			c.Write(append(body, "\r\n\r\n"...))
			return false
		default:
			io.WriteString(c, ok)
		}
		return true
	})
	c := w.client().HTTPClient()
	post := func(path string) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://allowed.test"+path, strings.NewReader("refresh_token="+canary))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "k")
		res, err := c.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, string(b), err
	}
	if res, body, err := post("/"); err != nil || body != "ok" || res.StatusCode != 200 {
		t.Errorf("%q, %v", body, err)
	}
	if res, _, err := post("/redirect"); err != nil || res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("redirect: %v, %v", res, err)
	}
	if _, body, err := post("/big"); !errors.Is(err, egress.ErrTooLarge) || len(body) != 1<<20 {
		t.Errorf("big: %d bytes, %v", len(body), err)
	}
	if _, _, err := post("/gzip"); !errors.Is(err, egress.ErrEncoding) {
		t.Errorf("gzip: %v", err)
	}
	// The refresh token may be spent by a request that got no answer: once.
	if _, _, err := post("/spend"); !errors.Is(err, egress.ErrUnknown) || spent.Load() != 1 {
		t.Errorf("spend: %v, %d times", err, spent.Load())
	}
	if _, _, err := post("/malformed"); !errors.Is(err, egress.ErrUnknown) || leaks(err.Error(), canary) {
		t.Errorf("malformed: %v", err)
	}
	if traps := w.traps(); len(traps) > 0 {
		t.Errorf("dialled %q", traps)
	}
}

// The client serves the OAuth library, and what went wrong shows through it.
func TestWithOAuth2(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, `{"access_token":"at","token_type":"bearer","refresh_token":"rt2","expires_in":60}`)
	}))
	defer srv.Close()
	w := newWorld(t)
	cfg := oauth2.Config{ClientID: "id", ClientSecret: "secret", Endpoint: oauth2.Endpoint{TokenURL: srv.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader}}
	refresh := func(c *egress.Client) (*oauth2.Token, error) {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, c.HTTPClient())
		return cfg.TokenSource(ctx, &oauth2.Token{RefreshToken: "rt"}).Token()
	}
	if tok, err := refresh(w.client(loopback)); err != nil || tok.AccessToken != "at" {
		t.Errorf("%v, %v", tok, err)
	}
	closed := func(o *egress.Options) {
		loopback(o)
		o.Guard = &egress.Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("127.9.0.0/16")}}
	}
	if _, err := refresh(w.client(closed)); !errors.Is(err, egress.ErrNotSent) {
		t.Errorf("%v, want %v", err, egress.ErrNotSent)
	}
}
