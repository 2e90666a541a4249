package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/valetkey/valetkey/api"
)

// fillText puts s into every text inside v, however deep.
func fillText(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fillText(v.Elem(), s)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fillText(v.Field(i), s)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(s))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillText(v.Index(0), s)
		fillText(v.Index(1), s)
	case reflect.String:
		v.SetString(s)
	}
}

func showText(t *testing.T, s string) string {
	t.Helper()
	var a api.Approval
	fillText(reflect.ValueOf(&a).Elem(), s)
	// Words of ours, of which the server has only some.
	a.ID, a.Action.ID, a.Status, a.Level, a.Action.Risk = "apr_1", "act_1", api.ApprovalOpen, api.LevelApprove, api.RiskMedium
	a.Request.Effect, a.Action.Amount.Kind = "ab01", "transfer"
	var out, notes bytes.Buffer
	r := &run{terminal: newTerminal(func(string) string { return "" }, strings.NewReader(""), &out, &notes)}
	if err := r.showApproval(a); err != nil {
		t.Fatal(err)
	}
	return out.String() + notes.String()
}

// Whatever an agent writes, a terminal is told nothing by it: no escape, no
// control character, nothing that turns the line around or cannot be seen. And
// what differs in such a character differs in what is printed.
func TestApprovalOnATerminal(t *testing.T) {
	var all []string
	raw, err := os.ReadFile("../display/testdata/naughty_strings.json")
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil || len(all) != 461 {
		t.Fatalf("%d strings, %v", len(all), err)
	}
	var ours []struct{ Value string }
	if raw, err = os.ReadFile("../display/testdata/approval_strings.json"); err == nil {
		err = json.Unmarshal(raw, &ours)
	}
	if err != nil || len(ours) < 100 {
		t.Fatalf("%d strings, %v", len(ours), err)
	}
	for _, c := range ours {
		all = append(all, c.Value)
	}
	for _, s := range all {
		shown := showText(t, s)
		for _, r := range shown {
			if r != '\n' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point, unicode.Bidi_Control) || r == unicode.ReplacementChar) {
				t.Errorf("%q: %U reaches the terminal", s, r)
				break
			}
		}
	}
	plain := showText(t, "acct-12 34")
	for _, r := range []rune{0x00AD, 0x200B, 0x200D, 0x200E, 0x202E, 0x2066, 0x3164, 0xFE0F, 0xFEFF, 0x00A0, 0x001B, 0x0007, 0x0000, 0xE0041} {
		shown := strings.Map(func(c rune) rune {
			if c == r {
				return -1
			}
			return c
		}, showText(t, "acct-12"+string(r)+" 34"))
		if shown == plain {
			t.Errorf("%U makes no difference on a terminal", r)
		}
	}
}
