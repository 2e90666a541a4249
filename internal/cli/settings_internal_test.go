package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/secret"
)

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// Every field of the configuration can be set from the command line and from
// the environment: one that is added and forgotten turns this red.
func TestSettingsCover(t *testing.T) {
	want := reflect.TypeFor[config.Config]().NumField()
	if got := len(allSettings()) + 1; got != want { // --data is a flag of every command
		t.Errorf("%d settings for %d fields of the configuration", got, want)
	}
	for _, s := range allSettings() {
		var cfg config.Config
		value := "10.1.0.0/16"
		if err := s.set(&cfg, []string{value}); err != nil {
			t.Errorf("--%s: %v", s.name, err)
		}
		if s.show(&cfg) != value {
			t.Errorf("--%s shows %q after it was set to %q", s.name, s.show(&cfg), value)
		}
	}
}

func TestSettingsLayers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:1\nlog_level: warn\ntrusted_proxies: [10.0.0.1/32]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &run{getenv: environment(map[string]string{"VALETKEY_LISTEN": "127.0.0.1:2", "VALETKEY_ALLOW_INTERNAL": "10.0.0.0/8,192.168.1.1", "VALETKEY_DATA": "/env"})}
	r.Config = file
	cfg, sources, err := r.settings(&serverFlags{Listen: "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:3" || cfg.LogLevel != "warn" || cfg.Data != "/env" || cfg.LogFormat != "text" {
		t.Errorf("effective: %+v", cfg)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.1.1/32")}
	if diff := cmp.Diff(want, cfg.AllowInternal, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	from := map[string]string{}
	for _, s := range sources {
		from[s.Name] = s.Source
	}
	for name, source := range map[string]string{
		"listen": "flag", "log-level": "file", "trusted-proxy": "file", "allow-internal": "environment", "data": "environment", "log-format": "default", "config": "flag",
	} {
		if from[name] != source {
			t.Errorf("%s is from %q, want %q", name, from[name], source)
		}
	}
}

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://vk.example.com":  "https://vk.example.com/",
		"https://VK.example.com/": "https://vk.example.com/",
		"vk.example.com":          "https://vk.example.com/",
		"localhost:8420":          "http://localhost:8420/",
		"127.0.0.1:8420":          "http://127.0.0.1:8420/",
		"http://localhost:8420":   "http://localhost:8420/",
		// Refused: a login must not cross the network in the clear, nor go
		// somewhere that is only part of what was written.
		"http://vk.example.com":            "",
		"https://vk.example.com/path":      "",
		"https://user:pw@vk.example.com":   "",
		"https://vk.example.com?x=1":       "",
		"ftp://vk.example.com":             "",
		"http://localhost.evil.example":    "",
		"http://127.0.0.1.evil.example:80": "",
		"":                                 "",
	} {
		got, err := serverURL(in)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("serverURL(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"":                     {},
		"never":                {},
		"8h":                   now.Add(8 * time.Hour),
		"30d":                  now.Add(30 * 24 * time.Hour),
		"2027-01-31T00:00:00Z": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC),
	} {
		got, err := expiry(in, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("expiry(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"-1h", "0", "soon", "1x", "d", "-3d", "3.5d", "99999999d", "8 h"} {
		if got, err := expiry(bad, now); err == nil {
			t.Errorf("expiry(%q) = %v", bad, got)
		}
	}
}

// What is private must not be sent, whatever it is wrapped in.
func TestIsPrivate(t *testing.T) {
	key, err := client.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	if isPrivate([]byte(key.PublicPEM())) || isPrivate(key.PublicJWK()) {
		t.Error("a public key is taken for a private one")
	}
	for _, s := range []string{
		"-----BEGIN PRIVATE KEY-----\nx\n", "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----",
		"-----BEGIN OPENSSH PRIVATE KEY-----", key.PublicPEM() + "-----BEGIN PRIVATE KEY-----",
		`{"kty":"RSA","d":"x"}`, `{"kty":"RSA","p":"x"}`, `{"kty":"oct","k":"x"}`, `{"kty":"EC","D":"x"}`, `{"keys":[{"kty":"EC"},{"kty":"EC","d":"x"}]}`,
	} {
		if !isPrivate([]byte(s)) {
			t.Errorf("%.60q is not recognised", s)
		}
	}
}

// The login file is for its owner; a save that is cut short leaves the old one.
func TestLogins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "login.json")
	l, err := readLogins(path)
	if err != nil {
		t.Fatal(err)
	}
	l.current, l.servers["https://a/"] = "https://a/", login{"mira", secret.New("vks_one")}
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := readLogins(path)
	if err != nil {
		t.Fatal(err)
	}
	server, got, ok := again.of("")
	if !ok || server != "https://a/" || got.user != "mira" || got.token.Reveal() != "vks_one" {
		t.Errorf("read back %s, %+v, %t", server, got.user, ok)
	}
	if _, _, ok := again.of("https://b/"); ok {
		t.Error("a login for one server counts for another")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := readLogins(path); err == nil || !strings.Contains(err.Error(), "Others can read") {
		t.Errorf("a file that others can read: %v", err)
	}
}

// A person must not be led to another site by the answer of a server, where
// somebody else's terminal would be let in.
func TestDevicePage(t *testing.T) {
	for link, want := range map[string]string{
		"https://vk.example/device?code=BCDF-GHJK": "https://vk.example/device?code=BCDF-GHJK",
		"https://evil.example/device?code=B":       "https://vk.example/device",
		"https://vk.example.evil.example/device":   "https://vk.example/device",
		"javascript:alert(1)":                      "https://vk.example/device",
		"":                                         "https://vk.example/device",
	} {
		if got := (&deviceFlow{link: link}).page("https://vk.example/"); got != want {
			t.Errorf("%q leads to %q, want %q", link, got, want)
		}
	}
}

// The host that a request goes to is never hidden, nor cut.
func TestShownURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://api.github.com/repos/a/b?x=1": "https://api.github.com/repos/a/b?x=1",
		"http://127.0.0.1:8421/x":              "http://127.0.0.1:8421/x",
		"http://[::1]:8421/x":                  "http://[::1]:8421/x",
		"https://аpi.github.com/x":             "https://xn--pi-6kc.github.com/x",
	} {
		if got := shownURL(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := shownURL("https://a.example/\u202e"); strings.ContainsRune(got, '\u202e') {
		t.Errorf("a hidden character is left in %q", got)
	}
}

// The same call is the same intent; what the agent says of it does not matter.
func TestIntent(t *testing.T) {
	a := api.ActionRequest{Connection: "c", Operation: "o", Params: map[string]any{"a": "1", "b": "2"}}
	b := api.ActionRequest{Connection: "c", Operation: "o", Params: map[string]any{"b": "2", "a": "1"}, Note: "please"}
	c := api.ActionRequest{Connection: "c", Operation: "o", Params: map[string]any{"a": "1", "b": "3"}}
	if intent(a) != intent(b) || intent(a) == intent(c) || len(intent(a)) > 128 {
		t.Errorf("intents %s, %s, %s", intent(a), intent(b), intent(c))
	}
}
