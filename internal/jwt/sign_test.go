package jwt_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/secret"
)

func newSigner(t testing.TB) (*jwt.Signer, secret.Text) {
	t.Helper()
	text, err := jwt.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := jwt.NewSigner(text)
	if err != nil {
		t.Fatal(err)
	}
	return s, text
}

func TestSignerKeyRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	smallDER, err1 := x509.MarshalPKCS8PrivateKey(small)
	ecDER, err2 := x509.MarshalPKCS8PrivateKey(jwttest.New(t, jwt.ES256, "k").Private)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	_, good := newSigner(t)
	for name, text := range map[string]string{
		"empty":    "",
		"public":   jwttest.SPKI(t, jwttest.RSA().Public()),
		"pkcs1":    pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(jwttest.RSA())),
		"1024 bit": pemOf("PRIVATE KEY", smallDER),
		"ec":       pemOf("PRIVATE KEY", ecDER),
		"broken":   pemOf("PRIVATE KEY", []byte("canary-4f9Kq2ZxW7")),
		"two":      good.Reveal() + good.Reveal(),
	} {
		s, err := jwt.NewSigner(secret.New(text))
		if err == nil || s != nil {
			t.Errorf("%s is accepted", name)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestSign(t *testing.T) {
	s, text := newSigner(t)
	claims := map[string]any{"iss": issuer, "sub": "user-1", "aud": "agent-1", "iat": now.Unix(), "exp": now.Unix() + 60, "jti": "x"}
	raw, err := s.Sign(claims, "at+jwt")
	if err != nil {
		t.Fatal(err)
	}
	r := jwt.Rules{Types: []string{"at+jwt"}, Audience: "agent-1", Issuer: issuer, Subject: "user-1", MaxLifetime: time.Minute, RequireExp: true}
	c, _, err := jwt.Verify(raw, []jwt.Key{s.Key()}, r, now)
	if err != nil || c.KID != s.KID() {
		t.Errorf("Verify: %q, %v", c.KID, err)
	}
	r.Subject = "user-2"
	if _, _, err := jwt.Verify(raw, []jwt.Key{s.Key()}, r, now); reason(err) != jwt.ReasonWrongSubject {
		t.Errorf("Verify for another subject: %v", err)
	}
	h, _, err := jwt.Peek(raw)
	if want := (jwt.Header{KID: s.KID(), Type: "at+jwt", Alg: jwt.RS256}); h != want || err != nil {
		t.Errorf("header %+v, %v", h, err)
	}
	untyped, err := s.Sign(claims, "")
	if err != nil {
		t.Fatal(err)
	}
	if h, _, err := jwt.Peek(untyped); h.Type != "" || err != nil {
		t.Errorf("header %+v, %v", h, err)
	}
	for _, bad := range []any{nil, "x", []int{1}, 7, func() {}} {
		if raw, err := s.Sign(bad, "JWT"); err == nil {
			t.Errorf("Sign(%T) = %q", bad, raw)
		}
	}
	again, err := jwt.NewSigner(text)
	if err != nil || again.KID() != s.KID() {
		t.Errorf("the same key gave another kid: %v", err)
	}
}

func TestSignerNeverPrints(t *testing.T) {
	s, text := newSigner(t)
	body := strings.Split(text.Reveal(), "\n")[3]
	for _, out := range []string{fmt.Sprintf("%+v %#v", s, s), fmt.Sprintf("%v", *s)} {
		if strings.Contains(out, body) || len(out) > 8<<10 {
			t.Errorf("a signer prints %d characters", len(out))
		}
	}
}

func TestJWKS(t *testing.T) {
	s, _ := newSigner(t)
	ec := jwttest.New(t, jwt.ES256, "agent-1-k1")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(jwt.PublicSet(s.Key(), ec.Key), &set); err != nil {
		t.Fatal(err)
	}
	var got []map[string]string
	for _, k := range set.Keys {
		names := map[string]string{}
		for name := range k {
			names[name] = ""
		}
		for _, name := range []string{"kty", "kid", "alg", "use"} {
			names[name] = k[name]
		}
		got = append(got, names)
	}
	want := []map[string]string{
		{"kty": "RSA", "kid": s.KID(), "alg": "RS256", "use": "sig", "n": "", "e": ""},
		{"kty": "EC", "kid": "agent-1-k1", "alg": "ES256", "use": "sig", "crv": "", "x": "", "y": ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if got := string(jwt.PublicSet()); got != `{"keys":[]}` {
		t.Errorf("empty set: %s", got)
	}
	var one struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(s.JWKS(), &one); err != nil || len(one.Keys) != 1 {
		t.Fatalf("JWKS: %v, %d keys", err, len(one.Keys))
	}
	key, err := jwt.ParsePublicKey(one.Keys[0], "")
	if diff := cmp.Diff(s.Key(), key); err != nil || diff != "" {
		t.Errorf("the set's key reads back as: %v\n%s", err, diff)
	}
}
