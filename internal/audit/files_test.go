package audit_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/audit"
)

func openSink(t *testing.T, path string) *audit.FileSink {
	t.Helper()
	s, err := audit.OpenFileSink(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func all(t *testing.T, s audit.Sink) []string {
	t.Helper()
	var out []string
	for cp, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(cp))
	}
	return out
}

func appendTo(t *testing.T, path, s string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(s); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	s := openSink(t, path)
	if last, err := s.Last(t.Context()); last != nil || err != nil {
		t.Errorf("Last of a new sink = %q, %v", last, err)
	}
	signer, _ := newSigner(t)
	_, cps := logOf(t, signer, 30, 10, 20, 30)
	var want []string
	for _, cp := range cps {
		if err := s.Write(t.Context(), cp); err != nil {
			t.Fatal(err)
		}
		want = append(want, string(cp))
	}
	if diff := cmp.Diff(want, all(t, s)); diff != "" {
		t.Error(diff)
	}
	again := openSink(t, path)
	if last, err := again.Last(t.Context()); string(last) != want[2] || err != nil {
		t.Errorf("Last = %q, %v", last, err)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o644 != 0 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

// A file of something else is not one without checkpoints.
func TestReadCheckpointsRefuses(t *testing.T) {
	signer, _ := newSigner(t)
	_, cps := logOf(t, signer, 10, 10)
	path := filepath.Join(t.TempDir(), "whole")
	if err := openSink(t, path).Write(t.Context(), cps[0]); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "{\"not\":\"a checkpoint\"}\n")
	for _, file := range []string{path, "files_test.go"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := audit.ReadCheckpoints(bytes.NewReader(raw)); err == nil {
			t.Errorf("%s: read %d checkpoints", file, len(got))
		}
	}
}

// A crash may cut a line at any byte. It is passed over, nothing before it
// is touched, and what is written after it can be read.
func TestFileSinkTornLine(t *testing.T) {
	signer, _ := newSigner(t)
	_, cps := logOf(t, signer, 30, 10, 20, 30)
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	if err := openSink(t, whole).Write(t.Context(), cps[1]); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(line); cut += 7 {
		path := filepath.Join(dir, "torn")
		first := openSink(t, path)
		if err := first.Write(t.Context(), cps[0]); err != nil {
			t.Fatal(err)
		}
		appendTo(t, path, string(line[:cut]))
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := openSink(t, path)
		if last, err := s.Last(t.Context()); !bytes.Equal(last, cps[0]) || err != nil {
			t.Fatalf("cut at %d: Last = %q, %v", cut, last, err)
		}
		if diff := cmp.Diff([]string{string(cps[0])}, all(t, s)); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
		if err := s.Write(t.Context(), cps[2]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{string(cps[0]), string(cps[2])}, all(t, s)); diff != "" {
			t.Fatalf("cut at %d, after the next write: %s", cut, diff)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(after, before) {
			t.Fatalf("cut at %d: the file was rewritten, %v", cut, err)
		}
		// A copy of the file says the same, torn or mended.
		for _, c := range []struct {
			file []byte
			want [][]byte
		}{{before, cps[:1]}, {after, [][]byte{cps[0], cps[2]}}} {
			got, err := audit.ReadCheckpoints(bytes.NewReader(c.file))
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Fatalf("cut at %d, read from a copy: %s %v", cut, diff, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFileSinkNoticesMeddling(t *testing.T) {
	signer, v := newSigner(t)
	m, cps := logOf(t, signer, 30, 10, 20, 30)
	for name, meddle := range map[string]func(t *testing.T, path string){
		"shrunk":    func(t *testing.T, path string) { check(t, os.Truncate(path, 20)) },
		"emptied":   func(t *testing.T, path string) { check(t, os.Truncate(path, 0)) },
		"grown":     func(t *testing.T, path string) { appendTo(t, path, "{}\n") },
		"removed":   func(t *testing.T, path string) { check(t, os.Remove(path)) },
		"replaced":  func(t *testing.T, path string) { replace(t, path) },
		"moved off": func(t *testing.T, path string) { check(t, os.Rename(path, path+".old")) },
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("an open file cannot be moved there")
			}
			path := filepath.Join(t.TempDir(), "checkpoints")
			s := openSink(t, path)
			check(t, s.Write(t.Context(), cps[0]))
			meddle(t, path)
			for range 2 {
				if err := s.Write(t.Context(), cps[1]); !errors.Is(err, audit.ErrFileChanged) {
					t.Errorf("Write = %v", err)
				}
			}
		})
	}
	// A whole line that is no checkpoint is not passed over.
	path := filepath.Join(t.TempDir(), "checkpoints")
	s := openSink(t, path)
	check(t, s.Write(t.Context(), cps[0]))
	appendTo(t, path, `{"checkpoint":"made up"}`+"\n"+`{"other":1}`+"\n")
	if _, err := s.Last(t.Context()); err == nil {
		t.Error("Last passes over a foreign line")
	}
	r, err := audit.Verify(t.Context(), m, v, s.All(t.Context()))
	if err != nil || r.Completeness == nil {
		t.Errorf("%v\n%v", err, r)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path+".new", b, 0o644))
	check(t, os.Rename(path+".new", path))
}

func TestFileSinkLastOfALongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	signer, _ := newSigner(t)
	s := openSink(t, path)
	var want []byte
	for n := range 400 {
		want = sign(t, signer, audit.Head{Size: int64(n)})
		check(t, s.Write(t.Context(), want))
	}
	if last, err := s.Last(t.Context()); !bytes.Equal(last, want) || err != nil {
		t.Errorf("Last = %q, %v", last, err)
	}
	if n := len(all(t, s)); n != 400 {
		t.Errorf("%d checkpoints", n)
	}
}

func TestOpenRefusesMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "file")
	if _, err := audit.OpenFileSink(path); err == nil {
		t.Error("sink opened")
	}
	if _, err := audit.OpenJournal(path); err == nil {
		t.Error("journal opened")
	}
}

func openJournal(t *testing.T, path string) *audit.Journal {
	t.Helper()
	j, err := audit.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, path)
	write := func(kind, object string) int64 {
		n, err := j.Append(epoch, kind, map[string]string{"object": object, "reason": "{\"}\n"})
		check(t, err)
		return n
	}
	one := write("freeze", "agt_1")
	two := write("connection.revoke", "con_1")
	check(t, j.Settle(epoch.Add(time.Second), two))
	write("freeze", "agt_2")
	// What came before a settled entry may still be on its way.
	if pending, err := j.Pending(); err != nil || len(pending) != 2 || pending[0].N != one {
		t.Errorf("pending %+v, %v", pending, err)
	}
	check(t, j.Settle(epoch.Add(time.Second), one))

	again := openJournal(t, path)
	entries, err := again.Entries()
	check(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Kind+" "+e.Data["object"])
		if !e.At.Equal(epoch) || e.Data["reason"] != "{\"}\n" {
			t.Errorf("entry %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"freeze agt_1", "connection.revoke con_1", "freeze agt_2"}, got); diff != "" {
		t.Error(diff)
	}
	pending, err := again.Pending()
	check(t, err)
	if len(pending) != 1 || pending[0].Data["object"] != "agt_2" {
		t.Errorf("pending %+v", pending)
	}
	n, err := again.Append(epoch, "freeze", nil)
	check(t, err)
	if n <= pending[0].N {
		t.Errorf("number %d follows %d", n, pending[0].N)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

// A line that settles all before it is understood, and settles no later one.
func TestJournalSettledUpTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	check(t, os.WriteFile(path, []byte(`{"n":1,"at":1,"kind":"freeze","data":{"object":"agt_1"}}
{"n":2,"at":1,"kind":"freeze","data":{"object":"agt_2"}}
{"n":3,"at":1,"kind":"settled","data":{"n":"2"}}
{"n":4,"at":1,"kind":"freeze","data":{"object":"agt_3"}}
`), 0o600))
	j := openJournal(t, path)
	if pending, err := j.Pending(); err != nil || len(pending) != 1 || pending[0].N != 4 {
		t.Errorf("pending %+v, %v", pending, err)
	}
	if all, err := j.Entries(); err != nil || len(all) != 3 {
		t.Errorf("entries %+v, %v", all, err)
	}
}

func TestJournalTornAndDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	_, err := openJournal(t, path).Append(epoch, "freeze", map[string]string{"object": "agt_1"})
	check(t, err)
	line, err := os.ReadFile(path)
	check(t, err)
	for cut := 1; cut < len(line); cut++ {
		torn := filepath.Join(t.TempDir(), "torn")
		check(t, os.WriteFile(torn, append(bytes.Clone(line), line[:cut]...), 0o600))
		j := openJournal(t, torn)
		_, err := j.Append(epoch, "freeze", map[string]string{"object": "agt_2"})
		check(t, err)
		for _, j := range []*audit.Journal{j, openJournal(t, torn)} {
			if entries, err := j.Entries(); err != nil || len(entries) != 2 {
				t.Fatalf("cut at %d: %+v, %v", cut, entries, err)
			}
		}
	}
	// Damage is not a torn line: it may have been a revocation.
	damaged := filepath.Join(t.TempDir(), "damaged")
	check(t, os.WriteFile(damaged, append(bytes.Replace(line, []byte(`"kind"`), []byte(`"kinx`), 1), line...), 0o600))
	if _, err := audit.OpenJournal(damaged); err == nil || !strings.Contains(err.Error(), "revocation") {
		t.Errorf("damaged journal: %v", err)
	}
}

func TestJournalRefuses(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal"))
	for name, f := range map[string]func() error{
		"reserved":      func() error { _, err := j.Append(epoch, "settled", nil); return err },
		"reserved, too": func() error { _, err := j.Append(epoch, "recorded", nil); return err },
		"no kind":       func() error { _, err := j.Append(epoch, "", nil); return err },
		"key":           func() error { _, err := j.Append(epoch, "freeze", map[string]string{"A": ""}); return err },
		"value": func() error {
			_, err := j.Append(epoch, "freeze", map[string]string{"a": "\xff"})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: recorded", name)
		}
	}
}

func TestExport(t *testing.T) {
	signer, v := newSigner(t)
	m, cps := logOf(t, signer, 130, 40, 100)
	var b bytes.Buffer
	check(t, audit.WriteExport(t.Context(), &b, m, cps[1], v))
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 101 {
		t.Errorf("%d lines", n)
	}
	x, err := audit.OpenExport(bytes.NewReader(b.Bytes()))
	check(t, err)
	if x.Origin() != signer.Origin() {
		t.Errorf("origin %q", x.Origin())
	}
	r, err := audit.Verify(t.Context(), x, v, x.Checkpoints(), audit.Checkpoints(cps[0]))
	if err != nil || !r.OK() || r.Events != 100 || r.Tail != 0 {
		t.Errorf("%v\n%v", err, r)
	}
	if r := verify(t, x, v, sign(t, signer, m.head)); r.Completeness == nil || r.Completeness.First != 100 {
		t.Errorf("an outside checkpoint ahead of the export:\n%v", r)
	}

	// Another key's checkpoint at the end proves nothing.
	other, _ := newSigner(t)
	forged := bytes.Replace(b.Bytes(), []byte(`"act_50"`), []byte(`"act_51"`), 1)
	x, err = audit.OpenExport(bytes.NewReader(forged))
	check(t, err)
	if r, err := audit.Verify(t.Context(), x, v, x.Checkpoints()); err != nil || r.Integrity == nil {
		t.Errorf("%v\n%v", err, r)
	}
	if err := audit.WriteExport(t.Context(), &b, m, sign(t, other, m.head), v); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("export under a foreign checkpoint: %v", err)
	}
	ahead := sign(t, signer, audit.Head{Size: 131})
	if err := audit.WriteExport(t.Context(), &b, m, ahead, v); err == nil {
		t.Error("export under a checkpoint ahead of the log")
	}
}

func TestExportCutOff(t *testing.T) {
	signer, v := newSigner(t)
	m, cps := logOf(t, signer, 20, 20)
	var b bytes.Buffer
	check(t, audit.WriteExport(context.Background(), &b, m, cps[0], v))
	whole := b.Bytes()
	for cut := range len(whole) {
		x, err := audit.OpenExport(bytes.NewReader(whole[:cut]))
		if errors.Is(err, audit.ErrCutOff) {
			continue
		}
		check(t, err)
		if r := verify(t, x, v, cps[0]); r.OK() {
			t.Errorf("cut at %d of %d:\n%v", cut, len(whole), r)
		}
	}
}
