package manage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/vktest"
)

// A grant that cannot be used as things stand is made, and says so.
func TestReservations(t *testing.T) {
	w := vktest.New(t)
	mira := w.Person("mira")
	con, err := w.App.Connect.AddToken(t.Context(), mira, mira.User, "github", "classic", w.Sandbox.PersonalToken("octocat", "repo", "read:user"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bot, _ := w.Agent(mira, "triage")
	for name, c := range map[string]struct {
		operations, resources []string
		says                  []string
	}{
		"a scope is missing":           {[]string{"github.repos.delete"}, nil, []string{"github.repos.delete", "delete_repo"}},
		"it names no resource":         {[]string{"github.repos.list"}, []string{"octo/*"}, []string{"can never be used for github.repos.list", "octo/*"}},
		"one of a pattern names none":  {[]string{"github.users.*"}, []string{"octo/api"}, []string{"github.users.get_self"}},
		"it names one":                 {[]string{"github.issues.*"}, []string{"octo/api"}, nil},
		"everything":                   {[]string{"*"}, []string{"octo/api"}, nil},
		"no resource, and no limit":    {[]string{"github.repos.list"}, nil, nil},
		"raw requests name what comes": {[]string{"github.raw.read"}, []string{"octo/api"}, nil},
	} {
		g, err := w.App.Manage.CreateGrant(t.Context(), mira, manage.Grant{
			Agent: bot.Name, Connection: string(con.ID), Operations: c.operations, Resources: c.resources,
		}, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := w.App.Manage.Reservations(t.Context(), g)
		if err != nil || (len(got) == 0) != (len(c.says) == 0) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for _, want := range c.says {
			if !strings.Contains(strings.Join(got, " "), want) {
				t.Errorf("%s: %q does not say %q", name, got, want)
			}
		}
	}
}
