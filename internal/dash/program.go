package dash

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/internal/config"
)

// program is how a terminal of the reader starts us. On this machine that is
// this very program, by its path unless the shell finds it by its name; on
// another one it is called by its name, wherever it was put there.
func (s *Server) program() string {
	const name = "valetkey"
	if s.Program != "" {
		return quoted(s.Program)
	}
	here, err := os.Executable()
	if err != nil || !config.Loopback(s.base.Hostname()) {
		return name
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		found, err := os.Stat(filepath.Join(dir, name))
		if err != nil || found.IsDir() {
			continue
		}
		if me, err := os.Stat(here); err == nil && os.SameFile(found, me) {
			return name
		}
		break // the shell would start another one
	}
	return quoted(here)
}

// elsewhere are the flags by which a command line finds this server, with a
// space before them; none where it finds it anyway.
func (s *Server) elsewhere() string {
	if s.PublicURL == config.Default().PublicURL { // what it asks when it is told nothing
		return ""
	}
	return " --server " + quoted(strings.TrimSuffix(s.PublicURL, "/"))
}

// quoted is a word for a POSIX shell.
func quoted(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-:@%+=,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
