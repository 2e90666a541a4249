package user_test

import (
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// elsewhere are the cases that this package cannot judge, and why.
var elsewhere = map[string]string{
	"wa-46": "passkeys cannot be deleted, so the last one cannot be",
	"wa-47": "there are no recovery codes; enrolment links take their place: TestWrongLinksRunOut",
	"wa-48": "there are no recovery codes; enrolment links take their place: TestLinkWorksOnce",
}

// reasons are those that are not "passkey_refused".
var reasons = map[string]string{
	"wa-05": "ceremony_over", "wa-06": "ceremony_over", "wa-43": "confirm_required", "wa-45": "passkey_exists",
}

// TestCorpus refuses every attack of the corpus on a step-up. Each case begins
// an honest ceremony and answers it wrongly.
func TestCorpus(t *testing.T) {
	raw, err := os.ReadFile("testdata/webauthn_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Description, Expect string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	_, otherKey, other := w.person("Grace", user.Member)
	me := w.login.Principal
	digest := [32]byte{1, 2, 3}

	// signed answers an honest ceremony, with one thing wrong.
	signed := func(tamper func(*answer)) func() error {
		return func() error {
			options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, tamper), w.now)
			return err
		}
	}
	// begun lets a case do with an honest, right answer what it likes.
	begun := func(finish func(handle secret.Text, response []byte) error) func() error {
		return func() error {
			options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
			if err != nil {
				t.Fatal(err)
			}
			return finish(handle, w.key.answer(t, options, nil))
		}
	}
	stepUp := func(p user.Principal, handle secret.Text, response []byte) error {
		_, err := w.svc.FinishStepUp(w.ctx, p, handle, response, w.now)
		return err
	}
	client := func(member string, value any) func() error {
		return signed(func(a *answer) { a.client[member] = value })
	}
	digestOf := func(b byte) string { d := [32]byte{b}; return b64(d[:]) }
	sig := func(r, s int64) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(r), big.NewInt(s)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	judge := map[string]func() error{
		"wa-02": signed(func(a *answer) { a.flags = flagUV }),
		"wa-03": client("challenge", digestOf(9)),
		"wa-05": begun(func(h secret.Text, response []byte) error {
			_, err := w.svc.FinishStepUp(w.ctx, me, h, response, w.now.Add(user.CeremonyTTL))
			return err
		}),
		"wa-06": begun(func(h secret.Text, response []byte) error {
			second, err := w.loginWith(w.key)
			if err != nil {
				t.Fatal(err)
			}
			return stepUp(second.Principal, h, response)
		}),
		// The challenge that counts is the one that was stored, never one the
		// answer brings: these differ in why the browser signed another one.
		"wa-08": client("challenge", b64([]byte("a nonce that is no digest at all"))),
		"wa-09": client("challenge", digestOf(10)),
		"wa-10": client("challenge", digestOf(11)),
		"wa-12": client("origin", "http://keys.example.com"),
		"wa-13": client("origin", "https://sub.keys.example.com"),
		"wa-16": signed(func(a *answer) { a.client["crossOrigin"], a.client["topOrigin"] = true, "https://evil.example" }),
		"wa-17": signed(func(a *answer) { a.rpID = "evil.example" }),
		"wa-18": signed(func(a *answer) { a.rpID = "example.com" }),
		"wa-19": signed(func(a *answer) { a.signed = authData(rpID, flagUP|flagUV, 99_999) }),
		"wa-20": func() error { return flipBits(w, me, digest) },
		"wa-22": func() error {
			for _, s := range [][]byte{sig(0, 1), sig(1, 0), sig(0, 0)} {
				if signed(func(a *answer) { a.signature = s })() == nil {
					return nil
				}
			}
			return signed(func(a *answer) { a.signature = sig(0, 1) })()
		},
		"wa-24": signed(func(a *answer) { a.id, a.signer = otherKey.id, otherKey.key }),
		"wa-27": signed(func(a *answer) { a.count = 1 }),
		"wa-29": signed(func(a *answer) { a.handle = otherKey.handle }),
		"wa-30": signed(func(a *answer) { a.flags |= flagBE | flagBS }),
		"wa-38": signed(func(a *answer) { a.authData = authData(rpID, flagUP|flagUV, 50_000)[:36] }),
		"wa-43": func() error {
			stale := me
			stale.AuthAt = w.now.Add(-user.FreshFor - time.Second)
			_, _, err := w.svc.BeginAdd(w.ctx, stale, w.now)
			return err
		},
		"wa-45": func() error {
			p := other
			p.AuthAt = w.now
			options, handle, err := w.svc.BeginAdd(w.ctx, p, w.now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.svc.FinishEnrol(w.ctx, p, handle, w.key.create(t, options, nil), "", w.peer, w.now)
			return err
		},
		"wa-49": begun(func(h secret.Text, response []byte) error {
			if err := stepUp(me, h, response); err != nil {
				t.Fatalf("the first use must pass: %v", err)
			}
			if stepUp(me, h, response) == nil {
				return nil
			}
			_, second, err := w.svc.BeginStepUp(w.ctx, me, [32]byte{4}, w.now)
			if err != nil {
				t.Fatal(err)
			}
			return stepUp(me, second, response)
		}),
		"wa-50": func() error {
			options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
			if err != nil {
				t.Fatal(err)
			}
			response := w.key.answer(t, options, nil)
			if stepUp(me, handle, response) == nil {
				return nil
			}
			_, asked, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
			if err != nil {
				t.Fatal(err)
			}
			return stepUp(me, asked, response)
		},
		"wa-51": client("crossOrigin", true),
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			if why, ok := elsewhere[c.ID]; ok {
				t.Log(c.Description + ": " + why)
				return
			}
			do, ok := judge[c.ID]
			if !ok {
				t.Fatalf("no test for: %s", c.Description)
			}
			if c.Expect != "refuse" {
				t.Fatalf("unknown expectation %q", c.Expect)
			}
			want, ok := reasons[c.ID]
			if !ok {
				want = "passkey_refused"
			}
			wantReason(t, do(), want)
		})
	}
	if err := signed(nil)(); err != nil {
		t.Errorf("an honest answer is refused: %v", err)
	}
}

// flipBits changes a good signature in one bit at a time, all over it, and
// returns nil as soon as one of them is let in.
func flipBits(w *world, me user.Principal, digest [32]byte) error {
	var last error
	for bit := 0; bit < 560; bit += 7 {
		options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
		if err != nil {
			w.t.Fatal(err)
		}
		var r struct {
			ID       string            `json:"id"`
			RawID    string            `json:"rawId"`
			Type     string            `json:"type"`
			Response map[string]string `json:"response"`
		}
		if err := json.Unmarshal(w.key.answer(w.t, options, nil), &r); err != nil {
			w.t.Fatal(err)
		}
		sig, err := unb64(r.Response["signature"])
		if err != nil {
			w.t.Fatal(err)
		}
		sig[bit/8] ^= 1 << (bit % 8)
		r.Response["signature"] = b64(sig)
		response, err := json.Marshal(r)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, last = w.svc.FinishStepUp(w.ctx, me, handle, response, w.now); last == nil {
			return nil
		}
	}
	return last
}
