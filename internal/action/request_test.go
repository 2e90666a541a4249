package action_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/action"
)

func party() action.Party {
	return action.Party{Org: "org_default", User: "usr_1", Agent: "agt_1", Connection: "con_1", Account: "583231"}
}

func request() action.Request {
	return action.Request{
		Method: "POST", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/octo/api/issues/1/comments", Query: "a=1&b=2",
		Header: []action.Header{{Name: "accept", Value: "application/json"}, {Name: "content-type", Value: "application/json"}},
		Body:   []byte(`{"body":"The quick brown fox jumps over the lazy dog, and nobody minds."}`),
	}
}

// Whatever is changed about a request or its party, in one bit, is another
// effect (M-54).
func TestEveryBitCounts(t *testing.T) {
	r, p := request(), party()
	want := r.Effect(p, "value 5 USD")
	strings := map[string]func(*action.Request, *action.Party) *string{
		"method": func(r *action.Request, _ *action.Party) *string { return &r.Method },
		"scheme": func(r *action.Request, _ *action.Party) *string { return &r.Scheme },
		"host":   func(r *action.Request, _ *action.Party) *string { return &r.Host },
		"port":   func(r *action.Request, _ *action.Party) *string { return &r.Port },
		"path":   func(r *action.Request, _ *action.Party) *string { return &r.Path },
		"query":  func(r *action.Request, _ *action.Party) *string { return &r.Query },
		"name":   func(r *action.Request, _ *action.Party) *string { return &r.Header[1].Name },
		"value":  func(r *action.Request, _ *action.Party) *string { return &r.Header[1].Value },
		"org":    func(_ *action.Request, p *action.Party) *string { return (*string)(&p.Org) },
		"user":   func(_ *action.Request, p *action.Party) *string { return (*string)(&p.User) },
		"agent":  func(_ *action.Request, p *action.Party) *string { return (*string)(&p.Agent) },
		"con":    func(_ *action.Request, p *action.Party) *string { return (*string)(&p.Connection) },
		"acct":   func(_ *action.Request, p *action.Party) *string { return &p.Account },
	}
	for name, at := range strings {
		r, p := request(), party()
		s := at(&r, &p)
		for i := range len(*s) {
			for bit := range 8 {
				old := *s
				b := []byte(old)
				b[i] ^= 1 << bit
				*s = string(b)
				if r.Effect(p, "value 5 USD") == want {
					t.Errorf("%s: bit %d of byte %d does not count", name, bit, i)
				}
				*s = old
			}
		}
		old := *s
		for _, other := range []string{"", old + "x", old[:len(old)-1], " " + old} {
			*s = other
			if r.Effect(p, "value 5 USD") == want {
				t.Errorf("%s: %q counts as %q", name, other, old)
			}
		}
	}
	for i := range r.Body {
		for bit := range 8 {
			r := request()
			r.Body = bytes.Clone(r.Body)
			r.Body[i] ^= 1 << bit
			if r.Effect(p, "value 5 USD") == want {
				t.Errorf("bit %d of body byte %d does not count", bit, i)
			}
		}
	}
	if r.Effect(p, "value 6 USD") == want || r.Effect(p, "") == want {
		t.Error("the amount does not count")
	}
}

// Fields cannot run into each other: moving a character over a border is
// another effect.
func TestFieldsDoNotRunTogether(t *testing.T) {
	p := party()
	seen := map[action.Digest]string{}
	for name, change := range map[string]func(*action.Request){
		"as it is":         func(*action.Request) {},
		"path to query":    func(r *action.Request) { r.Path, r.Query = r.Path[:5], r.Path[5:]+r.Query },
		"no header":        func(r *action.Request) { r.Header = nil },
		"one header":       func(r *action.Request) { r.Header = r.Header[:1] },
		"name into value":  func(r *action.Request) { r.Header[0].Name, r.Header[0].Value = "acc", "ept"+r.Header[0].Value },
		"header as query":  func(r *action.Request) { r.Header, r.Query = nil, r.Query+"acceptapplication/json" },
		"headers reversed": func(r *action.Request) { slices.Reverse(r.Header) },
		"empty body":       func(r *action.Request) { r.Body = nil },
	} {
		r := request()
		change(&r)
		d := r.Effect(p, "")
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same effect", name, other)
		}
		seen[d] = name
	}
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := action.Request{
			Method: rapid.String().Draw(t, "method"), Scheme: "https", Host: "h", Port: "443", Path: "/" + rapid.StringMatching(`[a-z%0-9]{0,20}`).Draw(t, "path"),
			Query: rapid.StringMatching(`[a-z=&]{0,20}`).Draw(t, "query"), Body: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "body"),
		}
		got, err := action.DecodeRequest(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Fatal(diff)
		}
		if got.Effect(party(), "") != want.Effect(party(), "") {
			t.Fatal("the stored form has another effect")
		}
	})
}

func TestURLRefusesTwoReadings(t *testing.T) {
	r := request()
	u, err := r.URL()
	if err != nil || u.String() != "https://api.github.com/repos/octo/api/issues/1/comments?a=1&b=2" {
		t.Fatalf("%v, %v", u, err)
	}
	for _, path := range []string{"", "repos", "/a b", "/%zz", "/%", "//x\x00"} {
		r := request()
		r.Path = path
		if u, err := r.URL(); err == nil && u.EscapedPath() != path {
			t.Errorf("path %q became %q", path, u.EscapedPath())
		}
	}
}

// An action is executed at most once, whatever order moves arrive in.
func TestOneExecution(t *testing.T) {
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		r := request()
		a := action.New(party(), &r, "", now)
		starts := 0
		moves := map[string]func() error{
			"hold":    func() error { _, err := a.Hold("apr_1", now.Add(time.Hour), now); return err },
			"approve": func() error { _, err := a.Approve("user:usr_1", now); return err },
			"deny":    func() error { _, err := a.Deny("user:usr_1", "", now); return err },
			"cancel":  func() error { _, err := a.Cancel(now); return err },
			"expire":  func() error { _, err := a.Expire(now.Add(2 * time.Hour)); return err },
			"revoke":  func() error { _, err := a.Revoke("x", now); return err },
			"refuse":  func() error { _, err := a.Refuse("x", now); return err },
			"reask":   func() error { _, err := a.Reask("apr_2", "x", now.Add(time.Hour), now); return err },
			"finish":  func() error { _, err := a.Finish(action.Outcome{State: action.Succeeded}, now); return err },
			"claim": func() error {
				_, err := a.Claim(a.Effect, now)
				if err == nil {
					starts++
				}
				return err
			},
			"start": func() error {
				_, err := a.Start(now)
				if err == nil {
					starts++
				}
				return err
			},
		}
		names := slices.Sorted(func(yield func(string) bool) {
			for n := range moves {
				if !yield(n) {
					return
				}
			}
		})
		for range rapid.IntRange(1, 30).Draw(t, "moves") {
			before := a.State
			err := moves[rapid.SampledFrom(names).Draw(t, "move")]()
			if before.Final() && err == nil {
				t.Fatalf("moved on from %s", before)
			}
		}
		if starts > 1 {
			t.Fatalf("%d executions", starts)
		}
	})
}

func TestClaimNeedsTheApprovedBytes(t *testing.T) {
	now := time.Now()
	r := request()
	a := action.New(party(), &r, "", now)
	if _, err := a.Hold("apr_1", now.Add(time.Hour), now); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Approve("user:usr_1", now); err != nil {
		t.Fatal(err)
	}
	other := request()
	other.Body = []byte("{}")
	if _, err := a.Claim(other.Effect(party(), ""), now); err != action.ErrMismatch {
		t.Errorf("claim with other bytes: %v", err)
	}
	if _, err := a.Claim(r.Effect(party(), ""), now); err != nil {
		t.Errorf("claim: %v", err)
	}
}

func BenchmarkEffect(b *testing.B) {
	r := request()
	r.Body = bytes.Repeat([]byte("x"), 16<<10)
	p := party()
	b.SetBytes(int64(len(r.Body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Effect(p, "")
	}
}
