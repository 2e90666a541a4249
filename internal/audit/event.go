package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/id"
)

// Event is one record of the log. It says who did what to what, in ids,
// reasons and salted digests: never content, never a secret.
type Event struct {
	Seq     int64             // leaf index, set by the log when it appends
	At      time.Time         // UTC, kept to the microsecond
	Org     id.Org            // empty for events of the whole deployment
	Verb    string            // "action.approved"
	Actor   string            // "agent:agt_…", "user:usr_…", "operator:0", "system"
	Object  string            // what it was done to: "act_…"
	Subject string            // whose data it concerns, may be empty
	Data    map[string]string // flat; keys of a–z, 0–9, "_" and "."
}

// The limits of an event. An event over a limit cannot be recorded, so the
// change that it belongs to cannot happen; callers bound their input earlier.
const (
	MaxName    = 256  // bytes of org, verb, actor, object and subject each
	MaxKey     = 64   // bytes of a data key
	MaxValue   = 2048 // bytes of a data value
	MaxMembers = 32   // data members
	MaxEncoded = 32 << 10
)

// format is the version of the encoding, inside the hash as everything else.
const format = 1

// ErrMalformed is the cause of every refusal to append or to read an event.
var ErrMalformed = errors.New("malformed audit event")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Check reports whether e can be recorded. It does not look at Seq, which
// the log sets.
func (e Event) Check() error {
	if us := e.At.UnixMicro(); us <= 0 || e.At.UTC().Year() > 9999 {
		return malformed("no usable time")
	}
	if !validVerb(e.Verb) {
		return malformed("verb %q is not dotted lower-case words", clip(e.Verb))
	}
	if e.Actor == "" {
		return malformed("%s has no actor", e.Verb)
	}
	for _, f := range []struct{ name, value string }{
		{"org", string(e.Org)}, {"actor", e.Actor}, {"object", e.Object}, {"subject", e.Subject},
	} {
		if !validName(f.value) {
			return malformed("%s: %s is over %d bytes or not printable ASCII without spaces", e.Verb, f.name, MaxName)
		}
	}
	if len(e.Data) > MaxMembers {
		return malformed("%s: %d data members, at most %d", e.Verb, len(e.Data), MaxMembers)
	}
	for k, v := range e.Data {
		if !validKey(k) {
			return malformed("%s: data key %q", e.Verb, clip(k))
		}
		// The value is not quoted in the error: it is the one field that a
		// caller may have filled with something that must not be logged.
		if len(v) > MaxValue || !utf8.ValidString(v) {
			return malformed("%s: data value of %q is over %d bytes or not UTF-8", e.Verb, k, MaxValue)
		}
	}
	if n := e.encodedSize(); n > MaxEncoded {
		return malformed("%s: %d bytes encoded, at most %d", e.Verb, n, MaxEncoded)
	}
	return nil
}

// validVerb accepts ^[a-z]+(\.[a-z_]+)+$.
func validVerb(s string) bool {
	if len(s) > MaxName {
		return false
	}
	words, length := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', c == '_' && words > 0:
			length++
		case c == '.' && length > 0:
			words, length = words+1, 0
		default:
			return false
		}
	}
	return words > 0 && length > 0
}

// validName accepts printable ASCII without the space: what ids and
// addresses are made of, and nothing that a terminal could act on.
func validName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= MaxName
}

func validKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.') {
			return false
		}
	}
	return s != "" && len(s) <= MaxKey
}

func clip(s string) string { return s[:min(len(s), 40)] }

// Encode returns the canonical encoding of an event that passes
// [Event.Check]: one line of JSON without its line end, members in a fixed
// order, data sorted by key, times as integer microseconds, and only the
// escapes that JSON demands (and DEL). The rule for escapes must not depend
// on Unicode tables, which change: an old event has to encode as it did.
func (e Event) Encode() []byte {
	b := make([]byte, 0, e.encodedSize())
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, format, 10)
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, e.Seq, 10)
	b = append(b, `,"at":`...)
	b = strconv.AppendInt(b, e.At.UnixMicro(), 10)
	b = appendMember(b, `,"org":`, string(e.Org))
	b = appendMember(b, `,"verb":`, e.Verb)
	b = appendMember(b, `,"actor":`, e.Actor)
	b = appendMember(b, `,"object":`, e.Object)
	b = appendMember(b, `,"subject":`, e.Subject)
	b = append(b, `,"data":{`...)
	for i, k := range slices.Sorted(maps.Keys(e.Data)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, e.Data[k])
	}
	return append(b, "}}"...)
}

// encodedSize is an upper bound, a few bytes above the truth.
func (e Event) encodedSize() int {
	const frame = len(`{"v":1,"seq":,"at":,"org":"","verb":"","actor":"","object":"","subject":"","data":{}}`) + 2*len("9223372036854775807")
	n := frame + escapedSize(string(e.Org)) + escapedSize(e.Verb) + escapedSize(e.Actor) + escapedSize(e.Object) + escapedSize(e.Subject)
	for k, v := range e.Data {
		n += len(`"":"",`) + escapedSize(k) + escapedSize(v)
	}
	return n
}

func escapedSize(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			n++
		case c < ' ' || c == 0x7f:
			n += len(`\u0000`) - 1
		}
	}
	return n
}

func appendMember(b []byte, name, value string) []byte {
	return appendString(append(b, name...), value)
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// Decode reads an encoding and refuses everything but the canonical one:
// what it returns encodes to exactly the bytes it was given.
func Decode(encoded []byte) (Event, error) {
	if len(encoded) > MaxEncoded {
		return Event{}, malformed("%d bytes", len(encoded))
	}
	var w struct {
		V       int               `json:"v"`
		Seq     int64             `json:"seq"`
		At      int64             `json:"at"`
		Org     id.Org            `json:"org"`
		Verb    string            `json:"verb"`
		Actor   string            `json:"actor"`
		Object  string            `json:"object"`
		Subject string            `json:"subject"`
		Data    map[string]string `json:"data"`
	}
	// The decoder's own message may quote the input, so it is not passed on.
	if err := json.Unmarshal(encoded, &w); err != nil {
		return Event{}, malformed("not the JSON of an event")
	}
	if w.V != format {
		return Event{}, malformed("format version %d is not known here", w.V)
	}
	e := Event{Seq: w.Seq, At: time.UnixMicro(w.At).UTC(), Org: w.Org, Verb: w.Verb, Actor: w.Actor, Object: w.Object, Subject: w.Subject}
	if len(w.Data) > 0 {
		e.Data = w.Data
	}
	if e.Seq < 0 {
		return Event{}, malformed("sequence number %d", e.Seq)
	}
	if err := e.Check(); err != nil {
		return Event{}, err
	}
	// Unknown, repeated, reordered and differently spelled members all
	// disappear in decoding; comparing the bytes catches every one.
	if !bytes.Equal(e.Encode(), encoded) {
		return Event{}, malformed("not in canonical form")
	}
	return e, nil
}
