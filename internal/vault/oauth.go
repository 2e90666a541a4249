package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// OAuth speaks with providers: code, refresh, revocation, identity. It decides
// nothing and stores nothing.
type OAuth struct {
	Client *egress.Client
}

// Tokens is what a provider handed out. Empty fields were not in its answer.
type Tokens struct {
	Access           secret.Text
	Refresh          secret.Text
	Scopes           []string
	ScopesGiven      bool // the answer named its scopes
	ExpiresAt        time.Time
	RefreshExpiresAt time.Time
}

// The ways in which a provider may fail us.
var (
	ErrGrantDead = errors.New("the provider says that the grant is dead")
	ErrUncertain = errors.New("the provider may have acted, but its answer is unknown")
	ErrProtocol  = errors.New("the provider refused")
)

// busy is a failure with which the provider says when to come back
// (Retry-After, RFC 9110 §10.2.3).
type busy struct {
	err  error
	wait time.Duration
}

func (b *busy) Error() string { return b.err.Error() }
func (b *busy) Unwrap() error { return b.err }

// maxWait bounds how long a provider may keep us away.
const maxWait = 15 * time.Minute

// whenBack adds to err what the provider says about coming back, if it does.
func whenBack(err error, res *http.Response, now time.Time) error {
	said := res.Header.Get("Retry-After")
	var wait time.Duration
	if n, parseErr := strconv.ParseUint(said, 10, 31); parseErr == nil {
		wait = time.Duration(n) * time.Second
	} else if at, parseErr := http.ParseTime(said); parseErr == nil {
		wait = at.Sub(now)
	}
	if wait <= 0 {
		return err
	}
	return &busy{err, min(wait, maxWait)}
}

// AuthorizeURL is where the person's browser is sent (RFC 6749 §4.1.1), with
// PKCE S256 (RFC 7636) unless the provider cannot.
func (o *OAuth) AuthorizeURL(p *Provider, redirect, state string, verifier secret.Text, scopes []string) (string, error) {
	return p.Spec.AuthorizeURL(provider.Authorization{
		ClientID: p.ClientID, RedirectURI: redirect, State: state, Scopes: scopes, Challenge: oauth2.S256ChallengeFromVerifier(verifier.Reveal()),
	})
}

// Exchange redeems an authorization code (RFC 6749 §4.1.3).
func (o *OAuth) Exchange(ctx context.Context, p *Provider, redirect string, code, verifier secret.Text, now time.Time) (Tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code.Reveal()}, "redirect_uri": {redirect}}
	if p.Spec.Auth.PKCE != provider.PKCEOff {
		form.Set("code_verifier", verifier.Reveal())
	}
	for k, v := range p.Spec.Token.Params {
		form.Set(k, v)
	}
	return o.token(ctx, p, p.Spec.Token.URL, form, now)
}

// Refresh renews tokens (RFC 6749 §6). ErrGrantDead means that the provider
// says the token is no good; ErrUncertain that it may have rotated it.
func (o *OAuth) Refresh(ctx context.Context, p *Provider, refresh secret.Text, now time.Time) (Tokens, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}}
	for k, v := range p.Spec.Refresh.Params {
		form.Set(k, v)
	}
	to := p.Spec.Refresh.URL
	if to == "" {
		to = p.Spec.Token.URL
	}
	t, err := o.token(ctx, p, to, form, now)
	if err == nil && t.ExpiresAt.IsZero() && p.Spec.Refresh.AccessTTL > 0 {
		t.ExpiresAt = now.Add(p.Spec.Refresh.AccessTTL)
	}
	return t, err
}

// token is the one place where a token endpoint is called. The body of an
// answer never reaches an error or a log: it may hold tokens even when it
// reports a failure.
func (o *OAuth) token(ctx context.Context, p *Provider, to string, form url.Values, now time.Time) (Tokens, error) {
	req, err := o.tokenRequest(ctx, p, to, form)
	if err != nil {
		return Tokens{}, err
	}
	res, err := o.Client.HTTPClient().Do(req)
	if err != nil {
		if errors.Is(err, egress.ErrNotSent) {
			return Tokens{}, fmt.Errorf("token endpoint of %s not reached: %w", p.ID, scrub(err))
		}
		return Tokens{}, fmt.Errorf("%w: token endpoint of %s: %w", ErrUncertain, p.ID, scrub(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return Tokens{}, fmt.Errorf("%w: answer of %s broke off", ErrUncertain, p.ID)
	}
	return p.parseTokens(res, body, now)
}

// scrub keeps the kind of a transport error and drops its text, which may
// quote the URL with whatever was in it.
func scrub(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return errors.New("transport error")
}

func (o *OAuth) tokenRequest(ctx context.Context, p *Provider, to string, form url.Values) (*http.Request, error) {
	basic := p.Spec.Token.Auth == "basic"
	if !basic {
		form.Set("client_id", p.ClientID)
		if !p.Secret.IsZero() {
			form.Set("client_secret", p.Secret.Reveal())
		}
	}
	payload, kind := []byte(form.Encode()), "application/x-www-form-urlencoded"
	if p.Spec.Token.Body == "json" {
		flat := make(map[string]string, len(form))
		for k := range form {
			flat[k] = form.Get(k)
		}
		b, err := json.Marshal(flat)
		if err != nil {
			return nil, fmt.Errorf("encode token request: %w", err)
		}
		payload, kind = b, "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("token request of %s: %w", p.ID, err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept", "application/json") // GitHub answers a form otherwise
	for k, v := range p.Spec.Token.Headers {
		req.Header.Set(k, v)
	}
	if basic {
		// RFC 6749 §2.3.1: both halves are form-urlencoded before base64.
		req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.Secret.Reveal()))
	}
	return req, nil
}

// tokenAnswer is RFC 6749 §5.1 and §5.2, as loosely as providers keep to it.
type tokenAnswer struct {
	AccessToken      string  `json:"access_token"`
	RefreshToken     string  `json:"refresh_token"`
	TokenType        string  `json:"token_type"`
	Scope            *string `json:"scope"`
	ExpiresIn        seconds `json:"expires_in"`
	RefreshExpiresIn seconds `json:"refresh_token_expires_in"`
	Error            string  `json:"error"`
}

// seconds accepts a number, a number in a string, or nothing.
type seconds int64

// maxLife bounds what we believe of a lifetime.
const maxLife = 400 * 24 * 3600

// UnmarshalJSON implements [json.Unmarshaler]; nonsense counts as not said.
func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || n <= 0 || n > maxLife {
		*s = 0
		return nil
	}
	*s = seconds(n)
	return nil
}

// parseTokens reads an answer before it trusts it: GitHub and Slack report
// failures with status 200.
func (p *Provider) parseTokens(res *http.Response, body []byte, now time.Time) (Tokens, error) {
	// What a failing server says about the grant is not to be believed, and it
	// may have done its work before it failed.
	switch {
	case res.StatusCode >= 500:
		return Tokens{}, whenBack(fmt.Errorf("%w: %s answered %d", ErrUncertain, p.ID, res.StatusCode), res, now)
	case res.StatusCode == http.StatusTooManyRequests:
		return Tokens{}, whenBack(fmt.Errorf("%w: %s answered %d", ErrProtocol, p.ID, res.StatusCode), res, now)
	}
	var a tokenAnswer
	parsed := json.Unmarshal(body, &a) == nil
	if parsed && a.Error != "" {
		if slices.Contains(p.Spec.Errors.DeadGrant, a.Error) {
			return Tokens{}, fmt.Errorf("%w: %s", ErrGrantDead, code(a.Error))
		}
		return Tokens{}, fmt.Errorf("%w: %s", ErrProtocol, code(a.Error))
	}
	switch {
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated:
		return Tokens{}, fmt.Errorf("%w: %s answered %d", ErrProtocol, p.ID, res.StatusCode)
	case !parsed || a.AccessToken == "":
		return Tokens{}, fmt.Errorf("%w: %s answered 200 without an access token", ErrUncertain, p.ID)
	case a.TokenType != "" && !strings.EqualFold(a.TokenType, "bearer"):
		return Tokens{}, fmt.Errorf("%w: token type is not bearer", ErrProtocol)
	}
	t := Tokens{Access: secret.New(a.AccessToken)}
	if a.RefreshToken != "" {
		t.Refresh = secret.New(a.RefreshToken)
	}
	if a.Scope != nil {
		t.ScopesGiven = true
		t.Scopes = strings.FieldsFunc(*a.Scope, func(r rune) bool { return r == ' ' || r == ',' })
	}
	ttl := time.Duration(a.ExpiresIn) * time.Second
	if ttl == 0 && a.RefreshToken != "" {
		ttl = p.Spec.Refresh.AccessTTL
	}
	if ttl > 0 {
		t.ExpiresAt = now.Add(ttl)
	}
	if a.RefreshExpiresIn > 0 {
		t.RefreshExpiresAt = now.Add(time.Duration(a.RefreshExpiresIn) * time.Second)
	}
	return t, nil
}

// code keeps an error code printable: it comes from outside.
func code(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

// Identity asks whose token it is, and which scopes it has where the provider
// says so in a header (X-OAuth-Scopes, GitHub).
func (o *OAuth) Identity(ctx context.Context, p *Provider, access secret.Text) (provider.Account, []string, error) {
	method := p.Spec.Identity.Method
	if method == "" {
		method = http.MethodGet
	}
	if p.Spec.Identity.URL == "" {
		return provider.Account{}, nil, fault.New(fault.Conflict, "no_identity", "This provider has no identity call configured, so an account cannot be pinned.")
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Spec.Identity.URL, nil)
	if err != nil {
		return provider.Account{}, nil, fmt.Errorf("identity request of %s: %w", p.ID, err)
	}
	req.Header.Set("Accept", "application/json")
	for k, v := range p.Spec.Identity.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("Authorization", "Bearer "+access.Reveal())
	res, err := o.Client.HTTPClient().Do(req)
	if err != nil {
		return provider.Account{}, nil, fmt.Errorf("identity call of %s: %w", p.ID, scrub(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return provider.Account{}, nil, fmt.Errorf("identity answer of %s broke off", p.ID)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		refused := fault.New(fault.Invalid, "token_refused", fmt.Sprintf("%s does not accept this token (status %d); check that it was copied whole and has not expired.", p.Spec.Name, res.StatusCode))
		if res.StatusCode == http.StatusUnauthorized {
			return provider.Account{}, nil, refused.Because(errTokenDead)
		}
		return provider.Account{}, nil, refused
	case res.StatusCode != http.StatusOK:
		return provider.Account{}, nil, fmt.Errorf("identity call of %s answered %d", p.ID, res.StatusCode)
	}
	a, err := p.Spec.Identity.Read(body)
	if err != nil {
		return provider.Account{}, nil, err
	}
	var scopes []string
	if h := res.Header.Get("X-OAuth-Scopes"); h != "" {
		for s := range strings.SplitSeq(h, ",") {
			scopes = append(scopes, strings.TrimSpace(s))
		}
	}
	return a, scopes, nil
}

// Revocation is what a provider did when asked to end tokens.
type Revocation struct {
	Done   bool   // the provider confirmed
	Scope  string // token, grant or all_sessions
	Status int
	Detail string // one sentence for the report
}

// Ending is what a provider is asked to end.
type Ending struct {
	Access  secret.Text
	Refresh secret.Text
	Pasted  bool // not issued to our client, which therefore cannot revoke it
	Others  int  // other live connections to the same account through our client
	Alone   bool // spare the others, whatever that takes
}

// narrow is r without its effect on other connections to the same account,
// where the provider has such a way. GitHub's two differ in the last segment.
func narrow(r provider.Revoke) provider.Revoke {
	if base, ok := strings.CutSuffix(r.URL, "/grant"); ok && r.Kind == provider.RevokeGitHubGrant {
		r.Kind, r.URL, r.ScopeOfEffect = provider.RevokeGitHubToken, base+"/token", "token"
	}
	return r
}

// others says what a revocation means for the other connections to an account.
func others(n int, scope string) string {
	switch {
	case n == 0:
		return ""
	case scope == "token" && n == 1:
		return " Another connection here to the same account goes on."
	case scope == "token":
		return fmt.Sprintf(" %d other connections here to the same account go on.", n)
	case n == 1:
		return " It has no way to end just this one: another connection here to the same account ended with it."
	}
	return fmt.Sprintf(" It has no way to end just this one: %d other connections here to the same account ended with it.", n)
}

// Revoke asks the provider to end the tokens, and no more than them where it
// can: a revocation may reach everything that user and app have between them.
func (o *OAuth) Revoke(ctx context.Context, p *Provider, end Ending) Revocation {
	r := p.Spec.Revoke
	if end.Others > 0 || end.Alone {
		r = narrow(r)
	}
	token := end.Access
	if r.Target == "refresh" && !end.Refresh.IsZero() {
		token = end.Refresh
	}
	switch {
	case r.Kind == provider.RevokeNone || r.Kind == "":
		return Revocation{Detail: fmt.Sprintf("%s has no way to revoke a token from outside; end it in your account settings there.", p.Spec.Name)}
	case token.IsZero():
		return Revocation{Detail: "There was no token left to revoke."}
	case end.Alone && end.Others > 0 && r.ScopeOfEffect != "token":
		return Revocation{Detail: fmt.Sprintf("%s could only have ended them together with another connection here, so they were left to end by themselves.", p.Spec.Name)}
	case (end.Pasted || p.ClientID == "") && r.Kind != provider.RevokeBearerPost:
		return Revocation{Detail: fmt.Sprintf("This token was pasted, not issued to this server, so only you can revoke it, in your account settings at %s.", p.Spec.Name)}
	}
	req, err := revokeRequest(ctx, p, r, token)
	if err != nil {
		return Revocation{Detail: "The revocation request could not be built."}
	}
	res, err := o.Client.HTTPClient().Do(req)
	if err != nil {
		return Revocation{Detail: fmt.Sprintf("%s could not be reached, so its tokens may still live; end them in your account settings there.", p.Spec.Name)}
	}
	defer res.Body.Close()
	out := Revocation{Scope: r.ScopeOfEffect, Status: res.StatusCode}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		out.Done = true
		out.Detail = fmt.Sprintf("%s confirmed the revocation.", p.Spec.Name) + others(end.Others, r.ScopeOfEffect)
		return out
	}
	out.Detail = fmt.Sprintf("%s answered %d to the revocation, so its tokens may still live; end them in your account settings there.", p.Spec.Name, res.StatusCode)
	return out
}

func revokeRequest(ctx context.Context, p *Provider, r provider.Revoke, token secret.Text) (*http.Request, error) {
	to := strings.ReplaceAll(r.URL, "{client_id}", url.PathEscape(p.ClientID))
	build := func(method, kind string, body []byte) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Accept", "application/json")
		return req, nil
	}
	form := url.Values{"token": {token.Reveal()}}
	const formKind, jsonKind = "application/x-www-form-urlencoded", "application/json"
	basic := func(req *http.Request, err error) (*http.Request, error) {
		if err == nil {
			req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.Secret.Reveal()))
		}
		return req, err
	}
	switch r.Kind {
	case provider.RevokeGitHubGrant, provider.RevokeGitHubToken:
		b, err := json.Marshal(map[string]string{"access_token": token.Reveal()})
		if err != nil {
			return nil, err
		}
		return basic(build(http.MethodDelete, jsonKind, b))
	case provider.RevokeJSONBasic:
		b, err := json.Marshal(map[string]string{"token": token.Reveal()})
		if err != nil {
			return nil, err
		}
		return basic(build(http.MethodPost, jsonKind, b))
	case provider.RevokeBearerPost:
		req, err := build(http.MethodPost, formKind, nil)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+token.Reveal())
		}
		return req, err
	default: // RFC 7009 §2.1
		if p.Spec.Token.Auth == "basic" {
			return basic(build(http.MethodPost, formKind, []byte(form.Encode())))
		}
		form.Set("client_id", p.ClientID)
		if !p.Secret.IsZero() {
			form.Set("client_secret", p.Secret.Reveal())
		}
		return build(http.MethodPost, formKind, []byte(form.Encode()))
	}
}

// errTokenDead means that an identity call was answered with 401: the token is
// worth nothing. A 403 does not say that; it may be a rate limit.
var errTokenDead = errors.New("the token is not accepted")
