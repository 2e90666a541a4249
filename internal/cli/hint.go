package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/display"
)

// operands are the words of a command that say on what. Many are names that
// somebody else has chosen.
type operands []string

// command is a command to be pasted into a shell: this program, what it is to
// do, on what, with which flags, and the flags by which the present command
// found its server. What came from the environment is still there.
func (r *run) command(do string, on operands, flags ...string) string {
	for _, f := range [][2]string{{"--server", r.Server}, {"--data", r.Data}, {"--config", r.Config}} {
		flags = append(flags, flag(f[0], f[1])...)
	}
	return pasted(do, on, flags...)
}

// pasted writes a command. An operand that looks like a flag stands behind what
// ends the flags, whoever chose it.
func pasted(do string, on operands, flags ...string) string {
	all := append([]string{program()}, strings.Fields(do)...)
	if slices.ContainsFunc(on, func(w string) bool { return strings.HasPrefix(w, "-") }) {
		all = append(append(all, flags...), "--")
		flags = nil
	}
	return display.VisibleText(display.Shell(append(append(all, on...), flags...)...))
}

// flag is a flag with its value, or nothing where that is empty. A value that
// looks like a flag is tied to its name.
func flag(name, value string) []string {
	switch {
	case value == "":
		return nil
	case strings.HasPrefix(value, "-"):
		return []string{name + "=" + value}
	}
	return []string{name, value}
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
func (c *asAgent) command(r *run, do string, on operands, flags ...string) string {
	for _, f := range [][2]string{{"--client-id", c.ClientID}, {"--key", c.Key}, {"--key-id", c.KeyID}, {"--address", c.Address}} {
		flags = append(flags, flag(f[0], f[1])...)
	}
	if c.AllowHTTP {
		flags = append(flags, "--allow-http")
	}
	return r.command(do, on, flags...)
}
