package display

import (
	"regexp"
	"strings"
)

// A leading "=" is a path to zsh: =ls is /bin/ls.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+=:,./-]*$`)

// Shell writes words as a person may paste them into a POSIX shell or zsh, so
// that each arrives as it is. It does not make them fit for the screen; that is
// [VisibleText].
func Shell(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if !plainWord.MatchString(w) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
