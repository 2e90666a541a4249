package sandbox

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/secret"
)

// single parses a query or a form in which each parameter stands at most
// once: RFC 6749 §3.1 and §3.2.
func single(raw string) (map[string]string, bool) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, false
	}
	one := map[string]string{}
	for name, v := range values {
		if len(v) != 1 {
			return nil, false
		}
		one[name] = v[0]
	}
	return one, true
}

// showConsent is GET /login/oauth/authorize: it checks the request and asks
// the person which account to use.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request) {
	q, good := single(r.URL.RawQuery)
	if !good {
		s.problemPage(w, http.StatusBadRequest, "This link is damaged", "A parameter is malformed or stands twice. Go back to the application and start again.")
		return
	}
	// An unknown client or redirect URI is told to the person and never
	// redirected: RFC 6749 §4.1.2.1.
	if s.clientID == "" || q["client_id"] != s.clientID {
		s.problemPage(w, http.StatusNotFound, "Unknown application", "No application with this client id is registered here.")
		return
	}
	redirect, given := q["redirect_uri"]
	if !given && len(s.redirects) == 1 {
		for only := range s.redirects {
			redirect = only
		}
	}
	target, err := url.Parse(redirect)
	if !s.redirects[redirect] || err != nil {
		s.problemPage(w, http.StatusBadRequest, "The redirect URI does not match", "The application asks to send you to an address that is not registered for it. Nothing was granted.")
		return
	}
	state := q["state"]
	if t, given := q["response_type"]; given && t != "code" {
		s.back(w, target, state, "error", "unsupported_response_type", "error_description", "Only response_type=code is supported.")
		return
	}
	if flaw := challengeFlaw(q); flaw != "" {
		s.back(w, target, state, "error", "invalid_request", "error_description", flaw)
		return
	}
	now := time.Now()
	s.authority.prune(now)
	form := secret.Random(24)
	scopes := strings.FieldsFunc(q["scope"], func(r rune) bool { return r == ' ' || r == ',' })
	slices.Sort(scopes)
	s.authority.forms[form.Hash()] = request{
		redirectURI: redirect, redirected: given, state: state, challenge: q["code_challenge"],
		scopes: slices.Compact(scopes), expiresAt: now.Add(formTTL),
	}
	s.consentPage(w, target, form, scopes, q["login"])
}

// challengeFlaw says what is wrong with the PKCE parameters, "" if nothing.
// S256 is required; plain proves nothing to who can read the request.
func challengeFlaw(q map[string]string) string {
	challenge := q["code_challenge"]
	if challenge == "" {
		return "PKCE is required: send code_challenge with code_challenge_method=S256 (RFC 7636)."
	}
	if q["code_challenge_method"] != "S256" {
		return "code_challenge_method must be S256."
	}
	if b, err := base64.RawURLEncoding.DecodeString(challenge); err != nil || len(b) != 32 {
		return "code_challenge must be a SHA-256 in unpadded base64url (RFC 7636, section 4.2)."
	}
	return ""
}

// takeConsent is POST /login/oauth/authorize: the person has answered.
func (s *Server) takeConsent(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // in memory
	p, good := single(string(body))
	now := time.Now()
	key := secret.New(p["form"]).Hash()
	asked, there := s.authority.forms[key]
	delete(s.authority.forms, key) // one use, whatever comes of it
	if !good || !there || !now.Before(asked.expiresAt) {
		s.problemPage(w, http.StatusBadRequest, "This form has been used or is too old", "Go back to the application and start again.")
		return
	}
	target, err := url.Parse(asked.redirectURI)
	if err != nil {
		s.problemPage(w, http.StatusBadRequest, "The redirect URI does not match", "Nothing was granted.")
		return
	}
	if p["decision"] != "approve" {
		s.back(w, target, asked.state, "error", "access_denied", "error_description", "The user has denied your application access.")
		return
	}
	u := s.world.user(p["login"])
	if u == nil || u.organization {
		s.problemPage(w, http.StatusBadRequest, "No such account", "Go back to the application and start again.")
		return
	}
	if a := s.authority; a.shrink {
		asked.scopes = slices.DeleteFunc(slices.Clone(asked.scopes), func(scope string) bool { return !slices.Contains(a.shrunk, scope) })
	}
	asked.expiresAt = now.Add(codeTTL)
	c := secret.Random(20)
	s.authority.codes[c.Hash()] = &code{request: asked, login: u.login}
	s.back(w, target, asked.state, "code", c.Reveal())
}

// back sends the browser to the application with the given parameters added
// to its redirect URI: RFC 6749 §4.1.2.
func (s *Server) back(w http.ResponseWriter, target *url.URL, state string, pairs ...string) {
	q := target.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	if state != "" {
		q.Set("state", state)
	}
	if s.issuer != "" {
		q.Set("iss", s.issuer)
	}
	to := *target
	to.RawQuery = q.Encode()
	h := w.Header()
	h.Set("Location", to.String())
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}
