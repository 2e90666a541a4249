package provider

// URLs lists every address that s names: what an operator's rules about
// networks are checked against.
func (s *Spec) URLs() []string {
	var out []string
	for _, u := range append([]string{
		s.Auth.URL, s.Auth.Issuer, s.Token.URL, s.Refresh.URL, s.Revoke.URL, s.Revoke.Verify, s.Identity.URL,
	}, s.Endpoints.APIBases...) {
		if u != "" {
			out = append(out, u)
		}
	}
	return out
}
