package seal_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/internal/seal"
)

// memory is a Store in memory. Tests tamper with its rows.
type memory struct {
	mu    sync.Mutex
	rows  map[string][]byte
	loads int
	down  bool
}

func newMemory() *memory { return &memory{rows: map[string][]byte{}} }

var errDown = errors.New("database is locked")

func (m *memory) Load(_ context.Context, name string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	if m.down {
		return nil, false, errDown
	}
	w, ok := m.rows[name]
	return bytes.Clone(w), ok, nil
}

func (m *memory) Create(_ context.Context, name string, wrapped []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errDown
	}
	if _, ok := m.rows[name]; !ok {
		m.rows[name] = bytes.Clone(wrapped)
	}
	return bytes.Clone(m.rows[name]), nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	delete(m.rows, name)
	return nil
}

func (m *memory) Empty(context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return false, errDown
	}
	return len(m.rows) == 0, nil
}

func fileKEK(t testing.TB, path string) *seal.FileKEK {
	t.Helper()
	k, err := seal.NewFileKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, kek seal.KEK, store seal.Store) *seal.Keyring {
	t.Helper()
	k, err := seal.Open(context.Background(), kek, store)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKeyring(t testing.TB) (*seal.Keyring, *memory, seal.KEK) {
	t.Helper()
	m, kek := newMemory(), fileKEK(t, filepath.Join(t.TempDir(), "root.key"))
	return open(t, kek, m), m, kek
}
