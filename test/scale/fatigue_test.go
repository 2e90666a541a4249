package scale_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/vktest"
)

// An agent that asks ten thousand times gets a hundred questions before its
// humans and not one of them answered by their number: the rest is refused, and
// every refusal is in the log under its name. Nobody else is kept from asking
// (P-25).
func TestAskingTenThousandTimesWearsNobodyDown(t *testing.T) {
	const asked, workers = 10_000, 16
	c := newCrowd(t, 1, 2)
	ctx := t.Context()
	bot, other := c.bots[0], c.bots[1]
	before, err := c.App.DB.Log().Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var pending, attached, refused atomic.Int64
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range next {
				text := fmt.Sprintf("please %d", n)
				if n%10 == 9 {
					text = "please 0" // the same once more
				}
				out, err := c.App.Broker.Submit(ctx, vktest.Caller(bot), c.comment(text), time.Now())
				switch {
				case err == nil && out.Replayed:
					attached.Add(1)
				case err == nil && out.Action.State == action.Pending:
					pending.Add(1)
				case err != nil && fault.From(err).Reason == broker.ErrTooMany.Reason:
					refused.Add(1)
				default:
					t.Errorf("request %d: %v, %v", n, out.Action, err)
				}
			}
		})
	}
	for n := range asked {
		next <- n
	}
	close(next)
	wg.Wait()
	took := time.Since(began)
	if pending.Load() > broker.MaxPending || pending.Load()+attached.Load()+refused.Load() != asked {
		t.Errorf("%d wait, %d attached, %d refused", pending.Load(), attached.Load(), refused.Load())
	}
	open, err := c.App.DB.Actions().Inbox(ctx, id.DefaultOrg, "", approval.Open, time.Time{}, 1000)
	if err != nil || len(open) != int(pending.Load()) || len(open) != broker.MaxPending {
		t.Errorf("%d are open, %v", len(open), err)
	}
	// The log: questions and refusals, and nothing that anybody decided.
	seen := map[string]int{}
	after, err := c.App.DB.Log().Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for from := before.Size; from < after.Size; {
		events, err := c.App.DB.Log().Events(ctx, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			seen[e.Verb]++
			if e.Verb == "action.refused" && (e.Actor != "agent:"+string(bot.ID) || e.Data["reason"] != broker.ErrTooMany.Reason) {
				t.Errorf("a refusal is recorded as %+v", e)
			}
		}
		from += int64(len(events))
	}
	for verb, n := range seen {
		switch verb {
		case "action.held", "approval.opened":
			if n != broker.MaxPending {
				t.Errorf("%d x %s", n, verb)
			}
		case "action.refused":
			if n != int(refused.Load()) {
				t.Errorf("%d refusals are in the log, %d were made", n, refused.Load())
			}
		default:
			t.Errorf("%d x %s is in the log", n, verb)
		}
	}
	if n := c.Sandbox.Count("POST", "/repos/"); n != 0 {
		t.Errorf("%d requests were sent that nobody approved", n)
	}
	// Others ask as before, and one answer makes room for one question.
	if out, err := c.App.Broker.Submit(ctx, vktest.Caller(other), c.comment("me too"), time.Now()); err != nil || out.Action.State != action.Pending {
		t.Errorf("another agent: %v, %v", out.Action, err)
	}
	if _, err := c.App.Broker.Decide(ctx, c.mira, open[0].Approval.ID, broker.Verdict{Answer: approval.No, Seen: open[0].Action.Effect, Channel: "web"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.App.Broker.Submit(ctx, vktest.Caller(bot), c.comment("one more"), time.Now()); err != nil {
		t.Errorf("after an answer: %v", err)
	}
	if _, err := c.App.Broker.Submit(ctx, vktest.Caller(bot), c.comment("and another"), time.Now()); fault.From(err).Reason != broker.ErrTooMany.Reason {
		t.Errorf("after an answer, twice: %v", err)
	}
	// What a person looks at is as quick as before.
	began = time.Now()
	if _, err := c.App.DB.Log().Select(ctx, store.Query{Org: id.DefaultOrg, Verb: "approval.", Limit: 50}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests in %v: %d wait, %d attached, %d refused; the log is read in %v", asked, took.Round(time.Millisecond), pending.Load(), attached.Load(), refused.Load(), time.Since(began).Round(time.Microsecond))
}
