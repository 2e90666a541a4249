package user_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// Whatever is wrong with a login, the answer is the same.
func TestLoginRefuses(t *testing.T) {
	w := newWorld(t)
	_, other, _ := w.person("Grace", user.Member)
	stranger := newDevice(w.owner.Handle)
	for name, tamper := range map[string]func(*answer){
		"unknown credential":       func(a *answer) { a.id = stranger.id },
		"unknown key":              func(a *answer) { a.signer = stranger.key },
		"another person's handle":  func(a *answer) { a.handle = other.handle },
		"another person's passkey": func(a *answer) { a.id = other.id },
		"no handle":                func(a *answer) { a.handle = nil },
		"user not verified":        func(a *answer) { a.flags = flagUP },
		"user not present":         func(a *answer) { a.flags = flagUV },
		"another challenge":        func(a *answer) { a.client["challenge"] = b64(make([]byte, 32)) },
		"another origin":           func(a *answer) { a.client["origin"] = "https://evil.example" },
		"origin with a path":       func(a *answer) { a.client["origin"] = origin + "/login" },
		"another port":             func(a *answer) { a.client["origin"] = origin + ":8443" },
		"in a frame":               func(a *answer) { a.client["crossOrigin"] = true },
		"another relying party":    func(a *answer) { a.rpID = "example.com" },
		"made, not used":           func(a *answer) { a.client["type"] = "webauthn.create" },
		"counter went back":        func(a *answer) { a.count = 1 },
		"counter stood still":      func(a *answer) { a.count-- },
		"counter gone":             func(a *answer) { a.count = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.loginWith(w.key); err != nil {
				t.Fatal(err)
			}
			options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.svc.FinishLogin(w.ctx, handle, w.key.answer(t, options, tamper), w.peer, w.now)
			wantReason(t, err, "login_refused")
			_, err = w.svc.FinishLogin(w.ctx, handle, w.key.answer(t, options, nil), w.peer, w.now)
			wantReason(t, err, "ceremony_over")
		})
	}
	if !slices.Contains(w.refused, "login login_refused") {
		t.Errorf("the refusals were not recorded: %q", w.refused)
	}
	w.wantVerb("passkey.clone_suspected")

	_, err := w.svc.FinishLogin(w.ctx, secret.Random(32), nil, w.peer, w.now)
	wantReason(t, err, "ceremony_over")
	options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishLogin(w.ctx, handle, w.key.answer(t, options, nil), w.peer, w.now.Add(user.CeremonyTTL))
	wantReason(t, err, "ceremony_over")
	if strings.Contains(string(options), b64(w.key.id)) {
		t.Error("the options name a passkey to somebody unknown")
	}
}

// An authenticator that never counts is no clone.
func TestLoginWithoutCounter(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.svc.FinishLogin(w.ctx, handle, w.key.answer(t, options, func(a *answer) { a.count = 0 }), w.peer, w.now); err != nil {
			t.Fatal(err)
		}
	}
}

// After a suspected clone the one that is ahead keeps working.
func TestLoginAfterClone(t *testing.T) {
	w := newWorld(t)
	clone := *w.key
	if _, err := w.loginWith(w.key); err != nil {
		t.Fatal(err)
	}
	_, err := w.loginWith(&clone)
	wantReason(t, err, "login_refused")
	for range 2 {
		if _, err := w.loginWith(w.key); err != nil {
			t.Errorf("the real one is locked out: %v", err)
		}
	}
}

// The library of the virtual authenticator is another implementation of the
// other side than this test's own.
func TestLoginVirtualAuthenticator(t *testing.T) {
	w := newWorld(t)
	options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := virtual.ParseAssertionOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	auth := virtual.NewAuthenticatorWithOptions(virtual.AuthenticatorOptions{UserHandle: w.owner.Handle})
	response := virtual.CreateAssertionResponse(virtual.RelyingParty{ID: rpID, Origin: origin}, auth, virtual.Credential{ID: w.key.id, Key: w.key.key, Counter: 5}, *o)
	l, err := w.svc.FinishLogin(w.ctx, handle, []byte(response), w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if l.Session.ID == w.login.Session.ID || l.Bearer.Equal(w.login.Bearer) {
		t.Error("a login reuses a session")
	}
	if !l.Session.AuthAt.Equal(w.now) || l.Session.Label != "Firefox on Linux" || l.Principal.Name != "Ada" || l.Principal.Role != user.Owner {
		t.Errorf("session %+v, principal %+v", l.Session, l.Principal)
	}
}

// A wrong login spends tries, a right one gives them back.
func TestLoginTries(t *testing.T) {
	w := newWorld(t)
	w.svc.Tries = &user.Limiter{}
	for range 30 {
		if _, err := w.loginWith(w.key); err != nil {
			t.Fatal(err)
		}
	}
	stranger := newDevice(w.owner.Handle)
	for i := range 30 {
		_, err := w.loginWith(stranger)
		if i < 10 {
			wantReason(t, err, "login_refused")
		} else {
			wantReason(t, err, "too_many_tries")
		}
	}
}

func TestSession(t *testing.T) {
	w := newWorld(t)
	bearer := w.login.Bearer
	at := func(after time.Duration, kind user.SessionKind, reason string) {
		t.Helper()
		p, err := w.svc.Authenticate(w.ctx, bearer, kind, w.now.Add(after))
		if reason != "" {
			wantReason(t, err, reason)
			return
		}
		if err != nil || p.User != w.owner.ID || p.Session != w.login.Session.ID {
			t.Errorf("after %s: %+v, %v", after, p, err)
		}
	}
	at(0, user.CLI, "login_required") // a cookie is no command line token
	at(0, user.Browser, "")
	at(29*time.Minute, user.Browser, "")
	at(58*time.Minute, user.Browser, "") // it was touched
	at(58*time.Minute+30*time.Minute, user.Browser, "login_required")
	for _, b := range []secret.Text{{}, secret.New(""), secret.New("vks_x"), secret.Random(32)} {
		_, err := w.svc.Authenticate(w.ctx, b, user.Browser, w.now)
		wantReason(t, err, "login_required")
	}
}

// No use keeps a session alive beyond its absolute end.
func TestSessionEnds(t *testing.T) {
	w := newWorld(t)
	for at := time.Duration(0); at < 12*time.Hour; at += 25 * time.Minute {
		if _, err := w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now.Add(at)); err != nil {
			t.Fatalf("after %s: %v", at, err)
		}
	}
	_, err := w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now.Add(12*time.Hour))
	wantReason(t, err, "login_required")
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	_, key, member := w.person("Grace", user.Member)
	wantReason(t, w.svc.RevokeSession(w.ctx, member, w.login.Session.ID, w.now), "not_allowed")
	wantReason(t, w.svc.RevokeSession(w.ctx, member, "ses_none", w.now), "session_not_found")
	if err := w.svc.RevokeSession(w.ctx, w.login.Principal, member.Session, w.now); err != nil {
		t.Error(err)
	}
	second, err := w.loginWith(key)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice is no error
		if err := w.svc.Logout(w.ctx, second.Principal, w.now); err != nil {
			t.Error(err)
		}
	}
	_, err = w.svc.Authenticate(w.ctx, second.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
	if _, err = w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now); err != nil {
		t.Errorf("somebody else's logout: %v", err)
	}
	n := 0
	for _, v := range w.verbs() {
		if v == "session.closed" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d sessions closed in the log, want 2", n)
	}
}
