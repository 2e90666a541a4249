package vault_test

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// Two instances of one catalogue entry are told apart by what people read of
// them; the catalogue's own keeps its plain name.
func TestInstancesAreToldApart(t *testing.T) {
	w := vktest.New(t)
	ghes := provider.Base{API: []string{"https://git.acme.test/api/v3"}, Web: "https://git.acme.test"}
	own := provider.Base{API: []string{"https://api.github.com"}, Web: "https://github.com"}
	for _, c := range []struct {
		provider, spec string
		base           provider.Base
		want           string
	}{
		{"github", "github", provider.Base{}, "GitHub"},
		{"github", "github", own, "GitHub"},
		{"github", "github", ghes, "GitHub (git.acme.test)"},
		{"ghes", "github", ghes, "GitHub (ghes, git.acme.test)"},
		{"work", "github", provider.Base{}, "GitHub (work)"},
	} {
		now := time.Now()
		r := vault.Registration{Provider: c.provider, Spec: c.spec, ClientID: "c", Internal: true, Base: c.base}
		err := w.App.Providers.Set(t.Context(), r, secret.Text{}, w.App.Egress.CheckURL, now, func(verb, object string, data map[string]string) audit.Event {
			return audit.Event{At: now, Org: org, Verb: verb, Actor: "system", Object: object, Data: data}
		})
		if err != nil {
			t.Fatalf("%s: %v", c.want, err)
		}
		p, err := w.App.Providers.Find(t.Context(), c.provider)
		if err != nil || p.Spec.Name != c.want {
			t.Errorf("%s of %s is called %q, %v; want %q", c.provider, c.spec, p.Spec.Name, err, c.want)
		}
	}
}
