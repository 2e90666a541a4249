package dash_test

import (
	"fmt"
	"os"
	shell "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider/catalog"
)

// A link that brought somebody in tells them so when they open it again, and
// leads on; nobody else learns more than before.
func TestUsedLinkWhileLoggedIn(t *testing.T) {
	s := newSite(t)
	_, link, err := s.App.Users.CreateFirst(t.Context(), "owner", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v := s.stranger()
	v.enrol(link, "Mira Koch")
	got := v.get("/enrol/" + link.Reveal())
	if got.code != 409 || !strings.Contains(got.body, "You are already in") || !strings.Contains(got.body, "Mira Koch") || !strings.Contains(got.body, `href="/">`) {
		t.Errorf("the one whom it brought in: %d", got.code)
	}
	if got := s.stranger().get("/enrol/" + link.Reveal()); got.code != 409 || strings.Contains(got.body, "already in") || strings.Contains(got.body, "Mira") {
		t.Errorf("somebody else: %d", got.code)
	}
}

// An account at a sandbox that was started again since is not connected any
// more, and no page says that it is.
func TestForgottenSandbox(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	s.Link(v.who, "octocat")
	if page := v.get("/welcome").body; !strings.Contains(page, "octocat on Sandbox</bdi></span> is connected") && !strings.Contains(page, "is connected.") {
		t.Fatal("an account is connected, and the page does not say so")
	}
	s.dash.Restarted()
	page := v.get("/welcome").body
	if strings.Contains(page, "is connected.") || !strings.Contains(page, "is forgotten there") || !strings.Contains(page, "/reconnect") {
		t.Error("the page ticks an account that the sandbox has forgotten")
	}
	if page := v.get("/connections").body; !strings.Contains(page, "does not know this login any more") || !strings.Contains(page, "/reconnect") {
		t.Error("the connection is shown as one that works")
	}
}

// So is one whose tokens its provider takes no more.
func TestLostAccount(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	con := s.Link(v.who, "octocat")
	s.lose(con)
	if page := v.get("/welcome").body; strings.Contains(page, "is connected.") || !strings.Contains(page, "is not accepted there any more") {
		t.Error("the page ticks an account that has to be connected again")
	}
}

// What to paste works as it stands: it is a shell's, stops at the first step
// that fails, finds a server that is elsewhere, and keeps keys out of the
// server's own directory.
func TestSnippets(t *testing.T) {
	s := newSite(t)
	s.dash.Program = "/opt/my tools/valetkey"
	for _, c := range s.dash.SnippetsFor("github", &dash.AccountRef{Sandbox: true}) {
		if !strings.HasPrefix(c.Code, "'/opt/my tools/valetkey' login --server "+s.base+" &&\n") {
			t.Errorf("%s begins %.80s", c.ID, c.Code)
		}
		for _, line := range strings.Split(c.Code, "\n") {
			if strings.Contains(line, "agent add") && (!strings.Contains(line, "--server "+s.base) || strings.Contains(line, "~/.config/valetkey/")) {
				t.Errorf("%s: %s", c.ID, line)
			}
		}
	}
	s.dash.Program = "false" // whatever it is asked, it fails
	for _, c := range s.dash.SnippetsFor("github", nil) {
		dir := t.TempDir()
		sh := shell.Command("sh", "-c", c.Code)
		sh.Dir, sh.Env = dir, []string{"HOME=" + dir, "PATH=/usr/bin:/bin"}
		if out, err := sh.CombinedOutput(); err == nil || len(out) > 0 {
			t.Errorf("%s: %v, %s", c.ID, err, out)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s goes on after a step that failed: %v", c.ID, left)
		}
	}
	s.dash.Program = "true"
	dir := t.TempDir()
	for _, c := range s.dash.SnippetsFor("github", nil) {
		sh := shell.Command("sh", "-c", c.Code)
		sh.Dir, sh.Env = dir, []string{"HOME=" + dir, "PATH=/usr/bin:/bin"}
		if out, err := sh.CombinedOutput(); err != nil {
			t.Errorf("%s: %v, %s", c.ID, err, out)
		}
	}
	for _, name := range []string{"CLAUDE.md", "valet.py"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), "true call ") {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
	}
	for word, want := range map[string]string{"": "''", "a/b-c_d.e": "a/b-c_d.e", "it's": `'it'\''s'`, "~/x": "'~/x'", "a b": "'a b'", "$(x)": "'$(x)'"} {
		if got := dash.Quoted(word); got != want {
			t.Errorf("%q is quoted %s", word, got)
		}
	}
}

// The words about a pasted token name every right that an operation of the
// catalogue needs.
func TestTokenRights(t *testing.T) {
	all, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	spec := all["github"]
	said := strings.ToLower(fmt.Sprint(dash.GithubRights))
	for _, op := range spec.Operations {
		for _, p := range op.Permissions {
			area, level, _ := strings.Cut(p, ":")
			if !strings.Contains(said, strings.ReplaceAll(area, "_", " ")) || !strings.Contains(said, level) {
				t.Errorf("%s needs %s, and nobody is told", op.Name, p)
			}
		}
		for _, scope := range op.Scopes {
			if scope != "public_repo" && !strings.Contains(said, scope) { // part of repo
				t.Errorf("%s needs the scope %s, and nobody is told", op.Name, scope)
			}
		}
	}
	n := 0
	for _, area := range dash.Areas(spec) {
		n += len(area.Operations)
		for _, op := range area.Operations {
			if !strings.HasPrefix(op.ID, strings.TrimSuffix(area.Pattern, "*")) {
				t.Errorf("%s is in %s", op.ID, area.Pattern)
			}
		}
	}
	if n != len(spec.Names()) {
		t.Errorf("%d operations can be chosen, %d are granted", n, len(spec.Names()))
	}
}

// The sandbox is offered first to who has nothing, and last to who looks for an
// account of theirs.
func TestOrderOfProviders(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	where := func(path string) (sandbox, other int) {
		page := v.get(path).body
		return strings.Index(page, "<h3><bdi class=\"txt\" dir=\"ltr\">Sandbox"), strings.Index(page, "<h3><bdi class=\"txt\" dir=\"ltr\">GitHub App")
	}
	if sandbox, other := where("/connections"); sandbox < 0 || other < sandbox {
		t.Errorf("with nothing connected the sandbox is at %d, the other at %d", sandbox, other)
	}
	s.Link(v.who, "octocat")
	if sandbox, other := where("/connections"); other < 0 || sandbox < other {
		t.Errorf("with something connected the sandbox is at %d, the other at %d", sandbox, other)
	}
	if sandbox, _ := where("/welcome"); sandbox >= 0 {
		t.Error("the sandbox is offered as a real account")
	}
	page := v.get("/connections").body
	if !strings.Contains(page, s.base+"/connect/github_app/callback</pre>") {
		t.Error("the callback URL does not stand alone, to be copied")
	}
}

// lose is what a provider does that takes a connection's tokens no more.
func (s *site) lose(con *vault.Connection) {
	s.t.Helper()
	err := s.App.DB.Connections().UpdateConnection(s.t.Context(), con.Org, con.ID, lost)
	if err != nil {
		s.t.Fatal(err)
	}
}

func lost(c *vault.Connection) ([]audit.Event, error) {
	c.Status, c.Why = vault.NeedsReauth, "The provider no longer accepts the stored grant."
	return nil, nil
}
