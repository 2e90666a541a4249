package app

import (
	"fmt"
	"net/netip"
	"net/url"

	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/oidc"
)

// signIn makes the identity provider by which people may log in; nil when none
// is configured. It has a way out of its own: what an operator allows for it is
// not allowed for what agents ask for.
func (a *App) signIn() (*oidc.Provider, error) {
	c := a.Config
	if c.OIDCIssuer == "" {
		return nil, nil
	}
	client, err := c.OIDCSecret()
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(c.OIDCIssuer)
	if err != nil {
		return nil, fmt.Errorf("read the issuer: %w", err)
	}
	here := func(host string) bool { return host == issuer.Hostname() }
	allowed := c.AllowInternal
	if config.Loopback(issuer.Hostname()) {
		allowed = append(allowed[:len(allowed):len(allowed)], netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	a.IdentityOut = egress.New(egress.Options{
		Guard: &egress.Guard{AllowInternal: allowed}, Internal: here, AllowHTTP: func(host string) bool { return here(host) && config.Loopback(host) },
		UserAgent: "valetkey", Log: a.Log,
	})
	if err := a.IdentityOut.CheckURL(issuer); err != nil {
		return nil, fmt.Errorf("the identity provider %s cannot be reached by the rules for what may be called: %w", c.OIDCIssuer, err)
	}
	return &oidc.Provider{
		Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, Secret: client, Name: c.OIDCName, RedirectURI: c.PublicURL + dash.SignInPath,
		HTTP: a.IdentityOut.HTTPClient(),
	}, nil
}
