package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/user"
)

// A stored command line login reads, proposes and freezes; a browser that has
// not touched its passkey lately does not let people in.
func TestChangesNeedPresence(t *testing.T) {
	w := newWorld(t).furnish()
	olga := w.person("olga", user.Owner)
	cli := w.commandLine(olga)
	stale := who{cookie: w.login(olga, user.Browser, time.Now().Add(-time.Hour))}
	for name, c := range map[string]struct {
		by           who
		method, path string
		body         any
		reason       string // "" where it becomes a proposal
	}{
		"user, command line":     {cli, "POST", "/v1/admin/users", api.UserRequest{Name: "eve"}, ""},
		"user, stale":            {stale, "POST", "/v1/admin/users", api.UserRequest{Name: "eve"}, "confirm_required"},
		"link, stale":            {stale, "POST", "/v1/admin/users/mira/enrol-link", nil, "confirm_required"},
		"agent, command line":    {cli, "POST", "/v1/admin/agents", api.AgentRequest{Name: "other", Key: publicKey(t)}, ""},
		"policy, command line":   {cli, "PUT", "/v1/admin/policies/pol_default", api.PolicyRequest{Text: permitAll}, ""},
		"provider, command line": {cli, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "x"}, ""},
		"unfreeze, command line": {cli, "DELETE", "/v1/admin/freezes/" + string(w.freshFreeze()), nil, ""},
		"unfreeze, stale":        {stale, "DELETE", "/v1/admin/freezes/" + string(w.freshFreeze()), nil, "confirm_required"},
	} {
		if c.reason == "" {
			w.propose(c.by, c.method, c.path, c.body)
		} else if p := w.send(c.by, c.method, c.path, c.body).problem(t); p.Status != 403 || p.Reason != c.reason {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if a := w.send(cli, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage"}); a.status != 201 {
		t.Errorf("freezing from a command line: %d %s", a.status, a.body)
	}
}

func TestPeople(t *testing.T) {
	w := newWorld(t).furnish()
	owner := w.browser(w.person("olga", user.Owner))
	got := into[api.UserCreated](t, w.send(owner, "POST", "/v1/admin/users", api.UserRequest{Name: "Vera B.", Role: "auditor"}))
	if got.User.Role != "auditor" || !strings.HasPrefix(got.EnrolmentURL, w.Config.PublicURL) || got.ExpiresAt.IsZero() {
		t.Errorf("created: %+v", got.User)
	}
	again := into[api.UserCreated](t, w.send(owner, "POST", "/v1/admin/users/Vera%20B./enrol-link", nil))
	if again.User.ID != got.User.ID || again.EnrolmentURL == got.EnrolmentURL {
		t.Errorf("a second link: %+v", again.User)
	}
	if u := into[api.User](t, w.send(owner, "PATCH", "/v1/admin/users/"+got.User.ID, api.UserChange{Name: "vera"})); u.Name != "vera" {
		t.Errorf("renamed: %+v", u)
	}
	if u := into[api.User](t, w.send(owner, "PATCH", "/v1/admin/users/vera", api.UserChange{Status: "suspended"})); u.Status != "suspended" {
		t.Errorf("suspended: %+v", u)
	}
	// A member sees themselves, and cannot tell who else there is.
	mira := w.browser(w.mira)
	if page := into[api.Page[api.User]](t, w.send(mira, "GET", "/v1/admin/users", nil)); len(page.Items) != 1 || page.Items[0].Name != "mira" {
		t.Errorf("a member sees %+v", page.Items)
	}
	there := w.send(mira, "POST", "/v1/admin/users/olga/enrol-link", nil).problem(t)
	missing := w.send(mira, "POST", "/v1/admin/users/nobody/enrol-link", nil).problem(t)
	if there.Reason != missing.Reason || there.Detail != missing.Detail {
		t.Errorf("a member can tell %+v from %+v", there, missing)
	}
}

func TestAgents(t *testing.T) {
	w := newWorld(t).furnish()
	mira := w.browser(w.mira)
	made := w.send(mira, "POST", "/v1/admin/agents", api.AgentRequest{Name: "nightly", Key: publicKey(t), Sources: []string{"203.0.113.7", "2001:db8::/32", "10.1.2.3/8"}})
	a := into[api.Agent](t, made)
	if made.header.Get("Location") != "/v1/admin/agents/"+a.ID || a.Owner != string(w.mira.User) || a.Profile != "strict" || len(a.Keys) != 1 ||
		!slices.Equal(a.Sources, []string{"203.0.113.7/32", "2001:db8::/32", "10.0.0.0/8"}) {
		t.Fatalf("registered: %+v", a)
	}
	k := into[api.AgentKey](t, w.send(mira, "POST", "/v1/admin/agents/nightly/keys", api.AgentKeyRequest{Key: publicKey(t)}))
	gone := into[api.AgentKey](t, w.send(mira, "DELETE", "/v1/admin/agents/nightly/keys/"+a.Keys[0].ID, nil))
	if gone.Status != "revoked" || gone.RevokedAt.IsZero() {
		t.Errorf("revoked: %+v", gone)
	}
	keys := into[api.Page[api.AgentKey]](t, w.send(mira, "GET", "/v1/admin/agents/nightly/keys", nil))
	if len(keys.Items) != 2 || k.Status != "active" {
		t.Errorf("keys: %+v", keys)
	}
	if got := into[api.Agent](t, w.send(mira, "PATCH", "/v1/admin/agents/"+a.ID, api.AgentChange{Sources: []string{"0.0.0.0/0"}})); len(got.Sources) != 4 || len(got.Warnings) != 1 {
		t.Errorf("allowed: %+v", got)
	}
	if p := w.send(mira, "PATCH", "/v1/admin/agents/nightly", api.AgentChange{Profile: "compat-2025"}).problem(t); p.Status != 403 {
		t.Errorf("a member relaxes a profile: %+v", p)
	}
	admin := w.browser(w.person("adam", user.Admin))
	if got := into[api.Agent](t, w.send(admin, "PATCH", "/v1/admin/agents/nightly", api.AgentChange{Profile: "compat-2025"})); len(got.Warnings) != 2 {
		t.Errorf("relaxed: %+v", got)
	}
	if p := w.send(mira, "DELETE", "/v1/admin/agents/triage/keys/"+k.ID, nil).problem(t); p.Reason != "key_not_found" {
		t.Errorf("another agent's key: %+v", p)
	}
}

func TestHoldings(t *testing.T) {
	w := newWorld(t).furnish()
	mira, vera := w.browser(w.mira), w.browser(w.person("vera", user.Member))
	g := into[api.Grant](t, w.send(mira, "POST", "/v1/admin/grants", api.GrantRequest{
		Agent: "triage", Connection: "github", Operations: []string{"github.issues.*"}, Resources: []string{"octo/api"}, ExpiresAt: time.Now().Add(time.Hour),
	}))
	if g.Mode != "broker" || g.CreatedBy != "user:"+string(w.mira.User) || g.ExpiresAt.IsZero() {
		t.Errorf("grant: %+v", g)
	}
	if page := into[api.Page[api.Grant]](t, w.send(mira, "GET", "/v1/admin/grants?agent=triage&connection="+string(w.con.ID), nil)); len(page.Items) != 2 {
		t.Errorf("grants: %+v", page)
	}
	if page := into[api.Page[api.Grant]](t, w.send(vera, "GET", "/v1/admin/grants", nil)); len(page.Items) != 0 {
		t.Errorf("another member sees %+v", page)
	}
	if p := w.send(vera, "DELETE", "/v1/admin/grants/"+g.ID, nil).problem(t); p.Reason != "grant_not_found" {
		t.Errorf("another member revokes: %+v", p)
	}
	if got := into[api.Grant](t, w.send(mira, "DELETE", "/v1/admin/grants/"+g.ID, nil)); got.RevokedAt.IsZero() {
		t.Errorf("revoked: %+v", got)
	}

	providers := into[api.Page[api.Provider]](t, w.send(vera, "GET", "/v1/admin/providers", nil))
	i := slices.IndexFunc(providers.Items, func(p api.Provider) bool { return p.Name == "github" })
	if i < 0 || !providers.Items[i].HasSecret || providers.Items[i].Base == nil || !providers.Items[i].Connectable || strings.Contains(string(mustJSON(t, providers)), "sandbox-client-secret") {
		t.Fatalf("providers: %+v", providers)
	}
	admin := w.browser(w.person("adam", user.Admin))
	set := into[api.Provider](t, w.send(admin, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "renamed"}))
	if set.ClientID != "renamed" || !set.HasSecret || set.Base == nil || set.Base.Web != w.Upstream || !set.Internal {
		t.Errorf("what was left out did not keep its value: %+v", set)
	}
	if p := w.send(admin, "PUT", "/v1/admin/providers/nothing", api.ProviderRequest{ClientID: "x"}).problem(t); p.Reason != "provider_not_found" {
		t.Errorf("an unknown entry: %+v", p)
	}

	r := into[api.DisconnectReport](t, w.send(mira, "DELETE", "/v1/admin/connections/github", nil))
	if r.Connection != string(w.con.ID) || r.Here == "" || r.Probe == "" {
		t.Errorf("report: %+v", r)
	}
	if got := into[api.Connection](t, w.send(mira, "GET", "/v1/admin/connections/"+r.Connection, nil)); got.Status != "revoked" {
		t.Errorf("tombstone: %+v", got)
	}
	if p := w.send(w.agent(), "POST", "/v1/actions", listIssues).problem(t); p.Status != 404 && p.Status != 403 {
		t.Errorf("after the end: %+v", p)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A pasted token becomes a connection, and is nowhere in the answer.
func TestPastedToken(t *testing.T) {
	w := newWorld(t)
	mira := w.person("mira", user.Member)
	token := w.Sandbox.PersonalToken("octocat", "repo")
	a := w.send(w.browser(mira), "POST", "/v1/admin/connections", api.ConnectionRequest{Provider: "github", Name: "work", Token: token.Reveal()})
	con := into[api.Connection](t, a)
	if con.Account != "octocat" || con.Kind != "token" || con.Name != "work" || bytes.Contains(a.body, []byte(token.Reveal())) {
		t.Errorf("%s", a.body)
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld(t).furnish()
	owner, mira := w.browser(w.person("olga", user.Owner)), w.browser(w.mira)
	def := into[api.Policy](t, w.send(mira, "GET", "/v1/admin/policies/pol_default", nil))
	if def.Text == "" || def.Version == "" || def.Revision != 0 {
		t.Fatalf("default: %+v", def)
	}
	check := into[api.PolicyCheck](t, w.send(mira, "POST", "/v1/admin/policies/check", api.PolicyRequest{Text: "permit (principal"}))
	if check.OK || len(check.Findings) == 0 || check.Findings[0].Line != 1 {
		t.Errorf("a broken text: %+v", check)
	}
	more := def.Text + "\n@id(\"more\")\nforbid (principal, action, resource) when { context.operation == Operation::\"github.issues.nonsense\" };\n"
	check = into[api.PolicyCheck](t, w.send(mira, "POST", "/v1/admin/policies/check", api.PolicyRequest{Text: more}))
	if !check.OK || len(check.Changes) != 1 || !strings.Contains(check.Changes[0], "more") || len(check.Findings) != 1 || check.Findings[0].Severity != "warning" {
		t.Errorf("a longer text: %+v", check)
	}
	saved := into[api.Policy](t, w.send(owner, "PUT", "/v1/admin/policies/"+def.ID, api.PolicyRequest{Text: def.Text + "\n"}))
	if saved.ID != def.ID || saved.Revision != 1 || saved.UpdatedBy == "" {
		t.Fatalf("saved: %+v", saved)
	}
	next := into[api.Policy](t, w.send(owner, "PUT", "/v1/admin/policies/"+def.Name, api.PolicyRequest{Text: def.Text, Revision: 1}))
	if next.Revision != 2 {
		t.Errorf("saved again: %+v", next)
	}
	if p := w.send(owner, "PUT", "/v1/admin/policies/"+def.ID, api.PolicyRequest{Text: def.Text, Revision: 1}).problem(t); p.Reason != "policy_changed" {
		t.Errorf("an edit of what is no longer there: %+v", p)
	}
	if p := w.send(owner, "PUT", "/v1/admin/policies/pol_unknown", api.PolicyRequest{Text: permitAll}).problem(t); p.Status != 404 {
		t.Errorf("an unknown id: %+v", p)
	}
	// A person's own rules, which no other member sees or takes over.
	mine := into[api.Policy](t, w.send(mira, "PUT", "/v1/admin/policies/mine", api.PolicyRequest{Owner: string(w.mira.User), Text: `@id("no") forbid (principal, action, resource);`}))
	if mine.Owner != string(w.mira.User) || mine.Name != "mine" {
		t.Fatalf("own: %+v", mine)
	}
	vera := w.browser(w.person("vera", user.Member))
	if p := w.send(vera, "GET", "/v1/admin/policies/"+mine.ID, nil).problem(t); p.Status != 404 {
		t.Errorf("another member reads: %+v", p)
	}
	if p := w.send(vera, "PUT", "/v1/admin/policies/"+mine.ID, api.PolicyRequest{Text: permitAll}).problem(t); p.Status != 404 {
		t.Errorf("another member writes: %+v", p)
	}
	if p := w.send(owner, "PUT", "/v1/admin/policies/"+mine.ID, api.PolicyRequest{Text: permitAll}).problem(t); p.Status != 403 {
		t.Errorf("the owner of the org writes: %+v", p)
	}
	if p := w.send(owner, "PUT", "/v1/admin/policies/"+mine.ID, api.PolicyRequest{Owner: string(w.mira.User[:4]) + "x", Text: permitAll}).problem(t); p.Reason != "policy_owner" {
		t.Errorf("rules change hands: %+v", p)
	}
}

func TestFreezes(t *testing.T) {
	w := newWorld(t).furnish()
	mira, vera := w.browser(w.mira), w.browser(w.person("vera", user.Member))
	f := into[api.Freeze](t, w.send(mira, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage", Reason: "odd"}))
	if f.Target != string(w.bot.ID) || f.By != "user:"+string(w.mira.User) {
		t.Errorf("freeze: %+v", f)
	}
	if page := into[api.Page[api.Freeze]](t, w.send(mira, "GET", "/v1/admin/freezes", nil)); len(page.Items) != 1 {
		t.Errorf("mira sees %+v", page)
	}
	if page := into[api.Page[api.Freeze]](t, w.send(vera, "GET", "/v1/admin/freezes", nil)); len(page.Items) != 0 {
		t.Errorf("vera sees %+v", page)
	}
	owner := w.browser(w.person("olga", user.Owner))
	if lifted := into[api.Freeze](t, w.send(owner, "DELETE", "/v1/admin/freezes/"+f.ID, nil)); lifted.LiftedAt.IsZero() || lifted.Target != f.Target {
		t.Errorf("lifted: %+v", lifted)
	}
	if p := w.send(owner, "DELETE", "/v1/admin/freezes/frz_nonsense", nil).problem(t); p.Status != 404 {
		t.Errorf("an unknown one: %+v", p)
	}
	if a := w.send(w.agent(), "POST", "/v1/actions", listIssues); a.status != 200 {
		t.Errorf("after the freeze: %d", a.status)
	}
}

func TestRecord(t *testing.T) {
	w := newWorld(t).furnish()
	auditor := w.browser(w.person("ada", user.Auditor))
	w.send(w.agent(), "POST", "/v1/actions", listIssues)
	ctx := t.Context()

	page := into[api.Page[api.Event]](t, w.send(auditor, "GET", "/v1/admin/events?actor=agent:"+string(w.bot.ID)+"&verb=action.&limit=1", nil))
	if len(page.Items) != 1 || page.Items[0].Verb != "action.executing" {
		t.Fatalf("events: %+v", page)
	}
	about := page.Items[0]
	first := into[api.Page[api.Event]](t, w.send(auditor, "GET", "/v1/admin/events?limit=2", nil))
	second := into[api.Page[api.Event]](t, w.send(auditor, "GET", "/v1/admin/events?limit=2&cursor="+first.Next, nil))
	if len(first.Items) != 2 || len(second.Items) != 2 || second.Items[0].Seq != first.Items[1].Seq-1 {
		t.Errorf("pages: %+v, %+v", first, second)
	}

	if err := w.App.Checkpointer.Anchor(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	cp := into[api.Checkpoint](t, w.send(auditor, "GET", "/v1/admin/checkpoint", nil))
	v, err := audit.NewVerifier(cp.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Parse([]byte(cp.Note)); err != nil || got.Size != cp.Size || cp.Size <= about.Seq {
		t.Errorf("checkpoint: %+v, %v", cp, err)
	}

	proof := w.send(auditor, "GET", "/v1/admin/audit/prove?seq="+jsonNumber(about.Seq), nil)
	var p audit.Proof
	if err := json.Unmarshal(proof.body, &p); err != nil {
		t.Fatal(err)
	}
	if e, _, err := p.Check(v); err != nil || e.Seq != about.Seq || e.Object != about.Object {
		t.Errorf("proof: %+v, %v", e, err)
	}

	report := into[api.AuditReport](t, w.send(auditor, "GET", "/v1/admin/audit/verify", nil))
	if !report.OK || report.Events < cp.Size || report.Anchored < cp.Size || len(report.Lines) != 3 {
		t.Errorf("report: %+v", report)
	}

	export := w.send(auditor, "GET", "/v1/admin/audit/export", nil)
	x, err := audit.OpenExport(bytes.NewReader(export.body))
	if err != nil || export.status != 200 {
		t.Fatalf("export: %d, %v", export.status, err)
	}
	if r, err := audit.Verify(ctx, x, v, x.Checkpoints()); err != nil || !r.OK() || r.Events < cp.Size {
		t.Errorf("export: %v, %v", r, err)
	}

	_, lines := w.open(auditor, "/v1/admin/events/stream?after="+jsonNumber(about.Seq-1), "Last-Event-ID", jsonNumber(about.Seq-1))
	m := readMessage(t, lines)
	var e api.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil || e.Seq != about.Seq || e.Leaf == "" || m.id != jsonNumber(about.Seq) {
		t.Errorf("stream: %+v, %v", m, err)
	}
}

func jsonNumber(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestStatusAndDoctor(t *testing.T) {
	w := newWorld(t).furnish()
	owner := w.browser(w.person("olga", user.Owner))
	w.freshHeld()
	got := into[api.Status](t, w.send(owner, "GET", "/v1/admin/status", nil))
	if got.Users != 2 || got.Agents != 1 || got.Connections != 1 || got.Grants != 1 || got.Pending != 1 || got.Passkey || got.Events == 0 {
		t.Errorf("status: %+v", got)
	}
	d := into[api.Doctor](t, w.send(owner, "GET", "/v1/admin/doctor", nil))
	at := slices.IndexFunc(d.Config, func(c api.Config) bool { return c.Name == "public-url" })
	if at < 0 || d.Config[at].Value != w.Config.PublicURL || d.Config[at].Source != "set" {
		t.Errorf("settings: %+v", d.Config)
	}
	for _, c := range d.Checks {
		if c.Status != "ok" && c.Detail == "" {
			t.Errorf("%+v says nothing", c)
		}
	}
	if i := slices.IndexFunc(d.Checks, func(c api.Check) bool { return c.Name == "passkey" }); i < 0 || !d.OK {
		t.Errorf("checks: %+v", d.Checks)
	}
}

// A report stays readable, however much there is of one kind.
func TestDoctorIsBounded(t *testing.T) {
	w := newWorld(t).furnish()
	for i := range 25 {
		a, _ := w.Agent(w.mira, fmt.Sprintf("old-%d", i))
		if err := w.App.Manage.SetProfile(t.Context(), user.Principal{Org: w.mira.Org, Operator: true, Confirm: true}, a.Name, agent.Compat2025, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	d := into[api.Doctor](t, w.send(w.browser(w.person("olga", user.Owner)), "GET", "/v1/admin/doctor", nil))
	d.Checks = slices.DeleteFunc(d.Checks, func(c api.Check) bool { return c.Name != "agent" })
	if n := len(d.Checks); n != 21 || d.Checks[20].Detail != "And 5 more of these." || d.Checks[20].Fix == "" {
		t.Errorf("%d checks of agents: %+v", n, d.Checks)
	}
}

// The headers of every answer keep it out of caches and from being run.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/healthz", "/v1/me", "/nowhere"} {
		h := w.raw(w.request(who{}, "GET", path, nil), who{}).header
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if _, there := h[http.CanonicalHeaderKey("Access-Control-Allow-Origin")]; there {
			t.Errorf("%s: other origins may read it", path)
		}
	}
}

// Lists that grow come in pages, each person's own things only, and whatever is
// added or ended between two pages: nothing is listed twice or left out.
func TestPages(t *testing.T) {
	w := newWorld(t).furnish()
	mira, owner := w.browser(w.mira), w.browser(w.person("olga", user.Owner))
	stranger := w.person("nina", user.Member)
	w.Grant(stranger, w.bot, w.Link(stranger, "hubot"), grant.Broker, []string{"*"}, nil)
	for range 5 {
		w.Grant(w.mira, w.bot, w.con, grant.Broker, []string{"github.issues.*"}, []string{"octo/api"})
	}
	grants := func(by who, query string) (ids []string, next string) {
		t.Helper()
		page := into[api.Page[api.Grant]](t, w.send(by, "GET", "/v1/admin/grants?"+query, nil))
		for _, g := range page.Items {
			ids = append(ids, g.ID)
		}
		return ids, page.Next
	}
	whole, next := grants(mira, "")
	if len(whole) != 6 || next != "" || !slices.IsSortedFunc(whole, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Fatalf("all of them: %v, next %q", whole, next)
	}
	if all, _ := grants(owner, ""); len(all) != 7 {
		t.Errorf("an owner sees %d", len(all))
	}
	if of, _ := grants(owner, "agent=triage&connection="+string(w.con.ID)); !slices.Equal(of, whole) {
		t.Errorf("of one connection: %v", of)
	}
	var got []string
	for cursor := ""; ; cursor = "&cursor=" + next {
		var ids []string
		if ids, next = grants(mira, "limit=4"+cursor); len(ids) == 0 || len(ids) > 4 {
			t.Fatalf("a page of %d", len(ids))
		}
		if got = append(got, ids...); next == "" {
			break
		}
		// What comes in meanwhile is on no later page, what ends stays where it was.
		w.Grant(w.mira, w.bot, w.con, grant.Broker, []string{"github.issues.*"}, []string{"octo/api"})
		w.send(mira, "DELETE", "/v1/admin/grants/"+ids[len(ids)-1], nil)
	}
	if !slices.Equal(got, whole) {
		t.Errorf("in pages: %v, want %v", got, whole)
	}

	w.Link(w.mira, "hubot")
	first := into[api.Page[api.Connection]](t, w.send(mira, "GET", "/v1/admin/connections?limit=1", nil))
	if len(first.Items) != 1 || first.Next != first.Items[0].ID {
		t.Fatalf("the first connection: %+v", first)
	}
	second := into[api.Page[api.Connection]](t, w.send(mira, "GET", "/v1/admin/connections?limit=1&cursor="+first.Next, nil))
	if len(second.Items) != 1 || second.Items[0].ID != string(w.con.ID) || second.Next != "" {
		t.Errorf("the second connection: %+v", second)
	}
	if all := into[api.Page[api.Connection]](t, w.send(owner, "GET", "/v1/admin/connections", nil)); len(all.Items) != 3 {
		t.Errorf("an owner sees %d connections", len(all.Items))
	}

	for _, query := range []string{"limit=0", "limit=201", "limit=x", "cursor=", "cursor=1", "cursor=" + first.Next, "cursor=grt_' or 1=1 --", "cursor=" + whole[0] + "x"} {
		if p := w.call(mira, "GET", "/v1/admin/grants?"+strings.ReplaceAll(query, " ", "%20"), nil).problem(t); p.Status != 400 || p.Reason != "bad_parameter" {
			t.Errorf("%s: %+v", query, p)
		}
	}
}
