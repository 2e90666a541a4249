package client

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

// Token is an access token: of this API, or of a provider.
type Token struct {
	Access     secret.Text
	Type       string    // "Bearer"
	Scopes     []string  // as granted
	ExpiresAt  time.Time // by this machine's clock
	IssuedType string    // URI of the type that an exchange brought, or ""
}

// assertionTTL is how long what we sign is good for: long enough for a slow
// network, short enough to be worthless when it is found.
const assertionTTL = 60 * time.Second

// claims are those of everything that an agent signs. Dates are in seconds, as
// some verifiers refuse fractions.
type claims struct {
	Issuer       string `json:"iss"`
	Subject      string `json:"sub"`
	Audience     string `json:"aud"` // one string: a list would let another server replay it (RFC 7523 §3 item 3)
	ID           string `json:"jti"`
	IssuedAt     int64  `json:"iat"`
	ExpiresAt    int64  `json:"exp"`
	AuditContext string `json:"audit_context,omitempty"`
}

func (c *Client) claims(subject string) claims {
	now := time.Now()
	return claims{
		Issuer: c.id, Subject: subject, Audience: c.issuer, ID: rand.Text(),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(assertionTTL).Unix(),
	}
}

// Token returns an access token for the API, got with the client credentials
// grant and a client assertion (RFC 7523 §2.2). It is kept in memory until a
// minute before its end. The other methods call it themselves.
func (c *Client) Token(ctx context.Context) (Token, error) {
	return c.access.get(ctx, func(ctx context.Context) (Token, error) {
		return c.grant(ctx, url.Values{"grant_type": {api.GrantClientCredentials}}, secret.Text{})
	})
}

// grant asks the token endpoint. The client assertion is made for each request,
// because it is good for one only; subject is a subject token, or empty.
func (c *Client) grant(ctx context.Context, form url.Values, subject secret.Text) (Token, error) {
	assertion, err := c.key.sign(c.claims(c.id), api.TypeAssertion)
	if err != nil {
		return Token{}, err
	}
	form.Set("client_id", c.id)
	form.Set("client_assertion_type", api.AssertionJWT)
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address+"oauth/token", credentials(form, assertion, subject))
	if err != nil {
		return Token{}, &Error{Reason: ReasonBadRequest, Detail: "The request cannot be built.", Err: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", api.MediaJSON)
	req.Header.Set("User-Agent", c.agent)
	began := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return Token{}, unreachable(ctx, err)
	}
	var t api.TokenResponse
	if err := read(ctx, res, &t, assertion, subject); err != nil {
		return Token{}, err
	}
	if t.AccessToken == "" || !strings.EqualFold(t.TokenType, "Bearer") || t.ExpiresIn < 0 {
		return Token{}, &Error{Status: res.StatusCode, Reason: ReasonBadAnswer, Detail: "The answer of the token endpoint holds no usable token."}
	}
	return Token{
		Access: secret.New(t.AccessToken), Type: "Bearer", Scopes: strings.Fields(t.Scope), IssuedType: t.IssuedTokenType,
		// Counted from before the request, so that we never think it lives longer.
		ExpiresAt: began.Add(time.Duration(min(t.ExpiresIn, maxLifetime)) * time.Second),
	}, nil
}

// maxLifetime keeps the arithmetic of a date sane, whatever the server says: a
// year of seconds.
const maxLifetime = 365 * 24 * 60 * 60

// credentials is the body of a token request: form with what proves who asks.
// Only here do the signed tokens become bytes.
func credentials(form url.Values, assertion, subject secret.Text) *strings.Reader {
	body := form.Encode() + "&" + url.Values{"client_assertion": {assertion.Reveal()}}.Encode()
	if !subject.IsZero() {
		body += "&" + url.Values{"subject_token": {subject.Reveal()}}.Encode()
	}
	return strings.NewReader(body)
}
