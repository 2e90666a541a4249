package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/secret"
)

func TestGenerateKeyRefusesNames(t *testing.T) {
	for _, origin := range []string{"", "a b", "a+b", "a\nb", "é.example", strings.Repeat("a", 300)} {
		if _, _, err := audit.GenerateKey(origin); err == nil {
			t.Errorf("GenerateKey(%q) succeeded", origin)
		}
	}
}

func TestNewSignerNeverQuotesTheKey(t *testing.T) {
	skey, _, err := audit.GenerateKey("valetkey.test")
	if err != nil {
		t.Fatal(err)
	}
	whole := skey.Reveal()
	seed := strings.SplitN(whole, "+", 5)[4]
	for name, bad := range map[string]string{
		"empty": "", "cut": whole[:len(whole)-4], "long": whole + "AAAA", "renamed": strings.Replace(whole, "valetkey.test", "valetkey.tset", 1), "seed": seed,
	} {
		_, err := audit.NewSigner(secret.New(bad))
		if err == nil || strings.Contains(err.Error(), seed[:8]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := audit.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	if out := fmt.Sprintf("%v", s.VerifierKey()); strings.Contains(out, seed[:8]) {
		t.Error("the verifier key holds the seed")
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	s, v := newSigner(t)
	m, _ := logOf(t, s, 10)
	signed, err := s.Sign(m.head, epoch)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	if want := (audit.Checkpoint{Origin: s.Origin(), Head: m.head, At: epoch}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	lines := strings.Split(string(signed), "\n")
	if lines[0] != "valetkey.test/log" || lines[1] != "10" || lines[2] != m.head.Root.String() || lines[3] != fmt.Sprintf("time %d", epoch.UnixMicro()) || lines[4] != "" {
		t.Errorf("note:\n%s", signed)
	}
}

// Every flipped bit of a note is refused or leaves what it says as it was
// (a note's signature line may be spelled in more than one way).
func TestCheckpointBitFlips(t *testing.T) {
	s, v := newSigner(t)
	m, _ := logOf(t, s, 10)
	signed := sign(t, s, m.head)
	want, err := v.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Index(signed, []byte("\n\n"))
	for bit := range 8 * len(signed) {
		c, err := v.Parse(mutate(signed, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) }))
		if err == nil && (c != want || bit/8 <= body) {
			t.Errorf("bit %d: parsed as %+v", bit, c)
		}
	}
}

// A body that our own key signed is still refused when it is not a
// checkpoint of this log in canonical form.
func TestParseRefusesSignedNonsense(t *testing.T) {
	skey, vkey, err := audit.GenerateKey("valetkey.test")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := note.NewSigner(skey.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	v, err := audit.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	root := audit.Frontier{}.Head().Root.String()
	for name, body := range map[string]string{
		"another log":   "other.test\n0\n" + root + "\ntime 1\n",
		"no time":       "valetkey.test\n0\n" + root + "\n",
		"more lines":    "valetkey.test\n0\n" + root + "\ntime 1\nmore\n",
		"leading zero":  "valetkey.test\n01\n" + root + "\ntime 1\n",
		"plus":          "valetkey.test\n+1\n" + root + "\ntime 1\n",
		"negative size": "valetkey.test\n-1\n" + root + "\ntime 1\n",
		"huge size":     "valetkey.test\n9223372036854775808\n" + root + "\ntime 1\n",
		"short root":    "valetkey.test\n1\nAAAA\ntime 1\n",
		"time spelled":  "valetkey.test\n0\n" + root + "\ntime 01\n",
		"sum database":  "go.sum database tree\n0\n" + root + "\n",
	} {
		signed, err := note.Sign(&note.Note{Text: body}, raw)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := v.Parse(signed); !errors.Is(err, audit.ErrCheckpoint) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestVerifierKnowsRetiredKeysAndWitnesses(t *testing.T) {
	old, _ := newSigner(t)
	present, _ := newSigner(t)
	v, err := audit.NewVerifier(present.VerifierKey(), old.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*audit.Signer{old, present} {
		if _, err := v.Parse(sign(t, s, audit.Frontier{}.Head())); err != nil {
			t.Error(err)
		}
	}
	wkey, _, err := audit.GenerateKey("witness.test")
	if err != nil {
		t.Fatal(err)
	}
	witness, err := note.NewSigner(wkey.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(sign(t, present, audit.Frontier{}.Head()), note.VerifierList(mustVerifier(t, present.VerifierKey())))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := note.Sign(n, witness)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Parse(cosigned); err != nil {
		t.Errorf("cosigned: %v", err)
	}
	other, _, err := audit.GenerateKey("another.test")
	if err != nil {
		t.Fatal(err)
	}
	o, err := audit.NewSigner(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]string{"none": nil, "two logs": {present.VerifierKey(), o.VerifierKey()}, "malformed": {"x"}} {
		if _, err := audit.NewVerifier(keys...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func mustVerifier(t *testing.T, vkey string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestProofs(t *testing.T) {
	s, v := newSigner(t)
	m, cps := logOf(t, s, 130, 100)
	for _, seq := range []int64{0, 1, 63, 64, 98, 99} {
		p, err := audit.Prove(m.records[seq].Encoded, cps[0], v, m.reader())
		if err != nil {
			t.Fatal(err)
		}
		wire, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back audit.Proof
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Fatal(err)
		}
		e, c, err := back.Check(v)
		if err != nil || e.Seq != seq || c.Size != 100 {
			t.Fatalf("Check = %+v, %+v, %v", e, c, err)
		}
		for name, spoil := range map[string]func(*audit.Proof){
			"event":      func(p *audit.Proof) { p.Event = strings.Replace(p.Event, "action", "actiom", 1) + " " },
			"neighbour":  func(p *audit.Proof) { p.Event = string(m.records[seq+1].Encoded) },
			"path":       func(p *audit.Proof) { p.Path[0][0] ^= 1 },
			"short path": func(p *audit.Proof) { p.Path = p.Path[1:] },
			"long path":  func(p *audit.Proof) { p.Path = append(p.Path, tlog.Hash{}) },
			"checkpoint": func(p *audit.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n100\n", "\n101\n", 1) },
		} {
			bad := p
			bad.Path = append(tlog.RecordProof(nil), p.Path...)
			spoil(&bad)
			if _, _, err := bad.Check(v); err == nil {
				t.Errorf("event %d, %s changed: the proof holds", seq, name)
			}
		}
	}
	if _, err := audit.Prove(m.records[100].Encoded, cps[0], v, m.reader()); err == nil {
		t.Error("proved an event that the checkpoint does not cover")
	}
	lying := m.clone()
	lying.hashes[0][0] ^= 1
	if _, err := audit.Prove(m.records[1].Encoded, cps[0], v, lying.reader()); err == nil {
		t.Error("made a proof that does not hold")
	}
}

func TestExtensionEdges(t *testing.T) {
	s, _ := newSigner(t)
	m, _ := logOf(t, s, 20)
	empty := audit.Frontier{}.Head()
	f, err := audit.Restore(13, m.reader())
	if err != nil {
		t.Fatal(err)
	}
	part, fork := f.Head(), f.Head()
	fork.Root[0] ^= 1
	for name, c := range map[string]struct {
		older, newer audit.Head
		ok           bool
	}{
		"from nothing":         {empty, m.head, true},
		"nothing from nothing": {empty, empty, true},
		"itself":               {m.head, m.head, true},
		"part":                 {part, m.head, true},
		"fork":                 {fork, m.head, false},
		"fork of same size":    {part, fork, false},
		"shrunk":               {m.head, part, false},
		"false nothing":        {audit.Head{}, m.head, false},
		"negative":             {audit.Head{Size: -1}, m.head, false},
	} {
		p, err := audit.ProveExtension(c.older.Size, c.newer.Size, m.reader())
		if err == nil {
			err = audit.CheckExtension(p, c.older, c.newer)
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
