package config

import (
	"net/url"
	"strings"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// checkOIDC completes the identity provider's settings and refuses what cannot
// work.
func (c *Config) checkOIDC() error {
	bad := func(text string) error { return fault.New(fault.Invalid, "bad_config", text) }
	if c.OIDCIssuer == "" {
		if c.OIDCClientID != "" || c.OIDCClientSecretFile != "" || c.OIDCName != "" {
			return bad("--oidc-client-id, --oidc-client-secret-file and --oidc-name need --oidc-issuer.")
		}
		return nil
	}
	u, err := url.Parse(c.OIDCIssuer)
	// The issuer has neither query nor fragment (OIDC Discovery 1.0 §3). Plain
	// HTTP is for a provider on this machine: whoever can change an answer on the
	// way can be anybody.
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname())) {
		return bad("--oidc-issuer must look like https://accounts.example.com, exactly as the identity provider names itself.")
	}
	if c.OIDCClientID == "" {
		return bad("--oidc-issuer needs --oidc-client-id: register this server as a client there first.")
	}
	if c.OIDCName == "" {
		c.OIDCName = strings.TrimPrefix(u.Hostname(), "www.")
	}
	return nil
}

// OIDCSecret reads our client secret at the identity provider; it is empty for a
// public client.
func (c *Config) OIDCSecret() (secret.Text, error) {
	if c.OIDCClientSecretFile == "" {
		return secret.Text{}, nil
	}
	return ReadSecret(c.OIDCClientSecretFile)
}
