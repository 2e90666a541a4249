package provider_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/provider"
)

func TestCheckJSONRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                 "",
		"blank":                 " ",
		"no JSON":               "hello",
		"single quotes":         "{'a':1}",
		"comment":               "{/**/}",
		"trailing comma":        `{"a":1,}`,
		"trailing comma array":  `[1,]`,
		"unclosed object":       `{"a":1`,
		"unclosed string":       `"a`,
		"unclosed escape":       `"a\`,
		"missing colon":         `{"a" 1}`,
		"missing value":         `{"a":}`,
		"name is no string":     `{1:1}`,
		"second value":          `{}{}`,
		"garbage after":         `{} x`,
		"NUL after":             "{}\x00",
		"byte order mark":       "\ufeff{}",
		"UTF-16":                "{\x00}\x00",
		"invalid UTF-8":         "\"\xff\"",
		"overlong UTF-8":        "\"\xc0\xaf\"",
		"raw surrogate":         "\"\xed\xa0\x80\"",
		"lone high surrogate":   `"\ud800"`,
		"lone low surrogate":    `"\udc00"`,
		"high and no low":       `"\ud800x"`,
		"two high surrogates":   `"\ud800\ud800"`,
		"surrogate in name":     `{"\ud800":1}`,
		"raw newline":           "\"a\nb\"",
		"raw tab in name":       "{\"a\tb\":1}",
		"unknown escape":        `"\x41"`,
		"short escape":          `"\u12"`,
		"duplicate":             `{"a":1,"a":2}`,
		"duplicate, escaped":    `{"a":1,"\u0061":2}`,
		"duplicate, deep":       `[{"b":{"a":1,"a":1}}]`,
		"case duplicate":        `{"amount":1,"Amount":9999}`,
		"case duplicate, sharp": `{"state":1,"\u017ftate":2}`,
		"case duplicate, K":     `{"key":1,"\u212aey":2}`,
		"NUL in name":           `{"id\u0000":1}`,
		"leading zero":          `01`,
		"plus":                  `+1`,
		"bare point":            `1.`,
		"no whole part":         `.5`,
		"bare exponent":         `1e`,
		"hex":                   `0x10`,
		"NaN":                   `NaN`,
		"Infinity":              `Infinity`,
		"minus":                 `-`,
		"2^53+1":                `9007199254740993`,
		"-2^53-1":               `-9007199254740993`,
		"above 2^53, fraction":  `9007199254740992.5`,
		"above 2^53, exponent":  `1e16`,
		"huge exponent":         `1e999999999`,
		"tiny exponent":         `1e-999999999`,
		"long number":           "0." + strings.Repeat("1", 500),
		"word":                  `nul`,
		"upper-case word":       `True`,
		"deep array":            strings.Repeat("[", 65) + strings.Repeat("]", 65),
		"deep object":           strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
		"deep, unclosed":        strings.Repeat("[", 100_000),
		"long string":           `"` + strings.Repeat("a", 256<<10+1) + `"`,
		"long name":             `{"` + strings.Repeat("a", 256<<10+1) + `":1}`,
		"many members":          wideObject(1001),
		"many values":           "[" + strings.Repeat("0,", 50_000) + "0]",
		"over the size":         strings.Repeat(" ", 1<<20) + "1",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			err := provider.CheckJSON([]byte(text), provider.Limits{})
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || refusal.Reason != provider.BadJSON {
				t.Errorf("%.60q: %v", text, err)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func wideObject(n int) string {
	var b strings.Builder
	for i := range n {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b.WriteByte(sep)
		b.WriteString(`"k` + strings.Repeat("x", i%3) + string(rune('a'+i%26)) + strings.Repeat("0", i/26) + `":0`)
	}
	return b.String() + "}"
}

func TestCheckJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `-0.0`, `0e0`, `1.5e3`, `-1E-7`, `true`, `false`, `null`, " \t\r\n{ \"a\" : [ 1 , 2 ] }\n",
		`9007199254740992`, `-9007199254740992`, `0.1000000000000000055511151231257827`,
		`"\ud83d\ude00 \u0041 \" \\ \/ \b\f\n\r\t"`, `"\u0000"`, `{"a":{"A":1}}`, `{"a":1,"ä":2,"Ä2":3}`,
		strings.Repeat("[", 64) + strings.Repeat("]", 64), wideObject(1000), `"` + strings.Repeat("a", 256<<10) + `"`,
	} {
		if err := provider.CheckJSON([]byte(text), provider.Limits{}); err != nil {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if err := provider.CheckJSON([]byte(`[[1]]`), provider.Limits{Depth: 1}); err == nil {
		t.Error("a limit of the caller does not hold")
	}
}

// What is accepted, every JSON reader accepts.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":[1,2.5e3,true,null,"x\u00e9"]}`, `{"a":1,"A":2}`, `"\ud83d\ude00"`, `"\ud800"`, `1e400`, `[[[[]]]]`, `{}{}`, "\ufeff{}", `{"a":`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if provider.CheckJSON(text, provider.Limits{}) != nil {
			return
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%q is accepted here, not by encoding/json: %v", text, err)
		}
	})
}
