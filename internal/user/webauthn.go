package user

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/internal/fault"
)

// WebAuthn is the relying party: the one host name that passkeys are bound to,
// and the one origin whose pages may use them.
type WebAuthn struct {
	ID     string // the RP ID; "" when passkeys are unavailable
	Origin string

	party       *webauthn.WebAuthn
	unavailable *fault.Error
}

// NewWebAuthn reads the relying party off the public URL. name is what
// authenticators show. Where browsers would not offer passkeys, warning says
// why and what to do, and every ceremony answers the same as a fault.
func NewWebAuthn(publicURL, name string) (w *WebAuthn, warning string) {
	w = &WebAuthn{}
	host, why := w.read(publicURL)
	if why == "" {
		var err error
		if w.party, err = webauthn.New(&webauthn.Config{
			RPID: host, RPDisplayName: name, RPOrigins: []string{w.Origin},
			AttestationPreference: protocol.PreferNoAttestation,
			AuthenticatorSelection: protocol.AuthenticatorSelection{
				// Nobody types a name to log in, so the credential must be found by
				// the authenticator itself.
				ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
				// "preferred" would let a touch without PIN or biometry pass.
				UserVerification: protocol.VerificationRequired,
			},
			Timeouts: webauthn.TimeoutsConfig{
				Login:        webauthn.TimeoutConfig{Timeout: CeremonyTTL, TimeoutUVD: CeremonyTTL},
				Registration: webauthn.TimeoutConfig{Timeout: CeremonyTTL, TimeoutUVD: CeremonyTTL},
			},
		}); err != nil {
			why = "the host name " + host + " cannot be used for passkeys: it must be localhost, or a name with a dot in plain ASCII"
		}
	}
	if why != "" {
		w.party, w.Origin = nil, ""
		detail := "Passkeys are unavailable, because " + why + ". Start the server with --public-url https://NAME (a real host name), or use http://localhost."
		w.unavailable = fault.New(fault.Unavailable, "passkeys_unavailable", detail)
		return w, detail
	}
	w.ID = host
	return w, ""
}

// read sets the origin and returns the host name, or why there can be none.
func (w *WebAuthn) read(publicURL string) (host, why string) {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", "the public URL is not an http or https URL with a host"
	}
	host = strings.ToLower(u.Hostname())
	// A browser takes a name whose last part is a number for an IPv4 address.
	last := host[strings.LastIndexByte(host, '.')+1:]
	if _, err := netip.ParseAddr(host); err == nil || last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "", "browsers bind them to a host name and the public URL is an IP address"
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if u.Scheme == "http" && !local {
		return "", "browsers offer them only over HTTPS or on localhost and the public URL is " + u.Scheme + "://" + host
	}
	// A browser writes an origin without the default port.
	w.Origin = u.Scheme + "://" + host
	if p := u.Port(); p != "" && (u.Scheme != "http" || p != "80") && (u.Scheme != "https" || p != "443") {
		w.Origin = u.Scheme + "://" + net.JoinHostPort(host, p)
	}
	return host, ""
}

// Available is nil, or the fault "passkeys_unavailable" that says why.
func (w *WebAuthn) Available() error {
	if w.unavailable != nil {
		return w.unavailable
	}
	return nil
}

// exact refuses every origin but ours, byte for byte, and every page inside a
// frame of another one. The library compares more generously.
func (w *WebAuthn) exact(c protocol.CollectedClientData) error {
	if c.Origin != w.Origin || c.CrossOrigin || c.TopOrigin != "" {
		return fmt.Errorf("the page was %.100q, in a frame of another origin: %t", c.Origin, c.CrossOrigin || c.TopOrigin != "")
	}
	return nil
}

// account is a person as the library sees them.
type account struct {
	user *User
	keys []webauthn.Credential
}

func (a account) WebAuthnID() []byte                         { return a.user.Handle }
func (a account) WebAuthnName() string                       { return a.user.Name }
func (a account) WebAuthnDisplayName() string                { return a.user.Name }
func (a account) WebAuthnCredentials() []webauthn.Credential { return a.keys }

func newAccount(u *User, keys []*Passkey) (account, error) {
	a := account{user: u}
	for _, k := range keys {
		c, err := k.record()
		if err != nil {
			return account{}, err
		}
		a.keys = append(a.keys, c)
	}
	return a, nil
}

// record is the library's own form of k.
func (k *Passkey) record() (webauthn.Credential, error) {
	var c webauthn.Credential
	if err := json.Unmarshal(k.Credential, &c); err != nil {
		return c, fmt.Errorf("decode passkey %s: %w", k.ID, err)
	}
	return c, nil
}
