package vault

import (
	"context"
	"fmt"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/provider"
)

// discover completes the addresses of a provider that publishes them: OpenID
// Connect Discovery 1.0 §4. They are fetched once, when the operator registers
// it, and kept: a provider that later names other endpoints changes nothing
// here until somebody registers it again (RFC 9700 §4.4, mix-up).
func (p *Providers) discover(ctx context.Context, spec *provider.Spec, r *Registration) error {
	if !discovers(spec, r) {
		return nil
	}
	bad := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "bad_provider", fmt.Sprintf(format, args...))
	}
	if r.Base.Issuer == "" {
		return errIssuer
	}
	if u, err := url.Parse(r.Base.Issuer); err == nil && r.Internal {
		defer p.admit(u.Hostname())()
	}
	// go-oidc demands that the document's issuer is the one that was asked for.
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.Web()), r.Base.Issuer)
	if err != nil {
		return bad("The discovery document of %s cannot be had, or names another issuer.", r.Base.Issuer).Because(err)
	}
	var more struct {
		Userinfo   string `json:"userinfo_endpoint"`
		Revocation string `json:"revocation_endpoint"`
	}
	if err := found.Claims(&more); err != nil {
		return bad("The discovery document of %s cannot be read.", r.Base.Issuer).Because(err)
	}
	if more.Userinfo == "" && r.Base.Identity.URL == "" {
		return bad("The discovery document of %s names no userinfo endpoint, so an account could not be pinned.", r.Base.Issuer)
	}
	r.Base.AuthorizeURL, r.Base.TokenURL = found.Endpoint().AuthURL, found.Endpoint().TokenURL
	if r.Base.RevokeURL == "" {
		r.Base.RevokeURL = more.Revocation
	}
	if r.Base.Identity.URL == "" {
		r.Base.Identity.URL = more.Userinfo
	}
	return nil
}

// discovers reports whether the addresses of r are still to be fetched.
func discovers(spec *provider.Spec, r *Registration) bool {
	return spec.Auth.Discovery && r.Base.AuthorizeURL == ""
}

var errIssuer = fault.New(fault.Invalid, "bad_provider", "Name the issuer, as its discovery document spells it.")

// admit lets the way out reach host while a provider on it is being
// registered.
func (p *Providers) admit(host string) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.joining = host
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.joining = ""
	}
}
