package dash_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/dash"
)

func TestNewBodyRefusesToGuess(t *testing.T) {
	for _, c := range []struct{ name, contentType, body, form, opaque string }{
		{"duplicate member", "application/json", `{"a":1,"a":2}`, "text", "a member appears twice"},
		{"duplicate after escape", "application/json", `{"a":1,"\u0061":2}`, "text", "a member appears twice"},
		{"trailing value", "application/json", `{} {}`, "text", "something follows the value"},
		{"trailing bytes", "application/json", `{}x`, "text", "something follows the value"},
		{"cut short", "application/json", `{"a":`, "text", "its syntax is wrong"},
		{"too deep", "application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100), "text", "nested deeper"},
		{"not UTF-8", "application/json", "{\"a\":\"\xff\"}", "binary", "it is not UTF-8"},
		{"bytes", "application/octet-stream", "\x00\x01", "binary", "not text"},
		{"null in text", "text/plain", "a\x00b", "binary", "not text"},
		{"unknown kind", "application/xml", "<a/>", "text", "knows how to read application/xml"},
		{"bad form", "application/x-www-form-urlencoded", "a=%zz", "text", "cannot be read as one"},
	} {
		b := dash.NewBody(c.contentType, []byte(c.body))
		if b.Form != c.form || !strings.Contains(b.Opaque, c.opaque) || b.Tree != nil {
			t.Errorf("%s: form %q, opaque %q, tree %v", c.name, b.Form, b.Opaque, b.Tree)
		}
	}
}

func TestNewBodyTree(t *testing.T) {
	b := dash.NewBody("application/vnd.api+json; charset=utf-8", []byte(`{"z":1.50,"a":[true,null,"x\ny"],"e":{}}`))
	want := &dash.Node{Kind: "object", Children: []*dash.Node{
		{Key: "z", HasKey: true, Kind: "number", Text: "1.50"},
		{Key: "a", HasKey: true, Kind: "array", Children: []*dash.Node{{Kind: "bool", Text: "true"}, {Kind: "null", Text: "null"}, {Kind: "string", Text: "x\ny"}}},
		{Key: "e", HasKey: true, Kind: "object"},
	}}
	if diff := cmp.Diff(want, b.Tree); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	f := dash.NewBody("application/x-www-form-urlencoded", []byte("b=1&a=x+y&b=%32"))
	wantForm := &dash.Node{Kind: "object", Children: []*dash.Node{
		{Key: "b", HasKey: true, Kind: "string", Text: "1"}, {Key: "a", HasKey: true, Kind: "string", Text: "x y"}, {Key: "b", HasKey: true, Kind: "string", Text: "2"},
	}}
	if diff := cmp.Diff(wantForm, f.Tree); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What is left out of a large body is counted, in the tree and in the bytes.
func TestNewBodyCountsTheRest(t *testing.T) {
	b := dash.NewBody("application/json", []byte("["+strings.Repeat("1,", 9999)+"1]"))
	if got := len(b.Tree.Children) + b.Tree.Left; got != 10000 || b.Tree.Left == 0 {
		t.Errorf("%d values accounted for, %d left out", got, b.Tree.Left)
	}
	if int64(len(b.Text))+b.Left != b.Size || b.Left == 0 {
		t.Errorf("%d bytes shown and %d left of %d", len(b.Text), b.Left, b.Size)
	}
	u := dash.NewBody("text/plain", []byte("x"+strings.Repeat("ü", 20000)))
	if int64(len(u.Text))+u.Left != u.Size || strings.HasSuffix(u.Text, "\xc3") {
		t.Errorf("a character was cut: %q", u.Text[len(u.Text)-4:])
	}
	if none := dash.NewBody("application/json", nil); none.Form != "none" || none.Opaque != "" {
		t.Errorf("no body: %+v", none)
	}
}
