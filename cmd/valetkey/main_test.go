package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"valetkey": func() { os.Exit(run()) }})
}

// TestScripts drive the program alone: grammar, settings, keys, exit codes,
// and servers that it starts itself.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { return home(e) },
		Cmds:  commands(),
	})
}

// TestFlows drive the program against a whole Valetkey, with the sandbox as
// its upstream, an owner called mira, and her account.
func TestFlows(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/flow",
		Setup: func(e *testscript.Env) error {
			if err := home(e); err != nil {
				return err
			}
			return world(t, e)
		},
		Cmds: commands(),
	})
}

// home keeps a script's logins and defaults inside its own directory.
func home(e *testscript.Env) error {
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
	return nil
}

// world starts a server whose operator trusts command lines, so that scripts
// go through everything; what the default refuses is in the refusal scripts.
func world(t *testing.T, e *testscript.Env) error {
	operator := "socket"
	if strings.Contains(e.WorkDir, "script-passkey") {
		operator = "passkey"
	}
	w := vktest.New(t, func(cfg *config.Config, _ *sandbox.Options) { cfg.Operator = operator })
	mira := w.Person("mira")
	w.Link(mira, "octocat")
	e.Setenv("DATA", w.Config.Data)
	e.Setenv("URL", strings.TrimSuffix(w.URL, "/"))
	e.Setenv("UPSTREAM", w.Upstream)
	e.Values[worldKey{}] = w
	return storeLogin(e, w, mira)
}

type worldKey struct{}

// storeLogin does what `valetkey login` does, without its waiting.
func storeLogin(e *testscript.Env, w *vktest.World, p user.Principal) error {
	ctx := context.Background()
	now := time.Now()
	code, d, err := w.App.Users.BeginDevice(ctx, user.Peer{From: netip.MustParseAddr("127.0.0.1"), Label: "script"}, now)
	if err != nil {
		return err
	}
	w.LetIn(p, d)
	l, err := w.App.Users.PollDevice(ctx, code, now)
	if err != nil {
		return err
	}
	file := map[string]any{"current": w.URL, "servers": map[string]any{w.URL: map[string]string{"user": p.Name, "token": l.Bearer.Reveal()}}}
	raw, err := json.Marshal(file)
	if err != nil {
		return err
	}
	path := filepath.Join(e.WorkDir, "login.json")
	e.Setenv("VALETKEY_LOGIN_FILE", path)
	return os.WriteFile(path, raw, 0o600)
}

// commands are what scripts need beside the program.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"port":     freePort,
		"ready":    ready,
		"appears":  appears,
		"mode":     mode,
		"capture":  capture,
		"upstream": upstream,
		"token":    personalToken,
	}
}

// freePort NAME sets NAME to a port that nobody listens on.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(errors.Join(err, l.Close()))
	ts.Setenv(args[0], port)
}

// ready URL waits until a server answers there.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready URL")
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(args[0] + "/readyz")
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
	ts.Fatalf("no server at %s", args[0])
}

// appears PATTERN waits until a file of such a name is there.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears PATTERN")
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found, err := filepath.Glob(ts.MkAbs(args[0])); err == nil && len(found) > 0 {
			return
		}
	}
	ts.Fatalf("no %s", args[0])
}

// mode FILE BITS checks a file's permissions.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: mode FILE BITS")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); (got == args[1]) == neg {
		ts.Fatalf("%s has mode %s", args[0], got)
	}
}

// capture NAME PATH sets NAME to a member of the JSON on standard output:
// items.0.id.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, step := range strings.Split(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			var n int
			if _, err := fmt.Sscan(step, &n); err != nil || n >= len(at) {
				ts.Fatalf("no %s in the output", args[1])
			}
			v = at[n]
		default:
			ts.Fatalf("no %s in the output", args[1])
		}
	}
	s, ok := v.(string)
	if !ok {
		ts.Fatalf("%s is %v", args[1], v)
	}
	ts.Setenv(args[0], s)
}

// upstream METHOD PATH COUNT checks how many calls the sandbox received.
func upstream(ts *testscript.TestScript, neg bool, args []string) {
	w, ok := ts.Value(worldKey{}).(*vktest.World)
	if !ok || len(args) != 3 {
		ts.Fatalf("usage: upstream METHOD PATH COUNT")
	}
	if got := fmt.Sprint(w.Sandbox.Count(args[0], args[1])); (got == args[2]) == neg {
		ts.Fatalf("the sandbox received %s %s %s times", args[0], args[1], got)
	}
}

// token FILE writes a personal token of hubot to a file that others cannot
// read.
func personalToken(ts *testscript.TestScript, neg bool, args []string) {
	w, ok := ts.Value(worldKey{}).(*vktest.World)
	if !ok || neg || len(args) != 1 {
		ts.Fatalf("usage: token FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(w.Sandbox.PersonalToken("hubot", "repo").Reveal()+"\n"), 0o600))
}
