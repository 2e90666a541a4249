package arch_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/valetkey/valetkey/"

// tiers is the map of the house: a package imports only packages of lower
// tiers, so that packages of one tier do not see each other. See
// docs/architecture.md.
var tiers = map[string]int{
	// 0 words
	"secret": 0, "api": 0, "internal/id": 0, "internal/fault": 0, "internal/arch": 0,
	// 1 matter
	"internal/jwt": 1, "internal/audit": 1, "internal/seal": 1, "internal/egress": 1, "internal/config": 1, "internal/display": 1, "internal/oidc": 1,
	"provider": 1, "client": 1,
	// 2 holdings
	"internal/action": 2, "internal/agent": 2, "internal/user": 2, "internal/grant": 2, "internal/freeze": 2, "internal/vault": 2,
	"provider/catalog": 2, "provider/providertest": 2, "internal/jwt/jwttest": 2, "internal/oidc/oidctest": 2,
	// 3 judgement, and the flow that links an account
	"internal/policy": 3, "internal/risk": 3, "internal/approval": 3, "internal/connect": 3, "internal/proposal": 3,
	// 4 the road, and what people change
	"internal/broker": 4, "internal/manage": 4,
	// 5 edges and adapters
	"internal/oauth": 5, "internal/httpapi": 5, "internal/dash": 5, "internal/store": 5, "internal/sandbox": 5,
	// 6 wiring
	"internal/store/storetest": 6, "internal/app": 6,
	// 7 the outside
	"internal/cli": 7, "internal/vktest": 7, "bench": 8, "cmd/valetkey": 8, "test/peers": 8,
}

// allowed are the exceptions, each with its reason.
var allowed = map[string]string{}

// arrows are imports that a tier alone would let through.
var arrows = []struct {
	what   string
	broken func(from, to string) bool
}{
	{"no service imports the store or an adapter", func(from, to string) bool {
		return tiers[from] < 5 && (to == "internal/store" || strings.HasPrefix(to, "internal/store/"))
	}},
	{"public packages never import internal ones", func(from, to string) bool {
		return public(from) && strings.HasPrefix(to, "internal/")
	}},
	{"client imports api and secret only", func(from, to string) bool {
		return from == "client" && to != "api" && to != "secret"
	}},
	{"what forges tokens is for tests", func(_, to string) bool { return to == "internal/jwt/jwttest" || to == "internal/oidc/oidctest" }},
	{"edges do not see the store", func(from, to string) bool {
		return slices.Contains([]string{"internal/oauth", "internal/dash", "internal/sandbox"}, from) && to == "internal/store"
	}},
}

// reserved are standard packages that only some of us may import.
var reserved = []struct {
	std  string
	only []string
	why  string
}{
	{"database/sql", []string{"internal/store", "internal/store/storetest", "internal/vktest"}, "SQL is the store's"},
	{"github.com/cedar-policy/cedar-go", []string{"internal/policy"}, "Cedar is policy's"},
	{"unsafe", nil, "nobody needs it"},
}

func public(pkg string) bool {
	return pkg == "secret" || pkg == "api" || pkg == "client" || pkg == "provider" || strings.HasPrefix(pkg, "provider/")
}

// source is one file's imports.
type source struct {
	pkg, file string
	imports   []string
}

// check returns what is wrong with sources, a line each.
func check(sources []source) []string {
	var wrong []string
	say := func(s source, format string, args ...any) {
		wrong = append(wrong, s.file+": "+fmt.Sprintf(format, args...))
	}
	for _, s := range sources {
		tier, known := tiers[s.pkg]
		if !known {
			say(s, "package %s has no tier; give it one", s.pkg)
			continue
		}
		for _, imp := range s.imports {
			for _, r := range reserved {
				if (imp == r.std || strings.HasPrefix(imp, r.std+"/")) && !slices.Contains(r.only, s.pkg) {
					say(s, "imports %s: %s", imp, r.why)
				}
			}
			to, ours := strings.CutPrefix(imp, module)
			if !ours || to == s.pkg || allowed[s.pkg+" "+to] != "" {
				continue
			}
			switch other, known := tiers[to]; {
			case !known:
				say(s, "imports %s, which has no tier", to)
			case other >= tier:
				say(s, "%s (tier %d) imports %s (tier %d)", s.pkg, tier, to, other)
			}
			for _, a := range arrows {
				if a.broken(s.pkg, to) {
					say(s, "%s imports %s: %s", s.pkg, to, a.what)
				}
			}
		}
	}
	return wrong
}

// parse reads the imports of every non-test source below root. It does not ask
// the go command: what a child process reads is no part of a test's cache key,
// and a stale answer would be green.
func parse(t *testing.T, root string) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		s := source{pkg: path.Dir(filepath.ToSlash(rel)), file: filepath.ToSlash(rel)}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTiers(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources := parse(t, root)
	if len(sources) < 50 {
		t.Fatalf("only %d sources below %s: this test looks at the wrong place", len(sources), root)
	}
	for _, w := range check(sources) {
		t.Error(w)
	}
	// A tier for a package that is gone is a lie about the house.
	have := map[string]bool{}
	for _, s := range sources {
		have[s.pkg] = true
	}
	for pkg := range tiers {
		if _, err := os.Stat(filepath.Join(root, pkg)); err == nil && !have[pkg] {
			t.Errorf("package %s has a tier and no sources", pkg)
		}
	}
}

// The guard must be able to fail: each planted violation turns it red.
func TestPlantedViolations(t *testing.T) {
	for _, s := range []source{
		{"internal/policy", "planted.go", []string{module + "internal/broker"}},
		{"internal/grant", "planted.go", []string{module + "internal/vault"}},
		{"internal/broker", "planted.go", []string{module + "internal/store"}},
		{"client", "planted.go", []string{module + "internal/id"}},
		{"client", "planted.go", []string{module + "provider"}},
		{"secret", "planted.go", []string{module + "api"}},
		{"internal/dash", "planted.go", []string{module + "internal/httpapi"}},
		{"internal/vault", "planted.go", []string{"database/sql"}},
		{"internal/oauth", "planted.go", []string{"database/sql/driver"}},
		{"internal/newcomer", "planted.go", nil},
		{"internal/app", "planted.go", []string{module + "internal/newcomer"}},
	} {
		if len(check([]source{s})) == 0 {
			t.Errorf("%s importing %v passes", s.pkg, s.imports)
		}
	}
	if w := check([]source{{"internal/broker", "fine.go", []string{module + "internal/policy", "context"}}}); len(w) > 0 {
		t.Errorf("a lawful import is refused: %v", w)
	}
}
