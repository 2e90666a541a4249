// Package oidctest is an identity provider for tests: it speaks the
// authorization code flow with PKCE as a real one does, and lies on demand.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is a running identity provider. What it lies about is changed between
// two logins.
type Issuer struct {
	*httptest.Server
	ClientID, Secret string

	Alg    jose.SignatureAlgorithm // ES256 or RS256
	Claims func(map[string]any)    // changes an id_token before it is signed
	Key    crypto.Signer           // signs in place of the published key
	NoIss  bool                    // the answer does not name the issuer
	Iss    string                  // or names this one
	AuthAt time.Time               // when its person logged in; now if zero

	t     testing.TB
	mu    sync.Mutex
	ec    *ecdsa.PrivateKey
	rsa   *rsa.PrivateKey
	codes map[string]code
	asked url.Values
}

type code struct {
	asked   url.Values
	subject string
}

// New starts an issuer.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{ClientID: "valetkey", Secret: "a-client-secret", Alg: jose.ES256, t: t, codes: map[string]code{}}
	var err error
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.metadata)
	mux.HandleFunc("GET /jwks", i.jwks)
	mux.HandleFunc("POST /token", i.token)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (i *Issuer) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/jwks",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"RS256", "ES256", "HS256", "none"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (i *Issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"keys": []any{
		map[string]any{"kty": "of another kind", "kid": "new"},
		jose.JSONWebKey{Key: i.ec.Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"},
		jose.JSONWebKey{Key: i.rsa.Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
	}})
}

// Approve is a person who logs in at address, where a browser was sent, as
// subject. It returns the query of the callback.
func (i *Issuer) Approve(address, subject string) url.Values {
	i.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		i.t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": i.ClientID, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			i.t.Errorf("the browser was sent with %s %q, want %q", name, q.Get(name), want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge", "redirect_uri"} {
		if len(q.Get(name)) < 16 {
			i.t.Errorf("the browser was sent with %s %q", name, q.Get(name))
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	name := rand.Text()
	i.codes[name], i.asked = code{q, subject}, q
	out := url.Values{"code": {name}, "state": {q.Get("state")}, "iss": {i.URL}}
	if i.NoIss {
		out.Del("iss")
	}
	if i.Iss != "" {
		out.Set("iss", i.Iss)
	}
	return out
}

// Asked is what the browser was sent with last.
func (i *Issuer) Asked() url.Values {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	refuse := func(reason string) { answer(w, http.StatusBadRequest, map[string]string{"error": reason}) }
	user, pass, ok := r.BasicAuth()
	if !ok || user != i.ClientID || pass != i.Secret {
		refuse("invalid_client")
		return
	}
	c, ok := i.codes[r.FormValue("code")]
	delete(i.codes, r.FormValue("code"))
	h := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || c.asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(h[:]) || c.asked.Get("redirect_uri") != r.FormValue("redirect_uri") {
		refuse("invalid_grant")
		return
	}
	now := time.Now()
	at := i.AuthAt
	if at.IsZero() {
		at = now
	}
	claims := map[string]any{
		"iss": i.URL, "sub": c.subject, "aud": i.ClientID, "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(), "auth_time": at.Unix(),
		"nonce": c.asked.Get("nonce"), "email": c.subject + "@example.com",
	}
	if i.Claims != nil {
		i.Claims(claims)
	}
	raw, err := i.Sign(claims)
	if err != nil {
		i.t.Error(err)
	}
	answer(w, http.StatusOK, map[string]any{"access_token": "unused", "token_type": "Bearer", "expires_in": 60, "id_token": raw})
}

// Sign signs claims as the issuer does.
func (i *Issuer) Sign(claims map[string]any) (string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	var key any = jose.JSONWebKey{Key: i.ec, KeyID: "ec"}
	switch i.Alg {
	case jose.RS256:
		key = jose.JSONWebKey{Key: i.rsa, KeyID: "rsa"}
	case jose.HS256: // a lie: keyed with what the client knows, too
		key = []byte(i.Secret + "-padded-to-thirty-two-bytes-or-more")
	case "none":
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(`{"alg":"none"}`)) + "." + enc(body) + ".", nil
	}
	if i.Key != nil {
		key = jose.JSONWebKey{Key: i.Key, KeyID: "ec"}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: i.Alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("make a signer: %w", err)
	}
	jws, err := s.Sign(body)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}
