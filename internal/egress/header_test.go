package egress_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/secret"
)

func TestHeaderAllowed(t *testing.T) {
	for _, name := range []string{
		"Authorization", "Cookie", "Host", "Connection", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Content-Length", "Content-Encoding", "Expect",
		"Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Http-Method-Override",
		"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "Accept-Encoding", "User-Agent", "Referer", "Origin",
		"X-Goog-User-Project", "X-Api-Key", "DPoP", "", "X-GitHub-", "X-GitHub-A B", "X-GitHub-A:", "Accept ", " Accept", "Accept\r\nX", "X GitHub-Api-Version", "X-Githubby",
	} {
		if egress.HeaderAllowed(name) {
			t.Errorf("HeaderAllowed(%q)", name)
		}
	}
	for _, name := range []string{"Accept", "accept", "content-type", "IF-MATCH", "Range", "Idempotency-Key", "Prefer", "X-GitHub-Api-Version", "x-github-api-version", "Notion-Version"} {
		if !egress.HeaderAllowed(name) {
			t.Errorf("HeaderAllowed(%q) is false", name)
		}
	}
}

func TestRequestIsRefused(t *testing.T) {
	w := newWorld(t)
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("upstream was asked") }))
	c := w.client()
	for name, change := range map[string]func(*egress.Request){
		"authorization":        func(r *egress.Request) { r.Header = http.Header{"Authorization": {"Bearer mine"}} },
		"lower-case cookie":    func(r *egress.Request) { r.Header = http.Header{"cookie": {"a=b"}} },
		"method override":      func(r *egress.Request) { r.Header = http.Header{"X-Http-Method-Override": {"DELETE"}} },
		"CRLF":                 func(r *egress.Request) { r.Header = http.Header{"Accept": {"a\r\nAuthorization: b"}} },
		"LF":                   func(r *egress.Request) { r.Header = http.Header{"Accept": {"a\nb"}} },
		"NUL":                  func(r *egress.Request) { r.Header = http.Header{"Accept": {"a\x00b"}} },
		"DEL":                  func(r *egress.Request) { r.Header = http.Header{"Accept": {"a\x7fb"}} },
		"not ASCII":            func(r *egress.Request) { r.Header = http.Header{"Accept": {"a\u010ab"}} },
		"two content types":    func(r *egress.Request) { r.Header = http.Header{"Content-Type": {"a/b", "c/d"}} },
		"two spellings":        func(r *egress.Request) { r.Header = http.Header{"Content-Type": {"a/b"}, "content-type": {"c/d"}} },
		"no value":             func(r *egress.Request) { r.Header = http.Header{"Content-Type": {}} },
		"too much":             func(r *egress.Request) { r.Header = http.Header{"Accept": {strings.Repeat("a", 20<<10)}} },
		"method CONNECT":       func(r *egress.Request) { r.Method = "CONNECT" },
		"method TRACE":         func(r *egress.Request) { r.Method = "TRACE" },
		"method lower":         func(r *egress.Request) { r.Method = "get" },
		"method empty":         func(r *egress.Request) { r.Method = "" },
		"method smuggled":      func(r *egress.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"GET with body":        func(r *egress.Request) { r.Body = []byte("x") },
		"no credential":        func(r *egress.Request) { r.Credential = secret.Text{} },
		"credential with CRLF": func(r *egress.Request) { r.Credential = secret.New("abcdefgh\r\nX: y") },
		"credential and none":  func(r *egress.Request) { r.Attach = egress.Attach{Kind: egress.None} },
		"unknown attach":       func(r *egress.Request) { r.Attach = egress.Attach{Kind: 99} },
		"attach to host":       func(r *egress.Request) { r.Attach = egress.Attach{Kind: egress.InHeader, Name: "host"} },
		"attach to nothing":    func(r *egress.Request) { r.Attach = egress.Attach{Kind: egress.InHeader} },
		"attach prefix": func(r *egress.Request) {
			r.Attach = egress.Attach{Kind: egress.InHeader, Name: "X-Key", Prefix: "a\r\nb"}
		},
		"attach over header": func(r *egress.Request) {
			r.Header, r.Attach = http.Header{"Prefer": {"a"}}, egress.Attach{Kind: egress.InHeader, Name: "Prefer"}
		},
		"colon in user": func(r *egress.Request) { r.Attach = egress.Attach{Kind: egress.Basic, User: "a:b"} },
	} {
		r := request(t, "GET", "/")
		change(&r)
		if err := do(t, c, r); !errors.Is(err, egress.ErrNotSent) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func TestWhatIsSent(t *testing.T) {
	w := newWorld(t)
	type sent struct {
		Method, URI, Host, Body string
		Header                  http.Header
		Proto                   int
		Length                  int64
		Chunked                 bool
	}
	var got sent
	w.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = sent{r.Method, r.RequestURI, r.Host, string(b), r.Header, r.ProtoMajor, r.ContentLength, len(r.TransferEncoding) > 0}
	}))
	c := w.client(func(o *egress.Options) { o.UserAgent = "valetkey/test" })
	header := func(pairs ...string) http.Header {
		h := http.Header{"User-Agent": {"valetkey/test"}, "Accept-Encoding": {"gzip"}}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	bearer := "Bearer " + canary
	for name, tc := range map[string]struct {
		req  egress.Request
		want sent
	}{
		"get": {egress.Request{Method: "GET", URL: parse(t, "https://ALLOWED.test:443/a%2Fb/c?q=%20&r"), Base: parse(t, "https://allowed.test/x")},
			sent{"GET", "/a%2Fb/c?q=%20&r", "allowed.test", "", header("Authorization", bearer), 1, 0, false}},
		"empty post says its length": {egress.Request{Method: "POST", URL: parse(t, "https://allowed.test"), Base: parse(t, "https://allowed.test"), Header: http.Header{"idempotency-key": {"k"}}},
			sent{"POST", "/", "allowed.test", "", header("Authorization", bearer, "Idempotency-Key", "k", "Content-Length", "0"), 1, 0, false}},
		"patch": {egress.Request{Method: "PATCH", URL: parse(t, "https://allowed.test/p"), Base: parse(t, "https://allowed.test"), Body: []byte(`{"a":1}`), Header: http.Header{"content-type": {"application/json"}}},
			sent{"PATCH", "/p", "allowed.test", `{"a":1}`, header("Authorization", bearer, "Content-Type", "application/json", "Content-Length", "7"), 1, 7, false}},
		"range": {egress.Request{Method: "GET", URL: parse(t, "https://allowed.test/"), Base: parse(t, "https://allowed.test"), Header: http.Header{"Range": {"bytes=0-9"}}},
			sent{"GET", "/", "allowed.test", "", header("Authorization", bearer, "Range", "bytes=0-9", "Accept-Encoding", "identity"), 1, 0, false}},
		"own header": {egress.Request{Method: "GET", URL: parse(t, "https://allowed.test/"), Base: parse(t, "https://allowed.test"), Attach: egress.Attach{Kind: egress.InHeader, Name: "private-token", Prefix: "t="}},
			sent{"GET", "/", "allowed.test", "", header("Private-Token", "t="+canary), 1, 0, false}},
		"basic": {egress.Request{Method: "GET", URL: parse(t, "https://allowed.test/"), Base: parse(t, "https://allowed.test"), Attach: egress.Attach{Kind: egress.Basic, User: "me"}},
			sent{"GET", "/", "allowed.test", "", header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("me:"+canary))), 1, 0, false}},
	} {
		tc.req.Credential = secret.New(canary)
		if err := do(t, c, tc.req); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: sent (-want +got):\n%s", name, diff)
		}
	}
	none := request(t, "GET", "/")
	none.Credential, none.Attach = secret.Text{}, egress.Attach{Kind: egress.None}
	if err := do(t, c, none); err != nil || got.Header.Get("Authorization") != "" {
		t.Errorf("without credential: %v, %v", err, got.Header)
	}
}
