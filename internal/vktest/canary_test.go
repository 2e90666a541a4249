package vktest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// safeBuffer takes log lines from many goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.b.Bytes())
}

// encodings are the forms in which a secret might lie about.
func encodings(s string) map[string]string {
	out := map[string]string{
		"raw": s, "hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))),
		"first 8": s[:8], "last 8": s[len(s)-8:], "reversed": reverse(s), "percent": percent(s),
		"utf-16": strings.Join(strings.Split(s, ""), "\x00"),
	}
	for shift := range 3 {
		// Whatever stands before the secret, its middle is one of these.
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
		out["base64 at "+string(rune('0'+shift))] = enc[4 : len(enc)-4]
		enc = base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
		out["base64url at "+string(rune('0'+shift))] = enc[4 : len(enc)-4]
	}
	return out
}

func reverse(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func percent(s string) string {
	if e := url.QueryEscape(s); e != s {
		return e
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{s[i]})))
	}
	return b.String()
}

// Secrets that are planted, or come to be, appear in no file of the data
// directory, no log line at debug level, no audit export and no answer to an
// agent (M-26, M-32).
func TestCanaries(t *testing.T) {
	log := new(safeBuffer)
	clientSecret := "cnry_cs_" + secret.Random(24).Reveal()
	w := vktest.New(t, func(_ *config.Config, o *sandbox.Options) {
		o.ClientSecret = secret.New(clientSecret)
		o.AccessTTL = 2 * time.Second
	}, vktest.LogTo(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx := t.Context()
	mira := w.Person("mira")
	con := w.Link(mira, "octocat")
	bot, _ := w.Agent(mira, "triage")
	w.Grant(mira, bot, con, grant.Vend, []string{"*"}, nil)
	caller := vktest.Caller(bot)
	var answers bytes.Buffer

	planted := map[string]string{"client secret": clientSecret}
	open := func(name string) {
		t.Helper()
		c, err := w.App.DB.Connections().Connection(ctx, con.Org, con.ID)
		if err != nil {
			t.Fatal(err)
		}
		for column, sealed := range map[string][]byte{"access": c.Access, "refresh": c.Refresh} {
			if len(sealed) == 0 {
				continue
			}
			plain, err := w.App.Keys.Open(ctx, seal.Place{Key: seal.ConnectionKey(c.ID), Org: c.Org, Table: "connections", Row: string(c.ID), Column: column}, sealed)
			if err != nil {
				t.Fatal(err)
			}
			planted[column+" token "+name] = plain.Reveal()
		}
	}
	open("of the connection")
	pat := w.Sandbox.PersonalToken("hubot", "repo")
	planted["pasted token"] = pat.Reveal()
	if _, err := w.App.Connect.AddToken(ctx, mira, mira.User, "github", "pasted", pat, time.Now()); err != nil {
		t.Fatal(err)
	}

	w.Sandbox.EchoCredential(true)
	out, err := w.App.Broker.Submit(ctx, caller, broker.Ask{Connection: string(con.ID), Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&answers, out.Answer.Body); err != nil {
		t.Fatal(err)
	}
	if err := out.Answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	held, err := w.App.Broker.Submit(ctx, caller, broker.Ask{Connection: string(con.ID), Operation: "github.issues.create_comment",
		Params: map[string]any{"owner": "octo", "repo": "api", "number": 1, "body": "hello"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.App.Broker.Decide(ctx, mira, held.Approval.ID, broker.Verdict{Answer: approval.Yes, Seen: held.Action.Effect, Level: approval.Approve, Channel: "web"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	done, err := w.App.Broker.Await(ctx, caller, held.Action.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := w.App.Broker.Answer(ctx, caller, done)
	if err != nil {
		t.Fatal(err)
	}
	answers.Write(kept.Body)
	time.Sleep(1100 * time.Millisecond) // the token is due: it is refreshed by its next use
	v, _, err := w.App.Broker.Vend(ctx, caller, broker.VendAsk{User: mira.User, Connection: string(con.ID)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	planted["vended token"] = v.Token.Reveal()
	open("after the refresh")
	w.Sandbox.LoseRefreshAnswer(1)
	w.Sandbox.ExpireAccess("octocat")
	time.Sleep(1100 * time.Millisecond)
	if _, _, err := w.App.Broker.Vend(ctx, caller, broker.VendAsk{User: mira.User, Connection: string(con.ID)}, time.Now()); err == nil {
		t.Error("the lost refresh was not noticed")
	}

	var export bytes.Buffer
	snap, err := w.App.DB.Log().Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range snap.Records(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		export.Write(r.Encoded)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}

	search := func(where string, content []byte) {
		t.Helper()
		for what, s := range planted {
			for form, enc := range encodings(s) {
				if bytes.Contains(content, []byte(enc)) {
					t.Errorf("%s holds the %s (%s)", where, what, form)
				}
			}
		}
	}
	files := func() {
		n, control := 0, false
		err := filepath.WalkDir(filepath.Dir(w.Config.Data), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type()&fs.ModeSocket != 0 {
				return err
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n++
			// What is stored in the clear must be found, or the search sees nothing.
			control = control || bytes.Contains(content, []byte(con.ID))
			search(filepath.Base(file), content)
			return nil
		})
		if err != nil || n < 4 || !control {
			t.Fatalf("%d files searched (control found: %v), %v", n, control, err)
		}
	}
	if len(planted) < 6 {
		t.Fatalf("only %d secrets planted", len(planted))
	}
	search("the audit export", export.Bytes())
	search("the answers to the agent", answers.Bytes())
	files()
	if _, err := w.App.Vault.Disconnect(ctx, con.ID, time.Now(), eventsOf(mira)); err != nil {
		t.Fatal(err)
	}
	w.Restart()
	files()
	if len(log.Bytes()) < 100 {
		t.Fatal("nothing was logged")
	}
	search("the log", log.Bytes())
}
