package peers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
)

// testWorker is the exchange of an earlier token vault, sent by the program
// that was written for it, over TLS with a certificate of a private authority.
func testWorker(t *testing.T, node, binary string) {
	here, there := freePort(t), freePort(t)
	e := startEmulator(t, node, there, fmt.Sprintf("https://localhost:%d/connect/github/callback", here.n))
	pki := newAuthority(t)
	s := startServer(t, binary, here, "https", "--tls-cert", pki.cert, "--tls-key", pki.key)

	s.setProvider(t, e)
	var ada api.UserCreated
	s.json(t, &ada, "", "user", "add", "ada", "--role", "owner")
	var con api.Connection
	s.json(t, &con, octoToken+"\n", "connection", "add", "github", "--token-stdin", "--owner", "ada")
	old := newWorker(t, s, node, pki, ada.User.ID, "old-worker", "compat-2025")
	strict := newWorker(t, s, node, pki, ada.User.ID, "new-worker", "strict")
	idle := newWorker(t, s, node, pki, ada.User.ID, "idle-worker", "compat-2025")
	for _, w := range []*worker{old, strict} {
		s.cli(t, 0, "", "grant", "add", w.name, "github", "--operation", "github.issues.*", "--mode", "vend")
	}
	s.cli(t, 0, "", "grant", "add", idle.name, "github", "--operation", "github.issues.*")

	t.Run("compat-2025", func(t *testing.T) {
		got := old.send(t, 2)
		if d := cmp.Diff(map[string]any{"alg": "RS256", "typ": "token-vault-req+jwt"}, got.Header); d != "" {
			t.Fatalf("the worker sends another header (-want +got):\n%s", d)
		}
		if _, has := got.Payload["jti"]; has {
			t.Fatalf("the worker sends a jti: %v", got.Payload)
		}
		if got.Answers[0].Token != got.Answers[1].Token {
			t.Fatal("two tokens of one second differ: nothing is repeated here")
		}
		for i, a := range got.Answers {
			if a.Status != http.StatusOK || a.Headers["cache-control"] != "no-store" {
				t.Fatalf("answer %d: %d %v %v", i, a.Status, a.Headers, a.Data)
			}
			if a.Data["token_type"] != "Bearer" || a.Data["access_token"] != octoToken {
				t.Errorf("answer %d is no token of the account", i)
			}
			if _, text := a.Data["scope"].(string); !text {
				t.Errorf("answer %d: scope %v, want a string", i, a.Data["scope"])
			}
			if in, number := a.Data["expires_in"].(float64); !number || in <= 0 {
				t.Errorf("answer %d: expires_in %v", i, a.Data["expires_in"])
			}
			if a.Data["refresh_token"] != nil {
				t.Errorf("answer %d brings a refresh token", i)
			}
		}
		if n := s.events(t, "token.vended", "agent:"+old.id); n != 2 {
			t.Errorf("%d of 2 uses are in the log", n)
		}
	})
	t.Run("without a vend grant", func(t *testing.T) {
		a := idle.send(t, 1).Answers[0]
		if a.Status/100 != 4 || a.Data["access_token"] != nil {
			t.Fatalf("an agent without a vend grant is answered %d %v", a.Status, a.Data)
		}
	})
	t.Run("strict", func(t *testing.T) {
		a := strict.send(t, 1).Answers[0]
		if a.Status/100 != 4 || a.Data["access_token"] != nil {
			t.Fatalf("a strict agent is answered %d %v", a.Status, a.Data)
		}
		if !strings.HasPrefix(a.Headers["content-type"], "application/json") || a.Headers["www-authenticate"] != "" {
			t.Errorf("the refusal has headers that clients stumble over: %v", a.Headers)
		}
		// Clients of that time show the description and nothing else: it has to name
		// what is missing.
		words, _ := a.Data["error_description"].(string)
		if a.Data["error"] == "" || !strings.Contains(words, "jti") {
			t.Errorf("refused with %v, which does not name the missing jti", a.Data)
		}
		if n := s.events(t, "exchange.refused", "agent:"+strict.id); n != 1 {
			t.Errorf("%d events about the refusal, want one", n)
		}
	})
	// A token that was vended is the worker's; here it stays sealed.
	s.keeps(t, octoToken, appSecret)
}

// worker is a registered agent and the program that it is.
type worker struct {
	node, name, id string
	env            []string
}

func newWorker(t *testing.T, s *server, node string, pki authority, user, name, profile string) *worker {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := writePEM(t, filepath.Join(t.TempDir(), name+".key"), "PRIVATE KEY", private)
	half := writePEM(t, filepath.Join(t.TempDir(), name+".pub"), "PUBLIC KEY", public)
	var a api.Agent
	s.json(t, &a, "", "agent", "add", name, "--key", half, "--owner", "ada", "--profile", profile)
	if a.Profile != profile || len(a.Keys) != 1 || profile == "compat-2025" && len(a.Warnings) == 0 {
		t.Fatalf("registered as %+v", a)
	}
	return &worker{node, name, a.ID, []string{
		"NODE_EXTRA_CA_CERTS=" + pki.root, "ISSUER=" + s.url + "/", "CLIENT_ID=" + a.ID, "CREDENTIAL_ID=" + a.Keys[0].ID,
		"KEY_FILE=" + file, "SUBJECT=" + user,
	}}
}

// sent is what the worker reports of itself.
type sent struct {
	Header, Payload map[string]any
	Answers         []struct {
		Token   string
		Status  int
		Headers map[string]string
		Data    map[string]any
	}
}

func (w *worker) send(t *testing.T, times int) sent {
	t.Helper()
	var raw json.RawMessage
	script(t, w.node, append(w.env, fmt.Sprintf("TIMES=%d", times)), &raw, "worker.cjs")
	var out sent
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("the worker printed %s: %v", raw, err)
	}
	if len(out.Answers) != times {
		t.Fatalf("%d answers, want %d", len(out.Answers), times)
	}
	return out
}

// authority is a private one, and what it issued for localhost: PEM files.
type authority struct{ root, cert, key string }

func newAuthority(t *testing.T) authority {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A private authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, rootKey := issue(ca, ca, nil)
	der, key := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, rootKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{
		root: writePEM(t, filepath.Join(dir, "root.pem"), "CERTIFICATE", rootDER),
		cert: writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der),
		key:  writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", pkcs8),
	}
}

func writePEM(t *testing.T, file, kind string, der []byte) string {
	t.Helper()
	return writeFile(t, file, 0o600, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
