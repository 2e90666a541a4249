package vault_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// An OpenID provider is registered by its issuer alone; what its document says
// is kept, and a document that speaks for another issuer is refused.
func TestDiscovery(t *testing.T) {
	w := vktest.New(t)
	var said map[string]string
	idp := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(said)
	}))
	defer idp.Close()
	good := func() map[string]string {
		return map[string]string{
			"issuer": idp.URL, "authorization_endpoint": idp.URL + "/authorize", "token_endpoint": idp.URL + "/token",
			"jwks_uri": idp.URL + "/jwks", "userinfo_endpoint": idp.URL + "/userinfo", "revocation_endpoint": idp.URL + "/revoke",
		}
	}
	now := time.Now()
	set := func(r vault.Registration) error {
		return w.App.Providers.Set(t.Context(), r, secret.New("client-secret"), w.App.Egress.CheckURL, now, func(verb, object string, data map[string]string) audit.Event {
			return audit.Event{At: now, Org: id.DefaultOrg, Verb: verb, Actor: "system", Object: object, Data: data}
		})
	}
	reg := vault.Registration{Provider: "corp", Spec: "oidc", ClientID: "c", Internal: true, Base: provider.Base{API: []string{idp.URL}, Issuer: idp.URL}}

	for name, change := range map[string]func(map[string]string, *vault.Registration){
		"another issuer":        func(m map[string]string, _ *vault.Registration) { m["issuer"] = "https://evil.example" },
		"no userinfo":           func(m map[string]string, _ *vault.Registration) { delete(m, "userinfo_endpoint") },
		"no issuer given":       func(_ map[string]string, r *vault.Registration) { r.Base.Issuer = "" },
		"not said to be inside": func(_ map[string]string, r *vault.Registration) { r.Internal = false },
	} {
		said = good()
		r := reg
		change(said, &r)
		if err := set(r); fault.From(err).Reason != "bad_provider" {
			t.Errorf("%s: %v", name, err)
		}
	}
	said = good()
	if err := set(reg); err != nil {
		t.Fatal(err)
	}
	p, err := w.App.Providers.Find(t.Context(), "corp")
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.Auth.URL != idp.URL+"/authorize" || p.Spec.Token.URL != idp.URL+"/token" || p.Spec.Identity.URL != idp.URL+"/userinfo" ||
		p.Spec.Identity.ID != "sub" || p.Spec.Revoke.URL != idp.URL+"/revoke" {
		t.Errorf("discovered %+v %+v %+v", p.Spec.Auth, p.Spec.Identity, p.Spec.Revoke)
	}
}

// A generic provider connects with the addresses that the operator gives: here
// the sandbox, seen as any OAuth 2 server.
func TestGenericOAuth2(t *testing.T) {
	w := vktest.New(t)
	now := time.Now()
	r := vault.Registration{Provider: "anything", Spec: "oauth2", ClientID: "sandbox-client", Internal: true, Base: provider.Base{
		API: []string{w.Upstream}, AuthorizeURL: w.Upstream + "/login/oauth/authorize", TokenURL: w.Upstream + "/login/oauth/access_token",
		Identity: provider.Identity{URL: w.Upstream + "/user", ID: "id", Label: "login"},
	}}
	err := w.App.Providers.Set(t.Context(), r, secret.New("sandbox-client-secret"), w.App.Egress.CheckURL, now, func(verb, object string, data map[string]string) audit.Event {
		return audit.Event{At: now, Org: id.DefaultOrg, Verb: verb, Actor: "system", Object: object, Data: data}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Sandbox.AllowRedirect(w.App.Connect.RedirectURI("anything"))
	mira := w.Person("mira")
	con := w.LinkAt(mira, "anything", "octocat")
	if con.Account != "octocat" || con.AccountID != "583231" || con.Provider != "anything" {
		t.Errorf("connected %+v", con)
	}
}
