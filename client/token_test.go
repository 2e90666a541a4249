package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

func TestNewRefuses(t *testing.T) {
	k := newKey(t, "")
	for _, issuer := range []string{
		"", "valetkey.example.com", "ftp://valetkey.example.com", "http://valetkey.example.com", "https://",
		"https://user:pa55word@valetkey.example.com", "https://valetkey.example.com/?a=b", "https://valetkey.example.com/#f",
		"http://127.0.0.1.example.com", "https:valetkey.example.com", "http://user:pa55word@%zz",
	} {
		_, err := client.New(issuer, client.Options{ClientID: "worker", Key: k})
		if err == nil {
			t.Errorf("New(%q) was accepted", issuer)
		} else if strings.Contains(err.Error(), "pa55word") {
			t.Errorf("New(%q): the error holds the password: %v", issuer, err)
		}
	}
	if _, err := client.New("https://valetkey.example.com", client.Options{Key: k}); err == nil {
		t.Error("no client id was accepted")
	}
	if _, err := client.New("https://valetkey.example.com", client.Options{ClientID: "worker"}); err == nil {
		t.Error("no key was accepted")
	}
	for _, issuer := range []string{"http://localhost:8420", "http://127.0.0.1:8420/", "http://[::1]:8420", "https://valetkey.example.com/base"} {
		if _, err := client.New(issuer, client.Options{ClientID: "worker", Key: k}); err != nil {
			t.Errorf("New(%q): %v", issuer, err)
		}
	}
	if _, err := client.New("https://valetkey.example.com", client.Options{ClientID: "worker", Key: k, Address: "http://valetkey:8420"}); err == nil {
		t.Error("an address with plain http to another machine was accepted")
	}
	if _, err := client.New("https://valetkey.example.com", client.Options{ClientID: "worker", Key: k, Address: "http://valetkey:8420", AllowHTTP: true}); err != nil {
		t.Errorf("AllowHTTP: %v", err)
	}
}

// What each kind of key signs is good by the server's own rules.
func TestTokenWithEachAlgorithm(t *testing.T) {
	for _, alg := range []client.Alg{client.ES256, client.EdDSA, client.RS256, client.RS384, client.PS256} {
		k := newKey(t, alg)
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, k)
			c := newClient(t, strings.TrimSuffix(issuer, "/"), k, s.start(t))
			tok, err := c.Token(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			if got, want := time.Until(tok.ExpiresAt), 600*time.Second; got > want || got < want-time.Second {
				t.Errorf("%s: lives %v, want %v", alg, got, want)
			}
		})
	}
}

func TestTokenIsCachedUntilAMinuteBeforeItsEnd(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		for _, step := range []struct {
			sleep time.Duration
			want  int
		}{{0, 1}, {0, 1}, {539 * time.Second, 1}, {time.Second, 2}, {539 * time.Second, 2}, {time.Hour, 3}} {
			time.Sleep(step.sleep)
			if _, err := c.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.count("POST /oauth/token"); got != step.want {
				t.Fatalf("after %v more: %d requests, want %d", step.sleep, got, step.want)
			}
		}
	})
}

func TestTokenIsFetchedOnce(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			s.token(w, r)
		})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := s.count("POST /oauth/token"); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

// Whoever fetches for all may give up; the others do not fail for that.
func TestTokenSurvivesTheOneWhoFetched(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			if r.Context().Err() == nil {
				s.token(w, r)
			}
		})
		var wg sync.WaitGroup
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Go(func() {
			if _, err := c.Token(hasty); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("hasty: %v, want that its context ended", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := c.Token(t.Context()); err != nil {
				t.Errorf("patient: %v", err)
			}
		})
		wg.Wait()
	})
}

func TestTokenErrors(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		reason  string
		status  int
		in, out []string // what the text holds, and what it does not
	}{
		{"uniform", func(w http.ResponseWriter, r *http.Request) {
			oauthError(w, 401, api.TokenError{Error: "invalid_client", Description: "The agent could not be authenticated."})
		}, "invalid_client", 401, []string{"could not be authenticated"}, []string{"clock"}},
		{"precise", func(w http.ResponseWriter, r *http.Request) {
			oauthError(w, 400, api.TokenError{Error: "invalid_client", Reason: "replayed", Description: "Used before."})
		}, "replayed", 400, []string{"invalid_client"}, nil},
		{"clock ahead", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat))
			oauthError(w, 400, api.TokenError{Error: "invalid_client", Reason: "issued_in_future", Description: `The claim "iat" is in the future.`})
		}, "issued_in_future", 400, []string{"this machine's clock is 5m0s ahead of the server's"}, nil},
		{"clock behind", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(2*time.Hour).UTC().Format(http.TimeFormat))
			oauthError(w, 401, api.TokenError{Error: "invalid_client"})
		}, "invalid_client", 401, []string{"this machine's clock is 2h0m0s behind the server's"}, nil},
		{"a page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(404)
			w.Write([]byte("<p>canary-of-a-page"))
		}, client.ReasonBadAnswer, 404, nil, []string{"canary-of-a-page"}},
		{"an echo", func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			oauthError(w, 400, api.TokenError{Error: "invalid_request", Description: "Bad\x1b[31m \u202e" + r.PostForm.Get("client_assertion")})
		}, "invalid_request", 400, []string{"[secret]"}, []string{"eyJ", "\x1b", "\u202e"}},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/oauth/token", http.StatusTemporaryRedirect)
		}, client.ReasonBadAnswer, 307, []string{"redirect"}, nil},
		{"no token", func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, api.TokenResponse{TokenType: "Bearer"})
		}, client.ReasonBadAnswer, 200, nil, nil},
		{"another type", func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, api.TokenResponse{AccessToken: "vka_canary", TokenType: "N_A", ExpiresIn: 5})
		}, client.ReasonBadAnswer, 200, nil, []string{"canary"}},
		{"broken JSON", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", api.MediaJSON)
			w.Write([]byte(`{"access_token":"vka_canary","expires_in":"canary"`))
		}, client.ReasonBadAnswer, 200, nil, []string{"canary"}},
		{"no answer", drop, client.ReasonUnreachable, 0, nil, nil},
	} {
		run(t, func(t *testing.T, s *server, c *client.Client) {
			s.on("POST /oauth/token", test.answer)
			_, err := c.Token(t.Context())
			wantError(t, err, test.reason, test.status)
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			for _, want := range test.in {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q lacks %q", test.name, err, want)
				}
			}
			for _, not := range append(test.out, "eyJ") {
				if strings.Contains(text, not) {
					t.Errorf("%s: %q holds %q", test.name, text, not)
				}
			}
			if got := s.count("POST /oauth/token"); got != 1 {
				t.Errorf("%s: %d requests, want 1", test.name, got)
			}
		})
	}
}

func TestServerWithoutTrustIsNotWaitedFor(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	c := newClient(t, srv.URL, newKey(t, ""), &http.Transport{})
	if _, err := c.Await(t.Context(), "act_1"); err == nil {
		t.Fatal("a certificate of nobody was trusted")
	} else {
		wantError(t, err, client.ReasonUnreachable, 0)
	}
}
