package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
)

// row is what each kind of caller gets from one route. The things that the path
// names belong to the member.
type row struct {
	path func(w *world) string // a fresh thing to do it to
	body func(w *world, name string) any
	// want, in this order: nobody, the agent, the member, another member, an
	// auditor, an admin, an owner, the operator's socket.
	want [8]int
}

var callers = [8]string{"anonymous", "agent", "member", "other", "auditor", "admin", "owner", "operator"}

func at(path string) func(*world) string { return func(*world) string { return path } }

func same(body any) func(*world, string) any { return func(*world, string) any { return body } }

// publicKey is a fresh one, as PEM.
func publicKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// freshHeld is a new action of the bot that waits.
func (w *world) freshHeld() api.Action {
	return into[api.Action](w.t, w.send(w.agent(), "POST", "/v1/actions", comment(string(id.NewAction()))))
}

func (w *world) freshAgent() *agent.Agent {
	a, _ := w.Agent(w.mira, strings.ReplaceAll(string(id.NewAgent()), "agt_", "a"))
	return a
}

// freshConnection is one of the member's without tokens, so that its end needs
// no provider.
func (w *world) freshConnection() id.Connection {
	w.t.Helper()
	c := &vault.Connection{
		Org: id.DefaultOrg, ID: id.NewConnection(), User: w.mira.User, Provider: "github", Kind: vault.ByPaste,
		AccountID: string(id.NewConnection()), Account: "nobody", Status: vault.Active, CreatedAt: time.Now(), Version: 1,
	}
	c.Name = string(c.ID)
	e := w.mira.Event("connection.created", string(c.ID), w.mira.User, time.Now(), nil)
	if err := w.App.DB.Flows().CreateConnection(w.t.Context(), c, []audit.Event{e}); err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

// freshSession is another login of the member's.
func (w *world) freshSession() string {
	w.t.Helper()
	w.login(w.mira, user.Browser, time.Now())
	all, err := w.App.DB.Users().Sessions().OfUser(w.t.Context(), id.DefaultOrg, w.mira.User)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(all[0].ID)
}

func (w *world) freshFreeze() id.Freeze {
	w.t.Helper()
	f, err := w.App.Freezes.Throw(w.t.Context(), id.DefaultOrg, freeze.User, string(id.NewUser()), "", w.mira.Actor(), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return f.ID
}

const permitAll = `permit (principal, action, resource);`

// matrix has a row for every route; see callers for the order.
func matrix() map[string]row {
	all := [8]int{401, 403, 200, 200, 200, 200, 200, 200}
	look := [8]int{401, 403, 403, 403, 200, 200, 200, 200}
	mine := [8]int{401, 403, 200, 200, 200, 200, 200, 403} // the operator is nobody
	forAgents := [8]int{401, 200, 403, 403, 403, 403, 403, 404}
	both := [8]int{401, 200, 200, 200, 200, 200, 200, 200}
	open := [8]int{200, 200, 200, 200, 200, 200, 200, 200}
	return map[string]row{
		"POST /v1/actions":              {at("/v1/actions"), same(listIssues), forAgents},
		"GET /v1/actions":               {at("/v1/actions"), nil, forAgents},
		"GET /v1/actions/{id}":          {func(w *world) string { return "/v1/actions/" + w.freshHeld().ID }, nil, forAgents},
		"GET /v1/actions/{id}/events":   {func(w *world) string { return "/v1/actions/" + w.denied().ID + "/events" }, nil, forAgents},
		"GET /v1/actions/{id}/response": {func(w *world) string { return "/v1/actions/" + w.freshHeld().ID + "/response" }, nil, [8]int{401, 409, 403, 403, 403, 403, 403, 404}},
		"POST /v1/actions/{id}/cancel":  {func(w *world) string { return "/v1/actions/" + w.freshHeld().ID + "/cancel" }, nil, forAgents},
		"GET /v1/connections":           {at("/v1/connections"), nil, both},
		"GET /v1/operations":            {at("/v1/operations"), nil, both},
		"GET /v1/me":                    {at("/v1/me"), nil, all},
		"GET /v1/me/passkeys":           {at("/v1/me/passkeys"), nil, mine},
		// 404: nobody here has a passkey of that name.
		"PATCH /v1/me/passkeys/{id}":       {at("/v1/me/passkeys/" + string(id.NewPasskey())), same(api.PasskeyChange{Name: "x"}), [8]int{401, 403, 404, 404, 404, 404, 404, 403}},
		"GET /v1/me/sessions":              {at("/v1/me/sessions"), nil, mine},
		"DELETE /v1/me/sessions":           {at("/v1/me/sessions"), nil, mine},
		"DELETE /v1/me/sessions/{id}":      {func(w *world) string { return "/v1/me/sessions/" + w.freshSession() }, nil, [8]int{401, 403, 200, 404, 404, 404, 404, 403}},
		"GET /v1/approvals":                {at("/v1/approvals"), nil, all},
		"GET /v1/approvals/{id}":           {func(w *world) string { return "/v1/approvals/" + w.freshHeld().Approval.ID }, nil, [8]int{401, 403, 200, 404, 200, 200, 200, 200}},
		"POST /v1/approvals/{id}/decision": {at("decision"), nil, [8]int{401, 403, 200, 403, 403, 403, 403, 404}},
		"GET /v1/receipts/{id}":            {func(w *world) string { return "/v1/receipts/" + w.answered().ID }, nil, [8]int{401, 403, 200, 404, 200, 200, 200, 200}},
		// The operator's, which those may see who may confirm it.
		"GET /v1/proposals/{id}": {func(w *world) string { return "/v1/proposals/" + string(w.proposed().ID) }, nil, [8]int{401, 403, 404, 404, 404, 200, 200, 200}},

		"GET /v1/admin/status": {at("/v1/admin/status"), nil, all},
		"GET /v1/admin/doctor": {at("/v1/admin/doctor"), nil, look},
		"GET /v1/admin/users":  {at("/v1/admin/users"), nil, all},
		"POST /v1/admin/users": {at("/v1/admin/users"), func(_ *world, name string) any { return api.UserRequest{Name: "new-" + name} },
			[8]int{401, 403, 403, 403, 403, 201, 201, 201}},
		"PATCH /v1/admin/users/{ref}": {at("/v1/admin/users/paul"), func(w *world, _ string) any { return api.UserChange{Status: w.flip()} },
			[8]int{401, 403, 403, 403, 403, 200, 200, 200}},
		"POST /v1/admin/users/{ref}/enrol-link":   {at("/v1/admin/users/vera/enrol-link"), nil, [8]int{401, 403, 403, 403, 403, 201, 201, 201}},
		"DELETE /v1/admin/users/{ref}/enrol-link": {at("/v1/admin/users/vera/enrol-link"), nil, [8]int{401, 403, 403, 403, 403, 200, 200, 200}},
		"GET /v1/admin/agents":                    {at("/v1/admin/agents"), nil, all},
		"GET /v1/admin/groups":                    {at("/v1/admin/groups"), nil, look},
		"POST /v1/admin/groups": {at("/v1/admin/groups"), func(_ *world, name string) any {
			return api.GroupRequest{Name: "g-" + name, Members: []string{"paul"}}
		}, [8]int{401, 403, 403, 403, 403, 201, 201, 201}},
		"PATCH /v1/admin/groups/{name}": {func(w *world) string { return "/v1/admin/groups/" + w.freshGroup() }, same(api.GroupChange{Add: "paul"}),
			[8]int{401, 403, 403, 403, 403, 200, 200, 200}},
		"GET /v1/admin/reliefs": {at("/v1/admin/reliefs"), nil, all},
		"DELETE /v1/admin/reliefs/{id}": {func(w *world) string { return "/v1/admin/reliefs/" + w.freshRelief() }, nil,
			[8]int{401, 403, 200, 404, 403, 200, 200, 200}},
		"POST /v1/admin/agents": {at("/v1/admin/agents"), func(w *world, name string) any {
			return api.AgentRequest{Name: "bot-" + name, Owner: map[bool]string{true: "mira"}[name == "operator"], Key: publicKey(w.t)}
		}, [8]int{401, 403, 201, 201, 403, 201, 201, 201}},
		"GET /v1/admin/agents/{ref}": {at("/v1/admin/agents/triage"), nil, [8]int{401, 403, 200, 404, 200, 200, 200, 200}},
		"PATCH /v1/admin/agents/{ref}": {func(w *world) string { return "/v1/admin/agents/" + w.freshAgent().Name }, same(api.AgentChange{Status: "suspended"}),
			[8]int{401, 403, 200, 404, 404, 200, 200, 200}},
		"GET /v1/admin/agents/{ref}/keys": {at("/v1/admin/agents/triage/keys"), nil, [8]int{401, 403, 200, 404, 200, 200, 200, 200}},
		"POST /v1/admin/agents/{ref}/keys": {func(w *world) string { return "/v1/admin/agents/" + w.freshAgent().Name + "/keys" },
			func(w *world, _ string) any { return api.AgentKeyRequest{Key: publicKey(w.t)} }, [8]int{401, 403, 201, 404, 404, 201, 201, 201}},
		"DELETE /v1/admin/agents/{ref}/keys/{id}": {func(w *world) string {
			a := w.freshAgent()
			keys, err := w.App.DB.Agents().Keys().OfAgent(w.t.Context(), a.Org, a.ID)
			if err != nil {
				w.t.Fatal(err)
			}
			return "/v1/admin/agents/" + a.Name + "/keys/" + string(keys[0].ID)
		}, nil, [8]int{401, 403, 200, 404, 404, 200, 200, 200}},
		"GET /v1/admin/grants": {at("/v1/admin/grants"), nil, all},
		// Who owns the connection gives the grant, and nobody else: not an admin.
		// The operator may as long as nobody has a passkey.
		"POST /v1/admin/grants": {at("/v1/admin/grants"), func(w *world, _ string) any {
			return api.GrantRequest{Agent: "triage", Connection: string(w.con.ID), Operations: []string{"github.issues.*"}}
		}, [8]int{401, 403, 201, 404, 403, 403, 403, 201}},
		"DELETE /v1/admin/grants/{id}": {func(w *world) string {
			g := w.Grant(w.mira, w.freshAgent(), w.con, grant.Broker, []string{"github.issues.list"}, nil)
			return "/v1/admin/grants/" + string(g.ID)
		}, nil, [8]int{401, 403, 200, 404, 403, 200, 200, 200}},
		"GET /v1/admin/connections": {at("/v1/admin/connections"), nil, all},
		// 404: there is no such provider, which is as far as those get who may.
		"POST /v1/admin/connections": {at("/v1/admin/connections"), func(_ *world, name string) any {
			return api.ConnectionRequest{Provider: "nowhere", User: map[bool]string{true: "mira"}[name == "operator"], Token: "not-a-real-token"}
		}, [8]int{401, 403, 404, 404, 403, 404, 404, 404}},
		"GET /v1/admin/connections/{ref}": {func(w *world) string { return "/v1/admin/connections/" + string(w.con.ID) }, nil, [8]int{401, 403, 200, 404, 200, 200, 200, 200}},
		"DELETE /v1/admin/connections/{ref}": {func(w *world) string { return "/v1/admin/connections/" + string(w.freshConnection()) }, nil,
			[8]int{401, 403, 200, 404, 403, 200, 200, 200}},
		"GET /v1/admin/providers": {at("/v1/admin/providers"), nil, all},
		"PUT /v1/admin/providers/{id}": {at("/v1/admin/providers/github"), same(api.ProviderRequest{ClientID: "another"}),
			[8]int{401, 403, 403, 403, 403, 200, 200, 200}},
		"GET /v1/admin/policies":      {at("/v1/admin/policies"), nil, all},
		"GET /v1/admin/policies/{id}": {at("/v1/admin/policies/pol_default"), nil, all},
		"PUT /v1/admin/policies/{id}": {at("/v1/admin/policies/extra.cedar"), same(api.PolicyRequest{Text: `@id("x") ` + permitAll}),
			[8]int{401, 403, 403, 403, 403, 200, 200, 200}},
		"POST /v1/admin/policies/check": {at("/v1/admin/policies/check"), same(api.PolicyRequest{Text: "nonsense"}), all},
		"GET /v1/admin/freezes":         {at("/v1/admin/freezes"), nil, all},
		"POST /v1/admin/freezes": {at("/v1/admin/freezes"), func(w *world, _ string) any {
			return api.FreezeRequest{Kind: "agent", Target: w.freshAgent().Name}
		}, [8]int{401, 403, 201, 404, 403, 201, 201, 201}},
		"DELETE /v1/admin/freezes/{id}": {func(w *world) string { return "/v1/admin/freezes/" + string(w.freshFreeze()) }, nil, [8]int{401, 403, 403, 403, 403, 403, 200, 200}},
		"GET /v1/admin/events":          {at("/v1/admin/events"), nil, look},
		"GET /v1/admin/events/stream":   {at("/v1/admin/events/stream"), nil, look},
		"GET /v1/admin/checkpoint":      {at("/v1/admin/checkpoint"), nil, look},
		"GET /v1/admin/audit/verify":    {at("/v1/admin/audit/verify"), nil, look},
		"GET /v1/admin/audit/prove":     {at("/v1/admin/audit/prove?seq=0"), nil, look},
		"GET /v1/admin/audit/export":    {at("/v1/admin/audit/export"), nil, look},
		"GET /v1/openapi.json":          {at("/v1/openapi.json"), nil, open},
		"GET /healthz":                  {at("/healthz"), nil, open},
		"GET /readyz":                   {at("/readyz"), nil, open},
	}
}

// freshGroup is one without members.
func (w *world) freshGroup() string {
	w.t.Helper()
	name := string(id.NewGroup())
	by := user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}
	if _, err := w.App.Users.CreateGroup(w.t.Context(), by, name, nil, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// freshRelief is one that the member gave.
func (w *world) freshRelief() string {
	w.t.Helper()
	bot := w.freshAgent() // of its own, or the relief would let the others' actions through
	w.Grant(w.mira, bot, w.con, grant.Broker, []string{"*"}, nil)
	out, err := w.App.Broker.Submit(w.t.Context(), vktest.Caller(bot), broker.Ask{
		Connection: string(w.con.ID), Operation: "github.issues.create", Params: map[string]any{"owner": "octo", "repo": "api", "title": "hi"},
	}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	v := broker.Verdict{Answer: approval.Yes, Seen: out.Action.Effect, Channel: "web", Level: approval.Approve, Relief: 3}
	if _, err := w.App.Broker.Decide(w.t.Context(), w.mira, out.Approval.ID, v, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.App.Broker.Await(w.t.Context(), vktest.Caller(bot), out.Action.ID, ""); err != nil {
		w.t.Fatal(err) // it would end in the middle of somebody's row
	}
	all, err := w.App.Broker.ListReliefs(w.t.Context(), w.mira, bot.ID, time.Now())
	if err != nil || len(all) == 0 {
		w.t.Fatalf("%v, %v", all, err)
	}
	return string(all[0].ID)
}

// denied is an action that is over.
func (w *world) denied() api.Action {
	a := w.freshHeld()
	w.send(w.agent(), "POST", "/v1/actions/"+a.ID+"/cancel", nil)
	return a
}

// answered is a held action that its owner said no to.
func (w *world) answered() api.Action {
	w.t.Helper()
	a := w.freshHeld()
	seen, err := action.ParseDigest(a.Effect)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.App.Broker.Decide(w.t.Context(), w.mira, id.Approval(a.Approval.ID), broker.Verdict{
		Answer: approval.No, Seen: seen, Level: approval.Approve, Channel: "web",
	}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// flip is the status that paul does not have.
func (w *world) flip() string {
	all, err := w.App.DB.Users().Users(w.t.Context(), id.DefaultOrg)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range all {
		if u.Name == "paul" && u.Status == user.Active {
			return "suspended"
		}
	}
	return "active"
}

// Every route times every kind of caller has an expected answer; a route
// without a row fails.
func TestMatrix(t *testing.T) {
	w := newWorld(t).furnish()
	if err := w.App.Checkpointer.Anchor(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	logins := map[string]who{
		"agent": w.agent(), "member": w.browser(w.mira), "other": w.browser(w.person("vera", user.Member)),
		"auditor": w.browser(w.person("ada", user.Auditor)), "admin": w.browser(w.person("adam", user.Admin)),
		"owner": w.browser(w.person("olga", user.Owner)), "operator": w.socket0(),
	}
	w.person("paul", user.Member)
	rows := matrix()
	for _, pattern := range w.api.Patterns() {
		r, ok := rows[pattern]
		if !ok {
			t.Errorf("%s has no row", pattern)
			continue
		}
		delete(rows, pattern)
		method, _, _ := strings.Cut(pattern, " ")
		for i, name := range callers {
			t.Run(fmt.Sprintf("%s by %s", pattern, name), func(t *testing.T) {
				w.t = t
				var body any
				if r.body != nil {
					body = r.body(w, name)
				}
				path := r.path(w)
				if path == "decision" {
					a := w.freshHeld()
					path, body = "/v1/approvals/"+a.Approval.ID+"/decision", api.Decision{Decision: api.AnswerDeny, Effect: a.Effect}
				}
				before := w.size()
				got := w.call(logins[name], method, path, body)
				if got.status != r.want[i] {
					t.Errorf("%d, want %d: %.300s", got.status, r.want[i], got.body)
				}
				if got.status >= 400 {
					got.problem(t)
					w.recordedOnce(before, name, got.status)
				}
				if name == "agent" && got.status == 403 && got.problem(t).Reason != "agent_not_allowed" {
					t.Errorf("an agent was refused as %s", got.problem(t).Reason)
				}
			})
		}
	}
	for pattern := range rows {
		t.Errorf("the row %s has no route", pattern)
	}
}

// call sends, and does not read an endless stream to its end.
func (w *world) call(by who, method, path string, body any) answer {
	if !strings.HasSuffix(path, "/events/stream") {
		return w.send(by, method, path, body)
	}
	req := w.request(by, method, path, body)
	client := w.socket
	if !by.operator {
		client = w.client()
	}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, 4096)
	n, _ := res.Body.Read(b)
	return answer{res.StatusCode, res.Header, b[:n]}
}

// recordedOnce checks that a refusal is in the log, once. An address that is not
// there at all is nobody's request.
func (w *world) recordedOnce(before int64, name string, status int) {
	w.t.Helper()
	want, got := 1, 0
	if name == "operator" && status == 404 && len(w.events(before)) == 0 {
		want = 0
	}
	if name == "anonymous" {
		return // at a bounded rate; see TestUnknownRefusals
	}
	var verbs []string
	for _, e := range w.events(before) {
		verbs = append(verbs, e.Verb)
		if strings.HasSuffix(e.Verb, ".refused") {
			got++
		}
	}
	if got != want {
		w.t.Errorf("recorded %d times, want %d: %v", got, want, verbs)
	}
}
