package user_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/internal/oidc/oidctest"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// withIssuer gives the world an identity provider, which knows the real time.
func (w *world) withIssuer() *oidctest.Issuer {
	i := oidctest.New(w.t)
	w.svc.OIDC = &oidc.Provider{
		Issuer: i.URL, ClientID: i.ClientID, Secret: secret.New(i.Secret), Name: "Example", RedirectURI: origin + "/signin/callback", HTTP: http.DefaultClient,
	}
	w.now = time.Now().UTC().Truncate(time.Microsecond)
	return i
}

// linked links an account to the owner, as of a time.
func (w *world) linked(i *oidctest.Issuer, subject string, at time.Time) *user.Identity {
	w.t.Helper()
	v := &user.Identity{Org: id.DefaultOrg, ID: id.NewIdentity(), Issuer: i.URL, Subject: subject, User: w.owner.ID, Label: subject, CreatedAt: at, UsedAt: at, Version: 1}
	if err := w.svc.Store.Passkeys().LinkIdentity(w.ctx, v, nil, at, nil); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// An account that was linked within a day, or elsewhere, proves no presence.
func TestIdentityRests(t *testing.T) {
	w := newWorld(t)
	i := w.withIssuer()
	l, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.svc.BeginReauthentication(w.ctx, l.Principal, [32]byte{1}, "/", w.now); err == nil {
		t.Error("without an account")
	}
	v := w.linked(i, "ada", w.now.Add(-user.NewPasskeyRest+time.Minute))
	_, _, err = w.svc.BeginReauthentication(w.ctx, l.Principal, [32]byte{1}, "/", w.now)
	wantReason(t, err, "identity_too_new")
	if !v.Rests(w.now) || v.Rests(w.now.Add(time.Minute)) {
		t.Error("it does not rest for a day")
	}
	if _, _, err := w.svc.BeginReauthentication(w.ctx, l.Principal, [32]byte{1}, "/", w.now.Add(time.Minute)); err != nil {
		t.Errorf("after a day: %v", err)
	}
	if a, err := w.svc.Alerts(w.ctx, l.Principal, w.now); err != nil || len(a) != 1 || a[0].Kind != "identity" {
		t.Errorf("alerts: %v, %v", a, err)
	}
	w.svc.OIDC = nil
	if _, _, err := w.svc.BeginSignIn(w.ctx, "/", w.peer, w.now); err != user.ErrNoOIDC {
		t.Errorf("without a provider: %v", err)
	}
}

// A first passkey that came in after an account did is not the first way in,
// and rests like any other.
func TestFirstPasskeyAfterIdentityRests(t *testing.T) {
	w := newWorld(t)
	i := w.withIssuer()
	u, link, err := w.svc.Create(w.ctx, w.fresh(), "Bob", user.Member, w.now)
	if err != nil {
		t.Fatal(err)
	}
	v := &user.Identity{Org: id.DefaultOrg, ID: id.NewIdentity(), Issuer: i.URL, Subject: "bob", User: u.ID, First: true, CreatedAt: w.now.Add(-time.Hour), Version: 1}
	if err := w.svc.Store.Passkeys().LinkIdentity(w.ctx, v, nil, w.now, nil); err != nil {
		t.Fatal(err)
	}
	_, l := w.enrol(u, link)
	_, _, err = w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now)
	wantReason(t, err, "passkey_too_new")
	if _, _, err := w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now.Add(user.NewPasskeyRest)); err != nil {
		t.Errorf("after a day: %v", err)
	}
}

// Evidence of a login counts for its decision, its person, its account and a
// key that its issuer was seen to use; each alone makes it worthless.
func TestSignInEvidence(t *testing.T) {
	w := newWorld(t)
	i := w.withIssuer()
	w.linked(i, "ada", w.now.Add(-48*time.Hour))
	l, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	challenge := [32]byte{1, 2, 3}
	at, handle, err := w.svc.BeginReauthentication(w.ctx, l.Principal, challenge, "/actions/x", w.now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.svc.FinishSignIn(w.ctx, l.Principal, handle, i.Approve(at, "ada"), w.peer, w.now)
	if err != nil || got.To != "/actions/x" || got.Login != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	bob, _, bobs := w.person("Bob", user.Member)
	if _, err := w.svc.TakeEvidence(w.ctx, bobs, got.Evidence, challenge, w.now); err != user.ErrCeremony {
		t.Errorf("in another session: %v", err)
	}
	if at, handle, err = w.svc.BeginReauthentication(w.ctx, l.Principal, challenge, "/actions/x", w.now); err != nil {
		t.Fatal(err)
	}
	if got, err = w.svc.FinishSignIn(w.ctx, l.Principal, handle, i.Approve(at, "ada"), w.peer, w.now); err != nil {
		t.Fatal(err)
	}
	evidence, err := w.svc.TakeEvidence(w.ctx, l.Principal, got.Evidence, challenge, w.now)
	if err != nil {
		t.Fatal(err)
	}
	check := func(who id.User, raw []byte, challenge [32]byte) error {
		return user.CheckEvidence(w.ctx, w.svc.Store.Passkeys(), id.DefaultOrg, who, raw, challenge)
	}
	if err := check(w.owner.ID, evidence, challenge); err != nil {
		t.Fatalf("good evidence: %v", err)
	}
	wantReason(t, check(w.owner.ID, evidence, [32]byte{9}), "presence_required")
	wantReason(t, check(bob.ID, evidence, challenge), "presence_required")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*user.SignInEvidence){
		"another decision": func(e *user.SignInEvidence) { e.Challenge[0] ^= 1 },
		"another salt":     func(e *user.SignInEvidence) { e.Salt += "x" },
		"another subject":  func(e *user.SignInEvidence) { e.Subject = "eve" },
		"another account":  func(e *user.SignInEvidence) { e.Identity = id.NewIdentity() },
		"another issuer":   func(e *user.SignInEvidence) { e.Issuer = "https://evil.example" },
		"another client":   func(e *user.SignInEvidence) { e.ClientID = "x" },
		"later":            func(e *user.SignInEvidence) { e.At = e.At.Add(time.Hour) },
		"earlier":          func(e *user.SignInEvidence) { e.At = e.At.Add(-time.Hour) },
		"another format":   func(e *user.SignInEvidence) { e.Format = "x" },
		"a changed token":  func(e *user.SignInEvidence) { e.IDToken = e.IDToken[:len(e.IDToken)-6] + "AAAAAA" },
		"a key of one's own": func(e *user.SignInEvidence) {
			i.Key = other
			defer func() { i.Key = nil }()
			var claims map[string]any
			jws, err := jose.ParseSignedCompact(e.IDToken, []jose.SignatureAlgorithm{jose.ES256})
			if err == nil {
				err = json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims)
			}
			if err == nil {
				e.IDToken, err = i.Sign(claims)
			}
			if err == nil {
				e.Key, err = jose.JSONWebKey{Key: other.Public(), KeyID: "ec"}.MarshalJSON()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Check(challenge); err != nil {
				t.Fatalf("it does not even hold by itself: %v", err)
			}
		},
	} {
		var e user.SignInEvidence
		if err := json.Unmarshal(evidence, &e); err != nil {
			t.Fatal(err)
		}
		change(&e)
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(w.owner.ID, raw, challenge); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	w.wantVerb("identity.asserted")
}
