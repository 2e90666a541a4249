package peers_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api"
)

// server is the built binary, serving, and its command line.
type server struct {
	binary string
	url    string // public, without a trailing slash
	dir    string // home of the command line, parent of the data
	*process
}

// startServer starts the binary as an operator would, on a network where the
// emulator is an internal host.
func startServer(t *testing.T, binary string, at *port, scheme string, more ...string) *server {
	t.Helper()
	s := &server{binary: binary, url: fmt.Sprintf("%s://localhost:%d", scheme, at.n), dir: t.TempDir()}
	args := append([]string{"--data", s.data(), "serve", "--listen", fmt.Sprintf("127.0.0.1:%d", at.n), "--public-url", s.url,
		"--allow-internal", "127.0.0.0/8", "--checkpoint-sink", filepath.Join(s.dir, "checkpoints")}, more...)
	cmd := exec.Command(binary, args...)
	cmd.Env = s.env()
	at.release()
	s.process = start(t, "valetkey", cmd)
	s.says(t, "Valetkey serves "+s.url)
	return s
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_CONFIG_HOME=" + filepath.Join(s.dir, "config"), "NO_COLOR=1"}
}

// cli runs a command that must end with code.
func (s *server) cli(t *testing.T, code int, stdin string, args ...string) ran {
	t.Helper()
	r := run(t, strings.NewReader(stdin), s.env(), s.binary, append([]string{"--data", s.data()}, args...)...)
	if r.code != code {
		t.Fatalf("valetkey %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// json runs a command that must work, and decodes its answer.
func (s *server) json(t *testing.T, into any, stdin string, args ...string) {
	t.Helper()
	r := s.cli(t, 0, stdin, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("valetkey %s: %v\n%s", strings.Join(args, " "), err, r.stdout)
	}
}

// refused runs a command that must end with code, and returns why.
func (s *server) refused(t *testing.T, code int, args ...string) api.Problem {
	t.Helper()
	r := s.cli(t, code, "", append([]string{"--json"}, args...)...)
	var p api.Problem
	if err := json.Unmarshal([]byte(r.stderr), &p); err != nil {
		t.Fatalf("valetkey %s: %v\n%s", strings.Join(args, " "), err, r.stderr)
	}
	return p
}

// setProvider registers our OAuth client at the emulator.
func (s *server) setProvider(t *testing.T, e *emulator) {
	t.Helper()
	file := writeFile(t, filepath.Join(s.dir, "client-secret"), 0o600, []byte(appSecret+"\n"))
	var p api.Provider
	s.json(t, &p, "", "provider", "set", "github", "--client-id", appID, "--client-secret-file", file,
		"--api", e.url, "--web", e.url, "--internal")
	if want := s.redirectURI(); p.RedirectURI != want {
		t.Fatalf("redirect URI %s, want %s", p.RedirectURI, want)
	}
}

func (s *server) redirectURI() string { return s.url + "/connect/github/callback" }

// events counts what the audit log says of one kind, by one actor.
func (s *server) events(t *testing.T, verb, actor string) int {
	t.Helper()
	var page api.Page[api.Event]
	s.json(t, &page, "", "audit", "tail", "--verb", verb, "--actor", actor)
	return len(page.Items)
}

// keeps fails the test if a secret stands in a file of the server or in what
// it printed.
func (s *server) keeps(t *testing.T, secrets ...string) {
	t.Helper()
	look := func(where, text string) {
		for _, c := range secrets {
			if strings.Contains(text, c) {
				t.Errorf("%s holds %q", where, c)
			}
		}
	}
	look("the output", s.out.String())
	err := filepath.WalkDir(s.data(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(name)
		look(name, string(raw))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
