package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
	"golang.org/x/oauth2"
)

// code walks through the consent page and returns the code with its verifier.
func (b *bench) code(t *testing.T, login string) (code, verifier string) {
	t.Helper()
	verifier = oauth2.GenerateVerifier()
	at, err := sandbox.Approve(t.Context(), b.client, b.oauth.AuthCodeURL("st4te", oauth2.S256ChallengeOption(verifier)), login)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil || !strings.HasPrefix(at, callback+"?") || u.Query().Get("state") != "st4te" || u.Query().Get("code") == "" {
		t.Fatalf("sent to %q (%v)", at, err)
	}
	return u.Query().Get("code"), verifier
}

// connect authorizes as a user and returns the tokens.
func (b *bench) connect(t *testing.T, login string) *oauth2.Token {
	t.Helper()
	code, verifier := b.code(t, login)
	token, err := b.oauth.Exchange(b.ctx(t), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (b *bench) ctx(t *testing.T) context.Context {
	return context.WithValue(t.Context(), oauth2.HTTPClient, b.client)
}

// post sends a form to the token endpoint and returns its answer.
func (b *bench) post(t *testing.T, form url.Values, headers ...string) said {
	t.Helper()
	headers = append([]string{"Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json"}, headers...)
	return b.ask(t, secret.Text{}, "POST", "/login/oauth/access_token", form.Encode(), headers...)
}

// refused checks for an error in the way upstream says it: with status 200.
func refused(t *testing.T, a said, code string) {
	t.Helper()
	if got := a.member(t, "error"); a.status != http.StatusOK || got != code {
		t.Errorf("status %d, error %v, want 200 and %q", a.status, got, code)
	}
	if strings.Contains(a.body, "access_token") {
		t.Errorf("a refusal holds a token: %s", a.body)
	}
}

func (b *bench) works(t *testing.T, token string) bool {
	t.Helper()
	return b.ask(t, secret.New(token), "GET", "/user", "").status == http.StatusOK
}

// Everything that the authorization endpoint must not let pass. Nothing is
// redirected before client and redirect URI are known to be right.
func TestAuthorizeRefuses(t *testing.T) {
	b := start(t)
	good := url.Values{
		"client_id": {clientID}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"s"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"},
	}
	for name, c := range map[string]struct {
		member string
		values []string
		status int
		error  string // in the redirect; "" means no redirect
	}{
		"good":                {"state", []string{"s"}, 200, ""},
		"no PKCE":             {"code_challenge", nil, 302, "invalid_request"},
		"short challenge":     {"code_challenge", []string{"abc"}, 302, "invalid_request"},
		"plain PKCE":          {"code_challenge_method", []string{"plain"}, 302, "invalid_request"},
		"no method":           {"code_challenge_method", nil, 302, "invalid_request"},
		"implicit":            {"response_type", []string{"token"}, 302, "unsupported_response_type"},
		"unknown client":      {"client_id", []string{"other"}, 404, ""},
		"no client":           {"client_id", nil, 404, ""},
		"two clients":         {"client_id", []string{clientID, clientID}, 400, ""},
		"two redirect URIs":   {"redirect_uri", []string{callback, callback}, 400, ""},
		"wrong redirect":      {"redirect_uri", []string{"https://evil.test/cb"}, 400, ""},
		"deeper redirect":     {"redirect_uri", []string{callback + "/x"}, 400, ""},
		"redirect with query": {"redirect_uri", []string{callback + "?a=b"}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := url.Values{}
			for k, v := range good {
				q[k] = v
			}
			q[c.member] = c.values
			a := b.ask(t, secret.Text{}, "GET", "/login/oauth/authorize?"+q.Encode(), "")
			at, _ := url.Parse(a.header.Get("Location"))
			if a.status != c.status || at.Query().Get("error") != c.error || at.Query().Has("code") {
				t.Errorf("status %d, sent to %q; want %d, %q", a.status, at, c.status, c.error)
			}
			if c.error != "" && (at.Query().Get("state") != "s" || at.Host != "valetkey.test") {
				t.Errorf("sent to %q", at)
			}
		})
	}
}

// Redirect URIs are compared byte by byte, whatever they look like.
func TestAuthorizeRefusesForeignRedirects(t *testing.T) {
	raw, err := os.ReadFile("testdata/redirect_uris.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Kind, Value, Registered, Expect string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	b := start(t, func(o *sandbox.Options) { o.RedirectURIs = []string{"https://app.test/cb"} })
	tried := 0
	for _, c := range cases {
		// The other kinds attack the application's side. The one case that
		// is not simply refused asks for a loopback registration, which this
		// server does not have: it is refused here too.
		if c.Kind != "redirect_uri" || c.Value == c.Registered {
			continue
		}
		tried++
		q := url.Values{"client_id": {clientID}, "redirect_uri": {c.Value}, "code_challenge": {oauth2.S256ChallengeFromVerifier("v")}, "code_challenge_method": {"S256"}}
		a := b.ask(t, secret.Text{}, "GET", "/login/oauth/authorize?"+q.Encode(), "")
		if a.status != http.StatusBadRequest || a.header.Get("Location") != "" || strings.Contains(a.body, `name="form"`) {
			t.Errorf("%s %q: status %d, sent to %q", c.ID, c.Value, a.status, a.header.Get("Location"))
		}
	}
	if tried < 40 {
		t.Errorf("only %d cases were tried", tried)
	}
}

func TestConsentFormWorksOnce(t *testing.T) {
	b := start(t)
	link := b.oauth.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	page := b.ask(t, secret.Text{}, "GET", strings.TrimPrefix(link, b.url), "")
	want(t, page, 200, "Sign in to Sandbox", "octocat", "hubot", "valetkey.test", "Read your profile")
	csp := page.header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || !strings.HasSuffix(csp, "form-action 'self' https://valetkey.test") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(page.body, `value="octo"`) {
		t.Error("an organization can sign in")
	}
	_, rest, _ := strings.Cut(page.body, `name="form" value="`)
	form, _, _ := strings.Cut(rest, `"`)
	send := func(values url.Values) said {
		return b.ask(t, secret.Text{}, "POST", "/login/oauth/authorize", values.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	if a := send(url.Values{"form": {"made-up"}, "login": {"octocat"}, "decision": {"approve"}}); a.status != 400 {
		t.Errorf("made-up form: %d", a.status)
	}
	if a := send(url.Values{"form": {form}, "login": {"octocat"}, "decision": {"approve"}}); a.status != 302 {
		t.Errorf("first: %d %s", a.status, a.body)
	}
	if a := send(url.Values{"form": {form}, "login": {"octocat"}, "decision": {"approve"}}); a.status != 400 {
		t.Errorf("second: %d", a.status)
	}
	if at, err := sandbox.Approve(t.Context(), b.client, link, "octo"); err == nil {
		t.Errorf("an organization was approved: %s", at)
	}
	at, err := sandbox.Deny(t.Context(), b.client, link)
	if err != nil || !strings.Contains(at, "error=access_denied") || strings.Contains(at, "code=") {
		t.Errorf("denied: %q, %v", at, err)
	}
}

func TestExchangeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(url.Values)
		error  string
	}{
		"no verifier":         {func(f url.Values) { f.Del("code_verifier") }, "bad_verification_code"},
		"wrong verifier":      {func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) }, "bad_verification_code"},
		"wrong redirect":      {func(f url.Values) { f.Set("redirect_uri", callback+"/") }, "redirect_uri_mismatch"},
		"no redirect":         {func(f url.Values) { f.Del("redirect_uri") }, "redirect_uri_mismatch"},
		"wrong secret":        {func(f url.Values) { f.Set("client_secret", "guess") }, "incorrect_client_credentials"},
		"no secret":           {func(f url.Values) { f.Del("client_secret") }, "incorrect_client_credentials"},
		"wrong client":        {func(f url.Values) { f.Set("client_id", "other") }, "incorrect_client_credentials"},
		"wrong code":          {func(f url.Values) { f.Set("code", "guess") }, "bad_verification_code"},
		"no code":             {func(f url.Values) { f.Del("code") }, "bad_verification_code"},
		"two codes":           {func(f url.Values) { f.Add("code", "guess") }, "invalid_request"},
		"password grant":      {func(f url.Values) { f.Set("grant_type", "password") }, "unsupported_grant_type"},
		"code as refresh":     {func(f url.Values) { f.Set("grant_type", "refresh_token"); f.Set("refresh_token", f.Get("code")) }, "bad_refresh_token"},
		"refresh without any": {func(f url.Values) { f.Set("grant_type", "refresh_token") }, "bad_refresh_token"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			code, verifier := b.code(t, "octocat")
			form := url.Values{
				"grant_type": {"authorization_code"}, "client_id": {clientID}, "client_secret": {clientSecret},
				"code": {code}, "code_verifier": {verifier}, "redirect_uri": {callback},
			}
			c.change(form)
			refused(t, b.post(t, form), c.error)
		})
	}
}

func TestExchangeRefusesOddBodies(t *testing.T) {
	b := start(t)
	const path = "/login/oauth/access_token"
	none := secret.Text{}
	for name, a := range map[string]said{
		"query":           b.ask(t, none, "POST", path+"?client_id="+clientID, "a=b", "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json"),
		"no type":         b.ask(t, none, "POST", path, "a=b", "Accept", "application/json"),
		"JSON twice":      b.ask(t, none, "POST", path, `{"code":"a","code":"b"}`, "Content-Type", "application/json", "Accept", "application/json"),
		"JSON number":     b.ask(t, none, "POST", path, `{"code":1}`, "Content-Type", "application/json", "Accept", "application/json"),
		"JSON array":      b.ask(t, none, "POST", path, `["code"]`, "Content-Type", "application/json", "Accept", "application/json"),
		"JSON cut":        b.ask(t, none, "POST", path, `{"code":"a"`, "Content-Type", "application/json", "Accept", "application/json"),
		"JSON twice over": b.ask(t, none, "POST", path, `{"code":"a"}{}`, "Content-Type", "application/json", "Accept", "application/json"),
	} {
		t.Run(name, func(t *testing.T) { refused(t, a, "invalid_request") })
	}
	plain := b.ask(t, none, "POST", path, "client_id=x", "Content-Type", "application/x-www-form-urlencoded")
	if v, err := url.ParseQuery(plain.body); err != nil || v.Get("error") != "incorrect_client_credentials" {
		t.Errorf("without Accept: %q", plain.body)
	}
	if a := b.ask(t, none, "GET", path, ""); a.status != 404 {
		t.Errorf("GET: %d", a.status)
	}
}

// A wrong proof uses the code up: whoever stole it gets no second guess.
func TestWrongVerifierSpendsTheCode(t *testing.T) {
	b := start(t)
	code, verifier := b.code(t, "octocat")
	for _, v := range []string{oauth2.GenerateVerifier(), verifier} {
		_, err := b.oauth.Exchange(b.ctx(t), code, oauth2.VerifierOption(v))
		if re, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || re.ErrorCode != "bad_verification_code" {
			t.Errorf("got %v", err)
		}
	}
}

// A code that comes twice stops what it gave the first time.
func TestCodeReuseStopsTheTokens(t *testing.T) {
	b := start(t)
	code, verifier := b.code(t, "octocat")
	token, err := b.oauth.Exchange(b.ctx(t), code, oauth2.VerifierOption(verifier))
	if err != nil || !b.works(t, token.AccessToken) {
		t.Fatal(err)
	}
	if _, err := b.oauth.Exchange(b.ctx(t), code, oauth2.VerifierOption(verifier)); err == nil {
		t.Fatal("the code worked twice")
	}
	if b.works(t, token.AccessToken) {
		t.Error("the token outlived the replay of its code")
	}
}

// The happy path, with the client library that the world uses.
func TestConnectAndRefresh(t *testing.T) {
	b := start(t)
	first := b.connect(t, "octocat")
	if !strings.HasPrefix(first.AccessToken, "ghu_") || !strings.HasPrefix(first.RefreshToken, "ghr_") || first.Type() != "Bearer" {
		t.Errorf("types: %q", first.Type())
	}
	if got, want := first.Extra("scope"), "read:user,repo"; got != want {
		t.Errorf("scope %v, want %v", got, want)
	}
	if got := first.Extra("refresh_token_expires_in"); fmt.Sprint(got) != "15897600" {
		t.Errorf("refresh_token_expires_in %v", got)
	}
	if left := time.Until(first.Expiry); left < 7*time.Hour || left > 8*time.Hour {
		t.Errorf("expires in %s", left)
	}
	if a := b.ask(t, secret.New(first.AccessToken), "GET", "/user", ""); a.member(t, "login") != "octocat" || a.member(t, "id") != 583231.0 {
		t.Errorf("user: %s", a.body)
	}
	stale := *first
	stale.Expiry = time.Now().Add(-time.Minute)
	second, err := b.oauth.TokenSource(b.ctx(t), &stale).Token()
	if err != nil {
		t.Fatal(err)
	}
	if second.AccessToken == first.AccessToken || second.RefreshToken == first.RefreshToken {
		t.Error("nothing was rotated")
	}
	if b.works(t, first.AccessToken) {
		t.Error("the old access token still works")
	}
	if !b.works(t, second.AccessToken) {
		t.Error("the new access token does not work")
	}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "client_secret": {clientSecret}, "refresh_token": {token}}
}

// A refresh token that comes back after its use is stolen by one of the two
// who sent it: the family dies, the newest tokens too.
func TestReusedRefreshTokenKillsTheFamily(t *testing.T) {
	b := start(t)
	other := b.connect(t, "octocat")
	first := b.connect(t, "octocat")
	var second struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	b.post(t, refreshForm(first.RefreshToken)).json(t, &second)
	if !b.works(t, second.Access) {
		t.Fatal("the refreshed token does not work")
	}
	refused(t, b.post(t, refreshForm(first.RefreshToken)), "bad_refresh_token")
	if b.works(t, second.Access) {
		t.Error("the newest access token survived")
	}
	refused(t, b.post(t, refreshForm(second.Refresh)), "bad_refresh_token")
	if !b.works(t, other.AccessToken) {
		t.Error("another authorization died with it")
	}
}

func TestClientAuthentication(t *testing.T) {
	b := start(t)
	token := b.connect(t, "octocat")
	basic := func(id, key string) []string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(id, key)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	bare := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}}
	refused(t, b.post(t, bare), "incorrect_client_credentials")
	refused(t, b.post(t, bare, basic(clientID, "guess")...), "incorrect_client_credentials")
	refused(t, b.post(t, refreshForm(token.RefreshToken), basic(clientID, clientSecret)...), "incorrect_client_credentials") // two ways at once
	if a := b.post(t, bare, basic(clientID, clientSecret)...); a.member(t, "access_token") == nil {
		t.Errorf("basic: %s", a.body)
	}
	open := start(t, func(o *sandbox.Options) { o.ClientSecret = secret.Text{} })
	refused(t, open.post(t, url.Values{"client_id": {clientID}, "client_secret": {""}, "grant_type": {"refresh_token"}}), "incorrect_client_credentials")
}

func TestJSONExchangeAndFormAnswer(t *testing.T) {
	b := start(t)
	code, verifier := b.code(t, "hubot")
	body, _ := json.Marshal(map[string]string{"client_id": clientID, "client_secret": clientSecret, "code": code, "code_verifier": verifier, "redirect_uri": callback})
	a := b.ask(t, secret.Text{}, "POST", "/login/oauth/access_token", string(body), "Content-Type", "application/json")
	v, err := url.ParseQuery(a.body)
	if err != nil || v.Get("expires_in") != "28800" || v.Get("token_type") != "bearer" || !b.works(t, v.Get("access_token")) {
		t.Errorf("status %d, %v", a.status, err)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Error("a token answer may be cached")
	}
}

func TestSwitchesOfTheTokenEndpoint(t *testing.T) {
	b := start(t, func(o *sandbox.Options) { o.Issuer = "https://sandbox.test" })
	b.GrantOnly("read:user")
	b.OmitExpiry(true)
	token := b.connect(t, "octocat")
	if token.Extra("scope") != "read:user" || !token.Expiry.IsZero() {
		t.Errorf("scope %v, expiry %v", token.Extra("scope"), token.Expiry)
	}
	if a := b.ask(t, secret.New(token.AccessToken), "GET", "/repos/octo/api", ""); a.status != 404 || a.header.Get("X-OAuth-Scopes") != "read:user" {
		t.Errorf("a private repository without the scope: %d", a.status)
	}
	at, err := sandbox.Deny(t.Context(), b.client, b.oauth.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	if err != nil || !strings.Contains(at, "iss="+url.QueryEscape("https://sandbox.test")) {
		t.Errorf("sent to %q, %v", at, err)
	}
}

func TestRevocation(t *testing.T) {
	b := start(t)
	call := func(method, path, key, token string) said {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(clientID, key)
		return b.ask(t, secret.Text{}, method, path, `{"access_token":"`+token+`"}`, "Authorization", r.Header.Get("Authorization"))
	}
	const app = "/applications/" + clientID
	one, two, three := b.connect(t, "octocat"), b.connect(t, "octocat"), b.connect(t, "hubot")
	personal := b.PersonalToken("octocat", "repo")

	want(t, call("DELETE", app+"/grant", "guess", one.AccessToken), 401, "Bad credentials")
	want(t, call("DELETE", "/applications/other/grant", clientSecret, one.AccessToken), 404)
	want(t, call("DELETE", app+"/grant", clientSecret, "guess"), 404)
	want(t, call("DELETE", app+"/grant", clientSecret, personal.Reveal()), 404)
	want(t, b.ask(t, secret.New(one.AccessToken), "DELETE", app+"/grant", `{"access_token":"x"}`), 404)
	if !b.works(t, one.AccessToken) {
		t.Fatal("a refused revocation revoked")
	}

	check := call("POST", app+"/token", clientSecret, one.AccessToken)
	want(t, check, 200, `"login":"octocat"`, `"scopes":["read:user","repo"]`)
	if strings.Contains(check.body, one.AccessToken) {
		t.Error("the check repeats the token")
	}
	want(t, call("DELETE", app+"/token", clientSecret, one.AccessToken), 204)
	want(t, call("POST", app+"/token", clientSecret, one.AccessToken), 404)
	refused(t, b.post(t, refreshForm(one.RefreshToken)), "bad_refresh_token")
	if !b.works(t, two.AccessToken) {
		t.Error("deleting one token stopped another")
	}
	four := b.connect(t, "octocat")
	want(t, call("DELETE", app+"/grant", clientSecret, four.AccessToken), 204)
	got := map[string]bool{"two": b.works(t, two.AccessToken), "three": b.works(t, three.AccessToken), "four": b.works(t, four.AccessToken), "personal": b.works(t, personal.Reveal())}
	if diff := cmp.Diff(map[string]bool{"two": false, "three": true, "four": false, "personal": true}, got); diff != "" {
		t.Errorf("after the grant was deleted (-want +got):\n%s", diff)
	}
	b.RevokeEverything("octocat")
	if b.works(t, personal.Reveal()) || !b.works(t, three.AccessToken) {
		t.Error("RevokeEverything missed the personal token, or hit another user")
	}
}

// inProcess is a transport without a network, for a bubble with its own clock.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.Header.Set("User-Agent", "test") // a real transport adds one
	p.h.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{ClientID: clientID, ClientSecret: secret.New(clientSecret), RedirectURIs: []string{callback}, AccessTTL: time.Minute})
		b := &bench{s, "http://sandbox.test", &http.Client{Transport: inProcess{s.Handler()}}, config("http://sandbox.test")}

		code, verifier := b.code(t, "octocat")
		time.Sleep(10 * time.Minute)
		if _, err := b.oauth.Exchange(b.ctx(t), code, oauth2.VerifierOption(verifier)); err == nil {
			t.Error("an expired code worked")
		}
		token := b.connect(t, "octocat")
		time.Sleep(time.Minute - time.Second)
		if !b.works(t, token.AccessToken) {
			t.Error("the token stopped too early")
		}
		time.Sleep(time.Second)
		if b.works(t, token.AccessToken) {
			t.Error("the token outlived its time")
		}
		time.Sleep(185 * 24 * time.Hour)
		refused(t, b.post(t, refreshForm(token.RefreshToken)), "bad_refresh_token")
	})
}
