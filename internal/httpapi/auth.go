package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// caller is who asks: an agent, a person (or the operator), or nobody known.
// With a refusal it is whoever the refusal is to be recorded against.
type caller struct {
	agent     *agent.Caller
	person    *user.Principal
	presented bool // a credential was there, whatever it was worth
}

// authenticator finds out who asks.
type authenticator func(ctx context.Context, c *call, now time.Time) (caller, error)

// The beginnings of the two kinds of bearer that we issue. They tell which of
// the two to look for, and prove nothing.
const (
	agentBearer  = "vka_"
	personBearer = "vks_"
)

// authenticate takes one credential: a bearer in the Authorization header, or,
// only where there is no such header at all, a browser's cookie. A bad bearer
// never falls back to the cookie.
func (s *Server) authenticate(ctx context.Context, c *call, now time.Time) (caller, error) {
	r := c.r
	if err := single(r.Header, "Authorization", "Origin", "Sec-Fetch-Site"); err != nil {
		return caller{}, err
	}
	if err := s.sameSite(r); err != nil {
		return caller{}, err
	}
	if header, there := r.Header["Authorization"]; there {
		return s.bearer(ctx, c, header[0], now)
	}
	return s.cookie(ctx, r, now)
}

// sameSite refuses what another site's page sends with our visitor's
// credentials. Programs send neither of the headers that it looks at.
func (s *Server) sameSite(r *http.Request) error {
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return errCrossSite.Because(err)
	}
	return nil
}

func (s *Server) bearer(ctx context.Context, c *call, header string, now time.Time) (caller, error) {
	who := caller{presented: true}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || !plausible(token) {
		return who, errBadToken
	}
	text := secret.New(token)
	switch {
	case strings.HasPrefix(token, agentBearer):
		a, err := s.Agents.Bearer(ctx, text, c.from, now)
		if a.Agent != "" {
			who.agent = &a
		}
		return who, err
	case strings.HasPrefix(token, personBearer):
		p, err := s.Users.Authenticate(ctx, text, user.CLI, now)
		if err == nil {
			who.person = &p
		}
		return who, err
	}
	return who, errBadToken
}

// plausible keeps what cannot be a token of ours (RFC 6750 §2.1) out of hashes
// and queries.
func plausible(token string) bool {
	if len(token) < 8 || len(token) > 256 {
		return false
	}
	for i := range len(token) {
		if ch := token[i]; !(ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '_' || ch == '-') {
			return false
		}
	}
	return true
}

// cookie takes a browser's session, which counts at our own address only: a
// name that somebody pointed at this server gets nothing (DNS rebinding).
func (s *Server) cookie(ctx context.Context, r *http.Request, now time.Time) (caller, error) {
	if s.Cookie == "" {
		return caller{}, errNoCredential
	}
	got := r.CookiesNamed(s.Cookie)
	if len(got) == 0 {
		return caller{}, errNoCredential
	}
	who := caller{presented: true}
	if len(got) > 1 {
		return who, invalid("repeated_header", "The session's cookie is there more than once.")
	}
	own, err := url.Parse(s.Config.PublicURL)
	if err != nil || !strings.EqualFold(r.Host, own.Host) {
		return who, errCrossSite
	}
	p, err := s.Users.Authenticate(ctx, secret.New(got[0].Value), user.Browser, now)
	if err != nil {
		return who, err
	}
	who.person = &p
	return who, nil
}
