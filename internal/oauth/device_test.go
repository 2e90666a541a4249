package oauth_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

var update = flag.Bool("update", false, "write golden files")

func (w *world) readDevice(a answer) api.DeviceResponse {
	w.t.Helper()
	var d api.DeviceResponse
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != 200 {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	return d
}

func poll(code string) form {
	return form{"grant_type": api.GrantDevice, "client_id": "valetkey-cli", "device_code": code}
}

func TestDeviceRefused(t *testing.T) {
	w := newWorld(t)
	formType := "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		send         func() answer
		status       int
		code, reason string
	}{
		"begin without client": {func() answer { return w.post("/oauth/device/code", formType, "") }, 401, "invalid_client", "unknown_client"},
		"begin as an agent":    {func() answer { return w.post("/oauth/device/code", formType, "client_id=agent-1") }, 401, "invalid_client", "unknown_client"},
		"begin in the query":   {func() answer { return w.post("/oauth/device/code?client_id=valetkey-cli", formType, "") }, 400, "invalid_request", "query_parameters"},
		"poll without client":  {func() answer { return w.send(poll("x").with("client_id", "")) }, 401, "invalid_client", "unknown_client"},
		"poll without code":    {func() answer { return w.send(poll("")) }, 400, "invalid_request", "missing_device_code"},
		"unknown code":         {func() answer { return w.send(poll("vkd_unknown")) }, 400, "expired_token", "expired_token"},
	} {
		a := w.wantRefused(name, "device.refused", tt.send, tt.status, tt.code, tt.reason)
		if a.Reason != "" {
			t.Errorf("%s: a reason on the wire: %s", name, a.body)
		}
	}
	d := w.device(false)
	if err := w.users.DenyDevice(w.ctx, w.browser(w.ada), d.UserCode, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.wantRefused("denied", "device.refused", func() answer { return w.send(poll(d.DeviceCode)) }, 400, "access_denied", "access_denied")
}

func TestDevice(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{"application/x-www-form-urlencoded", "application/json"} {
		f := form{"client_id": "valetkey-cli", "device_name": "laptop", "scope": "openid", "audience": "x"}
		body := f.encode()
		if kind == "application/json" {
			body = f.json(t)
		}
		a := w.post("/oauth/device/code", kind, body)
		d := w.readDevice(a)
		if a.header.Get("Cache-Control") != "no-store" || d.VerificationURI != issuer+"device" ||
			d.VerificationURIComplete != issuer+"device?code="+d.UserCode || d.Interval != 5 || d.ExpiresIn != 600 {
			t.Errorf("%s", a.body)
		}
		// Waiting is no refusal: the log would fill up with it.
		since := w.mark()
		if a := w.send(poll(d.DeviceCode)); a.status != 400 || a.TokenError.Error != "authorization_pending" || a.header.Get("Retry-After") != "" {
			t.Errorf("pending: %d %s", a.status, a.body)
		}
		if a := w.send(poll(d.DeviceCode)); a.status != 400 || a.TokenError.Error != "slow_down" || a.header.Get("Retry-After") != "10" {
			t.Errorf("too fast: %d %s", a.status, a.body)
		}
		if events := w.events(since); len(events) != 0 {
			t.Errorf("polling is recorded: %v", events)
		}
		w.rested(d.DeviceCode)
		w.letIn(d)
		a = w.send(poll(d.DeviceCode))
		if a.status != 200 || a.TokenType != "Bearer" || a.ExpiresIn < 29*24*3600 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		p, err := w.users.Authenticate(w.ctx, secret.New(a.AccessToken), user.CLI, time.Now())
		if err != nil || p.User != w.ada.ID {
			t.Errorf("the session is %v's: %v", p.User, err)
		}
		if a := w.send(poll(d.DeviceCode)); a.TokenError.Error != "expired_token" {
			t.Errorf("a code works twice: %d %s", a.status, a.body)
		}
		if strings.Contains(w.logs.String(), a.AccessToken) || strings.Contains(w.logs.String(), d.DeviceCode) {
			t.Error("the log holds a bearer value")
		}
	}
}

// letIn approves a login in Ada's name, as far as the store is concerned: with
// a passkey that nobody can touch.
func (w *world) letIn(d api.DeviceResponse) {
	w.t.Helper()
	h := secret.New(d.DeviceCode).Hash()
	p, now := w.browser(w.ada), time.Now()
	k := &user.Passkey{Org: p.Org, ID: id.NewPasskey(), User: p.User, Name: "untouched", Credential: []byte("{}"), CreatedAt: now, Version: 1}
	k.CredentialID = []byte(k.ID)
	if err := w.db.Users().Passkeys().Enrol(w.ctx, k, nil, now, nil); err != nil {
		w.t.Fatal(err)
	}
	err := w.db.Users().Devices().UpdateDevice(w.ctx, h[:], func(v *user.Device) ([]audit.Event, error) {
		v.Status, v.User, v.Passkey = user.DeviceApproved, p.User, k.ID
		return []audit.Event{p.Event("device.approved", string(p.Session), p.User, now, nil)}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// rested makes the last poll look as if it were long ago.
func (w *world) rested(code string) {
	w.t.Helper()
	h := secret.New(code).Hash()
	err := w.db.Users().Devices().UpdateDevice(w.ctx, h[:], func(d *user.Device) ([]audit.Event, error) {
		d.PolledAt = time.Time{}
		return nil, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestRevokeRefused(t *testing.T) {
	w := newWorld(t)
	revoke := func(f form) func() answer {
		return func() answer { return w.post("/oauth/revoke", "application/x-www-form-urlencoded", f.encode()) }
	}
	client := func() form {
		return form{"client_assertion_type": api.AssertionJWT, "client_assertion": w.one.Assertion(assertionClaims("agent-1"))}
	}
	bearer := w.send(credentials(w.one.Assertion(assertionClaims("agent-1")))).AccessToken
	for name, tt := range map[string]struct {
		form         form
		status       int
		code, reason string
	}{
		"nobody":             {form{"token": bearer}, 401, "invalid_client", "missing_client_assertion"},
		"a secret":           {form{"token": bearer, "client_id": "agent-1", "client_secret": "x"}, 401, "invalid_client", "client_secret"},
		"forged":             {client().with("token", bearer, "client_assertion", jwttest.Compact(w.one.Header("").JSON(), assertionClaims("agent-1").JSON(), w.two.Sign)), 401, "invalid_client", "invalid_client"},
		"no token":           {client(), 400, "invalid_request", "missing_token"},
		"no token, terminal": {form{"client_id": "valetkey-cli"}, 400, "invalid_request", "missing_token"},
	} {
		w.wantRefused(name, "token.refused", revoke(tt.form), tt.status, tt.code, tt.reason)
	}
	if _, err := w.agents.Bearer(w.ctx, secret.New(bearer), w.one.Sources[0].Addr(), time.Now()); err != nil {
		t.Errorf("a refused revocation revoked: %v", err)
	}
}

// Revocation is 200 with nothing in it, for everything (RFC 7009 §2.2), and
// ends only what is the caller's.
func TestRevoke(t *testing.T) {
	w := newWorld(t)
	alive := func(text string) bool {
		_, err := w.agents.Bearer(w.ctx, secret.New(text), w.one.Sources[0].Addr(), time.Now())
		return err == nil
	}
	for _, kind := range []string{"application/x-www-form-urlencoded", "application/json"} {
		bearer := w.send(credentials(w.one.Assertion(assertionClaims("agent-1")))).AccessToken
		session := w.login().Bearer.Reveal()
		revoke := func(f form) {
			t.Helper()
			body := f.encode()
			if kind == "application/json" {
				body = f.json(t)
			}
			if a := w.post("/oauth/revoke", kind, body); a.status != 200 || a.body != "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v: %d %s", f["token"] == "", a.status, a.body)
			}
		}
		client := func(p *program) form {
			return form{"client_assertion_type": api.AssertionJWT, "client_assertion": p.Assertion(assertionClaims(p.Name)), "token_type_hint": "refresh_token"}
		}
		revoke(client(w.one).with("token", "unknown"))
		revoke(client(w.one).with("token", session))
		revoke(client(w.two).with("token", bearer))
		revoke(form{"client_id": "valetkey-cli", "token": bearer})
		revoke(form{"client_id": "valetkey-cli", "token": "unknown"})
		if !alive(bearer) {
			t.Fatal("somebody else revoked an agent's token")
		}
		if _, err := w.users.Authenticate(w.ctx, secret.New(session), user.CLI, time.Now()); err != nil {
			t.Fatalf("an agent ended a person's session: %v", err)
		}
		revoke(client(w.one).with("token", bearer))
		revoke(form{"client_id": "valetkey-cli", "token": session})
		if alive(bearer) {
			t.Error("a revoked token works")
		}
		if _, err := w.users.Authenticate(w.ctx, secret.New(session), user.CLI, time.Now()); err == nil {
			t.Error("a revoked session works")
		}
		revoke(client(w.one).with("token", bearer)) // again
		revoke(form{"client_id": "valetkey-cli", "token": session})
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	get := func(path string) (string, http.Header) {
		t.Helper()
		a := w.do(must[*http.Request](t)(http.NewRequestWithContext(w.ctx, "GET", w.server.URL+path, nil)))
		if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
		return a.body, a.header
	}
	discovery, _ := get("/.well-known/openid-configuration")
	alias, _ := get("/.well-known/oauth-authorization-server")
	if discovery != alias {
		t.Error("the two discovery documents differ")
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(discovery), &doc); err != nil {
		t.Fatal(err)
	}
	pretty := string(must[[]byte](t)(json.MarshalIndent(doc, "", "  "))) + "\n"
	const golden = "testdata/discovery.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(pretty), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(must[[]byte](t)(os.ReadFile(golden))), pretty); diff != "" {
		t.Errorf("discovery (-want +got):\n%s", diff)
	}
	// What is published answers, and takes nothing by GET.
	for name, v := range doc {
		text, _ := v.(string)
		if path, ok := strings.CutPrefix(text, issuer); ok && name != "issuer" {
			rec := httptest.NewRecorder()
			w.server.Config.Handler.ServeHTTP(rec, httptest.NewRequest("GET", "/"+path, nil))
			if want := map[bool]int{true: 200, false: 405}[name == "jwks_uri"]; rec.Code != want {
				t.Errorf("GET /%s: %d", path, rec.Code)
			}
		}
	}
	set, header := get("/.well-known/jwks.json")
	if diff := cmp.Diff(string(w.signer.JWKS()), set); diff != "" || !strings.Contains(header.Get("Cache-Control"), "max-age") {
		t.Errorf("JWKS: %s", diff)
	}
	if !strings.Contains(set, `"alg":"`+string(jwt.RS256)+`"`) || strings.Contains(set, `"d":`) {
		t.Errorf("JWKS: %s", set)
	}
}
