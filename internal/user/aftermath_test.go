package user_test

import (
	"testing"

	"github.com/valetkey/valetkey/internal/user"
)

// terminal logs one in with a touch of k.
func (w *world) terminal(p user.Principal, k *device) *user.Login {
	w.t.Helper()
	code, d := w.device()
	if err := w.letIn(p, k, d.UserCode); err != nil {
		w.t.Fatal(err)
	}
	l, err := w.svc.PollDevice(w.ctx, code, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// confirmed is p's session after a touch of k.
func (w *world) confirmed(p user.Principal, k *device) *user.Login {
	w.t.Helper()
	options, handle, err := w.svc.BeginConfirm(w.ctx, p, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := w.svc.FinishConfirm(w.ctx, p, handle, k.answer(w.t, options, nil), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// in says whether what l got still lets its holder in.
func (w *world) in(l *user.Login) bool {
	w.t.Helper()
	_, err := w.svc.Authenticate(w.ctx, l.Bearer, l.Session.Kind, w.now)
	if err != nil {
		wantReason(w.t, err, "login_required")
	}
	return err == nil
}

// With a passkey goes whoever it let in, and whoever it might let in yet: that
// is what it is removed for.
func TestRemovalThrowsOut(t *testing.T) {
	w := newWorld(t)
	second := w.add(w.login.Principal)
	w.now = w.now.Add(user.NewPasskeyRest)
	login := func(k *device) *user.Login {
		t.Helper()
		l, err := w.loginWith(k)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	mine, theirs := login(w.key), login(second)
	mixed := w.confirmed(login(second).Principal, w.key)
	other := login(w.key)
	bySecond, byFirst := w.terminal(theirs.Principal, second), w.terminal(mine.Principal, w.key)
	if bySecond.Session.PasskeyRef != w.keyOf(second) {
		t.Errorf("the terminal was let in by %q", bySecond.Session.PasskeyRef)
	}
	approved, d := w.device()
	if err := w.letIn(theirs.Principal, second, d.UserCode); err != nil {
		t.Fatal(err)
	}
	waiting, d := w.device()
	if err := w.letIn(mine.Principal, w.key, d.UserCode); err != nil {
		t.Fatal(err)
	}
	if err := w.removeBy(mine.Principal, w.keyOf(second), w.key); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		l    *user.Login
		want bool
	}{
		"the session that removed it":                       {mine, true},
		"a session that it opened":                          {theirs, false},
		"a session that it opened, and another confirmed":   {mixed, false},
		"another browser: what it went through is not kept": {other, false},
		"a terminal that it let in":                         {bySecond, false},
		"a terminal that another let in":                    {byFirst, true},
	} {
		if got := w.in(c.l); got != c.want {
			t.Errorf("%s: in is %v, want %v", name, got, c.want)
		}
	}
	_, err := w.svc.PollDevice(w.ctx, approved, w.now)
	wantReason(t, err, "access_denied")
	if _, err := w.svc.PollDevice(w.ctx, waiting, w.now); err != nil {
		t.Errorf("a terminal that waits, by the other passkey: %v", err)
	}
}

// The session that removes a passkey goes on only where nothing of it hangs on
// that passkey.
func TestRemovalEndsItsOwnSession(t *testing.T) {
	for name, c := range map[string]struct {
		confirm, by func(first, second *device) *device
		want        bool
	}{
		"by another":           {nil, func(first, _ *device) *device { return first }, true},
		"by its own touch":     {nil, func(_, second *device) *device { return second }, false},
		"confirmed by it last": {func(_, second *device) *device { return second }, func(first, _ *device) *device { return first }, false},
	} {
		w := newWorld(t)
		second := w.add(w.login.Principal)
		w.now = w.now.Add(user.NewPasskeyRest)
		l, err := w.loginWith(w.key)
		if err != nil {
			t.Fatal(err)
		}
		if c.confirm != nil {
			l = w.confirmed(l.Principal, c.confirm(w.key, second))
		}
		if err := w.removeBy(l.Principal, w.keyOf(second), c.by(w.key, second)); err != nil {
			t.Fatal(err)
		}
		if got := w.in(l); got != c.want {
			t.Errorf("%s: in is %v, want %v", name, got, c.want)
		}
	}
}

// A suspension that is lifted brings back no terminal that was approved before.
func TestSuspensionVoidsApprovedDevices(t *testing.T) {
	w := newWorld(t)
	u, k, p := w.person("Grace", user.Member)
	_, halKey, hal := w.person("Hal", user.Member)
	code, d := w.device()
	if err := w.letIn(p, k, d.UserCode); err != nil {
		t.Fatal(err)
	}
	hals, d := w.device()
	if err := w.letIn(hal, halKey, d.UserCode); err != nil {
		t.Fatal(err)
	}
	for _, to := range []user.Status{user.Suspended, user.Active} {
		if err := w.svc.SetStatus(w.ctx, w.fresh(), u.ID, to, w.now); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.svc.PollDevice(w.ctx, code, w.now)
	wantReason(t, err, "access_denied")
	if _, err := w.svc.PollDevice(w.ctx, hals, w.now); err != nil {
		t.Errorf("somebody else's terminal: %v", err)
	}
}
