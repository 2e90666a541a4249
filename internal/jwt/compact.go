package jwt

import (
	"encoding/base64"
	"errors"
	"strings"
)

// maxToken bounds a compact token before anything of it is looked at.
const maxToken = 16 << 10

// maxString bounds an identifier in a claim, in bytes.
const maxString = 256

// Why a token was not verified. The operator's log may show these; callers
// see [ErrUnverified] alone.
var (
	errTokenSize   = errors.New("token longer than 16 KiB")
	errTokenShape  = errors.New("not a compact JWS: three base64url parts")
	errHeaderValue = errors.New("a header parameter has the wrong type or length")
	errHeaderKey   = errors.New("the header carries or points to a key")
	errHeaderExt   = errors.New("the header asks for an extension, compression or nesting")
	errAlgUnknown  = errors.New("the header's alg is not one that is used here")
)

// Header is what of a token's header is ever looked at. It is not verified.
type Header struct {
	KID  string // "" if absent
	Type string // "" if absent
	Alg  Alg
}

// parts are the three segments of a compact JWS, RFC 7515 §3.1, each in its
// one canonical spelling.
type parts struct{ header, payload, signature string }

// split takes raw apart without decoding it. Size comes first, so that a
// million dots cost nothing.
func split(raw string) (parts, error) {
	if len(raw) > maxToken {
		return parts{}, errTokenSize
	}
	var p parts
	var ok1, ok2 bool
	p.header, p.payload, ok1 = strings.Cut(raw, ".")
	p.payload, p.signature, ok2 = strings.Cut(p.payload, ".")
	// A JWE has five parts; canonical refuses the dots of the rest. The JSON
	// serialisations have none.
	if !ok1 || !ok2 || !canonical(p.header) || !canonical(p.payload) || !canonical(p.signature) {
		return parts{}, errTokenShape
	}
	return p, nil
}

// canonical reports whether s is the base64url of some bytes and the only
// spelling of them: the standard library's decoder skips line breaks even in
// strict mode, and is not strict about the last character's unused bits without it.
func canonical(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if !base64URL[s[i]] {
			return false
		}
	}
	last := sextet(s[len(s)-1])
	switch len(s) % 4 {
	case 0:
		return true
	case 2:
		return last&0b1111 == 0
	case 3:
		return last&0b11 == 0
	}
	return false
}

// base64URL holds the characters of RFC 4648 §5. Each byte of each token is
// looked up twice, so it is a table.
var base64URL = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()

// sextet is the value of one base64url character.
func sextet(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 26
	case c == '_':
		return 63
	case c >= 'A':
		return c - 'A'
	case c >= '0':
		return c - '0' + 52
	}
	return 62
}

// headerNames are the header parameters that have a meaning here.
var headerNames = []string{"alg", "kid", "typ", "cty", "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c"}

// parseHeader reads the first part. The thumbprint hints x5t and x5t#S256 are
// ignored like everything unknown; crit could make an unknown parameter
// matter, and is refused for it (RFC 7515 §4.1.11: nothing is understood).
func parseHeader(segment string) (Header, error) {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return Header{}, errTokenShape
	}
	var h Header
	err = scanObject(data, headerNames, func(name []byte, v value) (bool, error) {
		var into *string
		switch string(name) {
		case "alg":
			into = (*string)(&h.Alg)
		case "kid":
			into = &h.KID
		case "typ":
			into = &h.Type
		case "jku", "jwk", "x5u", "x5c":
			// They name keys that nobody registered, and a fetch would be the
			// attacker's to aim: RFC 8725 §3.10.
			return true, errHeaderKey
		case "crit", "b64", "zip", "enc", "cty":
			return true, errHeaderExt
		default:
			return false, nil
		}
		if v.kind != kindString || len(v.text) == 0 || len(v.text) > maxString {
			return true, errHeaderValue
		}
		*into = string(v.text)
		return true, nil
	})
	switch {
	case err != nil:
		return Header{}, err
	case !h.Alg.Valid():
		return Header{}, errAlgUnknown
	case h.KID != "" && !ValidKID(h.KID):
		return Header{}, errHeaderValue
	}
	return h, nil
}

// Peek reads the header and the issuer of a token **without verifying it**.
// They say whose keys to try and nothing else. An issuer that Verify would
// refuse is "". The error is [ErrUnverified].
func Peek(raw string) (Header, string, error) {
	p, err := split(raw)
	if err != nil {
		return Header{}, "", ErrUnverified.Because(err)
	}
	h, err := parseHeader(p.header)
	if err != nil {
		return Header{}, "", ErrUnverified.Because(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(p.payload)
	if err != nil {
		return Header{}, "", ErrUnverified.Because(errTokenShape)
	}
	var issuer string
	err = scanObject(payload, claimNames, func(name []byte, v value) (bool, error) {
		if string(name) == "iss" && v.kind == kindString && len(v.text) <= maxString && !hasControl(v.text) {
			issuer = string(v.text)
		}
		return isClaim(name), nil
	})
	if err != nil {
		return Header{}, "", ErrUnverified.Because(err)
	}
	return h, issuer, nil
}
