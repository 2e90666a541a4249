package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/oidc"
	"github.com/valetkey/valetkey/internal/oidc/oidctest"
	"github.com/valetkey/valetkey/secret"
)

func provider(i *oidctest.Issuer) *oidc.Provider {
	return &oidc.Provider{
		Issuer: i.URL, ClientID: i.ClientID, Secret: secret.New(i.Secret), Name: "Example", RedirectURI: "https://keys.example.com/signin/callback",
		HTTP: http.DefaultClient,
	}
}

var ask = oidc.Ask{State: secret.New("a-state-of-some-length"), Nonce: "a-nonce-of-some-length", Verifier: secret.New("a-verifier-of-forty-three-characters-or-more-0")}

// A token is taken when everything about it fits, and refused when anything
// does not; each lie alone is enough.
func TestRedeemRefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, v any) func(*oidctest.Issuer, url.Values) {
		return func(i *oidctest.Issuer, _ url.Values) {
			i.Claims = func(c map[string]any) {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			}
		}
	}
	now := time.Now()
	for name, lie := range map[string]func(*oidctest.Issuer, url.Values){
		"another issuer in the answer":      func(_ *oidctest.Issuer, q url.Values) { q.Set("iss", "https://evil.example") },
		"no issuer, where it says it names": func(_ *oidctest.Issuer, q url.Values) { q.Del("iss") },
		"two codes":                         func(_ *oidctest.Issuer, q url.Values) { q.Add("code", "x") },
		"an error beside a code":            func(_ *oidctest.Issuer, q url.Values) { q.Set("error", "access_denied") },
		"no code":                           func(_ *oidctest.Issuer, q url.Values) { q.Del("code") },
		"another code":                      func(_ *oidctest.Issuer, q url.Values) { q.Set("code", "stolen") },
		"another issuer":                    claim("iss", "https://evil.example"),
		"no subject":                        claim("sub", ""),
		"another audience":                  claim("aud", "somebody else"),
		"two audiences, no party":           claim("aud", []string{"valetkey", "somebody else"}),
		"another party":                     claim("azp", "somebody else"),
		"another nonce":                     claim("nonce", "another-nonce"),
		"no nonce":                          claim("nonce", nil),
		"expired":                           claim("exp", now.Add(-time.Hour).Unix()),
		"no expiry":                         claim("exp", nil),
		"issued tomorrow":                   claim("iat", now.Add(24*time.Hour).Unix()),
		"no auth_time":                      claim("auth_time", nil),
		"an old login":                      claim("auth_time", now.Add(-time.Hour).Unix()),
		"a login tomorrow":                  claim("auth_time", now.Add(24*time.Hour).Unix()),
		"unsigned":                          func(i *oidctest.Issuer, _ url.Values) { i.Alg = "none" },
		"signed with the client secret":     func(i *oidctest.Issuer, _ url.Values) { i.Alg = jose.HS256 },
		"signed with another key":           func(i *oidctest.Issuer, _ url.Values) { i.Key = other },
	} {
		t.Run(name, func(t *testing.T) {
			i := oidctest.New(t)
			p := provider(i)
			a := ask
			a.Fresh = true
			to, err := p.AuthorizeURL(t.Context(), a, now)
			if err != nil {
				t.Fatal(err)
			}
			q := i.Approve(to, "ada")
			lie(i, q)
			if got, err := p.Redeem(t.Context(), q, a, now, now); err == nil || got != nil || fault.From(err).Reason != oidc.ErrRefused.Reason {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// A good answer is taken once; what signed it verifies it again, offline.
func TestRedeem(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256} {
		i := oidctest.New(t)
		i.Alg = alg
		p, now := provider(i), time.Now()
		a := ask
		a.Fresh = true
		to, err := p.AuthorizeURL(t.Context(), a, now)
		if err != nil {
			t.Fatal(err)
		}
		q := i.Approve(to, "ada")
		if asked := i.Asked(); asked.Get("prompt") != "login" || asked.Get("max_age") != "0" || asked.Get("scope") != "openid" {
			t.Errorf("asked with %v", asked)
		}
		got, err := p.Redeem(t.Context(), q, a, now, now)
		if err != nil {
			t.Fatal(err)
		}
		if got.Subject != "ada" || got.Label != "ada@example.com" || got.AuthAt.IsZero() {
			t.Errorf("%+v", got)
		}
		if _, err := p.Redeem(t.Context(), q, a, now, now); fault.From(err).Reason != oidc.ErrRefused.Reason {
			t.Errorf("the code again: %v", err)
		}
		if _, err := oidc.Check(got.Raw, got.Key, i.URL, i.ClientID, a.Nonce, now); err != nil {
			t.Errorf("offline: %v", err)
		}
		for k, bad := range map[string][5]string{
			"another nonce": {got.Raw, string(got.Key), i.URL, i.ClientID, "x"}, "another client": {got.Raw, string(got.Key), i.URL, "x", a.Nonce},
			"another issuer": {got.Raw, string(got.Key), "x", i.ClientID, a.Nonce}, "a changed token": {got.Raw[:len(got.Raw)-4] + "AAAA", string(got.Key), i.URL, i.ClientID, a.Nonce},
			"no key": {got.Raw, "{}", i.URL, i.ClientID, a.Nonce}, "no nonce": {got.Raw, string(got.Key), i.URL, i.ClientID, ""},
		} {
			if _, err := oidc.Check(bad[0], []byte(bad[1]), bad[2], bad[3], bad[4], now); err == nil {
				t.Errorf("%s passes", k)
			}
		}
		if _, err := oidc.Check(got.Raw, got.Key, i.URL, i.ClientID, a.Nonce, now.Add(time.Hour)); err == nil {
			t.Error("an expired token passes")
		}
	}
}

// A provider that names another issuer than the one that was configured, or is
// not there, is not one.
func TestDiscoveryRefuses(t *testing.T) {
	i := oidctest.New(t)
	p := provider(i)
	p.Issuer = i.URL + "/"
	if _, err := p.AuthorizeURL(t.Context(), ask, time.Now()); fault.From(err).Reason != oidc.ErrUnreachable.Reason {
		t.Errorf("another issuer: %v", err)
	}
	p = provider(i)
	i.Close()
	if _, err := p.AuthorizeURL(t.Context(), ask, time.Now()); fault.From(err).Reason != oidc.ErrUnreachable.Reason {
		t.Errorf("nobody there: %v", err)
	}
}
