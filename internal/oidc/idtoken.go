package oidc

import (
	"context"
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxToken = 16 << 10
	maxKeys  = 256 << 10

	// leeway forgives a provider whose clock is not quite ours.
	leeway = 30 * time.Second
)

// Claims are those of an id_token that are read here (Core §2).
type Claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Party    string   `json:"azp"`
	Expiry   float64  `json:"exp"`
	IssuedAt float64  `json:"iat"`
	Auth     float64  `json:"auth_time"`
	Nonce    string   `json:"nonce"`

	Email    string `json:"email"`
	Username string `json:"preferred_username"`
	Name     string `json:"name"`
}

// audience is one name or a list of them.
type audience []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	var all []string
	err := json.Unmarshal(b, &all)
	*a = all
	return err
}

func seconds(f float64) time.Time {
	if f <= 0 || f > 1e12 {
		return time.Time{}
	}
	return time.Unix(int64(f), 0).UTC()
}

// AuthAt is when the person last logged in at the provider, as it says.
func (c *Claims) AuthAt() time.Time { return seconds(c.Auth) }

// FreshSince reports whether the person logged in after since and before now.
// It is the server that looks: that max_age was asked for proves nothing.
func (c *Claims) FreshSince(since, now time.Time) bool {
	at := c.AuthAt()
	return !at.IsZero() && !at.Before(since.Add(-leeway)) && !at.After(now.Add(leeway))
}

// label is how the person would know the account again.
func (c *Claims) label() string {
	for _, s := range []string{c.Email, c.Username, c.Name, c.Subject} {
		if s != "" {
			return s
		}
	}
	return ""
}

// signed parses a compact JWS that uses an algorithm of ours.
func signed(raw string) (*jose.JSONWebSignature, error) {
	var algs []jose.SignatureAlgorithm
	for _, a := range algorithms() {
		algs = append(algs, jose.SignatureAlgorithm(a))
	}
	if len(raw) > maxToken {
		return nil, errors.New("the id_token is too long")
	}
	return jose.ParseSignedCompact(raw, algs)
}

// Check verifies raw offline: it was signed by key, for clientID by issuer,
// with this nonce, and was valid at the moment at.
func Check(raw string, key []byte, issuer, clientID, nonce string, at time.Time) (*Claims, error) {
	jws, err := signed(raw)
	if err != nil {
		return nil, fmt.Errorf("parse the id_token: %w", err)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(key); err != nil || !jwk.Valid() || !jwk.IsPublic() {
		return nil, errors.New("the key is not a public one")
	}
	body, err := jws.Verify(jwk)
	if err != nil {
		return nil, fmt.Errorf("the signature does not verify: %w", err)
	}
	var c Claims
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	switch {
	case c.Issuer != issuer:
		return nil, errors.New("another issuer signed it")
	case c.Subject == "" || len(c.Subject) > 255: // Core §2
		return nil, errors.New("it names no subject")
	case !slices.Contains(c.Audience, clientID), len(c.Audience) > 1 && c.Party != clientID, c.Party != "" && c.Party != clientID:
		return nil, errors.New("it is for somebody else") // Core §3.1.3.7 items 3 to 5
	case nonce == "" || subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) != 1:
		return nil, errors.New("it answers something else: the nonce differs")
	case seconds(c.Expiry).IsZero() || !at.Before(seconds(c.Expiry).Add(leeway)):
		return nil, errors.New("it had expired")
	case seconds(c.IssuedAt).IsZero() || seconds(c.IssuedAt).After(at.Add(leeway)):
		return nil, errors.New("it was issued later than now")
	}
	return &c, nil
}

// KeyID is the thumbprint of a public JWK (RFC 7638).
func KeyID(key []byte) (string, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(key); err != nil {
		return "", fmt.Errorf("read a key: %w", err)
	}
	h, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("hash a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(h), nil
}

// keyOf finds the published key that signed raw, so that what it proves can be
// checked again when the provider publishes other keys.
func (p *Provider) keyOf(ctx context.Context, m *metadata, raw string) (key []byte, thumb string, err error) {
	jws, err := signed(raw)
	if err != nil {
		return nil, "", ErrRefused.Because(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.JWKS, nil)
	if err != nil {
		return nil, "", ErrUnreachable.Because(fmt.Errorf("fetch the keys: %w", err))
	}
	res, err := p.HTTP.Do(req)
	if err != nil {
		return nil, "", ErrUnreachable.Because(fmt.Errorf("fetch the keys: %w", err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeys+1))
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err != nil || res.StatusCode != http.StatusOK || len(body) > maxKeys || json.Unmarshal(body, &set) != nil {
		return nil, "", ErrUnreachable.Because(fmt.Errorf("fetch the keys: status %d", res.StatusCode))
	}
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		// A key of a kind that we do not know does not hide the others.
		if k.UnmarshalJSON(text) != nil || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if _, err := jws.Verify(k); err != nil {
			continue
		}
		// Only what the key is: no certificates, nothing of the provider's own.
		out, err := (&jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID, Algorithm: k.Algorithm}).MarshalJSON()
		if err != nil {
			return nil, "", ErrRefused.Because(err)
		}
		thumb, err := KeyID(out)
		return out, thumb, err
	}
	return nil, "", ErrRefused.Because(errors.New("no published key signed it"))
}
