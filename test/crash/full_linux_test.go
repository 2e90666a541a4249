package crash_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// What cannot be recorded does not happen, and when there is room again it
// does. A full disk is real where the test may mount one; a limit on the size
// of files stands in for it everywhere.
func TestDiskFull(t *testing.T) {
	t.Run("tmpfs", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=24m,mode=0700"); err != nil {
			t.Skipf("SKIPPED, no file system may be mounted here: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		ballast := filepath.Join(at, "ballast")
		testDiskFull(t, filepath.Join(at, "data"), func(*world) { fill(t, ballast) }, func(*world) {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("limit", func(t *testing.T) {
		limiter, err := exec.LookPath("prlimit")
		if err != nil {
			t.Skip("SKIPPED: prlimit is not installed")
		}
		limit := func(w *world, soft string) {
			t.Helper()
			out, err := exec.Command(limiter, "--pid", fmt.Sprint(w.srv.now.cmd.Process.Pid), "--fsize="+soft+":unlimited").CombinedOutput()
			if err != nil {
				t.Fatalf("prlimit: %v: %s", err, out)
			}
		}
		testDiskFull(t, "", func(w *world) {
			info, err := os.Stat(filepath.Join(w.srv.data, "valetkey.db-wal"))
			if err != nil {
				t.Fatal(err)
			}
			limit(w, fmt.Sprint(info.Size()))
		}, func(w *world) { limit(w, "unlimited") })
	})
}

// fill takes all the room there is.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		_, err := f.Write(chunk)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			chunk = chunk[:len(chunk)/2]
		case err != nil:
			t.Fatal(err)
		}
	}
}

// write asks for one write, once, and says what was answered.
func (w *world) write(in *intent) (status int, why string) {
	w.t.Helper()
	token, err := in.agent.Token(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := ask[api.ActionResult](w, &http.Client{Transport: w.net, Timeout: time.Minute}, http.MethodPost, w.srv.url+"v1/actions", token.Access.Reveal(), api.ActionRequest{
		Connection: in.con, Operation: "github.issues.create_comment", IdempotencyKey: in.marker,
		Params: map[string]any{"owner": "octocat", "repo": "hello-world", "number": 1, "body": in.body},
	})
	if p, refused := errors.AsType[*problem](err); refused {
		return p.status, p.reason
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Status, "" // of the upstream; a held action has none
}

// done is how often the upstream did an intent, and how many calls it had.
func (w *world) done(in *intent) (times, calls int) {
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	return len(w.up.writes[in.marker]), len(w.up.calls)
}

func testDiskFull(t *testing.T, data string, full, free func(*world)) {
	srv := newServer(t, t.TempDir())
	if data != "" {
		srv.data = data
	}
	w := newWorld(t, srv, 1, time.Hour)
	ask := func(a *agent) *intent {
		in := &intent{marker: w.mark("full"), agent: a, con: w.pat}
		in.body = in.marker
		return in
	}
	held, first := ask(w.asker), ask(w.writer)
	for _, in := range []*intent{held, first} {
		w.submit(t.Context(), w.book.want(in))
	}
	// Tokens of everybody who will ask while the disk is full.
	if _, err := w.keeper.Exchange(t.Context(), client.ExchangeRequest{User: w.user.ID, Connection: w.cons["ada"], AuditContext: "full"}); err != nil || first.status != http.StatusCreated {
		t.Fatalf("before the disk is full: %d, %v", first.status, err)
	}
	var all []*intent
	try := func() (status int) {
		t.Helper()
		in := ask(w.writer)
		all = append(all, in)
		_, before := w.done(in)
		status, why := w.write(in)
		times, calls := w.done(in)
		switch {
		case status == http.StatusCreated && times == 1:
		case status == http.StatusServiceUnavailable && why == "storage_unavailable" && times == 0 && calls == before:
		default:
			t.Errorf("answered %d (%s), done %d times, %d calls of the upstream", status, why, times, calls-before)
		}
		return status
	}

	full(w)
	for n := 0; try() != http.StatusServiceUnavailable; n++ {
		if n == 2000 {
			t.Fatal("the disk never got full")
		}
	}
	refused := 0
	for range 20 {
		if try() == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused == 0 {
		t.Error("only one write was refused")
	}
	if status, why := w.write(ask(w.asker)); status != http.StatusServiceUnavailable {
		t.Errorf("a write that would be held: %d %s", status, why)
	}
	_, err := w.keeper.Exchange(t.Context(), client.ExchangeRequest{User: w.user.ID, Connection: w.cons["ada"], AuditContext: "full"})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusServiceUnavailable {
		t.Errorf("an exchange: %v", err)
	}
	look, err := w.look(w.asker, held.action)
	if err != nil || look.State != api.StatePending {
		t.Errorf("what was held before: %s, %v", look.State, err)
	}
	if err := w.mira.decide(t.Context(), &look, true); reason(err) != "storage_unavailable" {
		t.Errorf("a decision: %v", err)
	}
	// The one thing that needs no room in the database: it has a journal outside.
	f, err := operator[api.Freeze](w, http.MethodPost, "v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "idle", Reason: "full"})
	if err != nil {
		t.Errorf("a freeze: %v", err)
	}

	free(w)
	began := time.Now()
	for try() != http.StatusCreated {
		if time.Since(began) > patience {
			t.Fatal("it never works again")
		}
		time.Sleep(20 * ms)
	}
	t.Logf("%d writes, works again after %v", len(all), time.Since(began).Round(ms))
	w.decide(t.Context(), held, true)
	w.awaitHeld(t.Context())
	if times, _ := w.done(held); times != 1 || held.saw != api.StateSucceeded {
		t.Errorf("what was held before ended %s and was done %d times", held.saw, times)
	}
	w.book.do(func() { w.book.freezes[f.ID] = "thrown" })
	srv.now.kill()
	w.forget()
	w.checkpointBehind()
	srv.start()
	srv.ready()
	w.check()
	w.checkLog()
	if code, out := srv.cli("audit", "verify"); code != 0 {
		t.Errorf("valetkey audit verify: exit %d\n%s", code, out)
	}
	if try() != http.StatusCreated {
		t.Error("nothing works after the restart")
	}
	srv.stop()
}
