package dash_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/dash"
)

type hostile struct{ ID, Class, Value string }

func corpus(t *testing.T) []hostile {
	t.Helper()
	raw, err := os.ReadFile("../display/testdata/approval_strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []hostile
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// fixed are the strings of a view that are not text from outside: names of
// our own that choose a class or an icon, and tokens that we made.
var fixed = map[string]bool{
	"Section": true, "Tone": true, "Level": true, "Risk": true, "State": true, "Status": true, "Effect": true, "Profile": true, "Mode": true,
	"Scheme": true, "CSRF": true, "SHA256": true, "Form": true, "Kind": true, "Dump": true, "Decision": true, "ID": true, "ConnectionID": true, "ObjectID": true, "Question": true, "Spec": true, "Page": true, "Token": true,
}

// poison replaces every other string inside v, however deep, by the next one. A
// body is made again from bytes that contain some.
func poison(v reflect.Value, next func() string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		poison(c.Elem(), next)
		v.Set(c)
	case reflect.Struct:
		switch v.Interface().(type) {
		case time.Time:
			return
		case dash.Body:
			if v.FieldByName("Form").String() == "none" {
				return
			}
			raw, _ := json.Marshal(map[string]any{next(): []any{next(), map[string]string{"key": next()}}})
			v.Set(reflect.ValueOf(dash.NewBody("application/json", raw)))
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Type.Kind() == reflect.String && fixed[f.Name] {
				continue
			}
			poison(v.Field(i), next)
		}
	case reflect.Slice:
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := range c.Len() {
			poison(c.Index(i), next)
		}
		if !v.IsNil() {
			v.Set(c)
		}
	case reflect.String:
		v.SetString(next())
	}
}

func poisoned[V any](view V, next func() string) V {
	poison(reflect.ValueOf(&view).Elem(), next)
	return view
}

// pages renders every page with s in every place that text can reach.
func pages(r *dash.Renderer, s string) map[string]func(io.Writer) error {
	return pagesOf(r, func() string { return s })
}

// pagesOf renders every page with strings of a source.
func pagesOf(r *dash.Renderer, next func() string) map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{
		"welcome-ask":  func(w io.Writer) error { return r.Welcome(w, poisoned(welcome(2), next)) },
		"login":        func(w io.Writer) error { return r.Login(w, poisoned(dash.LoginPage{Passkeys: true}, next)) },
		"enrol":        func(w io.Writer) error { return r.Enrol(w, poisoned(dash.EnrolPage{}, next)) },
		"inbox":        func(w io.Writer) error { return r.Inbox(w, poisoned(frozen(), next)) },
		"asked":        func(w io.Writer) error { return r.Inbox(w, poisoned(asked(), next)) },
		"action":       func(w io.Writer) error { return r.Action(w, poisoned(comment(), next)) },
		"previewed":    func(w io.Writer) error { return r.Action(w, poisoned(previewed(), next)) },
		"gaps":         func(w io.Writer) error { return r.Action(w, poisoned(previewedGaps(), next)) },
		"critical":     func(w io.Writer) error { return r.Action(w, poisoned(criticalDelete(), next)) },
		"done":         func(w io.Writer) error { return r.Action(w, poisoned(succeeded(), next)) },
		"connections":  func(w io.Writer) error { return r.Connections(w, poisoned(connections(), next)) },
		"disconnected": func(w io.Writer) error { return r.Disconnected(w, poisoned(disconnected(), next)) },
		"agents":       func(w io.Writer) error { return r.Agents(w, poisoned(agents(), next)) },
		"agent":        func(w io.Writer) error { return r.Agent(w, poisoned(agentPage(), next)) },
		"activity":     func(w io.Writer) error { return r.Activity(w, poisoned(activity(), next)) },
		"policy":       func(w io.Writer) error { return r.Policy(w, poisoned(policyPage(), next)) },
		"device": func(w io.Writer) error {
			v := poisoned(dash.DevicePage{Scopes: []string{""}}, next)
			v.Code = "BCDF-GHJK" // one that we made, of letters that we chose
			return r.Device(w, v)
		},
		"proposal": func(w io.Writer) error { return r.Proposal(w, poisoned(proposalPage(), next)) },
		"proposed": func(w io.Writer) error { return r.Proposal(w, poisoned(proposalDone(), next)) },
		"error":    func(w io.Writer) error { return r.Error(w, poisoned(dash.ErrorPage{}, next)) },
	}
}

// skeleton is a page without its texts: each element with the names of its
// attributes, in order, and the values of those that could act. The marks of
// package display are left out, because they are meant to differ.
func skeleton(t *testing.T, page string) []string {
	t.Helper()
	// XML, unlike HTML, knows no control characters; a form may echo them.
	page = strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) || r&0xFFFE == 0xFFFE {
			return '?'
		}
		return r
	}, page)
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Strict, dec.AutoClose, dec.Entity = false, []string{"meta", "link", "input", "br"}, xml.HTMLEntity
	var out []string
	depth, skip := 0, -1
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			depth++
			class := ""
			var attrs []string
			for _, a := range e.Attr {
				if a.Name.Local == "class" {
					class = a.Value
				}
				name := a.Name.Local
				switch {
				case name == "rel" || name == "target" || name == "method" || name == "type" || strings.HasPrefix(name, "data-passkey"):
					name += "=" + a.Value
				case name == "href" || name == "src" || name == "action":
					name += "=" + scheme(a.Value)
				}
				attrs = append(attrs, name)
			}
			if skip < 0 && (class == "inv" || class == "odd") {
				skip = depth
			}
			if skip < 0 {
				sort.Strings(attrs)
				out = append(out, e.Name.Local+" "+strings.Join(attrs, " "))
			}
		case xml.EndElement:
			if skip == depth {
				skip = -1
			}
			depth--
		case xml.Comment, xml.Directive:
			if d, ok := tok.(xml.Directive); !ok || string(d) != "doctype html" {
				t.Errorf("a comment or directive in the page: %s", tok)
			}
		}
	}
}

// schemeOf is RFC 3986 §3.1.
var schemeOf = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]*):`)

// scheme says where an address leads, without the address.
func scheme(url string) string {
	switch {
	case strings.HasPrefix(url, "//") || strings.HasPrefix(url, `/\`):
		return "another host"
	case strings.HasPrefix(url, "/"):
		return "here"
	case strings.HasPrefix(url, "#"):
		return "page"
	}
	if m := schemeOf.FindStringSubmatch(url); m != nil {
		return m[1]
	}
	return "relative"
}

// Whatever an agent writes, and wherever it is shown, the page has the same
// elements and attributes as with harmless text.
func TestTextNeverBecomesMarkup(t *testing.T) {
	r := renderer(t)
	base := map[string][]string{}
	for name, render := range pages(r, "harmless") {
		base[name] = skeleton(t, output(t, render))
	}
	for _, c := range corpus(t) {
		for name, render := range pages(r, c.Value) {
			page := output(t, render)
			got := skeleton(t, page)
			if diff := cmp.Diff(strip(base[name]), strip(got)); diff != "" {
				t.Fatalf("%s on %s: the page changed shape: -harmless +%q\n%s", c.ID, name, c.Value, diff)
			}
			shown := typed.ReplaceAllString(page, "")
			for i, ch := range shown {
				if ch != '\n' && (unicode.IsControl(ch) || unicode.Is(unicode.Bidi_Control, ch)) {
					t.Fatalf("%s on %s: %U is in the page: %q", c.ID, name, ch, shown[max(0, i-80):i+20])
				}
			}
		}
	}
}

// typed matches what goes back into a form unchanged: a person's own words.
var typed = regexp.MustCompile(`value="[^"]*"|(?s:<textarea[^>]*>.*?</textarea>)`)

// strip leaves out what depends on the text by design: badges that warn of
// it, the fold of a long one, and the address of a link to a provider, which
// is dropped to "#" where it is no web address.
func strip(lines []string) []string {
	var out []string
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "span class" || line == "path d" || strings.HasPrefix(line, "svg ") || line == "details class" || line == "summary " || line == "rect height rx width x y" || line == "circle cx cy r" || line == "p class" || line == "code " || line == "bdi class dir" {
			continue
		}
		for _, to := range []string{"relative", "another host", "here", "page", "https"} {
			line = strings.Replace(line, "href="+to+" rel=noreferrer", "href=provider rel=noreferrer", 1)
		}
		out = append(out, line)
	}
	return out
}

func output(t *testing.T, render func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A link that a view carries can lead to a web page only.
func TestLinksCannotRun(t *testing.T) {
	r := renderer(t)
	for _, url := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x"} {
		v := disconnected()
		v.LinkURL = url
		page := output(t, func(w io.Writer) error { return r.Disconnected(w, v) })
		for _, line := range skeleton(t, page) {
			if strings.Contains(line, "href=") && !strings.Contains(line, "href=here") && !strings.Contains(line, "href=page") && !strings.Contains(line, "href=https") {
				t.Errorf("%s: %s", url, line)
			}
		}
	}
}

// The policy needs no exception: no page has an inline script, style or
// handler, and nothing is loaded from elsewhere.
func TestPagesFitTheirPolicy(t *testing.T) {
	r := renderer(t)
	for _, f := range fixtures() {
		page := output(t, func(w io.Writer) error { return f.render(r, w) })
		for _, line := range skeleton(t, page) {
			name, attrs, _ := strings.Cut(line, " ")
			for _, a := range strings.Fields(attrs) {
				if a == "style" || a == "srcdoc" || strings.HasPrefix(a, "on") || strings.HasPrefix(a, "hx-on") || a == "hx-vals" || a == "hx-vars" {
					t.Errorf("%s: <%s> has attribute %s", f.name, name, a)
				}
			}
			if name == "script" && !strings.Contains(attrs, "src=here") || name == "style" || name == "iframe" || name == "img" {
				t.Errorf("%s: <%s>", f.name, line)
			}
			if name == "form" && strings.Contains(attrs, "method=post") && !strings.Contains(attrs, "data-json") {
				t.Errorf("%s: a form would be posted without its token", f.name)
			}
		}
		if strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s: html/template refused a value", f.name)
		}
		if n := strings.Count(page, "<h1"); n != 1 {
			t.Errorf("%s has %d main headings", f.name, n)
		}
		for _, id := range duplicates(page) {
			t.Errorf("%s: two elements with id %q", f.name, id)
		}
	}
	for _, part := range []string{"'unsafe-inline'", "'unsafe-eval'", "*"} {
		if strings.Contains(dash.ContentSecurityPolicy, part) {
			t.Errorf("the policy allows %s", part)
		}
	}
}

func duplicates(page string) []string {
	var twice []string
	seen := map[string]bool{}
	for _, part := range strings.Split(page, ` id="`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		if seen[id] {
			twice = append(twice, id)
		}
		seen[id] = true
	}
	return twice
}

// Approving is inert in the markup itself: only the script that has seen the
// button on the screen arms it.
func TestApproveIsInert(t *testing.T) {
	r := renderer(t)
	for _, a := range []dash.ActionPage{comment(), criticalDelete()} {
		page := output(t, func(w io.Writer) error { return r.Action(w, a) })
		_, button, ok := strings.Cut(page, `value="approve"`)
		button, _, _ = strings.Cut(button, ">")
		if !ok || !strings.Contains(button, " data-arm disabled") {
			t.Errorf("%s: the approve button is live: %s", a.ID, button)
		}
		if got := strings.Contains(button, "data-passkey"); got != a.StepUp {
			t.Errorf("%s: passkey asked = %t, want %t", a.ID, got, a.StepUp)
		}
	}
	for _, change := range []func(*dash.ActionPage){
		func(a *dash.ActionPage) { a.CanDecide, a.WhyNot = false, "You asked for it yourself." },
		func(a *dash.ActionPage) { a.State = "denied" },
	} {
		a := comment()
		change(&a)
		if page := output(t, func(w io.Writer) error { return r.Action(w, a) }); strings.Contains(page, "/decision") {
			t.Errorf("%s %q: can still be decided", a.State, a.WhyNot)
		}
	}
}

// What the approver has to see is on the page, in so many words.
func TestActionShowsTheRequest(t *testing.T) {
	r := renderer(t)
	a := criticalDelete()
	a.Request.Host, a.Request.Port = "аpi.github.com", "8443"
	page := html.UnescapeString(output(t, func(w io.Writer) error { return r.Action(w, a) }))
	for _, want := range []string{"DELETE", "xn--pi-6kc.github.com", "8443", "/repos/octo/legacy-api", "octocat", "GitHub", "issue-triage", "It deletes a repository and cannot be undone.",
		"step-up-critical", "delete_repo", digest, "9f2c 41aa 07de 5b3c", "Approve with passkey", "Written by the agent, unverified", "U+202E", "more characters", "4:31"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(page, "Exactly this will be sent") > strings.Index(page, "Written by the agent") {
		t.Error("the agent speaks before the facts")
	}
	body := output(t, func(w io.Writer) error { return r.Action(w, comment()) })
	for _, want := range []string{fmt.Sprintf("%d bytes", len(commentBody)), comment().Request.Body.SHA256, "2.50", "Thanks for the report!"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
