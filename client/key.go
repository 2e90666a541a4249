package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/secret"
)

// Alg is a signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
type Alg string

// The algorithms that the server accepts.
const (
	ES256 Alg = "ES256" // P-256; the default
	EdDSA Alg = "EdDSA" // Ed25519
	RS256 Alg = "RS256"
	RS384 Alg = "RS384"
	PS256 Alg = "PS256"
)

const (
	rsaBits    = 2048 // RFC 7518 §3.3 asks for no less
	maxRSABits = 4096 // the server refuses more
	maxKeyFile = 64 << 10
)

var (
	errKeyForm = errors.New(`the key is not one unencrypted private key in PEM with the label "PRIVATE KEY" (PKCS#8); "openssl pkcs8 -topk8 -nocrypt" makes one of other forms`)
	errKeyType = errors.New("the key is neither P-256, nor Ed25519, nor RSA of 2048 to 4096 bit")
	errKeyAlg  = errors.New("the algorithm does not fit the key: RSA keys take RS256, RS384 or PS256, P-256 keys ES256, Ed25519 keys EdDSA")
)

// Key is an agent's private key. The private half lives in a closure, where no
// formatting verb or encoder can reach it. A Key is immutable and safe for
// concurrent use.
type Key struct {
	alg     Alg
	kid     string
	public  crypto.PublicKey
	private func() crypto.Signer
}

// GenerateKey makes a key for alg; "" means [ES256].
func GenerateKey(alg Alg) (*Key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case "", ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256, RS384, PS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("generate key: %q is none of ES256, EdDSA, RS256, RS384 and PS256", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	k, err := newKey(private)
	if err != nil || alg == "" {
		return k, err
	}
	return k.WithAlg(alg)
}

// newKey takes a private key with the default algorithm of its type.
func newKey(private crypto.Signer) (*Key, error) {
	k := &Key{private: func() crypto.Signer { return private }}
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return nil, errKeyType
		}
		public := p.PublicKey // a copy: no pointer leads into the private key
		k.alg, k.public = ES256, &public
	case ed25519.PrivateKey:
		public, ok := p.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errKeyType
		}
		k.alg, k.public = EdDSA, public
	case *rsa.PrivateKey:
		if n := p.N.BitLen(); n < rsaBits || n > maxRSABits {
			return nil, errKeyType
		}
		public := p.PublicKey
		k.alg, k.public = RS256, &public
	default:
		return nil, errKeyType
	}
	// The server names a key by its thumbprint unless it is told otherwise
	// (RFC 7638).
	sum, err := (&jose.JSONWebKey{Key: k.public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("name the key: %w", err)
	}
	k.kid = base64.RawURLEncoding.EncodeToString(sum)
	return k, nil
}

// ParseKey reads one private key: PEM with PKCS#8. Its errors say nothing about
// the key's bytes.
func ParseKey(pkcs8 secret.Text) (*Key, error) {
	block, rest := pem.Decode([]byte(pkcs8.Reveal()))
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errKeyForm
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errKeyForm
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errKeyType
	}
	return newKey(private)
}

// LoadKey reads a key that [Key.Save] wrote, or another PKCS#8 file. It refuses
// a file that other users of the machine may read: such a key has to be taken
// for leaked.
func LoadKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file, which cannot be exchanged meanwhile
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("load key: %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("load key: %s has mode %04o, so others can use it: make a new key, or if nobody read this one: chmod 600 %s", path, perm, path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	k, err := ParseKey(secret.New(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	return k, nil
}

// Save writes the key to a new file that only this user can read. It never
// replaces a file: an overwritten key cannot be had back.
func (k *Key) Save(path string) (err error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private())
	if err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path) // it is ours: we made it a moment ago
			err = fmt.Errorf("save key: %w", err)
		}
	}()
	if err := pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// WithAlg is the same key for another algorithm of its type: [PS256] for an RSA
// key that is registered so.
func (k *Key) WithAlg(alg Alg) (*Key, error) {
	fits := alg == k.alg
	if _, isRSA := k.public.(*rsa.PublicKey); isRSA {
		fits = alg == RS256 || alg == RS384 || alg == PS256
	}
	if !fits {
		return nil, errKeyAlg
	}
	c := *k
	c.alg = alg
	return &c, nil
}

// WithID is the same key under the kid by which it is registered, where that is
// not its thumbprint. With "" tokens carry no kid, and the server tries all keys
// of the agent.
func (k *Key) WithID(kid string) *Key {
	c := *k
	c.kid = kid
	return &c
}

// ID is the kid of the key: unless changed by [Key.WithID], its thumbprint
// (RFC 7638), unpadded base64url.
func (k *Key) ID() string { return k.kid }

// Alg is the algorithm that the key signs with.
func (k *Key) Alg() Alg { return k.alg }

// PublicPEM is the public half to register: PEM with SubjectPublicKeyInfo.
func (k *Key) PublicPEM() string {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		panic("client: a key of ours cannot be encoded: " + err.Error())
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// PublicJWK is the public half as a JSON Web Key (RFC 7517), with kid and alg.
func (k *Key) PublicJWK() []byte {
	b, err := json.Marshal(jose.JSONWebKey{Key: k.public, KeyID: k.kid, Algorithm: string(k.alg), Use: "sig"})
	if err != nil {
		panic("client: a key of ours cannot be encoded: " + err.Error())
	}
	return b
}

// sign makes a compact JWS of claims. The result is a credential.
func (k *Key) sign(claims any, typ string) (secret.Text, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return secret.Text{}, fmt.Errorf("encode claims: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.alg), Key: jose.JSONWebKey{Key: k.private(), KeyID: k.kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)),
	)
	if err != nil {
		return secret.Text{}, fmt.Errorf("sign token: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return secret.Text{}, fmt.Errorf("sign token: %w", err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		return secret.Text{}, fmt.Errorf("sign token: %w", err)
	}
	return secret.New(compact), nil
}
