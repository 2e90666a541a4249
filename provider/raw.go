package provider

import (
	"fmt"
	"slices"
	"strings"
)

// matchRaw judges a request that the catalogue does not list.
func (s *Spec) matchRaw(m *Match, r *Request, q query, segments []string) error {
	if err := checkQueryNames(q.values, func(string) bool { return false }); err != nil {
		return err
	}
	if len(q.duplicates) > 0 {
		return refuse(BadQuery, "the query parameter %q is there twice", q.duplicates[0])
	}
	if err := r.checkRawBody(); err != nil {
		return err
	}
	m.Summary = fmt.Sprintf("%s %s, which the catalogue does not list", r.Method, visible(clip("/"+strings.Join(segments, "/"), 120)))
	if (r.Method == "GET" || r.Method == "HEAD") && s.Style == REST {
		m.Operation, m.Read = s.RawRead(), true
		m.Risk, m.Why = 0, nil // every GET of the catalogue is low in this style
		m.raise(Low, "it is not in the catalogue; a "+r.Method+" is a read here")
		return nil
	}
	m.Operation = s.RawWrite()
	if m.Risk < High {
		m.Why = nil // what it looks like is no more than what it is
	}
	m.raise(High, "it is not in the catalogue and may change something")
	if hit := findPaths(s.index.critical, r.Method, segments); hit != nil {
		m.raise(Critical, hit.Why)
	}
	return nil
}

// findPaths is the first entry of list that holds the request, or nil. Case does
// not save anybody here.
func findPaths(list []Paths, method string, segments []string) *Paths {
	for i := range list {
		p := &list[i]
		if len(p.Methods) == 0 {
			if method != "POST" && method != "PUT" && method != "PATCH" {
				continue
			}
		} else if !slices.Contains(p.Methods, method) {
			continue
		}
		for k := range p.templates {
			if _, ok := p.templates[k].match(segments, matching{prefix: !p.Exact, fold: true, loose: true}); ok {
				return p
			}
		}
		for _, word := range p.Segments {
			if slices.ContainsFunc(segments, func(s string) bool { return foldWord(s) == foldWord(word) }) {
				return p
			}
		}
	}
	return nil
}

// foldWord makes "deploy-keys", "deploy_keys" and "DeployKeys" one word.
func foldWord(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(foldName(s))
}
