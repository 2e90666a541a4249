package jwt_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/jwt"
)

// FuzzVerify looks for a token that verifies though nobody signed it, and for
// a document that only our reader calls JSON.
func FuzzVerify(f *testing.F) {
	p := newPair(f, jwt.ES256, "agent-1-k1")
	good := p.subject(subjectClaims())
	header, payload := p.header(jwt.TypeVaultSubject).json(), subjectClaims().json()
	for _, seed := range []string{
		good, "", "..", "e30.e30.e30", good + ".", strings.Replace(good, ".", "..", 1),
		compact(p.header("").json(), assertionClaims().json(), p.sign),
		compact(`{"alg":"none"}`, payload, func(string) []byte { return nil }),
		compact(strings.Replace(header, "ES256", "HS256", 1), payload, p.sign),
		compact(header, `{"a":"\ud83d\ude00\u00e9","b":[-1.5e+3,true,null,{}]}`, p.sign),
		compact(header, strings.Repeat(`{"a":[`, 20), p.sign),
		compact(`{"alg":"RS256","kid":"x"}`, "{}", p.sign),
		compact(`{"alg":"EdDSA"}`, "{}", p.sign),
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
	p := newPair(f, jwt.ES256, "k")
	f.Add([]byte(p.PEM()))
	f.Add([]byte(spki(f, rsaPrivate().Public())))
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
