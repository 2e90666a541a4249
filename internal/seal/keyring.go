package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/valetkey/valetkey/secret"
)

// Store keeps wrapped keys by name. It never sees one unwrapped.
type Store interface {
	// Load returns the wrapped key, and whether there is one.
	Load(ctx context.Context, name string) (wrapped []byte, found bool, err error)
	// Create stores wrapped under name unless there is one already, and
	// returns the one that is stored then. The first writer wins.
	Create(ctx context.Context, name string, wrapped []byte) (stored []byte, err error)
	// Delete removes a wrapped key for good; a missing one is no error.
	Delete(ctx context.Context, name string) error
	// Empty reports whether the store holds no key of any name.
	Empty(ctx context.Context) (bool, error)
}

const (
	rootName    = "root"
	rootFormat  = 1
	keyFormat   = 1
	valueFormat = 1
)

// maxCached bounds the data keys held in memory, unwrapped.
const maxCached = 4096

// Keyring holds the root keyset of a running server and seals and opens with
// the data keys under it. It is safe for concurrent use.
type Keyring struct {
	store Store
	root  tink.AEAD
	rows  RowMAC

	mu    sync.Mutex
	keys  *lru
	epoch uint64 // counts Forget and Shred, see dataKey
}

// The errors of opening. Neither is for the eyes of a caller: to one the
// value is gone, to the operator it may be an alarm.
var (
	// ErrShredded means that the data key is not there (any more).
	ErrShredded = errors.New("its data key was shredded")
	// ErrRefused means that the value is not what was sealed in this place:
	// it was moved, changed, or made under another key.
	ErrRefused = errors.New("it was not sealed in this place by this key, or was changed since")
)

// Open unwraps the root keyset with kek. In a store without any key it
// creates one; in any other it refuses to start without it.
func Open(ctx context.Context, kek KEK, store Store) (*Keyring, error) {
	handle, err := openRoot(ctx, kek, store)
	if err != nil {
		return nil, err
	}
	root, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("open root keyset: %w", err)
	}
	k := &Keyring{store: store, root: root, keys: newLRU(maxCached)}
	rows, err := k.wrapped(ctx, string(RowAuth), func() (*keyset.Handle, error) {
		return keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	})
	if err != nil {
		return nil, fmt.Errorf("open row authentication key: %w", err)
	}
	if k.rows.mac, err = mac.New(rows); err != nil {
		return nil, fmt.Errorf("open row authentication key: %w", err)
	}
	return k, nil
}

func openRoot(ctx context.Context, kek KEK, store Store) (*keyset.Handle, error) {
	wrapped, found, err := store.Load(ctx, rootName)
	if err != nil {
		return nil, fmt.Errorf("load root keyset: %w", err)
	}
	if !found {
		empty, err := store.Empty(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for keys: %w", err)
		}
		if empty {
			return createRoot(ctx, kek, store)
		}
		// Another process may have created it in between.
		if wrapped, found, err = store.Load(ctx, rootName); err != nil {
			return nil, fmt.Errorf("load root keyset: %w", err)
		}
		if !found {
			return nil, ErrNoRoot
		}
	}
	return unwrapRoot(ctx, kek, wrapped)
}

func createRoot(ctx context.Context, kek KEK, store Store) (*keyset.Handle, error) {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("create root keyset: %w", err)
	}
	plain, err := serialize(handle)
	if err != nil {
		return nil, fmt.Errorf("create root keyset: %w", err)
	}
	defer clear(plain)
	inner, err := kek.Wrap(ctx, plain)
	if err != nil {
		return nil, fmt.Errorf("wrap root keyset: %w", err)
	}
	if len(kek.ID()) > 255 {
		return nil, fmt.Errorf("wrap root keyset: the key's id has %d bytes, at most 255", len(kek.ID()))
	}
	stored, err := store.Create(ctx, rootName, append(rootHeader(kek), inner...))
	if err != nil {
		return nil, fmt.Errorf("store root keyset: %w", err)
	}
	return unwrapRoot(ctx, kek, stored)
}

func rootHeader(kek KEK) []byte {
	kekID := kek.ID()
	return append([]byte{rootFormat, byte(len(kekID))}, kekID...)
}

func unwrapRoot(ctx context.Context, kek KEK, wrapped []byte) (*keyset.Handle, error) {
	if len(wrapped) < 2 || wrapped[0] != rootFormat || len(wrapped) < 2+int(wrapped[1]) {
		return nil, detail(ErrWrongKey, "The stored root keyset is damaged or of a newer version: restore the database from a backup.")
	}
	sealedBy, inner := string(wrapped[2:2+int(wrapped[1])]), wrapped[2+int(wrapped[1]):]
	other := detail(ErrWrongKey, "The database was sealed with the root key %q, but the one given is %q: name the one that belongs to this database, or restore it from its backup.", printable(sealedBy), kek.ID())
	if kind(sealedBy) != kind(kek.ID()) {
		return nil, other
	}
	// Within a kind the key itself is asked first: a missing one says more
	// about what to do than its id does.
	plain, err := kek.Unwrap(ctx, inner)
	defer clear(plain)
	switch {
	case err != nil && !errors.Is(err, ErrWrongKey):
		return nil, fmt.Errorf("unwrap root keyset: %w", err)
	case kek.ID() != sealedBy:
		return nil, other
	case err != nil:
		return nil, fmt.Errorf("unwrap root keyset: %w", err)
	}
	handle, err := parse(plain)
	if err != nil {
		return nil, detail(ErrWrongKey, "The stored root keyset cannot be read: restore the database from a backup.")
	}
	return handle, nil
}

// kind is the part of a key's id before the colon: "file".
func kind(kekID string) string {
	k, _, _ := strings.Cut(kekID, ":")
	return k
}

// printable keeps what is stored as an id from acting on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// serialize returns a keyset in clear, to be encrypted at once.
func serialize(h *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&b)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func parse(plain []byte) (*keyset.Handle, error) {
	return insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(plain)))
}

// wrap encrypts with the root, bound to a name.
func (k *Keyring) wrap(name string, plain []byte) ([]byte, error) {
	sealed, err := k.root.Encrypt(plain, wrapContext(name))
	if err != nil {
		return nil, err
	}
	return append([]byte{keyFormat}, sealed...), nil
}

func (k *Keyring) unwrap(name string, wrapped []byte) ([]byte, error) {
	if len(wrapped) == 0 || wrapped[0] != keyFormat {
		return nil, ErrRefused
	}
	plain, err := k.root.Decrypt(wrapped[1:], wrapContext(name))
	if err != nil {
		return nil, ErrRefused
	}
	return plain, nil
}

func wrapContext(name string) []byte {
	return framed("valetkey wrapped key 1", name)
}

// stored returns the plaintext kept under name. With create it makes and
// stores one where there is none; without, that is ErrShredded.
func (k *Keyring) stored(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error) {
	wrapped, found, err := k.store.Load(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", name, err)
	}
	if !found {
		if create == nil {
			return nil, fmt.Errorf("load key %s: %w", name, ErrShredded)
		}
		plain, err := create()
		if err != nil {
			return nil, fmt.Errorf("create key %s: %w", name, err)
		}
		defer clear(plain)
		ours, err := k.wrap(name, plain)
		if err != nil {
			return nil, fmt.Errorf("create key %s: %w", name, err)
		}
		if wrapped, err = k.store.Create(ctx, name, ours); err != nil {
			return nil, fmt.Errorf("store key %s: %w", name, err)
		}
	}
	plain, err := k.unwrap(name, wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrap key %s: %w", name, err)
	}
	return plain, nil
}

// wrapped is stored for keysets.
func (k *Keyring) wrapped(ctx context.Context, name string, create func() (*keyset.Handle, error)) (*keyset.Handle, error) {
	var bytesOf func() ([]byte, error)
	if create != nil {
		bytesOf = func() ([]byte, error) {
			h, err := create()
			if err != nil {
				return nil, err
			}
			return serialize(h)
		}
	}
	plain, err := k.stored(ctx, name, bytesOf)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	h, err := parse(plain)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", name, ErrRefused)
	}
	return h, nil
}

// dataKey returns the data key of a name, from memory if it is there.
func (k *Keyring) dataKey(ctx context.Context, name Name, create bool) (tink.AEAD, error) {
	if err := name.check(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	a, ok := k.keys.get(name)
	epoch := k.epoch
	k.mu.Unlock()
	if ok {
		return a, nil
	}
	var makeKey func() (*keyset.Handle, error)
	if create {
		makeKey = func() (*keyset.Handle, error) { return keyset.NewHandle(dataKeyTemplate()) }
	}
	h, err := k.wrapped(ctx, string(name), makeKey)
	if err != nil {
		return nil, err
	}
	if a, err = aead.New(h); err != nil {
		return nil, fmt.Errorf("use key %s: %w", name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// A key loaded before it was shredded must not come back afterwards.
	if k.epoch == epoch {
		k.keys.put(name, a)
	}
	return a, nil
}

func dataKeyTemplate() *tinkpb.KeyTemplate { return aead.XAES256GCM192BitNonceKeyTemplate() }

// Forget drops a data key from memory. It is for who learns from the log that
// another replica shredded the key; until then that one still opens what was
// sealed under it, if it was in memory there.
func (k *Keyring) Forget(name Name) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch++
	k.keys.drop(name)
}

// Shred deletes a data key: what was sealed under it cannot be opened again,
// in whatever free page or copy it survives, but for who has a copy of the
// wrapped key too, as in a backup of the whole database from before. Keys of
// whole deployments cannot be shredded.
func (k *Keyring) Shred(ctx context.Context, name Name) error {
	if err := name.check(); err != nil {
		return fmt.Errorf("shred: %w", err)
	}
	if err := k.store.Delete(ctx, string(name)); err != nil {
		return fmt.Errorf("shred key %s: %w", name, err)
	}
	k.Forget(name)
	return nil
}

// Secret returns the secret of a purpose that has one per deployment. The
// first call ever makes it with generate (nil stands for 32 random bytes in
// base64url) and stores it wrapped; every later one returns that.
func (k *Keyring) Secret(ctx context.Context, p Purpose, generate func() (secret.Text, error)) (secret.Text, error) {
	if !slices.Contains([]Purpose{AuditSigning, TokenSigning, Session}, p) {
		return secret.Text{}, fmt.Errorf("no secret has the purpose %q", p)
	}
	plain, err := k.stored(ctx, string(p), func() ([]byte, error) {
		if generate == nil {
			return []byte(secret.Random(keySize).Reveal()), nil
		}
		s, err := generate()
		if err != nil {
			return nil, err
		}
		if s.IsZero() {
			return nil, errors.New("the secret made is empty")
		}
		return []byte(s.Reveal()), nil
	})
	if err != nil {
		return secret.Text{}, err
	}
	defer clear(plain)
	return secret.New(string(plain)), nil
}
