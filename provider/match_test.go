package provider_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/provider"
)

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func TestMatchRefuses(t *testing.T) {
	s := parse(t, fixed())
	page := "/books/diary/pages/3"
	for _, c := range []struct {
		name string
		r    provider.Request
		want provider.Reason
	}{
		{"no method", provider.Request{Path: "/"}, provider.BadMethod},
		{"lower-case method", provider.Request{Method: "get", Path: "/"}, provider.BadMethod},
		{"CONNECT", provider.Request{Method: "CONNECT", Path: "/"}, provider.BadMethod},
		{"injected method", provider.Request{Method: "GET / HTTP/1.1\r\nX:", Path: "/"}, provider.BadMethod},
		{"foreign base", provider.Request{Method: "GET", Base: "https://evil.test", Path: "/"}, provider.BadHost},
		{"body on a read", provider.Request{Method: "GET", Path: page, Body: []byte("{}")}, provider.BadBody},
		{"body on HEAD", provider.Request{Method: "HEAD", Path: "/x", Body: []byte("{}")}, provider.BadBody},
		{"case of a literal", provider.Request{Method: "GET", Path: "/Books/diary/pages/3"}, provider.BadPath},
		{"case by Unicode", provider.Request{Method: "GET", Path: "/boo%E2%84%AAs/diary/pages/3"}, provider.BadPath},
		{"unknown query on a write", provider.Request{Method: "PUT", Path: page, RawQuery: "public=true"}, provider.BadQuery},
		{"repeated query", provider.Request{Method: "GET", Path: page, RawQuery: "depth=1&depth=2"}, provider.BadQuery},
		{"repeated query in other case", provider.Request{Method: "GET", Path: page, RawQuery: "depth=1&Depth=2"}, provider.BadQuery},
		{"repeated query, unlisted", provider.Request{Method: "GET", Path: "/x", RawQuery: "a=1&a=2"}, provider.BadQuery},
		{"mistyped query", provider.Request{Method: "GET", Path: page, RawQuery: "depth=deep"}, provider.BadParameter},
		{"query outside of its set", provider.Request{Method: "GET", Path: page, RawQuery: "fields=author"}, provider.BadParameter},
		{"override in the query", provider.Request{Method: "POST", Path: page, RawQuery: "_METHOD=DELETE"}, provider.Override},
		{"override header", provider.Request{Method: "POST", Path: page, Header: http.Header{"x-method-override": {"DELETE"}}}, provider.Override},
		{"credential in the query", provider.Request{Method: "GET", Path: "/x", RawQuery: "Access-Token=x"}, provider.Smuggled},
		{"credential header of the provider", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"x-notes-token": {"x"}}}, provider.Smuggled},
		{"cookie", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"Cookie": {"a=b"}}}, provider.Smuggled},
		{"host header", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"Host": {"evil.test"}}}, provider.BadHeader},
		{"rewritten URL", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"X-Original-Url": {"/y"}}}, provider.BadHeader},
		{"encoded body", provider.Request{Method: "POST", Path: "/x", Header: http.Header{"Content-Encoding": {"gzip"}}}, provider.BadHeader},
		{"line break in a header", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"Accept": {"a\r\nX: y"}}}, provider.BadHeader},
		{"header name", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"A ccept": {"a"}}}, provider.BadHeader},
		{"header twice", provider.Request{Method: "GET", Path: "/x", Header: http.Header{"Content-Type": {"a/b"}, "content-type": {"c/d"}}}, provider.BadHeader},
		{"refused path", provider.Request{Method: "POST", Path: "/Bulk/x"}, provider.Batch},
		{"multipart batch", provider.Request{Method: "POST", Path: "/x", Header: http.Header{"Content-Type": {"multipart/mixed; boundary=b"}}}, provider.Batch},
		{"switched off", provider.Request{Method: "DELETE", Path: "/books/diary"}, provider.SwitchedOff},
		{"GraphQL by GET", provider.Request{Method: "GET", Path: "/graphql", RawQuery: "query=%7Ba%7D"}, provider.BadMethod},
		{"GraphQL in other case", provider.Request{Method: "POST", Path: "/GraphQL"}, provider.BadPath},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := s.Match(c.r)
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || refusal.Reason != c.want {
				t.Errorf("read as %s, %v, want %s", m.Operation, err, c.want)
			}
			if refusal != nil && refusal.Detail == "" {
				t.Error("no detail")
			}
		})
	}
}

func TestBodyRefuses(t *testing.T) {
	s := parse(t, fixed())
	for _, c := range []struct {
		kind, body string
		want       provider.Reason
	}{
		{"", `{}`, provider.BadBody},
		{"text/plain", `{}`, provider.BadBody},
		{"application/x-www-form-urlencoded", `a=b`, provider.BadBody},
		{"application/json; charset=utf-16", `{}`, provider.BadBody},
		{"application/json; charset", `{}`, provider.BadHeader},
		{"application/json", `[]`, provider.BadBody},
		{"application/json", `"x"`, provider.BadBody},
		{"application/json", `{"title":"a","title":"b"}`, provider.BadJSON},
		{"application/json", `{"_method":"DELETE"}`, provider.Override},
		{"application/json", `{"title":1}`, provider.BadParameter},
		{"application/json", `{"public":"true"}`, provider.BadParameter},
		{"application/json", `{"public":null}`, provider.BadParameter},
		{"application/json", `{"tags":"a"}`, provider.BadParameter},
		{"application/json", `{"tags":["A"]}`, provider.BadParameter},
		{"application/json", `{"tags":[1]}`, provider.BadParameter},
		{"application/json", `{"layout":[]}`, provider.BadParameter},
		{"application/json", `{"blocks":[1]}`, provider.BadParameter},
		{"application/json", `{"size":1.5}`, provider.BadParameter},
		{"application/json", `{"size":"1"}`, provider.BadParameter},
		{"application/json", `{"weight":"1"}`, provider.BadParameter},
	} {
		m, err := s.Match(provider.Request{
			Method: "PUT", Path: "/books/diary/pages/3", Body: []byte(c.body), Header: http.Header{"Content-Type": {c.kind}},
		})
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.want {
			t.Errorf("%s %s is %s, %v, want %s", c.kind, c.body, m.Operation, err, c.want)
		}
	}
	// Unlisted bodies are not understood, yet they must not ask for another method.
	for kind, body := range map[string]string{
		"application/json":                  `{"_method":"DELETE"}`,
		"application/vnd.api+json":          `{"a":1,"a":2}`,
		"application/x-www-form-urlencoded": `_method=DELETE`,
		"multipart/form-data; boundary=b":   "--b\r\nContent-Disposition: form-data; name=\"_METHOD\"\r\n\r\nDELETE\r\n--b--",
	} {
		if m, err := s.Match(provider.Request{
			Method: "POST", Path: "/x", Body: []byte(body), Header: http.Header{"Content-Type": {kind}},
		}); err == nil {
			t.Errorf("%s is %s", body, m.Operation)
		}
	}
}

func TestMatchRaises(t *testing.T) {
	s := parse(t, fixed())
	for _, c := range []struct {
		name, path, body string
		facts            map[string]string
		operation        string
		want             provider.Risk
		why              string
	}{
		{name: "nothing", body: `{}`, operation: "notes.pages.write", want: provider.Low},
		{name: "no body", operation: "notes.pages.write", want: provider.Low},
		{name: "harmless title", body: `{"title":"a"}`, operation: "notes.pages.write", want: provider.Low},
		{name: "other title", body: `{"title":"A"}`, operation: "notes.pages.write", want: provider.High, why: "harmless"},
		{name: "null title", body: `{"title":null}`, operation: "notes.pages.write", want: provider.High, why: "harmless"},
		{name: "public", body: `{"public":true}`, operation: "notes.pages.write", want: provider.High, why: "everybody"},
		{name: "private", body: `{"public":false}`, operation: "notes.pages.write", want: provider.Low},
		{name: "nested", body: `{"layout":{"media":" Print "}}`, operation: "notes.pages.write", want: provider.Medium, why: "print"},
		{name: "nested, cannot be compared", body: `{"layout":{"media":{}}}`, operation: "notes.pages.write", want: provider.Medium, why: "print"},
		{name: "nested, other", body: `{"layout":{"media":"screen"}}`, operation: "notes.pages.write", want: provider.Low},
		{name: "two facts", body: `{"public":true,"layout":{"media":"print"}}`, operation: "notes.pages.write", want: provider.High, why: "print"},
		{name: "path", path: "/books/CELLAR/pages/1", body: `{}`, operation: "notes.pages.write", want: provider.Medium, why: "cellar"},
		{name: "path beside", path: "/books/cellar2/pages/1", body: `{}`, operation: "notes.pages.write", want: provider.Low},
		{name: "fact not known", body: `{"branch":"x"}`, operation: "notes.pages.write", want: provider.High, why: "live"},
		{name: "fact is it", body: `{"branch":"refs/heads/Main"}`, facts: map[string]string{"live": "main"}, operation: "notes.pages.write", want: provider.High},
		{name: "fact is another", body: `{"branch":"x"}`, facts: map[string]string{"live": "main"}, operation: "notes.pages.write", want: provider.Low},
		{name: "unknown member", body: `{"colour":"red"}`, operation: "notes.pages.write", want: provider.Medium, why: "colour"},
		{name: "decides", body: `{"seal":"ABCD"}`, operation: "notes.pages.sign", want: provider.Critical},
		{name: "decides, with others", body: `{"seal":"ABCD","title":"a"}`, operation: "notes.pages.sign", want: provider.Critical},
		// What the pattern does not take is no signature, and the path is still
		// that of writing, which does not know the member.
		{name: "does not decide", body: `{"seal":"abcd"}`, operation: "notes.pages.write", want: provider.Medium, why: "seal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "" {
				c.path = "/books/diary/pages/3"
			}
			m, err := s.Match(provider.Request{Method: "PUT", Path: c.path, Body: []byte(c.body), Header: jsonHeader(), Facts: c.facts})
			if err != nil {
				t.Fatal(err)
			}
			if m.Operation != c.operation || m.Risk != c.want || !strings.Contains(strings.Join(m.Why, "\n"), c.why) {
				t.Errorf("%s, %v, %q, want %s, %v, %q", m.Operation, m.Risk, m.Why, c.operation, c.want, c.why)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	s := parse(t, fixed())
	m, err := s.Match(provider.Request{
		Method: "POST", Path: "/books/Diary/pages/3", Header: jsonHeader(),
		Body: []byte(`{"title":"a\u202eb","public":true,"tags":["x","y"]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := provider.Match{
		Operation: "notes.pages.write", Listed: true, Risk: provider.High,
		Why:      []string{"notes.pages.write is low", "everybody can read it", "its title is not one of the harmless"},
		Resource: provider.Resource{Type: "book", ID: "diary", Fold: true},
		Params:   map[string]string{"book": "Diary", "page": "3", "title": "a\u202eb", "public": "true", "tags": "x, y"},
		Scopes:   []string{"write", "publish"},
		Summary:  "write page 3 of Diary: a‹U+202E›b",
		Base:     "https://api.notes.test/v1", Path: "/books/Diary/pages/3",
	}
	if d := cmp.Diff(want, m); d != "" {
		t.Errorf("match (-want +got):\n%s", d)
	}
	for _, c := range []struct {
		r         provider.Request
		operation string
		want      provider.Risk
	}{
		{provider.Request{Method: "GET", Path: "/books/diary/pages/3", RawQuery: "fields=title&fields=text&other=1"}, "notes.pages.get", provider.Low},
		{provider.Request{Method: "HEAD", Path: "/books/diary/pages/3"}, "notes.pages.get", provider.Low},
		{provider.Request{Method: "GET", Path: "/books/mine/pages/1"}, "notes.pages.mine", provider.Low},
		{provider.Request{Method: "GET", Path: "/books/diary/pages/next"}, "notes.raw.read", provider.Low},
		{provider.Request{Method: "GET", Path: "/books/diary/pages/03"}, "notes.raw.read", provider.Low},
		{provider.Request{Method: "PUT", Path: "/books/diary/pages/next"}, "notes.raw.write", provider.Critical}, // looks like signing
		{provider.Request{Method: "POST", Path: "/books/diary/pages/next"}, "notes.raw.write", provider.High},
		{provider.Request{Method: "POST", Path: "/books/diary/shares/1"}, "notes.raw.write", provider.Critical},
		{provider.Request{Method: "PUT", Base: "https://files.notes.test", Path: "/books/diary/pages/3"}, "notes.files.put", provider.Medium},
		{provider.Request{Method: "PUT", Path: "/a/b"}, "notes.raw.write", provider.High},
	} {
		m, err := s.Match(c.r)
		if err != nil || m.Operation != c.operation || m.Risk != c.want {
			t.Errorf("%s %s is %s, %v, %v, want %s, %v", c.r.Method, c.r.Path, m.Operation, m.Risk, err, c.operation, c.want)
		}
	}
}

// Where the method says nothing, a GET that is not listed may be a write.
func TestMatchRPC(t *testing.T) {
	s := parse(t, strings.Replace(fixed(), "style: rest", "style: rpc", 1))
	for _, method := range []string{"GET", "HEAD", "POST"} {
		m, err := s.Match(provider.Request{Method: method, Path: "/chat.postMessage"})
		if err != nil || m.Operation != "notes.raw.write" || m.Risk != provider.High || m.Read {
			t.Errorf("%s is %s, %v, %v", method, m.Operation, m.Risk, err)
		}
	}
}

func TestLocateRefuses(t *testing.T) {
	s := parse(t, fixed())
	for _, url := range []string{
		"", "/books", "https://api.notes.test/", "https://api.notes.test/v1.evil/x", "https://api.notes.test/v1@evil.test/",
		"https://api.notes.test/v1:80/x", "https://api.notes.test.evil.test/v1/x", "https://API.notes.test/v1/x", "HTTPS://api.notes.test/v1/x",
		"http://api.notes.test/v1/x", "//api.notes.test/v1/x", "https:/api.notes.test/v1/x", "https://api.notes.test:8443/v1/x",
		"https://api.notes.test:443@evil.test/v1", `https://api.notes.test\v1/x`, " https://api.notes.test/v1/x", "https://api.notes.test/v1/x#y",
	} {
		if place, err := s.Locate(url); err == nil {
			t.Errorf("%s is at %+v", url, place)
		}
	}
	for url, want := range map[string]provider.Place{
		"https://api.notes.test/v1/books?a=b?c": {Base: "https://api.notes.test/v1", Path: "/books", RawQuery: "a=b?c"},
		"https://api.notes.test/v1":             {Base: "https://api.notes.test/v1", Path: "/"},
		"https://api.notes.test:443/v1/x":       {Base: "https://api.notes.test/v1", Path: "/x"},
		"https://files.notes.test?q":            {Base: "https://files.notes.test", Path: "/", RawQuery: "q"},
	} {
		if got, err := s.Locate(url); err != nil || got != want {
			t.Errorf("%s is at %+v, %v", url, got, err)
		}
	}
}

func TestAmount(t *testing.T) {
	s := parse(t, fixed())
	for body, want := range map[string]provider.Amount{
		`{"price":1999,"currency":"eur"}`:            {Meaning: provider.Transfer, Value: "19.99", Currency: "EUR"},
		`{"price":5,"currency":"EUR"}`:               {Meaning: provider.Transfer, Value: "0.05", Currency: "EUR"},
		`{"price":0,"currency":"EUR"}`:               {Meaning: provider.Transfer, Value: "0", Currency: "EUR"},
		`{"price":200000000000000,"currency":"USD"}`: {Meaning: provider.Transfer, Value: "2000000000000", Currency: "USD"},
		`{"price":-5,"currency":"EUR"}`:              {Meaning: provider.Transfer, Currency: "EUR", Unknown: true},
		`{"currency":"EUR"}`:                         {Meaning: provider.Transfer, Currency: "EUR", Unknown: true},
		`{"price":5}`:                                {Meaning: provider.Transfer, Unknown: true},
		`{"price":5,"currency":"€"}`:                 {Meaning: provider.Transfer, Currency: "€", Unknown: true},
	} {
		m, err := s.Match(provider.Request{Method: "POST", Path: "/books/diary/orders", Body: []byte(body), Header: jsonHeader()})
		if err != nil || m.Amount == nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if d := cmp.Diff(want, *m.Amount); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
	}
}

func TestGraphQL(t *testing.T) {
	s := parse(t, fixed())
	match := func(body string) (provider.Match, error) {
		return s.Match(provider.Request{Method: "POST", Path: "/graphql", Body: []byte(body), Header: jsonHeader()})
	}
	for _, body := range []string{
		``, `{}`, `[]`, `{"query":""}`, `{"query":1}`, `{"query":"{a}","id":"x"}`, `{"query":"{a}","extensions":{}}`, `{"query":"{a}","variables":"x"}`,
		`{"query":"{a"}`, `{"query":"{}"}`, `{"query":"a"}`, `{"query":"{a}}"}`, `{"query":"{a(b:\"c)}"}`, `{"query":"{a(b:[1)]}"}`,
		`{"query":"{a} {b}"}`, `{"query":"query A{a} query A{b}"}`, `{"query":"query A{a} query B{b}"}`, `{"query":"query A{a}","operationName":"B"}`,
		`{"query":"query A{a}","operationName":""}`, `{"query":"query A{a}","operationName":1}`, `{"query":"subscription{a}"}`, `{"query":"type A{a:Int}"}`,
		`{"query":"mutation{...F} fragment F on Mutation{a}"}`, `{"query":"mutation{... on Mutation{a}}"}`, `{"query":"fragment F on A{a}"}`,
		`{"query":"{a ?}"}`, `{"query":"{a:}"}`, `{"query":"{a @}"}`, `{"query":"{` + strings.Repeat("a{", 100) + strings.Repeat("}", 100) + `}"}`,
		`{"query":"{a(b:` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `)}"}`, `{"query":"{` + strings.Repeat("a ", 60_000) + `}"}`,
	} {
		m, err := match(body)
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%.80s is %s, %v, %v", body, m.Operation, m.Risk, err)
		}
	}
	for _, c := range []struct {
		document string
		want     provider.Risk
		fields   string
	}{
		{`{a}`, provider.Low, "a"},
		{`query Q($x: [Int!]! = [1] @d) @d(a: {b: "}"}) { x: a(b: $x) @include(if: true) { c ...F ... on D { e } ... @skip(if: false) { f } } } fragment F on A @d { g }`, provider.Low, "a"},
		{"# mutation{a}\n{a, b # }\n}", provider.Low, "a, b"},
		{`{a(b: \"mutation{c}\")}`, provider.Low, "a"},
		{`{a(b: \"\"\"} mutation{c} \\\"\"\" \"\"\")}`, provider.Low, "a"},
		{`query{mutation}`, provider.Low, "mutation"},
		{`mutation{a}`, provider.High, "a"},
		{`mutation M { share: a b: deleteAll(c: -1.5e3) { d } }`, provider.High, "a, deleteAll"},
		{`mutation{x: shareBook}`, provider.Critical, "shareBook"},
		{`query A{a} mutation B{b}`, provider.High, "b"},
	} {
		body := `{"query":"` + strings.ReplaceAll(strings.ReplaceAll(c.document, "\n", `\n`), `"}"`, `\"}\"`) + `","variables":null`
		if strings.Contains(c.document, "mutation B") {
			body += `,"operationName":"A"`
		}
		m, err := match(body + "}")
		if err != nil {
			t.Errorf("%s: %v", c.document, err)
			continue
		}
		if m.Risk != c.want || m.Read != (c.want == provider.Low) || !strings.HasSuffix(m.Summary, " "+c.fields) {
			t.Errorf("%s is %v, %q, read %v", c.document, m.Risk, m.Summary, m.Read)
		}
	}
}
