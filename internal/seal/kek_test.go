package seal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/secret"
)

func TestKeyFileRefusals(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		mode os.FileMode
		size int
		want *fault.Error
	}{
		"readable by group":   {0o640, 32, seal.ErrKeyFileMode},
		"readable by all":     {0o644, 32, seal.ErrKeyFileMode},
		"writable by others":  {0o602, 32, seal.ErrKeyFileMode},
		"executable by group": {0o610, 32, seal.ErrKeyFileMode},
		"empty":               {0o600, 0, seal.ErrKeyFileSize},
		"short":               {0o600, 31, seal.ErrKeyFileSize},
		"long":                {0o600, 33, seal.ErrKeyFileSize},
		"very long":           {0o600, 1 << 20, seal.ErrKeyFileSize},
	} {
		if c.want == seal.ErrKeyFileMode && runtime.GOOS == "windows" {
			continue
		}
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "_"))
		if err := os.WriteFile(path, bytes.Repeat([]byte("K"), c.size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := seal.NewFileKEK(path)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := fault.From(err).Detail; !strings.Contains(d, path) || strings.Contains(d, "KKK") {
			t.Errorf("%s: detail %q", name, d)
		}
	}
	if _, err := seal.NewFileKEK(dir); !errors.Is(err, seal.ErrKeyFileSize) {
		t.Errorf("directory: %v", err)
	}
}

func TestKeyFileIsCreatedOnFirstStartOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	kek := fileKEK(t, path)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("there before it is needed: %v", err)
	}
	m := newMemory()
	open(t, kek, m)
	info, err := os.Stat(path)
	if err != nil || info.Size() != 32 {
		t.Fatalf("%v, %v", info, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, err := filepath.Glob(path + ".new*"); len(left) != 0 || err != nil {
		t.Errorf("left over: %v, %v", left, err)
	}
	open(t, fileKEK(t, path), m)

	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	_, err = seal.Open(t.Context(), fileKEK(t, path), m)
	if !errors.Is(err, seal.ErrKeyFileMissing) || !strings.Contains(fault.From(err).Detail, path) {
		t.Errorf("Open without the key file = %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a missing key file was replaced")
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	m := newMemory()
	open(t, fileKEK(t, one), m)
	open(t, fileKEK(t, two), newMemory())
	_, err := seal.Open(t.Context(), fileKEK(t, two), m)
	if !errors.Is(err, seal.ErrWrongKey) || strings.Count(fault.From(err).Detail, "file:") != 2 {
		t.Errorf("another key file: %v", err)
	}
	pass, err := seal.NewPassphraseKEK(secret.New("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Open(t.Context(), pass, m); !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), `"passphrase"`) {
		t.Errorf("a passphrase in place of the key file: %v", err)
	}
	// A database of a passphrase does not ask for a key file.
	p := newMemory()
	open(t, pass, p)
	missing := filepath.Join(dir, "none")
	if _, err := seal.Open(t.Context(), fileKEK(t, missing), p); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("a key file in place of the passphrase: %v", err)
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Error("a key file was made for a database that has a root")
	}
}

func TestTamperedRootIsRefused(t *testing.T) {
	_, m, kek := newKeyring(t)
	good := m.rows["root"]
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			m.rows["root"] = bytes.Clone(good)
			m.rows["root"][i] ^= bit
			if _, err := seal.Open(t.Context(), kek, m); !errors.Is(err, seal.ErrWrongKey) {
				t.Errorf("byte %d of %d flipped: %v", i, len(good), err)
			}
		}
	}
	for n := range good {
		m.rows["root"] = good[:n]
		if _, err := seal.Open(t.Context(), kek, m); !errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestMissingRootIsRefused(t *testing.T) {
	_, m, kek := newKeyring(t)
	delete(m.rows, "root")
	if _, err := seal.Open(t.Context(), kek, m); !errors.Is(err, seal.ErrNoRoot) {
		t.Errorf("Open = %v", err)
	}
	if _, ok := m.rows["root"]; ok {
		t.Error("a root was made in a store that has keys")
	}
	m.down = true
	if _, err := seal.Open(t.Context(), kek, m); !errors.Is(err, errDown) {
		t.Errorf("store down: %v", err)
	}
}

func TestTamperedRowKeyIsRefused(t *testing.T) {
	_, m, kek := newKeyring(t)
	m.rows["row_auth"][20] ^= 1
	if _, err := seal.Open(t.Context(), kek, m); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("Open = %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	const words = "cnry correct horse"
	if _, err := seal.NewPassphraseKEK(secret.New("elevenchars")); !errors.Is(err, seal.ErrPassphrase) {
		t.Errorf("short passphrase: %v", err)
	}
	kek, err := seal.NewPassphraseKEK(secret.New(words))
	if err != nil {
		t.Fatal(err)
	}
	ctx, m := t.Context(), newMemory()
	k := open(t, kek, m)
	sealed, err := k.Seal(ctx, place, secret.New("token"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.NewPassphraseKEK(secret.New(words))
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(t, again, m).Open(ctx, place, sealed)
	if err != nil || got.Reveal() != "token" {
		t.Errorf("after a restart: %v", err)
	}
	wrong, err := seal.NewPassphraseKEK(secret.New(words + "s"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Open(ctx, wrong, m); !errors.Is(err, seal.ErrWrongKey) || strings.Contains(err.Error(), "cnry") {
		t.Errorf("wrong passphrase: %v", err)
	}

	// The cost stands in the database before it is authenticated: a forged
	// one may neither exhaust the machine nor be cheap.
	root := m.rows["root"]
	cost := 2 + int(root[1]) + 1
	for name, forge := range map[string]func(b []byte){
		"no passes":     func(b []byte) { copy(b, []byte{0, 0, 0, 0}) },
		"many passes":   func(b []byte) { copy(b, []byte{0xff, 0, 0, 0}) },
		"little memory": func(b []byte) { copy(b[4:], []byte{0, 0, 0, 8}) },
		"much memory":   func(b []byte) { copy(b[4:], []byte{0xff, 0, 0, 0}) },
		"no threads":    func(b []byte) { b[8] = 0 },
		"other salt":    func(b []byte) { b[9] ^= 1 },
		"other cost":    func(b []byte) { b[3]-- },
	} {
		forged := bytes.Clone(root)
		forge(forged[cost:])
		m.rows["root"] = forged
		if _, err := seal.Open(ctx, again, m); !errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two servers starting on one empty store end with the same keys, also when
// each makes its own guess at the key file.
func TestConcurrentFirstStart(t *testing.T) {
	for range 20 {
		path, m := filepath.Join(t.TempDir(), "root.key"), newMemory()
		rings := make([]*seal.Keyring, 4)
		secrets := make([]secret.Text, len(rings))
		sealed := make([][]byte, len(rings))
		var wg sync.WaitGroup
		for i := range rings {
			wg.Go(func() {
				kek, err := seal.NewFileKEK(path)
				if err == nil {
					rings[i], err = seal.Open(context.Background(), kek, m)
				}
				if err == nil {
					secrets[i], err = rings[i].Secret(context.Background(), seal.Session, nil)
				}
				if err == nil {
					sealed[i], err = rings[i].Seal(context.Background(), place, secret.New("token"))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		tag := rings[0].RowMAC().Sum("agents", []byte("agt_1"))
		for i, k := range rings {
			if !secrets[i].Equal(secrets[0]) {
				t.Error("two session secrets")
			}
			if !k.RowMAC().Verify(tag, "agents", []byte("agt_1")) {
				t.Error("two row keys")
			}
			for _, s := range sealed {
				if got, err := k.Open(t.Context(), place, s); err != nil || got.Reveal() != "token" {
					t.Errorf("a value of another server: %v", err)
				}
			}
		}
	}
}
