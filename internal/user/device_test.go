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

func TestDeviceRefuses(t *testing.T) {
	w := newWorld(t)
	code, d := w.device()
	me := w.login.Principal
	cli := me
	cli.Kind = user.CLI
	for _, p := range []user.Principal{cli, {}, {Operator: true, Confirm: true, Org: me.Org}} {
		_, err := w.svc.LookupDevice(w.ctx, p, d.UserCode, w.now)
		wantReason(t, err, "browser_required")
		wantReason(t, w.svc.DecideDevice(w.ctx, p, d.UserCode, true, w.now), "browser_required")
	}
	for _, typed := range []string{"", "BCDF", "BCDF-GHJ", "AEIO-UAEI", "BCDF-GHJKL", strings.Repeat("B", 8), strings.Repeat("-", 100), "BCDF\x00GHJK"} {
		_, err := w.svc.LookupDevice(w.ctx, me, typed, w.now)
		wantReason(t, err, "device_not_found")
	}
	w.wantVerb("device.refused")
	_, err := w.svc.LookupDevice(w.ctx, me, d.UserCode, w.now.Add(user.DeviceTTL))
	wantReason(t, err, "device_not_found")
	wantReason(t, w.svc.DecideDevice(w.ctx, me, d.UserCode, true, w.now.Add(user.DeviceTTL)), "device_not_found")
	_, err = w.svc.PollDevice(w.ctx, code, w.now.Add(user.DeviceTTL))
	wantReason(t, err, "expired_token")
	for _, c := range []secret.Text{{}, secret.Random(32), secret.New(d.UserCode)} {
		_, err := w.svc.PollDevice(w.ctx, c, w.now)
		wantReason(t, err, "expired_token")
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
	if err := w.svc.DecideDevice(w.ctx, w.login.Principal, typed, true, w.now); err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.DecideDevice(w.ctx, w.login.Principal, typed, false, w.now), "device_not_found")
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
	if err := w.svc.DecideDevice(w.ctx, w.login.Principal, d.UserCode, false, w.now); err != nil {
		t.Fatal(err)
	}
	_, err := w.svc.PollDevice(w.ctx, code, w.now)
	wantReason(t, err, "access_denied")
	wantReason(t, w.svc.DecideDevice(w.ctx, w.login.Principal, d.UserCode, true, w.now), "device_not_found")
	w.wantVerb("device.denied")
}

// Whoever was suspended between answer and poll gets no session.
func TestDeviceOfSuspended(t *testing.T) {
	w := newWorld(t)
	u, _, p := w.person("Grace", user.Member)
	code, d := w.device()
	if err := w.svc.DecideDevice(w.ctx, p, d.UserCode, true, w.now); err != nil {
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
	if err := w.svc.DecideDevice(w.ctx, w.login.Principal, d.UserCode, true, w.now); err != nil {
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
