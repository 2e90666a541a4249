package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/provider"
)

// Reservations says, a sentence each, what a grant gives that cannot be used
// as things stand: because the connection's token lacks a scope, or because no
// request of an operation names a resource and the grant is held to some. The
// grant is sound all the same: an account can be connected again.
func (s *Service) Reservations(ctx context.Context, g *grant.Grant) ([]string, error) {
	con, err := s.Conns.Connection(ctx, s.Org, g.Connection)
	if err != nil {
		return nil, err
	}
	prov, err := s.Providers.Find(ctx, con.Provider)
	if err != nil {
		return nil, err
	}
	return reservations(prov.Spec, g, con.Scopes), nil
}

func reservations(spec *provider.Spec, g *grant.Grant, scopes []string) []string {
	var out, nameless, lacking, needed []string
	for _, name := range spec.Names() {
		// Who grants everything has not chosen what happens not to work.
		if !slices.ContainsFunc(g.Operations, func(p string) bool { return chosen(p, name) }) {
			continue
		}
		if len(g.Resources) > 0 && !spec.NamesResource(name) {
			nameless = append(nameless, name)
		}
		if missing, certain := spec.Lacks(name, scopes); certain {
			lacking = append(lacking, name)
			for _, m := range missing {
				if !slices.Contains(needed, m) {
					needed = append(needed, m)
				}
			}
		}
	}
	if len(nameless) > 0 {
		out = append(out, fmt.Sprintf("This grant can never be used for %s: such a request names no resource, and the grant is held to %s. Leave the resources out in a grant of its own.", few(nameless), few(g.Resources)))
	}
	if len(lacking) > 0 {
		out = append(out, fmt.Sprintf("The token of this connection cannot be used for %s: it lacks %s. Connect the account again with that before it is needed.", few(lacking), few(needed)))
	}
	return out
}

// chosen reports whether a pattern other than "*" covers an operation.
func chosen(pattern, operation string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == operation || wild && prefix != "" && strings.HasPrefix(operation, prefix)
}

// few lists a few of many.
func few(all []string) string {
	if len(all) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:3], ", "), len(all)-3)
	}
	return strings.Join(all, ", ")
}
