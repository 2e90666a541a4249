package provider

import "slices"

// Missing says what a token with the scopes granted lacks for m. certain means
// that the provider will refuse the call for it. Without that it may: what is
// public can be had with less, and whether something is public is not known
// here. A token whose scopes are not known (none were named, or the provider
// goes by permissions) lacks nothing that could be told.
func (s *Spec) Missing(m *Match, granted []string) (missing []string, certain bool) {
	if s.Auth.Permissions || len(granted) == 0 {
		return nil, false
	}
	held := s.Auth.held(granted)
	for _, need := range m.Scopes {
		if held[need] || slices.Contains(missing, need) {
			continue
		}
		missing = append(missing, need)
		if lesser, open := s.Auth.Public[need]; !open || !m.Read && !slices.ContainsFunc(lesser, func(l string) bool { return held[l] }) {
			certain = true
		}
	}
	return missing, certain
}

// held is granted with everything that it covers.
func (a *Auth) held(granted []string) map[string]bool {
	out := map[string]bool{}
	for todo := slices.Clone(granted); len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		if !out[next] {
			out[next] = true
			todo = append(todo, a.Covers[next]...)
		}
	}
	return out
}
