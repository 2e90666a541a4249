package dash

import "time"

// Patterns lists the routes for the tests that must know all of them.
func (s *Server) Patterns() []string {
	var out []string
	for _, r := range s.routes() {
		out = append(out, r.pattern)
	}
	return out
}

// ReturnTo and Rules are judged by tables.
var (
	ReturnTo   = returnTo
	RulesOf    = rulesOf
	Tellings   = tellings
	CookieName = (*Server).cookieName

	GithubRights = githubRights
	Areas        = areas
	Quoted       = quoted
)

// Restarted makes s a server that was started after everything that there is.
func (s *Server) Restarted() { s.started = time.Now().Add(time.Minute) }

// SnippetsFor are what a person with this connection is shown.
func (s *Server) SnippetsFor(connection string, account *AccountRef) []Snippet {
	return s.snippets(connection, account)
}

// ResultLink is what a page links to of an answer.
var ResultLink = resultLink
