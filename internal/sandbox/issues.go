package sandbox

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxTitle = 256
	maxText  = 65536
)

// issue finds the issue that the path names, in a repository to which the
// caller may do what is needed.
func (s *Server) issue(v *visit, n need) (*issue, *reply) {
	r, bad := s.repo(v, n)
	if bad != nil {
		return nil, bad
	}
	number, err := strconv.Atoi(v.r.PathValue("number"))
	i := r.issue(number)
	if err != nil || i == nil {
		p := notFound()
		return nil, &p
	}
	return i, nil
}

// listIssues is GET /repos/{owner}/{repo}/issues, pull requests included.
func (s *Server) listIssues(v *visit) reply {
	r, bad := s.repo(v, look)
	if bad != nil {
		return *bad
	}
	q := v.r.URL.Query()
	since, err := time.Parse(time.RFC3339, cmp.Or(q.Get("since"), time.Time{}.Format(time.RFC3339)))
	if err != nil {
		return invalid(fieldError{Resource: "Issue", Code: "invalid", Field: "since"})
	}
	state := cmp.Or(q.Get("state"), "open")
	if !slices.Contains([]string{"open", "closed", "all"}, state) {
		return invalid(fieldError{Resource: "Issue", Code: "invalid", Field: "state"})
	}
	var found []*issue
	for _, i := range r.issues {
		switch {
		case state != "all" && i.state() != state,
			i.updatedAt.Before(since),
			q.Get("creator") != "" && !strings.EqualFold(q.Get("creator"), i.author.login),
			q.Get("assignee") == "none" && len(i.assignees) > 0,
			q.Get("assignee") != "" && q.Get("assignee") != "none" && q.Get("assignee") != "*" && !names(i.assignees, q.Get("assignee")),
			q.Get("assignee") == "*" && len(i.assignees) == 0,
			!hasLabels(i, q.Get("labels")):
			continue
		}
		found = append(found, i)
	}
	sortIssues(found, q.Get("sort"), q.Get("direction"))
	shown, header := page(v, found)
	list := []*issueJSON{}
	for _, i := range shown {
		list = append(list, issueShape(v.base, i))
	}
	return reply{http.StatusOK, list, header}
}

// sortIssues puts the newest first unless asked otherwise.
func sortIssues(list []*issue, by, direction string) {
	slices.SortStableFunc(list, func(a, b *issue) int {
		c := 0
		switch by {
		case "updated":
			c = a.updatedAt.Compare(b.updatedAt)
		case "comments":
			c = cmp.Compare(len(a.comments), len(b.comments))
		}
		if c == 0 {
			c = cmp.Or(a.createdAt.Compare(b.createdAt), cmp.Compare(a.id, b.id))
		}
		if direction != "asc" {
			c = -c
		}
		return c
	})
}

func names(users []*user, login string) bool {
	return slices.ContainsFunc(users, func(u *user) bool { return strings.EqualFold(u.login, login) })
}

// hasLabels reports whether an issue carries every label of a comma list.
func hasLabels(i *issue, list string) bool {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name != "" && !slices.ContainsFunc(i.labels, func(l string) bool { return strings.EqualFold(l, name) }) {
			return false
		}
	}
	return true
}

// showIssue is GET /repos/{owner}/{repo}/issues/{number}.
func (s *Server) showIssue(v *visit) reply {
	i, bad := s.issue(v, look)
	if bad != nil {
		return *bad
	}
	return ok(issueShape(v.base, i))
}

// flaws says what is wrong with a title and a body; nil for what was not sent.
func flaws(resource string, title, body *string) []fieldError {
	var errs []fieldError
	switch {
	case title == nil:
	case strings.TrimSpace(*title) == "":
		errs = append(errs, fieldError{Resource: resource, Code: "missing_field", Field: "title"})
	case utf8.RuneCountInString(*title) > maxTitle:
		errs = append(errs, fieldError{Resource: resource, Code: "custom", Field: "title", Message: "title is too long (maximum is 256 characters)"})
	}
	if body != nil && utf8.RuneCountInString(*body) > maxText {
		errs = append(errs, fieldError{Resource: resource, Code: "custom", Field: "body", Message: "body is too long (maximum is 65536 characters)"})
	}
	return errs
}

// people turns logins into users; whoever does not exist is an error.
func (s *Server) people(logins []string) ([]*user, []fieldError) {
	list := []*user{}
	for _, login := range logins {
		u := s.world.user(login)
		if u == nil || u.organization {
			return nil, []fieldError{{Resource: "Issue", Code: "invalid", Field: "assignees"}}
		}
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list, nil
}

// createIssue is POST /repos/{owner}/{repo}/issues. Labels and assignees by
// somebody without push access are dropped in silence, as upstream.
func (s *Server) createIssue(v *visit) reply {
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
	labels, _ := f.list("labels")
	logins, _ := f.list("assignees")
	if f.bad != nil {
		return *f.bad
	}
	assignees, errs := s.people(logins)
	if errs = append(errs, flaws("Issue", &title, &body)...); len(errs) > 0 {
		return invalid(errs...)
	}
	i := s.world.open(r, s.world.user(v.who.login), title, body, nil, v.now)
	if r.permission(v.who.login) >= Write {
		s.world.tag(i, labels)
		i.assignees = assignees
	}
	j := issueShape(v.base, i)
	return reply{http.StatusCreated, j, http.Header{"Location": {j.URL}}}
}

// updateIssue is PATCH /repos/{owner}/{repo}/issues/{number}: what is not
// sent stays. On a pull request, closing closes that.
func (s *Server) updateIssue(v *visit) reply {
	i, bad := s.issue(v, speak)
	if bad != nil {
		return *bad
	}
	me := s.world.user(v.who.login)
	writes := i.repo.permission(me.login) >= Write
	if !writes && i.author != me {
		return failure(http.StatusForbidden, "Must have admin rights to Repository.")
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	title, hasTitle := f.text("title")
	body, hasBody := f.text("body")
	state, hasState := f.text("state")
	reason, _ := f.text("state_reason")
	labels, hasLabels := f.list("labels")
	logins, hasAssignees := f.list("assignees")
	if f.bad != nil {
		return *f.bad
	}
	assignees, errs := s.people(logins)
	if hasTitle {
		errs = append(errs, flaws("Issue", &title, nil)...)
	}
	errs = append(errs, flaws("Issue", nil, &body)...)
	if hasState && state != "open" && state != "closed" {
		errs = append(errs, fieldError{Resource: "Issue", Code: "invalid", Field: "state"})
	}
	if !slices.Contains([]string{"", "completed", "not_planned", "reopened", "duplicate"}, reason) {
		errs = append(errs, fieldError{Resource: "Issue", Code: "invalid", Field: "state_reason"})
	}
	if hasState && state == "open" && i.pull != nil && !i.pull.mergedAt.IsZero() {
		errs = append(errs, fieldError{Resource: "Issue", Code: "custom", Field: "state", Message: "state cannot be changed. The pull request cannot be reopened."})
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	if hasTitle {
		i.title = title
	}
	if hasBody {
		i.body = body
	}
	if hasLabels && writes {
		i.labels = nil
		s.world.tag(i, labels)
	}
	if hasAssignees && writes {
		i.assignees = assignees
	}
	i.updatedAt = v.now
	if hasState {
		i.setClosed(state == "closed", reason, me, v.now)
	}
	return ok(issueShape(v.base, i))
}

// listComments is GET …/issues/{number}/comments, oldest first.
func (s *Server) listComments(v *visit) reply {
	i, bad := s.issue(v, look)
	if bad != nil {
		return *bad
	}
	shown, header := page(v, i.comments)
	list := []*commentJSON{}
	for _, c := range shown {
		list = append(list, commentShape(v.base, i, c))
	}
	return reply{http.StatusOK, list, header}
}

// createComment is POST …/issues/{number}/comments, for pull requests too.
func (s *Server) createComment(v *visit) reply {
	i, bad := s.issue(v, speak)
	if bad != nil {
		return *bad
	}
	f, bad := v.object()
	if bad != nil {
		return *bad
	}
	body, _ := f.text("body")
	if f.bad != nil {
		return *f.bad
	}
	if strings.TrimSpace(body) == "" {
		return invalid(fieldError{Resource: "IssueComment", Code: "missing_field", Field: "body"})
	}
	if errs := flaws("IssueComment", nil, &body); errs != nil {
		return invalid(errs...)
	}
	c := s.world.comment(i, s.world.user(v.who.login), body, v.now)
	j := commentShape(v.base, i, c)
	return reply{http.StatusCreated, j, http.Header{"Location": {j.URL}}}
}

// addLabels is POST …/issues/{number}/labels. The body is {"labels": […]} or
// a bare array.
func (s *Server) addLabels(v *visit) reply {
	i, bad := s.issue(v, push)
	if bad != nil {
		return *bad
	}
	var labels []string
	if json.Unmarshal(v.body, &labels) != nil {
		f, bad := v.object()
		if bad != nil {
			return *bad
		}
		labels, _ = f.list("labels")
		if f.bad != nil {
			return *f.bad
		}
	}
	if len(labels) == 0 || slices.ContainsFunc(labels, func(l string) bool { return strings.TrimSpace(l) == "" || utf8.RuneCountInString(l) > 50 }) {
		return invalid(fieldError{Resource: "Label", Code: "missing_field", Field: "name"})
	}
	s.world.tag(i, labels)
	i.updatedAt = v.now
	return ok(labelShapes(v.base, i))
}
