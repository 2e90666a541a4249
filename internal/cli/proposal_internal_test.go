package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
)

// proposer answers a change with a proposal, and questions about it one after
// another.
func proposer(t *testing.T, answers ...api.Proposal) (*remote, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	send := func(w http.ResponseWriter, status int, p api.Proposal) {
		p.ID, p.URL, p.Summary = "prp_1", "http://localhost:1/proposals/prp_1", "Do \u202eit."
		w.Header().Set("Content-Type", api.MediaJSON)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(p)
	}
	srv := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			send(w, http.StatusAccepted, api.Proposal{State: api.ProposalOpen})
		case r.URL.Path != "/v1/proposals/prp_1":
			problem(404, "no_such_route")(w, r)
		case len(answers) == 0:
			<-r.Context().Done()
		default:
			next := answers[0]
			answers = answers[1:]
			if next.State == "away" {
				problem(503, "busy")(w, r)
				return
			}
			send(w, http.StatusOK, next)
		}
	}))
	var out, err bytes.Buffer
	return &remote{base: srv.URL + "/", http: srv.Client(), confirm: &confirming{&terminal{out: &out, err: &err}, true}}, &out, &err
}

func TestFollowingAProposal(t *testing.T) {
	open := api.Proposal{State: api.ProposalOpen}
	raw := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		answers []api.Proposal
		code    int
		reason  string
	}{
		"confirmed":           {[]api.Proposal{open, {State: "away"}, {State: api.ProposalConfirmed}, {State: api.ProposalConfirmed, Status: 200, Answer: raw(api.Provider{Name: "github"})}}, 0, ""},
		"confirmed, not done": {[]api.Proposal{{State: api.ProposalConfirmed, Status: 404, Answer: raw(api.Problem{Reason: "agent_not_found", Status: 404})}}, exitNotFound, "agent_not_found"},
		"refused":             {[]api.Proposal{open, {State: api.ProposalRefused}}, exitRefused, "proposal_refused"},
		"expired":             {[]api.Proposal{{State: api.ProposalExpired}}, exitHeld, "proposal_expired"},
		"nonsense":            {[]api.Proposal{{State: "maybe"}}, exitUnavailable, "bad_answer"},
	} {
		to, _, said := proposer(t, slices.Clone(c.answers)...)
		got, err := change[api.Provider](t.Context(), to, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{})
		v := verdict{}
		if err != nil {
			v = judge(err)
		}
		if v.code != c.code || v.problem.Reason != c.reason || c.code == 0 && got.Name != "github" {
			t.Errorf("%s: %d %s (%v), %+v", name, v.code, v.problem.Reason, err, got)
		}
		if s := said.String(); strings.Count(s, "Confirm with your passkey: http://localhost:1/proposals/prp_1\n") != 1 || strings.Contains(s, "\u202e") {
			t.Errorf("%s: said %q", name, s)
		}
	}
}

// Who does not wait, or stops to, learns where it can be confirmed still.
func TestLeavingAProposal(t *testing.T) {
	to, out, said := proposer(t)
	to.confirm.wait = false
	_, err := change[api.Provider](t.Context(), to, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{})
	if v := judge(err); v.code != exitHeld || !isOpen(err) || out.String() != "http://localhost:1/proposals/prp_1\n" {
		t.Errorf("without waiting: %v, printed %q, said %q", err, out, said)
	}
	to, out, _ = proposer(t)
	to.confirm.wait, to.confirm.json = false, true
	_, err = change[api.Provider](t.Context(), to, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{})
	var p api.Proposal
	if json.Unmarshal(out.Bytes(), &p) != nil || p.ID != "prp_1" || judge(err).code != exitHeld {
		t.Errorf("as JSON: %v, printed %q", err, out)
	}
	to, out, _ = proposer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = change[api.Provider](ctx, to, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{})
	if v := judge(err); v.code != exitInterrupted || !isOpen(err) || !strings.Contains(err.Error(), "/proposals/prp_1") || out.Len() > 0 {
		t.Errorf("interrupted: %v", err)
	}
	to, _, _ = proposer(t)
	to.confirm = nil
	if _, err = change[api.Provider](t.Context(), to, http.MethodPut, "v1/admin/providers/github", api.ProviderRequest{}); !isOpen(err) {
		t.Errorf("where nobody waits: %v", err)
	}
}
