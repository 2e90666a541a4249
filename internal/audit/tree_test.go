package audit_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/audit"
)

// The frontier must give what the reference implementation gives: the same
// stored hashes, the same roots, whatever the batches.
func TestFrontierAgreesWithTlog(t *testing.T) {
	m := &memory{}
	var want []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, want[i])
		}
		return out, nil
	})
	n := 0
	for batch := 1; n < 300; batch = batch%9 + 1 {
		b := m.add(t, events(n, batch)...)
		for i := range b.Encoded {
			hs, err := tlog.StoredHashes(int64(n+i), b.Encoded[i], reader)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, hs...)
		}
		n += batch
		if diff := cmp.Diff(want, m.hashes); diff != "" {
			t.Fatalf("stored hashes after %d: %s", n, diff)
		}
		root, err := tlog.TreeHash(int64(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		if got := (audit.Head{Size: int64(n), Root: root}); got != m.head {
			t.Fatalf("head after %d = %v, want %v", n, m.head, got)
		}
		restored, err := audit.Restore(int64(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		if restored.Head() != m.head || restored.Size() != int64(n) {
			t.Fatalf("restored head at %d differs", n)
		}
	}
}

func TestEmptyFrontier(t *testing.T) {
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := (audit.Frontier{}).Head(); got != (audit.Head{Root: root}) {
		t.Errorf("head = %v", got)
	}
	if f, err := audit.Restore(0, nil); err != nil || f.Size() != 0 {
		t.Errorf("Restore(0) = %v, %v", f, err)
	}
	if _, err := audit.Restore(-1, nil); err == nil {
		t.Error("Restore(-1) succeeded")
	}
	if _, _, err := (audit.Frontier{}).Append(nil); !errors.Is(err, audit.ErrEmptyBatch) {
		t.Errorf("Append(nil) = %v", err)
	}
	short := tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, nil })
	if _, err := audit.Restore(5, short); err == nil {
		t.Error("Restore accepts too few hashes")
	}
}

// A frontier is a value: what is appended to it changes neither it nor what
// else was appended to it, so a rolled-back transaction costs nothing.
func TestFrontierIsAValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f audit.Frontier
		for i, n := range rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12).Draw(t, "batches") {
			before := f.Head()
			lost, _, err := f.Append(events(1000, rapid.IntRange(1, 9).Draw(t, "rolled back")))
			if err != nil {
				t.Fatal(err)
			}
			lostHead := lost.Head()
			next, _, err := f.Append(events(i*10, n))
			if err != nil {
				t.Fatal(err)
			}
			if f.Head() != before || lost.Head() != lostHead {
				t.Fatal("append changed another frontier")
			}
			f = next
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			var f audit.Frontier
			list := events(0, n)
			b.ReportAllocs()
			for b.Loop() {
				next, _, err := f.Append(list)
				if err != nil {
					b.Fatal(err)
				}
				f = next
			}
		})
	}
}
