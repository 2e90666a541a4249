package jwt_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

func verifies(raw string, k jwt.Key) error {
	_, _, err := jwt.Verify(raw, []jwt.Key{k}, jwt.VaultSubject(issuer, true), now)
	return err
}

// Signatures in a form that another verifier may take for good.
func TestSignatureFormRefused(t *testing.T) {
	ec, ps := jwttest.New(t, jwt.ES256, "k1"), jwttest.New(t, jwt.PS256, "k2")
	half := func(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }
	order := elliptic.P256().Params().N
	for _, c := range []struct {
		name string
		by   jwttest.Pair
		sign jwttest.Signing
	}{
		{"r and s zero", ec, func(string) []byte { return make([]byte, 64) }},
		{"r and s of the order", ec, func(string) []byte { return append(half(order), half(order)...) }},
		{"s zero", ec, func(in string) []byte { return append(ec.Sign(in)[:32], make([]byte, 32)...) }},
		{"too short", ec, func(in string) []byte { return ec.Sign(in)[:63] }},
		{"padded in front", ec, func(in string) []byte { return append([]byte{0}, ec.Sign(in)...) }},
		{"padded behind", ec, func(in string) []byte { return append(ec.Sign(in), 0) }},
		{"DER", ec, func(in string) []byte {
			sum := sha256.Sum256([]byte(in))
			sig, err := ec.Private.Sign(rand.Reader, sum[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}},
		{"PSS without salt", ps, func(in string) []byte {
			sum := sha256.Sum256([]byte(in))
			sig, err := rsa.SignPSS(rand.Reader, jwttest.RSA(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 0})
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}},
		{"PSS with a salt of another length", ps, func(in string) []byte {
			sum := sha256.Sum256([]byte(in))
			sig, err := rsa.SignPSS(rand.Reader, jwttest.RSA(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}},
	} {
		raw := jwttest.Compact(c.by.Header(jwt.TypeVaultSubject).JSON(), subjectClaims().JSON(), c.sign)
		if err := verifies(raw, c.by.Key); !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("%s: %v, want ErrUnverified", c.name, err)
		}
	}
}

// Another implementation agrees: what it signs verifies here, and of what is
// changed in one bit neither says so.
func TestSignaturesLikeAnother(t *testing.T) {
	for _, alg := range algs {
		p := jwttest.New(t, alg, "k1")
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: p.Private, KeyID: "k1"}},
			(&jose.SignerOptions{}).WithType(jwt.TypeVaultSubject))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(subjectClaims().JSON()))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if err := verifies(raw, p.Key); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		dot := strings.LastIndexByte(raw, '.')
		sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		if err != nil {
			t.Fatal(err)
		}
		for _, bit := range []int{0, 7, 8 * len(sig) / 2, 8*len(sig) - 1} {
			bad := append([]byte(nil), sig...)
			bad[bit/8] ^= 1 << (bit % 8)
			changed := raw[:dot+1] + base64.RawURLEncoding.EncodeToString(bad)
			theirs, err := jose.ParseSignedCompact(changed, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := theirs.Verify(p.Public); err == nil {
				t.Errorf("%s, bit %d: the other verifies it", alg, bit)
			}
			if err := verifies(changed, p.Key); !errors.Is(err, jwt.ErrUnverified) {
				t.Errorf("%s, bit %d: %v, want ErrUnverified", alg, bit, err)
			}
		}
	}
}
