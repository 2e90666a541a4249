package grant_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCoversRefuses(t *testing.T) {
	for _, c := range []struct {
		why                   string
		operations, resources []string
		operation, resource   string
		want                  error
	}{
		{"a name is not a prefix", []string{"github.issues"}, nil, "github.issues.list", "", grant.ErrOperation},
		{"a prefix ends at its dot", []string{"github.issues.*"}, nil, "github.issuesx.list", "", grant.ErrOperation},
		{"a prefix is not the thing before it", []string{"github.issues.*"}, nil, "github.issues", "", grant.ErrOperation},
		{"a prefix covers something, not nothing", []string{"github.issues.*"}, nil, "github.issues.", "", grant.ErrOperation},
		{"a longer name", []string{"github.issues.list"}, nil, "github.issues.list_all", "", grant.ErrOperation},
		{"a shorter name", []string{"github.issues.list"}, nil, "github.issues", "", grant.ErrOperation},
		{"another provider", []string{"github.*"}, nil, "githubx.issues.list", "", grant.ErrOperation},
		{"a star in the request is no pattern", []string{"github.issues.list"}, nil, "*", "", grant.ErrOperation},
		{"a star without its separator matches only itself", []string{"github.iss*"}, nil, "github.issues.list", "", grant.ErrOperation},
		{"a star in the middle matches nothing", []string{"github.*.list"}, nil, "github.issues.list", "", grant.ErrOperation},
		{"an empty pattern matches nothing", []string{""}, nil, "github.issues.list", "", grant.ErrOperation},
		{"no operations are none", nil, nil, "github.issues.list", "", grant.ErrOperation},
		{"no operation named", []string{"github.*"}, nil, "", "", grant.ErrOperation},
		{"the Kelvin sign is not a k", []string{"hook.list"}, nil, "hoo\u212a.list", "", grant.ErrOperation},

		{"another repository", []string{"*"}, []string{"octo/api"}, "op", "octo/web", grant.ErrResource},
		{"a longer name of a repository", []string{"*"}, []string{"octo/api"}, "op", "octo/apix", grant.ErrResource},
		{"a shorter name of a repository", []string{"*"}, []string{"octo/api"}, "op", "octo/ap", grant.ErrResource},
		{"below the resource", []string{"*"}, []string{"octo/api"}, "op", "octo/api/secret", grant.ErrResource},
		{"another owner with the same beginning", []string{"*"}, []string{"octo/*"}, "op", "octocat/api", grant.ErrResource},
		{"the owner alone", []string{"*"}, []string{"octo/*"}, "op", "octo", grant.ErrResource},
		{"the owner with nothing behind", []string{"*"}, []string{"octo/*"}, "op", "octo/", grant.ErrResource},
		{"what it touches cannot be told", []string{"*"}, []string{"octo/api"}, "op", "", grant.ErrResource},
		{"not even by a star", []string{"*"}, []string{"*"}, "op", "", grant.ErrResource},
		{"a star in the request", []string{"*"}, []string{"octo/api"}, "op", "octo/*", grant.ErrResource},
		{"a lookalike letter", []string{"*"}, []string{"octo/api"}, "op", "oct\u043e/api", grant.ErrResource},
		{"the Kelvin sign", []string{"*"}, []string{"octo/kit"}, "op", "octo/\u212ait", grant.ErrResource},
		{"the long s", []string{"*"}, []string{"octo/sdk"}, "op", "octo/\u017fdk", grant.ErrResource},
		{"the Kelvin sign in a prefix", []string{"*"}, []string{"kk/*"}, "op", "\u212ak/api", grant.ErrResource},
		{"a blank behind", []string{"*"}, []string{"octo/api"}, "op", "octo/api ", grant.ErrResource},
		{"a NUL behind", []string{"*"}, []string{"octo/api"}, "op", "octo/api\x00", grant.ErrResource},
		{"another kind of the same name", []string{"*"}, []string{"organization:octo"}, "op", "octo", grant.ErrResource},
		{"another kind in a prefix", []string{"*"}, []string{"team:octo/*"}, "op", "octo/api", grant.ErrResource},
		{"a kind that is longer", []string{"*"}, []string{"xrepository:octo/api"}, "op", "octo/api", grant.ErrResource},
		{"a kind without a name", []string{"*"}, []string{"repository:"}, "op", "", grant.ErrResource},
		{"climbing out", []string{"*"}, []string{"octo/api"}, "op", "octo/api/../web", grant.ErrResource},
	} {
		g := grant.Grant{Mode: grant.Broker, Operations: c.operations, Resources: c.resources}
		if err := g.Covers(c.operation, repository(c.resource), now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v on %v covers %q on %q: %v, want %v", c.why, c.operations, c.resources, c.operation, c.resource, err, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		operations, resources []string
		operation, resource   string
	}{
		{[]string{"github.issues.list"}, nil, "github.issues.list", ""},
		{[]string{"github.issues.list"}, nil, "github.issues.list", "octo/api"},
		{[]string{"x", "github.issues.*"}, nil, "github.issues.create_comment", "octo/api"},
		{[]string{"github.*"}, nil, "github.raw.read", ""},
		{[]string{"*"}, nil, "anything.at.all", ""},
		{[]string{"*"}, []string{"octo/web", "octo/api"}, "op", "octo/api"},
		{[]string{"*"}, []string{"octo/*"}, "op", "octo/api"},
		{[]string{"*"}, []string{"*"}, "op", "octo/api"},
		{[]string{"*"}, []string{"repository:octo/api"}, "op", "octo/api"},
		{[]string{"*"}, []string{"organization:octo", "repository:octo/*"}, "op", "octo/api"},
		// GitHub's names have no case: one grant, one repository.
		{[]string{"*"}, []string{"octo/api"}, "op", "Octo/API"},
		{[]string{"*"}, []string{"Octo/*"}, "op", "octo/api"},
	} {
		g := grant.Grant{Mode: grant.Broker, Operations: c.operations, Resources: c.resources}
		if err := g.Covers(c.operation, repository(c.resource), now); err != nil {
			t.Errorf("%v on %v covers %q on %q: %v", c.operations, c.resources, c.operation, c.resource, err)
		}
	}
}

// repository is a resource of the kind that goes without its name.
func repository(name string) grant.Resource {
	return grant.Resource{Kind: "repository", ID: name, Plain: true}
}

// A pattern without a kind is written for the kind that goes without, and for
// no other that has a thing of the same name.
func TestCoversByKind(t *testing.T) {
	for _, c := range []struct {
		pattern string
		r       grant.Resource
		want    error
	}{
		{"octo/*", grant.Resource{Kind: "team", ID: "octo/admins"}, grant.ErrResource},
		{"octo/admins", grant.Resource{Kind: "team", ID: "octo/admins"}, grant.ErrResource},
		{"octo", grant.Resource{Kind: "organization", ID: "octo"}, grant.ErrResource},
		{"repository:octo/*", grant.Resource{Kind: "team", ID: "octo/admins"}, grant.ErrResource},
		{"team:octo/*", grant.Resource{Kind: "team", ID: "octo/admins"}, nil},
		{"team:octo/admins", grant.Resource{Kind: "team", ID: "Octo/Admins"}, nil},
		{"team:octo/*", repository("octo/admins"), grant.ErrResource},
		{"*", grant.Resource{Kind: "team", ID: "octo/admins"}, nil},
		{"*", grant.Resource{Kind: "team"}, grant.ErrResource},
	} {
		g := grant.Grant{Mode: grant.Broker, Operations: []string{"*"}, Resources: []string{c.pattern}}
		if err := g.Covers("op", c.r, now); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s and the %s %s: %v, want %v", c.pattern, c.r.Kind, c.r.ID, err, c.want)
		}
	}
}

func TestLive(t *testing.T) {
	for _, c := range []struct {
		why string
		g   grant.Grant
		at  time.Time
		err error
	}{
		{"without an end", grant.Grant{}, now, nil},
		{"before its end", grant.Grant{ExpiresAt: now}, now.Add(-time.Microsecond), nil},
		{"at its end", grant.Grant{ExpiresAt: now}, now, grant.ErrExpired},
		{"after its end", grant.Grant{ExpiresAt: now}, now.Add(time.Hour), grant.ErrExpired},
		{"revoked", grant.Grant{RevokedAt: now}, now, grant.ErrRevoked},
		{"revoked, whatever the clock says", grant.Grant{RevokedAt: now}, now.Add(-time.Hour), grant.ErrRevoked},
		{"revoked and ended", grant.Grant{RevokedAt: now, ExpiresAt: now}, now.Add(time.Hour), grant.ErrRevoked},
	} {
		c.g.Mode, c.g.Operations = grant.Vend, []string{"*"}
		for name, err := range map[string]error{
			"Live": c.g.Live(c.at), "Covers": c.g.Covers("op", grant.Resource{}, c.at), "CoversVend": c.g.CoversVend(c.at),
		} {
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%s: %s is %v, want %v", c.why, name, err, c.err)
			}
		}
	}
}

func TestCoversVend(t *testing.T) {
	for _, c := range []struct {
		why string
		g   grant.Grant
		err error
	}{
		{"mode broker", grant.Grant{Mode: grant.Broker, Operations: []string{"*"}}, grant.ErrVend},
		{"no mode", grant.Grant{Operations: []string{"*"}}, grant.ErrVend},
		{"a mode of another case", grant.Grant{Mode: "Vend", Operations: []string{"*"}}, grant.ErrVend},
		{"limited to a resource, which a token is not", grant.Grant{Mode: grant.Vend, Operations: []string{"*"}, Resources: []string{"octo/api"}}, grant.ErrResource},
		{"limited to any resource", grant.Grant{Mode: grant.Vend, Operations: []string{"*"}, Resources: []string{"*"}}, grant.ErrResource},
		{"vend", grant.Grant{Mode: grant.Vend, Operations: []string{"*"}}, nil},
	} {
		if err := c.g.CoversVend(now); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.why, err, c.err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() grant.Grant {
		return grant.Grant{Mode: grant.Broker, Operations: []string{"github.issues.*"}, Resources: []string{"octo/api", "octo/*"}, ExpiresAt: now.Add(time.Hour)}
	}
	many := strings.Split(strings.Repeat("octo/api ", 200), " ")[:200]
	for why, change := range map[string]func(*grant.Grant){
		"no mode":                        func(g *grant.Grant) { g.Mode = "" },
		"a mode that does not exist":     func(g *grant.Grant) { g.Mode = "admin" },
		"no operations":                  func(g *grant.Grant) { g.Operations = nil },
		"an empty operation":             func(g *grant.Grant) { g.Operations = []string{"github.*", ""} },
		"a star after half a word":       func(g *grant.Grant) { g.Operations = []string{"github.iss*"} },
		"a star in front":                func(g *grant.Grant) { g.Operations = []string{"*.issues"} },
		"a star in the middle":           func(g *grant.Grant) { g.Operations = []string{"github.*.list"} },
		"two stars":                      func(g *grant.Grant) { g.Operations = []string{"**"} },
		"a separator and a star":         func(g *grant.Grant) { g.Operations = []string{".*"} },
		"an operation with a blank":      func(g *grant.Grant) { g.Operations = []string{"github.issues.list "} },
		"an operation beyond ASCII":      func(g *grant.Grant) { g.Operations = []string{"github.issu\u0435s.list"} },
		"an operation with a line break": func(g *grant.Grant) { g.Operations = []string{"github.*\n"} },
		"a very long operation":          func(g *grant.Grant) { g.Operations = []string{strings.Repeat("a", 201)} },
		"an empty resource":              func(g *grant.Grant) { g.Resources = []string{""} },
		"a resource with half a star":    func(g *grant.Grant) { g.Resources = []string{"octo/a*"} },
		"a resource with a star owner":   func(g *grant.Grant) { g.Resources = []string{"*/api"} },
		"a slash and a star":             func(g *grant.Grant) { g.Resources = []string{"/*"} },
		"an invisible letter":            func(g *grant.Grant) { g.Resources = []string{"octo/a\u200bpi"} },
		"too many":                       func(g *grant.Grant) { g.Resources = many },
		"vending what is limited":        func(g *grant.Grant) { g.Mode = grant.Vend },
		"an end that has come":           func(g *grant.Grant) { g.ExpiresAt = now },
		"an end in the past":             func(g *grant.Grant) { g.ExpiresAt = now.Add(-time.Hour) },
	} {
		g := good()
		change(&g)
		if err := g.Validate(now); fault.From(err).Reason != "bad_grant" {
			t.Errorf("%s: %v, want bad_grant", why, err)
		}
	}
	for why, change := range map[string]func(*grant.Grant){
		"as it is":           func(*grant.Grant) {},
		"everything":         func(g *grant.Grant) { g.Operations, g.Resources = []string{"*"}, nil },
		"without an end":     func(g *grant.Grant) { g.ExpiresAt = time.Time{} },
		"vending everything": func(g *grant.Grant) { g.Mode, g.Resources = grant.Vend, nil },
	} {
		g := good()
		change(&g)
		if err := g.Validate(now); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// A grant for some resources covers nothing outside of them, whatever a
// request calls them.
func TestNoPrefixEscapes(t *testing.T) {
	word := rapid.StringMatching(`[a-z0-9*./ -]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		owner := rapid.StringMatching(`[a-z]{1,4}`).Draw(t, "owner")
		g := grant.Grant{Mode: grant.Broker, Operations: []string{"*"}, Resources: []string{owner + "/*"}}
		if err := g.Validate(now); err != nil {
			t.Fatal(err)
		}
		resource := word.Draw(t, "a") + rapid.SampledFrom([]string{"", "/", owner, owner + "/"}).Draw(t, "b") + word.Draw(t, "c")
		if g.Covers("op", repository(resource), now) == nil && (!strings.HasPrefix(resource, owner+"/") || len(resource) == len(owner)+1) {
			t.Fatalf("%v covers %q", g.Resources, resource)
		}
	})
}
