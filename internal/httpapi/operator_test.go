package httpapi_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// enrol gives p a passkey, as far as the store is concerned.
func (w *world) enrol(p user.Principal) {
	w.t.Helper()
	now := time.Now()
	k := &user.Passkey{
		Org: p.Org, ID: id.NewPasskey(), User: p.User, CredentialID: []byte(id.NewPasskey()), Name: "key", Credential: []byte("{}"),
		CreatedAt: now, Version: 1,
	}
	e := p.Event("passkey.enrolled", string(k.ID), p.User, now, nil)
	if err := w.App.DB.Users().Passkeys().Enrol(w.t.Context(), k, nil, now, []audit.Event{e}); err != nil {
		w.t.Fatal(err)
	}
}

// Once somebody has a passkey the socket reads, proposes and freezes.
func TestOperatorAfterThePasskey(t *testing.T) {
	w := newWorld(t).furnish()
	op := w.socket0()
	if me := into[api.Me](t, w.send(op, "GET", "/v1/me", nil)); me.Kind != "operator" || me.UID == nil || *me.UID != os.Getuid() || !me.Changes || me.User != nil {
		t.Errorf("before: %+v", me)
	}
	w.enrol(w.mira)
	if me := into[api.Me](t, w.send(op, "GET", "/v1/me", nil)); me.Changes {
		t.Errorf("after: %+v", me)
	}
	held := w.freshHeld()
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/v1/admin/users", api.UserRequest{Name: "eve"}},
		{"POST", "/v1/admin/users/mira/enrol-link", nil},
		{"PATCH", "/v1/admin/users/mira", api.UserChange{Status: "suspended"}},
		{"POST", "/v1/admin/agents", api.AgentRequest{Name: "other", Key: publicKey(t)}},
		{"PATCH", "/v1/admin/agents/triage", api.AgentChange{Sources: []string{"0.0.0.0/0"}}},
		{"PATCH", "/v1/admin/agents/triage", api.AgentChange{Profile: "compat-2025"}},
		{"POST", "/v1/admin/agents/triage/keys", api.AgentKeyRequest{Key: publicKey(t)}},
		{"POST", "/v1/admin/grants", api.GrantRequest{Agent: "triage", Connection: "github", Operations: []string{"*"}}},
		{"POST", "/v1/admin/connections", api.ConnectionRequest{Provider: "github", Token: "a-pasted-token"}},
		{"DELETE", "/v1/admin/connections/github", nil},
		{"PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "evil"}},
		{"PUT", "/v1/admin/policies/pol_default", api.PolicyRequest{Text: permitAll}},
		{"DELETE", "/v1/admin/freezes/" + string(w.freshFreeze()), nil},
	} {
		before := w.size()
		p := w.propose(op, c.method, c.path, c.body)
		if strings.Contains(c.path, "/freezes/") && !strings.Contains(p.Summary, `the freeze of the person "`) {
			t.Errorf("what is to be unfrozen is not named: %s", p.Summary)
		}
		if p.State != api.ProposalOpen || strings.HasPrefix(p.Summary, "Send ") {
			t.Errorf("%s %s: %+v", c.method, c.path, p)
		}
		if e := w.events(before); len(e) != 1 || e[0].Verb != "proposal.opened" {
			t.Errorf("%s %s was recorded as %v", c.method, c.path, e)
		}
	}
	// A decision is not even an address there.
	if p := w.send(op, "POST", "/v1/approvals/"+held.Approval.ID+"/decision", api.Decision{Decision: "deny", Effect: held.Effect}).problem(t); p.Status != 404 && p.Status != 405 {
		t.Errorf("decision: %+v", p)
	}
	before := w.size()
	if shown := into[api.Approval](t, w.send(op, "GET", "/v1/approvals/"+held.Approval.ID, nil)); shown.Request == nil || shown.CanDecide {
		t.Errorf("reading: %+v", shown)
	}
	if e := w.events(before); !slices.ContainsFunc(e, func(e audit.Event) bool {
		return e.Verb == "operator.looked" && strings.HasPrefix(e.Actor, "operator:")
	}) {
		t.Errorf("a look was not recorded: %v", e)
	}
	f := into[api.Freeze](t, w.send(op, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "all", Reason: "fire"}))
	if f.ID == "" || !strings.HasPrefix(f.By, "operator:") {
		t.Errorf("freeze: %+v", f)
	}
	if p := w.send(w.agent(), "POST", "/v1/actions", listIssues).problem(t); p.Reason != "frozen" {
		t.Errorf("frozen: %+v", p)
	}
}

// With operator: socket the same changes are made; decisions still are not.
func TestOperatorByConfiguration(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol(w.mira)
	w.api.Config.Operator = "socket"
	op := w.socket0()
	made := into[api.Agent](t, w.send(op, "POST", "/v1/admin/agents", api.AgentRequest{Name: "other", Key: publicKey(t)}))
	if made.Owner != string(w.mira.User) {
		t.Errorf("the only person owns what the operator makes: %+v", made)
	}
	w.person("vera", user.Member)
	if p := w.send(op, "POST", "/v1/admin/agents", api.AgentRequest{Name: "third", Key: publicKey(t)}).problem(t); p.Reason != "bad_owner" {
		t.Errorf("of two people: %+v", p)
	}
	if a := w.send(op, "POST", "/v1/admin/agents", api.AgentRequest{Name: "third", Owner: "vera", Key: publicKey(t)}); a.status != 201 {
		t.Errorf("with an owner: %d %s", a.status, a.body)
	}
}

// The socket is for processes, which are who they are: it takes no credential,
// and the network does not take its word.
func TestOperatorCredentials(t *testing.T) {
	w := newWorld(t).furnish()
	req := w.request(w.socket0(), "GET", "/v1/me", nil)
	req.Header.Set("Authorization", "Bearer "+w.token)
	if p := w.raw(req, w.socket0()).problem(t); p.Reason != "operator_credential" {
		t.Errorf("a credential: %+v", p)
	}
	for _, path := range []string{"/v1/actions", "/v1/actions/act_x/events"} {
		if a := w.send(w.socket0(), "GET", path, nil); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	// The same handler without a socket below it knows nobody.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := w.api.OperatorServer()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() {
		srv.Close()
		<-done
	}()
	saved := w.base
	w.base = "http://" + l.Addr().String()
	if p := w.send(who{}, "GET", "/v1/me", nil).problem(t); p.Status != 401 || p.Reason != "operator_unknown" {
		t.Errorf("over TCP: %+v", p)
	}
	w.base = saved
}

func TestListenOperator(t *testing.T) {
	dir, err := os.MkdirTemp("", "vk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "operator.sock")
	l, err := httpapi.ListenOperator(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.ListenOperator(t.Context(), path); fault.From(err).Reason != "already_running" {
		t.Errorf("beside a living server: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if the process had died
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = httpapi.ListenOperator(t.Context(), path); err != nil {
		t.Fatalf("after a dead one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.ListenOperator(t.Context(), path); fault.From(err).Reason != "socket_in_the_way" {
		t.Errorf("where a file is: %v", err)
	}
}
