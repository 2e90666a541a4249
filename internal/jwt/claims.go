package jwt

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Claims are what a verified token says: no more than is used. Text that
// agents wrote freely (AuditContext) is data to show with care, never a
// reason to allow anything.
type Claims struct {
	Issuer       string
	Subject      string
	Audience     string
	ID           string // jti; "" if absent
	AuditContext string // "" if absent
	OrgID        string // org_id; "" if absent

	IssuedAt  time.Time // zero if absent, as the other two
	ExpiresAt time.Time
	NotBefore time.Time

	// KID names the key that verified the token.
	KID string
	// Hash is the SHA-256 of the signed part, header and payload. The
	// signature is left out, because anybody can turn one ES256 signature
	// into a second one of the same bytes: a replay would get a new hash.
	Hash [32]byte
	// ExpiresEffective is the moment from which on the token is refused for
	// its dates alone. Until then a replay must be remembered.
	ExpiresEffective time.Time
}

// claimNames are the claims that have a meaning here.
var claimNames = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "audit_context", "org_id", "act", "may_act",
}

func isClaim(name []byte) bool {
	for _, c := range claimNames {
		if string(name) == c {
			return true
		}
	}
	return false
}

// parseClaims reads the payload of a token whose signature is good. A claim
// that is present must be well formed even where the rules do not ask for it.
func parseClaims(payload []byte) (Claims, error) {
	var c Claims
	var claimErr error
	err := scanObject(payload, claimNames, func(name []byte, v value) (bool, error) {
		known, err := c.member(name, v)
		if err != nil {
			claimErr = err
		}
		return known, err
	})
	switch {
	case claimErr != nil:
		return Claims{}, claimErr
	case err != nil:
		return Claims{}, reject(ReasonMalformedPayload, "The payload is not acceptable: %s.", err).Because(err)
	}
	return c, nil
}

func (c *Claims) member(name []byte, v value) (bool, error) {
	switch string(name) {
	case "iss":
		return true, identifier(&c.Issuer, name, v)
	case "sub":
		return true, identifier(&c.Subject, name, v)
	case "jti":
		return true, identifier(&c.ID, name, v)
	case "org_id":
		return true, identifier(&c.OrgID, name, v)
	case "aud":
		return true, audience(&c.Audience, v)
	case "audit_context":
		if v.kind != kindString || len(v.text) == 0 || utf8.RuneCount(v.text) > 256 || hasControl(v.text) {
			return true, reject(ReasonMalformedClaim, `The claim "audit_context" must be a string of 1 to 256 characters without control characters.`)
		}
		c.AuditContext = string(v.text)
		return true, nil
	case "iat":
		return true, date(&c.IssuedAt, name, v)
	case "exp":
		return true, date(&c.ExpiresAt, name, v)
	case "nbf":
		return true, date(&c.NotBefore, name, v)
	case "act", "may_act":
		// RFC 8693 §4.1, §4.4: whom an agent acts for is decided here, by its
		// grants. A token that claims it is confused at best.
		return true, reject(ReasonActorClaim, `Leave out the claim %q: an agent cannot appoint an actor.`, string(name))
	}
	return false, nil
}

func identifier(into *string, name []byte, v value) error {
	if v.kind != kindString || len(v.text) == 0 || len(v.text) > maxString || hasControl(v.text) {
		return reject(ReasonMalformedClaim, "The claim %q must be one string of 1 to %d bytes without control characters.", string(name), maxString)
	}
	*into = string(v.text)
	return nil
}

// audience reads aud: one string, or a list of exactly one. RFC 7519 §4.1.3
// allows lists, and a list would let each other party that it names replay
// the token here (RFC 7523 §3 item 3, RFC 8725 §3.9).
func audience(into *string, v value) error {
	count := 1
	if v.kind == kindArray {
		count = 0
		array := v.raw
		err := scanArray(array, func(e value) error {
			count++
			v = e
			return nil
		})
		if err != nil {
			return err
		}
	}
	if count != 1 || v.kind != kindString || len(v.text) == 0 {
		return reject(ReasonWrongAudience, `The claim "aud" must name one audience, as one string.`)
	}
	*into = string(v.text)
	return nil
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

// date reads a NumericDate, RFC 7519 §2. A fraction is dropped: exp comes
// earlier by it and age grows by it, both to the safe side; for nbf and an
// iat in the future it is less than a second within the leeway.
func date(into *time.Time, name []byte, v value) error {
	bad := func() error {
		return reject(ReasonMalformedClaim, "The claim %q must be a JSON number: seconds since 1970, not milliseconds.", string(name))
	}
	if v.kind != kindNumber {
		return bad()
	}
	f, err := strconv.ParseFloat(string(v.text), 64) // 1e400 is an error
	if err != nil || math.IsNaN(f) || f < 0 || f > maxDate {
		return bad()
	}
	*into = time.Unix(int64(f), 0).UTC()
	return nil
}
