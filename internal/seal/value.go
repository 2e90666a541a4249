package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/secret"
)

// Seal encrypts a secret for its place. It creates the place's data key if
// there is none.
func (k *Keyring) Seal(ctx context.Context, at Place, plaintext secret.Text) ([]byte, error) {
	return k.SealBytes(ctx, at, []byte(plaintext.Reveal()))
}

// Open decrypts a secret that was sealed in this place. Its error wraps
// [ErrRefused] when the value does not belong here and [ErrShredded] when
// its data key is gone.
func (k *Keyring) Open(ctx context.Context, at Place, sealed []byte) (secret.Text, error) {
	plain, err := k.OpenBytes(ctx, at, sealed)
	if err != nil {
		return secret.Text{}, err
	}
	defer clear(plain)
	return secret.New(string(plain)), nil
}

// SealBytes is Seal for payloads: request bodies and responses.
func (k *Keyring) SealBytes(ctx context.Context, at Place, plaintext []byte) ([]byte, error) {
	if err := at.check(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	key, err := k.dataKey(ctx, at.Key, true)
	if err != nil {
		return nil, at.wrap("seal", err)
	}
	sealed, err := key.Encrypt(plaintext, at.associated())
	if err != nil {
		return nil, at.wrap("seal", errors.New("encryption failed"))
	}
	return append([]byte{valueFormat}, sealed...), nil
}

// OpenBytes is Open for payloads.
func (k *Keyring) OpenBytes(ctx context.Context, at Place, sealed []byte) ([]byte, error) {
	if err := at.check(); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if len(sealed) == 0 || sealed[0] != valueFormat {
		return nil, at.wrap("open", ErrRefused)
	}
	key, err := k.dataKey(ctx, at.Key, false)
	if err != nil {
		return nil, at.wrap("open", err)
	}
	plain, err := key.Decrypt(sealed[1:], at.associated())
	if err != nil {
		return nil, at.wrap("open", ErrRefused)
	}
	return plain, nil
}

// check refuses a place with a part left out: a value bound to less than its
// cell could be moved.
func (p Place) check() error {
	if p.Org == "" || p.Table == "" || p.Row == "" || p.Column == "" {
		return fmt.Errorf("the place in table %q is not named in full", p.Table)
	}
	return p.Key.check()
}

func (p Place) wrap(doing string, err error) error {
	return fmt.Errorf("%s %s.%s of %s: %w", doing, p.Table, p.Column, p.Row, err)
}

// KeyVersion returns the format of a sealed value and the id of the key in
// its keyset that sealed it. It tells what rotation still has to reseal, and
// proves nothing about the value.
func KeyVersion(sealed []byte) (format byte, key uint32, err error) {
	// Tink's prefix: 01, then the key id.
	if len(sealed) < 6 || sealed[0] != valueFormat || sealed[1] != 1 {
		return 0, 0, ErrRefused
	}
	return sealed[0], binary.BigEndian.Uint32(sealed[2:6]), nil
}
