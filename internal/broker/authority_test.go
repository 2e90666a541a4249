package broker_test

import (
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
)

var listing = broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}

// What was taken away is refused by the very next request, although the ones
// before it were permitted by what is kept in memory.
func TestNothingOutlivesItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*scene) error
		want string
	}{
		"grant revoked": {func(s *scene) error {
			return s.App.Manage.RevokeGrant(s.t.Context(), s.mira, s.grant.ID, time.Now())
		}, "grant_revoked"},
		"owner suspended": {func(s *scene) error {
			s.Person("another owner")
			by := user.Principal{Org: s.mira.Org, Operator: true, Confirm: true}
			return s.App.Users.SetStatus(s.t.Context(), by, s.mira.User, user.Suspended, time.Now())
		}, "owner_suspended"},
		"disconnected": {func(s *scene) error {
			_, err := s.App.Vault.Disconnect(s.t.Context(), s.con.ID, time.Now(), func(verb, object string, data map[string]string) audit.Event {
				return s.mira.Event(verb, object, s.mira.User, time.Now(), data)
			})
			return err
		}, grant.ErrNone.Reason},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			for range 2 {
				if status, _ := read(t, s.submit(listing)); status != 200 {
					t.Fatalf("a permitted read is answered with %d", status)
				}
			}
			if err := c.end(s); err != nil {
				t.Fatal(err)
			}
			if got := s.refused(listing); got != c.want {
				t.Errorf("refused as %s, want %s", got, c.want)
			}
			s.sent("GET", "/repos/octo/api/issues", 2)
		})
	}
}

// A grant that comes is found as fast as one that goes.
func TestNewGrantCounts(t *testing.T) {
	s := newScene(t)
	other := listing
	other.Params = map[string]any{"owner": "octo", "repo": "web"}
	if got := s.refused(other); got != grant.ErrResource.Reason {
		t.Fatalf("refused as %s", got)
	}
	s.Grant(s.mira, s.bot, s.con, grant.Broker, []string{"*"}, []string{"octo/web"})
	if got := s.refused2(other); got != "ok" {
		t.Errorf("the new grant does not count: %s", got)
	}
}
