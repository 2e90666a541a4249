package provider

// NamesResource reports whether requests of operation may name a resource. One
// that never does is covered by no grant that is held to resources. A name that
// is not listed stands for requests of any path, which may.
func (s *Spec) NamesResource(operation string) bool {
	o, listed := s.Operation(operation)
	if !listed || o.Resource.Type != "" {
		return true
	}
	for i := range o.Paths {
		at, err := ParsePath(textPlaceholder.ReplaceAllString(o.Paths[i], "x"))
		if err != nil || s.resourceOf(at).Type != "" {
			return true
		}
	}
	return false
}

// Lacks says which scopes a token with those granted lacks for any request of a
// listed operation; see [Spec.Missing] for what certain means.
func (s *Spec) Lacks(operation string, granted []string) (missing []string, certain bool) {
	o, listed := s.Operation(operation)
	if !listed {
		return nil, false
	}
	return s.Missing(&Match{Scopes: s.scopes(o.Scopes, o.Permissions), Read: o.Read}, granted)
}
