package peers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// The binary under test is built by a child process, and what a child reads
	// is no part of a test's cache key. This import makes it one.
	_ "github.com/valetkey/valetkey/internal/cli"
)

// TestPeers builds the binary once, and lets each peer meet it.
func TestPeers(t *testing.T) {
	node := needNode(t)
	binary := build(t)
	t.Run("github", func(t *testing.T) { testGitHub(t, node, binary) })
	t.Run("sign-in", func(t *testing.T) { testSignIn(t, node, binary) })
	t.Run("worker", func(t *testing.T) { testWorker(t, node, binary) })
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "valetkey")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/valetkey/valetkey/cmd/valetkey")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// lacking skips the test, or fails it where VALETKEY_REQUIRE names what is
// missing.
func lacking(t *testing.T, kind, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if slices.Contains(strings.Split(os.Getenv("VALETKEY_REQUIRE"), ","), kind) {
		t.Fatalf("VALETKEY_REQUIRE names %s: %s", kind, what)
	}
	t.Skipf("SKIPPED for want of %s: %s", kind, what)
}

// needNode returns the path of Node, whose packages are installed as pinned.
func needNode(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		lacking(t, "peers", "node is not installed; on Debian: apt-get install nodejs npm")
	}
	var want struct{ Dependencies map[string]string }
	readJSON(t, "package.json", &want)
	if len(want.Dependencies) == 0 {
		t.Fatal("package.json pins nothing")
	}
	for name, version := range want.Dependencies {
		var have struct{ Version string }
		raw, err := os.ReadFile(filepath.Join("node_modules", name, "package.json"))
		if err == nil {
			err = json.Unmarshal(raw, &have)
		}
		if err != nil || have.Version != version {
			lacking(t, "peers", "%s %s is not installed; run: make setup", name, version)
		}
	}
	// The scripts are read by Node only; looking at them here makes a change to
	// them run the tests again.
	for _, script := range []string{"github.mjs", "receipt.mjs", "worker.cjs", "oidc.mjs", "package-lock.json"} {
		if _, err := os.ReadFile(script); err != nil {
			t.Fatal(err)
		}
	}
	return node
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func writeFile(t *testing.T, name string, mode os.FileMode, content []byte) string {
	t.Helper()
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// port is a free one, held until it is released to who listens on it.
type port struct {
	l net.Listener
	n int
}

func freePort(t *testing.T) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &port{l, l.Addr().(*net.TCPAddr).Port}
}

func (p *port) release() { _ = p.l.Close() }

// process is a server that runs until the test ends.
type process struct {
	name string
	out  *output
	done chan struct{}
	err  error // how it ended; set when done is closed
}

// start starts cmd. At the end of the test it is asked to stop, and has to do
// so by itself; what it said is shown if the test failed.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, out: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Kill()
			<-p.done
			t.Errorf("%s did not stop when asked to", name)
		}
		if p.err != nil {
			t.Errorf("%s ended: %v", name, p.err)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.out)
		}
	})
	return p
}

// says waits until the process has printed text.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		more := p.out.more()
		if strings.Contains(p.out.String(), text) {
			return
		}
		select {
		case <-more:
		case <-p.done:
			t.Fatalf("%s ended (%v) before it said %q:\n%s", p.name, p.err, text, p.out)
		case <-late:
			t.Fatalf("%s never said %q:\n%s", p.name, text, p.out)
		}
	}
}

// output collects what a process prints.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{}
}

func newOutput() *output { return &output{wrote: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.wrote)
	o.wrote = make(chan struct{})
	return len(p), nil
}

// more is closed at the next write.
func (o *output) more() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wrote
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
}

// run runs a command to its end.
func run(t *testing.T, stdin io.Reader, env []string, name string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, err strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = stdin, &out, &err, env
	failed := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](failed); failed != nil && !exited || ctx.Err() != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), errors.Join(failed, ctx.Err()), err.String())
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), err.String()}
}

// script runs one of our Node programs and decodes what it prints.
func script(t *testing.T, node string, env []string, into any, args ...string) {
	t.Helper()
	r := run(t, nil, append(os.Environ(), env...), node, args...)
	if r.code != 0 {
		t.Fatalf("node %s: exit %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, r.stdout)
	}
}
