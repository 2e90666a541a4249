package peers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// emulator is a GitHub with two people and one repository.
type emulator struct {
	node string
	url  string
	*process
}

// title is what people here call it: an instance of GitHub that is not the one
// of the catalogue carries its host.
func (e *emulator) title() string {
	return "GitHub (" + strings.TrimPrefix(e.url, "http://") + ")"
}

// What the emulator is seeded with. Its own tokens are those of people who use
// GitHub without us.
const (
	appID     = "Iv1.valetkey"
	appSecret = "secret-of-the-oauth-app-c41f"
	octoToken = "ghp_octo_by_hand_77d0"
	misaToken = "ghp_misa_by_hand_19aa"
)

func startEmulator(t *testing.T, node string, at *port, redirectURI string) *emulator {
	t.Helper()
	type object = map[string]any
	seed, err := json.Marshal(object{
		"tokens": object{
			octoToken: object{"login": "octo", "scopes": []string{"repo", "read:user"}},
			misaToken: object{"login": "misa", "scopes": []string{"repo", "read:user"}},
		},
		"github": object{
			"users": []object{
				{"login": "misa", "name": "Misa Example", "email": "misa@example.com"},
				{"login": "octo", "name": "Octo Example", "email": "octo@example.com"},
			},
			"repos":      []object{{"owner": "octo", "name": "api", "language": "Go", "auto_init": true}},
			"oauth_apps": []object{{"client_id": appID, "client_secret": appSecret, "name": "Valetkey", "redirect_uris": []string{redirectURI}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "seed.json"), 0o600, seed)
	cli, err := filepath.Abs("node_modules/emulate/dist/index.js")
	if err != nil {
		t.Fatal(err)
	}
	e := &emulator{node: node, url: fmt.Sprintf("http://127.0.0.1:%d", at.n)}
	at.release()
	e.process = start(t, "emulate", exec.Command(node, cli, "start",
		"--service", "github", "--port", strconv.Itoa(at.n), "--base-url", e.url, "--seed", file))
	// It prints its banner before it listens.
	e.says(t, e.url)
	e.listens(t)
	return e
}

func (e *emulator) listens(t *testing.T) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/user", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+octoToken)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Fatalf("the emulator answers its own token with %s", res.Status)
			}
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-e.done:
			t.Fatalf("the emulator ended: %v\n%s", e.err, e.out)
		case <-late:
			t.Fatalf("the emulator does not answer: %v", err)
		}
	}
}

// issue and comment are what of GitHub's shapes is looked at.
type issue struct {
	Number int
	Title  string
}

type comment struct {
	Body string
	User struct{ Login string }
}

// ask asks the emulator through Octokit, as misa, who has nothing to do with us.
func (e *emulator) ask(t *testing.T, into any, args ...string) {
	t.Helper()
	script(t, e.node, []string{"GITHUB_API=" + e.url, "GITHUB_TOKEN=" + misaToken}, into, append([]string{"github.mjs"}, args...)...)
}

func (e *emulator) open(t *testing.T, title string) issue {
	t.Helper()
	var i issue
	e.ask(t, &i, "open", "octo", "api", title)
	return i
}

func (e *emulator) comments(t *testing.T, number int) []comment {
	t.Helper()
	var all []comment
	e.ask(t, &all, "comments", "octo", "api", strconv.Itoa(number))
	return all
}
