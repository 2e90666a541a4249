package broker_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/valetkey/valetkey/internal/action"
)

// elsewhere are the cases of approval_toctou.json that are no change of the
// stored bytes: the test that shows the refusal, or why there is nothing to
// refuse.
var elsewhere = map[string]string{
	"toc-23": "no tools of other servers are executed yet",
	"toc-24": "no tools of other servers are executed yet",
	"toc-26": "TestGroundGoesAway: a rule forbids it",
	"toc-27": "TestGroundGoesAway: the approver is suspended",
	"toc-29": "TestDisconnectRevokesWhatWaits",
	"toc-34": "TestPolicyChangedAsksAgain",
	"toc-35": "a body is bytes; there are no references to resolve",
	"toc-38": "operations are rendered once, at submission; what is stored is sent",
	"toc-39": "operations are rendered once, at submission; what is stored is sent",
	"toc-40": "TestIdempotency: a new key is a new action, with an approval of its own",
	"toc-43": "TestFlippedStatus",
}

// Every change of what was approved is another effect, and another effect is
// refused at the claim (action.TestClaimNeedsTheApprovedBytes).
func TestTOCTOU(t *testing.T) {
	raw, err := os.ReadFile("testdata/approval_toctou.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Mutation, Expect string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	party := action.Party{Org: "org_default", User: "usr_1", Agent: "agt_1", Connection: "con_1", Account: "1"}
	body := []byte(`{"amount":1,"note":"a b","at":"tomorrow"}`)
	fresh := func() *action.Request {
		return &action.Request{Method: "POST", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/o/r/issues", Query: "a=1&b=2", Body: bytes.Clone(body)}
	}
	want := fresh().Effect(party, "")
	one := func(change func(*action.Request, *action.Party)) func() []action.Digest {
		return func() []action.Digest {
			r, p := fresh(), party
			change(r, &p)
			return []action.Digest{r.Effect(p, "")}
		}
	}
	with := func(b string) func() []action.Digest {
		return one(func(r *action.Request, _ *action.Party) { r.Body = []byte(b) })
	}
	each := func(change func(b []byte, i int) [][]byte) func() []action.Digest {
		return func() []action.Digest {
			var out []action.Digest
			for i := range body {
				for _, b := range change(bytes.Clone(body), i) {
					r := fresh()
					r.Body = b
					out = append(out, r.Effect(party, ""))
				}
			}
			return out
		}
	}
	mutations := map[string]func() []action.Digest{
		"toc-01": each(func(b []byte, i int) [][]byte { b[i]++; return [][]byte{b} }),
		"toc-02": each(func(b []byte, i int) (out [][]byte) {
			for bit := range 8 {
				c := bytes.Clone(b)
				c[i] ^= 1 << bit
				out = append(out, c)
			}
			return out
		}),
		"toc-03": each(func(b []byte, i int) [][]byte {
			return [][]byte{append(bytes.Clone(b[:i]), b[i+1:]...), append(append(bytes.Clone(b[:i]), 'x'), b[i:]...)}
		}),
		"toc-05": with(`{"amount": 1,"note":"a b","at":"tomorrow"}`),
		"toc-06": with(`{"amount":1.0,"note":"a b","at":"tomorrow"}`), // other bytes, other action: bodies are never re-serialised
		"toc-08": with(`{"amount":1,"note":"a b","at":"tomorrow","x":null}`),
		"toc-13": one(func(r *action.Request, _ *action.Party) { r.Query = "b=2&a=1" }),
		"toc-14": one(func(r *action.Request, _ *action.Party) { r.Query = "a=1&b=2&b=2" }),
		"toc-16": one(func(r *action.Request, _ *action.Party) { r.Method = "PUT" }),
		"toc-17": one(func(r *action.Request, _ *action.Party) { r.Host = "api.github.example" }),
		"toc-19": one(func(_ *action.Request, p *action.Party) { p.Connection = "con_2" }),
		"toc-20": one(func(_ *action.Request, p *action.Party) { p.User = "usr_2" }),
		"toc-21": one(func(_ *action.Request, p *action.Party) { p.Agent = "agt_2" }),
		"toc-37": with(`{"amount":1,"note":"a c","at":"tomorrow"}`),
		"toc-46": with(`{"amount":"1","note":"a b","at":"tomorrow"}`),
	}
	for _, c := range cases {
		mutate := mutations[c.ID]
		switch {
		case mutate == nil && elsewhere[c.ID] == "":
			t.Errorf("%s (%s) is not judged", c.ID, c.Mutation)
		case mutate != nil:
			for _, got := range mutate() {
				if got == want {
					t.Errorf("%s: %s has the same effect", c.ID, c.Mutation)
				}
			}
		}
	}
}
