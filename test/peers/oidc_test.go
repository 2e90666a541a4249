package peers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
)

// testSignIn lets people in by a certified identity provider: by an invitation,
// again by what that linked, and once more with a fresh login.
func testSignIn(t *testing.T, node, binary string) {
	const clientID, clientSecret = "valetkey", "secret-of-our-client-at-the-identity-provider-5d1c"
	idp, at := freePort(t), freePort(t)
	issuer := fmt.Sprintf("http://localhost:%d", idp.n)
	script, err := filepath.Abs("oidc.mjs")
	if err != nil {
		t.Fatal(err)
	}
	idp.release()
	cmd := exec.Command(node, script, fmt.Sprint(idp.n), fmt.Sprintf("http://localhost:%d/signin/callback", at.n), clientID, clientSecret)
	start(t, "oidc-provider", cmd).says(t, "listening as "+issuer)
	file := writeFile(t, filepath.Join(t.TempDir(), "oidc-secret"), 0o600, []byte(clientSecret+"\n"))
	s := startServer(t, binary, at, "http", "--oidc-issuer", issuer, "--oidc-client-id", clientID, "--oidc-client-secret-file", file, "--oidc-name", "Peer")

	var added api.UserCreated
	s.json(t, &added, "", "user", "add", "misa", "--role", "member")
	misa := newSurfer(t, s.url)
	invite := added.EnrolmentURL[strings.LastIndex(added.EnrolmentURL, "/")+1:]
	misa.login(misa.post("/signin/invited", map[string]string{"invite": invite}), "misa-at-the-provider")
	if page := misa.get(s.url + "/you"); !strings.Contains(page, "misa-at-the-provider") {
		t.Fatal("the page of who was invited does not name the account")
	}

	// Somebody whom nobody let in here stays outside, and the same account in
	// another browser is the same person.
	mallory := newSurfer(t, s.url)
	mallory.login(mallory.post("/signin", map[string]string{"return_to": "/you"}), "mallory")
	if page := mallory.get(s.url + "/you"); strings.Contains(page, "<h1>You</h1>") {
		t.Error("somebody without an account here is logged in")
	}
	again := newSurfer(t, s.url)
	again.login(again.post("/signin", map[string]string{"return_to": "/you"}), "misa-at-the-provider")
	if page := again.get(s.url + "/you"); !strings.Contains(page, "<h1>You</h1>") || !strings.Contains(page, "confirm that it is you") {
		t.Error("the account does not let its person in, or counts as a fresh login")
	}
	// Logged in at the provider already, its person is asked again: max_age=0.
	logins := again.logins
	again.login(again.post("/signin/again", map[string]string{}), "misa-at-the-provider")
	if page := again.get(s.url + "/you"); again.logins != logins+1 || strings.Contains(page, "confirm that it is you") {
		t.Errorf("a fresh login was asked for %d times, or is not taken for one", again.logins-logins)
	}
	s.keeps(t, clientSecret)
}

// surfer is a browser without scripts, and the person before it.
type surfer struct {
	t      *testing.T
	home   string
	http   *http.Client
	logins int // how often the provider asked who it is
}

func newSurfer(t *testing.T, home string) *surfer {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &surfer{t: t, home: home, http: &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

func (b *surfer) do(req *http.Request) (string, *url.URL) {
	b.t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(raw), res.Request.URL
}

func (b *surfer) get(address string) string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	page, _ := b.do(req)
	return page
}

var csrf = regexp.MustCompile(`<meta name="valetkey-csrf" content="([^"]+)">`)

// post sends a form of ours as its page does, and returns where it leads.
func (b *surfer) post(path string, in any) string {
	b.t.Helper()
	m := csrf.FindStringSubmatch(b.get(b.home + "/login"))
	if m == nil {
		m = csrf.FindStringSubmatch(b.get(b.home + "/you"))
	}
	body, err := json.Marshal(in)
	if err != nil || m == nil {
		b.t.Fatalf("no form token, %v", err)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.home+path, strings.NewReader(string(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Valetkey-Csrf": {m[1]}, "Sec-Fetch-Site": {"same-origin"}}
	raw, _ := b.do(req)
	var out struct{ Location, Reason string }
	if err := json.Unmarshal([]byte(raw), &out); err != nil || out.Location == "" {
		b.t.Fatalf("POST %s: %s %v", path, raw, err)
	}
	return out.Location
}

var form = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)

// login goes where it was sent and does what the provider's pages ask, until
// it is back here.
func (b *surfer) login(address, as string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for range 6 {
		page, at := b.do(req)
		if strings.HasPrefix(at.String(), b.home) {
			return
		}
		m := form.FindStringSubmatch(page)
		if m == nil {
			b.t.Fatalf("the provider's page has no form: %.600s", page)
		}
		to, err := at.Parse(m[1])
		if err != nil {
			b.t.Fatal(err)
		}
		values := url.Values{"prompt": {"consent"}}
		if strings.Contains(page, `name="login"`) {
			values = url.Values{"prompt": {"login"}, "login": {as}, "password": {"anything"}}
			b.logins++
		}
		if req, err = http.NewRequestWithContext(b.t.Context(), http.MethodPost, to.String(), strings.NewReader(values.Encode())); err != nil {
			b.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	b.t.Fatal("the provider asks without an end")
}
