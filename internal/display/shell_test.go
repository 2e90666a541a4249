package display_test

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/display"
)

// What we tell people to paste arrives as it was meant, whatever is in it: the
// shells that there are, are asked.
func TestShell(t *testing.T) {
	words := []string{"plain", "", "two words", "it's", `"$HOME" $(id) ` + "`id`", "a;b&c|d>e", "*", "~", "#x", "\\", "äöü", "--x=y", "!h", "=ls", "=", "a=b", "-x"}
	for _, name := range []string{"sh", "bash", "zsh"} {
		shell, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.Command(shell, "-c", "printf '%s\\n' "+display.Shell(words...)).Output()
		if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); err != nil || strings.Join(got, "\n") != strings.Join(words, "\n") {
			t.Errorf("%s: %v: %q, want %q", name, err, got, words)
		}
	}
	// zsh may not be here to be asked: =ls is /bin/ls to it.
	if got := display.Shell("=ls", "a=b"); got != "'=ls' a=b" {
		t.Errorf("got %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.String().Draw(t, "word")
		q := display.Shell(w)
		if q != w && (!strings.HasPrefix(q, "'") || strings.Count(strings.ReplaceAll(q, `'\''`, ""), "'") != 2) {
			t.Fatalf("%q became %s", w, q)
		}
		if q == w && strings.ContainsAny(q, " \t\n;&|<>()$`\\\"'*?[]#~!{}^") {
			t.Fatalf("%q was left as it is", w)
		}
	})
}
