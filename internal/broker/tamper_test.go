package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/vktest"
)

// payloads are bodies of about 600 bytes each, as agents send them.
func payloads(n int) [][]byte {
	rng := rand.New(rand.NewPCG(20, 20))
	words := []string{"pay", "invoice", "Grüße", "東京", "release", "42.50", "EUR", `"quoted"`, "\u202e", "a@b.example", "https://x.example/?q=1&r=2", "\n"}
	out := make([][]byte, 0, n)
	for i := range n {
		m := map[string]any{"n": i, "amount": rng.IntN(100_000), "to": fmt.Sprintf("acct-%08d", rng.IntN(1e8))}
		text := ""
		for len(text) < 500 {
			text += words[rng.IntN(len(words))] + " "
		}
		m["memo"] = text
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

// approved is an action whose approval was granted.
func approved(t *testing.T, body []byte, now time.Time) (*action.Action, *approval.Approval, *action.Request) {
	t.Helper()
	r := &action.Request{
		Method: "POST", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/o/r/issues", Query: "a=1&b=2",
		Header: []action.Header{{Name: "accept", Value: "application/json"}, {Name: "if-match", Value: `"v1"`}}, Body: body,
	}
	a := action.New(action.Party{Org: "org_default", User: "usr_1", Agent: "agt_1", Connection: "con_1", Account: "1"}, r, "42.50 EUR", now)
	p := approval.New(a, approval.Approve, time.Hour, now)
	if _, err := a.Hold(p.ID, p.ExpiresAt, now); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Decide(approval.Yes, approval.Decider{User: "usr_1", Level: approval.Approve}, a.Effect, "", now); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Approve("user:usr_1", now); err != nil {
		t.Fatal(err)
	}
	return a, p, r
}

// runs reports whether a request may be sent for an approved action: what the
// broker does with the stored bytes between opening them and sending them.
func runs(a action.Action, p approval.Approval, r *action.Request, now time.Time) bool {
	d := r.Effect(a.Party, a.Amount)
	_, spent := p.Spend(d, now)
	_, claimed := a.Claim(d, now)
	if (spent == nil) != (claimed == nil) {
		panic("an approval and its action disagree about a digest")
	}
	return claimed == nil
}

// Every change of one bit, and of one byte, of a hundred approved bodies is
// refused: replaced, left out, doubled, slipped in, exchanged with its
// neighbour (P-20).
func TestNoByteOfAnApprovedBodyMayChange(t *testing.T) {
	now := time.Now()
	var tried atomic.Int64
	var wg sync.WaitGroup
	next := make(chan int)
	bodies := payloads(100)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				body := bodies[i]
				a, p, r := approved(t, body, now)
				if !runs(*a, *p, r, now) {
					t.Errorf("payload %d: what was approved is refused", i)
				}
				changed := *r
				try := func(b []byte, what string, at int) {
					tried.Add(1)
					changed.Body = b
					if !bytes.Equal(b, body) && runs(*a, *p, &changed, now) {
						t.Errorf("payload %d: %s at byte %d is sent", i, what, at)
					}
				}
				b := bytes.Clone(body)
				for at := range b {
					was := b[at]
					for bit := range 8 {
						b[at] = was ^ 1<<bit
						try(b, "a flipped bit", at)
					}
					if i%25 == 0 { // all values of a byte, of which the flipped bits are eight
						for v := range 256 {
							b[at] = byte(v)
							try(b, "another byte", at)
						}
					}
					b[at] = was
					try(append(bytes.Clone(b[:at]), b[at+1:]...), "a missing byte", at)
					try(append(append(bytes.Clone(b[:at]), was), b[at:]...), "a doubled byte", at)
					try(append(append(bytes.Clone(b[:at]), ' '), b[at:]...), "a space", at)
					if at > 0 {
						b[at-1], b[at] = b[at], b[at-1]
						try(b, "an exchange", at)
						b[at-1], b[at] = b[at], b[at-1]
					}
				}
				try(body[:0], "nothing", 0)
			}
		})
	}
	for i := range bodies {
		next <- i
	}
	close(next)
	wg.Wait()
	if tried.Load() < 1_000_000 {
		t.Errorf("only %d changes were tried", tried.Load())
	}
	t.Logf("%d changes, all refused", tried.Load())
}

// The sealed form as a whole: whatever bit of it changes, it either cannot be
// read or is another request. There is no second spelling of the same one.
func TestNoBitOfAStoredRequestMayChange(t *testing.T) {
	now := time.Now()
	for i, body := range payloads(100)[:12] {
		a, p, r := approved(t, body, now)
		plain := r.Encode()
		if back, err := action.DecodeRequest(plain); err != nil || !reflect.DeepEqual(back, r) || !runs(*a, *p, back, now) {
			t.Fatalf("payload %d is not read back: %v", i, err)
		}
		for at := range plain {
			for bit := range 8 {
				b := bytes.Clone(plain)
				b[at] ^= 1 << bit
				if got, err := action.DecodeRequest(b); err == nil && runs(*a, *p, got, now) {
					t.Errorf("payload %d: bit %d of byte %d of what is stored makes no difference: %q", i, bit, at, b[max(0, at-10):min(len(b), at+10)])
				}
			}
		}
		for _, b := range [][]byte{append(bytes.Clone(plain), ' '), append([]byte(" "), plain...), bytes.Replace(plain, []byte(`"method"`), []byte(`"METHOD"`), 1), bytes.Replace(plain, []byte(`{`), []byte(`{"x":1,`), 1)} {
			if _, err := action.DecodeRequest(b); err == nil {
				t.Errorf("payload %d: a second spelling is read: %.40q", i, b)
			}
		}
	}
}

// Everything beside the body: where it goes, in whose name, for how much.
func TestNothingElseOfAnApprovedActionMayChange(t *testing.T) {
	now := time.Now()
	changes := map[string]func(*action.Action, *action.Request){
		"method":          func(_ *action.Action, r *action.Request) { r.Method = "PUT" },
		"case of method":  func(_ *action.Action, r *action.Request) { r.Method = "post" },
		"scheme":          func(_ *action.Action, r *action.Request) { r.Scheme = "http" },
		"host":            func(_ *action.Action, r *action.Request) { r.Host = "api.github.com.evil.example" },
		"root dot":        func(_ *action.Action, r *action.Request) { r.Host += "." },
		"port":            func(_ *action.Action, r *action.Request) { r.Port = "8443" },
		"path":            func(_ *action.Action, r *action.Request) { r.Path += "/1" },
		"slash":           func(_ *action.Action, r *action.Request) { r.Path += "/" },
		"escape":          func(_ *action.Action, r *action.Request) { r.Path = "/repos/%6f/r/issues" },
		"query":           func(_ *action.Action, r *action.Request) { r.Query += "&c=3" },
		"order of query":  func(_ *action.Action, r *action.Request) { r.Query = "b=2&a=1" },
		"path into query": func(_ *action.Action, r *action.Request) { r.Path, r.Query = "/repos/o/r/issues?a=1", "b=2" },
		"header value":    func(_ *action.Action, r *action.Request) { r.Header[1].Value = `"v2"` },
		"header name":     func(_ *action.Action, r *action.Request) { r.Header[1].Name = "if-none-match" },
		"one header more": func(_ *action.Action, r *action.Request) {
			r.Header = append(r.Header, action.Header{Name: "x-a", Value: ""})
		},
		"one header less":  func(_ *action.Action, r *action.Request) { r.Header = r.Header[:1] },
		"order of headers": func(_ *action.Action, r *action.Request) { r.Header[0], r.Header[1] = r.Header[1], r.Header[0] },
		"name into value": func(_ *action.Action, r *action.Request) {
			r.Header[0] = action.Header{Name: "accepta", Value: "pplication/json"}
		},
		"header into body":  func(_ *action.Action, r *action.Request) { r.Header, r.Body = nil, append([]byte("accept"), r.Body...) },
		"amount":            func(a *action.Action, _ *action.Request) { a.Amount = "42.51 EUR" },
		"currency":          func(a *action.Action, _ *action.Request) { a.Amount = "42.50 USD" },
		"no amount":         func(a *action.Action, _ *action.Request) { a.Amount = "" },
		"org":               func(a *action.Action, _ *action.Request) { a.Org = "org_other" },
		"user":              func(a *action.Action, _ *action.Request) { a.User = "usr_2" },
		"agent":             func(a *action.Action, _ *action.Request) { a.Agent = "agt_2" },
		"connection":        func(a *action.Action, _ *action.Request) { a.Connection = "con_2" },
		"account":           func(a *action.Action, _ *action.Request) { a.Account = "2" },
		"user into agent":   func(a *action.Action, _ *action.Request) { a.User, a.Agent = "usr_1agt", "_1" },
		"account to method": func(a *action.Action, r *action.Request) { a.Account, r.Method = "", "1POST" },
	}
	for what, change := range changes {
		a, p, r := approved(t, payloads(1)[0], now)
		change(a, r)
		if runs(*a, *p, r, now) {
			t.Errorf("another %s: sent", what)
		}
	}
}

// gate keeps approved actions from being executed while it is shut.
type gate struct {
	broker.Queue
	open atomic.Bool
}

func (g *gate) Approved(ctx context.Context, org id.Org, limit int) ([]id.Action, error) {
	if !g.open.Load() {
		return nil, nil
	}
	return g.Queue.Approved(ctx, org, limit)
}

// The same through the whole road: actions are asked for, shown and approved,
// then what is stored is changed by somebody who has every key, so that the
// digest is all that is in the way. Nothing of it is sent.
func TestChangedAfterApprovalIsNotSent(t *testing.T) {
	g := &gate{}
	s := sceneIn(t, vktest.Wired(t, func(a *app.App) {
		g.Queue = a.Broker.Queue
		a.Broker.Queue = g
	}))
	ctx := t.Context()
	second := s.Link(s.mira, "hubot")
	other, _ := s.Agent(s.mira, "other")
	for _, con := range []id.Connection{second.ID, s.con.ID} {
		c, err := s.App.DB.Connections().Connection(ctx, s.mira.Org, con)
		if err != nil {
			t.Fatal(err)
		}
		s.Grant(s.mira, other, c, grant.Broker, []string{"*"}, nil)
		if con == second.ID {
			s.Grant(s.mira, s.bot, c, grant.Broker, []string{"*"}, nil)
		}
	}
	held := func(i int) broker.Outcome {
		ask := broker.Ask{Connection: string(s.con.ID), Method: "POST", Path: comments, Body: []byte(fmt.Sprintf(`{"body":"number %d"}`, i)),
			Header: []action.Header{{Name: "Content-Type", Value: "application/json"}}}
		if i >= 0 {
			ask.Body, _ = json.Marshal(map[string]string{"body": string(payloads(100)[i])})
		}
		out := s.submit(ask)
		s.approve(out)
		return out
	}
	// reseal puts plain where the request of an action is stored.
	reseal := func(out broker.Outcome, plain []byte) {
		t.Helper()
		place := seal.Place{Key: seal.PayloadKey(out.Action.Org, out.Action.CreatedAt), Org: out.Action.Org, Table: "payloads", Row: string(out.Action.ID), Column: "request"}
		sealed, err := s.App.Keys.SealBytes(ctx, place, plain)
		if err != nil {
			t.Fatal(err)
		}
		vktest.Tamper(t, s.Config, fmt.Sprintf("update payloads set sealed = x'%x' where action = '%s' and part = 'request'", sealed, out.Action.ID))
	}
	// change makes the stored request, or the row of the action, another one.
	change := func(out broker.Outcome, how func(*action.Request)) {
		t.Helper()
		h, err := s.App.Broker.Store.Held(ctx, s.mira.Org, out.Action.ID)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.App.Broker.Request(ctx, h.Action)
		if err != nil {
			t.Fatal(err)
		}
		how(r)
		reseal(out, r.Encode())
	}
	row := func(out broker.Outcome, how func(*action.Action, *approval.Approval)) {
		t.Helper()
		err := s.App.Broker.Store.Move(ctx, s.mira.Org, out.Action.ID, broker.Move{Epoch: -1, Apply: func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
			how(a, p)
			return nil, nil, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}

	type tampered struct {
		what string
		out  broker.Outcome
		why  string
	}
	var all []tampered
	add := func(what, why string, how func(*action.Request)) {
		out := held(len(all))
		change(out, how)
		all = append(all, tampered{what, out, why})
	}
	const mismatch = "digest_mismatch"
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		bit := n % 8
		add(fmt.Sprintf("bit %d of the body", bit), mismatch, func(r *action.Request) { r.Body[rng.IntN(len(r.Body))] ^= 1 << bit })
	}
	add("path", mismatch, func(r *action.Request) { r.Path = "/repos/octo/api/issues/2/comments" })
	add("method", mismatch, func(r *action.Request) { r.Method = "PATCH" })
	add("host", mismatch, func(r *action.Request) { r.Host = "localhost" })
	add("port", mismatch, func(r *action.Request) { r.Port = "1" })
	add("scheme", mismatch, func(r *action.Request) { r.Scheme = "https" })
	add("query", mismatch, func(r *action.Request) { r.Query = "x=1" })
	add("header", mismatch, func(r *action.Request) { r.Header = append(r.Header, action.Header{Name: "x-more", Value: "1"}) })
	add("no body", mismatch, func(r *action.Request) { r.Body = nil })
	for what, plain := range map[string]string{"no request at all": "{}", "no JSON": "x", "nothing": ""} {
		out := held(len(all))
		reseal(out, []byte(plain))
		why := "payload_unreadable"
		all = append(all, tampered{what, out, why})
	}
	swap := held(len(all)) // the request that was approved for another action
	all = append(all, tampered{"the request of another", swap, mismatch})
	h, err := s.App.Broker.Store.Held(ctx, s.mira.Org, all[0].out.Action.ID)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := s.App.Broker.Request(ctx, h.Action)
	if err != nil {
		t.Fatal(err)
	}
	reseal(swap, elsewhere.Encode())
	for what, how := range map[string]func(*action.Action, *approval.Approval){
		"connection": func(a *action.Action, _ *approval.Approval) { a.Connection, a.Account = second.ID, second.AccountID },
		"account":    func(a *action.Action, _ *approval.Approval) { a.Account = "1" },
		"agent":      func(a *action.Action, _ *approval.Approval) { a.Agent = other.ID },
		"amount":     func(a *action.Action, _ *approval.Approval) { a.Amount = "1 EUR" },
		"approved effect": func(_ *action.Action, p *approval.Approval) {
			p.Effect[0] ^= 1
		},
		"effect": func(a *action.Action, _ *approval.Approval) { a.Effect[31] ^= 1 },
	} {
		out := held(len(all))
		row(out, how)
		all = append(all, tampered{what, out, mismatch})
	}
	control := held(-1)
	g.open.Store(true)
	s.ends(control, action.Succeeded, "")
	for _, c := range all {
		h := s.stands(c.out, func(st action.State) bool { return st.Final() })
		if h.Action.State != action.Revoked || h.Action.Why != c.why || h.Approval.Status != approval.Withdrawn {
			t.Errorf("another %s: %s (%s), approval %s, want revoked (%s)", c.what, h.Action.State, h.Action.Why, h.Approval.Status, c.why)
		}
	}
	if n := s.Sandbox.Count("POST", "/repos/") + s.Sandbox.Count("PATCH", "/repos/"); n != 1 {
		t.Errorf("%d requests upstream, want the one that nobody changed", n)
	}
	t.Logf("%d changed actions, none sent", len(all))
}

// stands waits until an action is in a state, whoever's it is by now.
func (s *scene) stands(out broker.Outcome, in func(action.State) bool) broker.Held {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		h, err := s.App.Broker.Store.Held(s.t.Context(), s.mira.Org, out.Action.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		if in(h.Action.State) || time.Now().After(end) {
			return h
		}
	}
}
