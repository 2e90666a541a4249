package jwt

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
)

// ErrUnverified is the one answer until a signature verifies: unknown agent,
// unknown key, bad signature, malformed token are the same to the caller. A
// returned error may carry a cause for the operator's log; errors.Is finds
// the sentinel.
var ErrUnverified = fault.New(fault.Unauthenticated, "unverified",
	"The signature could not be verified with a registered key. Check the client id, the key id and that the key is registered and not expired.")

var (
	errNoKey  = errors.New("no key fits the token's kid and alg")
	errBadSig = errors.New("no key verifies the signature")
)

const (
	// maxTries bounds the keys that a token without kid is tried with.
	maxTries = 10
	// expectedKeys is how many verifications a refused token without kid
	// costs at least: an agent has two keys while it rotates them.
	expectedKeys = 2
)

// Verify checks the token with the keys of the agent that it claims to come
// from, then with the rules, at the time now. It returns the key that
// verified, also when the rules then refuse the token; the claims of a
// refused token are not returned.
//
// With a kid only the key of that name is tried, without one each key of the
// header's algorithm, up to ten. A refusal before the signature verifies is
// [ErrUnverified], a later one a [fault.Error] with a Reason of this package;
// any other error means that the rules are unusable.
func Verify(raw string, keys []Key, r Rules, now time.Time) (Claims, Key, error) {
	if err := r.check(); err != nil {
		return Claims{}, Key{}, err
	}
	h, payload, key, err := open(raw, keys)
	if err != nil {
		return Claims{}, Key{}, ErrUnverified.Because(err)
	}
	if err := r.checkType(h.Type); err != nil {
		return Claims{}, key, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return Claims{}, key, err
	}
	if c.ExpiresEffective, err = r.judge(c, now); err != nil {
		return Claims{}, key, err
	}
	c.KID = key.KID
	c.Hash = signedHash(raw)
	return c, key, nil
}

// DummyVerify spends the time that Verify would need to refuse raw. Call it
// where no agent was found, so that time does not tell whether there is one.
func DummyVerify(raw string) {
	_, _, _, _ = open(raw, nil) // fails by construction: nobody has the keys' private halves
}

// open finds the key that verifies raw and returns the payload. It verifies
// with stand-in keys what it did not verify with real ones, so that the cost
// of a refusal follows from the token alone.
func open(raw string, keys []Key) (Header, []byte, Key, error) {
	p, err := split(raw)
	if err != nil {
		return Header{}, nil, Key{}, err
	}
	h, err := parseHeader(p.header)
	if err != nil {
		return Header{}, nil, Key{}, err
	}
	signed := []byte(raw[:len(p.header)+1+len(p.payload)]) // RFC 7515 §5.1 step 5
	sig, err := base64.RawURLEncoding.DecodeString(p.signature)
	if err != nil {
		return Header{}, nil, Key{}, errTokenShape
	}
	payload, err := base64.RawURLEncoding.DecodeString(p.payload)
	if err != nil {
		return Header{}, nil, Key{}, errTokenShape
	}
	most, least := maxTries, expectedKeys
	if h.KID != "" {
		most, least = 1, 1
	}
	tried := 0
	for _, k := range keys {
		if k.Alg != h.Alg || h.KID != "" && k.KID != h.KID {
			continue
		}
		if tried == most {
			break
		}
		tried++
		// A key is good for the one algorithm that it was registered for, whatever
		// else its type could do: RFC 8725 §3.1.
		if k.verifies(signed, sig) {
			return h, payload, k, nil
		}
	}
	err = errBadSig
	if tried == 0 {
		err = errNoKey
	}
	for ; tried < least; tried++ {
		_ = standIns()[h.Alg].verifies(signed, sig)
	}
	return Header{}, nil, Key{}, err
}

// signedHash is the SHA-256 of raw up to its last dot.
func signedHash(raw string) [32]byte {
	end := len(raw)
	for end > 0 && raw[end-1] != '.' {
		end--
	}
	return sha256.Sum256([]byte(raw[:max(end-1, 0)]))
}
