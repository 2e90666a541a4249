package egress_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/secret"
)

func each(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// dresses are the encodings that must be caught, with what surrounds them.
var dresses = map[string]func(string) string{
	"raw":              func(s string) string { return s },
	"bearer":           func(s string) string { return "Bearer " + s },
	"base64":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 shift 1":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte(":" + s + "?")) },
	"base64 shift 2":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s + "~~")) },
	"base64url":        func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64url 1":      func(s string) string { return base64.URLEncoding.EncodeToString([]byte("\xff" + s)) },
	"base64url 2":      func(s string) string { return base64.URLEncoding.EncodeToString([]byte("\xff\xfe" + s)) },
	"hex":              func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":              func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"query":            url.QueryEscape,
	"path":             url.PathEscape,
	"percent":          func(s string) string { return each(s, "%%%02x") },
	"PERCENT":          func(s string) string { return each(s, "%%%02X") },
	"percent twice":    func(s string) string { return each(s, "%%25%02X") },
	"percent thrice":   func(s string) string { return each(s, "%%2525%02X") },
	"json":             func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"json in json":     func(s string) string { b, _ := json.Marshal(s); b, _ = json.Marshal(string(b)); return string(b) },
	"unicode":          func(s string) string { return each(s, `\u%04x`) },
	"UNICODE":          func(s string) string { return each(s, `\u%04X`) },
	"unicode twice":    func(s string) string { return each(s, `\\u%04x`) },
	"c escapes":        func(s string) string { return each(s, `\x%02x`) },
	"slash":            func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	"first only":       func(s string) string { return fmt.Sprintf(`\u%04x`, s[0]) + s[1:] },
	"last only":        func(s string) string { return s[:len(s)-1] + fmt.Sprintf("%%%02x", s[len(s)-1]) },
	"every other":      func(s string) string { return each(s[:1], `\u%04x`) + s[1:5] + each(s[5:], "%%%02x") },
	"references":       func(s string) string { return each(s, "&#%d;") },
	"hex references":   func(s string) string { return each(s, "&#x%X;") },
	"html":             html.EscapeString,
	"percent of json":  func(s string) string { b, _ := json.Marshal(s); return url.QueryEscape(string(b)) },
	"after backslash":  func(s string) string { return `\` + s },
	"after backslash2": func(s string) string { return `\\` + s },
	"after percent":    func(s string) string { return `%` + s },
}

var credentials = []string{
	canary,
	"xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
	"ya29.A0AfH6SMBx-_/+q==z",
	"p@ss/w0rd+with=odd:chars~!",
	strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 30) + "Zx",
}

// leaks reports whether eight characters in a row of the credential are left.
func leaks(text, cred string) bool {
	for i := 0; i+8 <= len(cred); i++ {
		if strings.Contains(text, cred[i:i+8]) {
			return true
		}
	}
	return false
}

func TestRedactEveryDress(t *testing.T) {
	for _, cred := range credentials {
		red := egress.NewRedactor(secret.New(cred))
		for name, dress := range dresses {
			body := `{"headers":{"a":"` + dress(cred) + `","b":"x"},"n":1}`
			whole, hits := red.String(body)
			if hits != 1 || !strings.Contains(whole, secret.Redacted) || leaks(whole, cred) {
				t.Errorf("%s of %.10q: %d hits: %s", name, cred, hits, whole)
			}
			if !strings.HasPrefix(whole, `{"headers":{"a":"`) || !strings.HasSuffix(whole, `","b":"x"},"n":1}`) {
				t.Errorf("%s of %.10q ate its surroundings: %s", name, cred, whole)
			}
			for chunks, split := range map[string]func(io.Reader) io.Reader{"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with error": iotest.DataErrReader} {
				if chunks == "bytes" && len(cred) > 100 {
					continue // thousands of reads that show nothing new
				}
				r := red.Reader(split(strings.NewReader(body)))
				got, err := io.ReadAll(r)
				if err != nil || string(got) != whole || r.Hits() != 1 {
					t.Errorf("%s of %.10q in %s: %q, %d hits, %v; want %q", name, cred, chunks, got, r.Hits(), err, whole)
				}
			}
		}
	}
}

// Text without the credential comes out as it went in, however it is cut, and
// text with it comes out the same however it is cut.
func TestRedactDoesNotDependOnCuts(t *testing.T) {
	red := egress.NewRedactor(secret.New(canary))
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.OneOf(
			rapid.StringMatching(`[ -~]{0,20}`),
			rapid.SampledFrom([]string{canary, canary[:7], canary[3:], "\\", "%", "&#", "\\u00", "%25", "cnry", "\\\\u0063", each(canary, `\u%04x`), each(canary[:20], "%%%02x")}),
		)).Draw(t, "pieces")
		text := strings.Join(pieces, "")
		want, hits := red.String(text)
		if strings.Contains(want, canary) {
			t.Fatalf("left in %q", want)
		}
		if !strings.Contains(text, canary) && hits == 0 && want != text {
			t.Fatalf("changed without a hit: %q to %q", text, want)
		}
		size := rapid.IntRange(1, 64).Draw(t, "size")
		r := red.Reader(&chunks{text, size})
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want || r.Hits() != hits {
			t.Fatalf("in chunks of %d: %q (%d), %v; want %q (%d)", size, got, r.Hits(), err, want, hits)
		}
	})
}

type chunks struct {
	rest string
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// A stream keeps streaming: what cannot be the beginning of a secret is passed
// on with the read that brought it.
func TestRedactFlushes(t *testing.T) {
	in, out := io.Pipe()
	defer in.Close()
	r := egress.NewRedactor(secret.New(canary)).Reader(in)
	buf := make([]byte, 1024)
	for _, event := range []string{"data: one\n\n", "data: {\"a\":\"\\u00e9\"}\n\n", "data: 100%\n\n"} {
		go out.Write([]byte(event))
		n, err := r.Read(buf)
		if err != nil || string(buf[:n]) != event {
			t.Errorf("read %q, %v; want %q at once", buf[:n], err, event)
		}
	}
	out.Close()
}

func TestRedactEnds(t *testing.T) {
	red := egress.NewRedactor(secret.New(canary))
	for in, want := range map[string]string{
		"cut " + canary[:20]:                "cut " + secret.Redacted,
		"cut " + canary[:4]:                 "cut " + canary[:4],
		strings.Repeat(canary, 3):           strings.Repeat(secret.Redacted, 3),
		canary[:10] + canary:                canary[:10] + secret.Redacted,
		"":                                  "",
		"cut " + each(canary[:9], `\u%04x`): "cut " + secret.Redacted,
	} {
		if got, _ := red.String(in); got != want {
			t.Errorf("String(%q) = %q, want %q", in, got, want)
		}
	}
	if got, hits := egress.NewRedactor(secret.New("ab"), secret.Text{}).String("abba"); got != "abba" || hits != 0 {
		t.Errorf("a secret too short to search for was replaced: %q", got)
	}
}

func TestRedactSeveral(t *testing.T) {
	red := egress.NewRedactor(secret.New(canary), secret.New("another_secret_value"))
	got, hits := red.String("a " + canary + " b another_secret_value c")
	if want := "a [secret] b [secret] c"; got != want || hits != 2 {
		t.Errorf("%q, %d hits; want %q", got, hits, want)
	}
}

// A body that is nothing but secrets must not cost more than its length.
func TestRedactManyHits(t *testing.T) {
	red := egress.NewRedactor(secret.New(canary))
	body := strings.Repeat(canary+each(canary, "%%%02x"), 10_000)
	r := red.Reader(strings.NewReader(body))
	if _, err := io.Copy(io.Discard, r); err != nil || r.Hits() != 20_000 {
		t.Errorf("%d hits, %v", r.Hits(), err)
	}
}

func BenchmarkRedact(b *testing.B) {
	red := egress.NewRedactor(secret.New(canary))
	plain := bytes.Repeat([]byte(`{"id":1296269,"name":"Hello-World","full_name":"octocat/Hello-World","private":false},`), 1<<20/86)
	escaped := bytes.Repeat([]byte(`{"body":"line one\nline two \"quoted\" \u00e9 https:\/\/api.example.com\/x%20y","n":1},`), 1<<20/86)
	for name, body := range map[string][]byte{"plain": plain, "escaped": escaped} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.Copy(io.Discard, red.Reader(bytes.NewReader(body))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			egress.NewRedactor(secret.New(canary))
		}
	})
}
