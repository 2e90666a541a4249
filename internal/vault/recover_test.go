package vault_test

import (
	"testing"
	"time"
)

// A process that died while it refreshed holds up the one that follows it not
// for as long as its lease was good, and what it may have done is not forgotten.
func TestLeaseOfADeadProcess(t *testing.T) {
	s := newScene(t)
	if _, ok, err := s.App.DB.Connections().Lease(t.Context(), org, s.con.ID, time.Hour, nil); err != nil || !ok {
		t.Fatalf("lease: %v, %v", ok, err)
	}
	s.Restart()
	if c := s.row(); !c.LeaseUntil.IsZero() || !c.Attempting {
		t.Errorf("after the restart: lease until %v, attempting %v; want none, true", c.LeaseUntil, c.Attempting)
	}
	s.age(-time.Second)
	done := make(chan error, 1)
	go func() {
		_, err := s.use()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("use: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the lease of the process that died still holds")
	}
	if n := s.refreshes(); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
}

// Where another process may be at work its lease is its own.
func TestLeaseOfAnotherProcess(t *testing.T) {
	s := newScene(t)
	if _, ok, err := s.App.DB.Connections().Lease(t.Context(), org, s.con.ID, time.Hour, nil); err != nil || !ok {
		t.Fatalf("lease: %v, %v", ok, err)
	}
	if _, ok, err := s.second().Store.Lease(t.Context(), org, s.con.ID, time.Hour, nil); err != nil || ok {
		t.Errorf("a second lease: %v, %v", ok, err)
	}
}
