package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// revealers are the functions that may take a secret out of its wrapping, each
// with its reason: the last step before the cipher, the hash or the wire.
var revealers = map[string]string{
	"secret.IsZero":   "asks only whether there is one",
	"secret.Equal":    "compares in constant time",
	"secret.Hash":     "hashes",
	"client.ParseKey": "parses a private key",
}

func TestRevealIsCalledOnlyWhereListed(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		for _, decl := range f.Decls {
			name := "(package level)"
			if fn, ok := decl.(*ast.FuncDecl); ok {
				name = fn.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Reveal" {
					found[pkg+"."+name] = true
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for f := range found {
		if revealers[f] == "" {
			t.Errorf("%s reveals a secret and is not listed: list it with its reason, or keep the secret wrapped", f)
		}
	}
	var gone []string
	for f := range revealers {
		if !found[f] {
			gone = append(gone, f)
		}
	}
	slices.Sort(gone)
	for _, f := range gone {
		t.Errorf("%s is listed and reveals nothing", f)
	}
}

// Every package says in its own words what it is and what it never does.
func TestEveryPackageHasAComment(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]int{}
	for _, s := range parse(t, root) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, s.file), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		comments[s.pkg] += 0
		if f.Doc != nil {
			comments[s.pkg] += len(f.Doc.Text())
		}
	}
	for pkg, n := range comments {
		if n < 60 {
			t.Errorf("package %s has no comment that tells its model", pkg)
		}
	}
}
