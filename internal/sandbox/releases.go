package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// release is a tag with words to it.
type release struct {
	id         int64
	tag        string
	target     string
	name       string
	body       string
	author     *user
	draft      bool
	prerelease bool
	createdAt  time.Time
}

type releaseJSON struct {
	ID          int64     `json:"id"`
	NodeID      string    `json:"node_id"`
	URL         string    `json:"url"`
	HTMLURL     string    `json:"html_url"`
	TagName     string    `json:"tag_name"`
	Target      string    `json:"target_commitish"`
	Name        *string   `json:"name"`
	Body        *string   `json:"body"`
	Draft       bool      `json:"draft"`
	Prerelease  bool      `json:"prerelease"`
	Author      *userJSON `json:"author"`
	CreatedAt   *string   `json:"created_at"`
	PublishedAt *string   `json:"published_at"`
}

func releaseShape(base string, r *repo, l *release) *releaseJSON {
	j := &releaseJSON{
		ID: l.id, NodeID: nodeID("Release", l.id), URL: fmt.Sprintf("%s/repos/%s/releases/%d", base, r.fullName(), l.id),
		HTMLURL: base + "/" + r.fullName() + "/releases/tag/" + l.tag, TagName: l.tag, Target: l.target, Name: orNull(l.name), Body: orNull(l.body),
		Draft: l.draft, Prerelease: l.prerelease, Author: userShape(base, l.author), CreatedAt: stamp(l.createdAt),
	}
	if !l.draft {
		j.PublishedAt = j.CreatedAt
	}
	return j
}

func (r *repo) release(tag string) *release {
	for _, l := range r.releases {
		if l.tag == tag && !l.draft {
			return l
		}
	}
	return nil
}

// showRelease is GET /repos/{owner}/{repo}/releases/tags/{tag}.
func (s *Server) showRelease(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	l := r.release(v.r.PathValue("tag"))
	if l == nil {
		return notFound()
	}
	return ok(releaseShape(v.base, r, l))
}

// createRelease is POST /repos/{owner}/{repo}/releases.
func (s *Server) createRelease(v *visit) reply {
	r, bad := s.repo(v, push)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	tag, _ := f.text("tag_name")
	target, _ := f.text("target_commitish")
	name, _ := f.text("name")
	body, _ := f.text("body")
	draft, _ := f.flag("draft")
	prerelease, _ := f.flag("prerelease")
	if f.bad != nil {
		return *f.bad
	}
	switch {
	case strings.TrimSpace(tag) == "":
		return invalid(fieldError{Resource: "Release", Code: "missing_field", Field: "tag_name"})
	case r.release(tag) != nil:
		return invalid(fieldError{Resource: "Release", Code: "already_exists", Field: "tag_name"})
	}
	target = cmp.Or(target, r.defaultBranch)
	if r.branches[target] == nil && r.commits[target] == nil {
		return invalid(fieldError{Resource: "Release", Code: "invalid", Field: "target_commitish"})
	}
	l := &release{s.world.newID(), tag, target, name, body, s.world.user(v.who.login), draft, prerelease, v.now}
	r.releases = append(r.releases, l)
	j := releaseShape(v.base, r, l)
	return reply{http.StatusCreated, j, http.Header{"Location": {j.URL}}}
}
