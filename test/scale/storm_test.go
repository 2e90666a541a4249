package scale_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

// quiet keeps the logs of thousands of refusals out of a test's output.
var quiet = vktest.LogTo(slog.NewTextHandler(io.Discard, nil))

// crowd is a world of which two servers may be at the same action.
type crowd struct {
	*vktest.World
	t    *testing.T
	apps []*app.App // one, or two on one database
	mira user.Principal
	con  *vault.Connection
	bots []*agent.Agent
}

func newCrowd(t *testing.T, replicas, bots int, options ...vktest.Option) *crowd {
	t.Helper()
	c := &crowd{World: vktest.New(t, append(options, quiet)...), t: t}
	c.App.Broker.MaxAsked = 0 // one person answers for all of these
	c.apps = []*app.App{c.App}
	for len(c.apps) < replicas {
		c.apps = append(c.apps, c.Replica())
	}
	c.mira = c.Person("mira")
	c.con = c.Link(c.mira, "octocat")
	for i := range bots {
		bot, _ := c.Agent(c.mira, fmt.Sprintf("bot-%03d", i))
		c.Grant(c.mira, bot, c.con, grant.Broker, []string{"*"}, []string{"octo/api"})
		c.bots = append(c.bots, bot)
	}
	return c
}

func (c *crowd) comment(text string) broker.Ask {
	return broker.Ask{Connection: string(c.con.ID), Operation: "github.issues.create_comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": text}}
}

// What happens in a storm, and how it ended.
type (
	deed struct {
		what string // approve, deny, cancel, expire, look
		real bool   // the action's time is up soon, by the clock
	}
	result string // "ok", the reason of a refusal, or, of a look, the state
)

// life is what one action may go through, as somebody outside sees it. Two
// moves have no caller: the executor's claim, and the end of an action whose
// time is up. Either may have happened before anything that is seen.
var life = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{"pending"} },
	Step: func(state, input, output any) (next []any) {
		do, got := input.(deed), output.(result)
		for _, s := range unseen(state.(string), do.real) {
			if to := step(s, do, got); to != "" {
				next = append(next, to)
			}
		}
		return next
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%s: %s", in.(deed).what, out) },
}).ToModel()

// unseen is where an action may be by now if it was at s.
func unseen(s string, real bool) []string {
	all := []string{s}
	switch s {
	case "pending":
		if real {
			all = append(all, "expired")
		}
	case "approved":
		all = append(all, "executing", "succeeded")
		if real {
			all = append(all, "expired")
		}
	case "executing":
		all = append(all, "succeeded")
	}
	return all
}

// step is where a deed with this result leads, or "" if it cannot have it.
func step(s string, do deed, got result) string {
	open := s == "pending" || s == "approved"
	switch do.what {
	case "look":
		if string(got) == s {
			return s
		}
	case "approve", "deny":
		to := map[string]string{"approve": "approved", "deny": "denied"}[do.what]
		switch {
		case got == "ok" && s == "pending":
			return to
		case got == result(approval.ErrNotOpen.Reason) && s != "pending":
			return s
		case got == result(approval.ErrExpired.Reason) && s == "pending" && do.real:
			return s
		}
	case "cancel", "expire":
		to := map[string]string{"cancel": "cancelled", "expire": "expired"}[do.what]
		switch {
		case got == "ok" && open:
			return to
		case got == result(action.ErrState.Reason) && !open:
			return s
		}
	}
	return ""
}

// do does one deed at one of the servers.
func (c *crowd) do(ctx context.Context, a *app.App, bot *agent.Agent, out broker.Outcome, what string) (result, error) {
	now := time.Now()
	var err error
	switch what {
	case "approve", "deny":
		_, err = a.Broker.Decide(ctx, c.mira, out.Approval.ID, broker.Verdict{
			Answer: approval.Answer(what), Seen: out.Action.Effect, Level: approval.Approve, Channel: "web",
		}, now)
	case "cancel":
		_, err = a.Broker.Cancel(ctx, vktest.Caller(bot), out.Action.ID, now)
	case "expire":
		// What the loop does when the time is up, by a clock that is ahead.
		late := out.Action.ExpiresAt.Add(time.Second)
		err = a.Broker.Store.Move(ctx, id.DefaultOrg, out.Action.ID, broker.Move{Epoch: -1, Apply: func(v *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			ended, err := v.Expire(late)
			if err != nil {
				return nil, nil, err
			}
			closed, err := p.Expire(late)
			return []audit.Event{ended, closed}, nil, err
		}})
	case "look":
		h, err := a.Broker.Get(ctx, vktest.Caller(bot), out.Action.ID, now)
		if err != nil {
			return "", err
		}
		return result(h.Action.State), nil
	}
	if f, told := errors.AsType[*fault.Error](err); told && f.Kind == fault.Conflict {
		return result(f.Reason), nil
	}
	return "ok", err
}

// round is one action and everybody who is at it at once.
func (c *crowd) round(n int, seed uint64) (action.State, error) {
	ctx := c.t.Context()
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	bot := c.bots[n%len(c.bots)]
	// A third of them runs out of time in the middle of it, by the clock.
	asked := time.Now()
	real := rng.IntN(3) == 0
	if real {
		asked = asked.Add(-broker.DefaultExpiry + time.Duration(10+rng.IntN(60))*time.Millisecond)
	}
	out, err := c.apps[rng.IntN(len(c.apps))].Broker.Submit(ctx, vktest.Caller(bot), c.comment(fmt.Sprintf("storm %d", n)), asked)
	if err != nil {
		return "", fmt.Errorf("submit: %w", err)
	}
	deeds := []string{"look", "approve"}
	for range 2 + rng.IntN(6) {
		deeds = append(deeds, []string{"approve", "approve", "deny", "cancel", "look", "look", "expire"}[rng.IntN(7)])
	}
	rng.Shuffle(len(deeds), func(i, j int) { deeds[i], deeds[j] = deeds[j], deeds[i] })
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		failed  error
		wg      sync.WaitGroup
		start   = make(chan struct{})
		zero    = time.Now()
	)
	for i, what := range deeds {
		at, pause := c.apps[(i+n)%len(c.apps)], time.Duration(rng.IntN(4000))*time.Microsecond
		wg.Go(func() {
			<-start
			if i%2 == 1 {
				time.Sleep(pause)
			}
			called := time.Since(zero)
			got, err := c.do(ctx, at, bot, out, what)
			returned := time.Since(zero)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			history = append(history, porcupine.Operation{ClientId: i, Input: deed{what, real}, Output: got, Call: int64(called), Return: int64(returned)})
		})
	}
	close(start)
	wg.Wait()
	if failed != nil {
		return "", failed
	}
	// Both servers see the end, and the same one.
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last action.State
	for i, a := range c.apps {
		called := time.Since(zero)
		h, err := a.Broker.Await(wait, vktest.Caller(bot), out.Action.ID, "")
		if err != nil {
			return "", err
		}
		if !h.Action.State.Final() || i > 0 && h.Action.State != last {
			return "", fmt.Errorf("server %d sees %s, the other %s", i, h.Action.State, last)
		}
		last = h.Action.State
		history = append(history, porcupine.Operation{ClientId: len(deeds) + i, Input: deed{"look", real}, Output: result(last), Call: int64(called), Return: int64(time.Since(zero))})
	}
	if porcupine.CheckOperationsTimeout(life, history, time.Minute) != porcupine.Ok {
		text := ""
		for _, op := range history {
			text += fmt.Sprintf("\n  %9d–%9d %s", op.Call, op.Return, life.DescribeOperation(op.Input, op.Output))
		}
		return last, fmt.Errorf("no order of what was seen explains it (time runs out by itself: %v):%s", real, text)
	}
	return last, c.single(n, out, last)
}

// single checks the log: one end, and one execution where there was one.
func (c *crowd) single(n int, out broker.Outcome, last action.State) error {
	events, err := c.App.DB.Log().Select(c.t.Context(), store.Query{Org: id.DefaultOrg, Object: string(out.Action.ID), Limit: 100})
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, e := range events {
		seen[e.Verb]++
	}
	ends := seen["action.succeeded"] + seen["action.failed"] + seen["action.unknown"] + seen["action.denied"] + seen["action.expired"] + seen["action.cancelled"] + seen["action.revoked"]
	ran := seen["action.executing"]
	if ends != 1 || seen["action."+string(last)] != 1 || ran > 1 || (ran == 1) != (last == action.Succeeded) || seen["action.approved"] > 1 {
		return fmt.Errorf("action %d ended %s, and the log says %v", n, last, seen)
	}
	return nil
}

// A thousand actions, each with several people and programs at it at once, at
// two servers: what all of them saw has an order in which it makes sense, the
// action has one end, and it is sent at most once (P-21).
func TestStorms(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testStorms(t, newCrowd(t, 1, 4)) })
	t.Run("postgres", func(t *testing.T) {
		testStorms(t, newCrowd(t, 2, 4, vktest.On(cluster.Database(t).DSN)))
	})
}

func testStorms(t *testing.T, c *crowd) {
	const rounds, workers = 1000, 8
	seed := uint64(time.Now().UnixNano())
	began := time.Now()
	var mu sync.Mutex
	ended := map[action.State]int{}
	final := make([]action.State, rounds)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range next {
				last, err := c.round(n, seed)
				mu.Lock()
				final[n] = last
				ended[last]++
				if err != nil {
					t.Errorf("seed %d, round %d: %v", seed, n, err)
				}
				mu.Unlock()
			}
		})
	}
	for n := range rounds {
		next <- n
	}
	close(next)
	wg.Wait()
	took := time.Since(began)

	sent := map[string]int{}
	for _, call := range c.Sandbox.Ledger() {
		if call.Method == "POST" {
			sent[call.BodyHash]++
		}
	}
	for n, last := range final {
		sum := sha256.Sum256([]byte(fmt.Sprintf(`{"body":"storm %d"}`, n)))
		want := 0
		if last == action.Succeeded {
			want = 1
		}
		if got := sent[hex.EncodeToString(sum[:])]; got != want {
			t.Errorf("action %d ended %s and was sent %d times", n, last, got)
		}
	}
	for _, s := range []action.State{action.Succeeded, action.Denied, action.Cancelled, action.Expired} {
		if ended[s] < rounds/50 {
			t.Errorf("only %d ended %s: the storm did not blow from all sides", ended[s], s)
		}
	}
	t.Logf("%d storms on %d servers in %v: %v", rounds, len(c.apps), took.Round(time.Millisecond), ended)
}
