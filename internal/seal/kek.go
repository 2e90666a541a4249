package seal

import (
	"context"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/valetkey/valetkey/internal/fault"
)

// KEK is the key encryption key: it wraps the root keyset and lives outside
// the database.
type KEK interface {
	// Wrap encrypts and authenticates plaintext.
	Wrap(ctx context.Context, plaintext []byte) ([]byte, error)
	// Unwrap returns what Wrap was given, or an error.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
	// ID names the key, "file:3f9a…", without telling anything about it that
	// helps to find it. It is stored beside what Wrap made.
	ID() string
}

// The refusals of a start. Each says what to do.
var (
	ErrKeyFileMissing = fault.New(fault.Unavailable, "root_key_missing", "The root key file is not there.")
	ErrKeyFileMode    = fault.New(fault.Invalid, "root_key_exposed", "The root key file can be read by others.")
	ErrKeyFileSize    = fault.New(fault.Invalid, "root_key_malformed", "The root key file does not hold a root key.")
	ErrPassphrase     = fault.New(fault.Invalid, "passphrase_short", "The passphrase is too short: use at least 12 characters, better several random words.")
	ErrWrongKey       = fault.New(fault.Unavailable, "root_key_wrong", "The root key does not open this database: restore the key file or passphrase that belongs to it, or point to the data directory that belongs to this key.")
	ErrNoRoot         = fault.New(fault.Unavailable, "root_keyset_missing", "The database holds sealed data but its root keyset is gone: restore the database from a backup; a new root could open none of it.")
)

// keySize is that of XAES-256-GCM.
const keySize = 32

// rawAEAD is XAES-256-GCM under one raw key, without a key id in front: what
// a KEK made of bytes uses.
func rawAEAD(key []byte) (tink.AEAD, error) {
	params, err := xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, 12)
	if err != nil {
		return nil, err
	}
	k, err := xaesgcm.NewKey(secretdata.NewBytesFromData(key, insecuresecretdataaccess.Token{}), 0, params)
	if err != nil {
		return nil, err
	}
	m := keyset.NewManager()
	id, err := m.AddKey(k)
	if err != nil {
		return nil, err
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, err
	}
	h, err := m.Handle()
	if err != nil {
		return nil, err
	}
	return aead.New(h)
}
