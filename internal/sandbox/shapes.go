package sandbox

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"time"
)

// The shapes are GitHub's: the subset of members that clients use, under
// their names at api.github.com. Null where GitHub says null.

type userJSON struct {
	Login     string `json:"login"`
	ID        int64  `json:"id"`
	NodeID    string `json:"node_id"`
	AvatarURL string `json:"avatar_url"`
	URL       string `json:"url"`
	HTMLURL   string `json:"html_url"`
	ReposURL  string `json:"repos_url"`
	Type      string `json:"type"`
	SiteAdmin bool   `json:"site_admin"`
}

func userShape(base string, u *user) *userJSON {
	if u == nil {
		return nil
	}
	api := base + "/users/" + url.PathEscape(u.login)
	kind := "User"
	if u.organization {
		kind = "Organization"
	}
	return &userJSON{u.login, u.id, nodeID("User", u.id), "", api, base + "/" + u.login, api + "/repos", kind, false}
}

func userShapes(base string, users []*user) []*userJSON {
	list := []*userJSON{}
	for _, u := range users {
		list = append(list, userShape(base, u))
	}
	return list
}

func nodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d", kind, id))
}

// stamp is GitHub's form of a moment; the zero moment is null.
func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339)
	return &s
}

// orNull is s, or null if it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type repoJSON struct {
	ID              int64           `json:"id"`
	NodeID          string          `json:"node_id"`
	Name            string          `json:"name"`
	FullName        string          `json:"full_name"`
	Private         bool            `json:"private"`
	Visibility      string          `json:"visibility"`
	Owner           *userJSON       `json:"owner"`
	HTMLURL         string          `json:"html_url"`
	Description     *string         `json:"description"`
	Fork            bool            `json:"fork"`
	URL             string          `json:"url"`
	IssuesURL       string          `json:"issues_url"`
	PullsURL        string          `json:"pulls_url"`
	ContentsURL     string          `json:"contents_url"`
	CreatedAt       *string         `json:"created_at"`
	UpdatedAt       *string         `json:"updated_at"`
	PushedAt        *string         `json:"pushed_at"`
	StargazersCount int             `json:"stargazers_count"`
	ForksCount      int             `json:"forks_count"`
	OpenIssuesCount int             `json:"open_issues_count"`
	HasIssues       bool            `json:"has_issues"`
	Archived        bool            `json:"archived"`
	Disabled        bool            `json:"disabled"`
	DefaultBranch   string          `json:"default_branch"`
	Permissions     map[string]bool `json:"permissions,omitempty"`
	Parent          *repoJSON       `json:"parent,omitempty"`
}

func repoShape(v *visit, r *repo) *repoJSON {
	api := v.base + "/repos/" + r.fullName()
	visibility := "public"
	if r.private {
		visibility = "private"
	}
	j := &repoJSON{
		ID: r.id, NodeID: nodeID("Repository", r.id), Name: r.name, FullName: r.fullName(), Private: r.private, Visibility: visibility,
		Owner: userShape(v.base, r.owner), HTMLURL: v.base + "/" + r.fullName(), Description: orNull(r.description), Fork: r.parent != nil,
		URL: api, IssuesURL: api + "/issues{/number}", PullsURL: api + "/pulls{/number}", ContentsURL: api + "/contents/{+path}",
		CreatedAt: stamp(r.createdAt), UpdatedAt: stamp(r.updatedAt), PushedAt: stamp(r.pushedAt),
		HasIssues: true, DefaultBranch: r.defaultBranch,
	}
	for _, i := range r.issues {
		if !i.closed {
			j.OpenIssuesCount++
		}
	}
	if v.who.login != "" {
		p := r.permission(v.who.login)
		j.Permissions = map[string]bool{"admin": p >= Admin, "maintain": p >= Admin, "push": p >= Write, "triage": p >= Write, "pull": p >= Read}
	}
	return j
}

type labelJSON struct {
	ID          int64   `json:"id"`
	NodeID      string  `json:"node_id"`
	URL         string  `json:"url"`
	Name        string  `json:"name"`
	Color       string  `json:"color"`
	Default     bool    `json:"default"`
	Description *string `json:"description"`
}

func labelShapes(base string, i *issue) []labelJSON {
	list := []labelJSON{}
	for _, name := range i.labels {
		if l, there := i.repo.label(name); there {
			list = append(list, labelJSON{l.id, nodeID("Label", l.id), base + "/repos/" + i.repo.fullName() + "/labels/" + url.PathEscape(l.name), l.name, l.color, l.description != "", orNull(l.description)})
		}
	}
	return list
}

type issueJSON struct {
	ID                int64         `json:"id"`
	NodeID            string        `json:"node_id"`
	URL               string        `json:"url"`
	RepositoryURL     string        `json:"repository_url"`
	LabelsURL         string        `json:"labels_url"`
	CommentsURL       string        `json:"comments_url"`
	HTMLURL           string        `json:"html_url"`
	Number            int           `json:"number"`
	Title             string        `json:"title"`
	State             string        `json:"state"`
	StateReason       *string       `json:"state_reason"`
	Locked            bool          `json:"locked"`
	User              *userJSON     `json:"user"`
	AuthorAssociation string        `json:"author_association"`
	Labels            []labelJSON   `json:"labels"`
	Assignee          *userJSON     `json:"assignee"`
	Assignees         []*userJSON   `json:"assignees"`
	Milestone         *string       `json:"milestone"`
	Comments          int           `json:"comments"`
	CreatedAt         *string       `json:"created_at"`
	UpdatedAt         *string       `json:"updated_at"`
	ClosedAt          *string       `json:"closed_at"`
	ClosedBy          *userJSON     `json:"closed_by"`
	Body              *string       `json:"body"`
	PullRequest       *pullLinkJSON `json:"pull_request,omitempty"`
	Score             *float64      `json:"score,omitempty"` // in search results only
}

type pullLinkJSON struct {
	URL      string  `json:"url"`
	HTMLURL  string  `json:"html_url"`
	MergedAt *string `json:"merged_at"`
}

// htmlPath is where a person sees the issue or pull request.
func (i *issue) htmlPath() string {
	kind := "issues"
	if i.pull != nil {
		kind = "pull"
	}
	return fmt.Sprintf("/%s/%s/%d", i.repo.fullName(), kind, i.number)
}

func issueShape(base string, i *issue) *issueJSON {
	repoURL := base + "/repos/" + i.repo.fullName()
	self := fmt.Sprintf("%s/issues/%d", repoURL, i.number)
	j := &issueJSON{
		ID: i.id, NodeID: nodeID("Issue", i.id), URL: self, RepositoryURL: repoURL, LabelsURL: self + "/labels{/name}", CommentsURL: self + "/comments",
		HTMLURL: base + i.htmlPath(), Number: i.number, Title: i.title, State: i.state(), StateReason: orNull(i.stateReason),
		User: userShape(base, i.author), AuthorAssociation: i.repo.association(i.author), Labels: labelShapes(base, i),
		Assignees: userShapes(base, i.assignees), Comments: len(i.comments),
		CreatedAt: stamp(i.createdAt), UpdatedAt: stamp(i.updatedAt), ClosedAt: stamp(i.closedAt), ClosedBy: userShape(base, i.closedBy), Body: orNull(i.body),
	}
	if len(i.assignees) > 0 {
		j.Assignee = j.Assignees[0]
	}
	if i.pull != nil {
		j.PullRequest = &pullLinkJSON{fmt.Sprintf("%s/pulls/%d", repoURL, i.number), j.HTMLURL, stamp(i.pull.mergedAt)}
	}
	return j
}

type commentJSON struct {
	ID                int64     `json:"id"`
	NodeID            string    `json:"node_id"`
	URL               string    `json:"url"`
	HTMLURL           string    `json:"html_url"`
	IssueURL          string    `json:"issue_url"`
	User              *userJSON `json:"user"`
	AuthorAssociation string    `json:"author_association"`
	CreatedAt         *string   `json:"created_at"`
	UpdatedAt         *string   `json:"updated_at"`
	Body              string    `json:"body"`
}

func commentShape(base string, i *issue, c *comment) *commentJSON {
	repoURL := base + "/repos/" + i.repo.fullName()
	return &commentJSON{
		c.id, nodeID("IssueComment", c.id), fmt.Sprintf("%s/issues/comments/%d", repoURL, c.id), fmt.Sprintf("%s%s#issuecomment-%d", base, i.htmlPath(), c.id),
		fmt.Sprintf("%s/issues/%d", repoURL, i.number), userShape(base, c.author), i.repo.association(c.author), stamp(c.createdAt), stamp(c.createdAt), c.body,
	}
}
