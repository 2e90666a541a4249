package vault

import "time"

// Pace sets how long a lease, the call in it and a revocation may take; zero
// leaves the usual.
func (s *Service) Pace(lease, call, goodbye time.Duration) { s.pace = pace{lease, call, goodbye} }

// ParseTokens reads an answer of a token endpoint.
var ParseTokens = (*Provider).parseTokens

// Due says whether c would be refreshed before it is used.
var Due = (*Service).due
