package config_test

import (
	"testing"

	"github.com/valetkey/valetkey/internal/config"
)

// An identity provider is named exactly, over TLS unless it is this machine, and
// with a client.
func TestOIDCSettings(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, client, secret string
		ok                     bool
	}{
		"none":                    {"", "", "", true},
		"good":                    {"https://accounts.example.com/realms/x", "valetkey", "", true},
		"this machine":            {"http://localhost:9000", "valetkey", "", true},
		"plain http":              {"http://accounts.example.com", "valetkey", "", false},
		"no client":               {"https://accounts.example.com", "", "", false},
		"a client without issuer": {"", "valetkey", "", false},
		"a secret without issuer": {"", "", "/etc/secret", false},
		"a query":                 {"https://accounts.example.com?x=y", "valetkey", "", false},
		"a password in it":        {"https://a:b@accounts.example.com", "valetkey", "", false},
		"not a URL":               {"accounts.example.com", "valetkey", "", false},
	} {
		cfg := config.Default()
		cfg.Data = t.TempDir()
		cfg.OIDCIssuer, cfg.OIDCClientID, cfg.OIDCClientSecretFile = c.issuer, c.client, c.secret
		if err := cfg.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if name == "good" && cfg.OIDCName != "accounts.example.com" {
			t.Errorf("the button says %q", cfg.OIDCName)
		}
	}
}
