package oauth_test

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
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/secret"
)

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

// signing makes a signature of the first two parts of a token.
type signing func(input string) []byte

// pair is a key pair as an agent has it. It signs with the standard library
// alone, as a program in another language would.
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
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(private.Public()))
	key := must[jwt.Key](t)(jwt.ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), alg))
	key.KID = kid
	return pair{key, private}
}

// jwk is the public half with its kid, as it is registered.
func (p pair) jwk(t testing.TB) []byte {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(jwt.PublicSet(p.Key), &set); err != nil {
		t.Fatal(err)
	}
	return set.Keys[0]
}

func (p pair) sign(input string) []byte {
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
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

func (p pair) head(typ string) object {
	h := object{"alg": p.Alg, "kid": p.KID}
	if typ != "" {
		h["typ"] = typ
	}
	return h
}

// subjectClaims and assertionClaims are what the two kinds of token carry.
func subjectClaims(client, sub string) object {
	now := time.Now().Unix()
	return object{
		"iss": client, "sub": sub, "aud": issuer, "iat": now, "nbf": now, "exp": now + 60,
		"jti": secret.Random(16).Reveal(), "audit_context": "nightly report",
	}
}

func assertionClaims(client string) object {
	return subjectClaims(client, client).with("audit_context", nil)
}

func (p pair) subject(claims object) string {
	return compact(p.head(jwt.TypeVaultSubject).json(), claims.json(), p.sign)
}

func (p pair) assertion(claims object) string {
	return compact(p.head("").json(), claims.json(), p.sign)
}

// echoes reports which part of a token text repeats, or "".
func echoes(token, text string) string {
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 16 && strings.Contains(text, part[:16]) {
			return "an encoded part"
		}
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil && len(decoded) >= 12 && strings.Contains(text, string(decoded)) {
			return "a decoded part"
		}
	}
	for _, word := range []string{"admin", "attacker", "nightly"} {
		if strings.Contains(text, word) {
			return "the word " + word
		}
	}
	return ""
}
