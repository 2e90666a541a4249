package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// visit is one API call: who asks, when, and with which body.
type visit struct {
	r    *http.Request
	body []byte
	now  time.Time
	base string // scheme and host by which we were called; links are built on it
	who  caller
}

// caller is what a request's credential says about who sends it.
type caller struct {
	login  string   // "" is anonymous
	scopes []string // what the token is limited to
	bound  bool     // whether scopes limit it at all
	bad    bool     // a credential was sent and is worth nothing
}

// may reports whether the token's scopes allow what needs one of the given.
func (c caller) may(scopes ...string) bool {
	return !c.bound || slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(c.scopes, s) })
}

func (s *Server) visit(r *http.Request) *visit {
	body, _ := io.ReadAll(r.Body) // in memory: receive has read it
	now := time.Now()
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return &visit{r: r, body: body, now: now, base: scheme + r.Host, who: s.authority.caller(r.Header, now)}
}

// call adapts an API handler: authenticate, do, encode.
func (s *Server) call(do func(*visit) reply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(r)
		h := w.Header()
		h.Set("X-GitHub-Media-Type", "github.v3; format=json")
		h.Set("X-GitHub-Request-Id", requestID())
		if v.who.login != "" {
			h.Set("X-OAuth-Scopes", strings.Join(v.who.scopes, ", "))
		}
		switch {
		case r.UserAgent() == "":
			failure(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header").write(w, r)
		case v.who.bad:
			failure(http.StatusUnauthorized, "Bad credentials").write(w, r)
		default:
			do(v).write(w, r)
		}
	})
}

func requestID() string {
	var b [10]byte
	rand.Read(b[:])
	return fmt.Sprintf("%04X:%04X:%X", b[:2], b[2:4], b[4:])
}

// fields is a JSON object taken apart. Names match exactly, as they do
// upstream; encoding/json alone would let "Title" pass for "title".
type fields struct {
	members map[string]json.RawMessage
	bad     *reply // the first member of a wrong type
}

// object reads the body as a JSON object. An empty body is an empty object:
// merging and forking take one.
func (v *visit) object() (*fields, *reply) {
	f := &fields{members: map[string]json.RawMessage{}}
	trimmed := bytes.TrimSpace(v.body)
	if len(trimmed) == 0 {
		return f, nil
	}
	if !json.Valid(trimmed) {
		p := failure(http.StatusBadRequest, "Problems parsing JSON")
		return nil, &p
	}
	if err := json.Unmarshal(trimmed, &f.members); err != nil || f.members == nil {
		p := failure(http.StatusBadRequest, "Body should be a JSON object")
		return nil, &p
	}
	return f, nil
}

// read decodes one member into *T; has is false if it is absent or null.
func read[T any](f *fields, name, kind string) (value T, has bool) {
	raw, there := f.members[name]
	if !there || string(raw) == "null" {
		return value, false
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		if f.bad == nil {
			p := failure(http.StatusUnprocessableEntity, fmt.Sprintf("Invalid request.\n\nFor 'properties/%s', %.40s is not a %s.", name, raw, kind))
			f.bad = &p
		}
		var zero T
		return zero, false
	}
	return value, true
}

func (f *fields) text(name string) (string, bool) { return read[string](f, name, "string") }
func (f *fields) flag(name string) (bool, bool)   { return read[bool](f, name, "boolean") }
func (f *fields) list(name string) ([]string, bool) {
	return read[[]string](f, name, "array of strings")
}

// need is what a call must be allowed to do to a repository.
type need int

const (
	look   need = iota // see it
	speak              // open issues, comment, fork: anybody who is signed in and sees it
	push               // change labels, contents, refs; merge
	govern             // delete it
)

// repo finds the repository that the path names, for a caller who may do what
// is needed. What a caller may not see does not exist: 404, never 403.
func (s *Server) repo(v *visit, n need) (*repo, *reply) {
	r := s.world.repo(v.r.PathValue("owner"), v.r.PathValue("repo"))
	if to := s.world.renamed(v.r.PathValue("owner"), v.r.PathValue("repo")); r == nil && to != nil && s.sees(v.who, to) {
		p := failure(http.StatusMovedPermanently, "Moved Permanently")
		p.header = http.Header{"Location": {fmt.Sprintf("%s/repositories/%d", v.base, to.id)}}
		return nil, &p
	}
	if r == nil || !s.sees(v.who, r) {
		p := notFound()
		return nil, &p
	}
	var refused string
	status := http.StatusForbidden
	has := r.permission(v.who.login)
	switch {
	case n == look:
	case v.who.login == "":
		status, refused = http.StatusUnauthorized, "Requires authentication"
	case !v.who.may("repo") && (r.private || !v.who.may("public_repo")):
		refused = "Resource not accessible by this token: it lacks the scope \"repo\""
	case n == push && has < Write:
		refused = "Must have push access to the repository."
	case n == govern && has < Admin, n == govern && !v.who.may("delete_repo"):
		refused = "Must have admin rights to Repository."
	}
	if refused != "" {
		p := failure(status, refused)
		p.header = http.Header{"X-Accepted-Oauth-Scopes": {acceptedScopes(n)}}
		return nil, &p
	}
	return r, nil
}

func acceptedScopes(n need) string {
	if n == govern {
		return "delete_repo"
	}
	return "public_repo, repo"
}

// sees reports whether a caller may know that the repository exists.
func (s *Server) sees(c caller, r *repo) bool {
	return !r.private || r.permission(c.login) >= Read && c.may("repo")
}
