package dash

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
)
