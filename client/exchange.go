package client

import (
	"context"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/api"
)

// ExchangeRequest asks for a provider's own access token. It needs a grant with
// mode "vend".
type ExchangeRequest struct {
	User       string   // id of the user whose account it is
	Connection string   // name or id of the connection: "github"
	Scopes     []string // narrower than what the connection has; empty for all of it
	LoginHint  string   // the provider's id of the account, where a user has several
	// AuditContext says what the token is for, in 1 to 256 characters without
	// personal data. It goes into the audit log.
	AuditContext string
}

// Exchange gets an access token of a provider: Auth0's Token Vault exchange with
// a subject token that the agent signs itself. It authenticates twice, by that
// token and by a client assertion, so agents of either profile may use it.
//
// If a person has to agree first, the error's Action is what to [Client.Await]
// before exchanging again.
func (c *Client) Exchange(ctx context.Context, r ExchangeRequest) (Token, error) {
	switch n := utf8.RuneCountInString(r.AuditContext); {
	case r.User == "" || r.Connection == "":
		return Token{}, &Error{Reason: ReasonBadRequest, Detail: "Say whose account it is, and which connection."}
	case n < 1 || n > 256:
		return Token{}, &Error{Reason: ReasonBadRequest, Detail: "Say in AuditContext what the token is for, in 1 to 256 characters."}
	}
	claims := c.claims(r.User)
	claims.AuditContext = r.AuditContext
	subject, err := c.key.sign(claims, api.TypeSubject)
	if err != nil {
		return Token{}, err
	}
	form := url.Values{
		"grant_type":           {api.GrantVaultExchange},
		"subject_token_type":   {api.SubjectJWT},
		"requested_token_type": {api.RequestedVaultToken},
		"connection":           {r.Connection},
	}
	if len(r.Scopes) > 0 {
		form.Set("scope", strings.Join(r.Scopes, " "))
	}
	if r.LoginHint != "" {
		form.Set("login_hint", r.LoginHint)
	}
	return c.grant(ctx, form, subject)
}

// TokenSource hands out the token of one exchange again and again: kept in
// memory until a minute before its end, never on disk, and fetched once however
// many ask. It is safe for concurrent use.
//
// Revoking a grant stops the next exchange, not a token that was handed out:
// the provider accepts that until it ends.
type TokenSource struct {
	client  *Client
	request ExchangeRequest
	kept    cache
}

// TokenSource makes a source of tokens for r. It does not connect.
func (c *Client) TokenSource(r ExchangeRequest) *TokenSource {
	r.Scopes = append([]string(nil), r.Scopes...)
	return &TokenSource{client: c, request: r}
}

// Token returns a token that is good for at least a minute, or a shorter-lived
// one fresh from the server.
func (s *TokenSource) Token(ctx context.Context) (Token, error) {
	return s.kept.get(ctx, func(ctx context.Context) (Token, error) { return s.client.Exchange(ctx, s.request) })
}

// Discard forgets t, which the provider has refused, so that the next call of
// Token exchanges anew.
func (s *TokenSource) Discard(t Token) { s.kept.drop(t) }

// OAuth2 makes the source fit for golang.org/x/oauth2 and the many packages that
// take its TokenSource. Such tokens hold the credential as a plain string: do
// not log them. Their Expiry is a minute early, so that wrappers which keep them
// (oauth2.NewClient does) come back in time. ctx bounds every exchange.
func (s *TokenSource) OAuth2(ctx context.Context) oauth2.TokenSource { return oauth2Source{ctx, s} }

// oauth2Source keeps a context, because oauth2.TokenSource has no place for one.
type oauth2Source struct {
	ctx    context.Context
	source *TokenSource
}

func (s oauth2Source) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(s.ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{
		AccessToken: t.Access.Reveal(), TokenType: t.Type, Expiry: t.ExpiresAt.Add(-margin),
		ExpiresIn: int64(time.Until(t.ExpiresAt) / time.Second),
	}, nil
}
