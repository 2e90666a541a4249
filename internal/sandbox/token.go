package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/secret"
)

// refusal is an error of the token endpoint. It travels with status 200, as
// upstream: a client that looks at the status alone takes it for a success.
type refusal struct{ code, description string }

var (
	errClient   = refusal{"incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."}
	errCode     = refusal{"bad_verification_code", "The code passed is incorrect or expired."}
	errVerifier = refusal{"bad_verification_code", "The code_verifier does not match the code_challenge."}
	errRedirect = refusal{"redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application."}
	errRefresh  = refusal{"bad_refresh_token", "The refresh token passed is incorrect or expired."}
	errGrant    = refusal{"unsupported_grant_type", "The grant_type must be authorization_code or refresh_token."}
	errRequest  = refusal{"invalid_request", "The body must be a form or a JSON object of strings, each parameter once."}
)

// issueToken is POST /login/oauth/access_token.
func (s *Server) issueToken(w http.ResponseWriter, r *http.Request) {
	granted, refused := s.exchange(r, time.Now())
	body := url.Values{}
	if refused != (refusal{}) {
		body.Set("error", refused.code)
		body.Set("error_description", refused.description)
		body.Set("error_uri", docURL)
	} else {
		if s.authority.loseNext > 0 && granted.renewed {
			s.authority.loseNext--
			w.(*answer).lost = true // every handler writes into an answer
		}
		body.Set("access_token", granted.access.Reveal())
		body.Set("refresh_token", granted.refresh.Reveal())
		body.Set("scope", strings.Join(granted.scopes, ","))
		body.Set("token_type", "bearer")
	}
	s.sendToken(w, r, body, refused != (refusal{}))
}

// sendToken renders the answer as JSON if the client accepts that, else as a
// form. RFC 6749 §5.1 asks for no-store.
func (s *Server) sendToken(w http.ResponseWriter, r *http.Request, body url.Values, isError bool) {
	seconds := map[string]int64{}
	if !isError && !s.authority.omitExpiry {
		seconds["expires_in"] = int64(s.authority.accessTTL / time.Second)
		seconds["refresh_token_expires_in"] = int64(refreshTTL / time.Second)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !strings.Contains(r.Header.Get("Accept"), "json") {
		for name, n := range seconds {
			body.Set(name, strconv.FormatInt(n, 10))
		}
		h.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		io.WriteString(w, body.Encode())
		return
	}
	object := map[string]any{}
	for name := range body {
		object[name] = body.Get(name)
	}
	for name, n := range seconds {
		object[name] = n
	}
	b, _ := json.Marshal(object) // strings and numbers always marshal
	h.Set("Content-Type", "application/json; charset=utf-8")
	w.Write(b)
}

// exchange judges a token request and changes the authority accordingly. It
// authenticates the client before it looks at anything else, so that nobody
// without the secret can use up a code.
func (s *Server) exchange(r *http.Request, now time.Time) (pair, refusal) {
	p, good := tokenParams(r)
	if !good {
		return pair{}, errRequest
	}
	if !s.knows(r, p) {
		return pair{}, errClient
	}
	switch p["grant_type"] {
	case "", "authorization_code": // upstream does not ask for it with a code
		return s.redeem(p, now)
	case "refresh_token":
		granted, good := s.authority.renew(secret.New(p["refresh_token"]), now)
		if !good {
			return pair{}, errRefresh
		}
		return granted, refusal{}
	}
	return pair{}, errGrant
}

// redeem turns a code into the first pair of a family. A code that comes
// twice stops what it gave the first time: RFC 6749 §4.1.2. One that comes
// with the wrong proof is used up as well.
func (s *Server) redeem(p map[string]string, now time.Time) (pair, refusal) {
	c := s.authority.codes[secret.New(p["code"]).Hash()]
	if c == nil {
		return pair{}, errCode
	}
	if c.spent {
		if c.family != nil {
			s.authority.kill(c.family)
		}
		return pair{}, errCode
	}
	c.spent = true
	switch uri, given := p["redirect_uri"]; {
	case !now.Before(c.expiresAt):
		return pair{}, errCode
	case given && uri != c.redirectURI, !given && c.redirected: // RFC 6749 §4.1.3
		return pair{}, errRedirect
	case !proves(p["code_verifier"], c.challenge):
		return pair{}, errVerifier
	}
	c.family = s.authority.newFamily(c.login, c.scopes, true, now)
	return s.authority.rotate(c.family, now), refusal{}
}

// proves checks a PKCE verifier against an S256 challenge: RFC 7636 §4.1, §4.6.
func proves(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return secret.New(base64.RawURLEncoding.EncodeToString(sum[:])).Equal(secret.New(challenge))
}

// tokenParams reads the parameters from the body, never from the query: URLs
// end up in logs.
func tokenParams(r *http.Request) (map[string]string, bool) {
	body, _ := io.ReadAll(r.Body) // in memory
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.URL.RawQuery != "" {
		return nil, false
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		return single(string(body))
	case "application/json":
		return flat(body)
	}
	return nil, false
}

// flat reads a JSON object of strings in which each name stands once.
func flat(body []byte) (map[string]string, bool) {
	p := map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		value, err := dec.Token()
		text, isText := value.(string)
		if _, twice := p[name.(string)]; err != nil || !isText || twice { // a name is always a string
			return nil, false
		}
		p[name.(string)] = text
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	_, err := dec.Token()
	return p, errors.Is(err, io.EOF)
}

// knows authenticates the application, by Basic or by body, never by both:
// RFC 6749 §2.3.
func (s *Server) knows(r *http.Request, p map[string]string) bool {
	id, key := p["client_id"], p["client_secret"]
	if name, password, basic := r.BasicAuth(); basic {
		// Both halves are form-encoded before they are joined: §2.3.1.
		uid, err1 := url.QueryUnescape(name)
		upw, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || key != "" || id != "" && id != uid {
			return false
		}
		id, key = uid, upw
	}
	return s.isClient(id, secret.New(key))
}

// isClient compares an application's credentials with ours. Without a
// configured secret nobody is the client.
func (s *Server) isClient(id string, key secret.Text) bool {
	return s.clientID != "" && id == s.clientID && !s.clientSecret.IsZero() && s.clientSecret.Equal(key)
}
