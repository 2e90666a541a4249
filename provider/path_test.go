package provider_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/provider"
)

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		"",
		"user",
		"?x=1",
		"https://evil.test/steal",
		".evil.test/x",
		"//repos/acme/app",
		"/repos//acme",
		"/repos/acme/",
		"/repos/acme/app/issues//",
		"/./x",
		"/v1/admin/.",
		"/repos/acme/app/../other",
		"/../../admin",
		"/repos/%2e%2e/other",
		"/repos/.%2E/other",
		"/v1/%61dmin",
		"/%2Egithub",
		"/repos/acme%2Fapp",
		"/v1/admin%2F..%2Fpublic",
		"/repos/acme%2fapp",
		`/\evil.test/x`,
		"/repos/acme%5Capp",
		"/repos/acme%255Capp",
		"/repos/%252e%252e/other",
		"/repos/acme%252Fapp",
		"/v1/..;/admin",
		"/v1/x;jsessionid=1",
		"/v1/x%3Bjsessionid=1",
		"/v1/x#frag",
		"/v1/x?y",
		"/issues/ 42",
		"/issues/42%20",
		"/issues/%2042",
		"/issues/42%0d%0aX-Evil:1",
		"/issues/42%00",
		"/issues/42\x00",
		"/issues/42%7F",
		"/issues/%C0%AF42",
		"/issues/%ff",
		"/issues/é",
		"/issues/%E2%80%8B42",    // zero width space
		"/issues/%E2%80%AE42",    // right-to-left override
		"/issues/%C2%A042",       // no-break space
		"/issues/%E3%85%A4",      // Hangul filler
		"/issues/%E2%A0%80",      // empty braille cell
		"/issues/a%EF%B8%8F",     // variation selector
		"/issues/%EF%BF%BD",      // replacement character
		"/issues/%F3%A0%81%A142", // tag character
		"/issues/%4",
		"/issues/%",
		"/issues/%zz",
		"/issues/<42>",
		"/issues/{42}",
		"/" + strings.Repeat("a", 5000),
	} {
		segments, err := provider.ParsePath(path)
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != provider.BadPath {
			t.Errorf("%.60q is %q, %v", path, segments, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path      string
		want      []string
		canonical string // where it differs
	}{
		{"/", nil, ""},
		{"/user", []string{"user"}, ""},
		{"/repos/acme/app", []string{"repos", "acme", "app"}, ""},
		{"/a%20b", []string{"a b"}, ""},
		{"/caf%c3%a9", []string{"café"}, "/caf%C3%A9"},
		{"/ann%40acme.test", []string{"ann@acme.test"}, "/ann@acme.test"},
		{"/a:b@c+d,e=f!g$h&i'(j)*k", []string{"a:b@c+d,e=f!g$h&i'(j)*k"}, ""},
		{"/100%25", []string{"100%"}, ""},
		{"/100%25%20sure", []string{"100% sure"}, ""},
		{"/...", []string{"..."}, ""},
		{"/.github/workflows", []string{".github", "workflows"}, ""},
		{"/V1/Admin", []string{"V1", "Admin"}, ""}, // case is kept; comparing is the matcher's part
	} {
		got, err := provider.ParsePath(c.path)
		if err != nil || cmp.Diff(c.want, got) != "" {
			t.Errorf("%s is %q, %v", c.path, got, err)
			continue
		}
		want := c.canonical
		if want == "" {
			want = c.path
		}
		if e := provider.EncodePath(got); e != want {
			t.Errorf("%s is spelled %s, want %s", c.path, e, want)
		}
	}
}

// checkPath holds what must be true of every path that is accepted.
func checkPath(t interface{ Fatalf(string, ...any) }, path string) {
	segments, err := provider.ParsePath(path)
	if err != nil {
		return
	}
	canonical := provider.EncodePath(segments)
	again, err := provider.ParsePath(canonical)
	if err != nil || !slices.Equal(segments, again) {
		t.Fatalf("%q is %q, spelled %q, read back as %q, %v", path, segments, canonical, again, err)
	}
	if len(segments) != strings.Count(path, "/") && path != "/" {
		t.Fatalf("%q has %d segments", path, len(segments))
	}
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\;\x00\r\n") || !utf8.ValidString(s) {
			t.Fatalf("%q holds the segment %q", path, s)
		}
	}
}

func TestPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkPath(t, rapid.StringMatching(`(/([a-zA-Z0-9.~%;:@ -]|%[0-9a-fA-F]{2}){0,6}){1,4}`).Draw(t, "path"))
		segments := rapid.SliceOfN(rapid.StringN(1, 6, -1), 1, 4).Draw(t, "segments")
		path := provider.EncodePath(segments)
		if got, err := provider.ParsePath(path); err == nil && !slices.Equal(got, segments) {
			t.Fatalf("%q is spelled %s and read back as %q", segments, path, got)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"/", "/repos/acme/app", "/repos/acme%2Fapp", "/%2e%2e/x", "/a%252e", "/a b", "/caf%C3%A9", "//x", "/x/", `/\x`, "/a;b", "/%E2%80%8B",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) { checkPath(t, path) })
}

func TestParseQueryRefuses(t *testing.T) {
	for _, q := range []string{
		"a=1;b=2", "a=%", "a=%zz", "a=1&&b=2", "&a=1", "a=1&", "=1", "a=%00", "a=%0a", "a=1\n", "a= 1", "a=é", "a=%ff", "a=#", "st%61te=open",
		"a%E2%80%8B=1", "a=\"", "a=<", strings.Repeat("a=1&", 200) + "b=1", "a=" + strings.Repeat("1", 20_000),
	} {
		values, _, err := provider.ParseQuery(q)
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != provider.BadQuery {
			t.Errorf("%.40q is %v, %v", q, values, err)
		}
	}
}

func TestParseQuery(t *testing.T) {
	values, duplicates, err := provider.ParseQuery("q=is:open+is%3Apr&labels[]=a&labels[]=b&flag&e=&State=x&state=y&at=2026-01-01T00:00:00Z&u=/a?b")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"q": {"is:open is:pr"}, "labels[]": {"a", "b"}, "flag": {""}, "e": {""}, "State": {"x"}, "state": {"y"},
		"at": {"2026-01-01T00:00:00Z"}, "u": {"/a?b"},
	}
	if d := cmp.Diff(want, map[string][]string(values)); d != "" {
		t.Errorf("values (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"labels[]", "state"}, duplicates); d != "" {
		t.Errorf("duplicates (-want +got):\n%s", d)
	}
}

func TestRisk(t *testing.T) {
	for r := provider.Low; r <= provider.Critical; r++ {
		got, err := provider.ParseRisk(r.String())
		if err != nil || got != r {
			t.Errorf("%v is read back as %v, %v", r, got, err)
		}
		var u provider.Risk
		if b, err := r.MarshalText(); err != nil || u.UnmarshalText(b) != nil || u != r {
			t.Errorf("%v is marshalled to %s, %v", r, b, err)
		}
	}
	for _, s := range []string{"", "Low", "LOW", "none", "5"} {
		if r, err := provider.ParseRisk(s); err == nil {
			t.Errorf("%q is %v", s, r)
		}
	}
	if _, err := provider.Risk(0).MarshalText(); err == nil {
		t.Error("a forgotten risk is stored")
	}
	if provider.Low.Max(provider.High) != provider.High || provider.High.Max(provider.Low) != provider.High {
		t.Error("Max lowers")
	}
}
