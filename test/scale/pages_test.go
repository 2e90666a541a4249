package scale_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// slowest is how long a page may take at the median. It is many times what it
// takes, because machines that run tests have other things to do; what it takes
// is printed.
const slowest = time.Second

// history stores what n actions leave behind: rows, approvals, and the events
// of their lives. Every hundredth still waits.
func (c *crowd) history(n int) {
	c.t.Helper()
	ctx, start := c.t.Context(), time.Now().Add(-90*24*time.Hour)
	step := 90 * 24 * time.Hour / time.Duration(n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 { // as many as share a transaction
		wg.Go(func() {
			for i := range next {
				now := start.Add(time.Duration(i) * step)
				h, err := c.past(i, now)
				if err == nil {
					err = c.App.DB.Actions().Hold(ctx, h)
				}
				if err != nil {
					c.t.Errorf("history: %v", err)
					return
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// past is one action of the past, with its whole life.
func (c *crowd) past(i int, now time.Time) (broker.Hold, error) {
	bot := c.bots[i%len(c.bots)]
	r := &action.Request{Method: "POST", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/octo/api/issues/1/comments", Body: fmt.Appendf(nil, `{"body":"number %d"}`, i)}
	a := action.New(action.Party{Org: id.DefaultOrg, User: c.mira.User, Agent: bot.ID, Connection: c.con.ID, Account: c.con.AccountID}, r, "", now)
	a.Provider, a.Operation, a.Summary, a.Risk, a.Resource, a.Source = "github", "github.issues.create_comment", "Comment on octo/api#1", "medium", "repo:octo/api", "127.0.0.1"
	p := approval.New(a, approval.Approve, broker.DefaultExpiry, now)
	p.Rules, p.Why, p.Impact = []string{"shipped/ask-medium-writes"}, []string{"Writes of medium risk need a person."}, a.Summary
	var events []audit.Event
	var failed error
	add := func(e audit.Event, err error) {
		if err != nil {
			failed = err
		}
		events = append(events, e)
	}
	waits := i%100 == 99
	if waits { // it has not expired yet
		p.ExpiresAt = time.Now().Add(24 * time.Hour)
	}
	add(a.Hold(p.ID, p.ExpiresAt, now))
	add(p.Opened(a, "agent:"+string(bot.ID), now), nil)
	switch now = now.Add(time.Minute); {
	case waits:
	case i%10 == 8:
		add(p.Decide(approval.No, approval.Decider{User: c.mira.User, Channel: "web", Level: approval.Approve}, a.Effect, "no", now))
		add(a.Deny(c.mira.Actor(), "denied: no", now))
	default:
		add(p.Decide(approval.Yes, approval.Decider{User: c.mira.User, Channel: "web", Level: approval.Approve}, a.Effect, "", now))
		add(a.Approve(c.mira.Actor(), now))
		add(p.Spend(a.Effect, now))
		add(a.Claim(a.Effect, now))
		add(a.Finish(action.Outcome{State: action.Succeeded, Status: 201, AnswerSize: 300}, now.Add(time.Second)))
	}
	place := seal.Place{Key: seal.PayloadKey(a.Org, a.CreatedAt), Org: a.Org, Table: "payloads", Row: string(a.ID), Column: "request"}
	sealed, err := c.App.Keys.SealBytes(c.t.Context(), place, r.Encode())
	return broker.Hold{Epoch: c.epoch(), Action: a, Approval: p, Request: sealed, MaxOpen: 1 << 30, Events: events}, errors.Join(failed, err)
}

func (c *crowd) epoch() int64 {
	n, err := c.App.DB.Epoch(c.t.Context())
	if err != nil {
		c.t.Error(err)
	}
	return n
}

// cookie is a login of mira's browser.
func (c *crowd) cookie() *http.Cookie {
	c.t.Helper()
	text, now := secret.Random(32), time.Now()
	h := text.Hash()
	v := &user.Session{
		Org: c.mira.Org, ID: id.NewSession(), Hash: h[:], User: c.mira.User, Kind: user.Browser, CreatedAt: now, AuthAt: now, SeenAt: now,
		ExpiresAt: now.Add(time.Hour), Version: 1,
	}
	if err := c.App.DB.Users().Sessions().CreateSession(c.t.Context(), v, []audit.Event{c.mira.Event("session.opened", string(v.ID), c.mira.User, now, nil)}); err != nil {
		c.t.Fatal(err)
	}
	base, err := url.Parse(c.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	return &http.Cookie{Name: "valetkey-" + base.Port() + "-session", Value: text.Reveal()}
}

// Pages over a quarter of a year of work are as quick as over a day of it. How
// many actions that is may be said with VALETKEY_ACTIONS.
func TestPagesOverALongHistory(t *testing.T) {
	n := 4_000
	if text := os.Getenv("VALETKEY_ACTIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("VALETKEY_ACTIONS: %v", err)
		}
	}
	t.Run("sqlite", func(t *testing.T) { testPages(t, newCrowd(t, 1, 40), n) })
	t.Run("postgres", func(t *testing.T) {
		testPages(t, newCrowd(t, 1, 40, vktest.On(cluster.Database(t).DSN)), n)
	})
}

func testPages(t *testing.T, c *crowd, n int) {
	began := time.Now()
	c.history(n)
	head, err := c.App.DB.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d actions and %d events stored in %v", n, head.Size, time.Since(began).Round(time.Millisecond))
	held, err := c.App.Broker.Submit(t.Context(), vktest.Caller(c.bots[0]), c.comment("the newest"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.Grant(c.mira, c.bots[0], c.con, grant.Broker, []string{"github.issues.list"}, nil)
	done, err := c.App.DB.Log().Select(t.Context(), store.Query{Org: id.DefaultOrg, Verb: "action.succeeded", Limit: 1})
	if err != nil || len(done) != 1 {
		t.Fatalf("%d actions are done, %v", len(done), err)
	}
	cookie, bearer := c.cookie(), c.commandLine()
	pages := []string{
		"inbox", "inbox/list", "actions/" + string(held.Action.ID), "actions/" + done[0].Object, "actions/" + done[0].Object + "/status",
		"activity", fmt.Sprintf("activity?before=%d", head.Size/2), "activity/list", "agents", "agents/" + string(c.bots[0].ID), "connections", "policy", "welcome",
		"v1/approvals", "v1/approvals?status=spent&limit=200", "v1/approvals?status=denied", "v1/admin/status", "v1/admin/agents", "v1/admin/grants", "v1/admin/connections",
		"v1/admin/events", "v1/admin/events?verb=action.", "v1/admin/events?verb=session.opened", "v1/admin/events?actor=agent:" + string(c.bots[1].ID),
		"v1/admin/events?object=" + done[0].Object,
	}
	const times = 15
	for _, path := range pages {
		var took []time.Duration
		size := 0
		for range times {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path, "v1/") {
				req.Header.Set("Authorization", "Bearer "+bearer)
			} else {
				req.AddCookie(cookie)
			}
			start := time.Now()
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			took = append(took, time.Since(start))
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d, %v: %.300s", path, res.StatusCode, err, body)
			}
			size = len(body)
		}
		// What they name changes from run to run.
		name := strings.NewReplacer(string(held.Action.ID), "PENDING", done[0].Object, "DONE", string(c.bots[0].ID), "AGENT", string(c.bots[1].ID), "AGENT").Replace(path)
		p50, p95 := percentile(took, 50), percentile(took, 95)
		t.Logf("%-44s %8v p50 %8v p95 %5d kB", name, p50.Round(100*time.Microsecond), p95.Round(100*time.Microsecond), size>>10)
		if p50 > slowest {
			t.Errorf("%s takes %v over %d actions", name, p50, n)
		}
	}
}
