package oauth

import (
	"context"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// Words of the protocol that package api does not need.
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 §2.1
	tokenTypeAccess    = "urn:ietf:params:oauth:token-type:access_token"   // RFC 8693 §3
	tokenTypeRefresh   = "urn:ietf:params:oauth:token-type:refresh_token"
	// requestedFederated is the older name of [api.RequestedVaultToken].
	requestedFederated = "http://auth0.com/oauth/token-type/federated-connection-access-token"
)

var (
	errGrantType    = fault.New(fault.Invalid, "unsupported_grant_type", "This grant type is not supported here; the discovery document lists those that are.")
	errNoAssertion  = fault.New(fault.Unauthenticated, "missing_client_assertion", "Authenticate the agent: send client_assertion, a JWT signed with its key, and client_assertion_type "+api.AssertionJWT+".")
	errClientSecret = fault.New(fault.Unauthenticated, "client_secret", "Agents have no secret here: leave out client_secret and the Authorization header, and sign a client_assertion with the agent's key.")
	errAudience     = fault.New(fault.Invalid, "invalid_target", "Access tokens are issued for this server's own API only; leave out audience and resource.")
)

// token dispatches by grant type (RFC 6749 §4).
func (s *Server) token(ctx context.Context, c *call) (reply, error) {
	switch c.get("grant_type") {
	case "":
		return nil, missing("grant_type")
	case api.GrantClientCredentials:
		return s.clientCredentials(ctx, c)
	case api.GrantVaultExchange:
		return s.exchange(ctx, c, vaultExchange(c))
	case grantTokenExchange:
		return s.exchange(ctx, c, standardExchange(c))
	case api.GrantDevice:
		return s.pollDevice(ctx, c)
	}
	return nil, errGrantType
}

func missing(name string) error {
	return unreadable("missing_"+name, "The parameter %s is missing.", name)
}

// clientCredentials gives an agent an access token for our own API (RFC 6749
// §4.4, RFC 7523 §2.2).
func (s *Server) clientCredentials(ctx context.Context, c *call) (reply, error) {
	if err := s.authenticate(ctx, c); err != nil {
		return nil, err
	}
	for _, name := range []string{"audience", "resource"} {
		// A token for another server would be sent there, and be good here.
		if to := c.get(name); to != "" && to != strings.TrimSuffix(s.Issuer, "/") && !strings.HasPrefix(to, s.Issuer) {
			return nil, errAudience
		}
	}
	text, t, err := s.Agents.Issue(ctx, c.caller, nil, c.now)
	if err != nil {
		return nil, clientError{err} // a replayed assertion is one that failed
	}
	return issued{token: text, scopes: t.Scopes, expires: t.ExpiresAt.Sub(c.now)}, nil
}

// authenticate knows the agent by its client assertion, the one way in which a
// client authenticates here.
func (s *Server) authenticate(ctx context.Context, c *call) error {
	if err := c.noSecret(); err != nil {
		return err
	}
	raw := c.get("client_assertion")
	switch {
	case raw == "":
		return errNoAssertion
	case c.get("client_assertion_type") != api.AssertionJWT:
		return unreadable("bad_client_assertion_type", "Set client_assertion_type to %s.", api.AssertionJWT)
	}
	var err error
	c.caller, err = s.Agents.Assert(ctx, raw, c.get("client_id"), c.from, c.now)
	if err != nil {
		return clientError{err}
	}
	return nil
}

// noSecret refuses the ways of authentication that nobody can have here.
func (c *call) noSecret() error {
	if c.get("client_secret") != "" || len(c.header.Values("Authorization")) > 0 {
		return errClientSecret
	}
	return nil
}

// issued is a token for its asker.
type issued struct {
	token   secret.Text
	scopes  []string
	expires time.Duration
	kind    string // issued_token_type, of an exchange
}

// wire is the last step before the answer.
func (i issued) wire() any {
	return api.TokenResponse{
		AccessToken: i.token.Reveal(), TokenType: "Bearer", ExpiresIn: int64(i.expires / time.Second),
		Scope: strings.Join(i.scopes, " "), IssuedTokenType: i.kind,
	}
}
