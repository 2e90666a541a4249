package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/valetkey/valetkey/api"
)

// signer is a registered agent as the load generator knows it.
type signer struct {
	name    string // also the name of its key
	id      string
	user    string // whose token it asks for
	alg     string
	private crypto.Signer
}

// newSigner makes a key. RSA keys take long to make, so one may serve several
// agents.
func newSigner(name, alg string, shared crypto.Signer) (*signer, error) {
	s := &signer{name: name, alg: alg, private: shared}
	var err error
	if shared == nil {
		switch alg {
		case "ES256":
			s.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		case "RS256":
			s.private, err = rsa.GenerateKey(rand.Reader, 2048)
		default:
			err = fmt.Errorf("no algorithm %q", alg)
		}
	}
	return s, err
}

func (s *signer) pem() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(s.private.Public())
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// jwk is the key as it is registered.
func (s *signer) jwk() (string, error) {
	b, err := json.Marshal(jose.JSONWebKey{Key: s.private.Public(), KeyID: s.name, Algorithm: s.alg, Use: "sig"})
	return string(b), err
}

// header is the encoded header of the tokens of one type. No two keys have the
// same.
func (s *signer) header(typ string) string {
	return encode(map[string]string{"alg": s.alg, "typ": typ, "kid": s.name})
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bench: plain data always marshals: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *signer) sign(typ string, claims map[string]any) (string, error) {
	token := s.header(typ) + "." + encode(claims)
	sum := sha256.Sum256([]byte(token))
	var sig []byte
	switch key := s.private.(type) {
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return "", err
		}
		sig = make([]byte, 64) // RFC 7518 §3.4
		r.FillBytes(sig[:32])
		v.FillBytes(sig[32:])
	case *rsa.PrivateKey:
		var err error
		if sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]); err != nil {
			return "", err
		}
	default:
		return "", errors.New("no key")
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// assertion is by what the agent authenticates at the token endpoint.
func (s *signer) assertion(issuer string, now time.Time) (string, error) {
	return s.sign(api.TypeAssertion, map[string]any{
		"iss": s.id, "sub": s.id, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
}

// exchange is the request for a user's token, as an agent of profile strict
// sends it, or with one signature as one of profile compat-2025 does.
func (s *signer) exchange(issuer string, strict bool, now time.Time) ([]byte, error) {
	claims := map[string]any{"iss": s.id, "sub": s.user, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "audit_context": "bench"}
	if !strict {
		claims["exp"] = now.Add(time.Minute).Unix()
		delete(claims, "audit_context")
	}
	subject, err := s.sign(api.TypeSubject, claims)
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type": {api.GrantVaultExchange}, "subject_token": {subject}, "subject_token_type": {api.SubjectJWT},
		"requested_token_type": {api.RequestedVaultToken}, "connection": {"github"}, "client_id": {s.id},
	}
	if strict {
		assertion, err := s.assertion(issuer, now)
		if err != nil {
			return nil, err
		}
		form.Set("client_assertion", assertion)
		form.Set("client_assertion_type", api.AssertionJWT)
	}
	return post("/oauth/token", "application/x-www-form-urlencoded", "", []byte(form.Encode())), nil
}

// batch makes n requests on all cores; the agents take turns.
func batch(n int, make1 func(i int) ([]byte, error)) ([][]byte, error) {
	out, cores := make([][]byte, n), runtime.NumCPU()
	errs := make([]error, cores)
	var wait sync.WaitGroup
	for core := range cores {
		wait.Go(func() {
			for i := core; i < n && errs[core] == nil; i += cores {
				out[i], errs[core] = make1(i)
			}
		})
	}
	wait.Wait()
	return out, errors.Join(errs...)
}
