package cli

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What we tell people to paste arrives as it was meant, whatever is in it: a
// shell is asked.
func TestQuoted(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh here")
	}
	words := []string{"plain", "", "two words", "it's", `"$HOME" $(id) ` + "`id`", "a;b&c|d>e", "*", "~", "#x", "\\", "äöü", "--x=y", "!h"}
	out, err := exec.Command(sh, "-c", "printf '%s\\n' "+quoted(words)).Output()
	if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); err != nil || strings.Join(got, "\n") != strings.Join(words, "\n") {
		t.Errorf("%v: %q, want %q", err, got, words)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.String().Draw(t, "word")
		q := quoted([]string{w})
		if !plainWord.MatchString(w) && (!strings.HasPrefix(q, "'") || strings.Count(strings.ReplaceAll(q, `'\''`, ""), "'") != 2) {
			t.Fatalf("%q became %s", w, q)
		}
	})
}

// A hint has the flags that the command had, and no others.
func TestCommandIsComplete(t *testing.T) {
	r := &run{terminal: &terminal{}}
	if got := r.command("agent", "list"); got != "valetkey agent list" {
		t.Errorf("got %s", got)
	}
	r.Server, r.Data, r.Config = "http://localhost:1", "/a dir", "c.yaml"
	if got, want := r.command("agent", "show", "x y"), "valetkey agent show 'x y' --server http://localhost:1 --data '/a dir' --config c.yaml"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.Data, r.Config = "", ""
	c := &asAgent{Key: "k.pem", ClientID: "triage", Address: "http://127.0.0.1:1", KeyID: "k1", AllowHTTP: true}
	if got, want := c.command(r, "call", "act_1", "--await"), "valetkey call act_1 --await --client-id triage --key k.pem --key-id k1 --address http://127.0.0.1:1 --allow-http --server http://localhost:1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A name of somebody else's making neither runs nor drives the terminal.
	if got := r.command("grant", "add", "x; rm -rf ~\x1b[2J"); strings.Contains(got, "\x1b") || !strings.Contains(got, "'x; rm -rf ~") {
		t.Errorf("got %q", got)
	}
}
