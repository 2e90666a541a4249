package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The newest calls keep their body, unless it is large. The calls themselves
// are all kept: tests count them.
const (
	keptBodies  = 200
	keptPerBody = 1 << 20
)

// Call is one request as it was received. Of headers it holds only the names;
// of requests that speak secrets (the token endpoint, revocation, the consent
// form) neither body nor query.
type Call struct {
	At       time.Time `json:"at"`
	Method   string    `json:"method"`
	Path     string    `json:"path"` // escaped, as received
	Query    string    `json:"query,omitempty"`
	Headers  []string  `json:"headers"` // names, sorted
	Body     []byte    `json:"-"`       // nil where it speaks secrets, is over 1 MiB, or is of an old call
	BodySize int       `json:"body_size"`
	BodyHash string    `json:"body_sha256"` // hex
	Login    string    `json:"login,omitempty"`
	Status   int       `json:"status"`            // what was performed
	Dropped  bool      `json:"dropped,omitempty"` // performed, but the answer never sent
}

// ledger is every call received, oldest first. The server's mutex guards it.
type ledger struct{ calls []*Call }

func (l *ledger) receive(r *http.Request, body []byte, login string, now time.Time) *Call {
	sum := sha256.Sum256(body)
	c := &Call{
		At: now, Method: r.Method, Path: r.URL.EscapedPath(),
		BodySize: len(body), BodyHash: hex.EncodeToString(sum[:]), Login: login,
	}
	for name := range r.Header {
		c.Headers = append(c.Headers, name)
	}
	slices.Sort(c.Headers)
	if !speaksSecrets(r.URL.Path) {
		c.Query = r.URL.RawQuery
		if len(body) <= keptPerBody {
			c.Body = body
		}
	}
	l.calls = append(l.calls, c)
	if old := len(l.calls) - keptBodies; old > 0 {
		l.calls[old-1].Body = nil
	}
	return c
}

// speaksSecrets reports whether requests to a path carry codes, tokens or
// client secrets outside of the Authorization header.
func speaksSecrets(path string) bool {
	return strings.HasPrefix(path, "/login/") || strings.HasPrefix(path, "/applications/")
}

// Ledger returns every call received so far, oldest first. A call stands here
// before its answer is sent. Calls to the ledger itself and to the parts of
// pages are left out.
func (s *Server) Ledger() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, len(s.ledger.calls))
	for i, c := range s.ledger.calls {
		calls[i] = *c
	}
	return calls
}

// Count says how many calls with a method were received at paths with a
// prefix. The empty method means any.
func (s *Server) Count(method, pathPrefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.ledger.calls {
		if (method == "" || c.Method == method) && strings.HasPrefix(c.Path, pathPrefix) {
			n++
		}
	}
	return n
}
