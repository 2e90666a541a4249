package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/internal/display"
)

// command is a command to be pasted into a shell: this program, the words, and
// the flags by which the present command found its server. What came from the
// environment is still there.
func (r *run) command(words ...string) string {
	all := append([]string{program()}, words...)
	for _, f := range [][2]string{{"--server", r.Server}, {"--data", r.Data}, {"--config", r.Config}} {
		if f[1] != "" {
			all = append(all, f[0], f[1])
		}
	}
	return display.VisibleText(quoted(all))
}

// next says what to do next: the command stands on a line of its own, so that
// nothing breaks it and all of it is copied.
func (t *terminal) next(what, command string) {
	t.note("%s\n  %s", what, command)
}

// maybe is next where a person looks on.
func (t *terminal) maybe(what, command string) {
	if t.errTTY {
		t.next(what, command)
	}
}

// program is how this program was called, where that is a path: it may not be
// on the one that shells search.
func program() string {
	if called := os.Args[0]; filepath.Base(called) == "valetkey" && strings.ContainsRune(called, filepath.Separator) {
		return called
	}
	return "valetkey"
}

// command is one of the same agent.
func (c *asAgent) command(r *run, words ...string) string {
	for _, f := range [][2]string{{"--client-id", c.ClientID}, {"--key", c.Key}, {"--key-id", c.KeyID}, {"--address", c.Address}} {
		if f[1] != "" {
			words = append(words, f[0], f[1])
		}
	}
	if c.AllowHTTP {
		words = append(words, "--allow-http")
	}
	return r.command(words...)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted writes words for a POSIX shell, so that each arrives as it is.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if !plainWord.MatchString(w) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
