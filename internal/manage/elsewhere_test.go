package manage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

// What a command line may only propose is refused as such last: a proposal that
// could not be carried out is not opened.
func TestElsewhereIsSaidLast(t *testing.T) {
	w := vktest.New(t)
	mira := w.Person("mira")
	con := w.Link(mira, "octocat")
	bot, _ := w.Agent(mira, "triage")
	cli := mira
	cli.Kind = user.CLI
	give := func(want manage.Grant) error {
		want.Agent, want.Connection = bot.Name, string(con.ID)
		_, err := w.App.Manage.CreateGrant(t.Context(), cli, want, time.Now())
		return err
	}
	for name, c := range map[string]struct {
		grant  manage.Grant
		reason string
	}{
		"a misspelt operation": {manage.Grant{Operations: []string{"github.issue.*"}}, "unknown_operation"},
		"no operation":         {manage.Grant{}, "bad_grant"},
		"a resource of none":   {manage.Grant{Operations: []string{"*"}, Resources: []string{"octo"}}, "bad_resource"},
		"an end in the past":   {manage.Grant{Operations: []string{"*"}, ExpiresAt: time.Now().Add(-time.Hour)}, "bad_grant"},
		"a sound one":          {manage.Grant{Operations: []string{"github.issues.*"}, Resources: []string{"octo/api"}}, user.ErrCLI.Reason},
	} {
		if err := give(c.grant); fault.From(err).Reason != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	if _, err := w.App.Manage.Disconnect(t.Context(), mira, string(con.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := give(manage.Grant{Operations: []string{"*"}}); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("a grant on what was disconnected: %v", err)
	}
	if _, err := w.App.Manage.Disconnect(t.Context(), cli, string(con.ID), time.Now()); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("disconnected twice: %v", err)
	}
	if all, err := w.App.Manage.ListGrants(t.Context(), mira); err != nil || len(all) != 0 {
		t.Errorf("grants were made: %v, %v", all, err)
	}
}
