package user_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

func (w *world) device() (secret.Text, *user.Device) {
	w.t.Helper()
	code, d, err := w.svc.BeginDevice(w.ctx, user.Peer{From: w.peer.From, Label: "lap\x1b[31mtop\u202e"}, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return code, d
}

// letIn approves d in p's name with a touch of k, as its page does.
func (w *world) letIn(p user.Principal, k *device, typed string) error {
	w.t.Helper()
	d, err := w.svc.LookupDevice(w.ctx, p, typed, w.now)
	if err != nil {
		return err
	}
	options, handle, err := w.svc.BeginDeviceApproval(w.ctx, p, typed, w.svc.DeviceDigest(d, p.User), w.now)
	if err != nil {
		return err
	}
	return w.svc.ApproveDevice(w.ctx, p, typed, handle, k.answer(w.t, options, nil), w.now)
}

func TestDeviceRefuses(t *testing.T) {
	w := newWorld(t)
	code, d := w.device()
	me := w.login.Principal
	cli := me
	cli.Kind = user.CLI
	for _, p := range []user.Principal{cli, {}, {Operator: true, Confirm: true, Org: me.Org}} {
		_, err := w.svc.LookupDevice(w.ctx, p, d.UserCode, w.now)
		wantReason(t, err, "browser_required")
		_, _, err = w.svc.BeginDeviceApproval(w.ctx, p, d.UserCode, w.svc.DeviceDigest(d, p.User), w.now)
		wantReason(t, err, "browser_required")
		wantReason(t, w.svc.ApproveDevice(w.ctx, p, d.UserCode, secret.Random(32), []byte("{}"), w.now), "browser_required")
		wantReason(t, w.svc.DenyDevice(w.ctx, p, d.UserCode, w.now), "browser_required")
	}
	for _, typed := range []string{"", "BCDF", "BCDF-GHJ", "AEIO-UAEI", "BCDF-GHJKL", strings.Repeat("B", 8), strings.Repeat("-", 100), "BCDF\x00GHJK"} {
		_, err := w.svc.LookupDevice(w.ctx, me, typed, w.now)
		wantReason(t, err, "device_not_found")
	}
	w.wantVerb("device.refused")
	_, err := w.svc.LookupDevice(w.ctx, me, d.UserCode, w.now.Add(user.DeviceTTL))
	wantReason(t, err, "device_not_found")
	wantReason(t, w.svc.DenyDevice(w.ctx, me, d.UserCode, w.now.Add(user.DeviceTTL)), "device_not_found")
	_, err = w.svc.PollDevice(w.ctx, code, w.now.Add(user.DeviceTTL))
	wantReason(t, err, "expired_token")
	for _, c := range []secret.Text{{}, secret.Random(32), secret.New(d.UserCode)} {
		_, err := w.svc.PollDevice(w.ctx, c, w.now)
		wantReason(t, err, "expired_token")
	}
}

// A terminal is let in by a touch that was for just this login, on a page that
// showed just this terminal, by the person who sits before it.
func TestDeviceNeedsItsTouch(t *testing.T) {
	w := newWorld(t)
	me := w.login.Principal
	_, graceKey, grace := w.person("Grace", user.Member)
	code, d := w.device()
	_, other := w.device()
	digest := w.svc.DeviceDigest(d, me.User)

	begin := func(p user.Principal, of *user.Device) ([]byte, secret.Text) {
		t.Helper()
		options, handle, err := w.svc.BeginDeviceApproval(w.ctx, p, of.UserCode, w.svc.DeviceDigest(of, p.User), w.now)
		if err != nil {
			t.Fatal(err)
		}
		if want := w.svc.DeviceDigest(of, p.User); challengeOf(t, options) != b64(want[:]) {
			t.Errorf("challenge %s, want the digest of the login", challengeOf(t, options))
		}
		return options, handle
	}
	for name, seen := range map[string][32]byte{"nothing": {}, "another login": w.svc.DeviceDigest(other, me.User), "as somebody else": w.svc.DeviceDigest(d, grace.User)} {
		_, _, err := w.svc.BeginDeviceApproval(w.ctx, me, d.UserCode, seen, w.now)
		if wantReason(t, err, "device_stale"); t.Failed() {
			t.Fatalf("seen: %s", name)
		}
	}
	approve := func(p user.Principal, of *user.Device, handle secret.Text, response []byte) error {
		return w.svc.ApproveDevice(w.ctx, p, of.UserCode, handle, response, w.now)
	}

	// No touch at all, or one for something else.
	wantReason(t, approve(me, d, secret.Text{}, nil), "ceremony_over")
	options, handle, err := w.svc.BeginStepUp(w.ctx, me, digest, w.now)
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, approve(me, d, handle, w.key.answer(t, options, nil)), "ceremony_over")
	if options, handle, err = w.svc.BeginConfirm(w.ctx, me, w.now); err != nil {
		t.Fatal(err)
	}
	wantReason(t, approve(me, d, handle, w.key.answer(t, options, nil)), "ceremony_over")
	options, handle = begin(me, other)
	wantReason(t, approve(me, d, handle, w.key.answer(t, options, nil)), "presence_required")
	w.wantVerb("presence.refused")
	options, handle = begin(me, d)
	_, err = w.svc.FinishStepUp(w.ctx, me, handle, w.key.answer(t, options, nil), w.now)
	wantReason(t, err, "ceremony_over")

	// Another person's touch, or in another session.
	options, handle = begin(grace, d)
	wantReason(t, approve(me, d, handle, graceKey.answer(t, options, nil)), "ceremony_over")
	options, handle = begin(me, d)
	wantReason(t, approve(me, d, handle, graceKey.answer(t, options, nil)), "passkey_refused")
	second, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	options, handle = begin(me, d)
	wantReason(t, approve(second.Principal, d, handle, w.key.answer(t, options, nil)), "ceremony_over")

	// One who was not verified, or signed something else.
	for name, tamper := range map[string]func(*answer){
		"user not verified": func(a *answer) { a.flags = flagUP },
		"challenge":         func(a *answer) { a.client["challenge"] = b64(make([]byte, 32)) },
		"origin":            func(a *answer) { a.client["origin"] = "https://keys.example.com.evil.example" },
	} {
		options, handle = begin(me, d)
		if wantReason(t, approve(me, d, handle, w.key.answer(t, options, tamper)), "passkey_refused"); t.Failed() {
			t.Fatal(name)
		}
	}

	// A touch counts once, and not after the login has ended.
	options, handle = begin(me, other)
	response := w.key.answer(t, options, nil)
	if err := approve(me, other, handle, response); err != nil {
		t.Fatal(err)
	}
	wantReason(t, approve(me, d, handle, response), "ceremony_over")
	options, handle = begin(me, d)
	late := w.now.Add(user.DeviceTTL)
	wantReason(t, w.svc.ApproveDevice(w.ctx, me, d.UserCode, handle, w.key.answer(t, options, nil), late), "device_not_found")
	_, err = w.svc.PollDevice(w.ctx, code, w.now)
	wantReason(t, err, "authorization_pending")
}

// A passkey that is not yet a day old lets no terminal in: where command lines
// are trusted, that would be a way around its rest.
func TestNewPasskeyLetsNoTerminalIn(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Add(time.Minute)
	link, err := w.svc.NewLink(w.ctx, w.fresh(), w.owner.ID, w.now)
	if err != nil {
		t.Fatal(err)
	}
	added, l := w.enrol(w.owner, link)
	_, d := w.device()
	wantReason(t, w.letIn(l.Principal, added, d.UserCode), "passkey_refused")
	if err := w.letIn(l.Principal, w.key, d.UserCode); err != nil {
		t.Error(err)
	}
}

// A person who is logged in cannot try out codes.
func TestDeviceCodesRunOut(t *testing.T) {
	w := newWorld(t)
	_, d := w.device()
	w.svc.Tries = &user.Limiter{}
	for range 10 {
		_, err := w.svc.LookupDevice(w.ctx, w.login.Principal, "BBBB-BBBB", w.now)
		wantReason(t, err, "device_not_found")
	}
	_, err := w.svc.LookupDevice(w.ctx, w.login.Principal, d.UserCode, w.now)
	wantReason(t, err, "too_many_tries")
}

func TestDevicePolls(t *testing.T) {
	w := newWorld(t)
	code, d := w.device()
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.UserCode) {
		t.Errorf("user code %q", d.UserCode)
	}
	if d.Label != "lap[31mtop" || d.Source != "192.0.2.7" || !d.ExpiresAt.Equal(w.now.Add(10*time.Minute)) {
		t.Errorf("device %+v", d)
	}
	poll := func(after time.Duration, reason string) *user.Login {
		t.Helper()
		l, err := w.svc.PollDevice(w.ctx, code, w.now.Add(after))
		if reason != "" {
			wantReason(t, err, reason)
		} else if err != nil {
			t.Fatal(err)
		}
		return l
	}
	poll(0, "authorization_pending")
	poll(time.Second, "slow_down")
	poll(5*time.Second, "authorization_pending")
	typed := " " + strings.ToLower(strings.ReplaceAll(d.UserCode, "-", "")) + " "
	seen, err := w.svc.LookupDevice(w.ctx, w.login.Principal, typed, w.now)
	if err != nil || seen.Label != d.Label {
		t.Errorf("lookup: %+v, %v", seen, err)
	}
	if err := w.letIn(w.login.Principal, w.key, typed); err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.DenyDevice(w.ctx, w.login.Principal, typed, w.now), "device_not_found")
	l := poll(10*time.Second, "")
	poll(15*time.Second, "expired_token") // single use
	p, err := w.svc.Authenticate(w.ctx, l.Bearer, user.CLI, w.now.Add(24*time.Hour))
	if err != nil || p.User != w.owner.ID || p.Kind != user.CLI {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = w.svc.Authenticate(w.ctx, l.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
	wantReason(t, p.Fresh(w.now), "confirm_required")
	_, err = w.svc.Authenticate(w.ctx, l.Bearer, user.CLI, w.now.Add(9*24*time.Hour))
	wantReason(t, err, "login_required") // idle for over a week
	w.wantVerb("device.approved")
	w.wantVerb("session.opened")
}

func TestDeviceDenied(t *testing.T) {
	w := newWorld(t)
	code, d := w.device()
	if err := w.svc.DenyDevice(w.ctx, w.login.Principal, d.UserCode, w.now); err != nil {
		t.Fatal(err)
	}
	_, err := w.svc.PollDevice(w.ctx, code, w.now)
	wantReason(t, err, "access_denied")
	wantReason(t, w.letIn(w.login.Principal, w.key, d.UserCode), "device_not_found")
	w.wantVerb("device.denied")
}

// Whoever was suspended between answer and poll gets no session.
func TestDeviceOfSuspended(t *testing.T) {
	w := newWorld(t)
	u, k, p := w.person("Grace", user.Member)
	code, d := w.device()
	if err := w.letIn(p, k, d.UserCode); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.SetStatus(w.ctx, w.fresh(), u.ID, user.Suspended, w.now); err != nil {
		t.Fatal(err)
	}
	_, err := w.svc.PollDevice(w.ctx, code, w.now)
	wantReason(t, err, "access_denied")
}

// Of many polls for one answer, one gets the session.
func TestDeviceRedeemedOnce(t *testing.T) {
	w := newWorld(t)
	code, d := w.device()
	if err := w.letIn(w.login.Principal, w.key, d.UserCode); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 8)
	for range cap(got) {
		go func() {
			_, err := w.svc.PollDevice(w.ctx, code, w.now)
			got <- err
		}()
	}
	in := 0
	for range cap(got) {
		if <-got == nil {
			in++
		}
	}
	if in != 1 {
		t.Errorf("%d sessions for one login", in)
	}
}

// What a terminal could do is part of what is signed: a page that promised less
// lets none in that may do more.
func TestDeviceSignsWhatItMayDo(t *testing.T) {
	w := newWorld(t)
	me := w.login.Principal
	_, d := w.device()
	options, handle, err := w.svc.BeginDeviceApproval(w.ctx, me, d.UserCode, w.svc.DeviceDigest(d, me.User), w.now)
	if err != nil {
		t.Fatal(err)
	}
	seen := w.svc.DeviceDigest(d, me.User)
	w.svc.TrustCommandLine = true
	wantReason(t, w.svc.ApproveDevice(w.ctx, me, d.UserCode, handle, w.key.answer(t, options, nil), w.now), "presence_required")
	_, _, err = w.svc.BeginDeviceApproval(w.ctx, me, d.UserCode, seen, w.now)
	wantReason(t, err, "device_stale")
	if err := w.letIn(me, w.key, d.UserCode); err != nil {
		t.Error(err)
	}
}
