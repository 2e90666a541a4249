package provider_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/provider"
)

func operation(t testing.TB, s *provider.Spec, name string) *provider.Operation {
	t.Helper()
	o, ok := s.Operation(name)
	if !ok {
		t.Fatalf("no operation %s", name)
	}
	return o
}

func TestRenderRefuses(t *testing.T) {
	s := parse(t, fixed())
	for _, c := range []struct {
		operation string
		params    map[string]any
		reason    provider.Reason
		names     string
	}{
		{"notes.pages.get", nil, provider.BadParameter, "book"},
		{"notes.pages.get", map[string]any{"book": "a"}, provider.BadParameter, "page"},
		{"notes.pages.get", map[string]any{"book": "a", "page": "3"}, provider.BadParameter, "page"},
		{"notes.pages.get", map[string]any{"book": 3, "page": 3}, provider.BadParameter, "book"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3.5}, provider.BadParameter, "page"},
		{"notes.pages.get", map[string]any{"book": "a", "page": nil}, provider.BadParameter, "page"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3, "author": "x"}, provider.BadParameter, "author"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3, "fields": "title"}, provider.BadParameter, "fields"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3, "fields": []any{1}}, provider.BadParameter, "fields"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3, "fields": []string{"author"}}, provider.BadParameter, "fields"},
		{"notes.pages.get", map[string]any{"book": "a", "page": 3, "raw": "true"}, provider.BadParameter, "raw"},
		{"notes.pages.get", map[string]any{"book": "a/b", "page": 3}, provider.BadPath, "slash"},
		{"notes.pages.get", map[string]any{"book": "..", "page": 3}, provider.BadPath, "dot"},
		{"notes.pages.get", map[string]any{"book": "%2e%2e", "page": 3}, provider.BadPath, "twice"},
		{"notes.pages.get", map[string]any{"book": "a\r\nb", "page": 3}, provider.BadPath, ""},
		{"notes.pages.get", map[string]any{"book": "mine", "page": 1}, provider.OtherRequest, "notes.pages.mine"},
		{"notes.files.put", map[string]any{"name": "a//b"}, provider.BadPath, "empty"},
		{"notes.files.put", map[string]any{"name": "a/../b"}, provider.BadPath, "dot"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "weight": math.NaN()}, provider.BadParameter, "weight"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "weight": math.Inf(1)}, provider.BadParameter, "weight"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "weight": 1e16}, provider.BadParameter, "weight"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "weight": json.Number("1e16")}, provider.BadParameter, "weight"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "weight": float32(1)}, provider.BadParameter, "weight"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "layout": map[string]any{"a": 1 << 60}}, provider.BadJSON, ""},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "layout": map[string]any{"a": make(chan int)}}, provider.BadJSON, "chan"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "layout": map[string]any{"a": 1, "A": 2}}, provider.BadJSON, "case"},
		{"notes.pages.write", map[string]any{"book": "a", "page": 3, "title": "\xff"}, provider.BadJSON, "UTF-8"},
		{"notes.pages.sign", map[string]any{"book": "a", "page": 3}, provider.BadParameter, "seal"},
		{"notes.pages.sign", map[string]any{"book": "a", "page": 3, "seal": "abcd"}, provider.BadParameter, "seal"},
		{"notes.books.burn", map[string]any{"book": "a"}, provider.SwitchedOff, ""},
	} {
		r, err := operation(t, s, c.operation).Render(s, c.params)
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.reason || !strings.Contains(refusal.Detail, c.names) {
			t.Errorf("%s with %v is %s %s %s, %v, want %s about %q", c.operation, c.params, r.Method, r.Path, r.Body, err, c.reason, c.names)
		}
	}
}

func TestRender(t *testing.T) {
	s := parse(t, fixed())
	for _, c := range []struct {
		operation  string
		params     map[string]any
		path, body string
	}{
		{
			"notes.pages.get", map[string]any{"book": "café & co", "page": 3, "zoom": 1.5, "depth": 7.0, "raw": false, "fields": []any{"title", "text"}},
			"/books/caf%C3%A9%20&%20co/pages/3?depth=7&fields=title&fields=text&raw=false&zoom=1.5", "",
		},
		{"notes.files.put", map[string]any{"name": "a b/c@d"}, "/a%20b/c@d", "{}"},
		{
			"notes.pages.write", map[string]any{"book": "a", "page": json.Number("3"), "title": nil, "size": json.Number("1e2"), "weight": 0.5, "tags": []string{}},
			"/books/a/pages/3", `{"size":100,"tags":[],"title":null,"weight":0.5}`,
		},
		{
			// The order of RFC 8785 §3.2.3: by UTF-16 code units, so the smiley
			// (D83D …) stands before U+FB33.
			"notes.pages.write", map[string]any{"book": "a", "page": 3, "layout": map[string]any{
				"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
				"\U0001f600": "Emoji", "\u0080": "Control", "\u00f6": "o with diaeresis",
			}},
			"", "",
		},
		{
			"notes.pages.write", map[string]any{"book": "a", "page": 3, "layout": map[string]any{
				"n": []any{0.0, math.Copysign(0, -1), 1e-6, 1e-7, 1.5e-10, 4.5, 1e15, 9007199254740992.0, -9007199254740992.0, int64(5), true, false, nil},
				"s": "\u20ac$\u000f\nA'\u0042\"\\/<>&\u2028\u007f\u001f",
			}},
			"/books/a/pages/3",
			`{"layout":{"n":[0,0,0.000001,1e-7,1.5e-10,4.5,1000000000000000,9007199254740992,-9007199254740992,5,true,false,null],` +
				`"s":"€$\u000f\nA'B\"\\/<>&` + "\u2028\u007f" + `\u001f"}}`,
		},
	} {
		r, err := operation(t, s, c.operation).Render(s, c.params)
		if strings.Contains(strings.Join(keys(c.params["layout"]), ""), "\r") {
			// A control character in a name is refused when it is read back.
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || refusal.Reason != provider.BadJSON {
				t.Errorf("a name with a control character: %v", err)
			}
			delete(c.params["layout"].(map[string]any), "\r")
			delete(c.params["layout"].(map[string]any), "\u0080")
			r, err = operation(t, s, c.operation).Render(s, c.params)
			c.path = "/books/a/pages/3"
			c.body = `{"layout":{"1":"One","ö":"o with diaeresis","€":"Euro Sign","😀":"Emoji","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}}`
		}
		if err != nil {
			t.Errorf("%s with %v: %v", c.operation, c.params, err)
			continue
		}
		path := r.Path
		if r.RawQuery != "" {
			path += "?" + r.RawQuery
		}
		if path != c.path || string(r.Body) != c.body {
			t.Errorf("%s is %s %s, want %s %s", c.operation, path, r.Body, c.path, c.body)
		}
		if r.Header.Get("Notes-Version") != "3" || (r.Header.Get("Content-Type") != "") != (c.body != "") {
			t.Errorf("%s has headers %v", c.operation, r.Header)
		}
	}
}

func keys(v any) []string {
	m, _ := v.(map[string]any)
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestAuthorizeURL(t *testing.T) {
	s := parse(t, fixed())
	a := provider.Authorization{
		ClientID: "c", RedirectURI: "https://v.test/cb", State: "s&t", Challenge: "ch", Nonce: "n", Scopes: []string{"read"},
	}
	got, err := s.AuthorizeURL(a)
	want := "https://notes.test/authorize?client_id=c&code_challenge=ch&code_challenge_method=S256&nonce=n&prompt=consent" +
		"&redirect_uri=https%3A%2F%2Fv.test%2Fcb&response_type=code&scope=read&state=s%26t"
	if err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	for name, change := range map[string]func(*provider.Authorization){
		"client":    func(a *provider.Authorization) { a.ClientID = "" },
		"redirect":  func(a *provider.Authorization) { a.RedirectURI = "" },
		"state":     func(a *provider.Authorization) { a.State = "" },
		"challenge": func(a *provider.Authorization) { a.Challenge = "" },
	} {
		b := a
		change(&b)
		if u, err := s.AuthorizeURL(b); err == nil {
			t.Errorf("without %s: %s", name, u)
		}
	}
}
