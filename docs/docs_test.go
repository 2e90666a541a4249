package docs_test

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/policy"
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
