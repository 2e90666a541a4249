package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
)

// A refusal is that of the grant which comes closest, whatever else was
// granted before or after it, and says what is really missing.
func TestClosestGrant(t *testing.T) {
	repos := broker.Ask{Connection: "github", Operation: "github.repos.list"}
	self := broker.Ask{Connection: "github", Method: "GET", Path: "/user"}
	stars := broker.Ask{Connection: "github", Method: "GET", Path: "/repos/octo/api/stargazers"}
	type given struct{ operations, resources []string }
	for _, c := range []struct {
		name   string
		grants []given
		ask    broker.Ask
		reason string
		says   []string
	}{
		{"the operation, held to resources", []given{{[]string{"github.repos.list"}, []string{"octo/*"}}, {[]string{"github.issues.*"}, []string{"octo/api"}}},
			repos, "resource_not_granted", []string{"only on octo/*", "names no resource", "without resources"}},
		{"the same, in the other order", []given{{[]string{"github.issues.*"}, []string{"octo/api"}}, {[]string{"github.repos.list"}, []string{"octo/*"}}},
			repos, "resource_not_granted", []string{"only on octo/*"}},
		{"everything, held to resources", []given{{[]string{"*"}, []string{"octo/api"}}}, self, "resource_not_granted", []string{"names no resource"}},
		{"a raw request", []given{{[]string{"github.issues.*"}, []string{"octo/api"}}}, stars, "operation_not_granted", []string{"--operation '*'", "github.raw.read"}},
		{"another operation", []given{{[]string{"github.issues.*"}, nil}}, repos, "operation_not_granted", []string{"does not cover this operation"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			bot, _ := s.Agent(s.mira, "other")
			s.bot = bot
			for _, g := range c.grants {
				s.Grant(s.mira, bot, s.con, grant.Broker, g.operations, g.resources)
			}
			_, err := s.App.Broker.Submit(t.Context(), s.caller(), c.ask, time.Now())
			f := fault.From(err)
			if f.Reason != c.reason {
				t.Errorf("refused as %s (%s), want %s", f.Reason, f.Detail, c.reason)
			}
			for _, want := range c.says {
				if !strings.Contains(f.Detail, want) {
					t.Errorf("%q does not say %q", f.Detail, want)
				}
			}
		})
	}
}

// What was not found is repeated, so that a misspelt name can be seen.
func TestConnectionNotFoundNamesIt(t *testing.T) {
	s := newScene(t)
	_, err := s.App.Broker.Submit(t.Context(), s.caller(), broker.Ask{Connection: "gihub", Operation: "github.users.get_self"}, time.Now())
	if f := fault.From(err); f.Reason != "connection_not_found" || !strings.Contains(f.Detail, `"gihub"`) {
		t.Errorf("%v", err)
	}
}
