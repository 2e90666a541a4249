package jwt_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

// FuzzVerify looks for a token that verifies though nobody signed it, and for
// a document that only our reader calls JSON.
func FuzzVerify(f *testing.F) {
	p := jwttest.New(f, jwt.ES256, "agent-1-k1")
	good := p.Subject(subjectClaims())
	header, payload := p.Header(jwt.TypeVaultSubject).JSON(), subjectClaims().JSON()
	for _, seed := range []string{
		good, "", "..", "e30.e30.e30", good + ".", strings.Replace(good, ".", "..", 1),
		jwttest.Compact(p.Header("").JSON(), assertionClaims().JSON(), p.Sign),
		jwttest.Compact(`{"alg":"none"}`, payload, func(string) []byte { return nil }),
		jwttest.Compact(strings.Replace(header, "ES256", "HS256", 1), payload, p.Sign),
		jwttest.Compact(header, `{"a":"\ud83d\ude00\u00e9","b":[-1.5e+3,true,null,{}]}`, p.Sign),
		jwttest.Compact(header, strings.Repeat(`{"a":[`, 20), p.Sign),
		jwttest.Compact(`{"alg":"RS256","kid":"x"}`, "{}", p.Sign),
		jwttest.Compact(`{"alg":"EdDSA"}`, "{}", p.Sign),
	} {
		f.Add(seed)
	}
	signed := good[:strings.LastIndexByte(good, '.')]
	f.Fuzz(func(t *testing.T, raw string) {
		jwt.DummyVerify(raw)
		_, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now)
		if err == nil && !strings.HasPrefix(raw, signed+".") {
			t.Errorf("accepted: %q", raw)
		}
		if _, _, err := jwt.Peek(raw); err == nil {
			for part := range strings.SplitSeq(raw[:strings.LastIndexByte(raw, '.')], ".") {
				if doc, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil || !json.Valid(doc) {
					t.Errorf("read as JSON: %q, %v", doc, err)
				}
			}
		}
	})
}

// FuzzParsePublicKey looks for a key that does not survive being stored.
func FuzzParsePublicKey(f *testing.F) {
	p := jwttest.New(f, jwt.ES256, "k")
	f.Add([]byte(p.PEM()))
	f.Add([]byte(jwttest.SPKI(f, jwttest.RSA().Public())))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["verify"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := jwt.ParsePublicKey(data, "")
		if err != nil {
			return
		}
		again, err := jwt.ParsePublicKey([]byte(key.PEM()), key.Alg)
		if err != nil || again.Thumbprint() != key.Thumbprint() || !jwt.ValidKID(key.KID) {
			t.Errorf("%q: %v", data, err)
		}
	})
}
