package egress_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/secret"
)

// attackURL is a line of the corpus.
type attackURL struct{ ID, Class, URL, Expect, Note string }

func corpus(t *testing.T) []attackURL {
	t.Helper()
	f, err := os.Open("testdata/ssrf_urls.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []attackURL
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c attackURL
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	if len(out) < 200 {
		t.Fatalf("corpus of %d lines", len(out))
	}
	return out
}

// documented is what we decided for lines that leave it open.
var documented = map[string]bool{
	"ssrf-0274": false, // a padded port: one spelling of a port passes
	"ssrf-0348": false, // a fragment is never sent, so it is never meant
	"ssrf-0349": true,  // an empty path is "/", RFC 9112 §3.2.1
	"ssrf-0350": true,
	"ssrf-0353": true, // paths are case-sensitive; rules match them as they are
	"ssrf-0359": true, // a matrix parameter is part of its segment
}

// TestCorpusURLs takes every URL of the corpus through the parser, the check
// and the client, as base and as target, in a world where the names that the
// corpus speaks of exist. Nothing but the upstream's address may be dialled.
func TestCorpusURLs(t *testing.T) {
	w := newWorld(t)
	w.names["127.0.0.1.nip.test"] = []string{"127.0.0.1"}
	w.names["10.evil.test"] = []string{"10.0.0.1"}
	w.names["rebind1.test"] = []string{public, "127.0.0.1"}
	w.names["rebind2.test"] = []string{public + " 10.0.0.1"}
	w.names["rebind3.test"] = []string{"cname:localhost 127.0.0.1"}
	w.names["rebind9.test"] = []string{"169.254.169.254"}
	w.serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Connection", "close") }))
	c := w.client()
	for _, line := range corpus(t) {
		if line.Class == "broker-path" || line.Class == "upstream-behaviour" {
			continue
		}
		var errs []error
		// A rebinding name shows its second face to the second call.
		for range 2 {
			errs = append(errs, call(t, c, line.URL))
		}
		refused := slices.ContainsFunc(errs, func(err error) bool { return err != nil })
		want := line.Expect != "accept"
		if line.Expect == "document" {
			want = !documented[line.ID]
		}
		if refused != want {
			t.Errorf("%s %s (%s): %v, want refused %v", line.ID, line.URL, line.Note, errs, want)
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, egress.ErrNotSent) {
				t.Errorf("%s %s: %v does not say that nothing was sent", line.ID, line.URL, err)
			}
		}
	}
	if traps := w.traps(); len(traps) > 0 {
		t.Errorf("dialled %q", traps)
	}
}

// call reaches for raw as a careless caller would: the URL is its own base.
func call(t *testing.T, c *egress.Client, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.Join(err, egress.ErrNotSent)
	}
	return do(t, c, egress.Request{Method: "GET", URL: u, Base: u, Credential: secret.New(canary)})
}

func do(t *testing.T, c *egress.Client, r egress.Request) error {
	res, err := c.Do(t.Context(), r)
	if err == nil {
		res.Body.Close()
	}
	return err
}

// What can be refused when it is configured is refused then, before any name is
// looked up: all literals, all spellings and all private names.
func TestCorpusCheckURL(t *testing.T) {
	resolved := []string{"ssrf-0239", "ssrf-0248"} // harmless spellings of names that lead inside
	for _, line := range corpus(t) {
		if line.Class == "broker-path" || line.Class == "upstream-behaviour" || line.Class == "dns-rebinding" || slices.Contains(resolved, line.ID) {
			continue
		}
		u, err := url.Parse(line.URL)
		if err == nil {
			err = egress.CheckURL(u)
		}
		want := line.Expect == "accept" || line.Expect == "document" && documented[line.ID]
		if (err == nil) != want {
			t.Errorf("%s %s (%s): %v, want accepted %v", line.ID, line.URL, line.Note, err, want)
		}
	}
}

// Hostile paths belong to the builder of URLs, which refuses them by the rules
// of its operations. Here two builders without any rules stand in for it, and
// what they make must still not leave the origin or hide a path in another.
func TestCorpusPaths(t *testing.T) {
	w := newWorld(t)
	w.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := w.client()
	base := parse(t, "https://allowed.test")
	builders := map[string]func(string) (*url.URL, error){
		"concatenate": func(p string) (*url.URL, error) { return url.Parse(base.String() + p) },
		"resolve":     base.Parse,
		"parts":       func(p string) (*url.URL, error) { return &url.URL{Scheme: "https", Host: "allowed.test", Path: p}, nil },
	}
	// Where a builder makes another, harmless URL of the line, there is
	// nothing left to refuse.
	harmless := map[string][]string{
		"ssrf-0336": {"resolve"},          // /.evil.test/x
		"ssrf-0338": {"resolve"},          // dot segments were removed: /admin
		"ssrf-0356": {"resolve"},          // likewise: /v1/admin/
		"ssrf-0355": {"parts"},            // the percent sign was escaped, see below
		"ssrf-0348": {"parts"},            // the fragment became a part of the path
		"ssrf-0349": {"resolve", "parts"}, // not refused by rule either
	}
	for _, line := range corpus(t) {
		if line.Class != "broker-path" {
			continue
		}
		for name, build := range builders {
			u, err := build(line.URL)
			if err == nil {
				err = do(t, c, egress.Request{Method: "GET", URL: u, Base: base, Credential: secret.New(canary)})
			}
			want := line.Expect == "refuse" || !documented[line.ID]
			if (err != nil) != want && !slices.Contains(harmless[line.ID], name) {
				t.Errorf("%s %.60q (%s) by %s: %v, want refused %v", line.ID, line.URL, line.Note, name, err, want)
			}
		}
	}
	if traps := w.traps(); len(traps) > 0 {
		t.Errorf("dialled %q", traps)
	}
}

func TestCheckURL(t *testing.T) {
	accepted := []string{
		"https://api.github.com", "https://api.github.com/", "https://api.github.com:443/x", "https://a.b-c.example.com/v1/x;y=1?q=a%20b&c=%2F",
		"https://8.8.8.8/", "https://[2606:4700::1111]/", "https://example.com/a%2Fb", "https://1password.com/", "https://a.0b/",
	}
	for _, s := range accepted {
		if err := egress.CheckURL(parse(t, s)); err != nil {
			t.Errorf("CheckURL(%s) = %v", s, err)
		}
	}
	refused := []string{
		"https://user@example.com/", "https://:p@example.com/", "https://@example.com/", "https://example.com/#f", "https://example.com:/", "https://example.com:444/",
		"https://example.com./", "https://examKle.com/", "https://example.com:22/", "https://.example.com/", "https://a..example.com/", "https://-a.example.com/", "https://a-.example.com/", "https://a_b.example.com/",
		"https://*.example.com/", "https://xn--80ak6aa92e.com/", "https://ab--c.example.com/", "https://" + strings.Repeat("a", 64) + ".com/", "https://" + strings.Repeat("a.", 127) + "com/",
		"https://0x7f000001/", "https://example.0x1/", "https://example.1/", "https://1.2.3.4.5/", "https://0x/", "https://1.1.1.01/",
		"https://printer.local/", "https://x.home.arpa/", "https://x.onion/", "https://git.corp/", "https://git/",
		"https://[::ffff:8.8.8.8]/", "https://[64:ff9b::808:808]/", "https://[fe80::1%25eth0]/",
		"//example.com/", "/x", "", "http://example.com/", "HTTP://example.com", "ws://example.com/", "mailto:a@example.com",
		"https://example.com/a/../b", "https://example.com/a/%2e%2e/b", "https://example.com//a", "https://example.com/%5cb", "https://example.com/a%0d%0ab", "https://example.com/%2561",
	}
	for _, s := range refused {
		if err := egress.CheckURL(parse(t, s)); err == nil {
			t.Errorf("CheckURL(%s) passes", s)
		}
	}
	for name, u := range map[string]*url.URL{
		"nil":               nil,
		"host with slash":   {Scheme: "https", Host: "example.com/evil.test"},
		"host with space":   {Scheme: "https", Host: "example .com"},
		"host with CR":      {Scheme: "https", Host: "example.com\r\nx"},
		"bare IPv6":         {Scheme: "https", Host: "::1"},
		"upper-case scheme": {Scheme: "HTTPS", Host: "example.com"},
		"opaque":            {Scheme: "https", Host: "example.com", Opaque: "//evil.test/x"},
		"relative path":     {Scheme: "https", Host: "example.com", Path: "x"},
		"query with CRLF":   {Scheme: "https", Host: "example.com", RawQuery: "a\r\nX: y"},
		"query with space":  {Scheme: "https", Host: "example.com", RawQuery: "a HTTP/1.1"},
	} {
		if err := egress.CheckURL(u); err == nil {
			t.Errorf("CheckURL passes %s", name)
		}
	}
}

func TestURLRules(t *testing.T) {
	only := func(name string) func(string) bool { return func(host string) bool { return host == name } }
	r := egress.URLRules{Ports: []uint16{8443}, AllowHTTP: only("plain.test"), Internal: only("git")}
	for s, want := range map[string]bool{
		"https://example.com:8443/": true, "https://example.com:8444/": false,
		"http://plain.test:8080/": true, "http://other.test/": false, "https://plain.test:8080/": false,
		"https://GIT:3000/": true, "https://git.evil.test:3000/": false, "http://git/": false,
	} {
		c := egress.New(egress.Options{Ports: r.Ports, AllowHTTP: r.AllowHTTP, Internal: r.Internal})
		if err := r.Check(parse(t, s)); (err == nil) != want || (c.CheckURL(parse(t, s)) == nil) != want {
			t.Errorf("Check(%s) = %v, want accepted %v", s, err, want)
		}
	}
}
