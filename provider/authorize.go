package provider

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// authorizeParams are the parameters of an authorization request that a Spec
// must not set: they are ours, per flow.
var authorizeParams = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"request", "request_uri", "response_mode",
}

// Authorization is one attempt to connect an account.
type Authorization struct {
	ClientID    string
	RedirectURI string
	State       string
	Scopes      []string // the Spec's default ones if nil
	Challenge   string   // S256 code challenge (RFC 7636 §4.2); needed unless PKCE is off
	Nonce       string   // OpenID Connect Core §3.1.2.1
}

// AuthorizeURL is where the browser of the user goes: RFC 6749 §4.1.1 with the
// habits of the provider. Parameters stand in the order of their names.
func (s *Spec) AuthorizeURL(a Authorization) (string, error) {
	switch {
	case s.Auth.URL == "":
		return "", fmt.Errorf("provider %s: its authorization endpoint is not known", s.ID)
	case a.ClientID == "" || a.RedirectURI == "" || a.State == "":
		return "", errors.New("provider: an authorization needs client, redirect URI and state")
	case a.Challenge == "" && s.Auth.PKCE != PKCEOff:
		return "", fmt.Errorf("provider %s: an authorization needs a code challenge", s.ID)
	}
	u, err := url.Parse(s.Auth.URL)
	if err != nil {
		return "", fmt.Errorf("provider %s: %w", s.ID, err)
	}
	q := u.Query()
	for k, v := range s.Auth.Params {
		q.Set(k, v)
	}
	q.Set("response_type", "code")
	q.Set("client_id", a.ClientID)
	q.Set("redirect_uri", a.RedirectURI)
	q.Set("state", a.State)
	scopes := a.Scopes
	if scopes == nil {
		scopes = s.Auth.DefaultScopes
	}
	if len(scopes) > 0 && !s.Auth.Permissions {
		q.Set("scope", s.JoinScopes(scopes))
	}
	if s.Auth.PKCE != PKCEOff {
		q.Set("code_challenge", a.Challenge)
		q.Set("code_challenge_method", "S256")
	}
	if a.Nonce != "" {
		q.Set("nonce", a.Nonce)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// JoinScopes writes scopes as the provider wants them.
func (s *Spec) JoinScopes(scopes []string) string {
	sep := s.Auth.ScopeSep
	if sep == "" {
		sep = " "
	}
	return strings.Join(scopes, sep)
}

// SplitScopes reads the scopes that a token answer grants. Spaces and commas
// both separate: GitHub is asked with spaces and answers with commas.
func (s *Spec) SplitScopes(granted string) []string {
	return strings.FieldsFunc(granted, func(r rune) bool { return r == ' ' || r == ',' })
}
