package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"regexp"
)

// jwkNames are the members of RFC 7517 §4, RFC 7518 §6 and RFC 8037 §2 that
// matter here; a member that differs from one only in case is refused.
var jwkNames = []string{
	"kty", "alg", "use", "key_ops", "kid", "crv", "x", "y", "n", "e",
	"d", "p", "q", "dp", "dq", "qi", "oth", "k", "keys",
}

// privateMember finds the private parts of all key types in text that is not
// a readable JWK.
var privateMember = regexp.MustCompile(`(?i)"[dk]"\s*:`)

// jwk is a JSON Web Key as far as it was read.
type jwk struct {
	kty, alg, use, kid, crv string
	x, y, n, e              string
	verifies                bool // key_ops is absent or holds "verify"
	private, set            bool
}

// parseJWK reads one JWK. A kid that is not valid is dropped: the thumbprint
// takes its place.
func parseJWK(data []byte, alg Alg) (Key, error) {
	j := jwk{verifies: true}
	err := scanObject(data, jwkNames, j.member)
	switch {
	case j.private:
		return Key{}, errPrivateKey
	case err != nil || j.set:
		// The reading stopped early or went around the members of a set; a
		// private part may be in what was not read.
		if privateMember.Match(data) {
			return Key{}, errPrivateKey
		}
		return Key{}, errMalformedKey.Because(err)
	case j.use != "" && j.use != "sig", !j.verifies:
		return Key{}, errUnsupportedKey // RFC 7517 §4.2, §4.3: not a key for signatures
	}
	if j.alg != "" {
		if alg != "" && alg != Alg(j.alg) || !Alg(j.alg).Valid() {
			return Key{}, errWrongAlg
		}
		alg = Alg(j.alg)
	}
	pub, err := j.public()
	if err != nil {
		return Key{}, err
	}
	k := Key{Alg: alg, Public: pub}
	if ValidKID(j.kid) {
		k.KID = j.kid
	}
	return k, nil
}

func (j *jwk) member(name []byte, v value) (bool, error) {
	var into *string
	switch string(name) {
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
		j.private = true
		return true, nil
	case "keys":
		j.set = true
		return true, nil
	case "key_ops":
		j.verifies = false
		if v.kind != kindArray {
			return true, errSyntax
		}
		return true, scanArray(v.raw, func(v value) error {
			j.verifies = j.verifies || v.kind == kindString && string(v.text) == "verify"
			return nil
		})
	case "kty":
		into = &j.kty
	case "alg":
		into = &j.alg
	case "use":
		into = &j.use
	case "kid":
		into = &j.kid
	case "crv":
		into = &j.crv
	case "x":
		into = &j.x
	case "y":
		into = &j.y
	case "n":
		into = &j.n
	case "e":
		into = &j.e
	default:
		return false, nil
	}
	if v.kind != kindString {
		return true, errSyntax
	}
	*into = string(v.text)
	// A symmetric key has no public half, whatever else is missing.
	j.private = j.private || string(name) == "kty" && *into == "oct"
	return true, nil
}

func (j *jwk) public() (crypto.PublicKey, error) {
	switch {
	case j.kty == "RSA":
		n, e := octets(j.n), octets(j.e)
		if n == nil || e == nil {
			return nil, errMalformedKey
		}
		exp := new(big.Int).SetBytes(e)
		if exp.BitLen() > 31 {
			return nil, errWeakKey
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}, nil
	case j.kty == "EC" && j.crv == "P-256":
		x, y := octets(j.x), octets(j.y)
		if len(x) != 32 || len(y) != 32 { // RFC 7518 §6.2.1.2: always full length
			return nil, errMalformedKey
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, errMalformedKey.Because(err) // not on the curve
		}
		return pub, nil
	case j.kty == "OKP" && j.crv == "Ed25519":
		x := octets(j.x)
		if len(x) != ed25519.PublicKeySize {
			return nil, errMalformedKey
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errUnsupportedKey
}

// octets decodes canonical base64url, or returns nil.
func octets(s string) []byte {
	if s == "" || !canonical(s) {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
