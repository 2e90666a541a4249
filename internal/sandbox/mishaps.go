package sandbox

import (
	"slices"
	"strings"
	"time"
)

// mishaps is what shall go wrong. The server's mutex guards it.
type mishaps struct {
	rules []*rule
	echo  bool
}

// rule is one kind of mishap at the paths with a prefix.
type rule struct {
	kind   string
	prefix string
	left   int // how many calls are still to be hit
	mishap
}

// mishap is what happens to one call.
type mishap struct {
	drop     bool
	delay    time.Duration
	status   int
	redirect string
}

const forever = 1 << 30

// set replaces the rule of the same kind and prefix.
func (m *mishaps) set(kind, prefix string, n int, what mishap) {
	m.rules = slices.DeleteFunc(m.rules, func(r *rule) bool { return r.kind == kind && r.prefix == prefix })
	if n > 0 {
		m.rules = append(m.rules, &rule{kind, prefix, n, what})
	}
}

// meet says what happens to a call at path: of each kind, the oldest rule
// that matches and is not used up.
func (m *mishaps) meet(path string) mishap {
	var sum mishap
	met := map[string]bool{}
	for _, r := range m.rules {
		if r.left == 0 || met[r.kind] || !strings.HasPrefix(path, r.prefix) {
			continue
		}
		met[r.kind] = true
		if r.left != forever {
			r.left--
		}
		sum.drop = sum.drop || r.drop
		sum.delay += r.delay
		if r.status != 0 {
			sum.status = r.status
		}
		if r.redirect != "" {
			sum.redirect = r.redirect
		}
	}
	return sum
}

func (s *Server) setMishap(kind, prefix string, n int, what mishap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mishaps.set(kind, prefix, n, what)
}

// DropAnswers performs the next n calls at paths with the prefix completely,
// then resets the connection instead of answering. 0 ends it.
func (s *Server) DropAnswers(pathPrefix string, n int) {
	s.setMishap("drop", pathPrefix, n, mishap{drop: true})
}

// Delay performs every call at paths with the prefix at once, but answers
// only after d, or when the client has gone. 0 ends it.
func (s *Server) Delay(pathPrefix string, d time.Duration) {
	n := forever
	if d <= 0 {
		n = 0
	}
	s.setMishap("delay", pathPrefix, n, mishap{delay: d})
}

// Fail answers the next n calls at paths with the prefix with a status, and
// performs nothing. 0 ends it.
func (s *Server) Fail(pathPrefix string, status, n int) {
	s.setMishap("fail", pathPrefix, n, mishap{status: status})
}

// RedirectTo answers every call at paths with the prefix with a 302 to a URL,
// and performs nothing. "" ends it.
func (s *Server) RedirectTo(pathPrefix, url string) {
	n := forever
	if url == "" {
		n = 0
	}
	s.setMishap("redirect", pathPrefix, n, mishap{redirect: url})
}

// EchoCredential performs API calls but answers each with the value of its
// Authorization header, in the body and in a header, as a careless or hostile
// upstream might.
func (s *Server) EchoCredential(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mishaps.echo = on
}

// LoseRefreshAnswer lets the next n refreshes that succeed rotate the tokens,
// then resets the connection: the client is left with tokens that stopped.
func (s *Server) LoseRefreshAnswer(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority.loseNext = n
}

// OmitExpiry leaves expires_in out of token answers, as some providers do.
// The tokens expire all the same.
func (s *Server) OmitExpiry(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority.omitExpiry = on
}

// GrantOnly lets later authorizations grant no more than these scopes,
// whatever is asked: a user who unticks some. Called without scopes it ends.
func (s *Server) GrantOnly(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority.shrink, s.authority.shrunk = len(scopes) > 0, scopes
}

// RevokeEverything stops every token of a user, as when they revoke the
// application on their settings page and delete their personal tokens.
func (s *Server) RevokeEverything(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority.killAll(login, true)
}

// ExpireAccess ends the access tokens of a user before their time, and leaves
// the refresh tokens: the provider changed its mind about a lifetime.
func (s *Server) ExpireAccess(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.authority.access {
		if strings.EqualFold(t.family.login, login) {
			t.expiresAt = time.Unix(0, 1)
		}
	}
}
