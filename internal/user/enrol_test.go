package user_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// A new passkey must be made here, by somebody the authenticator has verified.
func TestEnrolRefuses(t *testing.T) {
	w := newWorld(t)
	u, link, err := w.svc.Create(w.ctx, w.fresh(), "Grace", user.Member, w.now)
	if err != nil {
		t.Fatal(err)
	}
	type tamper = func(*virtual.RelyingParty, *virtual.AuthenticatorOptions, *virtual.AttestationOptions)
	for name, change := range map[string]tamper{
		"user not verified": func(_ *virtual.RelyingParty, a *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			a.UserNotVerified = true
		},
		"user not present": func(_ *virtual.RelyingParty, a *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			a.UserNotPresent = true
		},
		"another origin": func(rp *virtual.RelyingParty, _ *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			rp.Origin = "https://evil.example"
		},
		"sub-domain": func(rp *virtual.RelyingParty, _ *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			rp.Origin = "https://a.keys.example.com"
		},
		"origin in capitals": func(rp *virtual.RelyingParty, _ *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			rp.Origin = "https://KEYS.example.com"
		},
		"another relying party": func(rp *virtual.RelyingParty, _ *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			rp.ID = "example.com"
		},
		"another challenge": func(_ *virtual.RelyingParty, _ *virtual.AuthenticatorOptions, o *virtual.AttestationOptions) {
			o.Challenge = []byte("0123456789abcdef0123456789abcdef")
		},
		"backed up though it cannot be": func(_ *virtual.RelyingParty, a *virtual.AuthenticatorOptions, _ *virtual.AttestationOptions) {
			a.BackupState = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			options, handle, err := w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
			if err != nil {
				t.Fatal(err)
			}
			d := newDevice(u.Handle)
			_, err = w.svc.FinishEnrol(w.ctx, user.Principal{}, handle, d.create(t, options, change), "", w.peer, w.now)
			wantReason(t, err, "passkey_refused")
			_, err = w.svc.FinishEnrol(w.ctx, user.Principal{}, handle, d.create(t, options, nil), "", w.peer, w.now)
			wantReason(t, err, "ceremony_over")
		})
	}
	for _, response := range []string{"", "{}", "null", "[]", `{"id":"","rawId":"","type":"public-key"}`, strings.Repeat("[", 10_000)} {
		_, handle, err := w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.svc.FinishEnrol(w.ctx, user.Principal{}, handle, []byte(response), "", w.peer, w.now)
		wantReason(t, err, "passkey_refused")
	}
	if !slices.Contains(w.refused, "enrolment passkey_refused") {
		t.Errorf("the refusals were not recorded: %q", w.refused)
	}
	d, l := w.enrol(u, link)
	if l.Principal.User != u.ID || l.Principal.Role != user.Member {
		t.Errorf("enrolled as %+v", l.Principal)
	}
	if _, err := w.loginWith(d); err != nil {
		t.Errorf("login with the new passkey: %v", err)
	}
	w.wantVerb("passkey.enrolled")
}

// A link lets one passkey in, whoever began first.
func TestLinkWorksOnce(t *testing.T) {
	w := empty(t)
	u, link, err := w.svc.CreateFirst(w.ctx, "Ada", w.now)
	if err != nil {
		t.Fatal(err)
	}
	options, slow, err := w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if any, err := w.svc.AnyPasskey(w.ctx); err != nil || any {
		t.Errorf("AnyPasskey before the first: %t, %v", any, err)
	}
	w.enrol(u, link)
	if any, err := w.svc.AnyPasskey(w.ctx); err != nil || !any {
		t.Errorf("AnyPasskey after the first: %t, %v", any, err)
	}
	_, err = w.svc.FinishEnrol(w.ctx, user.Principal{}, slow, newDevice(u.Handle).create(t, options, nil), "", w.peer, w.now)
	wantReason(t, err, "link_used")
	_, _, err = w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
	wantReason(t, err, "link_used")
	_, _, err = w.svc.CreateFirst(w.ctx, "Mallory", w.now)
	wantReason(t, err, "users_exist")
}

func TestLinkExpires(t *testing.T) {
	w := empty(t)
	_, link, err := w.svc.CreateFirst(w.ctx, "Ada", w.now)
	if err != nil {
		t.Fatal(err)
	}
	u, l, err := w.svc.Invitation(w.ctx, link, w.peer, w.now)
	if err != nil || u.Name != "Ada" || !l.ExpiresAt.Equal(w.now.Add(24*time.Hour)) {
		t.Errorf("Invitation: %v, %v, %v", u, l, err)
	}
	_, _, err = w.svc.BeginEnrol(w.ctx, link, w.peer, w.now.Add(user.LinkTTL))
	wantReason(t, err, "link_used")
	_, _, err = w.svc.Invitation(w.ctx, link, w.peer, w.now.Add(user.LinkTTL))
	wantReason(t, err, "link_used")
}

// Ten wrong links and the peer waits, but nobody else does.
func TestWrongLinksRunOut(t *testing.T) {
	w := newWorld(t)
	_, link, err := w.svc.Create(w.ctx, w.fresh(), "Grace", user.Member, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.svc.Tries = &user.Limiter{}
	for range 10 {
		_, _, err := w.svc.BeginEnrol(w.ctx, secret.Random(32), w.peer, w.now)
		wantReason(t, err, "link_used")
	}
	_, _, err = w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
	wantReason(t, err, "too_many_tries")
	_, _, err = w.svc.BeginLogin(w.ctx, w.peer, w.now)
	wantReason(t, err, "too_many_tries") // one counter for every way in
	neighbour := user.Peer{From: netip.MustParseAddr("192.0.2.8")}
	if _, _, err = w.svc.BeginEnrol(w.ctx, link, neighbour, w.now); err != nil {
		t.Errorf("a neighbour is locked out: %v", err)
	}
	if _, _, err = w.svc.BeginEnrol(w.ctx, link, w.peer, w.now.Add(6*time.Second)); err != nil {
		t.Errorf("still locked out after a wait: %v", err)
	}
}

// Another passkey needs one that has just been used, in a browser.
func TestAddPasskey(t *testing.T) {
	w := newWorld(t)
	stale := w.fresh()
	stale.AuthAt = w.now.Add(-6 * time.Minute)
	cli := w.fresh()
	cli.Kind = user.CLI
	for name, c := range map[string]struct {
		p      user.Principal
		reason string
	}{
		"stale":        {stale, "confirm_required"},
		"command line": {cli, "browser_required"},
		"operator":     {user.Principal{Org: w.owner.Org, Operator: true, Confirm: true}, "browser_required"},
		"nobody":       {user.Principal{}, "browser_required"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := w.svc.BeginAdd(w.ctx, c.p, w.now)
			wantReason(t, err, c.reason)
		})
	}
	_, _, other := w.person("Grace", user.Member)
	options, handle, err := w.svc.BeginAdd(w.ctx, w.fresh(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(options), b64(w.key.id)) {
		t.Errorf("the passkey that is there already is not excluded: %s", options)
	}
	_, err = w.svc.FinishEnrol(w.ctx, other, handle, newDevice(w.owner.Handle).create(t, options, nil), "", w.peer, w.now)
	wantReason(t, err, "ceremony_over") // begun in another session

	options, handle, err = w.svc.BeginAdd(w.ctx, w.fresh(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.svc.FinishEnrol(w.ctx, w.fresh(), handle, newDevice(w.owner.Handle).create(t, options, nil), "Spare \u202ekey", w.peer, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if e.Login != nil || e.Passkey.Name != "Spare key" {
		t.Errorf("got %+v", e)
	}
}

func TestUnavailable(t *testing.T) {
	for _, c := range []struct{ url, origin, warning string }{
		{"http://localhost:8420", "http://localhost:8420", ""},
		{"http://localhost", "http://localhost", ""},
		{"https://Keys.Example.com/", "https://keys.example.com", ""},
		{"https://keys.example.com:443", "https://keys.example.com", ""},
		{"https://keys.example.com:8443", "https://keys.example.com:8443", ""},
		{"http://127.0.0.1:8420", "", "IP address"},
		{"https://192.0.2.1", "", "IP address"},
		{"https://[2001:db8::1]:8420", "", "IP address"},
		{"https://127.1", "", "IP address"},
		{"http://keys.example.com", "", "HTTPS"},
		{"https://intranet", "", "a name with a dot"},
		{"https://user@keys.example.com", "", "not an http or https URL"},
		{"ftp://keys.example.com", "", "not an http or https URL"},
		{"", "", "not an http or https URL"},
	} {
		t.Run(c.url, func(t *testing.T) {
			web, warning := user.NewWebAuthn(c.url, "Valetkey")
			if web.Origin != c.origin || (warning == "") != (c.warning == "") || !strings.Contains(warning, c.warning) {
				t.Errorf("origin %q, warning %q", web.Origin, warning)
			}
			if c.warning == "" {
				if err := web.Available(); err != nil {
					t.Error(err)
				}
				return
			}
			if !strings.Contains(warning, "--public-url") {
				t.Errorf("the warning does not say what to do: %s", warning)
			}
			s := &user.Service{WebAuthn: web, Tries: &user.Limiter{}}
			_, _, err := s.BeginLogin(t.Context(), user.Peer{}, time.Now())
			wantReason(t, err, "passkeys_unavailable")
			_, _, err = s.BeginEnrol(t.Context(), secret.Random(32), user.Peer{}, time.Now())
			wantReason(t, err, "passkeys_unavailable")
			_, err = s.FinishLogin(t.Context(), secret.Random(32), nil, user.Peer{}, time.Now())
			wantReason(t, err, "passkeys_unavailable")
			_, _, err = s.BeginStepUp(t.Context(), user.Principal{}, [32]byte{}, time.Now())
			wantReason(t, err, "passkeys_unavailable")
		})
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", " Ada", "Ada ", "a\nb", "a\u202eb", "a\u200bb", "\xff", strings.Repeat("x", 64), "Ada\u00a0L"} {
		_, _, err := w.svc.Create(w.ctx, w.fresh(), name, user.Member, w.now)
		wantReason(t, err, "bad_name")
	}
	_, _, err := w.svc.Create(w.ctx, w.fresh(), "Ada", user.Member, w.now)
	wantReason(t, err, "name_taken")
	for _, name := range []string{"a", "田中 倫", strings.Repeat("x", 63)} {
		if _, _, err := w.svc.Create(w.ctx, w.fresh(), name, user.Member, w.now); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := w.svc.Rename(w.ctx, w.fresh(), w.owner.ID, "Ada Lovelace", w.now); err != nil {
		t.Error(err)
	}
	wantReason(t, w.svc.Rename(w.ctx, w.fresh(), w.owner.ID, "a", w.now), "name_taken")
	w.wantVerb("user.renamed")
}

// Who may make people, let them in again, and suspend them.
func TestManage(t *testing.T) {
	w := newWorld(t)
	_, _, admin := w.person("Admin", user.Admin)
	member, memberKey, memberP := w.person("Member", user.Member)
	_, _, auditor := w.person("Auditor", user.Auditor)
	stale := w.fresh()
	stale.AuthAt = w.now.Add(-time.Hour)
	cli := w.fresh()
	cli.Kind = user.CLI
	socket := user.Principal{Org: w.owner.Org, Operator: true}
	confirmed := user.Principal{Org: w.owner.Org, Operator: true, Confirm: true}

	n := 0
	for name, c := range map[string]struct {
		by     user.Principal
		role   user.Role
		reason string
	}{
		"member":                {memberP, user.Member, "not_allowed"},
		"auditor":               {auditor, user.Member, "not_allowed"},
		"nobody":                {user.Principal{}, user.Member, "not_allowed"},
		"stale owner":           {stale, user.Member, "confirm_required"},
		"owner's command line":  {cli, user.Member, "browser_required"},
		"admin makes an owner":  {admin, user.Owner, "not_allowed"},
		"socket":                {socket, user.Member, "passkey_required"},
		"bad role":              {w.fresh(), "root", "bad_role"},
		"owner makes an owner":  {w.fresh(), user.Owner, ""},
		"admin makes an admin":  {admin, user.Admin, ""},
		"operator who may":      {confirmed, user.Owner, ""},
		"owner makes a auditor": {w.fresh(), user.Auditor, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			_, _, err := w.svc.Create(w.ctx, c.by, fmt.Sprintf("P%d", n), c.role, w.now)
			if c.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantReason(t, err, c.reason)
		})
	}
	_, err := w.svc.NewLink(w.ctx, admin, w.owner.ID, w.now)
	wantReason(t, err, "not_allowed") // the link would make an owner of the admin
	_, err = w.svc.NewLink(w.ctx, memberP, w.owner.ID, w.now)
	wantReason(t, err, "not_allowed")
	wantReason(t, w.svc.SetStatus(w.ctx, admin, w.owner.ID, user.Suspended, w.now), "not_allowed")
	wantReason(t, w.svc.SetStatus(w.ctx, memberP, member.ID, user.Suspended, w.now), "not_allowed")
	wantReason(t, w.svc.SetStatus(w.ctx, w.fresh(), "usr_nobody", user.Suspended, w.now), "user_not_found")

	link, err := w.svc.NewLink(w.ctx, admin, member.ID, w.now)
	if err != nil {
		t.Fatal(err)
	}
	login, err := w.loginWith(memberKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.svc.SetStatus(w.ctx, admin, member.ID, user.Suspended, w.now); err != nil {
		t.Fatal(err)
	}
	// Nothing of a suspended person works any more.
	_, err = w.svc.Authenticate(w.ctx, login.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
	_, err = w.loginWith(memberKey)
	wantReason(t, err, "login_refused")
	_, _, err = w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
	wantReason(t, err, "link_used")
	_, err = w.svc.NewLink(w.ctx, admin, member.ID, w.now)
	wantReason(t, err, "user_suspended")
	_, _, err = w.svc.BeginStepUp(w.ctx, memberP, [32]byte{1}, w.now)
	wantReason(t, err, "user_suspended")
	w.wantVerb("login.refused")

	if err := w.svc.SetStatus(w.ctx, admin, member.ID, user.Active, w.now); err != nil {
		t.Fatal(err)
	}
	if _, err := w.loginWith(memberKey); err != nil {
		t.Errorf("login after resuming: %v", err)
	}
}

func TestLastOwnerStays(t *testing.T) {
	w := newWorld(t)
	wantReason(t, w.svc.SetStatus(w.ctx, w.fresh(), w.owner.ID, user.Suspended, w.now), "last_owner")
	second, _, _ := w.person("Second", user.Owner)
	if err := w.svc.SetStatus(w.ctx, w.fresh(), second.ID, user.Suspended, w.now); err != nil {
		t.Fatal(err)
	}
	wantReason(t, w.svc.SetStatus(w.ctx, w.fresh(), w.owner.ID, user.Suspended, w.now), "last_owner")
}

// A name cannot read as a role, an id or a word of the rules: approvers are
// named by all of these.
func TestNamesAreNothingElse(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"role:admin", "role:owner", "connection-owner", "Connection-Owner", "usr_06h0923fegre4vnbqh7m7d2vyg", "USR_x", "a:b"} {
		_, _, err := w.svc.Create(w.ctx, w.fresh(), name, user.Member, w.now)
		wantReason(t, err, "bad_name")
		if err := w.svc.Rename(w.ctx, w.fresh(), w.owner.ID, name, w.now); err == nil {
			t.Errorf("renamed to %q", name)
		}
	}
}

// A suspension that is lifted brings back no login.
func TestSuspensionEndsLogins(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.svc.Create(w.ctx, w.fresh(), "second owner", user.Owner, w.now); err != nil {
		t.Fatal(err)
	}
	confirmed := user.Principal{Org: w.login.Principal.Org, Operator: true, Confirm: true}
	for _, to := range []user.Status{user.Suspended, user.Active} {
		if err := w.svc.SetStatus(w.ctx, confirmed, w.owner.ID, to, w.now); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.svc.Authenticate(w.ctx, w.login.Bearer, user.Browser, w.now)
	wantReason(t, err, "login_required")
}
