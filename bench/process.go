package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fact is one figure that has no ceiling.
type fact struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal"`
}

// commit names what is measured, with a mark when it was changed since; "" where
// there is no git to ask.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// idle is how long the server is left alone before its memory is read.
const idle = 3 * time.Second

// process builds the program as it is released and looks at it from outside.
func process(ctx context.Context, dir string, rounds int) ([]fact, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "valetkey")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "github.com/valetkey/valetkey/cmd/valetkey")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	var first, again, memory []float64
	for i := range rounds {
		data := filepath.Join(dir, strconv.Itoa(i), "data")
		// The first start makes database and keys; those that follow are what a
		// restart costs.
		took, _, err := launch(ctx, binary, data, 0)
		if err != nil {
			return nil, err
		}
		first = append(first, took)
		took, rss, err := launch(ctx, binary, data, idle)
		if err != nil {
			return nil, err
		}
		again, memory = append(again, took), append(memory, rss)
	}
	return []fact{
		{"start to ready", median(again), "ms", "≤ 150"},
		{"first start ever", median(first), "ms", ""},
		{"idle memory (RSS)", median(memory), "MiB", "≤ 45"},
		{"stripped binary", float64(info.Size()) / 1e6, "MB", "≤ 55"},
	}, nil
}

// launch starts the program, waits until it is ready, leaves it alone for a
// while, reads its memory and stops it.
func launch(ctx context.Context, binary, data string, rest time.Duration) (ms, mib float64, err error) {
	port, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	base := "http://localhost:" + port
	cmd := exec.CommandContext(ctx, binary, "serve", "--data", data, "--listen", "127.0.0.1:"+port, "--public-url", base)
	var said strings.Builder
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if waited := cmd.Wait(); err == nil && waited != nil {
			err = fmt.Errorf("the program ended with %w:\n%s", waited, said.String())
		}
	}()
	for {
		res, err := http.Get("http://127.0.0.1:" + port + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(begin) > 20*time.Second {
			return 0, 0, fmt.Errorf("the program is not ready after 20 s:\n%s", said.String())
		}
		time.Sleep(time.Millisecond)
	}
	ms = float64(time.Since(begin).Microseconds()) / 1e3
	time.Sleep(rest)
	mib, err = resident(cmd.Process.Pid)
	return ms, mib, err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// resident is the memory of a process, in MiB, as Linux counts it (proc(5)).
func resident(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d does not say how much memory it has", pid)
}

// clockTick is the unit of time in /proc/PID/stat on every Linux (proc(5)).
const clockTick = 10 * time.Millisecond

// spentBy is the processor time that a process has used, on all cores; 0 where
// the system does not say it as Linux does.
func spentBy(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; utime and stime are the 12th
	// and 13th field after it.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick
}

// median is the middle of the values, the lower one of two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[(len(v)-1)/2]
}
