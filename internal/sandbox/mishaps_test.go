package sandbox_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
)

const comments = "/repos/octo/api/issues/1/comments"

// A lost answer belongs to a request that was performed, once.
func TestDropAnswers(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	b.ask(t, octocat, "GET", "/user", "") // the connection is kept alive
	b.DropAnswers("/repos/", 1)
	if a, err := b.try(octocat, "POST", comments, `{"body":"lost"}`); err == nil {
		t.Fatalf("answered: %d %s", a.status, a.body)
	}
	want(t, b.ask(t, octocat, "GET", comments, ""), 200, `"body":"lost"`)
	if n := b.Count("POST", comments); n != 1 {
		t.Errorf("%d comments were received", n)
	}
	for _, c := range b.Ledger() {
		if c.Dropped != (c.Method == "POST") || c.Method == "POST" && c.Status != 201 {
			t.Errorf("%s %s: dropped %v, status %d", c.Method, c.Path, c.Dropped, c.Status)
		}
	}
}

func TestFailRedirectEcho(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	b.Fail("/repos/", 502, 2)
	want(t, b.ask(t, octocat, "POST", comments, `{"body":"x"}`), 502, "Bad Gateway")
	want(t, b.ask(t, octocat, "GET", "/user", ""), 200)
	want(t, b.ask(t, octocat, "POST", comments, `{"body":"x"}`), 502)
	if a := b.ask(t, octocat, "GET", comments, ""); strings.Contains(a.body, `"body":"x"`) {
		t.Error("a failed call was performed")
	}
	b.RedirectTo("/repos/", "http://169.254.169.254/latest")
	a := b.ask(t, octocat, "POST", comments, `{"body":"x"}`)
	if a.status != 302 || a.header.Get("Location") != "http://169.254.169.254/latest" {
		t.Errorf("%d to %q", a.status, a.header.Get("Location"))
	}
	b.RedirectTo("/repos/", "")
	b.EchoCredential(true)
	a = b.ask(t, octocat, "POST", comments, `{"body":"x"}`)
	if credential := "Bearer " + octocat.Reveal(); a.member(t, "authorization") != credential || a.header.Get("X-Echo-Authorization") != credential {
		t.Errorf("no echo: %d", a.status)
	}
	b.EchoCredential(false)
	want(t, b.ask(t, octocat, "GET", comments, ""), 200, `"body":"x"`)
}

func TestDelayAnswersLate(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	b.Delay("/repos/", time.Hour)
	b.client.Timeout = 50 * time.Millisecond
	if _, err := b.try(octocat, "POST", comments, `{"body":"slow"}`); err == nil {
		t.Fatal("answered at once")
	}
	b.Delay("/repos/", 0)
	b.client.Timeout = 0
	want(t, b.ask(t, octocat, "GET", comments, ""), 200, `"body":"slow"`)
}

// The rotation happened, the client does not know it: what it holds is dead.
func TestLoseRefreshAnswer(t *testing.T) {
	b := start(t)
	token := b.connect(t, "octocat")
	b.LoseRefreshAnswer(1)
	form := refreshForm(token.RefreshToken).Encode()
	if a, err := b.try(secret.Text{}, "POST", "/login/oauth/access_token", form, "Content-Type", "application/x-www-form-urlencoded"); err == nil {
		t.Fatalf("answered: %d", a.status)
	}
	if b.works(t, token.AccessToken) {
		t.Error("the old access token still works")
	}
	refused(t, b.post(t, refreshForm(token.RefreshToken)), "bad_refresh_token")
}

func TestLedger(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	body := `{"body":"counted"}`
	b.ask(t, octocat, "POST", comments, body, "Accept", "application/vnd.github+json")
	b.ask(t, secret.Text{}, "GET", "/repos/octo%2Fapi/x?q=1", "")
	b.ask(t, secret.Text{}, "GET", "/_ledger", "")
	calls := b.Ledger()
	if len(calls) != 2 {
		t.Fatalf("%d calls: %+v", len(calls), calls)
	}
	sum := sha256.Sum256([]byte(body))
	wantCalls := []sandbox.Call{
		{
			Method: "POST", Path: comments, Headers: []string{"Accept", "Accept-Encoding", "Authorization", "Content-Length", "User-Agent"},
			Body: []byte(body), BodySize: len(body), BodyHash: hex.EncodeToString(sum[:]), Login: "octocat", Status: 201,
		},
		{
			Method: "GET", Path: "/repos/octo%2Fapi/x", Query: "q=1", Headers: []string{"Accept-Encoding", "User-Agent"},
			Body: []byte{}, BodyHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Status: 404,
		},
	}
	for i := range calls {
		if time.Since(calls[i].At) > time.Minute {
			t.Errorf("at %s", calls[i].At)
		}
		calls[i].At = time.Time{}
	}
	if diff := cmp.Diff(wantCalls, calls); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		method, prefix string
		n              int
	}{{"POST", "/repos/octo/api", 1}, {"", "/repos/", 2}, {"GET", "/user", 0}, {"", "", 2}} {
		if got := b.Count(c.method, c.prefix); got != c.n {
			t.Errorf("Count(%q, %q) = %d, want %d", c.method, c.prefix, got, c.n)
		}
	}
	want(t, b.ask(t, secret.Text{}, "GET", "/_ledger", "", "Accept", "application/json"), 200, `"path":"`+comments+`"`, `"login":"octocat"`)
	want(t, b.ask(t, secret.Text{}, "GET", "/_ledger", "", "Accept", "text/html"), 200, comments, "counted")
}

// Neither the log nor the ledger nor its pages hold a credential.
func TestNothingSecretIsKept(t *testing.T) {
	var log bytes.Buffer
	b := start(t, func(o *sandbox.Options) {
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	code, verifier := b.code(t, "octocat")
	token := b.connect(t, "octocat")
	personal := b.PersonalToken("octocat")
	b.ask(t, personal, "POST", comments, `{"body":"x"}`)
	var second struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	b.post(t, refreshForm(token.RefreshToken)).json(t, &second)
	b.post(t, refreshForm(token.RefreshToken))
	kept := fmt.Sprintf("%+v", b.Ledger()) + log.String()
	for _, c := range b.Ledger() {
		kept += string(c.Body)
	}
	kept += b.ask(t, secret.Text{}, "GET", "/_ledger", "").body + b.ask(t, secret.Text{}, "GET", "/_ledger", "", "Accept", "application/json").body
	if !strings.Contains(kept, "sandbox call") || !strings.Contains(kept, comments) {
		t.Fatal("nothing was kept at all")
	}
	for name, s := range map[string]string{
		"client secret": clientSecret, "code": code, "verifier": verifier, "access token": token.AccessToken, "refresh token": token.RefreshToken,
		"second access token": second.Access, "second refresh token": second.Refresh, "personal token": personal.Reveal(),
	} {
		if s == "" || strings.Contains(kept, s) {
			t.Errorf("the %s was kept, or never existed", name)
		}
	}
}

// Pages show what agents wrote as text, whatever it is.
func TestPagesEscape(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	b.ask(t, octocat, "POST", "/repos/octo/api/issues", `{"title":"<script>alert(1)</script>","body":"<img src=x onerror=alert(2)>","labels":["<svg onload=alert(3)>"]}`)
	b.ask(t, octocat, "POST", "/repos/octo/api/issues/4/comments", `{"body":"\"><script>alert(4)</script>"}`)
	for _, path := range []string{"/", "/octo/api", "/octo/api/issues", "/octo/api/issues/4", "/octo/api/pull/3", "/_sandbox/live/octo/api/4", "/_ledger"} {
		a := b.ask(t, secret.Text{}, "GET", path, "", "Accept", "text/html")
		want(t, a, 200)
		for _, bad := range []string{"<script>", "<img", "<svg"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s holds %s", path, bad)
			}
		}
		if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	want(t, b.ask(t, secret.Text{}, "GET", "/octo/api/issues/4", ""), 200, "&lt;script&gt;alert(4)", "&lt;img src=x")
	want(t, b.ask(t, secret.Text{}, "GET", "/octo/none", "", "Accept", "text/html"), 404, "Nothing here")
	for _, asset := range []string{"/_sandbox/style.css", "/_sandbox/live.js"} {
		if a := b.ask(t, secret.Text{}, "GET", asset, ""); a.status != http.StatusOK || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d", asset, a.status)
		}
	}
}

func TestConcurrentCallsAreCounted(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 10 {
				b.try(octocat, "POST", comments, fmt.Sprintf(`{"body":"%d.%d"}`, i, j))
				b.Ledger()
			}
		})
	}
	wg.Wait()
	if n := b.Count("POST", comments); n != 40 {
		t.Errorf("%d calls counted", n)
	}
	want(t, b.ask(t, octocat, "GET", "/repos/octo/api/issues/1", ""), 200, `"comments":42`)
}
