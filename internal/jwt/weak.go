package jwt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"math"
	"math/big"
)

// smallPrimes are the odd primes that weakRSA divides by.
var smallPrimes = [...]int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83,
	89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// weakRSA reports whether pub is too short, too long, not an RSA key at all,
// or one that CVE-2017-15361 (ROCA) lets everybody factor.
func weakRSA(pub *rsa.PublicKey) bool {
	if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits || pub.N.Sign() < 0 || pub.N.Bit(0) == 0 {
		return true
	}
	if pub.E < 3 || pub.E%2 == 0 || pub.E > math.MaxInt32 {
		return true
	}
	// Primes of the broken generator are k*M + 65537^a mod M, M being the
	// product of the first primes: so modulo each of those the modulus is a
	// power of 65537. For a random modulus that happens less than once in 2^100.
	roca := true
	for _, r := range smallPrimes {
		rest := new(big.Int).Mod(pub.N, big.NewInt(r)).Int64()
		if rest == 0 {
			return true
		}
		power := int64(1)
		for power != rest {
			if power = power * 65537 % r; power == 1 {
				roca = false
				break
			}
		}
	}
	return roca
}

// smallOrder are the y coordinates, little-endian, of the Ed25519 points of
// order 1, 2, 4 and 8, in every encoding that a decoder may accept. For such
// a key signatures exist that fit one message in eight, and anybody can make
// them.
var smallOrder = [...]string{
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
}

// weakEd25519 reports whether pub is a point of small order.
func weakEd25519(pub ed25519.PublicKey) bool {
	if len(pub) != ed25519.PublicKeySize {
		return true
	}
	y := bytes.Clone(pub)
	y[31] &= 0x7f // the sign of x does not change the order
	for _, s := range smallOrder {
		if string(y) == s {
			return true
		}
	}
	return false
}
