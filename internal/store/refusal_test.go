package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/store/storetest"
)

// A change that is refused because of what another has done in the same
// transaction is told so when that is durable, and not if it never is.
func TestRefusalWaitsForWhatItRestsOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		commit int64 // which one fails; none if 0
		want   error
	}{{"committed", 0, errRefused}, {"not committed", 2, store.ErrUnavailable}} {
		t.Run(c.name, func(t *testing.T) {
			db := storetest.SQLite(t).Open(t)
			ctx := t.Context()
			who := &agent.Agent{Org: id.DefaultOrg, ID: id.NewAgent(), Name: "triage", Owner: id.NewUser(), Status: agent.Active, CreatedAt: at, Version: 1}
			key := &agent.Key{Org: id.DefaultOrg, ID: id.NewKey(), Agent: who.ID, Status: agent.KeyActive, CreatedAt: at, Version: 1}
			if err := db.Agents().CreateAgent(ctx, who, []*agent.Key{key}, []audit.Event{event("agent")}); err != nil {
				t.Fatal(err)
			}
			if c.commit > 0 {
				db.FailCommit(c.commit)
			}
			update := func(apply func(*agent.Agent) ([]audit.Event, error)) chan error {
				done := make(chan error, 1)
				go func() { done <- db.Agents().UpdateAgent(ctx, id.DefaultOrg, who.ID, apply) }()
				return done
			}
			queued := func(n int) {
				for end := time.Now().Add(5 * time.Second); db.Queued() < n; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d changes wait, want %d", db.Queued(), n)
					}
				}
			}
			// The first keeps the writer busy until both of the others wait.
			begun, goOn := make(chan bool), make(chan bool)
			first := update(func(*agent.Agent) ([]audit.Event, error) {
				begun <- true
				<-goOn
				return []audit.Event{event("first")}, nil
			})
			<-begun
			second := update(func(a *agent.Agent) ([]audit.Event, error) {
				a.Name = "taken"
				return []audit.Event{event("second")}, nil
			})
			queued(1)
			third := update(func(a *agent.Agent) ([]audit.Event, error) {
				if a.Name == "taken" {
					return nil, errRefused
				}
				return []audit.Event{event("third")}, nil
			})
			queued(2)
			close(goOn)
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			refused := <-third
			a, err := db.Agents().Agent(ctx, id.DefaultOrg, who.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(refused, c.want) {
				t.Errorf("the third was told %v, want %v", refused, c.want)
			}
			if errors.Is(refused, errRefused) && a.Name != "taken" {
				t.Error("it was refused for something that nobody can see")
			}
			if err := <-second; (err == nil) != (c.commit == 0) {
				t.Errorf("the second: %v", err)
			}
		})
	}
}
