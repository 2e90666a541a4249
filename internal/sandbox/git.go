package sandbox

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git names objects by SHA-1; nothing here relies on its strength
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// commit is one state of all files. It never changes once made, so
// repositories of one network share commits.
type commit struct {
	sha     string
	parents []*commit
	author  *user
	message string
	at      time.Time
	files   map[string][]byte
}

// blobID is the object id that git itself gives to these bytes.
func blobID(content []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// commit makes a commit known to the repository. It moves no branch. Its id
// has git's form, not git's value: trees are not modelled.
func (r *repo) commit(author *user, message string, files map[string][]byte, now time.Time, parents ...*commit) *commit {
	h := sha1.New() //nolint:gosec // see the import
	for _, p := range parents {
		fmt.Fprintf(h, "parent %s\n", p.sha)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %q\n", blobID(files[path]), path)
	}
	fmt.Fprintf(h, "author %d %d\n%s", author.id, now.UnixNano(), message)
	c := &commit{hex.EncodeToString(h.Sum(nil)), parents, author, message, now, files}
	r.commits[c.sha] = c
	return c
}

// mergeBase is the nearest commit that both have in their past, nil if none.
func mergeBase(a, b *commit) *commit {
	past := map[string]bool{}
	for queue := []*commit{a}; len(queue) > 0; queue = queue[1:] {
		if c := queue[0]; !past[c.sha] {
			past[c.sha] = true
			queue = append(queue, c.parents...)
		}
	}
	seen := map[string]bool{}
	for queue := []*commit{b}; len(queue) > 0; queue = queue[1:] {
		c := queue[0]
		if past[c.sha] {
			return c
		}
		if !seen[c.sha] {
			seen[c.sha] = true
			queue = append(queue, c.parents...)
		}
	}
	return nil
}

// ahead counts the commits of b that are not in a's past.
func ahead(a, b *commit) int {
	past := map[string]bool{}
	for queue := []*commit{a}; len(queue) > 0; queue = queue[1:] {
		if c := queue[0]; !past[c.sha] {
			past[c.sha] = true
			queue = append(queue, c.parents...)
		}
	}
	n := 0
	for queue := []*commit{b}; len(queue) > 0; queue = queue[1:] {
		if c := queue[0]; !past[c.sha] {
			past[c.sha] = true
			n++
			queue = append(queue, c.parents...)
		}
	}
	return n
}

// changed lists the paths that differ between two commits.
func changed(from, to *commit) []string {
	var paths []string
	for path, content := range to.files {
		if old, there := from.files[path]; !there || !bytes.Equal(old, content) {
			paths = append(paths, path)
		}
	}
	for path := range from.files {
		if _, there := to.files[path]; !there {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// merged joins head into base file by file. It fails where both changed one
// file since they parted: this git knows no merge inside of files.
func merged(base, head *commit) (map[string][]byte, bool) {
	from := mergeBase(base, head)
	if from == nil {
		return nil, false
	}
	files := maps.Clone(base.files)
	theirs := changed(from, base)
	for _, path := range changed(from, head) {
		content, there := head.files[path]
		now, still := base.files[path]
		same := there == still && bytes.Equal(content, now)
		if slices.Contains(theirs, path) && !same {
			return nil, false
		}
		if there {
			files[path] = content
		} else {
			delete(files, path)
		}
	}
	return files, true
}

// lines counts lines added and removed, by content and not by place.
func lines(from, to *commit) (added, removed int) {
	for _, path := range changed(from, to) {
		balance := map[string]int{}
		for line := range strings.Lines(string(to.files[path])) {
			balance[line]++
		}
		for line := range strings.Lines(string(from.files[path])) {
			balance[line]--
		}
		for _, n := range balance {
			added += max(n, 0)
			removed += max(-n, 0)
		}
	}
	return added, removed
}

// validBranch keeps git's rules for names of branches, the part that matters:
// git-check-ref-format(1).
func validBranch(name string) bool {
	if name == "" || len(name) > 244 || name == "@" || strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return false
	}
	for _, r := range name {
		if r < 0x20 {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// validPath accepts what may name a file in a tree.
func validPath(path string) bool {
	if path == "" || strings.ContainsRune(path, 0) {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return false
		}
	}
	return true
}
