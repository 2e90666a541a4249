package dash_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/dash"
)

// noVerbs are texts in the sources that look like verbs of the log.
var noVerbs = map[string]bool{
	"default.cedar": true, "schema.cedarschema": true, "operator.sock": true, "root.key": true, "valetkey.db": true,
}

var (
	verbLike    = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	surfaceLike = regexp.MustCompile(`^[a-z]+$`)
)

// Every verb that anything here can write into the log is told in a sentence.
// Verbs are found in the sources: as they stand, and made of the word for an
// edge at which something was refused.
func TestEveryVerbHasASentence(t *testing.T) {
	verbs, surfaces := map[string]string{}, map[string]string{}
	walk(t, func(path string, n ast.Node) {
		switch n := n.(type) {
		case *ast.BasicLit:
			if s, ok := text(n); ok && verbLike.MatchString(s) && !noVerbs[s] {
				verbs[s] = path
			}
		case *ast.CallExpr: // refuse(ctx, …, "login", err, now)
			if slices.Contains([]string{"refuse", "refuseUnknown", "Known", "Unknown", "Refused"}, name(n.Fun)) {
				for _, arg := range n.Args {
					if s, ok := text(arg); ok && surfaceLike.MatchString(s) {
						surfaces[s] = path
					}
				}
			}
		case *ast.ValueSpec: // const surfaceToken = "token"
			for i, id := range n.Names {
				if strings.HasPrefix(id.Name, "surface") && i < len(n.Values) {
					if s, ok := text(n.Values[i]); ok {
						surfaces[s] = path
					}
				}
			}
		}
	})
	for s, path := range surfaces {
		verbs[s+".refused"] = path
	}
	// How an execution ends is its state.
	for _, state := range []string{"succeeded", "failed", "unknown"} {
		verbs["action."+state] = "internal/action"
	}
	for _, known := range []string{"action.held", "login.refused", "api.refused", "token.refused", "operator.looked", "freeze.thrown"} {
		if verbs[known] == "" {
			t.Errorf("%s is not found in the sources: this test looks at the wrong things", known)
		}
	}
	for verb, path := range verbs {
		if _, ok := dash.Tellings[verb]; !ok {
			t.Errorf("%s has no sentence (%s)", verb, path)
		}
	}
	for verb := range dash.Tellings {
		if verbs[verb] == "" {
			t.Errorf("%s has a sentence, and nothing writes it", verb)
		}
	}
}

// walk visits all that runs in a server and may write into the log.
func walk(t *testing.T, visit func(path string, n ast.Node)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if slices.Contains([]string{"cli", "sandbox", "storetest", "vktest", "testdata", "arch"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == filepath.Join("..", "dash", "sentences.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool { visit(path, n); return true })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func text(n ast.Node) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

func name(n ast.Expr) string {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		return n.Sel.Name
	case *ast.Ident:
		return n.Name
	}
	return ""
}
