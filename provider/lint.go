package provider

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	specID        = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	operationName = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_]*){1,3}$`)
	paramName     = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)
	headerName    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// linter collects everything that is wrong, so that an author sees it at once.
type linter struct{ errs []error }

func (l *linter) bad(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

// oneOf checks a word; an empty one is fine where "" is among the allowed.
func (l *linter) oneOf(what, got string, allowed ...string) {
	if !slices.Contains(allowed, got) {
		l.bad("%s is %q: want one of %s", what, got, strings.Join(allowed, ", "))
	}
}

// Validate checks s as a reviewer would: complete, without two readings, each
// operation with a risk and a summary, each example the operation that it claims.
// It also makes s ready for Match and Render, so a Spec built by hand goes through
// it before use.
func (s *Spec) Validate() error {
	l := &linter{}
	if !specID.MatchString(s.ID) {
		l.bad("id %q: want lower-case letters, digits, - and _", s.ID)
	}
	if s.Name == "" || visible(s.Name) != s.Name {
		l.bad("name %q is empty or cannot be read", s.Name)
	}
	if !specID.MatchString(s.namespace()) {
		l.bad("namespace %q: want lower-case letters, digits, - and _", s.namespace())
	}
	if s.Include != "" {
		l.bad("include %q is not resolved: use Parse", s.Include)
	}
	s.lintConnection(l)
	idx := s.lintAPI(l)
	if len(l.errs) == 0 {
		s.index = idx
		s.lintExamples(l)
	}
	if err := errors.Join(l.errs...); err != nil {
		s.index = nil
		return fmt.Errorf("spec %s: %w", s.ID, err)
	}
	return nil
}

func (s *Spec) lintConnection(l *linter) {
	a, t := &s.Auth, &s.Token
	discovered := a.Discovery
	l.url("auth.url", a.URL, s.Template || discovered)
	l.url("token.url", t.URL, s.Template || discovered)
	l.url("auth.issuer", a.Issuer, s.Template || !discovered)
	l.oneOf("auth.pkce", string(a.PKCE), "optional", "required", "off")
	for p := range a.Params {
		if slices.Contains(authorizeParams, p) {
			l.bad("auth.params: %q is set by us", p)
		}
	}
	for _, set := range []map[string][]string{a.Covers, a.Public} {
		for scope, others := range set {
			for _, name := range append([]string{scope}, others...) {
				if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
					l.bad("auth: %q is no scope", name)
				}
			}
		}
	}
	l.oneOf("token.auth", t.Auth, "body", "basic")
	l.oneOf("token.body", t.Body, "form", "json")
	for p := range t.Params {
		if slices.Contains([]string{"client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri", "refresh_token"}, p) {
			l.bad("token.params: %q is set by us", p)
		}
	}
	r := &s.Refresh
	l.url("refresh.url", r.URL, true)
	l.oneOf("refresh.rotation", r.Rotation, "none", "always", "optional")
	l.oneOf("refresh.trigger", r.Trigger, "expiry", "on_401", "introspect")
	if min(r.Grace, r.Margin, r.KeepAlive, r.AccessTTL, r.RefreshIdle, r.RefreshTTL) < 0 {
		l.bad("refresh: a duration is negative")
	}
	v := &s.Revoke
	l.oneOf("revoke.kind", string(v.Kind), "rfc7009", "github_grant", "github_token", "bearer_post", "json_basic", "none")
	if v.Kind != RevokeNone {
		l.url("revoke.url", strings.Replace(v.URL, "{client_id}", "client", 1), false)
		l.oneOf("revoke.target", v.Target, "refresh", "access")
		l.oneOf("revoke.scope_of_effect", v.ScopeOfEffect, "token", "grant", "all_sessions")
	}
	l.url("revoke.verify", v.Verify, true)
	i := &s.Identity
	l.url("identity.url", i.URL, s.Template || discovered)
	l.oneOf("identity.method", i.Method, "", "GET", "POST")
	if i.URL != "" && i.ID == "" {
		l.bad("identity.id is missing: a connection must be pinned to an account")
	}
	e := &s.Endpoints
	if len(e.APIBases) == 0 && !s.Template {
		l.bad("endpoints.api_bases is empty: no request could be sent")
	}
	for i, b := range e.APIBases {
		l.base(fmt.Sprintf("endpoints.api_bases[%d]", i), b)
	}
	for i, b := range e.APIBases {
		for j, c := range e.APIBases {
			if i != j && (b == c || strings.HasPrefix(b, c+"/")) {
				l.bad("endpoints.api_bases: %s lies below %s", b, c)
			}
		}
	}
	if e.WebBase != "" {
		l.base("endpoints.web_base", e.WebBase)
	}
	l.oneOf("endpoints.host_from", e.HostFrom, "static", "config", "token_response", "redirect")
	l.oneOf("downscope.kind", s.Downscope.Kind, "", "none", "github_installation", "rfc8693")
	l.oneOf("credential.attach", s.Credential.Attach, "bearer", "header", "basic")
	if (s.Credential.Attach == "header") != (s.Credential.Header != "") {
		l.bad("credential.header belongs to attach: header, and only there")
	}
	if h := s.Credential.Header; h != "" && !headerName.MatchString(h) {
		l.bad("credential.header %q is no header name", h)
	}
	for _, set := range []map[string]string{t.Headers, i.Headers, s.Headers} {
		for name, value := range set {
			if !headerName.MatchString(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				l.bad("header %q: %q cannot be sent", name, value)
			}
		}
	}
	for name := range s.Headers {
		if err := checkHeaderName(name, s.Credential.Header); err != nil {
			l.bad("headers: %w", err)
		}
	}
}

// url accepts an https URL in canonical spelling; http only for a loopback
// address, where an emulator or the sandbox may stand.
func (l *linter) url(what, raw string, optional bool) {
	if raw == "" {
		if !optional {
			l.bad("%s is missing", what)
		}
		return
	}
	if err := checkURL(raw); err != nil {
		l.bad("%s: %w", what, err)
	}
}

func (l *linter) base(what, raw string) {
	l.url(what, raw, false)
	if strings.HasSuffix(raw, "/") || strings.Contains(raw, "?") {
		l.bad("%s %q ends in a slash or has a query", what, raw)
	}
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.String() != raw {
		return fmt.Errorf("%q is no URL in canonical spelling", raw)
	}
	host := u.Hostname()
	addr, addrErr := netip.ParseAddr(host)
	loopback := host == "localhost" || addrErr == nil && addr.IsLoopback()
	switch {
	case u.User != nil || u.Fragment != "" || strings.Contains(raw, "#") || u.Opaque != "":
		return fmt.Errorf("%q has user info, a fragment or no authority", raw)
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback):
		return fmt.Errorf("%q is not https (http is for loopback only)", raw)
	case addrErr != nil && !hostName.MatchString(host):
		return fmt.Errorf("%q: host %q is not in canonical spelling", raw, host)
	case strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%q has an empty port", raw)
	}
	if p := u.EscapedPath(); p != "" {
		if _, err := ParsePath(strings.TrimSuffix(p, "/")); err != nil && p != "/" {
			return fmt.Errorf("%q: %w", raw, err)
		}
	}
	return nil
}
