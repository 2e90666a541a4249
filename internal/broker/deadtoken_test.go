package broker_test

import (
	"slices"
	"testing"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/vault"
)

// A provider that forgot its tokens answers 401, and refuses to renew them.
// Whoever asked learns in the same answer that the owner has to act.
func TestDeadToken(t *testing.T) {
	ask := broker.Ask{Connection: "github", Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}

	s := newScene(t)
	s.Sandbox.RevokeEverything("octocat")
	before := len(s.Sandbox.Ledger())
	if got := s.refused(ask); got != "needs_reauth" {
		t.Errorf("the first call: %s, want needs_reauth", got)
	}
	if n := s.Sandbox.Count("GET", "/repos/octo/api/issues"); n != 1 {
		t.Errorf("%d calls reached the provider, want 1 (%d before)", n, before)
	}
	con, err := s.App.DB.Connections().Connection(t.Context(), s.mira.Org, s.con.ID)
	if err != nil || con.Status != vault.NeedsReauth {
		t.Errorf("the connection is %v, %v", con, err)
	}
	// Its intent has an end in the log.
	var ended bool
	for _, e := range s.events("") {
		ended = ended || e.Verb == "action.failed" && e.Data["why"] == "needs_reauth"
	}
	if !ended {
		t.Error("no action.failed for needs_reauth in the log")
	}

	s = newScene(t)
	held := s.submit(comment("hello"))
	s.Sandbox.RevokeEverything("octocat")
	s.approve(held)
	h := s.ends(held, action.Failed, "needs_reauth")
	s.sent("POST", comments, 1)
	if got := verbs(s.events(string(h.Action.ID))); slices.Contains(got, "action.retried") {
		t.Errorf("tried again: %v", got)
	}
}
