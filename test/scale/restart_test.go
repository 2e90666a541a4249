package scale_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// program is an agent with its key, as it would run elsewhere.
type program struct {
	*agent.Agent
	*client.Client
	wire *http.Transport
}

func (c *crowd) program(name string) program {
	c.t.Helper()
	key, err := client.GenerateKey("")
	if err != nil {
		c.t.Fatal(err)
	}
	now := time.Now()
	a, _, err := c.App.Agents.Register(c.t.Context(), agent.Registration{Name: name, Owner: c.mira.User, Key: []byte(key.PublicPEM())}, now,
		func(verb, object string, data map[string]string) audit.Event {
			return c.mira.Event(verb, object, c.mira.User, now, data)
		})
	if err != nil {
		c.t.Fatal(err)
	}
	c.Grant(c.mira, a, c.con, grant.Broker, []string{"*"}, []string{"octo/api"})
	wire := &http.Transport{MaxIdleConnsPerHost: 8}
	sdk, err := client.New(c.URL, client.Options{ClientID: string(a.ID), Key: key, HTTPClient: &http.Client{Transport: wire}})
	if err != nil {
		c.t.Fatal(err)
	}
	return program{a, sdk, wire}
}

// commandLine is the bearer value of a login of mira's terminal.
func (c *crowd) commandLine() string {
	c.t.Helper()
	text, now := secret.New("vks_"+secret.Random(32).Reveal()), time.Now()
	h := text.Hash()
	v := &user.Session{
		Org: c.mira.Org, ID: id.NewSession(), Hash: h[:], User: c.mira.User, Kind: user.CLI, CreatedAt: now, AuthAt: now, SeenAt: now,
		ExpiresAt: now.Add(time.Hour), Version: 1,
	}
	if err := c.App.DB.Users().Sessions().CreateSession(c.t.Context(), v, []audit.Event{c.mira.Event("session.opened", string(v.ID), c.mira.User, now, nil)}); err != nil {
		c.t.Fatal(err)
	}
	return text.Reveal()
}

// fill makes every one of the programs ask for as much as it may.
func (c *crowd) fill(programs []program, each int) [][]broker.Outcome {
	c.t.Helper()
	held := make([][]broker.Outcome, len(programs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				for n := range each {
					out, err := c.App.Broker.Submit(c.t.Context(), vktest.Caller(programs[i].Agent), c.comment(fmt.Sprintf("%d of %s", n, programs[i].Name)), time.Now())
					if err != nil {
						c.t.Error(err)
						break
					}
					held[i] = append(held[i], out)
				}
			}
		})
	}
	for i := range programs {
		next <- i
	}
	close(next)
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return held
}

// open counts the approvals that wait, as the API lists them.
func (p *process) open(bearer string) map[string]bool {
	p.t.Helper()
	all, cursor := map[string]bool{}, ""
	for {
		var page api.Page[api.Approval]
		q := url.Values{"status": {"open"}, "limit": {"200"}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if err := p.call(http.MethodGet, "v1/approvals?"+q.Encode(), bearer, nil, &page); err != nil {
			p.t.Fatal(err)
		}
		for _, a := range page.Items {
			all[a.ID] = true
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// Ten thousand questions are open when the server is told to stop, and again
// when it is killed. None is lost; the agents that wait, wait on; what they
// occupied in the server is given back (P-26).
func TestRestartWithTenThousandWaiting(t *testing.T) {
	const agents, each, watchers = 100, broker.MaxPending, 200
	c := newCrowd(t, 1, 0)
	var programs []program
	for i := range agents {
		programs = append(programs, c.program(fmt.Sprintf("program-%03d", i)))
	}
	began := time.Now()
	held := c.fill(programs, each)
	t.Logf("%d actions held in %v", agents*each, time.Since(began).Round(time.Millisecond))
	bearer := c.commandLine()
	c.Stop()

	srv := serve(t, c.Config)
	waiting := srv.open(bearer)
	if len(waiting) != agents*each {
		t.Fatalf("%d approvals are open after the first start, want %d", len(waiting), agents*each)
	}
	base := srv.quit()

	srv.start()
	answered := 0
	storm := func(name string, signal os.Signal) {
		t.Helper()
		type told struct {
			state api.ActionState
			at    time.Time
			err   error
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		got := make([]told, watchers)
		targets := make([]broker.Outcome, watchers)
		var wg, sent sync.WaitGroup
		for i := range watchers {
			at := programs[(answered+i)%agents]
			targets[i] = held[(answered+i)%agents][(answered+i)/agents]
			sent.Add(1)
			wg.Go(func() {
				if _, err := at.Token(ctx); err != nil {
					t.Error(err)
				}
				sent.Done()
				a, err := at.Await(ctx, string(targets[i].Action.ID))
				got[i] = told{at: time.Now(), err: err}
				if err == nil {
					got[i].state = a.State
				}
			})
		}
		sent.Wait()
		time.Sleep(500 * time.Millisecond) // until they hang on the server
		stopped := time.Now()
		srv.end(signal)
		down := time.Since(stopped)
		srv.start()
		ready := time.Now()
		// Half of them is answered at once, by people who did not notice.
		next := make(chan int)
		var deciders sync.WaitGroup
		for range 4 {
			deciders.Go(func() {
				for i := range next {
					var a api.Approval
					if err := srv.call(http.MethodPost, "v1/approvals/"+string(targets[i].Approval.ID)+"/decision", bearer,
						api.Decision{Decision: api.AnswerDeny, Effect: targets[i].Action.Effect.String()}, &a); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range watchers {
			next <- i
		}
		close(next)
		deciders.Wait()
		decided := time.Now()
		wg.Wait()
		var late []time.Duration
		for i, g := range got {
			if g.err != nil || g.state != api.StateDenied {
				t.Errorf("%s: waiter %d was told %q, %v", name, i, g.state, g.err)
			}
			late = append(late, g.at.Sub(srv.began))
		}
		answered += watchers
		t.Logf("%s: down after %v, ready %v after its start, %d decisions in %v; waiters were told %v (p50), %v (p100) after the start",
			name, down.Round(time.Millisecond), ready.Sub(srv.began).Round(time.Millisecond), watchers, decided.Sub(ready).Round(time.Millisecond),
			percentile(late, 50).Round(time.Millisecond), percentile(late, 100).Round(time.Millisecond))
		if worst := percentile(late, 100); worst > 30*time.Second {
			t.Errorf("%s: a waiter was told only %v after the start", name, worst)
		}
	}
	storm("SIGTERM", syscall.SIGTERM)
	storm("kill -9", syscall.SIGKILL)

	still := srv.open(bearer)
	for i, all := range held {
		for n, out := range all {
			// Those that were answered are the first of each program.
			if gone := n*agents+i < answered; still[string(out.Approval.ID)] == gone {
				t.Errorf("approval %s (%d of program %d): open is %v, answered is %v", out.Approval.ID, n, i, !gone, gone)
			}
		}
	}
	if out, err := srv.cli("audit", "verify"); err != nil {
		t.Errorf("the log does not verify: %v\n%s", err, out)
	}
	// The clients hang up; what served them ends.
	for _, p := range programs {
		p.wire.CloseIdleConnections()
	}
	http.DefaultClient.CloseIdleConnections()
	time.Sleep(300 * time.Millisecond)
	after := srv.quit()
	t.Logf("%d goroutines before anybody waited, %d after all had left", base, after)
	if after > base+20 {
		t.Errorf("%d goroutines, and %d at the beginning:\n%s", after, base, tally(srv.log.String()))
	}
	if base < 5 {
		t.Errorf("%d goroutines: they were not counted", base)
	}
}

// tally says what goroutines wait for.
func tally(stacks string) string {
	n := map[string]int{}
	for _, line := range strings.Split(stacks, "\n") {
		if goroutine.MatchString(line) {
			_, what, _ := strings.Cut(line, "[")
			what, _, _ = strings.Cut(strings.TrimSuffix(what, "]:"), ",")
			n[what]++
		}
	}
	return fmt.Sprint(n)
}
