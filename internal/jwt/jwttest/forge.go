// Package jwttest forges tokens for tests: headers and payloads of any shape,
// signed by key pairs as an agent has them.
//
// It signs with the standard library alone, as a program in another language
// would: what checks tokens is not tested against its own code. It is for
// tests; nothing in the program imports it.
package jwttest

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

	"github.com/valetkey/valetkey/internal/jwt"
)

// Object is a header or a payload under construction.
type Object map[string]any

// With returns a copy of o with the given names and values set; a nil value
// removes the name.
func (o Object) With(pairs ...any) Object {
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

// JSON is o as it goes into a token.
func (o Object) JSON() string {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Signing makes a signature of the first two parts of a token.
type Signing func(input string) []byte

// Pair is a key pair as an agent has it.
type Pair struct {
	jwt.Key
	Private crypto.Signer
}

// RSA is one RSA key: making one takes longer than most tests.
var RSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// New makes a pair; all of RSA share one key.
func New(t testing.TB, alg jwt.Alg, kid string) Pair {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case jwt.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwt.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private = RSA()
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParsePublicKey([]byte(SPKI(t, private.Public())), alg)
	if err != nil {
		t.Fatal(err)
	}
	key.KID = kid
	return Pair{key, private}
}

// SPKI is a public key in PEM.
func SPKI(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// JWK is the public half with its kid, as it is registered.
func (p Pair) JWK(t testing.TB) []byte {
	t.Helper()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(jwt.PublicSet(p.Key), &set); err != nil {
		t.Fatal(err)
	}
	return set.Keys[0]
}

// Sign is a [Signing] by the algorithm of p's key.
func (p Pair) Sign(input string) []byte {
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch p.Alg {
	case jwt.ES256:
		r, s, e := ecdsa.Sign(rand.Reader, p.Private.(*ecdsa.PrivateKey), digest[:])
		if err = e; err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case jwt.EdDSA:
		sig = ed25519.Sign(p.Private.(ed25519.PrivateKey), []byte(input))
	case jwt.RS256:
		sig, err = p.Private.Sign(rand.Reader, digest[:], crypto.SHA256)
	case jwt.RS384:
		h := crypto.SHA384.New()
		h.Write([]byte(input))
		sig, err = p.Private.Sign(rand.Reader, h.Sum(nil), crypto.SHA384)
	case jwt.PS256:
		sig, err = p.Private.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	if err != nil {
		panic(err)
	}
	return sig
}

// Header is what p's tokens begin with; no typ if it is "".
func (p Pair) Header(typ string) Object {
	h := Object{"alg": p.Alg, "kid": p.KID}
	if typ != "" {
		h["typ"] = typ
	}
	return h
}

// Subject is a subject token of a vault exchange, with any claims.
func (p Pair) Subject(claims Object) string {
	return Compact(p.Header(jwt.TypeVaultSubject).JSON(), claims.JSON(), p.Sign)
}

// Assertion is a client assertion, with any claims.
func (p Pair) Assertion(claims Object) string {
	return Compact(p.Header("").JSON(), claims.JSON(), p.Sign)
}

// Encode is base64url without padding (RFC 7515 §2).
func Encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Compact joins the three parts (RFC 7515 §3.1).
func Compact(header, payload string, sign Signing) string {
	input := Encode(header) + "." + Encode(payload)
	return input + "." + Encode(string(sign(input)))
}

// Echoes reports what of a token, or which of some words in it, a text repeats,
// or "".
func Echoes(token, text string, words ...string) string {
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 16 && strings.Contains(text, part[:16]) {
			return "an encoded part"
		}
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil && len(decoded) >= 8 && strings.Contains(text, string(decoded)) {
			return "a decoded part"
		}
	}
	for _, word := range words {
		if strings.Contains(text, word) {
			return "the word " + word
		}
	}
	return ""
}
