package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

var epoch = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// memory is a log in memory, in the shape of a store: rows with a key, and
// stored hashes. Tests tamper with a clone of it.
type memory struct {
	mu       sync.Mutex
	frontier audit.Frontier
	records  []audit.Record
	hashes   []tlog.Hash
	head     audit.Head
	blind    bool // shows no stored hashes
}

func (m *memory) add(t testing.TB, events ...audit.Event) audit.Batch {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	next, b, err := m.frontier.Append(events)
	if err != nil {
		t.Fatal(err)
	}
	if b.FirstHash != int64(len(m.hashes)) {
		t.Fatalf("FirstHash = %d, want %d", b.FirstHash, len(m.hashes))
	}
	m.frontier, m.head = next, b.Head
	m.hashes = append(m.hashes, b.Hashes...)
	for i, e := range b.Events {
		m.records = append(m.records, audit.Record{Seq: e.Seq, Encoded: b.Encoded[i], Columns: map[string]string{"org": string(e.Org), "verb": e.Verb}})
	}
	return b
}

func (m *memory) clone() *memory {
	c := &memory{frontier: m.frontier, records: slices.Clone(m.records), hashes: slices.Clone(m.hashes), head: m.head, blind: m.blind}
	return c
}

// rehash is the attacker who can write everything in the database: sequence
// numbers, encodings where they still decode, stored hashes and head.
func (m *memory) rehash(t testing.TB) {
	t.Helper()
	old := m.records
	m.frontier, m.records, m.hashes = audit.Frontier{}, nil, nil
	for _, r := range old {
		e, err := audit.Decode(r.Encoded)
		if err != nil {
			// An undecodable record stays undecodable, but its hashes fit.
			e = event(0)
		}
		m.add(t, e)
		if err != nil {
			m.records[len(m.records)-1].Encoded = r.Encoded
		}
	}
}

func (m *memory) Head(context.Context) (audit.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, nil
}

func (m *memory) Records(context.Context) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for _, r := range m.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *memory) Hashes(context.Context) iter.Seq2[tlog.Hash, error] {
	if m.blind {
		return nil
	}
	return func(yield func(tlog.Hash, error) bool) {
		for _, h := range m.hashes {
			if !yield(h, nil) {
				return
			}
		}
	}
}

func (m *memory) ReadHashes(_ context.Context, indexes []int64) ([]tlog.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []tlog.Hash
	for _, i := range indexes {
		if i >= int64(len(m.hashes)) {
			return nil, errors.New("no such hash")
		}
		out = append(out, m.hashes[i])
	}
	return out, nil
}

func (m *memory) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(i []int64) ([]tlog.Hash, error) { return m.ReadHashes(context.Background(), i) })
}

func event(i int) audit.Event {
	return audit.Event{
		At:      epoch.Add(time.Duration(i) * time.Millisecond),
		Org:     id.Org(fmt.Sprintf("org_%d", i%7)),
		Verb:    []string{"action.submitted", "action.approved", "grant.revoked"}[i%3],
		Actor:   fmt.Sprintf("agent:agt_%d", i%11),
		Object:  fmt.Sprintf("act_%d", i),
		Subject: []string{"", "usr_1"}[i%2],
		Data:    map[string]string{"rule": "reads", "digest": fmt.Sprintf("%08x", i*7919)},
	}
}

func events(from, n int) []audit.Event {
	var out []audit.Event
	for i := range n {
		out = append(out, event(from+i))
	}
	return out
}

func newSigner(t testing.TB) (*audit.Signer, *audit.Verifier) {
	t.Helper()
	skey, vkey, err := audit.GenerateKey("valetkey.test/log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := audit.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	if s.VerifierKey() != vkey {
		t.Fatalf("VerifierKey = %q, want %q", s.VerifierKey(), vkey)
	}
	v, err := audit.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func sign(t testing.TB, s *audit.Signer, h audit.Head) []byte {
	t.Helper()
	n, err := s.Sign(h, epoch.Add(time.Duration(h.Size)*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// logOf makes a log of n events with a checkpoint after each of sizes.
func logOf(t testing.TB, s *audit.Signer, n int, sizes ...int) (*memory, [][]byte) {
	t.Helper()
	m := &memory{}
	var cps [][]byte
	at := 0
	for _, size := range append(sizes, n) {
		if size > at {
			m.add(t, events(at, size-at)...)
			at = size
		}
		if len(cps) < len(sizes) {
			cps = append(cps, sign(t, s, m.head))
		}
	}
	return m, cps
}

func verify(t testing.TB, src audit.Source, v *audit.Verifier, cps ...[]byte) audit.Report {
	t.Helper()
	r, err := audit.Verify(context.Background(), src, v, audit.Checkpoints(cps...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mutate(b []byte, f func([]byte)) []byte {
	b = bytes.Clone(b)
	f(b)
	return b
}
