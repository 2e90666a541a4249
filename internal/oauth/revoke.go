package oauth

import (
	"context"
	"errors"

	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// revoke ends a token (RFC 7009). An agent ends its own access tokens and
// proves itself as everywhere; a command line ends its own session by showing
// it, since a public client has nothing else. A token that is unknown, or
// somebody else's, is no error (§2.2) and gets the same empty answer.
func (s *Server) revoke(ctx context.Context, c *call) (reply, error) {
	token := secret.New(c.get("token"))
	if c.get("client_id") == ClientCLI && c.get("client_assertion") == "" {
		if token.IsZero() {
			return nil, missing("token")
		}
		return nil, s.endSession(ctx, c, token)
	}
	if err := s.authenticate(ctx, c); err != nil {
		return nil, err
	}
	// RFC 7009 §2.1: a hint that we do not know is ignored.
	if token.IsZero() {
		return nil, missing("token")
	}
	return nil, s.Agents.Revoke(ctx, c.caller, token, c.now)
}

func (s *Server) endSession(ctx context.Context, c *call, token secret.Text) error {
	p, err := s.Users.Authenticate(ctx, token, user.CLI, c.now)
	if errors.Is(err, user.ErrLogin) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Users.Logout(ctx, p, c.now)
}
