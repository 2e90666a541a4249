package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// A decision that a command line may not make is refused in one sentence with
// one link, whatever the server says besides.
func TestDecisionHasOneLink(t *testing.T) {
	page := "http://localhost:8420/actions/act_1"
	for _, level := range []api.Level{api.LevelApprove, api.LevelStepUp} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.Header().Set("Content-Type", api.MediaProblem)
				w.WriteHeader(http.StatusForbidden)
				json.NewEncoder(w).Encode(api.Problem{Status: 403, Reason: "browser_required", Detail: "A command line login reads; open the dashboard."})
				return
			}
			w.Header().Set("Content-Type", api.MediaJSON)
			json.NewEncoder(w).Encode(api.Approval{ID: "apr_1", Status: api.ApprovalOpen, Level: level, URL: page, ExpiresAt: time.Now().Add(time.Hour),
				Action: api.Action{ID: "act_1", Effect: strings.Repeat("a", 64)}})
		}))
		defer srv.Close()
		env := loggedInAt(t, srv.URL+"/")
		got := command(t, env, "approvals", "approve", "apr_1", "--effect", strings.Repeat("a", 64))
		if got.code != 3 || strings.Count(got.err, "http") != 1 || !strings.Contains(got.err, page) || strings.Count(got.err, "\n") != 1 || got.out != "" {
			t.Errorf("%s: %+v", level, got)
		}
	}
}

// A server that takes signatures for another name is reported with that name.
// It is never signed for: whoever answers could otherwise have a signature made
// that another server takes.
func TestWrongAudienceIsToldNotUsed(t *testing.T) {
	var audiences int
	const real = "https://victim.example.com"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", api.MediaJSON)
		json.NewEncoder(w).Encode(map[string]string{"issuer": real + "/"})
	})
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, _ *http.Request) {
		audiences++
		w.Header().Set("Content-Type", api.MediaJSON)
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(api.TokenError{Error: "invalid_client", Description: "The agent could not be authenticated."})
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "a.key")
	key, err := client.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, how := range [][]string{{"--server", srv.URL}, {"--server", "https://other.example.com", "--address", srv.URL}} {
		audiences = 0
		got := command(t, map[string]string{"VALETKEY_DATA": t.TempDir()}, append([]string{"call", "x.y", "-c", "z", "--key", path, "--client-id", "a"}, how...)...)
		if got.code != 3 || !strings.Contains(got.err, "--server "+real) || !strings.Contains(got.err, "wrong_audience") || audiences != 1 {
			t.Errorf("%+v, %d assertions", got, audiences)
		}
		// Nor is anybody told to sign for that name and to send it here.
		if strings.Contains(got.err, "--address http") || len(how) > 2 && !strings.Contains(got.err, "leave out --address") {
			t.Errorf("%q: %s", how, got.err)
		}
	}
}

// People may be called like flags: behind what ends those, they are people.
func TestNamesLikeFlags(t *testing.T) {
	for _, name := range []string{"-h", "--server=http://evil.example", "=ls", "it's $(id)"} {
		frozen := api.Freeze{ID: "frz_1", Kind: "user", Target: "usr_1", TargetName: name}
		lifted := frozen
		lifted.LiftedAt = time.Now()
		env := loggedInAt(t, fake(t, map[string]any{
			"GET /v1/admin/users":            api.Page[api.User]{Items: []api.User{{ID: "usr_1", Name: name}}},
			"GET /v1/admin/freezes":          api.Page[api.Freeze]{Items: []api.Freeze{frozen}},
			"DELETE /v1/admin/freezes/frz_1": lifted,
		}))
		got := command(t, env, "unfreeze", "--", "user", name)
		if got.code != 0 || !strings.Contains(got.out, "goes on") {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

// What a server sends as a digest is a word to a shell, and no more.
func TestDigestIsQuoted(t *testing.T) {
	env := loggedInAt(t, fake(t, map[string]any{"GET /v1/approvals/apr_1": api.Approval{
		ID: "apr_1", Status: api.ApprovalOpen, Level: api.LevelApprove, CanDecide: true, ExpiresAt: time.Now().Add(time.Hour), Action: api.Action{ID: "act_1", Effect: "aa; rm -rf ~"},
	}}))
	got := command(t, env, "approvals", "approve", "apr_1", "--json")
	if got.code != 2 || !strings.Contains(got.out+got.err, `--effect 'aa; rm -rf ~'`) {
		t.Errorf("%+v", got)
	}
}

// Names that the server adds are text of others, like all names.
func TestHostileNames(t *testing.T) {
	server := fake(t, map[string]any{
		"GET /v1/admin/agents":       api.Page[api.Agent]{Items: []api.Agent{{ID: "agt_1", Name: "a", Status: "active"}}},
		"GET /v1/admin/agents/agt_1": api.Agent{ID: "agt_1", Name: "a", OwnerName: hostile, Keys: []api.AgentKey{{ID: "key_1", KID: hostile, Thumbprint: "t"}}},
		"GET /v1/admin/grants":       api.Page[api.Grant]{Items: []api.Grant{{ID: "grt_1", Agent: "agt_1", AgentName: hostile, ConnectionName: hostile, Account: hostile, Provider: hostile, Operations: []string{hostile}, Resources: []string{hostile}}}},
		"GET /v1/admin/freezes":      api.Page[api.Freeze]{Items: []api.Freeze{{ID: "frz_1", Kind: "agent", Target: "agt_1", TargetName: hostile, ByName: hostile, Reason: hostile}}},
		"POST /v1/admin/freezes":     api.Freeze{ID: "frz_1", Kind: "agent", TargetName: hostile, Warning: hostile},
		"GET /v1/operations":         api.Page[api.Operation]{Items: []api.Operation{{Name: "x", Title: hostile, Path: hostile, Params: []api.Param{{Name: hostile, Type: "string", Doc: hostile, Enum: []string{hostile}}}}}},
	})
	env := loggedInAt(t, server)
	for _, args := range [][]string{
		{"agents"}, {"agent", "show", "agt_1"}, {"grants"}, {"freeze", "list"}, {"freeze", "agent", "agt_1"}, {"operation", "show", "x"}, {"operations"},
	} {
		got := command(t, env, args...)
		if got.code != 0 || len(got.out) < 20 {
			t.Errorf("%q: %+v", args, got)
		}
		for _, bad := range []string{"\u202e", "\x1b", "\a", "\u200b", "\r", "\u00ad", "\nApproved: nothing"} {
			if strings.Contains(got.out+got.err, bad) {
				t.Errorf("%q: %q reached the terminal in %q", args, bad, got.out+got.err)
			}
		}
	}
}

// A thrown switch that was thrown before is a success, and says so.
func TestFrozenAlready(t *testing.T) {
	env := loggedInAt(t, fake(t, map[string]any{
		"POST /v1/admin/freezes": api.Freeze{ID: "frz_1", Kind: "agent", Target: "agt_1", TargetName: "triage", At: time.Now().Add(-time.Hour), Already: true},
	}))
	got := command(t, env, "freeze", "agent", "triage")
	if got.code != 0 || !strings.Contains(got.out, "was frozen already") || !strings.Contains(got.out, "frz_1") {
		t.Errorf("%+v", got)
	}
}

// A new key is removed if its registration was refused, and kept if that may
// have come about.
func TestNewKeyAfterFailure(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kept    bool
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", api.MediaProblem)
			w.WriteHeader(http.StatusConflict)
			json.NewEncoder(w).Encode(api.Problem{Status: 409, Reason: "name_taken", Detail: "There is one."})
		}, false},
		"answer lost": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
	} {
		srv := httptest.NewServer(c.handler)
		defer srv.Close()
		path := filepath.Join(t.TempDir(), "new.key")
		got := command(t, loggedInAt(t, srv.URL+"/"), "agent", "add", "triage", "--new-key", path)
		_, err := os.Stat(path)
		if got.code == 0 || (err == nil) != c.kept || strings.Contains(got.err, path) != c.kept {
			t.Errorf("%s: %+v, the key: %v", name, got, err)
		}
	}
}

// What there is not has its exit code, whatever status the refusal came with.
func TestMissingIsNotFound(t *testing.T) {
	for reason, want := range map[string]int{"unknown_operation": 4, "grant_not_found": 4, "frozen": 3, "bad_name": 1} {
		status := http.StatusBadRequest
		if reason == "frozen" {
			status = http.StatusForbidden
		}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", api.MediaProblem)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(api.Problem{Status: status, Reason: reason, Detail: "No."})
		}))
		defer srv.Close()
		if got := command(t, loggedInAt(t, srv.URL+"/"), "agent", "show", "x"); got.code != want || !strings.Contains(got.err, reason) {
			t.Errorf("%s: %+v, want %d", reason, got, want)
		}
	}
}
