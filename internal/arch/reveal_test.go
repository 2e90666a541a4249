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
	"secret.Token": "joins a prefix to fresh random bytes",
	"secret.Hash":  "hashes",
	"secret.Equal": "compares in constant time",

	// Into the cipher, and out of the root key's wrapping.
	"internal/seal.Seal":             "the cipher",
	"internal/seal.Secret":           "the cipher",
	"internal/seal.NewPassphraseKEK": "judges a passphrase's length",
	"internal/seal.derive":           "argon2id",

	// Into a key.
	"internal/audit.NewSigner": "parses the log's signing key",
	"internal/jwt.NewSigner":   "parses the token signing key",
	"client.ParseKey":          "parses an agent's private key",

	// Onto the wire to a provider.
	"internal/vault.AuthorizeURL":  "the S256 hash of a PKCE verifier",
	"internal/vault.Exchange":      "the code and its verifier, to the token endpoint",
	"internal/vault.Refresh":       "the refresh token, to the token endpoint",
	"internal/vault.tokenRequest":  "our client secret, to the token endpoint",
	"internal/vault.revokeRequest": "the token that is to end, to the revocation endpoint",
	"internal/vault.Identity":      "the access token, to the identity call",
	"internal/connect.Begin":       "the state parameter, into the authorization URL",
	"internal/oidc.AuthorizeURL":   "the state parameter and the hash of a PKCE verifier, into the authorization URL",
	"internal/oidc.Redeem":         "the PKCE verifier, to the token endpoint",
	"internal/oidc.config":         "our client secret, to the token endpoint",
	"internal/user.derive":         "HMAC, keyed with a sign-in's handle",
	"internal/connect.AddToken":    "judges the shape of a pasted token",
	"internal/egress.attach":       "the credential, onto the call",
	"internal/egress.NewRedactor":  "the credential, to be searched for in the answer",

	// Onto the wire to whoever it was issued to.
	"internal/oauth.wire":     "tokens, into the token response",
	"internal/dash.setCookie": "a session, into its cookie",
	"internal/dash.token":     "the hash that form tokens are made of",
	"internal/dash.shown":     "recovery codes and enrolment links, once, to whom they were made for",
	"internal/dash.recover":   "what a recovery code earned, to whoever gave it",
	"internal/dash.enrolURL":  "a one-time link, to whoever made it",
	"internal/app.EnrolURL":   "a one-time link, to whoever made it",
	"internal/vktest.On":      "the address of a throwaway database, into the settings of a test",

	// The agent's and the person's own side.
	"client.Token":               "the adapter to x/oauth2, whose tokens are strings",
	"client.clean":               "cuts credentials out of an error",
	"client.credentials":         "signed assertions, into the token request",
	"client.send":                "the access token, onto the call",
	"internal/cli.Run":           "what must not be printed",
	"internal/cli.addConnection": "a pasted token, to the server",
	"internal/cli.endSession":    "a login, to be ended",
	"internal/cli.enrols":        "the demo's enrolment link",
	"internal/cli.logsIn":        "the demo's session cookie",
	"internal/cli.oauthForm":     "a device code, to the token endpoint",
	"internal/cli.openDemo":      "the demo's canaries",
	"internal/cli.printToken":    "a vended token, to the agent that asked on its own command line",
	"internal/cli.save":          "a login, into its file of mode 0600",
	"internal/cli.send":          "a login, onto the call",
	"internal/cli.setProvider":   "a client secret, to the server",

	// The database's URL may hold a password.
	"internal/store.Open":          "reads the scheme",
	"internal/store.openPostgres":  "the driver's configuration",
	"internal/store/storetest.Raw": "the driver's configuration, in tests",

	// The sandbox is a provider: it issues tokens of its own.
	"internal/sandbox.consentPage": "the form's one-time token",
	"internal/sandbox.issueToken":  "its tokens, into the token response",
	"internal/sandbox.mint":        "its tokens, from fresh random bytes",
	"internal/sandbox.takeConsent": "the code, into the redirect",
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
