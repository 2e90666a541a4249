package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/provider"
)

// previewSpec is a provider of notes, with the preview of one operation as it
// is given.
func previewSpec(t *testing.T, preview string) (*provider.Spec, error) {
	t.Helper()
	return provider.Parse(fstest.MapFS{"notes.yaml": {Data: []byte(`
id: notes
name: Notes
auth: {url: "https://notes.example/authorize", pkce: required}
token: {url: "https://notes.example/token", auth: body, body: form}
refresh: {rotation: none, trigger: expiry}
revoke: {kind: none}
identity: {url: "https://api.notes.example/me", id: id}
endpoints: {api_bases: ["https://api.notes.example"], host_from: static}
credential: {attach: bearer}
namespace: notes
style: rest
path_params:
  - {name: id, in: path, type: integer}
operations:
  - {name: notes.note.get, title: Read, summary: "read {id}", methods: [GET], paths: ["/notes/{id}"], risk: low, read: true, example: {id: 1}}
  - {name: notes.note.delete, title: Delete, summary: "delete {id}", methods: [DELETE], paths: ["/notes/{id}"], risk: high, example: {id: 1}}
  - name: notes.note.put
    title: Write
    summary: "write {id}"
    methods: [PUT]
    paths: ["/notes/{id}"]
    risk: medium
    body: json
    params:
      - {name: text, in: body, nullable: true}
      - {name: tags, in: body, type: strings}
    example: {id: 1, text: x}
    preview: ` + preview)}}, "notes.yaml")
}

const goodPreview = `
      looks: [{name: note, operation: notes.note.get, params: {id: id}, missing: there is no such note}]
      shows: [{at: note#/by/name, label: By, type: user, max: 5}]
      changes:
        - {does: replaces, label: Text, param: text, at: note#/text, type: lines}
        - {does: replaces, label: Tags, param: tags, at: "note#/tags/*/name"}
      pins: [note#etag, note#/text, note#/a~1b]
`

// A preview reads only what the catalogue lists as a read of the same provider,
// and names only what there is.
func TestPreviewLint(t *testing.T) {
	if _, err := previewSpec(t, goodPreview); err != nil {
		t.Fatal(err)
	}
	const look, change = `{name: note, operation: notes.note.get, params: {id: id}}`, `{does: replaces, label: Text, param: text, at: note#/text}`
	for name, c := range map[string]struct{ preview, want string }{
		"a write is read":           {`{looks: [{name: note, operation: notes.note.delete, params: {id: id}}], changes: [` + change + `]}`, "is not a read"},
		"another provider is read":  {`{looks: [{name: note, operation: github.issues.get, params: {id: id}}], changes: [` + change + `]}`, "is not a read"},
		"a raw path is read":        {`{looks: [{name: note, operation: notes.raw.read, params: {id: id}}], changes: [` + change + `]}`, "is not a read"},
		"nothing is read":           {`{looks: [], changes: [` + change + `]}`, "want 1 to 3 looks"},
		"four are read":             {`{looks: [` + strings.Repeat(look+",", 3) + look + `], changes: [` + change + `]}`, "want 1 to 3 looks"},
		"two of a name":             {`{looks: [` + look + `,` + look + `], changes: [` + change + `]}`, "is taken"},
		"a parameter is missing":    {`{looks: [{name: note, operation: notes.note.get}], changes: [` + change + `]}`, "lacks a parameter of its path"},
		"a parameter is invented":   {`{looks: [{name: note, operation: notes.note.get, params: {id: id, x: id}}], changes: [` + change + `]}`, `no parameter "x"`},
		"its value is invented":     {`{looks: [{name: note, operation: notes.note.get, params: {id: owner}}], changes: [` + change + `]}`, `"owner" is no parameter`},
		"nothing changes":           {`{looks: [` + look + `], changes: []}`, "want a change"},
		"a value of no look":        {`{looks: [` + look + `], changes: [{does: replaces, label: Text, param: text, at: other#/text}]}`, "names no value"},
		"a value without a pointer": {`{looks: [` + look + `], changes: [{does: replaces, label: Text, param: text, at: note.text}]}`, "names no value"},
		"a bad escape":              {`{looks: [` + look + `], changes: [{does: replaces, label: Text, param: text, at: "note#/a~2"}]}`, "names no value"},
		"a pin of nothing":          {`{looks: [` + look + `], changes: [` + change + `], pins: ["note#/"]}`, "names no value"},
		"strict about nothing":      {`{looks: [` + look + `], changes: [` + change + `], strict: true}`, "strict about nothing"},
		"another kind of change":    {`{looks: [` + look + `], changes: [{does: burns, label: Text, param: text, at: note#/text}]}`, "burns"},
		"it becomes two things":     {`{looks: [` + look + `], changes: [{does: replaces, label: Text, param: text, to: x, at: note#/text}]}`, "comes from a parameter or is said"},
		"it becomes nothing":        {`{looks: [` + look + `], changes: [{does: replaces, label: Text, at: note#/text}]}`, "comes from a parameter or is said"},
		"a removal becomes":         {`{looks: [` + look + `], changes: [{does: removes, label: Text, to: x, at: note#/text}]}`, "what is removed does not"},
		"no label":                  {`{looks: [` + look + `], changes: [{does: replaces, label: "", param: text, at: note#/text}]}`, "has no label"},
		"too long":                  {`{looks: [` + look + `], changes: [{does: replaces, label: T, param: text, at: note#/text, max: 99999}]}`, "max is not within"},
		"an unknown key":            {`{looks: [` + look + `], changes: [` + change + `], script: x}`, "script"},
	} {
		if _, err := previewSpec(t, c.preview); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// planOf plans for a write of text.
func planOf(t *testing.T, params map[string]any) *provider.PreviewPlan {
	t.Helper()
	s, err := previewSpec(t, goodPreview)
	if err != nil {
		t.Fatal(err)
	}
	op, _ := s.Operation("notes.note.put")
	r, err := op.Render(s, params)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := s.PlanPreview(r)
	if err != nil || plan == nil {
		t.Fatalf("no plan: %v", err)
	}
	return plan
}

func answer(status int, body string) map[string]*provider.Observation {
	return map[string]*provider.Observation{"note": {Status: status, ETag: `"1"`, Body: []byte(body)}}
}

func TestPreviewPlan(t *testing.T) {
	plan := planOf(t, map[string]any{"id": 7, "text": "new", "tags": []any{"a", "b"}})
	if len(plan.Looks) != 1 || plan.Looks[0].Request.Method != "GET" || plan.Looks[0].Request.Path != "/notes/7" {
		t.Fatalf("looks: %+v", plan.Looks)
	}
	got := plan.Show(answer(200, `{"text":"old","by":{"name":"mira mira"},"tags":[{"name":"a"},{"name":"c"}]}`))
	want := provider.PreviewShown{
		Now: []provider.ShownValue{{Label: "By", Type: provider.ShowUser, There: true, Text: "mira ", Left: 4}},
		Changes: []provider.ShownChange{
			{Label: "Text", Does: provider.Replaces, Type: provider.ShowLines, Known: true,
				Before: provider.ShownValue{Label: "Text", Type: provider.ShowLines, There: true, Text: "old"}, After: provider.ShownValue{Label: "Text", Type: provider.ShowLines, There: true, Text: "new"}},
			{Label: "Tags", Does: provider.Replaces, Type: provider.ShowText, Known: true,
				Before: provider.ShownValue{Label: "Tags", Type: provider.ShowText, There: true, Text: "a, c"}, After: provider.ShownValue{Label: "Tags", Type: provider.ShowText, There: true, Text: "a, b"}},
		},
		Precondition: got.Precondition,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What the request does not name does not change; null is nothing.
	got = planOf(t, map[string]any{"id": 7, "text": nil}).Show(answer(200, `{"text":"old"}`))
	if len(got.Changes) != 1 || got.Changes[0].After.There || got.Changes[0].Same {
		t.Errorf("an emptied text: %+v", got.Changes)
	}
	s, err := previewSpec(t, goodPreview)
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := s.PlanPreview(provider.Request{Method: "GET", Path: "/notes/7"}); plan != nil || err != nil {
		t.Errorf("a read has a preview: %v %v", plan, err)
	}
}

// Whatever is pinned makes another precondition when it is another; what is not
// pinned does not. Where nothing is known there is none.
func TestPrecondition(t *testing.T) {
	plan := planOf(t, map[string]any{"id": 7, "text": "new"})
	at := func(o map[string]*provider.Observation) string { return plan.Show(o).Precondition }
	base := at(answer(200, `{"text":"old","a/b":1}`))
	if len(base) != 64 || base != at(answer(200, ` {"other":[1,2], "a/b":1, "text":"old"}`)) {
		t.Errorf("the same state has two preconditions: %q", base)
	}
	seen := map[string]string{base: "as it was"}
	for name, o := range map[string]map[string]*provider.Observation{
		"another text":    answer(200, `{"text":"old ","a/b":1}`),
		"no text":         answer(200, `{"a/b":1}`),
		"a list":          answer(200, `{"text":["old"],"a/b":1}`),
		"another number":  answer(200, `{"text":"old","a/b":2}`),
		"number as text":  answer(200, `{"text":"old","a/b":"1"}`),
		"another tag":     {"note": {Status: 200, ETag: `"2"`, Body: []byte(`{"text":"old","a/b":1}`)}},
		"gone":            answer(404, `{}`),
		"moved":           answer(301, `{}`),
		"cannot be read":  answer(200, `no JSON`),
		"deleted for all": answer(410, ``),
	} {
		got := at(o)
		if other, same := seen[got]; same || got == "" {
			t.Errorf("%s is %q, like %s", name, got, other)
		}
		seen[got] = name
	}
	if got := at(map[string]*provider.Observation{"note": {Status: 200, Body: []byte(`{"text":"old","a/b":1}`), Cut: true}}); got != at(answer(200, "no JSON")) {
		t.Errorf("what is too large counts as read: %q", got)
	}
	for _, status := range []int{0, 401, 403, 429, 500, 502, 503} {
		if got := at(answer(status, `{"text":"old","a/b":1}`)); got != "" {
			t.Errorf("HTTP %d has the precondition %q", status, got)
		}
	}
	if got := at(nil); got != "" {
		t.Errorf("no answer has the precondition %q", got)
	}
}

// Answers are read generously and never fail the program.
func FuzzPreviewShow(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `{"text":"\ud800"}`, `{"tags":[[[]]]}`, `{"by":{"name":{"x":1}}}`, strings.Repeat("[", 5000), "\x00", `{"text":1e999}`} {
		f.Add(200, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		plan := planOf(t, map[string]any{"id": 7, "text": "new", "tags": []any{"a"}})
		for _, c := range plan.Show(answer(status, body)).Changes {
			_ = fmt.Sprint(c.Before.Text, c.After.Text)
		}
	})
}
