package sandbox

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// self is GET /user.
func (s *Server) self(v *visit) reply {
	if v.who.login == "" {
		return failure(http.StatusUnauthorized, "Requires authentication")
	}
	u := s.world.user(v.who.login)
	var public int
	for _, r := range s.world.repos {
		if r.owner == u && !r.private {
			public++
		}
	}
	return ok(struct {
		*userJSON
		Name        *string `json:"name"`
		Email       *string `json:"email"`
		PublicRepos int     `json:"public_repos"`
		CreatedAt   *string `json:"created_at"`
		UpdatedAt   *string `json:"updated_at"`
	}{userShape(v.base, u), orNull(u.name), orNull(u.email), public, stamp(u.createdAt), stamp(u.createdAt)})
}

// listRepos is GET /user/repos: what the caller owns or works on.
func (s *Server) listRepos(v *visit) reply {
	if v.who.login == "" {
		return failure(http.StatusUnauthorized, "Requires authentication")
	}
	visibility := v.r.URL.Query().Get("visibility")
	var mine []*repo
	for _, r := range s.world.repos {
		own := strings.EqualFold(r.owner.login, v.who.login) || r.members[strings.ToLower(v.who.login)] > None
		if own && s.sees(v.who, r) && (visibility != "public" || !r.private) && (visibility != "private" || r.private) {
			mine = append(mine, r)
		}
	}
	slices.SortFunc(mine, func(a, b *repo) int {
		return cmp.Compare(strings.ToLower(a.fullName()), strings.ToLower(b.fullName()))
	})
	shown, header := page(v, mine)
	list := []*repoJSON{}
	for _, r := range shown {
		list = append(list, repoShape(v, r))
	}
	return reply{http.StatusOK, list, header}
}

// showRepo is GET /repos/{owner}/{repo}.
func (s *Server) showRepo(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	j := repoShape(v, r)
	if r.parent != nil && s.sees(v.who, r.parent) {
		j.Parent = repoShape(v, r.parent)
	}
	return ok(j)
}

// deleteRepo is DELETE /repos/{owner}/{repo}. There is no way back.
func (s *Server) deleteRepo(v *visit) reply {
	r, bad := s.repo(v, govern)
	if bad != nil {
		return *bad
	}
	s.world.drop(r)
	return noContent
}

var repoName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// forkRepo is POST /repos/{owner}/{repo}/forks: into the caller's account.
// Forking twice returns the fork that exists.
func (s *Server) forkRepo(v *visit) reply {
	r, bad := s.repo(v, speak)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	name, named := f.text("name")
	organization, _ := f.text("organization")
	if f.bad != nil {
		return *f.bad
	}
	me := s.world.user(v.who.login)
	if organization != "" && !strings.EqualFold(organization, me.login) {
		return failure(http.StatusForbidden, "You cannot fork into this organization.")
	}
	for _, o := range s.world.repos {
		if o.owner == me && o.parent == r {
			return reply{status: http.StatusAccepted, value: repoShape(v, o)}
		}
	}
	if r.owner == me {
		return failure(http.StatusForbidden, "You cannot fork your own repository.")
	}
	if !named {
		name = r.name
	}
	if !repoName.MatchString(name) || name == "." || name == ".." || s.world.repo(me.login, name) != nil {
		return invalid(fieldError{Resource: "Repository", Code: "custom", Field: "name", Message: "name already exists on this account, or is not a name"})
	}
	made := s.world.fork(r, me, name, v.now)
	j := repoShape(v, made)
	j.Parent = repoShape(v, r)
	return reply{status: http.StatusAccepted, value: j}
}
