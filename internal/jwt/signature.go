package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
)

// verifies reports whether sig is the signature of signed by k, with k's own
// algorithm and no other. The token was taken apart before; nothing of it is
// parsed again here.
func (k Key) verifies(signed, sig []byte) bool {
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return k.verifiesRSA(public, signed, sig)
	case *ecdsa.PublicKey:
		// R and S, each of the curve's size and unsigned: RFC 7518 §3.4. Zero and
		// what lies beyond the curve's order are refused below.
		if k.Alg != ES256 || len(sig) != 64 {
			return false
		}
		sum := sha256.Sum256(signed)
		return ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case ed25519.PublicKey:
		return k.Alg == EdDSA && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, signed, sig)
	}
	return false
}

func (k Key) verifiesRSA(public *rsa.PublicKey, signed, sig []byte) bool {
	switch k.Alg {
	case RS256:
		sum := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], sig) == nil
	case RS384:
		sum := sha512.Sum384(signed)
		return rsa.VerifyPKCS1v15(public, crypto.SHA384, sum[:], sig) == nil
	case PS256:
		// RFC 7518 §3.5: the salt is as long as the hash.
		sum := sha256.Sum256(signed)
		return rsa.VerifyPSS(public, crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}) == nil
	}
	return false
}
