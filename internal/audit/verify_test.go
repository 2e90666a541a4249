package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/audit"
)

// The log under attack: 1000 events, five checkpoints outside, ten events
// that no checkpoint covers.
const logSize, anchored = 1000, 990

type attack struct {
	*memory
	cps    [][]byte
	v      *audit.Verifier
	signer *audit.Signer
	rng    *rand.Rand
}

func newAttack(t *testing.T) attack {
	s, v := newSigner(t)
	m, cps := logOf(t, s, logSize, 100, 250, 500, 777, anchored)
	if r := verify(t, m, v, cps...); !r.OK() || r.Tail != logSize-anchored || r.Anchor.Size != anchored {
		t.Fatalf("the untouched log:\n%v", r)
	}
	return attack{m, cps, v, s, rand.New(rand.NewPCG(1, 2))}
}

// positions are the edges, the neighbours of checkpoints, and a sample.
func (a attack) positions(n int) []int {
	p := []int{0, 1, 99, 100, 101, 249, 250, 511, 512, 776, 777, 988, 989}
	for len(p) < n {
		p = append(p, a.rng.IntN(anchored))
	}
	return p
}

// detected applies tamper in two worlds. In one the attacker cannot write
// the log's hashes: the first bad sequence number must be exact. In the
// other he rewrites them all: outside checkpoints must tell, and bracket it.
func (a attack) detected(t *testing.T, pos int, tamper func(m *memory)) {
	t.Helper()
	m := a.memory.clone()
	tamper(m)
	r := verify(t, m, a.v, a.cps...)
	if got, ok := r.FirstBad(); !ok || got != int64(pos) || r.Integrity == nil {
		t.Fatalf("at %d, hashes untouched: first bad %d, %v\n%v", pos, got, ok, r)
	}
	m.rehash(t)
	if m.head == a.head {
		return // a changed sequence number, which rewriting has undone
	}
	r = verify(t, m, a.v, a.cps...)
	if f := r.Integrity; f == nil || f.First > int64(pos) || f.Last < int64(pos) {
		t.Fatalf("at %d, hashes rewritten: not between %v\n%v", pos, f, r)
	}
	if r.Anchor.Size > int64(pos) {
		t.Fatalf("at %d: the report still trusts checkpoint of %d", pos, r.Anchor.Size)
	}
}

// change decodes event i, changes it and puts the encoding back.
func change(t *testing.T, m *memory, i int, f func(*audit.Event)) {
	t.Helper()
	e, err := audit.Decode(m.records[i].Encoded)
	if err != nil {
		t.Fatal(err)
	}
	f(&e)
	m.records[i].Encoded = e.Encode()
	m.records[i].Columns = nil
}

func renumber(m *memory) {
	for i := range m.records {
		m.records[i].Seq = int64(i)
	}
}

func TestTamperCorpus(t *testing.T) {
	cases := map[string]func(*testing.T, attack){
		"aud-01": func(t *testing.T, a attack) { // flip bits
			for range 150 {
				pos := a.rng.IntN(anchored)
				bit := a.rng.IntN(8 * len(a.records[pos].Encoded))
				a.detected(t, pos, func(m *memory) {
					m.records[pos].Encoded = mutate(m.records[pos].Encoded, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
				})
			}
		},
		"aud-02": func(t *testing.T, a attack) { // delete
			for _, pos := range a.positions(30) {
				for _, keys := range []bool{false, true} {
					a.detected(t, pos, func(m *memory) {
						m.records = slices.Delete(m.records, pos, pos+1)
						if keys {
							renumber(m)
						}
					})
				}
			}
		},
		"aud-03": func(t *testing.T, a attack) { // swap neighbours
			for _, pos := range a.positions(30) {
				for _, keys := range []bool{false, true} {
					a.detected(t, pos, func(m *memory) {
						m.records[pos], m.records[pos+1] = m.records[pos+1], m.records[pos]
						if keys {
							renumber(m)
						}
					})
				}
			}
		},
		"aud-04": func(t *testing.T, a attack) { // duplicate: the copy is the first that is wrong
			for _, pos := range a.positions(30) {
				if pos+1 == anchored {
					continue // the copy would stand where no checkpoint reaches
				}
				a.detected(t, pos+1, func(m *memory) {
					m.records = slices.Insert(m.records, pos+1, m.records[pos])
				})
			}
		},
		"aud-06": func(t *testing.T, a attack) { // truncate
			for _, cut := range []int{1, 2, 9, 10, 11, 12, 100, 223, 224, 499, 500, 501, 899, 999, 1000} {
				left := logSize - cut
				m := a.memory.clone()
				m.records = m.records[:left]
				r := verify(t, m, a.v, a.cps...)
				if got, _ := r.FirstBad(); got != int64(left) || r.Integrity == nil {
					t.Fatalf("cut %d, head untouched:\n%v", cut, r)
				}
				m.rehash(t)
				if left == 0 {
					m.head = audit.Frontier{}.Head()
				}
				r = verify(t, m, a.v, a.cps...)
				if cut <= logSize-anchored {
					// Nobody outside knows of these events: the report says
					// how many such there are and claims no more.
					if !r.OK() || r.Tail != int64(left-anchored) {
						t.Fatalf("cut %d of the unanchored tail:\n%v", cut, r)
					}
					continue
				}
				if f := r.Completeness; f == nil || f.First != int64(left) || r.Integrity != nil {
					t.Fatalf("cut %d, hashes and head rewritten:\n%v", cut, r)
				}
			}
		},
		"aud-08": func(t *testing.T, a attack) { // all events of one tenant, and the head
			for tenant := range 7 {
				a.detected(t, tenant, func(m *memory) {
					m.records = slices.DeleteFunc(m.records, func(r audit.Record) bool { return r.Seq%7 == int64(tenant) })
				})
			}
		},
		"aud-12": func(t *testing.T, a attack) { // two replicas append to one head
			for _, at := range []int{1, 99, 100, 500, 776, 989} {
				fork, _ := logOf(t, a.signer, at)
				fork.add(t, events(5000, logSize-at)...)
				r := verify(t, fork, a.v, a.cps...)
				if f := r.Integrity; f == nil || f.First > int64(at) || f.Last < int64(at) {
					t.Fatalf("forked at %d:\n%v", at, r)
				}
			}
		},
		"aud-14": func(t *testing.T, a attack) { // the time only
			for _, pos := range a.positions(25) {
				a.detected(t, pos, func(m *memory) {
					change(t, m, pos, func(e *audit.Event) { e.At = e.At.Add(time.Microsecond) })
				})
			}
		},
		"aud-15": func(t *testing.T, a attack) { // tenant or actor only
			for i, pos := range a.positions(25) {
				a.detected(t, pos, func(m *memory) {
					change(t, m, pos, func(e *audit.Event) {
						if i%2 == 0 {
							e.Org += "x"
						} else {
							e.Actor = "system"
						}
					})
				})
			}
		},
		"aud-16": func(t *testing.T, a attack) { // every field is covered
			for i, f := range []func(*audit.Event){
				func(e *audit.Event) { e.Seq += 3 },
				func(e *audit.Event) { e.At = e.At.Add(time.Hour) },
				func(e *audit.Event) { e.Org = "" },
				func(e *audit.Event) { e.Verb = "action.denied" },
				func(e *audit.Event) { e.Actor += "0" },
				func(e *audit.Event) { e.Object = "" },
				func(e *audit.Event) { e.Subject = "usr_2" },
				func(e *audit.Event) { e.Data = nil },
				func(e *audit.Event) { e.Data["more"] = "" },
				func(e *audit.Event) { e.Data["rule"] = "writes" },
			} {
				m := a.memory.clone()
				change(t, m, 300+i, f)
				if r := verify(t, m, a.v, a.cps...); r.Integrity == nil || r.Integrity.First != int64(300+i) {
					t.Errorf("field %d:\n%v", i, r)
				}
			}
			// What a store keeps beside the encoding lies outside the hash.
			for _, column := range []string{"at", "org", "verb", "actor", "object", "subject", "unknown"} {
				m := a.memory.clone()
				m.records[400].Columns = map[string]string{column: "other"}
				if r := verify(t, m, a.v, a.cps...); r.Integrity == nil || r.Integrity.First != 400 {
					t.Errorf("column %s:\n%v", column, r)
				}
			}
		},
		"aud-17": func(t *testing.T, a attack) { // move to another tenant
			for _, pos := range a.positions(25) {
				a.detected(t, pos, func(m *memory) {
					change(t, m, pos, func(e *audit.Event) { e.Org = "org_other" })
					m.records[pos].Columns = map[string]string{"org": "org_other"}
				})
			}
		},
		"aud-18": func(t *testing.T, a attack) { // ('ab','c') as ('a','bc')
			for _, pos := range a.positions(25) {
				a.detected(t, pos, func(m *memory) {
					change(t, m, pos, func(e *audit.Event) {
						e.Actor, e.Object = e.Actor[:len(e.Actor)-1], e.Actor[len(e.Actor)-1:]+e.Object
					})
				})
			}
		},
		"aud-22": func(t *testing.T, a attack) { // a checkpoint smaller than the one before
			r := verify(t, a.memory, a.v, a.cps[0], a.cps[3], a.cps[1], a.cps[4])
			if f := r.Completeness; f == nil || f.First != 250 || !strings.Contains(f.What, "shrank") {
				t.Errorf("%v", r)
			}
		},
		"aud-23": func(t *testing.T, a attack) { // same size, other roots
			fork, _ := logOf(t, a.signer, 499)
			fork.add(t, event(9999))
			for _, other := range [][][]byte{
				{a.cps[1], a.cps[2], sign(t, a.signer, fork.head), a.cps[3]},
				{a.cps[1], sign(t, a.signer, fork.head), a.cps[2], a.cps[3]},
			} {
				r := verify(t, a.memory, a.v, other...)
				if f := r.Completeness; f == nil || f.First > 499 || f.Last < 499 {
					t.Errorf("split view:\n%v", r)
				}
			}
		},
		"aud-25": func(t *testing.T, a attack) { // a consistency proof from a fork
			for _, at := range []int{1, 63, 64, 499} {
				fork, _ := logOf(t, a.signer, at)
				fork.add(t, events(7000, logSize-at)...)
				f, err := audit.Restore(500, a.reader())
				if err != nil {
					t.Fatal(err)
				}
				old := f.Head()
				p, err := audit.ProveExtension(500, logSize, fork.reader())
				if err != nil {
					t.Fatal(err)
				}
				if audit.CheckExtension(p, old, fork.head) == nil {
					t.Errorf("forked at %d: the proof holds", at)
				}
				p, err = audit.ProveExtension(500, logSize, a.reader())
				if err != nil {
					t.Fatal(err)
				}
				if err := audit.CheckExtension(p, old, a.head); err != nil {
					t.Errorf("honest proof: %v", err)
				}
			}
		},
		"aud-26": func(t *testing.T, a attack) { // the witness was away, then back
			away := verify(t, a.memory, a.v, a.cps[0])
			if !away.OK() || away.Tail != 900 {
				t.Errorf("while away:\n%v", away)
			}
			m := a.memory.clone()
			change(t, m, 600, func(e *audit.Event) { e.Object = "act_other" })
			m.rehash(t)
			back := verify(t, m, a.v, a.cps[0], a.cps[4])
			if f := back.Integrity; f == nil || f.First != 100 || f.Last != 989 {
				t.Errorf("changed while away:\n%v", back)
			}
		},
		"aud-30": func(t *testing.T, a attack) { // an export with changed line ends
			var b bytes.Buffer
			if err := audit.WriteExport(context.Background(), &b, a.memory, a.cps[1], a.v); err != nil {
				t.Fatal(err)
			}
			clean := b.Bytes()
			for first, f := range map[int64]func() []byte{
				0:   func() []byte { return bytes.ReplaceAll(clean, []byte("\n"), []byte("\r\n")) },
				1:   func() []byte { return bytes.Replace(clean, []byte("\n"), []byte("\n\n"), 1) },
				250: func() []byte { return append(bytes.TrimSuffix(bytes.Clone(clean), []byte("\n")), '\r', '\n') },
			} {
				x, err := audit.OpenExport(bytes.NewReader(f()))
				if err != nil {
					t.Fatal(err)
				}
				r := verify(t, x, a.v, a.cps...)
				if got, ok := r.FirstBad(); !ok || got != first {
					t.Errorf("want first bad %d:\n%v", first, r)
				}
			}
		},
	}
	raw, err := os.ReadFile("testdata/audit_tamper.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus []struct{ ID, Operation string }
	if err := json.Unmarshal(raw, &corpus); err != nil {
		t.Fatal(err)
	}
	a := newAttack(t)
	for _, c := range corpus {
		run, ok := cases[c.ID]
		if !ok {
			t.Errorf("%s (%s): no test", c.ID, c.Operation)
			continue
		}
		t.Run(c.ID, func(t *testing.T) { run(t, a) })
	}
}

func TestVerifyFindsTamperedHashes(t *testing.T) {
	a := newAttack(t)
	for _, i := range []int{0, 1, 2, 700, len(a.hashes) - 1} {
		m := a.memory.clone()
		m.hashes[i][5] ^= 1
		level, n := tlog.SplitStoredHashIndex(int64(i))
		first := (n+1)<<level - 1 // the last leaf under it, with which it was stored
		if r := verify(t, m, a.v, a.cps...); r.Integrity == nil || r.Integrity.First != first {
			t.Errorf("hash %d, stored with event %d:\n%v", i, first, r)
		}
	}
	m := a.memory.clone()
	m.hashes = m.hashes[:len(m.hashes)-1]
	if r := verify(t, m, a.v); r.Integrity == nil || r.Integrity.First != logSize-1 {
		t.Errorf("missing hash:\n%v", r)
	}
	m = a.memory.clone()
	m.hashes = append(m.hashes, tlog.Hash{})
	if r := verify(t, m, a.v); r.Integrity == nil {
		t.Errorf("hash too many:\n%v", r)
	}
	m = a.memory.clone()
	m.head.Root[0] ^= 1
	if r := verify(t, m, a.v, a.cps...); r.Integrity == nil || r.Integrity.First != anchored {
		t.Errorf("head's root:\n%v", r)
	}
	m = a.memory.clone()
	m.head.Size--
	if r := verify(t, m, a.v, a.cps...); r.Integrity == nil || r.Integrity.First != logSize-1 {
		t.Errorf("head's size:\n%v", r)
	}
}

func TestVerifyRefusesForeignCheckpoints(t *testing.T) {
	a := newAttack(t)
	other, _ := newSigner(t)
	for name, cp := range map[string][]byte{
		"another key":    sign(t, other, a.head),
		"garbage":        []byte("{}"),
		"empty":          nil,
		"changed body":   bytes.Replace(a.cps[2], []byte("500\n"), []byte("501\n"), 1),
		"no signature":   a.cps[2][:bytes.Index(a.cps[2], []byte("\n\n"))+2],
		"a line at end":  append(bytes.Clone(a.cps[2]), "x\n"...),
		"carriage":       bytes.ReplaceAll(a.cps[2], []byte("\n"), []byte("\r\n")),
		"over the limit": bytes.Repeat([]byte("x"), 1<<20),
	} {
		r := verify(t, a.memory, a.v, a.cps[0], cp, a.cps[4])
		if r.Completeness == nil || r.Integrity != nil || r.Anchor.Size != anchored {
			t.Errorf("%s:\n%v", name, r)
		}
	}
}

func TestVerifySeveralSinks(t *testing.T) {
	a := newAttack(t)
	r, err := audit.Verify(context.Background(), a.memory, a.v, audit.Checkpoints(a.cps[0], a.cps[2]), audit.Checkpoints(a.cps[1], a.cps[1], a.cps[3]), audit.Checkpoints())
	if err != nil || !r.OK() || r.Anchor.Size != 777 || r.AnchorNumber != 3 || r.Checkpoints != 5 {
		t.Errorf("%v\n%+v", err, r)
	}
	m := a.memory.clone()
	change(t, m, 600, func(e *audit.Event) { e.Object = "act_other" })
	m.rehash(t)
	r, err = audit.Verify(context.Background(), m, a.v, audit.Checkpoints(a.cps[0]), audit.Checkpoints(a.cps[3]))
	if err != nil || r.Integrity == nil || r.Integrity.First != 100 || r.Integrity.Last != 776 {
		t.Errorf("%v\n%v", err, r)
	}
}

func TestReportLines(t *testing.T) {
	a := newAttack(t)
	var empty memory
	empty.head = audit.Frontier{}.Head()
	cut := a.memory.clone()
	cut.records = cut.records[:500]
	cut.rehash(t)
	for name, c := range map[string]struct {
		r    audit.Report
		want []string
	}{
		"sound":       {verify(t, a.memory, a.v, a.cps...), []string{"integrity: ok, 1000 events", "completeness: ok up to checkpoint 5, which covers 990 events", "unanchored tail: 10 events"}},
		"no witness":  {verify(t, a.memory, a.v), []string{"integrity: ok", "completeness: not known", "unanchored tail: 1000 events"}},
		"empty":       {verify(t, &empty, a.v), []string{"integrity: ok, 0 events", "completeness: not known", "unanchored tail: 0 events"}},
		"one event":   {verify(t, func() audit.Source { m, _ := logOf(t, a.signer, 1); return m }(), a.v), []string{"integrity: ok, 1 event,", "completeness: not known", "unanchored tail: 1 event"}},
		"lost events": {verify(t, cut, a.v, a.cps...), []string{"integrity: ok, 500 events", "completeness: BROKEN, first bad sequence number 500; events 500 to 776:", "unanchored tail: 0 events"}},
	} {
		lines := strings.Split(strings.TrimSuffix(c.r.String(), "\n"), "\n")
		if len(lines) != 3 {
			t.Fatalf("%s: %d lines:\n%v", name, len(lines), c.r)
		}
		for i := range lines {
			if !strings.HasPrefix(lines[i], c.want[i]) {
				t.Errorf("%s: line %d = %q, want %q…", name, i, lines[i], c.want[i])
			}
		}
	}
}

// failing is a source that cannot be read to its end.
type failing struct{ *memory }

func (f failing) Records(ctx context.Context) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		n := 0
		for r, err := range f.memory.Records(ctx) {
			if n++; n == 10 {
				yield(audit.Record{}, errors.New("disk"))
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestVerifyReadErrorIsNoVerdict(t *testing.T) {
	a := newAttack(t)
	if _, err := audit.Verify(context.Background(), failing{a.memory}, a.v); err == nil || !strings.Contains(err.Error(), "event 9: disk") {
		t.Errorf("err = %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := audit.Verify(ctx, a.memory, a.v); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	s, v := newSigner(b)
	m, cps := logOf(b, s, 10000, 5000, 10000)
	b.ReportAllocs()
	for b.Loop() {
		if r := verify(b, m, v, cps...); !r.OK() {
			b.Fatal(r)
		}
	}
}

// A source without stored hashes, such as an export, still gives the exact
// place of whatever breaks the sequence.
func TestVerifyWithoutStoredHashes(t *testing.T) {
	a := newAttack(t)
	for _, pos := range []int{0, 1, 500, 988, 998} {
		for name, c := range map[string]struct {
			first  int
			tamper func(m *memory)
		}{
			"deleted":    {pos, func(m *memory) { m.records = slices.Delete(m.records, pos, pos+1) }},
			"swapped":    {pos, func(m *memory) { m.records[pos], m.records[pos+1] = m.records[pos+1], m.records[pos] }},
			"duplicated": {pos + 1, func(m *memory) { m.records = slices.Insert(m.records, pos+1, m.records[pos]) }},
			"cut":        {pos, func(m *memory) { m.records = m.records[:pos] }},
		} {
			m := a.memory.clone()
			m.blind = true
			c.tamper(m)
			renumber(m)
			if got, ok := verify(t, m, a.v, a.cps...).FirstBad(); !ok || got != int64(c.first) {
				t.Errorf("%s at %d: first bad %d, %v", name, pos, got, ok)
			}
		}
	}
}
