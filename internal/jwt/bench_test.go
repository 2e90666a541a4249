package jwt_test

import (
	"testing"

	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

// BenchmarkVerify is the part of a token exchange that this package is: key
// choice, signature, payload, rules.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range algs {
		b.Run(string(alg), func(b *testing.B) {
			p := jwttest.New(b, alg, "agent-1-k1")
			raw, keys, r := p.Subject(subjectClaims()), []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := jwt.Verify(raw, keys, r, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPeek is what reading costs without a signature.
func BenchmarkPeek(b *testing.B) {
	raw := jwttest.New(b, jwt.ES256, "agent-1-k1").Subject(subjectClaims())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := jwt.Peek(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse shows that a refusal costs the same for a bad signature, an
// unknown key and an unknown agent; the figures of one algorithm should agree.
func BenchmarkRefuse(b *testing.B) {
	for _, alg := range []jwt.Alg{jwt.ES256, jwt.EdDSA} {
		p, other := jwttest.New(b, alg, "agent-1-k1"), jwttest.New(b, alg, "agent-1-k1")
		bad, r := other.Subject(subjectClaims()), jwt.VaultSubject(issuer, true)
		b.Run(string(alg)+"/bad-signature", func(b *testing.B) {
			for b.Loop() {
				_, _, _ = jwt.Verify(bad, []jwt.Key{p.Key}, r, now)
			}
		})
		b.Run(string(alg)+"/unknown-key", func(b *testing.B) {
			for b.Loop() {
				_, _, _ = jwt.Verify(bad, nil, r, now)
			}
		})
		b.Run(string(alg)+"/unknown-agent", func(b *testing.B) {
			for b.Loop() {
				jwt.DummyVerify(bad)
			}
		})
	}
}
