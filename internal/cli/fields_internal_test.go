package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api"
)

// A parameter that was refused is put right by what the catalogue says of it.
func TestCorrected(t *testing.T) {
	o := api.Operation{Name: "github.issues.get", Params: []api.Param{
		{Name: "owner", Type: "string"}, {Name: "repo", Type: "string"}, {Name: "number", Type: "integer"}, {Name: "labels", Type: "strings"},
	}}
	for name, c := range map[string]struct {
		text, typed []string
		want        string
	}{
		"a number as text":       {[]string{"owner=octo", "number=1"}, nil, "Write -F number=1"},
		"a list as text":         {[]string{"labels=bug"}, nil, `Write -F 'labels=["bug"]'`},
		"a misspelt one":         {[]string{"repos=api"}, nil, "Did you mean repo?"},
		"a misspelt one, typed":  {nil, []string{"numbr=1"}, "Did you mean number?"},
		"a number, typed":        {[]string{"owner=octo"}, []string{"number=1"}, ""},
		"nothing like any other": {[]string{"zzzzzzzz=1"}, nil, ""},
	} {
		if got := corrected(o, c.text, c.typed); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What an agent may do is what its grants cover.
func TestCovered(t *testing.T) {
	cons := []api.Connection{{Provider: "github", Grants: []api.Grant{{Operations: []string{"github.issues.*", "github.repos.get"}}}}}
	for _, c := range []struct {
		provider, name string
		want           bool
	}{
		{"github", "github.issues.list", true}, {"github", "github.repos.get", true}, {"github", "github.repos.delete", false},
		{"ghes", "github.issues.list", false}, {"github", "github.issuesx.list", false},
	} {
		if got := covered(cons, api.Operation{Name: c.name, Provider: c.provider}); got != c.want {
			t.Errorf("%s at %s: %v", c.name, c.provider, got)
		}
	}
	if !covered([]api.Connection{{Provider: "github", Grants: []api.Grant{{Operations: []string{"*"}}}}}, api.Operation{Name: "github.repos.delete", Provider: "github"}) {
		t.Error("an asterisk covers nothing")
	}
}

// What can be seen to be wrong is said before anything is asked of a server.
func TestSaidBeforehand(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "export")
	if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const key = "valetkey.example+0a1b2c3d+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh"
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"audit", "export", "-o", there, "--data", dir}, exitUsage, "is there already"},
		{[]string{"audit", "verify", "--export", there, "--key", key}, exitUsage, "its hash does not match"},
		{[]string{"audit", "verify", "--export", there, "--key", "a+b+c"}, exitUsage, "no verifier key"},
		{[]string{"serve", "--data", filepath.Join(dir, "d"), "--listen", "127.0.0.1:99999"}, exitUsage, `"99999" is no port`},
		{[]string{"--version"}, exitOK, "valetkey devel"},
		{[]string{"call", "--all"}, exitUsage, "--list"},
	} {
		var out, trouble bytes.Buffer
		code := Run(context.Background(), c.args, func(string) string { return "" }, strings.NewReader(""), &out, &trouble)
		if said := out.String() + trouble.String(); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit %d, %q, want %d and %q", c.args, code, said, c.code, c.says)
		}
	}
}
