package sandbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
	"golang.org/x/oauth2"
)

const (
	clientID     = "app_sandbox"
	clientSecret = "canary_client_secret_9a8b7c6d"
	callback     = "https://valetkey.test/connect/callback"
)

// bench is a sandbox behind a real listener, and how an application sees it.
type bench struct {
	*sandbox.Server
	url    string
	client *http.Client
	oauth  oauth2.Config
}

func start(t *testing.T, change ...func(*sandbox.Options)) *bench {
	t.Helper()
	o := sandbox.Options{ClientID: clientID, ClientSecret: secret.New(clientSecret), ClientName: "Valetkey", RedirectURIs: []string{callback}}
	for _, c := range change {
		c(&o)
	}
	s := sandbox.New(o)
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &bench{s, srv.URL, client, config(srv.URL)}
}

func config(base string) oauth2.Config {
	return oauth2.Config{
		ClientID: clientID, ClientSecret: clientSecret, RedirectURL: callback, Scopes: []string{"repo", "read:user"},
		Endpoint: oauth2.Endpoint{AuthURL: base + "/login/oauth/authorize", TokenURL: base + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

// said is an answer, read whole.
type said struct {
	status int
	header http.Header
	body   string
}

func (a said) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("answer %q: %v", a.body, err)
	}
}

// member reads one member of a JSON answer.
func (a said) member(t *testing.T, name string) any {
	t.Helper()
	var m map[string]any
	a.json(t, &m)
	return m[name]
}

// ask sends one request; token "" is anonymous, body "" is none.
func (b *bench) ask(t *testing.T, token secret.Text, method, path, body string, headers ...string) said {
	t.Helper()
	a, err := b.try(token, method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (b *bench) try(token secret.Text, method, path, body string, headers ...string) (said, error) {
	r, err := http.NewRequest(method, b.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return said{}, err
	}
	if !token.IsZero() {
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		return said{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return said{res.StatusCode, res.Header, string(text)}, err
}

func want(t *testing.T, a said, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %.400s", a.status, status, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Errorf("answer lacks %q: %.400s", p, a.body)
		}
	}
}
