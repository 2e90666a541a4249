package cli

import (
	"strings"
	"testing"
)

// A hint has the flags that the command had, and no others.
func TestCommandIsComplete(t *testing.T) {
	r := &run{terminal: &terminal{}}
	if got := r.command("agent list", nil); got != "valetkey agent list" {
		t.Errorf("got %s", got)
	}
	r.Server, r.Data, r.Config = "http://localhost:1", "/a dir", "c.yaml"
	if got, want := r.command("agent show", operands{"x y"}), "valetkey agent show 'x y' --server http://localhost:1 --data '/a dir' --config c.yaml"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.Data, r.Config = "", ""
	c := &asAgent{Key: "k.pem", ClientID: "triage", Address: "http://127.0.0.1:1", KeyID: "k1", AllowHTTP: true}
	if got, want := c.command(r, "call", operands{"act_1"}, "--await"), "valetkey call act_1 --await --client-id triage --key k.pem --key-id k1 --address http://127.0.0.1:1 --allow-http --server http://localhost:1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A name of somebody else's making neither runs nor drives the terminal.
	if got := r.command("grant add", operands{"x; rm -rf ~\x1b[2J"}); strings.Contains(got, "\x1b") || !strings.Contains(got, "'x; rm -rf ~") {
		t.Errorf("got %q", got)
	}
}

// A name that looks like a flag is none: what ends the flags stands before it,
// and a value is tied to its flag.
func TestCommandWithNamesLikeFlags(t *testing.T) {
	r := &run{terminal: &terminal{}, globals: globals{Server: "http://localhost:1"}}
	for _, c := range []struct{ got, want string }{
		{r.command("grant add", operands{"AGENT", "--server=http://evil"}, "--operation", "NAME"), "valetkey grant add --operation NAME --server http://localhost:1 -- AGENT --server=http://evil"},
		{r.command("unfreeze", operands{"user", "-h"}), "valetkey unfreeze --server http://localhost:1 -- user -h"},
		{r.command("unfreeze", operands{"user", "=ls"}), "valetkey unfreeze user '=ls' --server http://localhost:1"},
		{(&asAgent{ClientID: "-x"}).command(r, "call", nil, "--list"), "valetkey call --list --client-id=-x --server http://localhost:1"},
		{pasted("call", operands{"x"}, field("-f", "--field", "-y=1")...), "valetkey call x --field=-y=1"},
		{pasted("call", operands{"x"}, field("-f", "--field", "y=1")...), "valetkey call x -f y=1"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}
