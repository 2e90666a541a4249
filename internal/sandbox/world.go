package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// world is what the upstream holds. It knows neither tokens nor HTTP; the
// server's mutex guards it.
type world struct {
	users  []*user
	repos  []*repo
	lastID int64
}

type user struct {
	id           int64
	login        string
	name         string
	email        string
	organization bool
	createdAt    time.Time
}

// Permission is what a user may do to a repository. They are ordered.
type Permission int

// The permissions.
const (
	None Permission = iota
	Read
	Write
	Admin
)

type repo struct {
	id            int64
	owner         *user
	name          string
	description   string
	private       bool
	defaultBranch string
	members       map[string]Permission // by login
	parent        *repo                 // what this is a fork of
	labels        []label
	issues        []*issue           // an issue's number is its index plus one
	commits       map[string]*commit // by object id
	branches      map[string]*commit
	createdAt     time.Time
	updatedAt     time.Time
	pushedAt      time.Time
	releases      []*release
	formerly      []string // names that it bore
}

type label struct {
	id          int64
	name        string
	color       string
	description string
}

// issue is an issue or, with pull set, a pull request: they share numbers.
type issue struct {
	id          int64
	number      int
	repo        *repo
	title       string
	body        string
	author      *user
	labels      []string
	assignees   []*user
	closed      bool
	stateReason string
	comments    []*comment
	createdAt   time.Time
	updatedAt   time.Time
	closedAt    time.Time
	closedBy    *user
	pull        *pull
}

type comment struct {
	id        int64
	author    *user
	body      string
	createdAt time.Time
}

func (w *world) newID() int64 {
	w.lastID++
	return w.lastID
}

// user finds a user by login, which ignores case.
func (w *world) user(login string) *user {
	for _, u := range w.users {
		if strings.EqualFold(u.login, login) {
			return u
		}
	}
	return nil
}

// repo finds a repository by its full name, which ignores case.
func (w *world) repo(owner, name string) *repo {
	for _, r := range w.repos {
		if strings.EqualFold(r.owner.login, owner) && strings.EqualFold(r.name, name) {
			return r
		}
	}
	return nil
}

func (w *world) drop(r *repo) {
	w.repos = slices.DeleteFunc(w.repos, func(o *repo) bool { return o == r })
	for _, o := range w.repos {
		if o.parent == r {
			o.parent = nil
		}
	}
}

func (r *repo) fullName() string { return r.owner.login + "/" + r.name }

// permission is what the user with that login may do; "" is anonymous.
func (r *repo) permission(login string) Permission {
	p := None
	if !r.private {
		p = Read
	}
	if login == "" {
		return p
	}
	if strings.EqualFold(r.owner.login, login) {
		return Admin
	}
	return max(p, r.members[strings.ToLower(login)])
}

func (r *repo) issue(number int) *issue {
	if number < 1 || number > len(r.issues) {
		return nil
	}
	return r.issues[number-1]
}

// label finds a label by name, which ignores case.
func (r *repo) label(name string) (label, bool) {
	for _, l := range r.labels {
		if strings.EqualFold(l.name, name) {
			return l, true
		}
	}
	return label{}, false
}

// open adds an issue. With a pull it is a pull request.
func (w *world) open(r *repo, author *user, title, body string, p *pull, now time.Time) *issue {
	i := &issue{id: w.newID(), number: len(r.issues) + 1, repo: r, title: title, body: body, author: author, pull: p, createdAt: now, updatedAt: now}
	r.issues = append(r.issues, i)
	return i
}

func (w *world) comment(i *issue, author *user, body string, now time.Time) *comment {
	c := &comment{id: w.newID(), author: author, body: body, createdAt: now}
	i.comments = append(i.comments, c)
	i.updatedAt = now
	return c
}

// tag adds labels to an issue, making those that the repository lacks.
func (w *world) tag(i *issue, names []string) {
	for _, name := range names {
		l, there := i.repo.label(name)
		if !there {
			l = label{id: w.newID(), name: name, color: "ededed"}
			i.repo.labels = append(i.repo.labels, l)
		}
		if !slices.Contains(i.labels, l.name) {
			i.labels = append(i.labels, l.name)
		}
	}
}

// setClosed closes or reopens an issue.
func (i *issue) setClosed(closed bool, reason string, by *user, now time.Time) {
	if i.closed == closed {
		return
	}
	i.closed, i.updatedAt = closed, now
	if closed {
		if reason == "" {
			reason = "completed"
		}
		i.stateReason, i.closedAt, i.closedBy = reason, now, by
		return
	}
	i.stateReason, i.closedAt, i.closedBy = "reopened", time.Time{}, nil
}

func (i *issue) state() string {
	if i.closed {
		return "closed"
	}
	return "open"
}

// association is how GitHub calls the relation of an author to a repository.
func (r *repo) association(u *user) string {
	switch {
	case r.owner == u:
		return "OWNER"
	case r.owner.organization && r.members[strings.ToLower(u.login)] == Admin:
		return "MEMBER"
	case r.members[strings.ToLower(u.login)] >= Write:
		return "COLLABORATOR"
	}
	return "NONE"
}

// fork copies a repository's branches to another owner.
func (w *world) fork(of *repo, to *user, name string, now time.Time) *repo {
	f := w.addRepo(to, name, now)
	f.description, f.private, f.defaultBranch, f.parent = of.description, of.private, of.defaultBranch, of
	for sha, c := range of.commits {
		f.commits[sha] = c
	}
	for branch, c := range of.branches {
		f.branches[branch] = c
	}
	f.pushedAt = of.pushedAt
	return f
}

func (w *world) addRepo(owner *user, name string, now time.Time) *repo {
	r := &repo{
		id: w.newID(), owner: owner, name: name, defaultBranch: "main",
		members: map[string]Permission{}, commits: map[string]*commit{}, branches: map[string]*commit{},
		createdAt: now, updatedAt: now, pushedAt: now,
	}
	for _, l := range []label{
		{name: "bug", color: "d73a4a", description: "Something isn't working"},
		{name: "enhancement", color: "a2eeef", description: "New feature or request"},
		{name: "good first issue", color: "7057ff", description: "Good for newcomers"},
		{name: "question", color: "d876e3", description: "Further information is requested"},
	} {
		l.id = w.newID()
		r.labels = append(r.labels, l)
	}
	w.repos = append(w.repos, r)
	return r
}

// must finds a user whom a seed names.
func (w *world) must(login string) *user {
	u := w.user(login)
	if u == nil {
		panic(fmt.Sprintf("sandbox: the seed names the user %q, whom it does not list", login))
	}
	return u
}
