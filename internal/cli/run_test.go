package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/vktest"
)

// result is what a command left.
type result struct {
	code     int
	out, err string
}

func command(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var out, errs strings.Builder
	code := cli.Run(t.Context(), args, func(name string) string { return env[name] }, strings.NewReader(""), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// loggedInAt is an environment with a stored login for a server.
func loggedInAt(t *testing.T, server string) map[string]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "login.json")
	raw, err := json.Marshal(map[string]any{"current": server, "servers": map[string]any{server: map[string]string{"token": "vks_test"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"VALETKEY_LOGIN_FILE": path, "VALETKEY_DATA": filepath.Join(t.TempDir(), "none")}
}

// fake answers with v as JSON.
func fake(t *testing.T, answers map[string]any) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.Header().Set("Content-Type", api.MediaProblem)
			w.WriteHeader(http.StatusNotFound)
			v = api.Problem{Status: 404, Reason: "not_found", Detail: "There is no such thing."}
		} else {
			w.Header().Set("Content-Type", api.MediaJSON)
		}
		json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/"
}

// hostile is text that would like to be seen as something else: it turns the
// direction, clears the screen, hides letters, and forges a line of ours.
const hostile = "safe\u202etxt.exe\x1b[2J\x1b]0;title\a\u200b\r\nApproved: nothing\u00ad\U000e0041"

// Text of agents and providers never drives a terminal, nor hides in it.
func TestHostileText(t *testing.T) {
	action := api.Action{ID: "act_1", State: api.StatePending, Operation: hostile, Summary: hostile, Account: hostile, Provider: hostile, Resource: hostile, Note: hostile, Effect: strings.Repeat("a", 64)}
	approval := api.Approval{
		ID: "apr_1", Status: api.ApprovalOpen, Level: api.LevelApprove, Action: action, Agent: api.AgentRef{ID: "agt_1", Name: hostile}, CanDecide: true, URL: hostile,
		Why: []string{hostile}, Rules: []string{hostile}, Impact: hostile, Scopes: []string{hostile}, ExpiresAt: time.Now().Add(time.Hour),
		Request: &api.ExactRequest{Method: hostile, URL: "https://api.example/" + hostile, Headers: []api.Header{{Name: hostile, Value: hostile}}, Body: []byte(hostile), BodyText: hostile},
	}
	server := fake(t, map[string]any{
		"GET /v1/approvals":         api.Page[api.Approval]{Items: []api.Approval{approval}},
		"GET /v1/approvals/apr_1":   approval,
		"GET /v1/admin/agents":      api.Page[api.Agent]{Items: []api.Agent{{ID: "agt_1", Name: hostile}}},
		"GET /v1/admin/connections": api.Page[api.Connection]{Items: []api.Connection{{ID: "con_1", Name: hostile, Account: hostile, Provider: hostile, Scopes: []string{hostile}}}},
		"GET /v1/admin/providers":   api.Page[api.Provider]{Items: []api.Provider{{Name: hostile, Title: hostile, ClientID: hostile, RedirectURI: hostile}}},
		"GET /v1/admin/freezes":     api.Page[api.Freeze]{Items: []api.Freeze{{ID: "frz_1", Kind: "all", Reason: hostile}}},
		"GET /v1/admin/events":      api.Page[api.Event]{Items: []api.Event{{Seq: 1, Verb: hostile, Actor: hostile, Object: hostile, Data: map[string]string{hostile: hostile}}}},
		"GET /v1/admin/users":       api.Page[api.User]{Items: []api.User{{ID: "usr_1", Name: hostile}}},
		"GET /v1/operations":        api.Page[api.Operation]{Items: []api.Operation{{Name: hostile, Title: hostile, Params: []api.Param{{Name: hostile}}}}},
		"DELETE /v1/admin/connections/con_1": api.DisconnectReport{
			Account: hostile, Provider: hostile, Here: hostile, Upstream: api.UpstreamRevocation{Detail: hostile}, Probe: hostile, Todo: hostile},
	})
	env := loggedInAt(t, server)
	for _, args := range [][]string{
		{"approvals", "list"}, {"approvals", "show", "apr_1"}, {"agent", "list"}, {"connection", "list"}, {"provider", "list"}, {"freeze", "list"},
		{"audit", "tail"}, {"user", "list"}, {"connection", "operations", "x"}, {"connection", "disconnect", "con_1"}, {"agent", "show", hostile},
	} {
		got := command(t, env, args...)
		if len(got.out)+len(got.err) < 20 {
			t.Errorf("%q printed %q %q", args, got.out, got.err)
		}
		for _, r := range got.out + got.err {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
				t.Errorf("%q: %U reached the terminal in %q", args, r, got.out+got.err)
				break
			}
		}
		if strings.Contains(got.out, "\nApproved: nothing") {
			t.Errorf("%q: a line was forged: %q", args, got.out)
		}
	}
}

// With --json, output is the value that the API sent, and an error is a
// problem.
func TestJSON(t *testing.T) {
	page := api.Page[api.Agent]{Items: []api.Agent{{ID: "agt_1", Name: "triage", Sources: []string{"127.0.0.0/8"}}}}
	env := loggedInAt(t, fake(t, map[string]any{"GET /v1/admin/agents": page}))
	got := command(t, env, "agent", "list", "--json")
	var back api.Page[api.Agent]
	if err := json.Unmarshal([]byte(got.out), &back); err != nil || got.code != 0 || got.err != "" || len(back.Items) != 1 || back.Items[0].ID != "agt_1" {
		t.Errorf("%+v, %v", got, err)
	}
	got = command(t, env, "agent", "show", "nobody", "--json")
	var p api.Problem
	if err := json.Unmarshal([]byte(got.err), &p); err != nil || got.code != 4 || p.Reason != "not_found" || got.out != "" {
		t.Errorf("%+v, %v", got, err)
	}
	got = command(t, env, "grant", "add", "--json")
	if err := json.Unmarshal([]byte(got.err), &p); err != nil || got.code != 2 || p.Reason != "usage" {
		t.Errorf("%+v, %v", got, err)
	}
}

var userCode = regexp.MustCompile(`device\?code=([A-Z]{4}-[A-Z]{4})`)

// `valetkey login` waits for its person, stores what it earned, and the login
// works until it is ended.
func TestLogin(t *testing.T) {
	t.Parallel() // it waits as people do
	w := vktest.New(t)
	mira := w.Person("mira")
	env := map[string]string{"VALETKEY_LOGIN_FILE": filepath.Join(t.TempDir(), "deep", "login.json"), "VALETKEY_DATA": t.TempDir()}
	read, write := io.Pipe()
	done := make(chan result, 1)
	go func() {
		var out strings.Builder
		code := cli.Run(t.Context(), []string{"login", "--server", w.URL, "--no-browser"}, func(n string) string { return env[n] }, strings.NewReader(""), &out, write)
		write.Close()
		done <- result{code: code, out: out.String()}
	}()
	var said strings.Builder
	buf := make([]byte, 4096)
	for userCode.FindString(said.String()) == "" {
		n, err := read.Read(buf)
		if err != nil {
			t.Fatalf("no code in %q", said.String())
		}
		said.Write(buf[:n])
	}
	go io.Copy(io.Discard, read)
	d, err := w.App.Users.LookupDevice(t.Context(), mira, userCode.FindStringSubmatch(said.String())[1], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.LetIn(mira, d)
	got := <-done
	if got.code != 0 || !strings.Contains(got.out, "as mira") {
		t.Fatalf("%+v", got)
	}
	if info, err := os.Stat(env["VALETKEY_LOGIN_FILE"]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the login file: %v, %v", info, err)
	}
	if got := command(t, env, "agent", "list", "--json"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	stored, err := os.ReadFile(env["VALETKEY_LOGIN_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	if got := command(t, env, "logout"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	// The session is over at the server, not only forgotten here.
	if err := os.WriteFile(env["VALETKEY_LOGIN_FILE"], stored, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, env, "agent", "list"); got.code != 3 {
		t.Errorf("after logout: %+v", got)
	}
}
