package cli

import (
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		meant string
		known []string
		want  []string
	}{
		{"agnt", []string{"agent", "grant", "audit"}, []string{"agent"}},
		{"frobnicate", []string{"agent", "grant", "audit"}, nil},
		{"x", []string{"agent", "call"}, nil},
		{"github.issues.lists", []string{"github.issues.list", "github.issues.close"}, []string{"github.issues.list"}},
		{"create_comment", []string{"github.issues.create_comment", "github.issues.create"}, []string{"github.issues.create_comment"}},
		{"a.get", []string{"b.get", "b.get", "c.get", "d.get", "e.get"}, []string{"b.get", "c.get", "d.get"}},
		{"", []string{"agent"}, nil},
	} {
		if got := nearest(c.meant, c.known); !slices.Equal(got, c.want) {
			t.Errorf("nearest(%q) = %q, want %q", c.meant, got, c.want)
		}
	}
}

// Each sentence of an explanation is said once, and a fact that is new stays.
func TestReasons(t *testing.T) {
	a := api.Action{Operation: "github.issues.create_comment", Risk: api.RiskMedium, State: api.StatePending}
	got := reasons([]string{
		"The catalogue rates github.issues.create_comment medium.", "github.issues.create_comment is medium", "It reaches 12 people.",
		"It reaches 12 people", "", "It would pass with a human approval.",
	}, a)
	if want := []string{"The catalogue rates github.issues.create_comment medium.", "It reaches 12 people."}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	a.State = api.StateDenied
	if got := reasons([]string{"It would pass with a human approval."}, a); len(got) != 1 {
		t.Errorf("what would have helped is gone: %q", got)
	}
}

func TestBuild(t *testing.T) {
	settings := func(pairs ...string) (out []debug.BuildSetting) {
		for i := 0; i+1 < len(pairs); i += 2 {
			out = append(out, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	for _, c := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v1.2.3", settings("vcs.revision", "71498255fe838aa1fa5a", "vcs.time", "2026-11-22T18:00:00Z"), "valetkey v1.2.3, revision 71498255fe83 of 2026-11-22 ("},
		{"v0.0.0-20261122180000-71498255fe83+dirty", settings("vcs.revision", "71498255fe838aa1fa5a", "vcs.time", "2026-11-22T18:00:00Z", "vcs.modified", "true"), "valetkey devel, revision 71498255fe83 of 2026-11-22 with changes ("},
		{"(devel)", settings("vcs.revision", "7149"), "valetkey devel, revision 7149 ("},
		{"", nil, "valetkey devel, of a revision that was not recorded ("},
	} {
		info := &debug.BuildInfo{Settings: c.settings}
		info.Main.Version = c.version
		if got := buildOf(info).String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: %s, want %s", c.version, got, c.want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 22, 20, 0, 0, 0, time.Local)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "never"},
		{now.Add(-30 * time.Second), "just now"},
		{now.Add(-5 * time.Minute), "5 min ago"},
		{now.Add(-47 * time.Hour), "47 h ago"},
		{now.Add(-72 * time.Hour), "2026-11-19"},
		{now.Add(time.Minute), "2026-11-22 20:01:00"},
	} {
		if got := ago(c.at, now); got != c.want {
			t.Errorf("%v: %q, want %q", c.at, got, c.want)
		}
	}
}

func TestKindFlags(t *testing.T) {
	for _, c := range []struct {
		kind, alg string
		want      client.Alg
		refused   bool
	}{
		{"", "", "", false}, {"", "PS256", client.PS256, false}, {"p256", "", client.ES256, false}, {"ed25519", "", client.EdDSA, false},
		{"rsa", "", client.RS256, false}, {"rsa", "PS256", client.PS256, false}, {"rsa", "ES256", "", true}, {"p256", "RS256", "", true},
	} {
		got, err := (&kindFlags{c.kind, c.alg}).algorithm()
		if got != c.want || (err != nil) != c.refused {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// The half that cannot sign is told from the one that can, in every form.
func TestIsPublic(t *testing.T) {
	key, err := client.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		want bool
	}{
		"pem":         {key.PublicPEM(), true},
		"jwk":         {string(key.PublicJWK()), true},
		"certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", true},
		"private":     {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", false},
		"private jwk": {`{"kty":"EC","d":"AAAA"}`, false},
		"nothing":     {"hello", false},
		"both":        {key.PublicPEM() + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", false},
	} {
		if got := isPublic([]byte(c.raw)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
