package vault_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider/catalog"
)

// Answers are read before they are trusted, and no answer gets into an error.
func TestParseTokens(t *testing.T) {
	specs, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const secretive = "ghu_planted"
	for _, c := range []struct {
		why    string
		spec   string
		status int
		body   string
		err    error
		ends   time.Duration // 0 is never
		scopes []string
		given  bool
	}{
		{"an error with 200", "github", 200, `{"error":"bad_verification_code","access_token":"ghu_planted"}`, vault.ErrProtocol, 0, nil, false},
		{"a dead grant with 200", "github", 200, `{"error":"bad_refresh_token","access_token":"ghu_planted"}`, vault.ErrGrantDead, 0, nil, false},
		{"a dead grant with 400", "github", 400, `{"error":"invalid_grant"}`, vault.ErrGrantDead, 0, nil, false},
		{"a dead grant in another case", "github", 400, `{"error":"Invalid_Grant"}`, vault.ErrProtocol, 0, nil, false},
		{"a dead grant from a failing server", "github", 500, `{"error":"invalid_grant"}`, vault.ErrUncertain, 0, nil, false},
		{"a token from a failing server", "github", 503, `{"access_token":"ghu_planted"}`, vault.ErrUncertain, 0, nil, false},
		{"a token with 404", "github", 404, `{"access_token":"ghu_planted"}`, vault.ErrProtocol, 0, nil, false},
		{"nothing", "github", 200, ``, vault.ErrUncertain, 0, nil, false},
		{"a form where JSON was asked for", "github", 200, `access_token=ghu_planted`, vault.ErrUncertain, 0, nil, false},
		{"a token that is no string", "github", 200, `{"access_token":["ghu_planted"]}`, vault.ErrUncertain, 0, nil, false},
		{"a token of another type", "github", 200, `{"access_token":"ghu_planted","token_type":"dpop"}`, vault.ErrProtocol, 0, nil, false},

		{"no lifetime", "github", 200, `{"access_token":"ghu_planted"}`, nil, 0, nil, false},
		{"a lifetime", "github", 200, `{"access_token":"ghu_planted","expires_in":60,"token_type":"Bearer"}`, nil, time.Minute, nil, false},
		{"a lifetime in a string", "github", 200, `{"access_token":"ghu_planted","expires_in":"60"}`, nil, time.Minute, nil, false},
		{"a lifetime with a fraction", "github", 200, `{"access_token":"ghu_planted","expires_in":60.9}`, nil, time.Minute, nil, false},
		{"a lifetime of nothing", "github", 200, `{"access_token":"ghu_planted","expires_in":0}`, nil, 0, nil, false},
		{"a lifetime before birth", "github", 200, `{"access_token":"ghu_planted","expires_in":-60}`, nil, 0, nil, false},
		{"a lifetime without sense", "github", 200, `{"access_token":"ghu_planted","expires_in":"soon"}`, nil, 0, nil, false},
		{"a lifetime without end", "github", 200, `{"access_token":"ghu_planted","expires_in":1e300}`, nil, 0, nil, false},
		{"a lifetime that overflows", "github", 200, `{"access_token":"ghu_planted","expires_in":9223372036854775807}`, nil, 0, nil, false},
		{"no lifetime where the provider is known for one", "github_app", 200, `{"access_token":"ghu_planted","refresh_token":"r"}`, nil, 8 * time.Hour, nil, false},
		{"no lifetime and nothing to renew with", "github_app", 200, `{"access_token":"ghu_planted"}`, nil, 0, nil, false},
		{"scopes with commas", "github", 200, `{"access_token":"ghu_planted","scope":"repo,read:user"}`, nil, 0, []string{"repo", "read:user"}, true},
		{"scopes with blanks", "github", 200, `{"access_token":"ghu_planted","scope":"repo  read:user "}`, nil, 0, []string{"repo", "read:user"}, true},
		{"no scopes, and said so", "github", 200, `{"access_token":"ghu_planted","scope":""}`, nil, 0, []string{}, true},
	} {
		p := &vault.Provider{ID: c.spec, Spec: specs[c.spec]}
		res := &http.Response{StatusCode: c.status, Header: http.Header{}}
		got, err := vault.ParseTokens(p, res, []byte(c.body), now)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.why, err, c.err)
		}
		if err != nil {
			if strings.Contains(err.Error(), secretive) || !got.Access.IsZero() {
				t.Errorf("%s: the error holds the token: %v", c.why, err)
			}
			continue
		}
		want := time.Time{}
		if c.ends > 0 {
			want = now.Add(c.ends)
		}
		if !got.ExpiresAt.Equal(want) || got.ScopesGiven != c.given || cmp.Diff(c.scopes, got.Scopes) != "" {
			t.Errorf("%s: ends %v, scopes %q", c.why, got.ExpiresAt, got.Scopes)
		}
	}
}

// An error code from outside cannot write lines of its own into the log.
func TestErrorCodesArePrintable(t *testing.T) {
	specs, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	p := &vault.Provider{ID: "github", Spec: specs["github"]}
	_, err = vault.ParseTokens(p, &http.Response{StatusCode: 400, Header: http.Header{}}, []byte(`{"error":"bad\nlevel=ERROR\u001b[2J`+strings.Repeat("x", 500)+`"}`), time.Now())
	if err == nil || strings.ContainsAny(err.Error(), "\n\x1b=[") || len(err.Error()) > 200 {
		t.Errorf("%q", err)
	}
}
