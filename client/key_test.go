package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/secret"
)

func TestLoadKeyRefusesWhatOthersCanRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o660, 0o601} {
		path := filepath.Join(t.TempDir(), "agent.pem")
		if err := newKey(t, "").Save(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := client.LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v, want an error that names the command", mode, err)
		}
	}
	if _, err := client.LoadKey(t.TempDir()); err == nil {
		t.Error("a directory was loaded")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	sec1, _ := x509.MarshalECPrivateKey(p256)
	good := pkcs8(p256)
	for name, text := range map[string]string{
		"empty":      "",
		"not PEM":    "c2VjcmV0LWNhbmFyeQ==",
		"P-384":      pkcs8(p384),
		"weak RSA":   pkcs8(weak),
		"SEC 1":      string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})),
		"public key": newKey(t, "").PublicPEM(),
		"two keys":   good + good,
		"damaged":    strings.Replace(good, "M", "N", 1),
	} {
		k, err := client.ParseKey(secret.New(text))
		if err == nil {
			t.Errorf("%s: accepted as %s", name, k.Alg())
			continue
		}
		if body := strings.TrimSpace(text); len(body) > 60 && strings.Contains(err.Error(), body[40:60]) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

func TestSaveNeverReplacesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.pem")
	first := newKey(t, "")
	if err := first.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := newKey(t, "").Save(path); !os.IsExist(unwrapAll(err)) {
		t.Errorf("second Save: %v, want that the file exists", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	got, err := client.LoadKey(path)
	if err != nil || got.ID() != first.ID() {
		t.Errorf("LoadKey: %v, %v, want the first key", got, err)
	}
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

// The server takes both forms of the public half, and names the key as we do.
func TestPublicHalvesRegister(t *testing.T) {
	for _, alg := range []client.Alg{"", client.ES256, client.EdDSA, client.RS256, client.RS384, client.PS256} {
		k := newKey(t, alg)
		for form, text := range map[string]string{"PEM": k.PublicPEM(), "JWK": string(k.PublicJWK())} {
			got, err := jwt.ParsePublicKey([]byte(text), jwt.Alg(k.Alg()))
			if err != nil {
				t.Errorf("%s as %s: %v", k.Alg(), form, err)
				continue
			}
			if got.KID != k.ID() || string(got.Alg) != string(k.Alg()) {
				t.Errorf("%s as %s: kid %q alg %q, want %q %q", alg, form, got.KID, got.Alg, k.ID(), k.Alg())
			}
		}
	}
}

func TestWithAlgAndID(t *testing.T) {
	if _, err := newKey(t, client.ES256).WithAlg(client.RS256); err == nil {
		t.Error("a P-256 key took RS256")
	}
	if _, err := client.GenerateKey("HS256"); err == nil {
		t.Error("HS256 made a key")
	}
	k, err := newKey(t, client.RS256).WithAlg(client.PS256)
	if err != nil || k.Alg() != client.PS256 {
		t.Errorf("RSA as PS256: %v, %v", k, err)
	}
	if got := k.WithID("mine").ID(); got != "mine" {
		t.Errorf("ID() = %q", got)
	}
}

// No verb and no encoder shows the private half.
func TestKeyIsNotPrinted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.pem")
	k := newKey(t, client.EdDSA)
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	block, _ := pem.Decode(raw)
	seed := block.Bytes[len(block.Bytes)-32:]
	encoded, _ := json.Marshal(k)
	shown := string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, *k) + fmt.Sprintf(verb, struct{ k *client.Key }{k})
	}
	for _, form := range []string{string(seed), fmt.Sprintf("%x", seed), strings.Trim(fmt.Sprint(seed), "[]")} {
		if strings.Contains(shown, form) {
			t.Errorf("the private half is printed: %s", shown)
		}
	}
}
