package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/secret"
)

// Checkpoint is a head with the log's name and the time it was signed.
type Checkpoint struct {
	Origin string
	Head
	At time.Time
}

// maxNote bounds a signed note; ours have some 250 bytes, and witnesses may
// add a signature line each.
const maxNote = 16 << 10

// ErrCheckpoint is the cause of every refusal of a checkpoint.
var ErrCheckpoint = errors.New("checkpoint refused")

// body is the text that is signed: C2SP tlog-checkpoint, with one extension
// line for the time.
func (c Checkpoint) body() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + c.Root.String() + "\ntime " + strconv.FormatInt(c.At.UnixMicro(), 10) + "\n"
}

// parseBody reads a note's text without looking at its signatures.
func parseBody(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return Checkpoint{}, fmt.Errorf("%w: not four lines", ErrCheckpoint)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("%w: size", ErrCheckpoint)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: root", ErrCheckpoint)
	}
	us, ok := strings.CutPrefix(lines[3], "time ")
	at, err := strconv.ParseInt(us, 10, 64)
	if !ok || err != nil {
		return Checkpoint{}, fmt.Errorf("%w: time", ErrCheckpoint)
	}
	c := Checkpoint{lines[0], Head{size, root}, time.UnixMicro(at).UTC()}
	if c.Origin == "" || c.body() != text {
		return Checkpoint{}, fmt.Errorf("%w: not in canonical form", ErrCheckpoint)
	}
	return c, nil
}

// GenerateKey makes an Ed25519 key for the log named origin (a host name,
// with a path where it has several logs). skey signs; vkey is public, goes to
// whoever verifies, and names the log.
func GenerateKey(origin string) (skey secret.Text, vkey string, err error) {
	if _, err := note.NewEd25519VerifierKey(origin, make(ed25519.PublicKey, ed25519.PublicKeySize)); err != nil || !validOrigin(origin) {
		return secret.Text{}, "", fmt.Errorf("make audit key: %q cannot name a log: use a host name without spaces and plus signs", origin)
	}
	s, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return secret.Text{}, "", fmt.Errorf("make audit key: %w", err)
	}
	return secret.New(s), vkey, nil
}

// validOrigin is stricter than notes are: the name also stands in a line.
func validOrigin(s string) bool {
	return s != "" && validName(s) && !strings.Contains(s, "+")
}

// Signer signs heads.
type Signer struct {
	signer note.Signer
	vkey   string
}

// NewSigner takes a signing key made by [GenerateKey].
func NewSigner(skey secret.Text) (*Signer, error) {
	// Errors of the note package do not quote the key.
	s, err := note.NewSigner(skey.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read audit signing key: %w", err)
	}
	vkey, err := publicHalf(skey.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read audit signing key: %w", err)
	}
	return &Signer{s, vkey}, nil
}

// publicHalf derives the verifier key from a signer key that the note
// package accepted: PRIVATE+KEY+<name>+<hash>+<base64 of algorithm and seed>.
func publicHalf(skey string) (string, error) {
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("not five parts")
	}
	key, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize {
		return "", errors.New("not an Ed25519 seed")
	}
	public, ok := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("not an Ed25519 key")
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}

// Origin returns the log's name.
func (s *Signer) Origin() string { return s.signer.Name() }

// VerifierKey returns the public key in the form that [NewVerifier] takes.
func (s *Signer) VerifierKey() string { return s.vkey }

// Verifier returns a verifier for this key alone.
func (s *Signer) Verifier() (*Verifier, error) { return NewVerifier(s.vkey) }

// Sign returns the signed note for head h at the given time.
func (s *Signer) Sign(h Head, at time.Time) ([]byte, error) {
	c := Checkpoint{s.Origin(), h, at.UTC().Truncate(time.Microsecond)}
	signed, err := note.Sign(&note.Note{Text: c.body()}, s.signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of %d events: %w", h.Size, err)
	}
	return signed, nil
}

// Verifier knows the keys of one log: the present one, and retired ones
// whose checkpoints are still around.
type Verifier struct {
	origin string
	keys   note.Verifiers
}

// NewVerifier takes verifier keys, all of the same log.
func NewVerifier(vkeys ...string) (*Verifier, error) {
	v := &Verifier{}
	var keys []note.Verifier
	for _, vkey := range vkeys {
		k, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("read audit verifier key: %w", err)
		}
		if v.origin != "" && v.origin != k.Name() {
			return nil, fmt.Errorf("read audit verifier key: keys of two logs, %q and %q", v.origin, k.Name())
		}
		v.origin, keys = k.Name(), append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("read audit verifier key: none given")
	}
	v.keys = note.VerifierList(keys...)
	return v, nil
}

// Parse reads a signed checkpoint and checks that one of the log's own keys
// signed it. Signatures by others, such as witnesses, are allowed beside it.
func (v *Verifier) Parse(signed []byte) (Checkpoint, error) {
	if len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes", ErrCheckpoint, len(signed))
	}
	n, err := note.Open(signed, v.keys)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: no valid signature by a known key of %s", ErrCheckpoint, v.origin)
	}
	c, err := parseBody(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	// A key may sign only for the log that it is named after.
	if c.Origin != v.origin {
		return Checkpoint{}, fmt.Errorf("%w: it is of log %q, not %q", ErrCheckpoint, clip(c.Origin), v.origin)
	}
	return c, nil
}

// A note has several lines; files keep one record a line, so there it is the
// one member of a JSON object.
type checkpointLine struct {
	Checkpoint string `json:"checkpoint"`
}

const checkpointPrefix = `{"checkpoint":"`

// encodeLine returns the note as a line without its end.
func encodeLine(signed []byte) []byte {
	b := append([]byte(nil), checkpointPrefix...)
	b = append(b[:len(b)-1], appendString(nil, string(signed))...)
	return append(b, '}')
}

// decodeLine is the inverse; it refuses every other spelling.
func decodeLine(line []byte) (signed []byte, ok bool) {
	var w checkpointLine
	if !strings.HasPrefix(string(line[:min(len(line), len(checkpointPrefix))]), checkpointPrefix) || json.Unmarshal(line, &w) != nil {
		return nil, false
	}
	signed = []byte(w.Checkpoint)
	return signed, string(encodeLine(signed)) == string(line)
}
