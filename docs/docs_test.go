package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider/catalog"
)

// page is one document.
type page struct {
	file string // from the root of the repository
	text string
}

const root = ".."

func pages(t *testing.T) []page {
	t.Helper()
	files := []string{"SECURITY.md"}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(file, ".md") {
			files = append(files, filepath.Join("docs", file))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []page
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page{f, string(b)})
	}
	if len(out) < 10 {
		t.Fatalf("only %d pages: this test looks at the wrong place", len(out))
	}
	return out
}

var fence = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")

// blocks are the fenced blocks of a page in one language.
func (p page) blocks(language string) []string {
	var out []string
	for _, m := range fence.FindAllStringSubmatch(p.text, -1) {
		if m[1] == language {
			out = append(out, m[2])
		}
	}
	return out
}

// Every rule that we show can be saved as it stands, and speaks of operations
// that exist.
func TestCedar(t *testing.T) {
	specs, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, s := range specs {
		known = append(known, s.Names()...)
	}
	n := 0
	for _, p := range pages(t) {
		for _, text := range p.blocks("cedar") {
			n++
			for _, problem := range policy.Check(text) {
				t.Errorf("%s: %s in\n%s", p.file, problem, text)
			}
			for _, problem := range policy.CheckOperations(text, known) {
				t.Errorf("%s: %s in\n%s", p.file, problem, text)
			}
		}
	}
	if n == 0 {
		t.Error("there are no rules to check")
	}
}

// Every command that we show exists, with the flags that it is given.
func TestCommands(t *testing.T) {
	help := func(path ...string) (string, bool) {
		var out bytes.Buffer
		code := cli.Run(context.Background(), append(slices.Clone(path), "--help"), func(string) string { return "" }, strings.NewReader(""), &out, &out)
		return out.String(), code == 0
	}
	n := 0
	for _, p := range pages(t) {
		for _, block := range p.blocks("sh") {
			for line := range strings.Lines(block) {
				words := strings.Fields(line)
				if len(words) < 2 || words[0] != "valetkey" {
					continue
				}
				n++
				path, text := words[1:2], ""
				ok := false
				if len(words) > 2 && !strings.HasPrefix(words[2], "-") {
					if text, ok = help(words[1:3]...); ok {
						path = words[1:3]
					}
				}
				if !ok {
					text, ok = help(path...)
				}
				if !ok {
					t.Errorf("%s: there is no command %q", p.file, strings.Join(path, " "))
					continue
				}
				for _, w := range words[2:] {
					if strings.HasPrefix(w, "-") && !regexp.MustCompile(`(^|[\s,])`+regexp.QuoteMeta(w)+`($|[\s,=])`).MatchString(text) {
						t.Errorf("%s: %q has no flag %s", p.file, strings.Join(path, " "), w)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Error("there are no commands to check")
	}
}

// The agent in the shell, as it stands on its page, against a running server.
func TestAgentScript(t *testing.T) {
	for _, tool := range []string{"sh", "openssl", "curl", "sed", "awk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing", tool)
		}
	}
	all := pages(t)
	guide := all[slices.IndexFunc(all, func(p page) bool { return p.file == filepath.Join("docs", "agents.md") })]
	block := func(mark string) string {
		for _, b := range guide.blocks("sh") {
			if strings.Contains(b, mark) {
				return b
			}
		}
		t.Fatalf("agents.md has no block with %q", mark)
		return ""
	}
	w := vktest.New(t)
	mira := w.Person("mira")
	con := w.Link(mira, "octocat")
	issuer, dir, drafts := strings.TrimSuffix(w.URL, "/"), t.TempDir(), t.TempDir()
	run := func(script string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "sh", "-c", "set -e\n"+script)
		c.Dir, c.Env = dir, append(os.Environ(), "ISSUER="+issuer, "USER_ID="+string(mira.User), "TMPDIR="+drafts)
		var out, trouble bytes.Buffer
		c.Stdout, c.Stderr = &out, &trouble
		if err := c.Run(); err != nil {
			t.Fatalf("%v\n%s%s", err, out.String(), trouble.String())
		}
		return out.String()
	}
	register := func(name, file string) *agent.Agent {
		t.Helper()
		public, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		a, _, err := w.App.Agents.Register(t.Context(), agent.Registration{Name: name, Owner: mira.User, Key: public}, now,
			func(verb, object string, data map[string]string) audit.Event {
				return mira.Event(verb, object, mira.User, now, data)
			})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}

	run(strings.ReplaceAll(block("openssl genpkey"), "valetkey agent add", "true"))
	bot := register("triage", "triage.pub")
	w.Grant(mira, bot, con, grant.Broker, []string{"github.issues.*"}, []string{"octo/api"})
	script := block("# agent.sh")
	approved := make(chan error, 1)
	go func() { approved <- approveNext(w, mira) }()
	out := run(script)
	if err := <-approved; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"status":200`, `"state":"succeeded"`, "Looking into it."} {
		if !strings.Contains(out, want) {
			t.Errorf("the agent did not print %s:\n%s", want, out)
		}
	}
	if n := w.Sandbox.Count("POST", "/repos/octo/api/issues/1/comments"); n != 1 {
		t.Errorf("%d comments, want 1", n)
	}

	functions, _, _ := strings.Cut(script, "TOKEN=$(token)")
	w.Grant(mira, bot, con, grant.Vend, []string{"*"}, nil)
	if out := run(functions + block("exchange()") + "exchange"); !strings.Contains(out, `"token_type":"Bearer"`) || !strings.Contains(out, `"scope":"`) {
		t.Error("the exchange brought no token")
	}

	for kind, options := range map[string]string{
		"rsa": "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "ed25519": "-algorithm ED25519", "p256": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
	} {
		run(fmt.Sprintf("umask 077\nopenssl genpkey %s -out %s.pem 2>/dev/null\nopenssl pkey -in %[2]s.pem -pubout -out %[2]s.pub", options, kind))
		register(kind, kind+".pub")
		for range 4 { // a short number of ECDSA needs its zeros
			if out := run("AGENT=" + kind + " KEY=" + kind + ".pem\n" + functions + "token"); !strings.HasPrefix(out, "vka_") {
				t.Errorf("a key of kind %s brought no token", kind)
			}
		}
		// The shell has seen the public half, and what was signed lies nowhere.
		spy := `openssl() { command openssl "$@" | tee -a seen; }` + "\nKEY=" + kind + ".pem\n" + functions + "\ncat seen; rm seen"
		if out := run(spy); strings.Contains(strings.ToLower(out), "priv") || !strings.Contains(strings.ToLower(out), "public") {
			t.Errorf("the private key of kind %s went through the shell", kind)
		}
	}
	if left, err := os.ReadDir(drafts); err != nil || len(left) > 0 {
		t.Errorf("drafts were left behind: %v, %v", left, err)
	}
}

// approveNext answers the next question that is open, as its page would.
func approveNext(w *vktest.World, p user.Principal) error {
	woken, leave := w.App.Broker.Watch()
	defer leave()
	for {
		ctx := context.Background()
		open, err := w.App.Broker.Inbox(ctx, p, approval.Open, time.Time{}, 1)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			_, err := w.App.Broker.Decide(ctx, p, open[0].Approval.ID, broker.Verdict{
				Answer: approval.Yes, Seen: open[0].Action.Effect, Level: approval.Approve, Channel: "web",
			}, time.Now())
			return err
		}
		select {
		case <-woken:
		case <-time.After(20 * time.Second):
			return context.DeadlineExceeded
		}
	}
}

var named = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")

// A test that we point to exists.
func TestNamedTests(t *testing.T) {
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && file != root):
			return filepath.SkipDir
		case !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		pkg := strings.TrimSuffix(f.Name.Name, "_test")
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(b, -1) {
			have[pkg+"."+string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(p.text, -1) {
			n++
			if !have[m[1]+"."+m[2]] {
				t.Errorf("%s: there is no test %s.%s", p.file, m[1], m[2])
			}
		}
	}
	if n == 0 {
		t.Error("no tests are named")
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]*))?\)`)

// A link inside of the repository leads somewhere.
func TestLinks(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			to, section := m[1], m[2]
			if strings.Contains(to, "://") {
				continue
			}
			file := filepath.Join(root, p.file)
			if to != "" {
				file = filepath.Join(filepath.Dir(file), to)
			}
			b, err := os.ReadFile(file)
			if info, dir := os.Stat(file); err != nil && (dir != nil || !info.IsDir()) {
				t.Errorf("%s: %s leads nowhere", p.file, to)
				continue
			}
			if section != "" && !slices.Contains(anchors(string(b)), section) {
				t.Errorf("%s: %s has no section %s", p.file, to, section)
			}
		}
	}
}

// anchors are the sections of a page, as links name them.
func anchors(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		words := strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_':
				return r
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.ToLower(m[1]))
		out = append(out, words)
	}
	return out
}

// The table of dependencies is that of go.mod.
func TestDependencies(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\t([a-z]\S+) v\S+$`).FindAllSubmatch(mod, -1) {
		want = append(want, string(m[1]))
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(doc, -1) {
		got = append(got, string(m[1]))
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("docs/dependencies.md has no reason for %s", w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("docs/dependencies.md has %s, which go.mod does not", g)
		}
	}
}
