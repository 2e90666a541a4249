package user_test

import (
	"slices"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// add gives p, who has just touched a passkey, another one.
func (w *world) add(p user.Principal) *device {
	w.t.Helper()
	p.AuthAt = w.now
	options, handle, err := w.svc.BeginAdd(w.ctx, p, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	d := newDevice(w.owner.Handle)
	if _, err := w.svc.FinishEnrol(w.ctx, p, handle, d.create(w.t, options, nil), "another", w.peer, w.now); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// keyOf is how the store knows d.
func (w *world) keyOf(d *device) id.Passkey {
	w.t.Helper()
	k, err := w.svc.Store.Passkeys().ByCredential(w.ctx, d.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return k.ID
}

// removeBy removes a passkey with a touch of by.
func (w *world) removeBy(p user.Principal, which id.Passkey, by *device) error {
	w.t.Helper()
	options, handle, err := w.svc.BeginRemoval(w.ctx, p, which, w.now)
	if err != nil {
		return err
	}
	return w.svc.FinishRemoval(w.ctx, p, which, handle, by.answer(w.t, options, nil), w.now)
}

// The last passkey stays, and so does the last one that may decide what is
// critical: otherwise a new one would end its rest by removing the others.
func TestRemovalRefuses(t *testing.T) {
	w := newWorld(t)
	me, first := w.login.Principal, w.keyOf(w.key)
	_, _, err := w.svc.BeginRemoval(w.ctx, me, first, w.now)
	wantReason(t, err, "last_passkey")

	w.now = w.now.Add(time.Minute)
	second := w.add(me)
	added := w.keyOf(second)
	wantReason(t, w.removeBy(me, first, w.key), "last_settled_passkey")
	wantReason(t, w.removeBy(me, first, second), "last_settled_passkey")
	wantReason(t, w.removeBy(me, added, second), "passkey_refused") // it rests

	_, graceKey, grace := w.person("Grace", user.Member)
	theirs := w.keyOf(graceKey)
	cli := me
	cli.Kind = user.CLI
	for name, c := range map[string]struct {
		p      user.Principal
		which  id.Passkey
		reason string
	}{
		"somebody else's":        {me, theirs, "passkey_not_found"},
		"mine, by another":       {grace, added, "passkey_not_found"},
		"no such":                {me, id.NewPasskey(), "passkey_not_found"},
		"from a command line":    {cli, added, "browser_required"},
		"by nobody":              {user.Principal{}, added, "browser_required"},
		"by the operator":        {user.Principal{Operator: true, Confirm: true, Org: me.Org}, added, "browser_required"},
		"through another tenant": {user.Principal{Org: "org_other", User: me.User, Session: me.Session, Kind: user.Browser}, added, "browser_required"},
	} {
		_, _, err := w.svc.BeginRemoval(w.ctx, c.p, c.which, w.now)
		wantReason(t, err, c.reason)
		if wantReason(t, w.svc.FinishRemoval(w.ctx, c.p, c.which, secret.Random(32), []byte("{}"), w.now), c.reason); t.Failed() {
			t.Fatal(name)
		}
	}

	// The touch is for this passkey's removal, and for nothing else.
	third := w.keyOf(w.add(me))
	options, handle, err := w.svc.BeginRemoval(w.ctx, me, third, w.now)
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.FinishRemoval(w.ctx, me, added, handle, w.key.answer(t, options, nil), w.now), "presence_required")
	if options, handle, err = w.svc.BeginConfirm(w.ctx, me, w.now); err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.FinishRemoval(w.ctx, me, added, handle, w.key.answer(t, options, nil), w.now), "ceremony_over")
	if options, handle, err = w.svc.BeginRemoval(w.ctx, me, added, w.now); err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.FinishRemoval(w.ctx, me, added, handle, w.key.answer(t, options, func(a *answer) { a.flags = flagUP }), w.now), "passkey_refused")
	if options, handle, err = w.svc.BeginRemoval(w.ctx, me, added, w.now); err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	wantReason(t, err, "ceremony_over")

	keys, err := w.svc.Keys(w.ctx, me)
	if err != nil || len(keys) != 3 || keys[0].ID != first {
		t.Errorf("%d passkeys, %v", len(keys), err)
	}
	_, err = w.svc.Keys(w.ctx, user.Principal{Operator: true, Org: me.Org})
	wantReason(t, err, "login_required")
	w.wantVerb("passkey.refused")
	if slices.Contains(w.verbs(), "passkey.removed") {
		t.Error("a passkey was removed")
	}
}

// A removed passkey opens nothing more, and what it had opened ends.
func TestRemoval(t *testing.T) {
	w := newWorld(t)
	me := w.login.Principal
	second := w.add(me)
	w.now = w.now.Add(user.NewPasskeyRest)
	theirs, err := w.loginWith(second)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	p := mine.Principal
	if err := w.removeBy(p, w.keyOf(second), w.key); err != nil {
		t.Fatal(err)
	}
	w.wantVerb("passkey.removed")
	_, err = w.svc.Authenticate(w.ctx, theirs.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
	if _, err := w.svc.Authenticate(w.ctx, mine.Bearer, user.Browser, w.now); err != nil {
		t.Errorf("the other session: %v", err)
	}
	_, err = w.loginWith(second)
	wantReason(t, err, "login_refused")
	_, _, err = w.svc.BeginRemoval(w.ctx, p, w.keyOf(w.key), w.now)
	wantReason(t, err, "last_passkey")

	// The first one may go too, by its own touch, once another is settled.
	third := w.add(p)
	w.now = w.now.Add(user.NewPasskeyRest)
	if mine, err = w.loginWith(w.key); err != nil {
		t.Fatal(err)
	}
	if err := w.removeBy(mine.Principal, w.keyOf(w.key), w.key); err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.Authenticate(w.ctx, mine.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required") // it had opened the session that removed it
	if _, err := w.loginWith(third); err != nil {
		t.Error(err)
	}
}

// Of two passkeys that are removed at once, by each other, one stays.
func TestRemovalsRace(t *testing.T) {
	w := newWorld(t)
	second := w.add(w.login.Principal)
	w.now = w.now.Add(user.NewPasskeyRest)
	type attempt struct {
		p        user.Principal
		which    id.Passkey
		handle   secret.Text
		response []byte
	}
	var tries []attempt
	for _, c := range []struct{ by, goes *device }{{w.key, second}, {second, w.key}} {
		l, err := w.loginWith(c.by)
		if err != nil {
			t.Fatal(err)
		}
		which := w.keyOf(c.goes)
		options, handle, err := w.svc.BeginRemoval(w.ctx, l.Principal, which, w.now)
		if err != nil {
			t.Fatal(err)
		}
		tries = append(tries, attempt{l.Principal, which, handle, c.by.answer(t, options, nil)})
	}
	got := make(chan error, len(tries))
	for _, a := range tries {
		go func() { got <- w.svc.FinishRemoval(w.ctx, a.p, a.which, a.handle, a.response, w.now) }()
	}
	gone := 0
	for range tries {
		if <-got == nil {
			gone++
		}
	}
	keys, err := w.svc.Keys(w.ctx, w.login.Principal)
	if gone != 1 || err != nil || len(keys) != 1 {
		t.Errorf("%d removed, %d left, %v", gone, len(keys), err)
	}
}

// One session among several is ended by its person or a manager; nobody else
// sees that it is there.
func TestLogins(t *testing.T) {
	w := newWorld(t)
	u, key, grace := w.person("Grace", user.Member)
	_, _, hal := w.person("Hal", user.Member)
	_, _, auditor := w.person("Ira", user.Auditor)
	operator := user.Principal{Operator: true, Org: u.Org}
	w.now = w.now.Add(time.Minute)
	later, err := w.loginWith(key)
	if err != nil {
		t.Fatal(err)
	}

	for _, p := range []user.Principal{hal, {}, {Org: u.Org}} {
		_, err := w.svc.Logins(w.ctx, p, u.ID, w.now)
		wantReason(t, err, "not_allowed")
	}
	_, err = w.svc.Logins(w.ctx, user.Principal{}, "", w.now)
	wantReason(t, err, "not_allowed")
	wantReason(t, w.svc.RevokeSession(w.ctx, hal, later.Session.ID, w.now), "not_allowed")
	wantReason(t, w.svc.RevokeSession(w.ctx, auditor, later.Session.ID, w.now), "not_allowed")
	wantReason(t, w.svc.RevokeSession(w.ctx, operator, later.Session.ID, w.now), "not_allowed")
	wantReason(t, w.svc.RevokeSession(w.ctx, w.fresh(), id.NewSession(), w.now), "session_not_found")
	if _, err := w.svc.Authenticate(w.ctx, later.Bearer, user.Browser, w.now); err != nil {
		t.Fatalf("a refusal ended it: %v", err)
	}

	for _, p := range []user.Principal{grace, w.fresh(), auditor, operator} {
		got, err := w.svc.Logins(w.ctx, p, u.ID, w.now)
		if err != nil || len(got) != 2 || got[0].ID != later.Session.ID || got[1].ID != grace.Session {
			t.Errorf("%s sees %d, %v", p.Actor(), len(got), err)
		}
	}
	if err := w.svc.RevokeSession(w.ctx, grace, later.Session.ID, w.now); err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.Authenticate(w.ctx, later.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
	w.wantVerb("session.closed")
	if err := w.svc.RevokeSession(w.ctx, w.fresh(), grace.Session, w.now); err != nil {
		t.Fatal(err)
	}
	if got, err := w.svc.Logins(w.ctx, grace, u.ID, w.now); err != nil || len(got) != 0 {
		t.Errorf("%d left, %v", len(got), err)
	}
	// What has run out is not among them.
	if got, err := w.svc.Logins(w.ctx, w.fresh(), w.owner.ID, w.now.Add(user.Browser.Lifetime())); err != nil || len(got) != 0 {
		t.Errorf("%d expired ones, %v", len(got), err)
	}
}

// A touch for a removal is for the one that asked for it. A synced passkey
// counts nothing, so nothing but the challenge tells an old touch from a new.
func TestRemovalTouchIsForOnce(t *testing.T) {
	w := newWorld(t)
	zero := func(a *answer) { a.count = 0 }
	me := w.login.Principal
	which := w.keyOf(w.add(me))
	begin := func() ([]byte, secret.Text) {
		t.Helper()
		options, handle, err := w.svc.BeginRemoval(w.ctx, me, which, w.now)
		if err != nil {
			t.Fatal(err)
		}
		return options, handle
	}
	options, _ := begin()
	captured := w.key.answer(t, options, zero) // and never sent
	w.now = w.now.Add(20 * time.Hour)
	again, handle := begin()
	if challengeOf(t, options) == challengeOf(t, again) {
		t.Error("two removals have one challenge")
	}
	wantReason(t, w.svc.FinishRemoval(w.ctx, me, which, handle, captured, w.now), "passkey_refused")

	options, handle = begin()
	if err := w.svc.FinishRemoval(w.ctx, me, which, handle, w.key.answer(t, options, zero), w.now); err != nil {
		t.Fatal(err)
	}
	// The log has what the digest is made of.
	events, err := w.db.Log().Events(w.ctx, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(events, func(e audit.Event) bool { return e.Verb == "passkey.removed" })
	if i < 0 || len(events[i].Data["nonce"]) != 64 || len(events[i].Data["digest"]) != 64 {
		t.Errorf("the removal in the log: %d of %d", i, len(events))
	}
}
