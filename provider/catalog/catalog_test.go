package catalog_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/provider/catalog"
	"github.com/valetkey/valetkey/provider/providertest"
)

func load(t testing.TB) map[string]*provider.Spec {
	t.Helper()
	specs, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

func TestProviders(t *testing.T) {
	specs := load(t)
	want := []string{"github", "github_app", "oauth2", "oidc"}
	var got []string
	for id := range specs {
		got = append(got, id)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("catalogue (-want +got):\n%s", d)
	}
	for id, s := range specs {
		t.Run(id, func(t *testing.T) { providertest.Run(t, s) })
	}
}

// A case of the corpus: a raw request and what it must be read as.
type opCase struct {
	ID      string            `json:"id"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Facts   map[string]any    `json:"facts"`
	Expect  string            `json:"expect"`
	Risk    *string           `json:"expect_risk"`
	AlsoOK  []string          `json:"also_ok"`
	Why     string            `json:"why"`
}

func readCases(t *testing.T) []opCase {
	t.Helper()
	b, err := os.ReadFile("testdata/operation_match.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []opCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// judge reads a case as an edge would: the URL is located, the rest matched.
func judge(s *provider.Spec, c opCase) (provider.Match, error) {
	place, err := s.Locate(c.URL)
	if err != nil {
		return provider.Match{}, err
	}
	h := http.Header{}
	for k, v := range c.Headers {
		h[k] = []string{v}
	}
	facts := map[string]string{}
	for k, v := range c.Facts {
		if s, ok := v.(string); ok {
			facts[k] = s
		}
	}
	return s.Match(provider.Request{
		Method: c.Method, Base: place.Base, Path: place.Path, RawQuery: place.RawQuery,
		Header: h, Body: []byte(c.Body), Facts: facts,
	})
}

func TestOperationMatch(t *testing.T) {
	specs := load(t)
	for _, id := range []string{"github", "github_app"} {
		s := specs[id]
		ran := 0
		for _, c := range readCases(t) {
			if !isGitHub(c) {
				continue
			}
			ran++
			t.Run(id+"/"+c.ID, func(t *testing.T) { checkCase(t, s, c) })
		}
		if ran != 105 {
			t.Errorf("%s: %d cases ran", id, ran)
		}
	}
}

func checkCase(t *testing.T, s *provider.Spec, c opCase) {
	m, err := judge(s, c)
	var refusal *provider.Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("%v is not a refusal", err)
	}
	got := m.Operation
	switch {
	case refusal != nil:
		got = "refuse"
	case !m.Listed:
		got = "unknown"
	}
	if got != c.Expect && !slices.Contains(c.AlsoOK, got) {
		t.Fatalf("read as %s (%v %v), want %s or one of %v: %s", got, m.Risk, err, c.Expect, c.AlsoOK, c.Why)
	}
	if refusal != nil || c.Risk == nil {
		return
	}
	want, err := provider.ParseRisk(*c.Risk)
	if err != nil {
		t.Fatal(err)
	}
	if m.Risk < want || got == c.Expect && m.Risk != want {
		t.Errorf("risk %v, want %v: %s (%q)", m.Risk, want, c.Why, m.Why)
	}
	if len(m.Why) == 0 || m.Summary == "" {
		t.Errorf("no reason or no summary: %q %q", m.Why, m.Summary)
	}
}

func isGitHub(c opCase) bool { return strings.Contains(c.URL, "github.com") }

// otherProviders lists the cases of providers that the catalogue does not have.
// When one arrives, its cases leave this list and are judged.
func otherProviders() map[string][]string {
	return map[string][]string{
		"atlassian": {
			"opm-151", "opm-309", "opm-313", "opm-316", "opm-317", "opm-320", "opm-323", "opm-324", "opm-325",
			"opm-326", "opm-330", "opm-331", "opm-332", "opm-333", "opm-334", "opm-346", "opm-349", "opm-350",
			"opm-351",
		},
		"google": {
			"opm-152", "opm-160", "opm-186", "opm-188", "opm-197", "opm-198", "opm-203", "opm-205", "opm-206",
			"opm-207", "opm-211", "opm-212", "opm-213", "opm-214", "opm-218", "opm-221", "opm-223", "opm-224",
			"opm-226", "opm-227", "opm-230", "opm-231", "opm-237", "opm-239", "opm-240",
		},
		"linear": {
			"opm-278", "opm-283", "opm-284", "opm-289", "opm-293", "opm-296", "opm-298", "opm-300", "opm-301",
			"opm-306", "opm-338", "opm-339", "opm-341", "opm-342", "opm-344", "opm-345",
		},
		"slack": {
			"opm-149", "opm-150", "opm-243", "opm-245", "opm-247", "opm-248", "opm-249", "opm-250", "opm-253",
			"opm-254", "opm-259", "opm-260", "opm-264", "opm-265", "opm-267", "opm-270", "opm-271", "opm-275",
			"opm-336",
		},
	}
}

func TestOtherProviders(t *testing.T) {
	hosts := map[string]string{
		"slack.com": "slack", "linear.app": "linear", "atlassian.com": "atlassian",
		"googleapis.com": "google", "accounts.google.com": "google",
	}
	got := map[string][]string{}
	for _, c := range readCases(t) {
		if isGitHub(c) {
			continue
		}
		name := "nobody's"
		for host, n := range hosts {
			if strings.Contains(c.URL, host) {
				name = n
			}
		}
		got[name] = append(got[name], c.ID)
	}
	if d := cmp.Diff(otherProviders(), got); d != "" {
		t.Errorf("cases that are not judged here (-want +got):\n%s", d)
	}
}

// Unlisted writes that mint credentials, add access or open a standing outlet are
// critical, whatever the spelling and however deep; others are high.
func TestUnlistedWrites(t *testing.T) {
	s := load(t)["github"]
	for _, c := range []struct {
		request string
		want    provider.Risk
	}{
		{"POST /repos/acme/app/keys", provider.Critical},
		{"POST /repos/acme/app/KEYS", provider.Critical},
		{"POST /repositories/1/keys", provider.Critical},
		{"POST /repos/acme/app/hooks/7/tests", provider.Critical},
		{"PATCH /repos/acme/app/hooks/7/config", provider.Critical},
		{"POST /orgs/acme/hooks", provider.Critical},
		{"POST /organizations/9/hooks", provider.Critical},
		{"PATCH /app/hook/config", provider.Critical},
		{"POST /repos/acme/app/actions/runners/registration-token", provider.Critical},
		{"POST /orgs/acme/actions/runners/generate-jitconfig", provider.Critical},
		{"PUT /repos/acme/app/actions/secrets/TOKEN", provider.Critical},
		{"PUT /repos/acme/app/environments/prod/secrets/TOKEN", provider.Critical},
		{"PUT /orgs/acme/dependabot/secrets/TOKEN/repositories/5", provider.Critical},
		{"PUT /user/codespaces/secrets/TOKEN", provider.Critical},
		{"PATCH /repos/acme/app/invitations/3", provider.Critical},
		{"PUT /repos/acme/app/collaborators/eve/extra", provider.Critical},
		{"POST /orgs/acme/invitations", provider.Critical},
		{"PUT /orgs/acme/memberships/eve", provider.Critical},
		{"PUT /orgs/acme/outside_collaborators/eve", provider.Critical},
		{"PUT /orgs/acme/teams/core/memberships/eve", provider.Critical},
		{"PUT /orgs/acme/teams/core/repos/acme/app", provider.Critical},
		{"POST /orgs/acme/personal-access-token-requests", provider.Critical},
		{"PATCH /orgs/acme", provider.Critical},
		{"PATCH /user/repository_invitations/4", provider.Critical},
		{"PUT /user/installations/1/repositories/2", provider.Critical},
		{"POST /user/emails", provider.Critical},
		{"POST /user/gpg_keys", provider.Critical},
		{"POST /applications/Iv1.x/token/scoped", provider.Critical},
		{"POST /app-manifests/c/conversions", provider.Critical},
		{"PUT /repos/acme/app/branches/main/protection", provider.Critical},
		{"DELETE /repos/acme/app/branches/feature/a/protection", provider.Critical},
		{"DELETE /repos/acme/app/rulesets/5", provider.Critical},
		{"PUT /repos/acme/app/actions/permissions/workflow", provider.Critical},
		{"POST /repos/acme/app/pages", provider.Critical},
		{"DELETE /repositories/1", provider.Critical},
		{"POST /enterprises/acme/actions/runners/registration-token", provider.Critical},
		{"POST /admin/hooks", provider.Critical},
		{"POST /repos/acme/app/forks/1", provider.High},
		{"PUT /user/starred/acme/app", provider.High},
		{"PATCH /user", provider.High},
		{"DELETE /repos/acme/app/hooks/7", provider.High},
		{"PATCH /repos/acme/app/git/refs/heads/main", provider.High},
		{"DELETE /repos/acme/app/git/refs/tags/v1", provider.High},
		{"PATCH /repos/acme/app/issues/042", provider.High},
		{"PATCH /repos/acme/app/issues/42%2B1", provider.High},
		{"POST /gists", provider.High},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		m, err := s.Match(provider.Request{Method: method, Path: path})
		if err != nil || m.Listed || m.Read || m.Operation != "github.raw.write" || m.Risk != c.want {
			t.Errorf("%s is %s, %v, %v (%q), want %v", c.request, m.Operation, m.Risk, err, m.Why, c.want)
		}
	}
}

func TestGraphQLMutations(t *testing.T) {
	s := load(t)["github"]
	for doc, want := range map[string]provider.Risk{
		`mutation { x: createBranchProtectionRule(input: {}) { clientMutationId } }`:                             provider.Critical,
		`mutation { addStar(input: {}) { clientMutationId } createSponsorship(input: {}) { clientMutationId } }`: provider.Critical,
		`mutation { inviteEnterpriseAdmin(input: {}) { clientMutationId } }`:                                     provider.Critical,
		`mutation { addStar(input: {}) { clientMutationId } }`:                                                   provider.High,
	} {
		body, err := json.Marshal(map[string]string{"query": doc})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Match(provider.Request{
			Method: "POST", Path: "/graphql", Body: body, Header: http.Header{"Content-Type": {"application/json"}},
		})
		if err != nil || m.Risk != want || m.Read {
			t.Errorf("%s is %v, %v", doc, m.Risk, err)
		}
	}
}

// Nothing about a generic provider is known, so words of the path warn.
func TestGenericProvider(t *testing.T) {
	s, err := load(t)["oauth2"].WithBase(provider.Base{
		ID: "forge", Name: "Forge", Style: provider.REST, API: []string{"https://forge.example.test/api/v1"},
		AuthorizeURL: "https://forge.example.test/login/oauth/authorize",
		TokenURL:     "https://forge.example.test/login/oauth/access_token", TokenAuth: "basic",
		Identity: provider.Identity{URL: "https://forge.example.test/api/v1/user", ID: "id", Label: "login"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		request, operation string
		want               provider.Risk
	}{
		{"GET /repos/a/b", "forge.raw.read", provider.Low},
		{"GET /repos/a/b/keys", "forge.raw.read", provider.Low},
		{"POST /repos/a/b/issues", "forge.raw.write", provider.High},
		{"POST /repos/a/b/Deploy-Keys", "forge.raw.write", provider.Critical},
		{"PUT /repos/a/b/collaborators/eve", "forge.raw.write", provider.Critical},
		{"POST /repos/a/b/hooks/1/test", "forge.raw.write", provider.Critical},
		{"DELETE /payments/1", "forge.raw.write", provider.Critical},
		{"DELETE /repos/a/b/keys/1", "forge.raw.write", provider.High},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		m, err := s.Match(provider.Request{Method: method, Path: path})
		if err != nil || m.Operation != c.operation || m.Risk != c.want {
			t.Errorf("%s is %s, %v, %v", c.request, m.Operation, m.Risk, err)
		}
	}
	for _, path := range []string{"/batch", "/v1/$batch", "/BATCH"} {
		if m, err := s.Match(provider.Request{Method: "POST", Path: path}); err == nil {
			t.Errorf("batch endpoint %s is %s", path, m.Operation)
		}
	}
}

// A GitHub Enterprise server is the same API elsewhere.
func TestGitHubElsewhere(t *testing.T) {
	s := load(t)["github"]
	ghes, err := s.WithBase(provider.Base{
		ID: "github-acme", Name: "GitHub at Acme", API: []string{"https://git.acme.test/api/v3"}, Web: "https://git.acme.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{ghes.Auth.URL, ghes.Token.URL, ghes.Revoke.URL, ghes.Revoke.Verify, ghes.Identity.URL}
	want := []string{
		"https://git.acme.test/login/oauth/authorize", "https://git.acme.test/login/oauth/access_token",
		"https://git.acme.test/api/v3/applications/{client_id}/grant", "https://git.acme.test/api/v3/user",
		"https://git.acme.test/api/v3/user",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	m, err := judge(ghes, opCase{Method: "DELETE", URL: "https://git.acme.test/api/v3/repos/Acme/App"})
	if err != nil || m.Operation != "github.repos.delete" || m.Resource.ID != "acme/app" {
		t.Errorf("%+v, %v", m, err)
	}
	if m.Base != "https://git.acme.test/api/v3" || m.Path != "/repos/Acme/App" {
		t.Errorf("the request goes to %s%s", m.Base, m.Path)
	}
	for _, url := range []string{"https://api.github.com/user", "https://git.acme.test/user", "https://git.acme.test/api/v3.evil/user"} {
		if _, err := ghes.Locate(url); err == nil {
			t.Errorf("%s is located at another server", url)
		}
	}
	if s.Auth.URL != "https://github.com/login/oauth/authorize" {
		t.Error("WithBase changed the original")
	}
	if _, err := s.WithBase(provider.Base{API: []string{"http://git.acme.test"}}); err == nil {
		t.Error("plain http is taken for a host that is not loopback")
	}
	if _, err := s.WithBase(provider.Base{API: []string{"http://127.0.0.1:4001"}, Web: "http://127.0.0.1:4001"}); err != nil {
		t.Errorf("an emulator on loopback: %v", err)
	}
}

func BenchmarkMatch(b *testing.B) {
	s := load(b)["github"]
	r := provider.Request{
		Method: "POST", Path: "/repos/acme/app/issues/42/comments", Body: []byte(`{"body":"I can take this one."}`),
		Header: http.Header{"Content-Type": {"application/json"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Match(r); err != nil {
			b.Fatal(err)
		}
	}
}
