package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

var link = regexp.MustCompile(`^\s*(http://localhost:\d+/)(\S*)$`)

// The demo with a person: everything that it asks for is done by following the
// links that it prints, and nothing else.
func TestDemoWithPerson(t *testing.T) {
	t.Parallel() // it waits as people do
	tmp := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"demo"}, environment(map[string]string{"TMPDIR": tmp}), strings.NewReader(""), w, io.Discard)
		w.Close()
	}()
	var p *softwarePerson
	var all strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		all.WriteString(line + "\n")
		m := link.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var err error
		if p == nil {
			if p, err = newSoftwarePerson(m[1]); err != nil {
				t.Fatal(err)
			}
		}
		switch page := m[1] + m[2]; {
		case strings.HasPrefix(m[2], "enrol/"):
			err = p.enrol(ctx, page)
		case m[2] == "connections":
			err = p.connect(ctx, "github")
		case strings.HasPrefix(m[2], "device?code="):
			err = p.confirmLogin(ctx, page, strings.TrimPrefix(m[2], "device?code="))
		case strings.HasPrefix(m[2], "actions/"):
			err = approveSeen(ctx, p, page)
		case m[2] == "inbox":
			err = unfreezeSeen(ctx, p, page)
		default:
			t.Errorf("the demo leads to %s", page)
		}
		if err != nil {
			t.Errorf("at /%s: %v", m[2], err)
			cancel() // nobody else does it; the demo ends, and with it its output
		}
	}
	if got := <-code; got != exitOK || !strings.Contains(all.String(), "Every step held") {
		t.Errorf("exit code %d\n%s", got, all.String())
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

var digest = regexp.MustCompile(`name="digest" value="([0-9a-f]{64})"`)

// approveSeen approves what the page shows.
func approveSeen(ctx context.Context, p *softwarePerson, page string) error {
	_, body, err := p.open(ctx, page)
	if err != nil {
		return err
	}
	m := digest.FindStringSubmatch(body)
	if m == nil {
		return errors.New("the page shows no digest")
	}
	return p.decide(ctx, page[strings.LastIndex(page, "/")+1:], m[1])
}

var frozen = regexp.MustCompile(`name="id" value="(frz_[0-9a-z]+)"`)

// unfreezeSeen lifts the freeze that the page shows.
func unfreezeSeen(ctx context.Context, p *softwarePerson, page string) error {
	_, body, err := p.open(ctx, page)
	if err != nil {
		return err
	}
	m := frozen.FindStringSubmatch(body)
	if m == nil {
		return errors.New("the page shows no freeze")
	}
	return p.unfreeze(ctx, m[1])
}

// A token is not put on a screen unasked.
func TestTokenOnTerminal(t *testing.T) {
	r := &run{terminal: &terminal{tty: true, out: io.Discard, err: io.Discard}, ctx: t.Context(), getenv: environment(nil)}
	if code := judge0((&tokenCommand{Connection: "github"}).Run(r)); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

// Each kind of failure has its exit code, over the socket and the network.
func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		method string
		want   int
	}{
		{"unauthenticated", problem(401, "invalid_token"), "GET", exitRefused},
		{"forbidden", problem(403, "not_allowed"), "POST", exitRefused},
		{"not found", problem(404, "agent_not_found"), "GET", exitNotFound},
		{"conflict", problem(409, "exists"), "POST", exitFailed},
		{"too many", problem(429, "too_many"), "POST", exitUnavailable},
		{"unavailable", problem(503, "audit_unavailable"), "POST", exitUnavailable},
		{"internal", problem(500, "internal"), "POST", exitFailed},
		{"a page of something else", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "GET", exitUnavailable},
		{"a redirect", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(307)
		}, "POST", exitUnavailable},
		{"a page that is no JSON", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "GET", exitUnavailable},
		{"an answer that is lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "POST", exitUnknown},
		{"a look whose answer is lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "GET", exitUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := quietServer(t, tc.answer)
			to := overNetwork(srv.URL+"/", secret.New("vks_test"))
			var out api.Agent
			err := to.ask(t.Context(), tc.method, "v1/admin/agents", nil, nil, &out)
			if got := judge0(err); got != tc.want {
				t.Errorf("exit code %d, want %d: %v", got, tc.want, err)
			}
			if err != nil && strings.Contains(err.Error(), "vks_test") {
				t.Errorf("the login is in the error: %v", err)
			}
		})
	}
	to := overNetwork("http://127.0.0.1:1/", secret.New("vks_test"))
	if _, err := change[api.Agent](t.Context(), to, "POST", "v1/admin/agents", api.AgentRequest{}); judge0(err) != exitUnavailable {
		t.Errorf("nobody there: %v", err)
	}
}
