package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The package is data: no methods, no functions, no imports beyond three of the
// standard library. Each type is documented, each field has a snake_case name
// on the wire, and moments are called so.
func TestSourceKeepsTheConventions(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	wire := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if p := i.Path.Value; p != `"time"` && p != `"encoding/json"` {
				t.Errorf("%s imports %s", name, p)
			}
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				t.Errorf("%s: func %s: this package has no logic", name, fn.Name)
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				ts := spec.(*ast.TypeSpec)
				if g.Doc == nil {
					t.Errorf("%s: type %s is not documented", name, ts.Name)
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range st.Fields.List {
					checkField(t, ts.Name.Name, field, wire)
				}
			}
		}
	}
}

func checkField(t *testing.T, typ string, field *ast.Field, wire *regexp.Regexp) {
	t.Helper()
	if len(field.Names) != 1 {
		t.Errorf("%s: embedded fields hide what is on the wire", typ)
		return
	}
	name := field.Names[0].Name
	if field.Tag == nil {
		t.Errorf("%s.%s has no JSON name", typ, name)
		return
	}
	tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
	key, options, _ := strings.Cut(tag, ",")
	if !wire.MatchString(key) {
		t.Errorf("%s.%s is %q on the wire", typ, name, key)
	}
	sel, ok := field.Type.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Time" {
		return
	}
	if key != "at" && !strings.HasSuffix(key, "_at") {
		t.Errorf("%s.%s is a moment and called %q", typ, name, key)
	}
	// omitempty has no effect on a struct: year 1 would appear on the wire.
	if strings.Contains(options, "omitempty") {
		t.Errorf("%s.%s: omitempty does nothing here, use omitzero", typ, name)
	}
}

// golden are values with every member set, by file.
func golden() map[string]any {
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
	amount := &api.Amount{Kind: api.AmountTransfer, Number: "499.99", Currency: "EUR"}
	action := api.Action{
		ID: "act_01", State: api.StateSucceeded, Final: true, Operation: "github.issues.create_comment", Summary: "comment on octo/api#7",
		Connection: "con_01", Provider: "github", Account: "octocat", Resource: "repository:octo/api", Risk: api.RiskMedium, Amount: amount,
		Effect: strings.Repeat("ab", 32), Note: "please", Agent: "agt_01",
		Approval:  &api.Ticket{ID: "apr_01", Status: api.ApprovalSpent, Level: api.LevelApprove, URL: "http://localhost:8420/actions/act_01", ExpiresAt: at},
		CreatedAt: at, UpdatedAt: at, ExpiresAt: at, FinishedAt: at,
		Outcome:        &api.Outcome{Status: 201, ResponseBytes: 8, Response: true},
		IdempotencyKey: "octo/api#7/thanks", Replayed: true, Explanation: []string{"The rule writes-ask asks for each write."},
	}
	pending := api.Action{
		ID: "act_02", State: api.StatePending, Operation: "github.raw.write", Summary: "PATCH /repos/octo/api", Connection: "con_01",
		Provider: "github", Account: "octocat", Risk: api.RiskHigh, Effect: strings.Repeat("cd", 32), Agent: "agt_01", CreatedAt: at, UpdatedAt: at,
	}
	return map[string]any{
		"action.golden":  action,
		"pending.golden": pending,
		"request.golden": api.ActionRequest{
			Connection: "github", Operation: "github.issues.create_comment", Params: map[string]any{"number": json.Number("7")},
			Method: "POST", Base: "https://api.github.com", Path: "/repos/octo/api/issues/7/comments", Query: "a=b", Headers: map[string]string{"Accept": "application/json"},
			Body: []byte("hi"), BodyText: "hi", BodyJSON: json.RawMessage(`{"body":"hi"}`), Note: "please", IdempotencyKey: "k", Amount: amount,
		},
		"result.golden": api.ActionResult{
			Action: "act_01", State: api.StateSucceeded, Status: 200, Headers: map[string][]string{"Link": {"<x>; rel=next"}},
			Body: json.RawMessage(`[1]`), BodyBase64: []byte{0xff}, Truncated: true,
		},
		"approval.golden": api.Approval{
			ID: "apr_01", Status: api.ApprovalDenied, Level: api.LevelStepUp, Action: pending, Agent: api.AgentRef{ID: "agt_01", Name: "triage"},
			User: "usr_01", Request: &api.ExactRequest{
				Method: "PATCH", URL: "https://api.github.com/repos/octo/api", Headers: []api.Header{{Name: "content-type", Value: "application/json"}},
				Body: []byte(`{}`), BodyText: `{}`, Effect: strings.Repeat("cd", 32),
			},
			Rules: []string{"writes-ask"}, Why: []string{"It is no listed operation."}, Impact: "changes the repository", Scopes: []string{"repo"},
			PolicyVersion: "v1", Challenge: "AAAA", CanDecide: true, WhyNot: "no", URL: "http://localhost:8420/actions/act_02",
			CreatedAt: at, ExpiresAt: at, DecidedAt: at, DecidedBy: "usr_01", Channel: "web", Reason: "not now",
		},
		"problem.golden": api.Problem{
			Type: "about:blank", Title: "Forbidden", Status: 403, Detail: "Ask.", Reason: "forbidden_by_policy", Instance: "req_01", Action: "act_01",
			Explanation: []string{"why"}, RetryAfterSeconds: 7,
		},
		"token_error.golden": api.TokenError{Error: "invalid_request", Description: "Set jti.", Reason: "missing_jti", Action: "act_01"},
	}
}

// What stands on the wire does not change by accident, and reads back as it was.
func TestGolden(t *testing.T) {
	for name, value := range golden() {
		path := filepath.Join("testdata", name)
		got, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), string(want)); diff != "" {
			t.Errorf("%s (-got +want):\n%s", name, diff)
		}
		back := reflect.New(reflect.TypeOf(value))
		d := json.NewDecoder(bytes.NewReader(want))
		d.DisallowUnknownFields()
		d.UseNumber()
		if err := d.Decode(back.Interface()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := json.MarshalIndent(back.Interface(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(again)+"\n", string(want)); diff != "" {
			t.Errorf("%s does not read back (-got +want):\n%s", name, diff)
		}
	}
}

// A list without items is [], so that clients need no case for null; the server
// has to make it so, and this is the shape.
func TestEmptyPage(t *testing.T) {
	b, err := json.Marshal(api.Page[api.Action]{Items: []api.Action{}})
	if err != nil || string(b) != `{"items":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}
