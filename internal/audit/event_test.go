package audit_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestCheckRefuses(t *testing.T) {
	many := map[string]string{}
	for i := range audit.MaxMembers + 1 {
		many[strings.Repeat("k", i+1)] = ""
	}
	big := map[string]string{}
	for i := range audit.MaxMembers {
		big[strings.Repeat("k", i+1)] = strings.Repeat("\x01", audit.MaxValue)
	}
	for name, spoil := range map[string]func(*audit.Event){
		"no time":            func(e *audit.Event) { e.At = time.Time{} },
		"time before 1970":   func(e *audit.Event) { e.At = time.Unix(-1, 0) },
		"time after 9999":    func(e *audit.Event) { e.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no verb":            func(e *audit.Event) { e.Verb = "" },
		"verb of one word":   func(e *audit.Event) { e.Verb = "approved" },
		"verb upper case":    func(e *audit.Event) { e.Verb = "Action.approved" },
		"verb empty word":    func(e *audit.Event) { e.Verb = "action..approved" },
		"verb ends in dot":   func(e *audit.Event) { e.Verb = "action." },
		"verb starts in dot": func(e *audit.Event) { e.Verb = ".action" },
		"verb first word _":  func(e *audit.Event) { e.Verb = "a_b.c" },
		"verb digit":         func(e *audit.Event) { e.Verb = "action.v2" },
		"no actor":           func(e *audit.Event) { e.Actor = "" },
		"actor with newline": func(e *audit.Event) { e.Actor = "agent:a\nb" },
		"object with space":  func(e *audit.Event) { e.Object = "act 1" },
		"object not ASCII":   func(e *audit.Event) { e.Object = "act_é" },
		"long subject":       func(e *audit.Event) { e.Subject = strings.Repeat("s", audit.MaxName+1) },
		"org with escape":    func(e *audit.Event) { e.Org = "org\x1b[2J" },
		"too many members":   func(e *audit.Event) { e.Data = many },
		"too big in all":     func(e *audit.Event) { e.Data = big },
		"empty key":          func(e *audit.Event) { e.Data = map[string]string{"": "v"} },
		"key upper case":     func(e *audit.Event) { e.Data = map[string]string{"Key": "v"} },
		"long key":           func(e *audit.Event) { e.Data = map[string]string{strings.Repeat("k", audit.MaxKey+1): "v"} },
		"long value":         func(e *audit.Event) { e.Data = map[string]string{"k": strings.Repeat("v", audit.MaxValue+1)} },
		"value not UTF-8":    func(e *audit.Event) { e.Data = map[string]string{"k": "\xff"} },
	} {
		e := event(1)
		spoil(&e)
		if e.Check() == nil {
			t.Errorf("%s: recorded", name)
		}
		f := audit.Frontier{}
		if next, _, err := f.Append([]audit.Event{event(0), e}); err == nil || next.Size() != 0 {
			t.Errorf("%s: appended", name)
		}
	}
}

func TestCheckErrorDoesNotQuoteValues(t *testing.T) {
	e := event(1)
	e.Data = map[string]string{"k": "cnry_at_4f9Kq2\xff"}
	if err := e.Check(); err == nil || strings.Contains(err.Error(), "cnry") {
		t.Errorf("Check = %v", err)
	}
	if _, err := audit.Decode([]byte(`{"v":1,"data":{"k":cnry_at_4f9Kq2}}`)); err == nil || strings.Contains(err.Error(), "cnry") {
		t.Errorf("Decode = %v", err)
	}
}

func TestDecodeRefusesEveryOtherSpelling(t *testing.T) {
	e := event(3)
	e.Data = map[string]string{"a": "x/<é>", "b": "\n"}
	good := string(e.Encode())
	if _, err := audit.Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty":             "",
		"line end":          good + "\n",
		"carriage return":   good + "\r",
		"leading space":     " " + good,
		"inner space":       strings.Replace(good, `,"at"`, `, "at"`, 1),
		"two values":        good + good,
		"unknown member":    strings.Replace(good, `,"data"`, `,"more":"","data"`, 1),
		"repeated member":   strings.Replace(good, `,"verb"`, `,"org":"org_3","verb"`, 1),
		"missing member":    strings.Replace(good, `"subject":"usr_1",`, "", 1),
		"other member case": strings.Replace(good, `"org"`, `"Org"`, 1),
		"reordered data":    strings.Replace(good, `"a":"x/<é>","b":"\u000a"`, `"b":"\u000a","a":"x/<é>"`, 1),
		"repeated data":     strings.Replace(good, `"a":`, `"a":"x","a":`, 1),
		"short escape":      strings.Replace(good, `\u000a`, `\n`, 1),
		"upper-case escape": strings.Replace(good, `\u000a`, `\u000A`, 1),
		"needless escape":   strings.Replace(good, `<`, `\u003c`, 1),
		"escaped slash":     strings.Replace(good, `/`, `\/`, 1),
		"null data":         strings.Replace(good, `{"a":"x/<é>","b":"\u000a"}`, `null`, 1),
		"null value":        strings.Replace(good, `"x/<é>"`, `null`, 1),
		"bad UTF-8":         strings.Replace(good, `é`, "\xe9", 1),
		"float seq":         strings.Replace(good, `"seq":0`, `"seq":0.0`, 1),
		"negative seq":      strings.Replace(good, `"seq":0`, `"seq":-1`, 1),
		"leading zero":      strings.Replace(good, `"seq":0`, `"seq":00`, 1),
		"other version":     strings.Replace(good, `"v":1`, `"v":2`, 1),
		"byte order mark":   "\ufeff" + good,
		"huge":              strings.Repeat("[", 1<<20),
	} {
		if bad == good {
			t.Errorf("%s: the case changes nothing", name)
		}
		if e, err := audit.Decode([]byte(bad)); err == nil {
			t.Errorf("%s: decoded as %+v", name, e)
		}
	}
}

func TestEncodingGolden(t *testing.T) {
	list := []audit.Event{
		{Seq: 0, At: epoch, Verb: "server.started", Actor: "system"},
		{Seq: 1, At: epoch.Add(1500 * time.Nanosecond), Org: id.DefaultOrg, Verb: "action.approved", Actor: "user:usr_01", Object: "act_01", Subject: "usr_01", Data: map[string]string{"rule": "ask.writes", "digest": "5f70bf18", "approval": "apr_01"}},
		{Seq: 2, At: epoch.Add(time.Hour), Org: "org_2", Verb: "approval.denied", Actor: "operator:0", Object: "apr_2", Data: map[string]string{"reason": "no: \"<b>\" & \\ é 🙂\u2028\u202e\n\t\x00\x7f"}},
		{Seq: 9223372036854775807, At: time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), Org: "o", Verb: "a.b_c.d", Actor: "a\"\\", Object: "~", Subject: "!"},
	}
	var b bytes.Buffer
	for _, e := range list {
		b.Write(e.Encode())
		b.WriteByte('\n')
	}
	const file = "testdata/events.golden"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the encoding changed; recorded logs could not be verified any more (-want +got):\n%s", diff)
	}
}

func drawEvent(t *rapid.T, label string) audit.Event {
	name := rapid.StringMatching(`[!-~]{0,12}`)
	e := audit.Event{
		Seq:     rapid.Int64Range(0, 1<<40).Draw(t, label+" seq"),
		At:      time.UnixMicro(rapid.Int64Range(1, 1<<52).Draw(t, label+" at")).UTC(),
		Org:     id.Org(name.Draw(t, label+" org")),
		Verb:    rapid.StringMatching(`[a-z]{1,3}(\.[a-z_]{1,4}){1,2}`).Draw(t, label+" verb"),
		Actor:   "a" + name.Draw(t, label+" actor"),
		Object:  name.Draw(t, label+" object"),
		Subject: name.Draw(t, label+" subject"),
	}
	data := rapid.MapOfN(rapid.StringMatching(`[a-z0-9_.]{1,4}`), rapid.String(), 0, 4).Draw(t, label+" data")
	if len(data) > 0 {
		e.Data = data
	}
	return e
}

// Encoding loses nothing: what comes back is what went in.
func TestEncodeDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawEvent(t, "event")
		if err := want.Check(); err != nil {
			t.Fatal(err)
		}
		got, err := audit.Decode(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Two events encode equal only if they are equal.
func TestDistinctEventsNeverEncodeEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawEvent(t, "a")
		b := a
		switch rapid.IntRange(0, 7).Draw(t, "field") {
		case 0:
			b.Seq++
		case 1:
			b.At = b.At.Add(time.Microsecond)
		case 2: // a byte moves from one field to its neighbour
			b.Org, b.Actor = b.Org+id.Org(b.Actor[:1]), b.Actor[1:]+"x"
		case 3:
			b.Object += "x"
		case 4:
			b.Object, b.Subject = b.Subject, b.Object
		case 5:
			b.Verb += "_"
		case 6:
			b.Data = map[string]string{"k": rapid.String().Draw(t, "value")}
		case 7:
			b = drawEvent(t, "b")
		}
		if same := cmp.Equal(a, b); same != bytes.Equal(a.Encode(), b.Encode()) {
			t.Fatalf("equal events: %v, equal encodings: %v\n%s\n%s", same, !same, a.Encode(), b.Encode())
		}
	})
}

func TestConcatenationIsNotAmbiguous(t *testing.T) {
	pair := func(object, subject string) string {
		e := event(1)
		e.Object, e.Subject = object, subject
		return string(e.Encode())
	}
	if pair("ab", "c") == pair("a", "bc") {
		t.Error("('ab','c') encodes as ('a','bc')")
	}
	if pair(`a","subject":"b`, "c") == pair("a", `b","subject":"c`) {
		t.Error("quotes reach the encoding")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(event(0).Encode())
	e := event(5)
	e.Seq, e.Data = 5, map[string]string{"k": "\x00\"\\\u2028é"}
	f.Add(e.Encode())
	f.Add([]byte(`{"v":1,"seq":0,"at":1,"org":"","verb":"a.b","actor":"x","object":"","subject":"","data":{}}`))
	f.Add([]byte(`{"v":1,"v":1}`))
	f.Add([]byte("{}"))
	f.Add(append(event(0).Encode(), '\r'))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := audit.Decode(b)
		if err != nil {
			return
		}
		if got := e.Encode(); !bytes.Equal(got, b) {
			t.Fatalf("%q decodes and encodes to %q", b, got)
		}
		if err := e.Check(); err != nil {
			t.Fatalf("%q decodes to what cannot be recorded: %v", b, err)
		}
	})
}
