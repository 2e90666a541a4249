package seal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// FileKEK is a KEK in a file of 32 random bytes that only the server's user
// can read. The file is created by the first Wrap, which happens only in an
// empty database; a file that is missing later is an error, never replaced.
type FileKEK struct {
	path string

	mu   sync.Mutex
	aead tink.AEAD // nil until the file exists
	id   string
}

var _ KEK = (*FileKEK)(nil)

// fileContext separates the uses of the file's key from each other.
const (
	fileWrapContext = "valetkey root keyset under key file"
	fileIDContext   = "valetkey key file id\x00"
)

// NewFileKEK reads the key file, if there is one, and refuses one that
// others can read or that is no key.
func NewFileKEK(path string) (*FileKEK, error) {
	k := &FileKEK{path: path}
	if err := k.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return k, nil
}

// load reads the file; an error that wraps fs.ErrNotExist means there is none.
func (k *FileKEK) load() error {
	f, err := os.Open(k.path)
	if err != nil {
		return fmt.Errorf("open root key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has that name by then
	if err != nil {
		return fmt.Errorf("open root key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return detail(ErrKeyFileSize, "%s is not a file: name a file of %d random bytes.", k.path, keySize)
	}
	// Windows reports modes that it does not keep.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return detail(ErrKeyFileMode, "%s has mode %04o and can be read or changed by others: make it its owner's alone (chmod 600), and replace the key if somebody may have read it.", k.path, mode)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return fmt.Errorf("read root key file: %w", err)
	}
	defer clear(key)
	if len(key) != keySize {
		return detail(ErrKeyFileSize, "%s does not hold exactly %d bytes: restore the key file from its backup.", k.path, keySize)
	}
	a, err := rawAEAD(key)
	if err != nil {
		return fmt.Errorf("use root key file: %w", err)
	}
	// Half of a hash of 256 random bits: it tells two files apart and
	// nothing about either.
	sum := sha256.Sum256(append([]byte(fileIDContext), key...))
	k.aead, k.id = a, "file:"+hex.EncodeToString(sum[:16])
	return nil
}

// create makes the file: written whole and flushed under a name of its own,
// then linked to its name, which fails if somebody else was first. So nobody
// ever reads half a key, and a crash leaves none behind.
func (k *FileKEK) create() error {
	// CreateTemp opens with O_EXCL and mode 0600.
	f, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".new-*")
	if err != nil {
		return fmt.Errorf("create root key file: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // what is left over is a second name of the key, or nobody's key
	key := make([]byte, keySize)
	defer clear(key)
	rand.Read(key)
	_, err = f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("create root key file: %w", err)
	}
	if err := os.Link(f.Name(), k.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create root key file: %w", err)
	}
	// The key must be durable before anything is wrapped with it.
	if err := syncDir(filepath.Dir(k.path)); err != nil {
		return fmt.Errorf("create root key file: %w", err)
	}
	return nil
}

// syncDir makes a new directory entry durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Wrap implements [KEK]. It creates the key file if there is none.
func (k *FileKEK) Wrap(_ context.Context, plaintext []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aead == nil {
		err := k.load()
		if errors.Is(err, fs.ErrNotExist) {
			if err = k.create(); err == nil {
				err = k.load()
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return k.aead.Encrypt(plaintext, []byte(fileWrapContext))
}

// Unwrap implements [KEK].
func (k *FileKEK) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aead == nil {
		if err := k.load(); errors.Is(err, fs.ErrNotExist) {
			return nil, detail(ErrKeyFileMissing, "The root key file %s is not there, and this database was sealed with one: restore it from its backup. Without it nothing sealed can be opened.", k.path)
		} else if err != nil {
			return nil, err
		}
	}
	plain, err := k.aead.Decrypt(wrapped, []byte(fileWrapContext))
	if err != nil {
		return nil, ErrWrongKey
	}
	return plain, nil
}

// ID implements [KEK].
func (k *FileKEK) ID() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aead == nil {
		return "file"
	}
	return k.id
}
