package httpapi_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/httpapi"
)

type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		} `json:"schemas"`
	} `json:"components"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	raw, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Every route is in the document, and nothing else is.
func TestDocumentHasTheRoutes(t *testing.T) {
	d := readDocument(t)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %s", d.OpenAPI)
	}
	var got []string
	for path, methods := range d.Paths {
		for m := range methods {
			got = append(got, strings.ToUpper(m)+" "+path)
		}
	}
	want := new(httpapi.Server).Patterns()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes against document (-routes +document):\n%s", diff)
	}
}

// Every query parameter that a route takes is in the document, and no other.
func TestDocumentHasTheParameters(t *testing.T) {
	d := readDocument(t)
	for pattern, want := range new(httpapi.Server).Parameters() {
		method, path, _ := strings.Cut(pattern, " ")
		var op struct {
			Parameters []struct{ Name, In string }
		}
		if err := json.Unmarshal(d.Paths[path][strings.ToLower(method)], &op); err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, p := range op.Parameters {
			if p.In == "query" {
				got = append(got, p.Name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: document %v, route %v", pattern, got, want)
		}
	}
}

// The schemas are those of package api, member by member.
func TestDocumentHasTheTypes(t *testing.T) {
	d := readDocument(t)
	seen := map[string]bool{}
	var look func(reflect.Type)
	look = func(rt reflect.Type) {
		switch rt.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			look(rt.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		name := rt.Name()
		if rt.PkgPath() != reflect.TypeFor[api.Action]().PkgPath() || seen[name] {
			return
		}
		if of, ok := strings.CutPrefix(name, "Page["); ok {
			name = of[strings.LastIndex(of, ".")+1:len(of)-1] + "Page"
		}
		seen[name] = true
		s, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("%s has no schema", name)
			return
		}
		var want, got, required []string
		for i := range rt.NumField() {
			f := rt.Field(i)
			member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			want = append(want, member)
			if !strings.Contains(options, "omit") {
				required = append(required, member)
			}
			look(f.Type)
		}
		for member := range s.Properties {
			got = append(got, member)
		}
		for _, l := range [][]string{want, got, required, s.Required} {
			slices.Sort(l)
		}
		if !slices.Equal(want, got) || !slices.Equal(required, s.Required) {
			t.Errorf("%s: members %s, required %s", name, cmp.Diff(want, got), cmp.Diff(required, s.Required))
		}
	}
	for _, v := range []any{
		api.ActionRequest{}, api.Action{}, api.ActionResult{}, api.Approval{}, api.Decision{}, api.Connection{}, api.ConnectionRequest{}, api.Operation{},
		api.DisconnectReport{}, api.Agent{}, api.AgentRequest{}, api.AgentChange{}, api.AgentKeyRequest{}, api.Grant{}, api.GrantRequest{}, api.Provider{},
		api.ProviderRequest{}, api.User{}, api.UserRequest{}, api.UserChange{}, api.UserCreated{}, api.Policy{}, api.PolicyRequest{}, api.PolicyCheck{},
		api.Freeze{}, api.FreezeRequest{}, api.Event{}, api.Checkpoint{}, api.AuditReport{}, api.Proof{}, api.Doctor{}, api.Status{}, api.Me{}, api.Health{},
		api.Problem{}, api.Proposal{}, api.Group{}, api.GroupRequest{}, api.GroupChange{}, api.Relief{}, api.Passkey{}, api.PasskeyChange{}, api.Session{}, api.SessionsEnded{}, api.LinksVoided{}, api.Page[api.Passkey]{}, api.Page[api.Session]{}, api.Page[api.Action]{}, api.Page[api.Approval]{}, api.Page[api.Event]{}, api.Page[api.Grant]{},
	} {
		look(reflect.TypeOf(v))
	}
	if len(seen) < 45 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

// The check of all traffic in these tests would notice.
func TestTheDocumentIsEnforced(t *testing.T) {
	w := newWorld(t)
	for i, a := range []answer{
		{status: 200, header: map[string][]string{"Content-Type": {"application/json"}}, body: []byte(`{"kind":7}`)},
		{status: 200, header: map[string][]string{"Content-Type": {"application/json"}}, body: []byte(`{}`)},
		{status: 200, header: map[string][]string{"Content-Type": {"text/html"}}, body: []byte(`{}`)},
	} {
		if err := w.nonconforming("GET", "/v1/me", nil, a); err == nil {
			t.Errorf("answer %d passed", i)
		}
	}
	if err := w.nonconforming("GET", "/v1/me", nil, answer{status: 200, header: map[string][]string{"Content-Type": {"application/json"}}, body: []byte(`{"kind":"cli","changes":false}`)}); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	if a := w.send(who{}, "GET", "/v1/openapi.json", nil); a.status != 200 || !json.Valid(a.body) {
		t.Errorf("served: %d", a.status)
	}
}
