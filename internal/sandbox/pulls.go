package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// pull is what makes an issue a pull request: a branch that wants into
// another. While it is open both ends follow their branches; the commits at
// the end are kept when it is merged.
type pull struct {
	headRepo   *repo
	headBranch string
	baseBranch string
	draft      bool
	reviewers  []*user
	mergedAt   time.Time
	mergedBy   *user
	merge      *commit
	mergedHead *commit
	mergedBase *commit
}

// ends are the commits at both ends of a pull request; nil where the branch
// is gone.
func (i *issue) ends() (base, head *commit) {
	p := i.pull
	if p.merge != nil {
		return p.mergedBase, p.mergedHead
	}
	return i.repo.branches[p.baseBranch], p.headRepo.branches[p.headBranch]
}

type endJSON struct {
	Label string    `json:"label"`
	Ref   string    `json:"ref"`
	SHA   string    `json:"sha"`
	User  *userJSON `json:"user"`
	Repo  *repoJSON `json:"repo"`
}

type pullJSON struct {
	*issueJSON
	// URL hides the issue's: a pull request is its own resource.
	URL                string      `json:"url"`
	NodeID             string      `json:"node_id"`
	PullRequest        *struct{}   `json:"pull_request,omitempty"`
	DiffURL            string      `json:"diff_url"`
	IssueURL           string      `json:"issue_url"`
	Draft              bool        `json:"draft"`
	MergedAt           *string     `json:"merged_at"`
	MergeCommitSHA     *string     `json:"merge_commit_sha"`
	RequestedReviewers []*userJSON `json:"requested_reviewers"`
	Head               endJSON     `json:"head"`
	Base               endJSON     `json:"base"`
	*pullDetailJSON
}

// pullDetailJSON stands in the answer to a single pull request only.
type pullDetailJSON struct {
	Merged         bool      `json:"merged"`
	Mergeable      *bool     `json:"mergeable"`
	MergeableState string    `json:"mergeable_state"`
	MergedBy       *userJSON `json:"merged_by"`
	Commits        int       `json:"commits"`
	Additions      int       `json:"additions"`
	Deletions      int       `json:"deletions"`
	ChangedFiles   int       `json:"changed_files"`
}

func pullShape(v *visit, i *issue, detailed bool) *pullJSON {
	p := i.pull
	base, head := i.ends()
	end := func(r *repo, branch string, c *commit) endJSON {
		e := endJSON{r.owner.login + ":" + branch, branch, "", userShape(v.base, r.owner), repoShape(v, r)}
		if c != nil {
			e.SHA = c.sha
		}
		return e
	}
	j := &pullJSON{
		issueJSON: issueShape(v.base, i), NodeID: nodeID("PullRequest", i.id), DiffURL: v.base + i.htmlPath() + ".diff",
		Draft: p.draft, MergedAt: stamp(p.mergedAt), RequestedReviewers: userShapes(v.base, p.reviewers),
		Head: end(p.headRepo, p.headBranch, head), Base: end(i.repo, p.baseBranch, base),
	}
	j.IssueURL = j.issueJSON.URL
	j.URL = fmt.Sprintf("%s/pulls/%d", j.RepositoryURL, i.number)
	if p.merge != nil {
		j.MergeCommitSHA = &p.merge.sha
	}
	if !detailed {
		return j
	}
	d := &pullDetailJSON{Merged: p.merge != nil, MergedBy: userShape(v.base, p.mergedBy), MergeableState: "unknown"}
	if base != nil && head != nil {
		if from := mergeBase(base, head); from != nil {
			d.Commits, d.ChangedFiles = ahead(base, head), len(changed(from, head))
			d.Additions, d.Deletions = lines(from, head)
		}
		if !i.closed {
			_, fits := merged(base, head)
			d.Mergeable, d.MergeableState = &fits, "clean"
			if !fits {
				d.MergeableState = "dirty"
			}
		}
	}
	j.pullDetailJSON = d
	return j
}

// pull finds the pull request that the path names.
func (s *Server) pull(v *visit, n need) (*issue, *reply) {
	i, bad := s.issue(v, n)
	if bad == nil && i.pull == nil {
		p := notFound()
		return nil, &p
	}
	return i, bad
}

// listPulls is GET /repos/{owner}/{repo}/pulls.
func (s *Server) listPulls(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	q := v.r.URL.Query()
	state := cmp.Or(q.Get("state"), "open")
	var found []*issue
	for _, i := range r.issues {
		if i.pull == nil || state != "all" && i.state() != state ||
			q.Get("base") != "" && q.Get("base") != i.pull.baseBranch ||
			q.Get("head") != "" && !strings.EqualFold(q.Get("head"), i.pull.headRepo.owner.login+":"+i.pull.headBranch) {
			continue
		}
		found = append(found, i)
	}
	sortIssues(found, q.Get("sort"), q.Get("direction"))
	shown, header := page(v, found)
	list := []*pullJSON{}
	for _, i := range shown {
		list = append(list, pullShape(v, i, false))
	}
	return reply{http.StatusOK, list, header}
}

// showPull is GET /repos/{owner}/{repo}/pulls/{number}.
func (s *Server) showPull(v *visit) reply {
	i, bad := s.pull(v, look)
	if bad != nil {
		return *bad
	}
	return ok(pullShape(v, i, true))
}

// headOf finds the repository and branch that "branch" or "owner:branch"
// names, seen from the repository that shall receive it.
func (s *Server) headOf(v *visit, r *repo, head string) (*repo, string, bool) {
	owner, branch, foreign := strings.Cut(head, ":")
	if !foreign {
		return r, head, r.branches[head] != nil
	}
	for _, o := range s.world.repos {
		if strings.EqualFold(o.owner.login, owner) && (o == r || o.parent == r) && s.sees(v.who, o) && o.branches[branch] != nil {
			return o, branch, true
		}
	}
	return nil, "", false
}

// createPull is POST /repos/{owner}/{repo}/pulls.
func (s *Server) createPull(v *visit) reply {
	r, bad := s.repo(v, speak)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	title, _ := f.text("title")
	body, _ := f.text("body")
	head, _ := f.text("head")
	base, _ := f.text("base")
	draft, _ := f.flag("draft")
	if f.bad != nil {
		return *f.bad
	}
	errs := flaws("PullRequest", &title, &body)
	from, branch, found := s.headOf(v, r, head)
	if !found {
		errs = append(errs, fieldError{Resource: "PullRequest", Code: "invalid", Field: "head"})
	}
	if r.branches[base] == nil {
		errs = append(errs, fieldError{Resource: "PullRequest", Code: "invalid", Field: "base"})
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	if from.permission(v.who.login) < Write {
		return failure(http.StatusForbidden, "Must have push access to the head repository.")
	}
	if ahead(r.branches[base], from.branches[branch]) == 0 {
		return invalid(fieldError{Resource: "PullRequest", Code: "custom", Message: fmt.Sprintf("No commits between %s and %s", base, head)})
	}
	if slices.ContainsFunc(r.issues, func(i *issue) bool {
		return i.pull != nil && !i.closed && i.pull.headRepo == from && i.pull.headBranch == branch && i.pull.baseBranch == base
	}) {
		return invalid(fieldError{Resource: "PullRequest", Code: "custom", Message: fmt.Sprintf("A pull request already exists for %s:%s.", from.owner.login, branch)})
	}
	p := &pull{headRepo: from, headBranch: branch, baseBranch: base, draft: draft}
	i := s.world.open(r, s.world.user(v.who.login), title, body, p, v.now)
	j := pullShape(v, i, true)
	return reply{http.StatusCreated, j, http.Header{"Location": {j.URL}}}
}

// mergePull is PUT …/pulls/{number}/merge. The sha, if sent, must still be
// the head: nobody merges what they have not seen.
func (s *Server) mergePull(v *visit) reply {
	i, bad := s.pull(v, push)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	sha, hasSHA := f.text("sha")
	title, _ := f.text("commit_title")
	method, _ := f.text("merge_method")
	if f.bad != nil {
		return *f.bad
	}
	if !slices.Contains([]string{"", "merge", "squash", "rebase"}, method) {
		return invalid(fieldError{Resource: "PullRequest", Code: "invalid", Field: "merge_method"})
	}
	base, head := i.ends()
	if i.closed || base == nil || head == nil || i.pull.draft {
		return failure(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	if hasSHA && sha != head.sha {
		return failure(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	}
	files, fits := merged(base, head)
	if !fits {
		return failure(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	me := s.world.user(v.who.login)
	if title == "" {
		title = fmt.Sprintf("Merge pull request #%d from %s/%s", i.number, i.pull.headRepo.owner.login, i.pull.headBranch)
	}
	parents := []*commit{base, head}
	if method == "squash" || method == "rebase" {
		parents = parents[:1]
	} else {
		i.repo.adopt(head)
	}
	made := i.repo.commit(me, title, files, v.now, parents...)
	i.repo.branches[i.pull.baseBranch] = made
	i.repo.pushedAt = v.now
	p := i.pull
	p.merge, p.mergedHead, p.mergedBase, p.mergedAt, p.mergedBy = made, head, base, v.now, me
	i.setClosed(true, "", me, v.now)
	return ok(map[string]any{"sha": made.sha, "merged": true, "message": "Pull Request successfully merged"})
}
