package seal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/valetkey/valetkey/secret"
)

// PassphraseKEK is a KEK derived from a passphrase with Argon2id (RFC 9106).
// Salt and cost stand in front of what it wraps, so they can be raised later
// and nothing but the passphrase must be kept.
type PassphraseKEK struct {
	passphrase secret.Text
	cost       argonCost
}

var _ KEK = (*PassphraseKEK)(nil)

// argonCost is what a guess costs.
type argonCost struct {
	passes  uint32
	memory  uint32 // KiB
	threads uint8
}

const (
	passphraseFormat = 1
	saltSize         = 16
	passphraseHeader = 1 + 4 + 4 + 1 + saltSize
	minPassphrase    = 12
)

// accepted bounds what a header may ask for. The header comes from the
// database before it is authenticated: a forged one must neither make the
// key cheap to guess nor exhaust the memory.
func (c argonCost) accepted() bool {
	return c.passes >= 1 && c.passes <= 16 && c.memory >= 19<<10 && c.memory <= 1<<20 && c.threads >= 1 && c.threads <= 16
}

// NewPassphraseKEK takes the passphrase. Its strength is all that protects a
// stolen database, so a short one is refused.
func NewPassphraseKEK(passphrase secret.Text) (*PassphraseKEK, error) {
	if utf8.RuneCountInString(passphrase.Reveal()) < minPassphrase {
		return nil, ErrPassphrase
	}
	// RFC 9106 §4, second recommended option.
	return &PassphraseKEK{passphrase, argonCost{passes: 3, memory: 64 << 10, threads: 4}}, nil
}

func (c argonCost) header(salt []byte) []byte {
	b := []byte{passphraseFormat}
	b = binary.BigEndian.AppendUint32(b, c.passes)
	b = binary.BigEndian.AppendUint32(b, c.memory)
	b = append(b, c.threads)
	return append(b, salt...)
}

// derive takes most of a second and much memory; it runs once, at start.
func (k *PassphraseKEK) derive(c argonCost, salt []byte) []byte {
	key := argon2.IDKey([]byte(k.passphrase.Reveal()), salt, c.passes, c.memory, c.threads, keySize)
	runtime.GC() // give the memory back before serving
	return key
}

// Wrap implements [KEK].
func (k *PassphraseKEK) Wrap(_ context.Context, plaintext []byte) ([]byte, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	key := k.derive(k.cost, salt)
	defer clear(key)
	a, err := rawAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("use passphrase: %w", err)
	}
	header := k.cost.header(salt)
	sealed, err := a.Encrypt(plaintext, header)
	if err != nil {
		return nil, fmt.Errorf("use passphrase: %w", err)
	}
	return append(header, sealed...), nil
}

// Unwrap implements [KEK].
func (k *PassphraseKEK) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	if len(wrapped) < passphraseHeader || wrapped[0] != passphraseFormat {
		return nil, ErrWrongKey
	}
	header, sealed := wrapped[:passphraseHeader], wrapped[passphraseHeader:]
	cost := argonCost{binary.BigEndian.Uint32(header[1:]), binary.BigEndian.Uint32(header[5:]), header[9]}
	if !cost.accepted() {
		return nil, ErrWrongKey
	}
	key := k.derive(cost, header[10:])
	defer clear(key)
	a, err := rawAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("use passphrase: %w", err)
	}
	plain, err := a.Decrypt(sealed, header)
	if err != nil {
		return nil, ErrWrongKey
	}
	return plain, nil
}

// ID implements [KEK]. A passphrase has no fingerprint: one could be used to
// guess it without paying for Argon2id.
func (k *PassphraseKEK) ID() string { return "passphrase" }
