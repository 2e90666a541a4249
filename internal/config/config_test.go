package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/fault"
)

// good is a configuration that Check accepts.
func good(t *testing.T) config.Config {
	c := config.Default()
	c.Data = filepath.Join(t.TempDir(), "data")
	return c
}

func TestCheckRefuses(t *testing.T) {
	for why, change := range map[string]func(*config.Config){
		"no data directory":                 func(c *config.Config) { c.Data = "" },
		"no public URL":                     func(c *config.Config) { c.PublicURL = "" },
		"a public URL without a scheme":     func(c *config.Config) { c.PublicURL = "valetkey.example.com" },
		"a public URL of another scheme":    func(c *config.Config) { c.PublicURL = "ftp://valetkey.example.com" },
		"a public URL without a host":       func(c *config.Config) { c.PublicURL = "https://" },
		"a public URL with a port alone":    func(c *config.Config) { c.PublicURL = "https://:8420/" },
		"a public URL with a path":          func(c *config.Config) { c.PublicURL = "https://example.com/valetkey" },
		"a public URL with a query":         func(c *config.Config) { c.PublicURL = "https://example.com/?a=b" },
		"a public URL with a fragment":      func(c *config.Config) { c.PublicURL = "https://example.com/#x" },
		"a public URL with a password":      func(c *config.Config) { c.PublicURL = "https://me:secret@example.com" },
		"a public URL with a bad port":      func(c *config.Config) { c.PublicURL = "https://example.com:port" },
		"plain http beyond this machine":    func(c *config.Config) { c.PublicURL = "http://valetkey.example.com" },
		"plain http on the network":         func(c *config.Config) { c.PublicURL = "http://192.168.1.10:8420" },
		"plain http by a lookalike":         func(c *config.Config) { c.PublicURL = "http://localhost.example.com" },
		"plain http on every address":       func(c *config.Config) { c.PublicURL = "http://0.0.0.0:8420" },
		"a listener without a port":         func(c *config.Config) { c.Listen = "127.0.0.1" },
		"no listener":                       func(c *config.Config) { c.Listen = "" },
		"a certificate without its key":     func(c *config.Config) { c.TLSCert = "cert.pem" },
		"a key without its certificate":     func(c *config.Config) { c.TLSKey = "key.pem" },
		"two databases":                     func(c *config.Config) { c.DB, c.DBFile = "sqlite:x", "y" },
		"two ways to the root key":          func(c *config.Config) { c.RootKeyFile, c.PassphraseFile = "x", "y" },
		"an operator rule of its own":       func(c *config.Config) { c.Operator = "trust" },
		"no operator rule":                  func(c *config.Config) { c.Operator = "" },
		"checkpoints inside the data":       func(c *config.Config) { c.CheckpointSink = filepath.Join(c.Data, "checkpoints") },
		"checkpoints deep inside the data":  func(c *config.Config) { c.CheckpointSink = c.Data + "/a/../b/c" },
		"checkpoints in place of the data":  func(c *config.Config) { c.CheckpointSink = c.Data },
		"checkpoints by a way back into it": func(c *config.Config) { c.CheckpointSink = filepath.Dir(c.Data) + "/x/../data/c" },
	} {
		c := good(t)
		change(&c)
		if err := c.Check(); fault.From(err).Reason != "bad_config" {
			t.Errorf("%s: %v", why, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes a password: %v", why, err)
		}
	}
}

func TestCheckCompletes(t *testing.T) {
	c := good(t)
	c.PublicURL = "https://Valetkey.Example.COM:8443"
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if c.PublicURL != "https://valetkey.example.com:8443/" {
		t.Errorf("public URL: %s", c.PublicURL)
	}
	if c.RootKeyFile != filepath.Join(c.Data, "root.key") || c.CheckpointSink != c.Data+"-checkpoints" {
		t.Errorf("root key in %s, checkpoints in %s", c.RootKeyFile, c.CheckpointSink)
	}
	if strings.HasPrefix(c.Journal(), c.Data+"/") || filepath.Dir(c.Socket()) != c.Data {
		t.Errorf("journal in %s, socket in %s", c.Journal(), c.Socket())
	}
	before := c
	if err := c.Check(); err != nil || !cmp.Equal(before, c, cmpopts.EquateComparable(netip.Prefix{})) {
		t.Errorf("a second check is not the same as one: %v", err)
	}

	c = good(t)
	c.PassphraseFile = "/etc/valetkey/passphrase"
	if err := c.Check(); err != nil || c.RootKeyFile != "" {
		t.Errorf("a passphrase and a root key file: %q, %v", c.RootKeyFile, err)
	}
	c = good(t)
	c.Data = "relative"
	if err := c.Check(); err != nil || !filepath.IsAbs(c.Data) || !filepath.IsAbs(c.CheckpointSink) {
		t.Errorf("data in %q, checkpoints in %q, %v", c.Data, c.CheckpointSink, err)
	}
	// Beside the data, under a name that begins the same, is not inside.
	c = good(t)
	c.CheckpointSink = c.Data + "-elsewhere"
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "vk.localhost": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "localhost.example.com": false, "notlocalhost": false, "127.0.0.1.nip.io": false,
		"10.0.0.1": false, "2130706433": false, "0177.0.0.1": false,
	} {
		if got := config.Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %v", host, got)
		}
	}
}

func write(t *testing.T, mode os.FileMode, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	for why, text := range map[string]string{
		"an unknown key":        "listen: 127.0.0.1:1\nlisten_on: x\n",
		"a key in another case": "Listen: 127.0.0.1:1\n",
		"a key twice":           "listen: a\nlisten: b\n",
		"no YAML":               "listen: [\n",
		"no mapping":            "- listen\n",
		"a wrong type":          "listen: {a: b}\n",
		"no network":            "trusted_proxies: [10.0.0.0]\n",
		"a secret in it":        "client_secret: x\n",
		"a second document":     "listen: 127.0.0.1:1\n---\noperator: socket\n",
	} {
		if _, err := config.Load(write(t, 0o600, text), config.Default()); fault.From(err).Reason != "bad_config" {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none"), config.Default()); fault.From(err).Reason != "bad_config" {
		t.Errorf("no file: %v", err)
	}

	base := config.Default()
	base.LogLevel = "debug"
	got, err := config.Load(write(t, 0o600, "listen: 127.0.0.1:9000\ntrusted_proxies: [10.0.0.0/8]\noperator: socket\n"), base)
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.Listen, want.Operator, want.TrustedProxies = "127.0.0.1:9000", "socket", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("the file over the base (-want +got):\n%s", diff)
	}
	for why, text := range map[string]string{"an empty file": "", "only a comment": "# nothing\n"} {
		if got, err := config.Load(write(t, 0o600, text), base); err != nil || !cmp.Equal(base, got, cmpopts.EquateComparable(netip.Prefix{})) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o660, 0o602, 0o601} {
		path := write(t, mode, "hunter2hunter2")
		_, err := config.ReadSecret(path)
		if f := fault.From(err); f.Reason != "bad_secret_file" || !strings.Contains(f.Detail, "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for why, path := range map[string]string{
		"no file":          filepath.Join(t.TempDir(), "none"),
		"an empty file":    write(t, 0o600, ""),
		"only line breaks": write(t, 0o600, "\r\n\n"),
		"a directory":      t.TempDir(),
		"no name":          "",
	} {
		if _, err := config.ReadSecret(path); fault.From(err).Reason != "bad_secret_file" {
			t.Errorf("%s: %v", why, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		got, err := config.ReadSecret(write(t, mode, " hunter2 \n"))
		if err != nil || got.Reveal() != " hunter2 " {
			t.Errorf("mode %o: %v", mode, err)
		}
		if s := fmt.Sprint(got); strings.Contains(s, "hunter2") {
			t.Errorf("it prints: %s", s)
		}
	}
}

func TestDatabase(t *testing.T) {
	c := good(t)
	if got, err := c.Database(); err != nil || got.Reveal() != "sqlite:"+filepath.Join(c.Data, "valetkey.db") {
		t.Errorf("by default: %v", err)
	}
	c.DB = "postgres://db/valetkey"
	if got, err := c.Database(); err != nil || got.Reveal() != c.DB {
		t.Errorf("by its URL: %v", err)
	}
	c.DB, c.DBFile = "", write(t, 0o600, "postgres://me:pw@db/valetkey\n")
	if got, err := c.Database(); err != nil || got.Reveal() != "postgres://me:pw@db/valetkey" {
		t.Errorf("by a file: %v", err)
	}
	c.DBFile = write(t, 0o644, "postgres://me:pw@db/valetkey\n")
	if _, err := c.Database(); fault.From(err).Reason != "bad_secret_file" {
		t.Errorf("by a file that others can read: %v", err)
	}
}
