package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// The binary under test is built by a child process, and what a child reads
	// is no part of a test's cache key. This import makes it one.
	_ "github.com/valetkey/valetkey/internal/cli"
)

// built is the binary, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func binary(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: the server does not build on Windows")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "valetkey-crash-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "valetkey")
		cmd := exec.Command("go", "build", "-o", built.path, "github.com/valetkey/valetkey/cmd/valetkey")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// server is the program with its files, over all its lives.
type server struct {
	t    *testing.T
	path string
	dir  string // of everything but the data
	data string
	url  string // public, with its trailing slash
	port int
	more []string // further arguments

	lives   int
	slowest time.Duration // from a start to ready
	now     *life
}

// life is one process of the server.
type life struct {
	number int
	began  time.Time
	cmd    *exec.Cmd
	once   sync.Once
	dead   chan struct{} // closed when the process is gone
	err    error         // how it ended; set when dead is closed
	killed bool          // by us; set before the signal is sent
	log    *os.File
}

func newServer(t *testing.T, dir string, more ...string) *server {
	t.Helper()
	s := &server{t: t, path: binary(t), dir: dir, data: filepath.Join(dir, "data"), port: quietPort(t), more: more}
	s.url = fmt.Sprintf("http://localhost:%d/", s.port)
	t.Cleanup(func() {
		if s.now != nil {
			s.now.kill()
		}
	})
	return s
}

// quietPort is a free port below those from which systems take the ports of
// outgoing connections: nobody else gets it while the server is dead.
func quietPort(t *testing.T) int {
	t.Helper()
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (s *server) sink() string   { return filepath.Join(s.dir, "outside", "checkpoints") }
func (s *server) logged() string { return filepath.Join(s.dir, "server.log") }

func (s *server) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_CONFIG_HOME=" + filepath.Join(s.dir, "config"), "NO_COLOR=1"}
}

// start begins a life, without waiting for it to be ready.
func (s *server) start() *life {
	s.t.Helper()
	s.lives++
	args := []string{
		"--data", s.data, "serve", "--listen", fmt.Sprintf("127.0.0.1:%d", s.port), "--public-url", s.url, "--operator", "socket",
		"--allow-internal", "127.0.0.0/8", "--checkpoint-sink", s.sink(),
	}
	l := &life{number: s.lives, began: time.Now(), cmd: exec.Command(s.path, append(args, s.more...)...), dead: make(chan struct{})}
	var err error
	if l.log, err = os.OpenFile(s.logged(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		s.t.Fatal(err)
	}
	l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr = s.env(), l.log, l.log
	if err := l.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		l.err = l.cmd.Wait()
		_ = l.log.Close() // it is only read after this
		close(l.dead)
	}()
	s.now = l
	return l
}

// kill ends the process at once and waits until it is gone.
func (l *life) kill() {
	l.once.Do(func() {
		select {
		case <-l.dead: // it ended by itself
		default:
			l.killed = true
			_ = l.cmd.Process.Kill()
		}
	})
	<-l.dead
}

// murdered reports whether the process ended by our signal and no other way.
func (l *life) murdered() bool {
	status, ok := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return l.killed && ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// patience is within how many seconds a restart has to work, on a machine that
// has other things to do.
const patience = 15 * time.Second

// ready waits until the present life serves.
func (s *server) ready() {
	s.t.Helper()
	l := s.now
	for {
		if s.answers("readyz") {
			break
		}
		select {
		case <-l.dead:
			s.t.Fatalf("life %d did not start: %v\n%s", l.number, l.err, s.tail())
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(l.began) > patience {
			s.t.Fatalf("life %d is not ready after %v\n%s", l.number, patience, s.tail())
		}
	}
	s.slowest = max(s.slowest, time.Since(l.began))
}

// stop asks the server to end, which it has to do by itself.
func (s *server) stop() {
	s.t.Helper()
	_ = s.now.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.now.dead:
	case <-time.After(patience):
		s.now.kill()
	}
	if s.now.err != nil {
		s.t.Errorf("the server ended with %v\n%s", s.now.err, s.tail())
	}
}

func (s *server) answers(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/%s", s.port, path), nil)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// tail is the end of the server's log.
func (s *server) tail() string {
	raw, err := os.ReadFile(s.logged())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// complaints are the lines of the log that say that somebody should look.
func (s *server) complaints() []string {
	raw, err := os.ReadFile(s.logged())
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for line := range bytes.Lines(raw) {
		if bytes.Contains(line, []byte("level=ERROR")) || bytes.Contains(line, []byte("panic:")) || bytes.Contains(line, []byte("DATA RACE")) {
			out = append(out, strings.TrimSpace(string(line)))
		}
	}
	return out
}

// cli runs a command on the server's data and returns its exit code and output.
func (s *server) cli(args ...string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.path, append([]string{"--data", s.data}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env(), &out, &out
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		s.t.Fatalf("valetkey %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// dialer reaches the operator socket.
func (s *server) dialer() func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(s.data, "operator.sock"))
	}
}

// slurp reads a whole answer and gives it back as one that cannot break off.
func slurp(res *http.Response) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	err = errors.Join(err, res.Body.Close())
	res.Body = io.NopCloser(bytes.NewReader(raw))
	return raw, err
}
