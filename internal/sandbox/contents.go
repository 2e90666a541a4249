package sandbox

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type contentJSON struct {
	Type        string  `json:"type"`
	Encoding    string  `json:"encoding,omitempty"`
	Size        int     `json:"size"`
	Name        string  `json:"name"`
	Path        string  `json:"path"`
	Content     *string `json:"content,omitempty"`
	SHA         string  `json:"sha"`
	URL         string  `json:"url"`
	HTMLURL     string  `json:"html_url"`
	DownloadURL *string `json:"download_url"`
}

func contentShape(base string, r *repo, branch, path, kind string, content []byte) *contentJSON {
	name := path[strings.LastIndexByte(path, '/')+1:]
	escaped := (&url.URL{Path: path}).EscapedPath()
	return &contentJSON{
		Type: kind, Size: len(content), Name: name, Path: path, SHA: blobID(content),
		URL:     fmt.Sprintf("%s/repos/%s/contents/%s?ref=%s", base, r.fullName(), escaped, url.QueryEscape(branch)),
		HTMLURL: fmt.Sprintf("%s/%s/blob/%s/%s", base, r.fullName(), branch, escaped),
	}
}

// at finds the commit that a branch name or an object id names.
func (r *repo) at(ref string) *commit {
	if c := r.branches[strings.TrimPrefix(ref, "refs/heads/")]; c != nil {
		return c
	}
	return r.commits[ref]
}

// adopt makes a commit of another repository of the network, and its past,
// known here.
func (r *repo) adopt(c *commit) {
	for queue := []*commit{c}; len(queue) > 0; queue = queue[1:] {
		if c := queue[0]; r.commits[c.sha] == nil {
			r.commits[c.sha] = c
			queue = append(queue, c.parents...)
		}
	}
}

// showContents is GET /repos/{owner}/{repo}/contents/{path}: a file, or what
// a directory holds.
func (s *Server) showContents(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	ref := cmp.Or(v.r.URL.Query().Get("ref"), r.defaultBranch)
	c := r.at(ref)
	if c == nil {
		return failure(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	path := v.r.PathValue("path")
	if content, there := c.files[path]; there {
		j := contentShape(v.base, r, ref, path, "file", content)
		// Wrapped at 60 characters, as upstream: a decoder must cope.
		text := wrap(base64.StdEncoding.EncodeToString(content), 60)
		j.Encoding, j.Content = "base64", &text
		return ok(j)
	}
	prefix := path + "/"
	if path == "" {
		prefix = ""
	}
	list, seen := []*contentJSON{}, map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(c.files)) {
		rest, inside := strings.CutPrefix(p, prefix)
		if !inside {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if seen[name] {
			continue
		}
		seen[name] = true
		if deeper {
			list = append(list, contentShape(v.base, r, ref, prefix+name, "dir", nil))
		} else {
			list = append(list, contentShape(v.base, r, ref, p, "file", c.files[p]))
		}
	}
	if len(list) == 0 && path != "" {
		return notFound()
	}
	return ok(list)
}

func wrap(s string, width int) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\n")
		s = s[width:]
	}
	if s != "" {
		b.WriteString(s + "\n")
	}
	return b.String()
}

type commitJSON struct {
	SHA     string            `json:"sha"`
	URL     string            `json:"url"`
	HTMLURL string            `json:"html_url"`
	Message string            `json:"message"`
	Author  map[string]string `json:"author"`
	Parents []parentJSON      `json:"parents"`
}

type parentJSON struct {
	SHA string `json:"sha"`
}

func commitShape(base string, r *repo, c *commit) commitJSON {
	j := commitJSON{
		SHA: c.sha, URL: fmt.Sprintf("%s/repos/%s/git/commits/%s", base, r.fullName(), c.sha), HTMLURL: fmt.Sprintf("%s/%s/commit/%s", base, r.fullName(), c.sha),
		Message: c.message, Author: map[string]string{"name": cmp.Or(c.author.name, c.author.login), "email": c.author.email, "date": *stamp(c.at)}, Parents: []parentJSON{},
	}
	for _, p := range c.parents {
		j.Parents = append(j.Parents, parentJSON{p.sha})
	}
	return j
}

// putContents is PUT /repos/{owner}/{repo}/contents/{path}: one file, one
// commit. Changing a file needs the id of the bytes that it replaces.
func (s *Server) putContents(v *visit) reply {
	r, bad := s.repo(v, push)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	message, _ := f.text("message")
	encoded, hasContent := f.text("content")
	sha, hasSHA := f.text("sha")
	branch, hasBranch := f.text("branch")
	if f.bad != nil {
		return *f.bad
	}
	if !hasBranch {
		branch = r.defaultBranch
	}
	path := v.r.PathValue("path")
	content, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(encoded))
	switch {
	case message == "":
		return invalid(fieldError{Resource: "Commit", Code: "missing_field", Field: "message"})
	case !hasContent || err != nil:
		return failure(http.StatusUnprocessableEntity, "content is not valid Base64")
	case !validPath(path):
		return failure(http.StatusUnprocessableEntity, "path contains a malformed path component")
	}
	tip := r.branches[branch]
	if tip == nil {
		return failure(http.StatusNotFound, "Branch "+branch+" not found")
	}
	old, exists := tip.files[path]
	switch {
	case exists && !hasSHA:
		return failure(http.StatusUnprocessableEntity, "Invalid request.\n\n\"sha\" wasn't supplied.")
	case hasSHA && (!exists || blobID(old) != sha):
		return failure(http.StatusConflict, path+" does not match "+sha)
	}
	for p := range tip.files { // a file cannot be a directory as well
		if strings.HasPrefix(p, path+"/") || strings.HasPrefix(path, p+"/") {
			return failure(http.StatusUnprocessableEntity, "path is both a file and a directory")
		}
	}
	files := maps.Clone(tip.files)
	if files == nil {
		files = map[string][]byte{}
	}
	files[path] = content
	made := r.commit(s.world.user(v.who.login), message, files, v.now, tip)
	r.branches[branch], r.pushedAt = made, v.now
	value := map[string]any{"content": contentShape(v.base, r, branch, path, "file", content), "commit": commitShape(v.base, r, made)}
	if exists {
		return ok(value)
	}
	return created(value)
}

func refShape(base string, r *repo, branch string, c *commit) map[string]any {
	return map[string]any{
		"ref": "refs/heads/" + branch, "node_id": nodeID("Ref:"+branch, r.id),
		"url":    fmt.Sprintf("%s/repos/%s/git/refs/heads/%s", base, r.fullName(), branch),
		"object": map[string]string{"type": "commit", "sha": c.sha, "url": fmt.Sprintf("%s/repos/%s/git/commits/%s", base, r.fullName(), c.sha)},
	}
}

// showRef is GET …/git/ref/heads/{branch}.
func (s *Server) showRef(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	branch, isBranch := strings.CutPrefix(v.r.PathValue("ref"), "heads/")
	c := r.branches[branch]
	if !isBranch || c == nil {
		return notFound()
	}
	return ok(refShape(v.base, r, branch, c))
}

// createRef is POST …/git/refs: a new branch at a commit that exists.
func (s *Server) createRef(v *visit) reply {
	r, bad := s.repo(v, push)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	ref, _ := f.text("ref")
	sha, _ := f.text("sha")
	if f.bad != nil {
		return *f.bad
	}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	switch {
	case !isBranch || !validBranch(branch):
		return failure(http.StatusUnprocessableEntity, "Reference name is not valid; only branches (refs/heads/…) are known here.")
	case r.commits[sha] == nil:
		return failure(http.StatusUnprocessableEntity, "Object does not exist")
	case r.branches[branch] != nil:
		return failure(http.StatusUnprocessableEntity, "Reference already exists")
	}
	r.branches[branch], r.pushedAt = r.commits[sha], v.now
	return created(refShape(v.base, r, branch, r.commits[sha]))
}

// deleteRef is DELETE …/git/refs/heads/{branch}. Its commits stay.
func (s *Server) deleteRef(v *visit) reply {
	r, bad := s.repo(v, push)
	if bad != nil {
		return *bad
	}
	branch, isBranch := strings.CutPrefix(v.r.PathValue("ref"), "heads/")
	switch {
	case !isBranch || r.branches[branch] == nil:
		return failure(http.StatusUnprocessableEntity, "Reference does not exist")
	case branch == r.defaultBranch:
		return failure(http.StatusUnprocessableEntity, "Cannot delete the default branch")
	}
	delete(r.branches, branch)
	return noContent
}
