package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

const tokenRoute = "POST /oauth/token"

var repoAccess = client.ExchangeRequest{
	User: "usr_1", Connection: "github", Scopes: []string{"repo", "read:user"}, AuditContext: "nightly triage", LoginHint: "583231",
}

func TestExchangeRefusesBeforeSending(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		for _, bad := range []client.ExchangeRequest{
			{},
			{User: "usr_1", AuditContext: "x"},
			{Connection: "github", AuditContext: "x"},
			{User: "usr_1", Connection: "github"},
			{User: "usr_1", Connection: "github", AuditContext: strings.Repeat("é", 257)},
		} {
			_, err := c.Exchange(t.Context(), bad)
			wantError(t, err, client.ReasonBadRequest, 0)
		}
		if got := s.count(tokenRoute); got != 0 {
			t.Errorf("%d requests were sent", got)
		}
	})
}

// The request is what the strict profile asks for, and each is signed afresh.
func TestExchange(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		for range 2 { // within one second: the jti tells them apart
			tok, err := c.Exchange(t.Context(), repoAccess)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tok.Scopes, []string{"repo", "read:user"}); diff != "" {
				t.Errorf("scopes (-got +want):\n%s", diff)
			}
			if tok.IssuedType != api.RequestedVaultToken || time.Until(tok.ExpiresAt) != 600*time.Second {
				t.Errorf("token %+v", tok)
			}
		}
		for _, subject := range s.subjects {
			if subject.Issuer != "worker" || subject.Subject != "usr_1" || subject.AuditContext != "nightly triage" {
				t.Errorf("subject token %+v", subject)
			}
		}
		form := s.forms[0]
		for name, want := range map[string]string{
			"grant_type": api.GrantVaultExchange, "subject_token_type": api.SubjectJWT, "requested_token_type": api.RequestedVaultToken,
			"connection": "github", "scope": "repo read:user", "login_hint": "583231", "client_id": "worker",
		} {
			if got := form[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s = %q, want %q once", name, got, want)
			}
		}
	})
}

func TestExchangeThatAsksAPerson(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(tokenRoute, func(w http.ResponseWriter, r *http.Request) {
			oauthError(w, 403, api.TokenError{Error: "access_denied", Reason: "approval_required", Description: "Wait for the action, then exchange again.", Action: "act_5"})
		})
		_, err := c.Exchange(t.Context(), repoAccess)
		if e := wantError(t, err, "approval_required", 403); e.Action != "act_5" || e.OAuth != "access_denied" {
			t.Errorf("%+v", e)
		}
	})
}

func TestTokenSourceKeepsItsToken(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		source := c.TokenSource(repoAccess)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := source.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		first, _ := source.Token(t.Context())
		if got := s.count(tokenRoute); got != 1 {
			t.Fatalf("%d exchanges, want 1", got)
		}
		time.Sleep(540 * time.Second) // a minute before its end
		second, err := source.Token(t.Context())
		if err != nil || second.Access.Equal(first.Access) {
			t.Errorf("a minute before its end: the old token, %v", err)
		}
		source.Discard(first) // not the one that is kept
		if again, _ := source.Token(t.Context()); !again.Access.Equal(second.Access) {
			t.Error("an old token was discarded, and the new one went")
		}
		source.Discard(second)
		if again, _ := source.Token(t.Context()); again.Access.Equal(second.Access) {
			t.Error("a discarded token came back")
		}
	})
}

// A token too short-lived to be kept is fetched each time, and handed out.
func TestTokenSourceShortLived(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.lifetime = 45
		source := c.TokenSource(repoAccess)
		for n := 1; n <= 3; n++ {
			if _, err := source.Token(t.Context()); err != nil || s.count(tokenRoute) != n {
				t.Errorf("call %d: %v, %d exchanges", n, err, s.count(tokenRoute))
			}
		}
	})
}

// In its last minute a token helps over an outage, but not over a refusal.
func TestTokenSourceInTheLastMinute(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		source := c.TokenSource(repoAccess)
		first, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(550 * time.Second)
		s.on(tokenRoute, drop)
		if got, err := source.Token(t.Context()); err != nil || !got.Access.Equal(first.Access) {
			t.Errorf("during an outage: %v, want the token that is still good", err)
		}
		s.on(tokenRoute, func(w http.ResponseWriter, r *http.Request) {
			oauthError(w, 403, api.TokenError{Error: "access_denied", Reason: "grant_revoked"})
		})
		_, err = source.Token(t.Context())
		wantError(t, err, "grant_revoked", 403)
		s.on(tokenRoute, drop)
		_, err = source.Token(t.Context())
		wantError(t, err, client.ReasonUnreachable, 0)
	})
}

func TestOAuth2(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		source := c.TokenSource(repoAccess)
		kept := oauth2.ReuseTokenSource(nil, source.OAuth2(t.Context()))
		tok, err := kept.Token()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := source.Token(t.Context())
		if tok.AccessToken != want.Access.Reveal() || tok.Type() != "Bearer" {
			t.Error("another token")
		}
		time.Sleep(541 * time.Second)
		if again, err := kept.Token(); err != nil || again.AccessToken == tok.AccessToken {
			t.Errorf("a wrapper kept the token into its last minute, %v", err)
		}
		s.on(tokenRoute, func(w http.ResponseWriter, r *http.Request) {
			oauthError(w, 403, api.TokenError{Error: "access_denied"})
		})
		time.Sleep(time.Hour)
		_, err = kept.Token()
		wantError(t, err, "access_denied", 403)
	})
}

// Whatever is printed of the client and of what it returns holds no credential.
func TestNothingPrintsACredential(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		source := c.TokenSource(repoAccess)
		api1, err1 := c.Token(t.Context())
		tok, err2 := source.Token(t.Context())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for _, v := range []any{c, source, tok, &tok, api1} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				if text := fmt.Sprintf(verb, v); strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
					t.Errorf("%T with %s: %s", v, verb, text)
				}
			}
			if b, err := json.Marshal(v); err == nil && strings.Contains(string(b), "canary") {
				t.Errorf("%T as JSON: %s", v, b)
			}
		}
	})
}
