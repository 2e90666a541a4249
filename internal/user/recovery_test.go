package user_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// codes makes the owner's recovery codes.
func (w *world) codes() []secret.Text {
	w.t.Helper()
	options, handle, err := w.svc.BeginCodes(w.ctx, w.login.Principal, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.svc.FinishCodes(w.ctx, w.login.Principal, handle, w.key.answer(w.t, options, nil), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// What lets nobody in is refused alike, whatever is wrong with it, and runs out.
func TestRecoveryRefuses(t *testing.T) {
	w := newWorld(t)
	codes := w.codes()
	before := w.codes() // those before are void
	for name, typed := range map[string]string{
		"nothing": "", "not a code": "hunter2", "too short": "BCDF-GHJK", "never made": "BCDF-GHJK-LMNP-QRST-VWXZ", "replaced": codes[0].Reveal(),
		"too long": strings.Repeat("B", 65), "another alphabet": "ВСDF-GHJK-LMNP-QRST-VWXZ", "its own hash": string(make([]byte, 32)),
	} {
		if _, err := w.svc.Recover(w.ctx, typed, w.peer, w.now); err != user.ErrCode {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.svc.Recover(w.ctx, before[1].Reveal(), w.peer, w.now); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if _, err := w.svc.Recover(w.ctx, before[1].Reveal(), w.peer, w.now); err != user.ErrCode {
		t.Errorf("the same again: %v", err)
	}
	if len(w.refused) != 9 {
		t.Errorf("recorded: %q", w.refused)
	}
	w.svc.Tries = &user.Limiter{Burst: 3}
	for range 3 {
		_, _ = w.svc.Recover(w.ctx, "BCDF-GHJK-LMNP-QRST-VWXZ", w.peer, w.now)
	}
	if _, err := w.svc.Recover(w.ctx, before[2].Reveal(), w.peer, w.now); err != user.ErrTooMany {
		t.Errorf("after too many tries: %v", err)
	}
}

// A suspended person's code is like one that never was.
func TestRecoveryOfSuspended(t *testing.T) {
	w := newWorld(t)
	u, _, _ := w.person("Bob", user.Owner)
	codes := w.codes()
	by := w.fresh()
	by.User = u.ID
	if err := w.svc.SetStatus(w.ctx, by, w.owner.ID, user.Suspended, w.now); err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Recover(w.ctx, codes[0].Reveal(), w.peer, w.now); err != user.ErrCode {
		t.Errorf("suspended: %v", err)
	}
}

// A code gives a passkey and nothing else: it is no session, ends soon, and for
// a day decides nothing critical, while every session of its person says so.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	codes := w.codes()
	seen := map[string]bool{}
	for _, c := range codes {
		seen[c.Reveal()] = true
	}
	if len(seen) != user.RecoveryCodes {
		t.Errorf("%d different codes", len(seen))
	}
	if a, err := w.svc.Alerts(w.ctx, w.login.Principal, w.now); err != nil || len(a) != 0 {
		t.Errorf("before: %v, %v", a, err)
	}
	typed := " " + strings.ToLower(strings.ReplaceAll(codes[3].Reveal(), "-", " "))
	link, err := w.svc.Recover(w.ctx, typed, w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []user.SessionKind{user.Browser, user.CLI} {
		if _, err := w.svc.Authenticate(w.ctx, link, kind, w.now); err != user.ErrLogin {
			t.Errorf("the link as a %s session: %v", kind, err)
		}
	}
	if left, _, err := w.svc.Codes(w.ctx, w.login.Principal); left != user.RecoveryCodes-1 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	late := w.now.Add(user.RecoveryTTL)
	if _, _, err := w.svc.BeginEnrol(w.ctx, link, w.peer, late); err != user.ErrLink {
		t.Errorf("too late: %v", err)
	}
	w.now = w.now.Add(time.Minute)
	d, l := w.enrol(w.owner, link)
	_ = d
	if _, _, err := w.svc.BeginStepUp(w.ctx, l.Principal, [32]byte{1}, w.now); err != nil {
		t.Errorf("the old passkey may still be asked: %v", err)
	}
	// The new one cannot make the other codes worthless, nor remove the old one.
	options, handle, err := w.svc.BeginCodes(w.ctx, l.Principal, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.FinishCodes(w.ctx, l.Principal, handle, d.answer(t, options, nil), w.now)
	wantReason(t, err, "passkey_refused")
	for _, p := range []user.Principal{l.Principal, w.login.Principal} {
		a, err := w.svc.Alerts(w.ctx, p, w.now)
		if err != nil || len(a) != 2 || a[0].Kind != "recovery" || a[1].Kind != "passkey" {
			t.Errorf("alerts: %v, %v", a, err)
		}
	}
	if a, err := w.svc.Alerts(w.ctx, w.login.Principal, w.now.Add(user.NewPasskeyRest)); err != nil || len(a) != 0 {
		t.Errorf("a day later: %v, %v", a, err)
	}
	w.wantVerb("recovery.codes_made")
	w.wantVerb("recovery.used")
	if strings.Contains(w.logs.String(), codes[3].Reveal()) {
		t.Error("a code is in the operator's log")
	}
}

// New codes take a touch for just that: a touch for anything else does not do.
func TestCodesNeedTheirTouch(t *testing.T) {
	w := newWorld(t)
	p := w.login.Principal
	options, handle, err := w.svc.BeginStepUp(w.ctx, p, [32]byte{7}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.FinishCodes(w.ctx, p, handle, w.key.answer(t, options, nil), w.now); err != user.ErrCeremony {
		t.Errorf("a touch for a decision: %v", err)
	}
	cli := p
	cli.Kind = user.CLI
	if _, _, err := w.svc.BeginCodes(w.ctx, cli, w.now); err != user.ErrBrowser {
		t.Errorf("a command line: %v", err)
	}
	if left, _, _ := w.svc.Codes(w.ctx, p); left != 0 {
		t.Errorf("%d codes", left)
	}
}

// Roles are an owner's to change, with a fresh touch, and one owner stays.
func TestRoles(t *testing.T) {
	w := newWorld(t)
	bob, _, bobs := w.person("Bob", user.Admin)
	bobs.AuthAt = w.now
	stale := w.fresh()
	stale.AuthAt = w.now.Add(-user.FreshFor - time.Second)
	for name, c := range map[string]struct {
		by     user.Principal
		who    id.User
		to     user.Role
		reason string
	}{
		"an admin":             {bobs, bob.ID, user.Owner, "not_allowed"},
		"an admin, of another": {bobs, w.owner.ID, user.Member, "not_allowed"},
		"a stale owner":        {stale, bob.ID, user.Member, "confirm_required"},
		"no such role":         {w.fresh(), bob.ID, "root", "bad_role"},
		"no such person":       {w.fresh(), id.NewUser(), user.Member, "user_not_found"},
		"the same role":        {w.fresh(), bob.ID, user.Admin, "no_change"},
		"the last owner":       {w.fresh(), w.owner.ID, user.Member, "last_owner"},
		"the socket":           {user.Principal{Org: id.DefaultOrg, Operator: true}, bob.ID, user.Member, "passkey_required"},
	} {
		wantReason(t, w.svc.SetRole(w.ctx, c.by, c.who, c.to, w.now), c.reason)
		_ = name
	}
	if err := w.svc.SetRole(w.ctx, w.fresh(), bob.ID, user.Owner, w.now); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.SetRole(w.ctx, w.fresh(), w.owner.ID, user.Member, w.now); err != nil {
		t.Errorf("with another owner: %v", err)
	}
	// It holds at once, in the sessions that are there.
	p, err := w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now)
	if err != nil || p.Role != user.Member {
		t.Errorf("%s, %v", p.Role, err)
	}
	w.wantVerb("user.role_changed")
}

// A link that was voided lets nobody in.
func TestVoidLinks(t *testing.T) {
	w := newWorld(t)
	u, link, err := w.svc.Create(w.ctx, w.fresh(), "Bob", user.Member, w.now)
	if err != nil {
		t.Fatal(err)
	}
	_, _, member := w.person("Eve", user.Member)
	if _, err := w.svc.VoidLinks(w.ctx, member, u.ID, w.now); err != user.ErrNotOwner {
		t.Errorf("a member: %v", err)
	}
	if _, err := w.svc.Links(w.ctx, member, w.now); err != user.ErrNotOwner {
		t.Errorf("a member looks: %v", err)
	}
	if all, err := w.svc.Links(w.ctx, w.fresh(), w.now); err != nil || len(all) != 1 || len(all[u.ID]) != 1 {
		t.Errorf("links: %v, %v", all, err)
	}
	if n, err := w.svc.VoidLinks(w.ctx, w.fresh(), u.ID, w.now); n != 1 || err != nil {
		t.Errorf("voided %d, %v", n, err)
	}
	if _, _, err := w.svc.BeginEnrol(w.ctx, link, w.peer, w.now); err != user.ErrLink {
		t.Errorf("a voided link: %v", err)
	}
	if n, err := w.svc.VoidLinks(w.ctx, w.fresh(), u.ID, w.now); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// One's own sessions can be ended, others look like none; the one that asks
// goes on.
func TestOwnSessions(t *testing.T) {
	w := newWorld(t)
	_, _, bob := w.person("Bob", user.Member)
	second, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.svc.EndSession(w.ctx, bob, second.Session.ID, w.now); err != user.ErrSession {
		t.Errorf("somebody else's: %v", err)
	}
	if err := w.svc.EndSession(w.ctx, w.login.Principal, second.Session.ID, w.now); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.EndSession(w.ctx, w.login.Principal, second.Session.ID, w.now); err != user.ErrSession {
		t.Errorf("twice: %v", err)
	}
	if _, err := w.svc.Authenticate(w.ctx, second.Bearer, user.Browser, w.now); err != user.ErrLogin {
		t.Errorf("an ended session: %v", err)
	}
	third, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.svc.EndOtherSessions(w.ctx, w.login.Principal, w.now); n != 1 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if _, err := w.svc.Authenticate(w.ctx, third.Bearer, user.Browser, w.now); err != user.ErrLogin {
		t.Errorf("another session: %v", err)
	}
	if _, err := w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now); err != nil {
		t.Errorf("the one that asked: %v", err)
	}
	mine, err := w.svc.Logins(w.ctx, bob, bob.User, w.now)
	if err != nil || len(mine) != 1 {
		t.Errorf("somebody else's sessions: %d, %v", len(mine), err)
	}
}

// Each login has its own bearer value, and so has each touch that makes a
// session fresh: a copy of the cookie from before is dead.
func TestNewBearerAtLoginAndStepUp(t *testing.T) {
	w := newWorld(t)
	second, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	if second.Bearer.Equal(w.login.Bearer) || second.Session.ID == w.login.Session.ID {
		t.Error("two logins are one session")
	}
	options, handle, err := w.svc.BeginConfirm(w.ctx, second.Principal, w.now)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := w.svc.FinishConfirm(w.ctx, second.Principal, handle, w.key.answer(t, options, nil), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Authenticate(w.ctx, second.Bearer, user.Browser, w.now); err != user.ErrLogin {
		t.Errorf("the bearer from before: %v", err)
	}
	// Confirming again and again does not outlive the absolute limit.
	for at := w.now; at.Before(w.now.Add(user.Browser.Lifetime())); at = at.Add(29 * time.Minute) {
		if _, err := w.svc.Authenticate(w.ctx, fresh.Bearer, user.Browser, at); err != nil {
			t.Fatalf("in use, after %s: %v", at.Sub(w.now), err)
		}
	}
	if _, err := w.svc.Authenticate(w.ctx, fresh.Bearer, user.Browser, w.now.Add(user.Browser.Lifetime())); err != user.ErrLogin {
		t.Errorf("at the absolute limit: %v", err)
	}
	third, err := w.loginWith(w.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Authenticate(w.ctx, third.Bearer, user.Browser, w.now.Add(30*time.Minute)); err != user.ErrLogin {
		t.Errorf("idle for half an hour: %v", err)
	}
}

// A passkey is renamed by its person, who has just touched one.
func TestRenamePasskey(t *testing.T) {
	w := newWorld(t)
	keys, err := w.svc.Keys(w.ctx, w.fresh())
	if err != nil {
		t.Fatal(err)
	}
	_, _, bob := w.person("Bob", user.Owner)
	bob.AuthAt = w.now
	stale := w.fresh()
	stale.AuthAt = w.now.Add(-time.Hour)
	wantReason(t, w.svc.RenamePasskey(w.ctx, bob, keys[0].ID, "mine", w.now), "passkey_not_found")
	wantReason(t, w.svc.RenamePasskey(w.ctx, stale, keys[0].ID, "mine", w.now), "confirm_required")
	wantReason(t, w.svc.RenamePasskey(w.ctx, w.fresh(), keys[0].ID, "\u202e\u200b", w.now), "bad_name")
	if err := w.svc.RenamePasskey(w.ctx, w.fresh(), keys[0].ID, "Lap\u202etop", w.now); err != nil {
		t.Fatal(err)
	}
	if keys, err = w.svc.Keys(w.ctx, w.fresh()); err != nil || keys[0].Name != "Laptop" {
		t.Errorf("%v, %v", keys, err)
	}
}

// A server that has moved to another host name knows whom that locks out.
func TestStranded(t *testing.T) {
	w := newWorld(t)
	if people, elsewhere, err := w.svc.Stranded(w.ctx); err != nil || len(people)+len(elsewhere) != 0 {
		t.Errorf("at home: %v, %v, %v", people, elsewhere, err)
	}
	moved, warning := user.NewWebAuthn("https://new.example.net", "Valetkey")
	if warning != "" {
		t.Fatal(warning)
	}
	w.svc.WebAuthn = moved
	people, elsewhere, err := w.svc.Stranded(w.ctx)
	if err != nil || len(people) != 1 || people[0].ID != w.owner.ID || elsewhere[rpID] != 1 {
		t.Errorf("moved: %v, %v, %v", people, elsewhere, err)
	}
}
