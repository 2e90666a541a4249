package provider_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/valetkey/valetkey/provider"
)

// The notes provider is small and has everything: two bases, a read, choices by
// body and query, money, a switched-off operation.
const notes = `
id: notes
name: Notes
style: rest
auth: {url: "https://notes.test/authorize", pkce: required, scope_sep: ",", params: {prompt: consent}, default_scopes: [read, write]}
token: {url: "https://notes.test/token", auth: basic, body: json}
refresh: {rotation: always, trigger: expiry, margin: 5m}
revoke: {kind: rfc7009, url: "https://notes.test/revoke", target: refresh, scope_of_effect: grant}
identity: {url: "https://api.notes.test/v1/me", id: account.id, label: account.name}
endpoints: {api_bases: ["https://api.notes.test/v1", "https://files.notes.test"], web_base: "https://notes.test", host_from: static}
credential: {attach: header, header: X-Notes-Token}
headers: {Notes-Version: "3"}
path_params:
  - {name: book, in: path}
  - {name: page, in: path, type: integer}
resources:
  - {path: "/books/{book}", type: book, id: "{book}", fold: true}
refused:
  - {paths: [/bulk], why: several requests in one, methods: [GET, POST]}
critical:
  - {paths: ["/books/{book}/shares"], why: it shares a book}
graphql: {path: /graphql, critical: [share*]}
operations:
  - name: notes.pages.get
    title: Read a page
    summary: "read page {page} of {book}"
    methods: [GET]
    paths: ["/books/{book}/pages/{page}"]
    risk: low
    read: true
    params:
      - {name: fields, in: query, type: strings, enum: [title, text]}
      - {name: depth, in: query, type: integer}
      - {name: raw, in: query, type: boolean}
      - {name: zoom, in: query, type: number}
    example: {book: Diary, page: 3, fields: [title, text], raw: true}
  - name: notes.pages.mine
    title: Read the page of a fixed name
    summary: read the own page
    methods: [GET]
    paths: [/books/mine/pages/1]
    risk: low
    read: true
  - name: notes.pages.write
    title: Write a page
    summary: "write page {page} of {book}: {title|no title}"
    methods: [PUT, POST]
    paths: ["/books/{book}/pages/{page}"]
    risk: low
    scopes: [write]
    permissions: ["pages:write"]
    body: json
    params:
      - {name: title, in: body, nullable: true}
      - {name: public, in: body, type: boolean}
      - {name: tags, in: body, type: strings, pattern: "[a-z]+"}
      - {name: layout, in: body, type: object}
      - {name: blocks, in: body, type: objects}
      - {name: weight, in: body, type: number}
      - {name: size, in: body, type: integer}
      - {name: branch, in: body}
    raise:
      - {risk: high, why: everybody can read it, if: [{in: body, at: public, is: ["true"]}], scopes: [publish]}
      - {risk: medium, why: it is laid out for print, if: [{in: body, at: layout.media, is: [print]}]}
      - {risk: medium, why: it is in the cellar, if: [{in: path, at: book, under: cellar}]}
      - {risk: high, why: it is the live branch, if: [{in: body, at: branch, fact: live}]}
      - {risk: high, why: its title is not one of the harmless, if: [{in: body, at: title, not: [a, b]}]}
    example: {book: Diary, page: 3, title: a}
  - name: notes.pages.sign
    title: Sign a page
    summary: "sign page {page} of {book}"
    methods: [PUT]
    paths: ["/books/{book}/pages/{page}"]
    risk: critical
    body: json
    params:
      - {name: seal, in: body, decides: true, pattern: "[A-Z]{4}"}
    example: {book: Diary, page: 3, seal: ABCD}
  - name: notes.books.buy
    title: Buy a book
    summary: "buy {book}"
    methods: [POST]
    paths: ["/books/{book}/orders"]
    risk: high
    body: json
    params:
      - {name: price, in: body, type: integer, required: true}
      - {name: currency, in: body, required: true}
    money: {meaning: transfer, at: price, currency: currency, minor: 2}
    example: {book: Diary, price: 1999, currency: eur}
  - name: notes.files.put
    title: Store a file
    summary: "store {name+}"
    methods: [PUT]
    base: https://files.notes.test
    paths: ["/{name+}"]
    risk: medium
    body: json
    example: {name: a/b}
  - name: notes.books.burn
    title: Burn a book
    summary: "burn {book}"
    methods: [DELETE]
    paths: ["/books/{book}"]
    risk: critical
    off: true
`

func fixed() string {
	s := strings.Replace(notes, `summary: "store {name+}"`, `summary: "store {name}"`, 1)
	return strings.Replace(s, "path_params:\n", "path_params:\n  - {name: name, in: path}\n", 1)
}

func parse(t testing.TB, text string) *provider.Spec {
	t.Helper()
	s, err := provider.Parse(fstest.MapFS{"notes.yaml": {Data: []byte(text)}}, "notes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseRefuses(t *testing.T) {
	good := fixed()
	parse(t, good)
	for _, c := range []struct{ old, new, want string }{
		{"id: notes\n", "id: Notes\n", "id"},
		{"name: Notes\n", "name: \"No\\u200btes\"\n", "name"},
		{"style: rest", "style: soap", "style"},
		{"style: rest", "colour: red", "colour"},
		{"style: rest", "style: rest\nstyle: rest", "style"},
		{"pkce: required", "pkce: maybe", "auth.pkce"},
		{"{prompt: consent}", "{state: x}", "set by us"},
		{"https://notes.test/authorize", "http://notes.test/authorize", "not https"},
		{"https://notes.test/authorize", "https://user@notes.test/authorize", "user info"},
		{"https://notes.test/authorize", "https://NOTES.test/authorize", "canonical"},
		{"https://notes.test/authorize", "https://notes.test./authorize", "canonical"},
		{"https://notes.test/authorize", "https://0x7f.1/authorize#x", "fragment"},
		{"https://api.notes.test/v1\",", "https://api.notes.test/v1/\",", "slash"},
		{"https://files.notes.test\"]", "https://api.notes.test/v1/files\"]", "below"},
		{`api_bases: ["https://api.notes.test/v1", "https://files.notes.test"]`, "api_bases: []", "api_bases"},
		{"kind: rfc7009", "kind: hope", "revoke.kind"},
		{"target: refresh", "target: all", "revoke.target"},
		{`url: "https://notes.test/revoke"`, `url: ""`, "revoke.url"},
		{"id: account.id, ", "", "identity"},
		{"rotation: always", "rotation: sometimes", "refresh.rotation"},
		{"margin: 5m", "margin: -5m", "negative"},
		{"attach: header, header: X-Notes-Token", "attach: header", "credential.header"},
		{"attach: header, header: X-Notes-Token", "attach: cookie", "credential.attach"},
		{`Notes-Version: "3"`, `Authorization: "x"`, "credential"},
		{`Notes-Version: "3"`, `Notes-Version: "3\r\nX: y"`, "cannot be sent"},
		{"{page}\"]\n    risk: low\n    read: true", "{page}\"]\n    risk: high\n    read: true", "always low"},
		{"    risk: critical\n    body: json", "    body: json", "risk is missing"},
		{"name: notes.pages.sign", "name: notes.pages.write", "there twice"},
		{"name: notes.pages.sign", "name: other.pages.sign", "want notes"},
		{"name: notes.pages.sign", "name: notes.raw.write", "raw names"},
		{`summary: "sign page {page} of {book}"`, `summary: "sign {pages}"`, "no parameter"},
		{"title: Sign a page\n", "title: \"\"\n", "title"},
		{"{name: seal, in: body, decides: true, pattern: \"[A-Z]{4}\"}", "{name: seal, in: body}", "both claim"},
		{"pattern: \"[A-Z]{4}\"", "pattern: \"[A-Z\"", "pattern"},
		{"{book}/orders", "{shelf}/orders", "not declared"},
		{"{book}/orders", "{book}//orders", "empty segment"},
		{"{book}/orders", "{book}/{book}", "twice"},
		{"{book}/orders", "x{book}/orders", "neither"},
		{"methods: [PUT, POST]", "methods: [put]", "method"},
		{"methods: [PUT, POST]", "methods: [HEAD]", "HEAD"},
		{"risk: medium, why: it is laid", "risk: low, why: it is laid", "does not raise"},
		{"at: layout.media, is", "at: lay.media, is", "not declared"},
		{"under: cellar", "under: cellar, absent: true", "questions"},
		{"meaning: transfer", "meaning: gift", "money.meaning"},
		{"seal: ABCD", "seal: abcd", "its example"},
		{"base: https://files.notes.test", "base: https://evil.test", "api_bases"},
		{"why: several requests in one", "why: \"\"", "reason"},
		{"graphql: {path: /graphql", "graphql: {path: /graph/", "graphql.path"},
		{"share*]", "\"[\"]", "graphql.critical"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Errorf("%q is not in the spec", c.old)
			continue
		}
		_, err := provider.Parse(fstest.MapFS{"notes.yaml": {Data: []byte(text)}}, "notes.yaml")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q instead of %q: %v, want a word about %q", c.new, c.old, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"two documents": good + "\n---\nid: other\n",
		"too long":      good + strings.Repeat("# padding\n", 200_000),
		"aliases":       "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n",
		"include":       "include: missing.yaml\n" + strings.Split(good, "style: rest")[0],
		"include twice": "include: notes.yaml\n" + good,
	} {
		if _, err := provider.Parse(fstest.MapFS{"notes.yaml": {Data: []byte(text)}}, "notes.yaml"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestUnvalidatedSpec(t *testing.T) {
	s := &provider.Spec{ID: "x"}
	if _, err := s.Match(provider.Request{Method: "GET", Path: "/"}); err == nil {
		t.Error("a spec that nobody checked judges requests")
	}
	if err := s.Validate(); err == nil {
		t.Error("an empty spec is valid")
	}
}

func TestHash(t *testing.T) {
	good := fixed()
	s := parse(t, good)
	same := parse(t, "# a comment\n"+strings.Replace(good, "id: notes\nname: Notes\n", "name: 'Notes'\nid: notes\n", 1))
	if s.Hash() != same.Hash() {
		t.Error("comments and the order of keys change the hash")
	}
	for _, c := range [][2]string{
		{"risk: critical\n    body", "risk: high\n    body"},
		{"why: everybody can read it", "why: nobody can read it"},
		{"https://api.notes.test/v1\",", "https://api.notes.test/v2\","},
		{"margin: 5m", "margin: 6m"},
		{"pkce: required", "pkce: off"},
		{"kind: rfc7009", "kind: bearer_post"},
	} {
		other := parse(t, strings.Replace(good, c[0], c[1], 1))
		if s.Hash() == other.Hash() {
			t.Errorf("%q instead of %q does not change the hash", c[1], c[0])
		}
	}
}

func TestWithBaseRefuses(t *testing.T) {
	s := parse(t, fixed())
	for name, b := range map[string]provider.Base{
		"fewer bases":     {API: []string{"https://a.test"}},
		"plain http":      {API: []string{"http://a.test", "https://b.test"}},
		"trailing slash":  {Web: "https://a.test/"},
		"single endpoint": {TokenURL: "https://a.test/token"},
		"revocation":      {RevokeURL: "https://a.test/revoke"},
		"identity":        {Identity: provider.Identity{URL: "https://a.test/me", ID: "id"}},
		"style":           {Style: provider.RPC},
		"id":              {ID: "Not an id"},
	} {
		if _, err := s.WithBase(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	moved, err := s.WithBase(provider.Base{API: []string{"http://localhost:1", "http://localhost:2"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := moved.Match(provider.Request{Method: "PUT", Base: "http://localhost:2", Path: "/a/b"})
	if err != nil || m.Operation != "notes.files.put" {
		t.Errorf("an operation of the second base is %s, %v", m.Operation, err)
	}
}

func TestIdentity(t *testing.T) {
	i := provider.Identity{ID: "account.id", Label: "account.name", Tenant: "org"}
	a, err := i.Read([]byte(`{"account":{"id":583231,"name":"octocat"},"org":"acme"}`))
	if err != nil || a != (provider.Account{ID: "583231", Label: "octocat", Tenant: "acme"}) {
		t.Errorf("%+v, %v", a, err)
	}
	for _, body := range []string{``, `{}`, `[]`, `{"account":{"id":null}}`, `{"account":{"id":""}}`, `{"account":{"id":{}}}`, `{"account":{"id":1,"ID":2}}`} {
		if a, err := i.Read([]byte(body)); err == nil {
			t.Errorf("%s is %+v", body, a)
		}
	}
}

func TestScopes(t *testing.T) {
	s := parse(t, fixed())
	if got := s.JoinScopes([]string{"a", "b"}); got != "a,b" {
		t.Errorf("joined %q", got)
	}
	if got := s.SplitScopes("a, b c"); strings.Join(got, "|") != "a|b|c" {
		t.Errorf("split %q", got)
	}
}
