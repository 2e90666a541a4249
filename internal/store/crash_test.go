package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
	"github.com/valetkey/valetkey/secret"
)

// crashChild names the variable by which this binary becomes the process that
// is killed: its value is the database.
const crashChild = "VALETKEY_TEST_CRASH_CHILD"

const (
	crashRounds = 30
	crashAgent  = id.Agent("agt_crash")
)

// appendUntilKilled spends proofs with their events, and prints each one when
// it has been acknowledged. It also prints one that it was refused, which it
// must not be.
func appendUntilKilled(dsn string) int {
	ctx := context.Background()
	db, err := store.Open(ctx, secret.New(dsn), discard)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	head, err := db.Log().Head(ctx)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	var wait sync.WaitGroup
	for i := range 12 {
		wait.Go(func() {
			for j := 0; ; j++ {
				name := fmt.Sprintf("%d-%d-%d", head.Size, i, j)
				if err := db.Agents().Tokens().Refuse(ctx, []agent.Proof{{Agent: crashAgent, JTI: name, Until: at}}, []audit.Event{event(name)}); err != nil {
					fmt.Println("error:", err)
					return
				}
				if _, err := os.Stdout.WriteString(name + "\n"); err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return 1
}

// A process is killed again and again while it writes. Each time it starts
// again by itself, everything that it had acknowledged is there, the tree
// verifies without a gap, and no proof can be spent a second time.
func TestKilled(t *testing.T) {
	t.Parallel()
	d := storetest.SQLite(t)
	acked := map[string]bool{}
	for range crashRounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashChild+"="+d.DSN.Reveal())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
			acked[lines.Text()] = true
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the process ended by itself: %v", err)
		}
	}
	db := d.Open(t)
	logged := objects(t, db)
	for name := range acked {
		if !logged[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	verifyLog(t, db)
	replayed := 0
	for name := range acked {
		if replayed++; replayed > 200 {
			break
		}
		tok := &agent.Token{Org: id.DefaultOrg, ID: id.NewToken(), Hash: []byte(name), Version: 1}
		if err := db.Agents().Tokens().Issue(t.Context(), tok, []agent.Proof{{Agent: crashAgent, JTI: name, Until: at}}, nil); err == nil {
			t.Errorf("the proof %s was spent twice", name)
		}
	}
	t.Logf("%d acknowledged in %d lives, %d in the log", len(acked), crashRounds, len(logged))
	if len(acked) < crashRounds {
		t.Errorf("only %d changes were acknowledged", len(acked))
	}
}
