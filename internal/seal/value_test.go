package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/secret"
)

const canary = "cnry_rt_7Yb2KfQ9mW4xTzL0pVhD6sGnE1uJcA8R"

var place = seal.Place{Key: seal.ConnectionKey("con_1"), Org: id.DefaultOrg, Table: "connections", Row: "con_1", Column: "refresh_token"}

// Every pair of different places refuses each other's values, and never
// opens one as something else.
func TestSwappedValuesAreRefused(t *testing.T) {
	k, _, _ := newKeyring(t)
	rng := rand.New(rand.NewPCG(3, 4))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	draw := func() seal.Place {
		return seal.Place{
			Key:    []seal.Name{seal.ConnectionKey("con_1"), seal.ConnectionKey("con_2"), seal.ConfigKey("org_a"), seal.PayloadKey("org_a", time.Unix(0, 0))}[rng.IntN(4)],
			Org:    id.Org(pick("a", "ab", "org_a")),
			Table:  pick("b", "bc", "abc", "connections"),
			Row:    pick("c", "cd", "con_1"),
			Column: pick("d", "access_token", "refresh_token"),
		}
	}
	swaps := 0
	for range 2000 {
		a, b := draw(), draw()
		sealed, err := k.Seal(t.Context(), a, secret.New(canary))
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			swaps++
			if b.Key != a.Key { // make sure that there is a key to try
				if _, err := k.Seal(t.Context(), b, secret.New("x")); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := k.Open(t.Context(), b, sealed); !errors.Is(err, seal.ErrRefused) || !got.IsZero() {
				t.Fatalf("sealed in %+v, opened in %+v: %v", a, b, err)
			}
		}
		if got, err := k.Open(t.Context(), a, sealed); err != nil || got.Reveal() != canary {
			t.Fatalf("in its own place: %v", err)
		}
	}
	if swaps < 1000 {
		t.Errorf("only %d swaps", swaps)
	}
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	k, _, _ := newKeyring(t)
	sealed, err := k.Seal(t.Context(), place, secret.New(canary))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(sealed) {
		b := bytes.Clone(sealed)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := k.Open(t.Context(), place, b); !errors.Is(err, seal.ErrRefused) {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	for n := range sealed {
		if _, err := k.Open(t.Context(), place, sealed[:n]); !errors.Is(err, seal.ErrRefused) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := k.Open(t.Context(), place, append(bytes.Clone(sealed), 0)); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestWrappedKeysAreBoundToTheirNames(t *testing.T) {
	k, m, kek := newKeyring(t)
	two := place
	two.Key = seal.ConnectionKey("con_2")
	sealed, err := k.Seal(t.Context(), place, secret.New(canary))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Seal(t.Context(), two, secret.New("x")); err != nil {
		t.Fatal(err)
	}
	m.rows[string(place.Key)], m.rows[string(two.Key)] = m.rows[string(two.Key)], m.rows[string(place.Key)]
	fresh := open(t, kek, m)
	for _, at := range []seal.Place{place, two} {
		if _, err := fresh.Open(t.Context(), at, sealed); !errors.Is(err, seal.ErrRefused) {
			t.Errorf("with swapped keys: %v", err)
		}
	}
	m.rows[string(place.Key)] = m.rows["session"]
	if _, err := fresh.Open(t.Context(), place, sealed); err == nil {
		t.Error("opened with no key at all")
	}
}

func TestPlaceMustBeWhole(t *testing.T) {
	k, m, _ := newKeyring(t)
	before := len(m.rows)
	for name, spoil := range map[string]func(*seal.Place){
		"no key":         func(p *seal.Place) { p.Key = "" },
		"key of no kind": func(p *seal.Place) { p.Key = "other/x" },
		"the root":       func(p *seal.Place) { p.Key = "root" },
		"the row key":    func(p *seal.Place) { p.Key = "row_auth" },
		"a secret":       func(p *seal.Place) { p.Key = "audit_signing" },
		"no id":          func(p *seal.Place) { p.Key = "connection/" },
		"two ids":        func(p *seal.Place) { p.Key = "connection/a/b" },
		"a space":        func(p *seal.Place) { p.Key = "connection/a b" },
		"long":           func(p *seal.Place) { p.Key = seal.Name("connection/" + strings.Repeat("a", 300)) },
		"day alone":      func(p *seal.Place) { p.Key = "payload/2026-11-22" },
		"no org":         func(p *seal.Place) { p.Org = "" },
		"no table":       func(p *seal.Place) { p.Table = "" },
		"no row":         func(p *seal.Place) { p.Row = "" },
		"no column":      func(p *seal.Place) { p.Column = "" },
	} {
		p := place
		spoil(&p)
		if _, err := k.Seal(t.Context(), p, secret.New(canary)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: Seal = %v", name, err)
		}
		if _, err := k.Open(t.Context(), p, []byte{1, 1, 0, 0, 0, 0}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if len(m.rows) != before {
		t.Error("a refusal left a key behind")
	}
}

func TestShred(t *testing.T) {
	ctx := t.Context()
	k, m, kek := newKeyring(t)
	other := open(t, kek, m) // another replica, which has the key in memory
	sealed, err := k.Seal(ctx, place, secret.New(canary))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(ctx, place, sealed); err != nil {
		t.Fatal(err)
	}
	backup := bytes.Clone(m.rows[string(place.Key)])
	if err := k.Shred(ctx, place.Key); err != nil {
		t.Fatal(err)
	}
	other.Forget(place.Key)
	for name, ring := range map[string]*seal.Keyring{"same": k, "replica": other, "restarted": open(t, kek, m)} {
		if _, err := ring.Open(ctx, place, sealed); !errors.Is(err, seal.ErrShredded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := m.rows[string(place.Key)]; ok {
		t.Error("opening created a key")
	}
	// Sealing there again makes another key, which does not open the old.
	if _, err := k.Seal(ctx, place, secret.New("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(ctx, place, sealed); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("under a new key: %v", err)
	}
	if bytes.Equal(backup, m.rows[string(place.Key)]) {
		t.Error("the same key came back")
	}
	if err := k.Shred(ctx, "root"); err == nil || m.rows["root"] == nil {
		t.Errorf("shredded the root: %v", err)
	}
	m.down = true
	if err := k.Shred(ctx, place.Key); !errors.Is(err, errDown) {
		t.Errorf("Shred without a store: %v", err)
	}
}

func TestKeysAreCached(t *testing.T) {
	k, m, _ := newKeyring(t)
	sealed, err := k.Seal(t.Context(), place, secret.New(canary))
	if err != nil {
		t.Fatal(err)
	}
	before := m.loads
	for range 10 {
		if _, err := k.Open(t.Context(), place, sealed); err != nil {
			t.Fatal(err)
		}
	}
	if m.loads != before {
		t.Errorf("%d loads", m.loads-before)
	}
	k.Forget(place.Key)
	m.down = true
	if _, err := k.Open(t.Context(), place, sealed); !errors.Is(err, errDown) || errors.Is(err, seal.ErrShredded) {
		t.Errorf("store down: %v", err)
	}
}

func TestNamesAndVersion(t *testing.T) {
	late := time.Date(2026, 11, 22, 23, 30, 0, 0, time.FixedZone("", -2*3600))
	for want, got := range map[string]seal.Name{
		"connection/con_1":               seal.ConnectionKey("con_1"),
		"payload/org_default/2026-11-23": seal.PayloadKey(id.DefaultOrg, late),
		"config/org_default":             seal.ConfigKey(id.DefaultOrg),
	} {
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if p := seal.ConnectionKey("con_1").Purpose(); p != seal.Connection {
		t.Errorf("purpose %q", p)
	}
	k, _, _ := newKeyring(t)
	one, err := k.SealBytes(t.Context(), place, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := k.SealBytes(t.Context(), place, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	f1, v1, err1 := seal.KeyVersion(one)
	f2, v2, err2 := seal.KeyVersion(two)
	if f1 != 1 || f1 != f2 || v1 == 0 || v1 != v2 || err1 != nil || err2 != nil {
		t.Errorf("versions %d.%d, %d.%d, %v, %v", f1, v1, f2, v2, err1, err2)
	}
	if _, _, err := seal.KeyVersion([]byte("plaintext")); err == nil {
		t.Error("plaintext has a key version")
	}
	if got, err := k.OpenBytes(t.Context(), place, one); err != nil || len(got) != 0 {
		t.Errorf("empty payload: %q, %v", got, err)
	}
}

// Nothing that is stored, and no error, holds the plaintext.
func TestNoSecretLeaks(t *testing.T) {
	k, m, kek := newKeyring(t)
	sealed, err := k.Seal(t.Context(), place, secret.New(canary))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Secret(t.Context(), seal.TokenSigning, func() (secret.Text, error) { return secret.New(canary), nil }); err != nil {
		t.Fatal(err)
	}
	out := []string{string(sealed), fmt.Sprintf("%+v", kek), fmt.Sprintf("%v", place)}
	for name, row := range m.rows {
		out = append(out, name, string(row))
	}
	moved := place
	moved.Row = "con_2"
	_, err = k.Open(t.Context(), moved, sealed)
	out = append(out, fmt.Sprint(err))
	m.down = true
	moved.Key = seal.ConnectionKey("con_9")
	_, err = k.Seal(t.Context(), moved, secret.New(canary))
	out = append(out, fmt.Sprint(err))
	for _, s := range out {
		if strings.Contains(s, canary) || strings.Contains(s, canary[8:20]) {
			t.Errorf("leaks: %q", s)
		}
	}
}

func TestSecret(t *testing.T) {
	ctx := t.Context()
	k, m, kek := newKeyring(t)
	calls := 0
	generate := func() (secret.Text, error) { calls++; return secret.Random(20), nil }
	one, err := k.Secret(ctx, seal.AuditSigning, generate)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*seal.Keyring{k, open(t, kek, m)} {
		if again, err := ring.Secret(ctx, seal.AuditSigning, generate); err != nil || !again.Equal(one) {
			t.Errorf("another secret: %v", err)
		}
	}
	if calls != 1 {
		t.Errorf("made %d times", calls)
	}
	session, err := k.Secret(ctx, seal.Session, nil)
	if err != nil || len(session.Reveal()) != 43 || session.Equal(one) {
		t.Errorf("session: %v", err)
	}
	for _, p := range []seal.Purpose{seal.Connection, seal.RowAuth, "root", ""} {
		if _, err := k.Secret(ctx, p, nil); err == nil {
			t.Errorf("a secret of purpose %q", p)
		}
	}
	if _, err := k.Secret(ctx, seal.TokenSigning, func() (secret.Text, error) { return secret.Text{}, nil }); err == nil {
		t.Error("stored an empty secret")
	}
	if _, err := k.Secret(ctx, seal.TokenSigning, func() (secret.Text, error) { return secret.Text{}, errDown }); !errors.Is(err, errDown) {
		t.Errorf("generator's error: %v", err)
	}
	m.rows["audit_signing"][30] ^= 1
	if _, err := k.Secret(ctx, seal.AuditSigning, generate); !errors.Is(err, seal.ErrRefused) || calls != 1 {
		t.Errorf("tampered secret: %v", err)
	}
	m.rows["audit_signing"] = m.rows["session"]
	if _, err := k.Secret(ctx, seal.AuditSigning, generate); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("another purpose's secret: %v", err)
	}
}

func TestRowMAC(t *testing.T) {
	k, m, kek := newKeyring(t)
	r := k.RowMAC()
	fields := func(s ...string) (out [][]byte) {
		for _, f := range s {
			out = append(out, []byte(f))
		}
		return out
	}
	tag := r.Sum("grants", fields("org_1", "grt_1", "agt_1", "3")...)
	if !open(t, kek, m).RowMAC().Verify(tag, "grants", fields("org_1", "grt_1", "agt_1", "3")...) {
		t.Fatal("the row itself is refused after a restart")
	}
	for name, c := range map[string]struct {
		table  string
		fields []string
	}{
		"another table":     {"agents", []string{"org_1", "grt_1", "agt_1", "3"}},
		"another org":       {"grants", []string{"org_2", "grt_1", "agt_1", "3"}},
		"another version":   {"grants", []string{"org_1", "grt_1", "agt_1", "2"}},
		"moved byte":        {"grants", []string{"org_1", "grt_1a", "gt_1", "3"}},
		"field less":        {"grants", []string{"org_1", "grt_1", "agt_1"}},
		"field more":        {"grants", []string{"org_1", "grt_1", "agt_1", "3", ""}},
		"table takes field": {"grantsorg_1", []string{"grt_1", "agt_1", "3"}},
		"none":              {"grants", nil},
	} {
		if r.Verify(tag, c.table, fields(c.fields...)...) {
			t.Errorf("%s: accepted", name)
		}
	}
	for bit := range 8 * len(tag) {
		b := bytes.Clone(tag)
		b[bit/8] ^= 1 << (bit % 8)
		if r.Verify(b, "grants", fields("org_1", "grt_1", "agt_1", "3")...) {
			t.Errorf("bit %d of the tag", bit)
		}
	}
	for _, short := range [][]byte{nil, {}, tag[:5], tag[:len(tag)-1], append(bytes.Clone(tag), 0)} {
		if r.Verify(short, "grants", fields("org_1", "grt_1", "agt_1", "3")...) {
			t.Errorf("a tag of %d bytes", len(short))
		}
	}
	other, _, _ := newKeyring(t)
	if other.RowMAC().Verify(tag, "grants", fields("org_1", "grt_1", "agt_1", "3")...) {
		t.Error("another deployment's key")
	}
}

// Two rows have the same tag only if they are the same.
func TestRowMACIsUnambiguous(t *testing.T) {
	k, _, _ := newKeyring(t)
	r := k.RowMAC()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (string, [][]byte, string) {
			table := rapid.StringMatching(`[ab]{0,2}`).Draw(t, label+" table")
			fields := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b'}), 0, 2), 0, 3).Draw(t, label)
			return table, fields, fmt.Sprintf("%q %q", table, fields)
		}
		t1, f1, s1 := draw("a")
		t2, f2, s2 := draw("b")
		if got := r.Verify(r.Sum(t1, f1...), t2, f2...); got != (s1 == s2) {
			t.Fatalf("%s verifies as %s: %v", s1, s2, got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, _, _ := newKeyring(b)
	text := secret.New(canary)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(b.Context(), place, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, _, _ := newKeyring(b)
	sealed, err := k.Seal(b.Context(), place, secret.New(canary))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(b.Context(), place, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRowMAC(b *testing.B) {
	k, _, _ := newKeyring(b)
	r, row := k.RowMAC(), []byte("org_default")
	tag := r.Sum("grants", row, row, row)
	b.ReportAllocs()
	for b.Loop() {
		if !r.Verify(tag, "grants", row, row, row) {
			b.Fatal("refused")
		}
	}
}
