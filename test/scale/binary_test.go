package scale_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// The binary under test is built by a child process, and what a child reads
	// is no part of a test's cache key. This import makes it one.
	_ "github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/config"
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
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "valetkey-scale-"); built.err != nil {
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

// process is the binary, serving what a stopped world left behind.
type process struct {
	t     *testing.T
	cfg   config.Config
	home  string
	cmd   *exec.Cmd
	log   *bytes.Buffer
	began time.Time
}

// serve starts the binary on the data of cfg and waits until it is ready.
func serve(t *testing.T, cfg config.Config) *process {
	t.Helper()
	p := &process{t: t, cfg: cfg, home: t.TempDir()}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.end(syscall.SIGKILL)
		}
	})
	p.start()
	return p
}

func (p *process) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.home, "XDG_CONFIG_HOME=" + p.home, "NO_COLOR=1"}
}

func (p *process) start() {
	p.t.Helper()
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(binary(p.t), "--data", p.cfg.Data, "serve", "--listen", p.cfg.Listen, "--public-url", p.cfg.PublicURL,
		"--operator", "socket", "--allow-internal", "127.0.0.0/8", "--checkpoint-sink", p.cfg.CheckpointSink)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env(), p.log, p.log
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(3 * time.Millisecond) {
		res, err := http.Get(p.cfg.PublicURL + "readyz")
		if err == nil {
			_ = res.Body.Close() // it is asked again if it was cut off
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			p.end(syscall.SIGKILL)
			p.t.Fatalf("not ready: %v\n%s", err, p.log)
		}
	}
}

// end sends a signal and waits until the process is gone.
func (p *process) end(signal os.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended by itself, which Wait tells
	err := p.cmd.Wait()
	if signal == syscall.SIGTERM && err != nil {
		p.t.Errorf("the server ended with %v\n%s", err, p.log)
	}
	p.cmd = nil
	http.DefaultClient.CloseIdleConnections()
}

var goroutine = regexp.MustCompile(`(?m)^goroutine \d+ `)

// quit ends the process with the stacks of all its goroutines, and counts them.
func (p *process) quit() int {
	p.end(syscall.SIGQUIT)
	return len(goroutine.FindAll(p.log.Bytes(), -1))
}

// cli runs a command on the server's data.
func (p *process) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(p.t), append([]string{"--data", p.cfg.Data}, args...)...)
	cmd.Env = p.env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// call asks the API as whoever holds bearer, and decodes the answer.
func (p *process) call(method, path, bearer string, body, into any) error {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.cfg.PublicURL+strings.TrimPrefix(path, "/"), r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %.300s", method, path, res.StatusCode, raw)
	}
	return json.Unmarshal(raw, into)
}
