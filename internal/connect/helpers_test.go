package connect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

func (s *scene) event(p user.Principal) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return p.Event(verb, object, p.User, time.Now(), data)
	}
}

// register makes r a provider, with the sandbox's client secret.
func (s *scene) register(r vault.Registration) {
	s.t.Helper()
	err := s.App.Providers.Set(s.t.Context(), r, secret.New("sandbox-client-secret"), s.App.Egress.CheckURL, time.Now(), s.event(s.mira))
	if err != nil {
		s.t.Fatal(err)
	}
	s.Sandbox.AllowRedirect(s.App.Connect.RedirectURI(r.Provider))
	if _, err := s.App.Providers.All(s.t.Context()); err != nil { // egress asks for internal hosts
		s.t.Fatal(err)
	}
}

// provider makes the sandbox a second GitHub of that name.
func (s *scene) provider(name string) {
	s.t.Helper()
	s.register(vault.Registration{
		Provider: name, Spec: "github", ClientID: "sandbox-client", Internal: true, Base: provider.Base{API: []string{s.Upstream}, Web: s.Upstream},
	})
}

var refreshToken = regexp.MustCompile(`"refresh_token":"[^"]*",?`)

// withoutRefreshTokens puts a proxy before the sandbox that takes them out of
// its answers.
func (s *scene) withoutRefreshTokens() {
	s.t.Helper()
	target, err := url.Parse(s.Upstream)
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(res *http.Response) error {
			b, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			b = refreshToken.ReplaceAll(b, nil)
			res.Body = io.NopCloser(strings.NewReader(string(b)))
			res.ContentLength = int64(len(b))
			res.Header.Set("Content-Length", strconv.Itoa(len(b)))
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	s.t.Cleanup(front.Close)
	s.register(vault.Registration{
		Provider: "github", Spec: "github", ClientID: "sandbox-client", Internal: true, Base: provider.Base{API: []string{front.URL}, Web: front.URL},
	})
}
