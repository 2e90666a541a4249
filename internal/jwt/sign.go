package jwt

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/secret"
)

// Signer signs the deployment's own tokens with RS256, the one algorithm that
// every OpenID client can check. Its private key lives in a closure, where no
// formatting verb or encoder can reach it. It is safe for concurrent use.
type Signer struct {
	key  Key
	sign func(payload []byte, typ string) (string, error)
}

var (
	errSigningKey = errors.New("the signing key is not one RSA key of 2048 to 4096 bit in PEM (PKCS#8)")
	errNotClaims  = errors.New("claims that are not a JSON object")
)

// GenerateSigningKey makes a 2048-bit RSA key in the form that [NewSigner]
// reads: PEM with PKCS#8.
func GenerateSigningKey() (secret.Text, error) {
	key, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		return secret.Text{}, fmt.Errorf("generate signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret.Text{}, fmt.Errorf("encode signing key: %w", err)
	}
	return secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), nil
}

// NewSigner makes a signer of a key that [GenerateSigningKey] made. Its
// errors say nothing about the key's bytes.
func NewSigner(pkcs8 secret.Text) (*Signer, error) {
	block, rest := pem.Decode([]byte(pkcs8.Reveal()))
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errSigningKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errSigningKey
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || weakRSA(&private.PublicKey) {
		return nil, errSigningKey
	}
	public := private.PublicKey // a copy: no pointer leads into the private key
	key := Key{Alg: RS256, Public: &public}
	key.KID = key.Thumbprint()
	return &Signer{key: key, sign: func(payload []byte, typ string) (string, error) {
		opts := &jose.SignerOptions{}
		if typ != "" {
			opts.WithType(jose.ContentType(typ))
		}
		signer, err := jose.NewSigner(jose.SigningKey{
			Algorithm: jose.RS256,
			Key:       jose.JSONWebKey{Key: private, KeyID: key.KID},
		}, opts)
		if err != nil {
			return "", err
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			return "", err
		}
		return jws.CompactSerialize()
	}}, nil
}

// Sign encodes claims, which must become a JSON object, and signs them. The
// typ says what the token is for ("at+jwt", "JWT", …), so that none can be
// taken for another kind; "" leaves it out.
func (s *Signer) Sign(claims any, typ string) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	if !bytes.HasPrefix(payload, []byte("{")) {
		return "", errNotClaims
	}
	raw, err := s.sign(payload, typ)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return raw, nil
}

// KID names the key: its thumbprint.
func (s *Signer) KID() string { return s.key.KID }

// Key is the public half, for verifying what we issued and, beside the keys
// of a rotation, for [PublicSet].
func (s *Signer) Key() Key { return s.key }

// JWKS is the public key set with this one key.
func (s *Signer) JWKS() []byte { return PublicSet(s.key) }

// mustJSON encodes a key set; only a Key that ParsePublicKey did not make
// cannot be encoded.
func mustJSON(set jose.JSONWebKeySet) []byte {
	b, err := json.Marshal(set)
	if err != nil {
		panic("jwt: public key set: " + err.Error())
	}
	return b
}
