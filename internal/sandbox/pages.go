package sandbox

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/secret"
)

// pageCSP allows our own style sheet, the empty icon of our pages (without one
// browsers ask for /favicon.ico) and the one script that keeps an issue
// page fresh, and nothing else.
const pageCSP = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action "

var pageFuncs = template.FuncMap{
	"ago":     ago,
	"initial": func(login string) string { return strings.ToUpper(login[:1]) },
	"hue":     hue,
	"short":   func(s string) string { return s[:min(12, len(s))] },
	"text":    func(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") },
}

// hue picks one of eight colours for a name: inline styles are forbidden by
// our content policy, so colours are classes.
func hue(name string) string {
	n := 0
	for _, b := range []byte(name) {
		n += int(b)
	}
	return "hue" + strconv.Itoa(n%8)
}

// ago says in words how long before now a moment was.
func ago(at, now time.Time) string {
	plural := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit + " ago"
		}
		return strconv.Itoa(n) + " " + unit + "s ago"
	}
	switch d := now.Sub(at); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 24*time.Hour:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/(24*time.Hour)), "day")
	}
}

// show renders a page. formAction is the CSP source list for forms.
func (s *Server) show(w http.ResponseWriter, status int, name, formAction string, data any) {
	var buf bytes.Buffer
	if err := s.look.ExecuteTemplate(&buf, name, data); err != nil {
		panic(err) // our own templates over our own data
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pageCSP+formAction)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(buf.Bytes())
}

func (s *Server) asset(name, kind string) http.HandlerFunc {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded with the program
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(content)
	}
}

type problemView struct{ Title, Text string }

func (s *Server) problemPage(w http.ResponseWriter, status int, title, text string) {
	s.show(w, status, "problem.html", "'none'", problemView{title, text})
}

// noSuchPage answers people with a page and programs with GitHub's 404.
func (s *Server) noSuchPage(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.problemPage(w, http.StatusNotFound, "Nothing here", "There is no such page in the sandbox.")
		return
	}
	notFound().write(w, nil)
}

type consentView struct {
	Title    string
	Client   string
	Host     string
	Scopes   []scopeView
	Accounts []accountView
	Form     string
}

type scopeView struct{ Name, Meaning string }

type accountView struct {
	Login, Name string
	Chosen      bool
}

var scopeMeanings = map[string]string{
	"repo":        "Read and write all your repositories, private ones too",
	"public_repo": "Read and write your public repositories",
	"delete_repo": "Delete your repositories",
	"read:user":   "Read your profile",
	"user:email":  "Read your email address",
	"workflow":    "Change workflow files",
	"read:org":    "Read your organizations",
}

// consentPage asks which account the application may use. The one secret on
// it is the form's token: it is what a browser must send back.
func (s *Server) consentPage(w http.ResponseWriter, target *url.URL, form secret.Text, scopes []string, hint string) {
	view := consentView{Title: "Sign in to Sandbox", Client: s.clientName, Host: target.Host, Form: form.Reveal()}
	for _, name := range scopes {
		meaning := scopeMeanings[name]
		if meaning == "" {
			meaning = "A scope that the sandbox does not know"
		}
		view.Scopes = append(view.Scopes, scopeView{name, meaning})
	}
	for _, u := range s.world.users {
		if !u.organization {
			view.Accounts = append(view.Accounts, accountView{u.login, u.name, strings.EqualFold(u.login, hint)})
		}
	}
	if len(view.Accounts) > 0 && !slices.ContainsFunc(view.Accounts, func(a accountView) bool { return a.Chosen }) {
		view.Accounts[0].Chosen = true
	}
	// Browsers hold the redirect that answers a form against form-action, so
	// the application's origin must be in it.
	origin := target.Scheme + ":"
	if target.Host != "" && !strings.ContainsAny(target.Host, "[;, '") {
		origin += "//" + target.Host
	}
	s.show(w, http.StatusOK, "consent.html", "'self' "+origin, view)
}

type repoView struct {
	Title       string
	Name        string
	Description string
	Private     bool
	Open        int
	Issues      []issueView
}

type issueView struct {
	Title     string
	Repo      string
	Path      string
	Live      string
	Number    int
	Heading   string
	State     string // "open", "closed", "merged"
	IsPull    bool
	Head      string
	Base      string
	Author    string
	When      string
	Exact     string
	Labels    []string
	Assignees []string
	Comments  int
	Thread    []remarkView
}

type remarkView struct {
	ID     int64
	Author string
	Body   string
	When   string
	Exact  string
}

func (s *Server) homePage(w http.ResponseWriter, _ *http.Request) {
	view := struct {
		Title string
		Repos []repoView
	}{Title: "Sandbox"}
	for _, r := range s.world.repos {
		view.Repos = append(view.Repos, viewRepo(r, time.Now()))
	}
	s.show(w, http.StatusOK, "home.html", "'none'", view)
}

func viewRepo(r *repo, now time.Time) repoView {
	v := repoView{Title: r.fullName(), Name: r.fullName(), Description: r.description, Private: r.private}
	for _, i := range slices.Backward(r.issues) {
		v.Issues = append(v.Issues, viewIssue(i, now))
		if !i.closed {
			v.Open++
		}
	}
	return v
}

func (s *Server) repoPage(w http.ResponseWriter, r *http.Request) {
	repo := s.world.repo(r.PathValue("owner"), r.PathValue("repo"))
	if repo == nil {
		s.noSuchPage(w, r)
		return
	}
	s.show(w, http.StatusOK, "repo.html", "'none'", viewRepo(repo, time.Now()))
}

func viewIssue(i *issue, now time.Time) issueView {
	remark := func(id int64, u *user, body string, at time.Time) remarkView {
		return remarkView{id, u.login, body, ago(at, now), at.UTC().Format(time.RFC3339)}
	}
	number := strconv.Itoa(i.number)
	v := issueView{
		Title: i.title + " · #" + number, Repo: i.repo.fullName(), Path: i.htmlPath(), Live: "/_sandbox/live/" + i.repo.fullName() + "/" + number,
		Number: i.number, Heading: i.title, State: i.state(), IsPull: i.pull != nil, Author: i.author.login,
		When: ago(i.createdAt, now), Exact: i.createdAt.UTC().Format(time.RFC3339), Labels: i.labels, Comments: len(i.comments),
		Thread: []remarkView{remark(i.id, i.author, i.body, i.createdAt)},
	}
	if p := i.pull; p != nil {
		v.Head, v.Base = p.headRepo.owner.login+":"+p.headBranch, p.baseBranch
		if p.merge != nil {
			v.State = "merged"
		}
	}
	for _, u := range i.assignees {
		v.Assignees = append(v.Assignees, u.login)
	}
	for _, c := range i.comments {
		v.Thread = append(v.Thread, remark(c.id, c.author, c.body, c.createdAt))
	}
	return v
}

func (s *Server) issuePage(w http.ResponseWriter, r *http.Request) { s.showThread(w, r, "issue.html") }

// issueFragment is the part of an issue page that its script replaces.
func (s *Server) issueFragment(w http.ResponseWriter, r *http.Request) { s.showThread(w, r, "thread") }

func (s *Server) showThread(w http.ResponseWriter, r *http.Request, name string) {
	repo := s.world.repo(r.PathValue("owner"), r.PathValue("repo"))
	number, err := strconv.Atoi(r.PathValue("number"))
	if repo == nil || err != nil || repo.issue(number) == nil {
		s.noSuchPage(w, r)
		return
	}
	s.show(w, http.StatusOK, name, "'none'", viewIssue(repo.issue(number), time.Now()))
}

// ledgerPage is GET /_ledger: a page, or JSON for who accepts that.
func (s *Server) ledgerPage(w http.ResponseWriter, r *http.Request) {
	calls := slices.Clone(s.ledger.calls)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		if calls == nil {
			calls = []*Call{}
		}
		w.Header().Set("Cache-Control", "no-store")
		ok(calls).write(w, nil)
		return
	}
	slices.Reverse(calls)
	view := struct {
		Title string
		Total int
		Calls []*Call
		Now   time.Time
	}{"Ledger", len(calls), calls[:min(len(calls), 200)], time.Now()}
	s.show(w, http.StatusOK, "ledger.html", "'none'", view)
}
