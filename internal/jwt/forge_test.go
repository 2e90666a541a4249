package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/jwt"
)

const issuer = "https://vault.test"

// now is the clock of all tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// object is a header or a payload under construction.
type object map[string]any

// with returns a copy of o with the given names and values set; a nil value
// removes the name.
func (o object) with(pairs ...any) object {
	c := maps.Clone(o)
	for i := 0; i < len(pairs); i += 2 {
		if name := pairs[i].(string); pairs[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = pairs[i+1]
		}
	}
	return c
}

func (o object) json() string {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// signing makes signatures with the standard library alone, so that the
// package is tested against another implementation than its own.
type signing func(input string) []byte

// pair is a key pair as an agent has it.
type pair struct {
	jwt.Key
	private crypto.Signer
}

var rsaPrivate = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newPair(t testing.TB, alg jwt.Alg, kid string) pair {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case jwt.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwt.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private = rsaPrivate()
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParsePublicKey([]byte(spki(t, private.Public())), alg)
	if err != nil {
		t.Fatal(err)
	}
	key.KID = kid
	return pair{key, private}
}

func spki(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (p pair) sign(input string) []byte {
	var sig []byte
	var err error
	digest := sha256.Sum256([]byte(input))
	switch p.Alg {
	case jwt.ES256:
		r, s, e := ecdsa.Sign(rand.Reader, p.private.(*ecdsa.PrivateKey), digest[:])
		if err = e; err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case jwt.EdDSA:
		sig = ed25519.Sign(p.private.(ed25519.PrivateKey), []byte(input))
	case jwt.RS256:
		sig, err = p.private.Sign(rand.Reader, digest[:], crypto.SHA256)
	case jwt.RS384:
		h := crypto.SHA384.New()
		h.Write([]byte(input))
		sig, err = p.private.Sign(rand.Reader, h.Sum(nil), crypto.SHA384)
	case jwt.PS256:
		sig, err = p.private.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	if err != nil {
		panic(err)
	}
	return sig
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compact joins the three parts.
func compact(header, payload string, sign signing) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(sign(input)))
}

func (p pair) header(typ string) object {
	h := object{"alg": p.Alg, "kid": p.KID}
	if typ != "" {
		h["typ"] = typ
	}
	return h
}

// subjectClaims and assertionClaims are what the two kinds of token carry.
func subjectClaims() object {
	return object{
		"iss": "agent-1", "sub": "user-1", "aud": issuer, "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Unix() + 60, "jti": "b9a4a0a8-2f6a-4c3f-9c5e-7a5c5bb0a5b2", "audit_context": "nightly report",
	}
}

func assertionClaims() object { return subjectClaims().with("sub", "agent-1", "audit_context", nil) }

func (p pair) subject(claims object) string {
	return compact(p.header(jwt.TypeVaultSubject).json(), claims.json(), p.sign)
}

func (p pair) assertion(claims object) string {
	return compact(p.header("").json(), claims.json(), p.sign)
}

// reason is the machine's word for err: "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Reason
	}
	return "not a fault: " + err.Error()
}

// mustNotEcho fails if an error repeats a part of the token.
func mustNotEcho(t *testing.T, raw string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) >= 16 && strings.Contains(err.Error(), part[:16]) {
			t.Errorf("the error repeats the token: %v", err)
		}
		if decoded, e := base64.RawURLEncoding.DecodeString(part); e == nil && len(decoded) >= 8 && strings.Contains(err.Error(), string(decoded)) {
			t.Errorf("the error repeats the token's content: %v", err)
		}
	}
	for _, word := range []string{"admin", "attacker", "user-2", "nightly"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the error repeats %q: %v", word, err)
		}
	}
}
