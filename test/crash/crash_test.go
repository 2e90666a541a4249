package crash_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/store/storetest"
)

// cluster is the PostgreSQL server of this test binary.
var cluster storetest.Cluster

// point is where lives end.
type point struct {
	flow, name string
	spot       string        // for the trap; "" is a random instant
	spread     time.Duration // up to so long after the spot
}

const ms = time.Millisecond

// points reach the fault points of testdata, and those of connecting, ending
// and starting that are not listed there.
var points = []point{
	{"broker-execution", "intent row written", "sent:submit", 6 * ms},
	{"broker-execution", "approval consumed", "read:decide", 8 * ms},
	{"broker-execution", "credential injected, bytes on the wire partly", "up:write:headers", 0},
	{"broker-execution", "upstream executed, response lost", "up:write:performed", 0},
	{"broker-execution", "response received, before outcome row", "up:write:answered", 2 * ms},
	{"broker-execution", "outcome row committed, before reply", "up:write:answered", 10 * ms},
	{"broker-execution", "reply lost, agent retries with the same idempotency key", "first:submit", 0},
	{"refresh-rotation", "before lease acquired", "sent:vend", 3 * ms},
	{"refresh-rotation", "after lease, before request sent", "sent:vend", 8 * ms},
	{"refresh-rotation", "request sent, upstream not yet rotated", "up:refresh:arrived", 0},
	{"refresh-rotation", "upstream rotated, response lost", "up:refresh:performed", 0},
	{"refresh-rotation", "response received, before DB commit", "up:refresh:answered", 0},
	{"refresh-rotation", "during DB commit", "up:refresh:answered", 3 * ms},
	{"refresh-rotation", "after commit, before cache publish", "up:refresh:answered", 8 * ms},
	{"refresh-rotation", "after publish, before reply to the agent", "up:read:arrived", 0},
	{"approval", "request created, notification not sent", "read:submit", 2 * ms},
	{"approval", "decision received, before commit", "sent:decide", 6 * ms},
	{"approval", "commit done, waiter not woken", "read:decide", 0},
	{"audit", "event inserted, tx open", "", 0},
	{"audit", "tx commit", "sent:freeze", 6 * ms},
	{"audit", "checkpoint computed, before write", "tick", 0},
	{"audit", "checkpoint rename", "sink", 2 * ms},

	{"broker-execution", "half of the answer", "up:write:half", 0},
	{"broker-execution", "request arrived", "up:write:arrived", 0},
	{"refresh-rotation", "half of the answer", "up:refresh:half", 0},
	{"exchange", "answered", "read:vend", 0},
	{"exchange", "proofs spent, before reply", "first:vend", 0},
	{"exchange", "access token answered", "read:token", 0},
	{"connect", "code sent", "up:code:arrived", 0},
	{"connect", "code spent, answer lost", "up:code:performed", 0},
	{"connect", "tokens received", "up:code:answered", 4 * ms},
	{"connect", "identity asked", "up:identity:performed", 0},
	{"connect", "identity known", "up:identity:answered", 8 * ms},
	{"connect", "connected", "read:callback", 0},
	{"disconnect", "ended here, not yet there", "up:goodbye:arrived", 0},
	{"disconnect", "ended there, keys not shredded", "up:goodbye:answered", 6 * ms},
	{"disconnect", "answered", "read:disconnect", 0},
	{"authority", "granted", "read:grant", 0},
	{"authority", "revoked", "read:revoke", 0},
	{"authority", "frozen", "read:freeze", 0},
	{"start", "recovery", "start", 120 * ms},
	{"start", "serving again", "start", 400 * ms},
}

// The fault points that concern this test are all reached for.
func TestPointsCovered(t *testing.T) {
	raw, err := os.ReadFile("testdata/fault_points.json")
	if err != nil {
		t.Fatal(err)
	}
	var listed []struct{ Flow, Point string }
	if err := json.Unmarshal(raw, &listed); err != nil || len(listed) == 0 {
		t.Fatalf("%d fault points, %v", len(listed), err)
	}
	for _, l := range listed {
		if !slices.ContainsFunc(points, func(p point) bool { return p.flow == l.Flow && p.name == l.Point }) {
			t.Errorf("no life ends at %s: %s", l.Flow, l.Point)
		}
	}
}

// fromEnv is a number that whoever runs the test may set.
func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// accessTTL is how long access tokens of the upstream live: they are renewed
// all the time, and never handed out so late that nobody would take them.
const accessTTL = 3 * time.Second

func TestKilled(t *testing.T) {
	kills := int(fromEnv(t, "VALETKEY_KILLS", 25))
	t.Run("sqlite", func(t *testing.T) { testKilled(t, kills, points, accessTTL, "") })
	t.Run("postgres", func(t *testing.T) {
		dsn := cluster.Database(t).DSN.Reveal()
		if os.Getenv("VALETKEY_KILLS") != "" {
			testKilled(t, kills, points, accessTTL, dsn)
			return
		}
		// A refresh that was interrupted holds up its account until the lease ends,
		// because there another process might be at it: that is too long to wait for.
		brief := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.flow == "refresh-rotation" })
		testKilled(t, 10, brief, time.Hour, dsn)
	})
}

// testKilled kills a server again and again while everybody works with it, on
// PostgreSQL where dsn names one.
func testKilled(t *testing.T, kills int, points []point, ttl time.Duration, dsn string) {
	seed := fromEnv(t, "VALETKEY_SEED", uint64(time.Now().UnixNano()))
	dir := t.TempDir()
	var more []string
	if dsn != "" {
		file := filepath.Join(dir, "db.url")
		if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		more = []string{"--db-file", file}
	}
	w := newWorld(t, newServer(t, dir, more...), seed, ttl)
	w.shared = dsn != ""
	t.Logf("seed %d", seed)

	var left []point
	missed := map[string]int{}
	for range kills {
		if len(left) == 0 {
			left = slices.Clone(points)
			w.rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		p := left[0]
		left = left[1:]
		if !w.round(p) {
			missed[p.flow+": "+p.name]++
		}
		if w.book.wrongs > 20 {
			break
		}
	}
	w.finish()
	b := w.book
	t.Logf("not at their point, but some time later: %v", missed)
	t.Logf("kills %d, actions %d, exchanges %d, replays refused %d, approved before a kill and run after it %d, duplicates %d, lost %d, unknown %d, accounts connected again %d, slowest start %v, seed %d",
		w.srv.lives-1, b.actions, b.vends, b.replays, b.resumed, b.duplicates, b.lost, b.unknown, b.reconnected, w.srv.slowest.Round(ms), seed)
	for _, line := range w.srv.complaints() {
		w.wrong("the server complains: %s", line)
	}
	w.srv.stop()
}

// round is the end of one life and the beginning of the next. It reports
// whether the life ended where it should.
func (w *world) round(p point) bool {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	life, reached := w.srv.now, true
	delay := time.Duration(0)
	if p.spread > 0 {
		delay = time.Duration(w.draw(int(p.spread)))
	}
	switch p.spot {
	case "", "start":
		delay, reached = time.Duration(50+w.draw(500))*ms, true
		time.AfterFunc(delay, life.kill)
	case "tick": // checkpoints are made at each second of a life
		next := time.Since(life.began).Truncate(time.Second) + time.Second
		time.AfterFunc(time.Until(life.began.Add(next))+time.Duration(w.draw(120))*ms, life.kill)
	case "sink":
		go w.onGrowth(life, delay)
	default:
		skip := 6
		if slices.Contains([]string{"refresh-rotation", "connect", "disconnect"}, p.flow) {
			skip = 2 // there are few of them in a life
		}
		w.trap.arm(p.spot, w.draw(skip), delay, life.kill)
	}
	wait := w.load(ctx)
	select {
	case <-life.dead:
	case <-time.After(2500 * ms):
		reached = false
		w.trap.disarm()
		life.kill()
	}
	w.trap.disarm()
	cancel()
	wait()
	w.forget()
	w.up.died()
	w.book.do(func() { w.book.deaths[life.number] = time.Now() })
	if !life.murdered() {
		w.t.Fatalf("life %d ended by itself: %v\n%s", life.number, life.err, w.srv.tail())
	}
	w.checkpointBehind()
	next := w.srv.start()
	if p.spot == "start" { // the next life is a short one
		time.Sleep(time.Duration(w.draw(int(p.spread))))
		next.kill()
		if !next.murdered() {
			w.t.Fatalf("life %d ended by itself: %v\n%s", next.number, next.err, w.srv.tail())
		}
		w.srv.start()
	}
	w.srv.ready()
	w.check()
	return reached
}

// onGrowth ends a life when its next checkpoint is being written.
func (w *world) onGrowth(l *life, delay time.Duration) {
	size := func() int64 {
		if info, err := os.Stat(w.srv.sink()); err == nil {
			return info.Size()
		}
		return 0
	}
	for was := size(); size() == was; {
		select {
		case <-l.dead:
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
	time.Sleep(delay)
	l.kill()
}

// checkpointBehind looks, before anything is repaired, whether the database
// has every event that the newest checkpoint outside covers.
func (w *world) checkpointBehind() {
	w.t.Helper()
	if w.shared {
		return // its database was not killed
	}
	anchored := lastCheckpoint(w.t, w.srv.sink())
	copied := filepath.Join(w.t.TempDir(), "copy.db")
	for _, end := range []string{"", "-wal"} { // the index of the log is made anew
		raw, err := os.ReadFile(filepath.Join(w.srv.data, "valetkey.db") + end)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(copied+end, raw, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+copied)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		_ = db.Close()
		for _, end := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(copied + end) // a copy of a large database each time adds up
		}
	}()
	var size int64
	if err := db.QueryRow("select size from audit_head where id = 1").Scan(&size); err != nil {
		w.t.Fatal(err)
	}
	if size < anchored {
		w.wrong("the checkpoint outside covers %d events and the database has %d", anchored, size)
	}
}

// lastCheckpoint is how many events the newest whole line of a sink covers.
func lastCheckpoint(t *testing.T, sink string) int64 {
	t.Helper()
	raw, err := os.ReadFile(sink)
	if err != nil {
		t.Fatal(err)
	}
	var newest int64
	for line := range strings.Lines(string(raw)) {
		var entry struct{ Checkpoint string }
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &entry) != nil {
			continue // torn by a kill
		}
		var origin string
		var n int64
		if _, err := fmt.Sscanf(entry.Checkpoint, "%s\n%d\n", &origin, &n); err != nil {
			t.Fatalf("a checkpoint that cannot be read: %q", entry.Checkpoint)
		}
		newest = max(newest, n)
	}
	return newest
}

// finish lets everything that is open come to its end, and compares all of it
// with the upstream's ledger.
func (w *world) finish() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 90*time.Second)
	defer cancel()
	// What was asked and never answered is asked again.
	for _, in := range w.book.open(func(in *intent) bool { return !in.settled && (in.action == "" || in.agent == w.writer) }) {
		for n := 0; n < 50 && ctx.Err() == nil && in.action == "" && !in.settled; n++ {
			w.submit(ctx, in)
			w.links(ctx) // which connects again what has to be
		}
		if in.action == "" && !in.settled {
			w.wrong("%s could not be brought to an end", in.marker)
		}
	}
	for _, in := range w.book.open(func(in *intent) bool { return in.agent != w.writer && !in.settled && in.said == "" }) {
		w.decide(ctx, in, true)
	}
	w.awaitHeld(ctx)
	w.checkHeld(func(*intent) bool { return true })
	w.checkUsable(ctx)
	w.check()
	w.checkLog()
	w.checkLedger()
	if code, out := w.srv.cli("audit", "verify"); code != 0 {
		w.wrong("valetkey audit verify: exit %d\n%s", code, out)
	}
}

// awaitHeld waits until everything that was approved has run, once.
func (w *world) awaitHeld(ctx context.Context) {
	w.t.Helper()
	for _, in := range w.book.open(func(in *intent) bool { return in.said == "approve" }) {
		for ctx.Err() == nil && !final(in.saw) {
			a, err := w.look(in.agent, in.action)
			if err != nil {
				w.wrong("look at %s: %v", in.action, err)
				break
			}
			w.sees(in, a.State)
			if w.shared && a.State == api.StateExecuting {
				break // another process might be at it; see broker.Abandoned
			}
			pause(ctx, 20*ms)
		}
		if !final(in.saw) && !w.shared {
			w.wrong("%s was approved, and is %s at the end", in.action, in.saw)
		}
	}
}

// checkUsable uses each account once more.
func (w *world) checkUsable(ctx context.Context) {
	w.t.Helper()
	for _, login := range accounts {
		var err error
		for n := 0; n < 40 && ctx.Err() == nil; n++ {
			_, err = w.reader.Submit(ctx, api.ActionRequest{
				Connection: w.cons[login], Operation: "github.issues.list", Params: map[string]any{"owner": "octocat", "repo": "hello-world"},
			})
			if err == nil {
				break
			}
			w.links(ctx)
			pause(ctx, 100*ms)
		}
		if err != nil {
			w.wrong("the account %s cannot be used at the end: %v", login, err)
		}
	}
}
