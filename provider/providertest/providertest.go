// Package providertest is the suite that every provider passes: its
// authorization request, the request of each operation and how it is read back,
// compared with golden files beside the test (run with -update to write them), and
// for drawn parameters that what is rendered is read as the same operation.
package providertest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/provider"
)

// Run checks s. Golden files are testdata/<id>/<operation>.golden, relative to
// the package of the caller. A template is given addresses first.
func Run(t *testing.T, s *provider.Spec) {
	t.Helper()
	if s.Template {
		s = filled(t, s)
	}
	t.Run("lint", func(t *testing.T) { lint(t, s) })
	t.Run("authorize", func(t *testing.T) { authorize(t, s) })
	t.Run("unlisted", func(t *testing.T) { unlisted(t, s) })
	for _, name := range s.Names() {
		o, _ := s.Operation(name)
		t.Run(name, func(t *testing.T) {
			if o.Off {
				t.Skip("switched off in the catalogue")
			}
			rendered(t, s, o)
			refusals(t, s, o)
			rapid.Check(t, func(t *rapid.T) { roundTrip(t, s, o) })
		})
	}
}

// filled gives a template the addresses of an invented provider.
func filled(t *testing.T, s *provider.Spec) *provider.Spec {
	t.Helper()
	b := provider.Base{
		API: []string{"https://api.example.test/v1"}, AuthorizeURL: "https://login.example.test/authorize",
		TokenURL: "https://login.example.test/token", RevokeURL: "https://login.example.test/revoke",
		Identity: provider.Identity{URL: "https://api.example.test/v1/me", ID: "id", Label: "name"},
	}
	if s.Auth.Discovery {
		b.Issuer = "https://login.example.test"
	}
	f, err := s.WithBase(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Match(provider.Request{Method: "GET", Path: "/"}); err == nil {
		t.Error("a template without addresses judges requests")
	}
	return f
}

func lint(t *testing.T, s *provider.Spec) {
	moved, err := s.WithBase(provider.Base{ID: "elsewhere", API: elsewhere(s)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.WithBase(provider.Base{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() != again.Hash() {
		t.Error("an equal spec has another hash")
	}
	if s.Hash() == moved.Hash() {
		t.Error("a spec at another address has the same hash")
	}
}

func elsewhere(s *provider.Spec) []string {
	bases := make([]string, len(s.Endpoints.APIBases))
	for i := range bases {
		bases[i] = fmt.Sprintf("https://elsewhere%d.example.test/api", i)
	}
	return bases
}

func authorize(t *testing.T, s *provider.Spec) {
	a := provider.Authorization{
		ClientID: "client-1", RedirectURI: "https://valet.example.test/connect/callback", State: "state-1",
		Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
	}
	u, err := s.AuthorizeURL(a)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, s, "authorize", strings.ReplaceAll(strings.Replace(u, "?", "\n", 1), "&", "\n")+"\n")
	if s.Auth.PKCE != provider.PKCEOff {
		a.Challenge = ""
		if _, err := s.AuthorizeURL(a); err == nil {
			t.Error("an authorization without a code challenge is made")
		}
	}
}

// unlisted holds the rules of raw calls, which no catalogue entry may bend.
func unlisted(t *testing.T, s *provider.Spec) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		m, err := s.Match(provider.Request{Method: method, Path: "/no/such/thing/anywhere"})
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		read := s.Style == provider.REST && (method == "GET" || method == "HEAD")
		want := provider.High
		name := s.RawWrite()
		if read {
			want, name = provider.Low, s.RawRead()
		}
		if m.Risk < want || m.Read != read || m.Operation != name || m.Listed {
			t.Errorf("%s is %s, %v, read %v", method, m.Operation, m.Risk, m.Read)
		}
	}
	for _, r := range []provider.Request{
		{Method: "get", Path: "/"},
		{Method: "OPTIONS", Path: "/"},
		{Method: "GET", Path: "/", Body: []byte("{}")},
		{Method: "GET", Path: "/x?y"},
		{Method: "GET", Path: "/", Base: "https://evil.example.test"},
		{Method: "POST", Path: "/x", RawQuery: "_method=DELETE"},
		{Method: "GET", Path: "/x", Header: map[string][]string{"x-http-method-override": {"DELETE"}}},
		{Method: "GET", Path: "/x", Header: map[string][]string{"Authorization": {"Bearer x"}}},
		{Method: "GET", Path: "/x", RawQuery: "access_token=x"},
	} {
		var refusal *provider.Refusal
		if m, err := s.Match(r); !errors.As(err, &refusal) {
			t.Errorf("%s %s?%s %v is %s", r.Method, r.Path, r.RawQuery, r.Header, m.Operation)
		}
	}
}

// rendered compares the example of an operation with its golden file.
func rendered(t *testing.T, s *provider.Spec, o *provider.Operation) {
	r, err := o.Render(s, o.Example)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, address(m))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, r.Header.Get(name))
	}
	if len(r.Body) > 0 {
		fmt.Fprintf(&b, "\n%s\n", r.Body)
	}
	fmt.Fprintf(&b, "\n# %s\n# risk: %s\n", m.Summary, m.Risk)
	for _, why := range m.Why {
		fmt.Fprintf(&b, "#   %s\n", why)
	}
	fmt.Fprintf(&b, "# read: %v\n# resource: %s %s\n# needs: %s\n", m.Read, m.Resource.Type, m.Resource.ID, strings.Join(m.Scopes, " "))
	golden(t, s, o.Name, b.String())
}

// refusals shows that parameters are checked.
func refusals(t *testing.T, s *provider.Spec, o *provider.Operation) {
	check := func(what string, params map[string]any, names string) {
		var refusal *provider.Refusal
		_, err := o.Render(s, params)
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Detail, names) {
			t.Errorf("%s: %v", what, err)
		}
	}
	extra := maps.Clone(o.Example)
	if extra == nil {
		extra = map[string]any{}
	}
	extra["no_such_parameter"] = 1
	check("an unknown parameter", extra, "no_such_parameter")
	for name := range o.Example {
		wrong := maps.Clone(o.Example)
		wrong[name] = struct{}{}
		check("a mistyped parameter", wrong, name)
		if p := o.Param(name); p.Required || p.Decides || p.In == provider.InPath && len(o.Paths) == 1 {
			missing := maps.Clone(o.Example)
			delete(missing, name)
			check("a missing parameter", missing, name)
		}
		if p := o.Param(name); p.In == provider.InPath && p.Type == provider.String {
			for _, v := range []string{"", ".", "..", "a\\b", "a%2Fb", "a;b", "a\x00b", "\u200ba", "a//b", "../a", "a/../b"} {
				odd := maps.Clone(o.Example)
				odd[name] = v
				check(fmt.Sprintf("%s = %q", name, v), odd, "")
			}
		}
	}
}

// roundTrip draws parameters. What can be rendered must be read as the same
// operation, twice with the same bytes, and at least as risky as its entry says.
func roundTrip(t *rapid.T, s *provider.Spec, o *provider.Operation) {
	params := draw(t, s, o)
	r, err := o.Render(s, params)
	var refusal *provider.Refusal
	if errors.As(err, &refusal) {
		return // a path segment that must not be, or another operation
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	if m.Operation != o.Name || m.Risk < o.Risk || m.Path != r.Path {
		t.Fatalf("%s %s is read as %s, %v, %s", r.Method, r.Path, m.Operation, m.Risk, m.Path)
	}
	again, err := o.Render(s, params)
	if err != nil || cmp.Diff(r, again) != "" {
		t.Fatalf("rendered twice: %v %s", err, cmp.Diff(r, again))
	}
	if len(r.Body) > 0 && !json.Valid(r.Body) {
		t.Fatalf("body %s", r.Body)
	}
	place, err := s.Locate(address(m))
	if err != nil || place.Path != r.Path || place.RawQuery != r.RawQuery {
		t.Fatalf("%s is located at %+v: %v", address(m), place, err)
	}
}

// address is a match as a person writes it.
func address(m provider.Match) string {
	if m.RawQuery == "" {
		return strings.TrimSuffix(m.Base, "/") + m.Path
	}
	return strings.TrimSuffix(m.Base, "/") + m.Path + "?" + m.RawQuery
}

func draw(t *rapid.T, s *provider.Spec, o *provider.Operation) map[string]any {
	params := map[string]any{}
	for name := range o.Example {
		params[name] = drawValue(t, o.Param(name))
	}
	for i := range o.Params {
		p := &o.Params[i]
		if p.Const == "" && (p.Required || p.Decides || rapid.Bool().Draw(t, "with "+p.Name)) {
			params[p.Name] = drawValue(t, p)
		}
	}
	return params
}

func drawValue(t *rapid.T, p *provider.Param) any {
	label := p.Name
	switch {
	case p.Nullable && rapid.IntRange(0, 4).Draw(t, label+" null") == 0:
		return nil
	case len(p.Enum) > 0:
		return rapid.SampledFrom(p.Enum).Draw(t, label)
	case p.Pattern != "":
		return rapid.StringMatching(p.Pattern).Draw(t, label)
	}
	switch p.Type {
	case provider.Integer:
		return rapid.IntRange(-5, 1<<40).Draw(t, label)
	case provider.Number:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, label)
	case provider.Boolean:
		return rapid.Bool().Draw(t, label)
	case provider.Strings:
		return rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, label)
	case provider.Object:
		m := map[string]any{}
		for k, v := range rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.String(), 0, 3).Draw(t, label) {
			m[k] = v
		}
		return m
	case provider.Objects:
		return []any{map[string]any{"path": rapid.String().Draw(t, label)}}
	}
	if p.In == provider.InPath {
		return rapid.OneOf(
			rapid.StringMatching(`[A-Za-z0-9._-]{1,12}`),
			rapid.StringMatching(`[ -~]{1,8}(/[ -~]{1,8})?`),
			rapid.StringN(1, 8, -1),
		).Draw(t, label)
	}
	return rapid.String().Draw(t, label)
}

func golden(t *testing.T, s *provider.Spec, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", s.ID, name+".golden")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
