package sandbox

import (
	"net/http"
	"strings"
)

// searchIssues is GET /search/issues: qualifiers and words, all of which must
// hold. Only what the caller may see is searched.
func (s *Server) searchIssues(v *visit) reply {
	q := v.r.URL.Query()
	terms := words(q.Get("q"))
	if len(terms) == 0 {
		return invalid(fieldError{Resource: "Search", Code: "missing", Field: "q"})
	}
	var found []*issue
	for _, r := range s.world.repos {
		if !s.sees(v.who, r) {
			continue
		}
		for _, i := range r.issues {
			fits := true
			for _, t := range terms {
				holds, known := i.matches(t, v.who.login)
				if !known {
					return invalid(fieldError{Resource: "Search", Code: "invalid", Field: "q", Message: "the sandbox does not know the qualifier " + t})
				}
				fits = fits && holds
			}
			if fits {
				found = append(found, i)
			}
		}
	}
	sortIssues(found, q.Get("sort"), q.Get("order"))
	shown, header := page(v, found)
	items := []*issueJSON{}
	for _, i := range shown {
		j := issueShape(v.base, i)
		one := 1.0
		j.Score = &one
		items = append(items, j)
	}
	return reply{http.StatusOK, searchJSON{len(found), false, items}, header}
}

type searchJSON struct {
	TotalCount        int          `json:"total_count"`
	IncompleteResults bool         `json:"incomplete_results"`
	Items             []*issueJSON `json:"items"`
}

// words splits a search at spaces outside of quotes.
func words(q string) []string {
	quoted := false
	list := strings.FieldsFunc(q, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], `"`, "")
	}
	return list
}

// matches judges one term of a search. An unknown qualifier is an error and
// not a silent "everything".
func (i *issue) matches(term, me string) (holds, known bool) {
	name, value, qualified := strings.Cut(term, ":")
	if !qualified || strings.ContainsAny(name, "/.") {
		t := strings.ToLower(term)
		return strings.Contains(strings.ToLower(i.title), t) || strings.Contains(strings.ToLower(i.body), t), true
	}
	who := value
	if who == "@me" {
		who = me
	}
	switch name {
	case "is", "state", "type":
		switch value {
		case "open", "closed":
			return i.state() == value, true
		case "issue":
			return i.pull == nil, true
		case "pr":
			return i.pull != nil, true
		case "merged":
			return i.pull != nil && i.pull.merge != nil, true
		case "public", "private":
			return i.repo.private == (value == "private"), true
		}
		return false, false
	case "repo":
		return strings.EqualFold(i.repo.fullName(), value), true
	case "user", "org":
		return strings.EqualFold(i.repo.owner.login, who), true
	case "author":
		return strings.EqualFold(i.author.login, who), true
	case "assignee":
		return names(i.assignees, who), true
	case "review-requested":
		return i.pull != nil && names(i.pull.reviewers, who), true
	case "label":
		return hasLabels(i, value), true
	}
	return false, false
}
