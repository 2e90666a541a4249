package user

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// ErrEvidence refuses evidence that does not prove that this person's passkey
// was touched for this decision.
var ErrEvidence = fault.New(fault.Forbidden, "presence_required", "This one needs your passkey for this very request; open its page and approve there.")

// digestOf is the SHA-256 of parts, each after its length. The first one names
// the layout of the others: it keeps a digest from being taken for that of
// anything else that a passkey signs.
func digestOf(format string, parts ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, s := range append([]string{format}, parts...) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// userVerified is the UV bit of the authenticator data (WebAuthn §6.1).
const userVerified = 0x04

// Check verifies that e is the assertion of a passkey, with user verification,
// over exactly challenge. It needs nothing but e itself; whose key it is, is
// for [CheckEvidence] to find out.
func (e *Evidence) Check(challenge [32]byte) error {
	var client struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
		Origin    string `json:"origin"`
	}
	if err := json.Unmarshal(e.ClientDataJSON, &client); err != nil {
		return fmt.Errorf("client data: %w", err)
	}
	rp := sha256.Sum256([]byte(e.RPID))
	switch {
	case e.Format != evidenceFormat:
		return fmt.Errorf("format %q", e.Format)
	case subtle.ConstantTimeCompare(e.Challenge, challenge[:]) != 1,
		client.Challenge != base64.RawURLEncoding.EncodeToString(challenge[:]):
		return fmt.Errorf("another challenge was signed")
	case client.Type != string(protocol.AssertCeremony) || client.Origin != e.Origin:
		return fmt.Errorf("not an assertion for %s", e.Origin)
	case len(e.AuthenticatorData) < 37 || !bytes.Equal(e.AuthenticatorData[:32], rp[:]):
		return fmt.Errorf("not for %s", e.RPID)
	case e.AuthenticatorData[32]&userVerified == 0:
		return fmt.Errorf("the person was not verified")
	}
	key, err := webauthncose.ParsePublicKey(e.PublicKey)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	hash := sha256.Sum256(e.ClientDataJSON)
	ok, err := webauthncose.VerifySignature(key, append(bytes.Clone(e.AuthenticatorData), hash[:]...), e.Signature)
	if err != nil || !ok {
		return fmt.Errorf("the signature does not verify: %w", err)
	}
	return nil
}

// KeyHash names the public key as the log does when it is enrolled.
func (e *Evidence) KeyHash() string { return keyHash(e.PublicKey) }

// keyHash is SHA-256 over a COSE_Key, in hex.
func keyHash(cose []byte) string {
	h := sha256.Sum256(cose)
	return hex.EncodeToString(h[:])
}

// CheckEvidence verifies stored evidence: it is an assertion over challenge by
// a passkey that is enrolled for who, with the public key that is enrolled; or
// a fresh login at the identity provider, for challenge and nothing else.
func CheckEvidence(ctx context.Context, store PasskeyStore, org id.Org, who id.User, raw []byte, challenge [32]byte) error {
	if IsSignIn(raw) {
		return checkSignIn(ctx, store, org, who, raw, challenge)
	}
	var e Evidence
	if err := json.Unmarshal(raw, &e); err != nil {
		return ErrEvidence.Because(fmt.Errorf("decode evidence: %w", err))
	}
	if err := e.Check(challenge); err != nil {
		return ErrEvidence.Because(err)
	}
	keys, err := store.OfUser(ctx, org, who)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !bytes.Equal(k.CredentialID, e.CredentialID) {
			continue
		}
		c, err := k.record()
		if err != nil {
			return err
		}
		if bytes.Equal(c.PublicKey, e.PublicKey) {
			return nil
		}
	}
	return ErrEvidence.Because(fmt.Errorf("the key is not one of %s", who))
}
