package sandbox

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// What other people do meanwhile: changes of the world that no call of the
// program under test made. They panic where the world has no such thing, which
// is a mistake of the test that asked.

// EditIssue gives an issue or pull request another title and text.
func (s *Server) EditIssue(fullName string, number int, title, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.mustRepo(fullName).issue(number)
	if i == nil {
		panic(fmt.Sprintf("sandbox: %s has no issue %d", fullName, number))
	}
	i.title, i.body, i.updatedAt = title, body, time.Now()
}

// CommentAs adds a comment of somebody else.
func (s *Server) CommentAs(login, fullName string, number int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.mustRepo(fullName).issue(number)
	if i == nil {
		panic(fmt.Sprintf("sandbox: %s has no issue %d", fullName, number))
	}
	s.world.comment(i, s.world.must(login), body, time.Now())
}

// PushTo adds a commit that changes one file to a branch, and returns its id.
func (s *Server) PushTo(fullName, branch, path, content string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	head := r.branches[branch]
	if head == nil {
		panic(fmt.Sprintf("sandbox: %s has no branch %s", fullName, branch))
	}
	files := maps.Clone(head.files)
	files[path] = []byte(content)
	now := time.Now()
	r.branches[branch] = r.commit(head.author, "Change "+path, files, now, head)
	r.pushedAt = now
	return r.branches[branch].sha
}

// Rename gives a repository another name. Its former one leads there, as
// upstream, until another repository takes it.
func (s *Server) Rename(fullName, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mustRepo(fullName)
	r.formerly = append(r.formerly, r.name)
	r.name, r.updatedAt = name, time.Now()
}

func (s *Server) mustRepo(fullName string) *repo {
	owner, name, _ := strings.Cut(fullName, "/")
	r := s.world.repo(owner, name)
	if r == nil {
		panic("sandbox: there is no repository " + fullName)
	}
	return r
}

// renamed finds the repository that bore a name.
func (w *world) renamed(owner, name string) *repo {
	for _, r := range w.repos {
		for _, former := range r.formerly {
			if strings.EqualFold(r.owner.login, owner) && strings.EqualFold(former, name) {
				return r
			}
		}
	}
	return nil
}
