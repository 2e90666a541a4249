package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/internal/fault"
)

// Alg is a signature algorithm of RFC 7518 §3.1 or RFC 8037 §3.1.
type Alg string

// The algorithms. Nothing else exists: no "none", no shared-secret family, no
// curve besides P-256.
const (
	RS256 Alg = "RS256"
	RS384 Alg = "RS384"
	PS256 Alg = "PS256"
	ES256 Alg = "ES256"
	EdDSA Alg = "EdDSA" // with Ed25519 only
)

// Valid reports whether a is one of the algorithms.
func (a Alg) Valid() bool {
	return a == RS256 || a == RS384 || a == PS256 || a == ES256 || a == EdDSA
}

// Key is a registered public key. [ParsePublicKey] makes it; its fields are
// for reading, except that a caller may replace KID by the name under which
// the key was registered (see [ValidKID]).
type Key struct {
	KID    string
	Alg    Alg
	Public crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// Reasons for refusing a key.
const (
	ReasonPrivateKey     = "private_key"
	ReasonMalformedKey   = "malformed_key"
	ReasonUnsupportedKey = "unsupported_key"
	ReasonWeakKey        = "weak_key"
	ReasonWrongAlg       = "wrong_alg"
)

const (
	maxKeyBytes = 16 << 10
	minRSABits  = 2048 // RFC 7518 §3.3
	maxRSABits  = 4096 // beyond it a verification costs more than it protects
)

// Faults of keys. No text holds any part of what was sent.
var (
	errPrivateKey = fault.New(fault.Invalid, ReasonPrivateKey,
		"This contains a private or symmetric key. It was refused and not kept, but it has left its owner: treat it as leaked, make a new pair, and register only the public half.")
	errMalformedKey = fault.New(fault.Invalid, ReasonMalformedKey,
		"Send exactly one public key: PEM (PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE) or one JSON Web Key.")
	errUnsupportedKey = fault.New(fault.Invalid, ReasonUnsupportedKey,
		"Use a P-256, Ed25519 or RSA (2048 to 4096 bit) public key.")
	errWeakKey = fault.New(fault.Invalid, ReasonWeakKey,
		"This key can be broken or forged; make a new pair: P-256, Ed25519, or RSA of 2048 to 4096 bit with exponent 65537.")
	errWrongAlg = fault.New(fault.Invalid, ReasonWrongAlg,
		"The algorithm does not fit the key: RSA keys take RS256, RS384 or PS256, P-256 keys ES256, Ed25519 keys EdDSA.")
)

// ParsePublicKey reads one public key: PEM with SPKI, PKCS#1 or an X.509
// certificate (of which only the key counts, not its dates or names), or a
// JWK. With alg "" the algorithm is the JWK's own, else RS256, ES256 or
// EdDSA by type. The KID is the JWK's own if it is valid, else the thumbprint.
//
// Anything that looks like a private key is refused with [ReasonPrivateKey],
// even where it is mislabelled or damaged: better a needless new key than a
// leaked one that nobody was told of.
func ParsePublicKey(data []byte, alg Alg) (Key, error) {
	switch {
	case len(data) > maxKeyBytes:
		return Key{}, errMalformedKey
	case looksPrivate(data):
		return Key{}, errPrivateKey
	}
	k := Key{Alg: alg}
	var err error
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		k, err = parseJWK(trimmed, alg)
	} else {
		k.Public, err = parsePEM(data)
	}
	if err != nil {
		return Key{}, err
	}
	if k.Alg, err = judge(k.Public, k.Alg); err != nil {
		return Key{}, err
	}
	if k.KID == "" {
		k.KID = k.Thumbprint()
	}
	return k, nil
}

// looksPrivate finds the labels of private keys in any text: PEM of every
// kind, also with its line breaks lost, OpenSSH, PGP, PuTTY, and the dump of
// "openssl pkey -text".
func looksPrivate(data []byte) bool {
	upper := bytes.ToUpper(data)
	for _, label := range []string{"PRIVATE KEY", "PRIVATE-KEY", "PRIVATE-LINES"} {
		if bytes.Contains(upper, []byte(label)) {
			return true
		}
	}
	return false
}

func parsePEM(data []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		// Not PEM: say so, but look first whether a bare key was sent.
		if der, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
			data = der
		}
		if isPrivate(data) {
			return nil, errPrivateKey
		}
		return nil, errMalformedKey
	}
	if isPrivate(block.Bytes) {
		return nil, errPrivateKey // under a public label
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errMalformedKey
	}
	var pub crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			pub = cert.PublicKey
		}
	default:
		err = errMalformedKey
	}
	if err != nil {
		return nil, errMalformedKey.Because(err)
	}
	return pub, nil
}

// isPrivate reports whether der is a private key in a usual container.
func isPrivate(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}

// judge returns the algorithm for pub, or why the key is not acceptable.
func judge(pub crypto.PublicKey, alg Alg) (Alg, error) {
	var fits []Alg
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		fits = []Alg{RS256, RS384, PS256}
		if weakRSA(pub) {
			return "", errWeakKey
		}
	case *ecdsa.PublicKey:
		fits = []Alg{ES256}
		if pub.Curve != elliptic.P256() {
			return "", errUnsupportedKey
		}
	case ed25519.PublicKey:
		fits = []Alg{EdDSA}
		if weakEd25519(pub) {
			return "", errWeakKey
		}
	default:
		return "", errUnsupportedKey
	}
	if alg == "" {
		return fits[0], nil
	}
	if !slices.Contains(fits, alg) {
		return "", errWrongAlg
	}
	return alg, nil
}

// Thumbprint is the SHA-256 thumbprint of RFC 7638 (for Ed25519 RFC 8037
// §2), as unpadded base64url. It does not depend on KID and Alg.
func (k Key) Thumbprint() string {
	sum, err := (&jose.JSONWebKey{Key: k.Public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "" // only a Key that ParsePublicKey did not make
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// PEM returns the key as SPKI, the form to store: ParsePublicKey of it and
// of Alg gives the key back, with its thumbprint as KID.
func (k Key) PEM() string {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return "" // only a Key that ParsePublicKey did not make
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// ValidKID reports whether s can name a key: 1 to 64 letters, digits, hyphens
// and underscores.
func ValidKID(s string) bool {
	for _, c := range []byte(s) {
		if !base64URL[c] {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// PublicSet is the JWK set of RFC 7517 §5 with the public keys, in order,
// each with its kid, alg and the use "sig".
func PublicSet(keys ...Key) []byte {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.KID, Algorithm: string(k.Alg), Use: "sig"})
	}
	return mustJSON(set)
}
