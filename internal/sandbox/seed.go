package sandbox

import (
	"maps"
	"strings"
	"time"
)

// Seed is the world at the start.
type Seed struct {
	Users        []User
	Repositories []Repository
}

// User is a person, or an organization that owns repositories and cannot
// sign in.
type User struct {
	ID           int64 // chosen by the server if 0
	Login        string
	Name         string
	Email        string
	Organization bool
}

// Repository starts with one commit on "main" that holds Files.
type Repository struct {
	Owner, Name   string
	Description   string
	Private       bool
	Collaborators map[string]Permission
	Files         map[string]string
	Issues        []Issue // numbered from 1 in this order
}

// Issue is an issue, or a pull request if Pull is set. Age is how long before
// the start it was opened.
type Issue struct {
	Title, Body string
	Author      string
	Labels      []string
	Assignees   []string
	Closed      bool
	Age         time.Duration
	Comments    []Comment
	Pull        *Pull
}

// Comment is a comment on an issue.
type Comment struct {
	Author, Body string
	Age          time.Duration
}

// Pull makes an issue a pull request: Branch holds the default branch with
// Files changed.
type Pull struct {
	Branch    string
	Files     map[string]string
	Reviewers []string
}

// DefaultSeed is the world that the demo shows: the user octocat, their bot
// hubot, a public and a private repository with something going on.
func DefaultSeed() Seed {
	const day = 24 * time.Hour
	return Seed{
		Users: []User{
			{ID: 583231, Login: "octocat", Name: "The Octocat", Email: "octocat@sandbox.test"},
			{ID: 480938, Login: "hubot", Name: "Hubot", Email: "hubot@sandbox.test"},
			{ID: 9919, Login: "octo", Name: "Octo Industries", Organization: true},
		},
		Repositories: []Repository{
			{
				Owner: "octocat", Name: "hello-world", Description: "My first repository on the sandbox",
				Files: map[string]string{
					"README.md":     "# Hello, world\n\nA greeting, in several languages.\n",
					"greet/main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello, world\") }\n",
				},
				Issues: []Issue{
					{
						Title: "Say hello in Portuguese", Author: "hubot", Labels: []string{"enhancement", "good first issue"}, Age: 6 * day,
						Body: "We greet in English only. \"Olá, mundo\" would be a start.\n\nThe greeting lives in `greet/main.go`.",
						Comments: []Comment{
							{"octocat", "Good idea. Anyone is welcome to take this one.", 5 * day},
						},
					},
					{
						Title: "README lacks a licence", Author: "octocat", Labels: []string{"question"}, Assignees: []string{"octocat"}, Age: 2 * day,
						Body: "People ask whether they may copy the greeting. Which licence do we want?",
					},
				},
			},
			{
				Owner: "octo", Name: "api", Description: "The API behind everything", Private: true,
				Collaborators: map[string]Permission{"octocat": Admin, "hubot": Write},
				Files: map[string]string{
					"README.md":        "# api\n\nInternal. Ask before you deploy on a Friday.\n",
					"server/limits.go": "package server\n\n// Requests per minute and key.\nconst limit = 60\n",
				},
				Issues: []Issue{
					{
						Title: "Login times out behind the new proxy", Author: "hubot", Labels: []string{"bug"}, Assignees: []string{"octocat"}, Age: 3 * day,
						Body: "Since Tuesday about one login in twenty ends in a 504.\n\nThe proxy closes idle connections after 30 s; the session store takes up to 40 s to wake.",
						Comments: []Comment{
							{"octocat", "I see it in the logs too: always the first request after a quiet minute.", 2 * day},
							{"hubot", "Proposal: wake the store on connect and answer 503 with Retry-After meanwhile.", 26 * time.Hour},
						},
					},
					{
						Title: "Document the rate limits", Author: "octocat", Labels: []string{"enhancement"}, Age: 30 * time.Hour,
						Body: "Customers guess. Sixty requests per minute and key, bursts of ten.",
					},
					{
						Title: "Raise the limit to 120 requests per minute", Author: "hubot", Age: 20 * time.Hour,
						Body: "As agreed with support. Needs a review before the release.",
						Pull: &Pull{
							Branch: "raise-limit", Reviewers: []string{"octocat"},
							Files: map[string]string{"server/limits.go": "package server\n\n// Requests per minute and key.\nconst limit = 120\n"},
						},
						Comments: []Comment{
							{"hubot", "Load test is green at 150.", 18 * time.Hour},
						},
					},
				},
			},
		},
	}
}

func newWorld(seed Seed, now time.Time) *world {
	w := &world{lastID: 1_000_000}
	born := now.Add(-365 * 24 * time.Hour)
	for _, u := range seed.Users {
		if u.ID == 0 {
			u.ID = w.newID()
		}
		w.users = append(w.users, &user{u.ID, u.Login, u.Name, u.Email, u.Organization, born})
	}
	for _, r := range seed.Repositories {
		w.plant(r, now)
	}
	return w
}

func (w *world) plant(seed Repository, now time.Time) {
	born := now.Add(-90 * 24 * time.Hour)
	r := w.addRepo(w.must(seed.Owner), seed.Name, born)
	r.description, r.private = seed.Description, seed.Private
	for login, p := range seed.Collaborators {
		r.members[strings.ToLower(w.must(login).login)] = p
	}
	files := map[string][]byte{}
	for path, text := range seed.Files {
		files[path] = []byte(text)
	}
	first := r.commit(r.owner, "Initial commit", files, born)
	r.branches[r.defaultBranch] = first
	for _, in := range seed.Issues {
		at := now.Add(-in.Age)
		author := w.must(in.Author)
		var p *pull
		if in.Pull != nil {
			changed := maps.Clone(files)
			for path, text := range in.Pull.Files {
				changed[path] = []byte(text)
			}
			r.branches[in.Pull.Branch] = r.commit(author, in.Title, changed, at, first)
			p = &pull{headRepo: r, headBranch: in.Pull.Branch, baseBranch: r.defaultBranch}
			for _, login := range in.Pull.Reviewers {
				p.reviewers = append(p.reviewers, w.must(login))
			}
		}
		i := w.open(r, author, in.Title, in.Body, p, at)
		w.tag(i, in.Labels)
		for _, login := range in.Assignees {
			i.assignees = append(i.assignees, w.must(login))
		}
		for _, c := range in.Comments {
			w.comment(i, w.must(c.Author), c.Body, now.Add(-c.Age))
		}
		i.setClosed(in.Closed, "", author, i.updatedAt)
	}
}
