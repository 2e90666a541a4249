package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/secret"
)

// Provider is an identity provider and our client there. The exported fields
// are set before it is used; it is safe for concurrent use.
type Provider struct {
	Issuer      string // exactly as the provider writes it
	ClientID    string
	Secret      secret.Text // empty for a public client
	Name        string      // what the button says
	RedirectURI string
	HTTP        *http.Client // guarded; it follows no redirects

	mu    sync.Mutex
	found *metadata
}

// metadata is what a provider says about itself (OIDC Discovery 1.0 §3).
type metadata struct {
	provider *oidc.Provider
	at       time.Time
	JWKS     string   `json:"jwks_uri"`
	Auth     []string `json:"token_endpoint_auth_methods_supported"`
	Algs     []string `json:"id_token_signing_alg_values_supported"`
	Iss      bool     `json:"authorization_response_iss_parameter_supported"`
}

// Errors of a trip to the provider.
var (
	ErrUnreachable = fault.New(fault.Upstream, "identity_provider_failed", "The identity provider did not answer as it should. Try again in a moment, or log in with a passkey.")
	ErrRefused     = fault.New(fault.Unauthenticated, "identity_refused", "The identity provider's answer was not accepted here; nothing was done. Start again.")
)

// algorithms are those that we accept. "none" and the symmetric ones, which
// whoever knows our client secret could sign with, are not among them.
func algorithms() []string {
	return []string{oidc.ES256, oidc.RS256, oidc.PS256, oidc.EdDSA, oidc.ES384, oidc.RS384, oidc.PS384, oidc.ES512, oidc.RS512, oidc.PS512}
}

// foundFor is how long what a provider says about itself is believed.
const foundFor = time.Hour

// discover asks the provider about itself, rarely. go-oidc compares the issuer
// that the document names with the one that was asked (Discovery §4.3).
func (p *Provider) discover(ctx context.Context, now time.Time) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && now.Sub(p.found.at) < foundFor {
		return p.found, nil
	}
	got, err := oidc.NewProvider(oidc.ClientContext(ctx, p.HTTP), p.Issuer)
	if err != nil {
		if p.found != nil {
			return p.found, nil // it was there an hour ago; its keys are asked for anew
		}
		return nil, ErrUnreachable.Because(fmt.Errorf("discover %s: %w", p.Issuer, err))
	}
	m := &metadata{provider: got, at: now}
	if err := got.Claims(m); err != nil {
		return nil, ErrUnreachable.Because(fmt.Errorf("read the metadata of %s: %w", p.Issuer, err))
	}
	p.found = m
	return m, nil
}

// Ask is one trip of a browser to the provider. State, nonce and verifier are
// known to that browser and to nobody else.
type Ask struct {
	State    secret.Text
	Nonce    string
	Verifier secret.Text // PKCE (RFC 7636)
	// Fresh asks for a login that happens now, whoever is logged in there.
	Fresh  bool
	Scopes []string // beside openid
}

func (p *Provider) config(m *metadata) *oauth2.Config {
	end := m.provider.Endpoint()
	// Guessing the style would send the code twice.
	end.AuthStyle = oauth2.AuthStyleInHeader
	if p.Secret.IsZero() || len(m.Auth) > 0 && !slices.Contains(m.Auth, "client_secret_basic") {
		end.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.Secret.Reveal(), Endpoint: end, RedirectURL: p.RedirectURI}
}

// AuthorizeURL is where the browser goes.
func (p *Provider) AuthorizeURL(ctx context.Context, a Ask, now time.Time) (string, error) {
	m, err := p.discover(ctx, now)
	if err != nil {
		return "", err
	}
	c := p.config(m)
	c.Scopes = append([]string{oidc.ScopeOpenID}, a.Scopes...)
	opts := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(a.Verifier.Reveal()), oidc.Nonce(a.Nonce), oauth2.SetAuthURLParam("response_mode", "query"),
	}
	if a.Fresh {
		// Both: some providers know only one of them (Core §3.1.2.1).
		opts = append(opts, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	to := c.AuthCodeURL(a.State.Reveal(), opts...)
	// The document may come from anywhere below the issuer's control; where a
	// browser is sent is looked at like everything else.
	u, err := url.Parse(to)
	if err != nil || u.User != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != strings.SplitN(p.Issuer, ":", 2)[0] {
		return "", ErrUnreachable.Because(fmt.Errorf("authorization endpoint of %s", p.Issuer))
	}
	return to, nil
}

// Token is an id_token that holds.
type Token struct {
	Raw     string
	Subject string
	AuthAt  time.Time // zero if it does not say
	Label   string    // how the person would know the account again
	Key     []byte    // the public JWK that signed it
	KeyID   string    // its thumbprint (RFC 7638)
}

// Redeem exchanges the code in an answer for an id_token and verifies it. since
// is when a fresh login was asked for, or zero. answer is the query of the
// callback, whose state was compared already.
func (p *Provider) Redeem(ctx context.Context, answer url.Values, a Ask, since, now time.Time) (*Token, error) {
	m, err := p.discover(ctx, now)
	if err != nil {
		return nil, err
	}
	for name, v := range answer {
		if len(v) != 1 {
			return nil, ErrRefused.Because(fmt.Errorf("%.40q is there %d times", name, len(v)))
		}
	}
	// RFC 9207 §2.4: an answer that names another issuer is a mix-up; one that
	// names none is one, too, where the provider said that it does.
	if iss := answer.Get("iss"); iss != p.Issuer && (iss != "" || m.Iss) {
		return nil, ErrRefused.Because(fmt.Errorf("the answer names the issuer %.200q", iss))
	}
	if e := answer.Get("error"); e != "" {
		return nil, ErrRefused.Because(fmt.Errorf("the provider answers %.60q", e))
	}
	code := answer.Get("code")
	if code == "" || len(code) > 4096 {
		return nil, ErrRefused.Because(errors.New("no code"))
	}
	got, err := p.config(m).Exchange(oidc.ClientContext(ctx, p.HTTP), code, oauth2.VerifierOption(a.Verifier.Reveal()))
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil && e.Response.StatusCode < 500 {
		return nil, ErrRefused.Because(fmt.Errorf("the code was refused: %.60q", e.ErrorCode))
	}
	if err != nil {
		return nil, ErrUnreachable.Because(errors.New("exchange the code")) // the library's error may quote the answer
	}
	raw, _ := got.Extra("id_token").(string)
	if raw == "" || len(raw) > maxToken {
		return nil, ErrRefused.Because(errors.New("no id_token"))
	}
	return p.verify(ctx, m, raw, a.Nonce, since, now)
}

// verify checks an id_token (Core §3.1.3.7) with the keys that the provider
// publishes now.
func (p *Provider) verify(ctx context.Context, m *metadata, raw, nonce string, since, now time.Time) (*Token, error) {
	algs := algorithms()
	if len(m.Algs) > 0 {
		algs = slices.DeleteFunc(algs, func(a string) bool { return !slices.Contains(m.Algs, a) })
	}
	if len(algs) == 0 {
		return nil, ErrRefused.Because(errors.New("the provider signs with nothing that is accepted here"))
	}
	ctx = oidc.ClientContext(ctx, p.HTTP)
	v := m.provider.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: algs, Now: func() time.Time { return now }})
	if _, err := v.Verify(ctx, raw); err != nil {
		return nil, ErrRefused.Because(fmt.Errorf("id_token: %.300s", err.Error()))
	}
	key, thumb, err := p.keyOf(ctx, m, raw)
	if err != nil {
		return nil, err
	}
	c, err := Check(raw, key, p.Issuer, p.ClientID, nonce, now)
	if err != nil {
		return nil, ErrRefused.Because(err)
	}
	if !since.IsZero() && !c.FreshSince(since, now) {
		return nil, ErrRefused.Because(fmt.Errorf("a fresh login was asked for at %s, and auth_time is %s", since.UTC().Format(time.RFC3339), c.AuthAt().Format(time.RFC3339)))
	}
	return &Token{Raw: raw, Subject: c.Subject, AuthAt: c.AuthAt(), Label: c.label(), Key: key, KeyID: thumb}, nil
}
