package user_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// One kind of answer is never taken for another, nor one person's for
// another's.
func TestPresenceRefuses(t *testing.T) {
	w := newWorld(t)
	_, _, other := w.person("Grace", user.Member)
	me := w.login.Principal

	options, handle, err := w.svc.BeginConfirm(w.ctx, me, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	wantReason(t, err, "ceremony_over")

	options, handle, err = w.svc.BeginStepUp(w.ctx, me, [32]byte{1}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishConfirm(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	wantReason(t, err, "ceremony_over")

	options, handle, err = w.svc.BeginStepUp(w.ctx, me, [32]byte{1}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishStepUp(w.ctx, other, handle, w.key.answer(t, options, nil), w.now)
	wantReason(t, err, "ceremony_over")

	for name, tamper := range map[string]func(*answer){
		"user not verified": func(a *answer) { a.flags = flagUP },
		"counter":           func(a *answer) { a.count = 0 },
		"origin":            func(a *answer) { a.client["origin"] = "http://localhost" },
	} {
		t.Run(name, func(t *testing.T) {
			options, handle, err := w.svc.BeginStepUp(w.ctx, me, [32]byte{1}, w.now)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.loginWith(w.key); err != nil { // so that the counter is above 0
				t.Fatal(err)
			}
			_, err = w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, tamper), w.now)
			wantReason(t, err, "passkey_refused")
		})
	}
	w.wantVerb("presence.refused")
	if len(w.refused) != 0 {
		t.Errorf("a known person's refusals are counted as unknown: %q", w.refused)
	}
	cli := me
	cli.Kind = user.CLI
	for _, p := range []user.Principal{cli, {}, {Operator: true, Confirm: true, Org: me.Org}} {
		_, _, err := w.svc.BeginStepUp(w.ctx, p, [32]byte{1}, w.now)
		wantReason(t, err, "browser_required")
	}
}

// The evidence can be checked with nothing but itself and arithmetic.
func TestEvidence(t *testing.T) {
	w := newWorld(t)
	me := w.login.Principal
	digest := sha256.Sum256([]byte("a decision"))
	options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if got := challengeOf(t, options); got != b64(digest[:]) {
		t.Fatalf("challenge %s, want the digest", got)
	}
	raw, err := w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	if err != nil {
		t.Fatal(err)
	}
	var e user.Evidence
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	if string(e.Challenge) != string(digest[:]) || e.User != me.User || e.Origin != origin || e.RPID != rpID || string(e.CredentialID) != string(w.key.id) {
		t.Errorf("evidence %s", raw)
	}
	var client struct{ Type, Challenge, Origin string }
	if err := json.Unmarshal(e.ClientDataJSON, &client); err != nil || client.Challenge != b64(digest[:]) || client.Type != "webauthn.get" {
		t.Errorf("client data %s, %v", e.ClientDataJSON, err)
	}
	var cose struct {
		X []byte `cbor:"-2,keyasint"`
		Y []byte `cbor:"-3,keyasint"`
	}
	if err := cbor.Unmarshal(e.PublicKey, &cose); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(e.ClientDataJSON)
	signed := sha256.Sum256(append(append([]byte(nil), e.AuthenticatorData...), hash[:]...))
	key := &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(cose.X), Y: new(big.Int).SetBytes(cose.Y)}
	if !ecdsa.VerifyASN1(key, signed[:], e.Signature) {
		t.Error("the evidence does not verify")
	}
	w.wantVerb("passkey.asserted")
}

// A passkey that comes in by recovery, or beside another, decides nothing
// critical for a day.
func TestNewPasskeyRests(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Add(time.Minute)
	link, err := w.svc.NewLink(w.ctx, w.fresh(), w.owner.ID, w.now)
	if err != nil {
		t.Fatal(err)
	}
	added, l := w.enrol(w.owner, link)
	options, handle, err := w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishStepUp(w.ctx, l.Principal, handle, added.answer(t, options, nil), w.now)
	wantReason(t, err, "passkey_refused")

	// It logs in and confirms, though, and the first one decides.
	options, handle, err = w.svc.BeginConfirm(w.ctx, l.Principal, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.FinishConfirm(w.ctx, l.Principal, handle, added.answer(t, options, nil), w.now); err != nil {
		t.Error(err)
	}
	options, handle, err = w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.svc.FinishStepUp(w.ctx, l.Principal, handle, w.key.answer(t, options, nil), w.now); err != nil {
		t.Error(err)
	}

	w.now = w.now.Add(user.NewPasskeyRest)
	l, err = w.loginWith(added)
	if err != nil {
		t.Fatal(err)
	}
	options, handle, err = w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.svc.FinishStepUp(w.ctx, l.Principal, handle, added.answer(t, options, nil), w.now); err != nil {
		t.Error(err)
	}
}

// Confirming makes the session fresh, under a new bearer value.
func TestConfirm(t *testing.T) {
	w := newWorld(t)
	later := w.now.Add(10 * time.Minute)
	me := w.login.Principal
	wantReason(t, me.Fresh(later), "confirm_required")
	options, handle, err := w.svc.BeginConfirm(w.ctx, me, later)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.svc.FinishConfirm(w.ctx, me, handle, w.key.answer(t, options, nil), later)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Principal.Fresh(later); err != nil {
		t.Error(err)
	}
	if l.Session.ID != w.login.Session.ID || !l.Session.ExpiresAt.Equal(w.login.Session.ExpiresAt) {
		t.Errorf("session %+v", l.Session)
	}
	_, err = w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, later)
	wantReason(t, err, "login_required")
	p, err := w.svc.Authenticate(w.ctx, l.Bearer, user.Browser, later)
	if err != nil || !p.AuthAt.Equal(later) {
		t.Errorf("%+v, %v", p, err)
	}
	w.wantVerb("session.confirmed")

	// A session that ended in the meantime stays ended.
	options, handle, err = w.svc.BeginConfirm(w.ctx, p, later)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Logout(w.ctx, p, later); err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishConfirm(w.ctx, p, handle, w.key.answer(t, options, nil), later)
	wantReason(t, err, "login_required")
}

// Of two who race with one handle, one gets in.
func TestCeremonyTakenOnce(t *testing.T) {
	w := newWorld(t)
	options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	responses := [][]byte{w.key.answer(t, options, nil), w.key.answer(t, options, nil)}
	got := make(chan error, 8)
	for i := range cap(got) {
		go func(h secret.Text) {
			_, err := w.svc.FinishLogin(w.ctx, h, responses[i%2], user.Peer{}, w.now)
			got <- err
		}(handle)
	}
	in := 0
	for range cap(got) {
		if <-got == nil {
			in++
		}
	}
	if in != 1 {
		t.Errorf("%d logins by one handle", in)
	}
}

// Evidence proves one decision of one person, and nothing when anything about
// it was changed.
func TestCheckEvidence(t *testing.T) {
	w := newWorld(t)
	me := w.login.Principal
	digest := sha256.Sum256([]byte("a decision"))
	options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	if err != nil {
		t.Fatal(err)
	}
	keys := w.svc.Store.Passkeys()
	if err := user.CheckEvidence(w.ctx, keys, me.Org, me.User, raw, digest); err != nil {
		t.Fatalf("good evidence: %v", err)
	}
	if err := user.CheckEvidence(w.ctx, keys, me.Org, me.User, raw, sha256.Sum256([]byte("another"))); err == nil {
		t.Error("it proves another decision")
	}
	if err := user.CheckEvidence(w.ctx, keys, me.Org, id.NewUser(), raw, digest); err == nil {
		t.Error("it proves another person's decision")
	}
	for name, change := range map[string]func(*user.Evidence){
		"client data":        func(e *user.Evidence) { e.ClientDataJSON[len(e.ClientDataJSON)-2] ^= 1 },
		"authenticator data": func(e *user.Evidence) { e.AuthenticatorData[36] ^= 1 },
		"no verification":    func(e *user.Evidence) { e.AuthenticatorData[32] &^= 0x04 },
		"signature":          func(e *user.Evidence) { e.Signature[10] ^= 1 },
		"public key":         func(e *user.Evidence) { e.PublicKey[len(e.PublicKey)-1] ^= 1 },
		"credential":         func(e *user.Evidence) { e.CredentialID[0] ^= 1 },
		"challenge":          func(e *user.Evidence) { e.Challenge[0] ^= 1 },
		"rp id":              func(e *user.Evidence) { e.RPID = "evil.example" },
		"format":             func(e *user.Evidence) { e.Format = "" },
		"empty":              func(e *user.Evidence) { *e = user.Evidence{} },
	} {
		var e user.Evidence
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		change(&e)
		forged, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := user.CheckEvidence(w.ctx, keys, me.Org, me.User, forged, digest); err == nil {
			t.Errorf("with another %s it still proves", name)
		}
	}
	for _, junk := range []string{"", "null", "{}", "[]"} {
		if err := user.CheckEvidence(w.ctx, keys, me.Org, me.User, []byte(junk), digest); err == nil {
			t.Errorf("%q proves", junk)
		}
	}
}
