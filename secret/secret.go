// Package secret holds credentials that cannot be printed, compared, logged
// or marshalled by accident.
//
// A [Text] keeps its value in a closure. Reflection cannot reach a captured
// variable, so no formatting verb, structured logger or encoder can print it,
// however deep it is buried in other values; == does not compile, because
// functions are not comparable. [Text.Reveal] is the one way out and the one
// word to search for when reviewing where plaintext goes.
package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what every printed secret looks like.
const Redacted = "[secret]"

var errMarshal = errors.New("secret: a secret.Text must not be marshalled")

// Text is a secret string. The zero value is the empty secret.
type Text struct{ reveal func() string }

// New makes a secret of s.
func New(s string) Text { return Text{func() string { return s }} }

// Random makes a secret of n random bytes, encoded as unpadded base64url.
func Random(n int) Text {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand.Read aborts the program instead
	return New(base64.RawURLEncoding.EncodeToString(b))
}

// Token makes a bearer value of n random bytes behind a prefix that says what
// it is, so that whoever finds one in the wrong place knows what was lost.
func Token(prefix string, n int) Text { return New(prefix + Random(n).Reveal()) }

// Reveal returns the plaintext. Call it only at the last step before the
// cipher, the hash or the wire.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether t holds no secret at all, or the empty one.
func (t Text) IsZero() bool { return t.reveal == nil || t.reveal() == "" }

// Equal compares two secrets in constant time, whatever their lengths.
func (t Text) Equal(u Text) bool {
	a, b := sha256.Sum256([]byte(t.Reveal())), sha256.Sum256([]byte(u.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Hash returns the SHA-256 of the secret: the form in which a bearer value
// that we issued is stored and looked up. It suits only secrets of high
// entropy; a password needs a slow hash.
func (t Text) Hash() [sha256.Size]byte { return sha256.Sum256([]byte(t.Reveal())) }

// Format implements [fmt.Formatter] for every verb.
func (Text) Format(f fmt.State, _ rune) { fmt.Fprint(f, Redacted) }

// String implements [fmt.Stringer].
func (Text) String() string { return Redacted }

// GoString implements [fmt.GoStringer].
func (Text) GoString() string { return Redacted }

// LogValue implements [slog.LogValuer].
func (Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText always fails: a secret that reaches an encoder is a mistake,
// and storing the word "[secret]" in its place would hide it.
func (Text) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalJSON always fails, as [Text.MarshalText] does.
func (Text) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// MarshalBinary always fails, as [Text.MarshalText] does.
func (Text) MarshalBinary() ([]byte, error) { return nil, errMarshal }
