package manage_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

const org = id.DefaultOrg

func publicKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// things belong to one member: what the others try to change.
type things struct {
	*vktest.World
	t     *testing.T
	n     int
	owner user.Principal
	bot   *agent.Agent
	key   id.Key
	con   *vault.Connection
	grant *grant.Grant
}

func (th *things) manage() *manage.Service { return th.App.Manage }

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newThings(t *testing.T, w *vktest.World, n int, pat secret.Text) *things {
	owner := w.Person(fmt.Sprintf("member-%d", n))
	owner.Role = user.Member
	th := &things{World: w, t: t, n: n, owner: owner}
	th.bot, _ = w.Agent(owner, fmt.Sprintf("bot-%d", n))
	th.key = must[[]*agent.Key](t)(w.App.Agents.Store.Keys().OfAgent(t.Context(), org, th.bot.ID))[0].ID
	th.con = must[*vault.Connection](t)(w.App.Connect.AddToken(t.Context(), owner, owner.User, "github", "", pat, time.Now()))
	th.grant = w.Grant(owner, th.bot, th.con, grant.Broker, []string{"*"}, nil)
	return th
}

// principals are those who try, by the names of the columns below.
func (th *things) principals(other user.Principal) map[string]user.Principal {
	with := func(p user.Principal, change func(*user.Principal)) user.Principal {
		change(&p)
		return p
	}
	role := func(r user.Role) user.Principal { return with(other, func(p *user.Principal) { p.Role = r }) }
	old := func(p *user.Principal) { p.AuthAt = time.Now().Add(-time.Hour) }
	line := func(p *user.Principal) { p.Kind = user.CLI }
	trusted := func(p *user.Principal) { p.Kind, p.Confirm = user.CLI, true }
	return map[string]user.Principal{
		"own":     th.owner,
		"ownOld":  with(th.owner, old), // whose passkey was touched an hour ago
		"other":   role(user.Member),
		"admin":   role(user.Admin),
		"owner":   role(user.Owner),
		"ownrOld": with(role(user.Owner), old),
		"audit":   role(user.Auditor),
		"ownAud":  with(th.owner, func(p *user.Principal) { p.Role = user.Auditor }),
		"cli":     with(th.owner, line),
		"cli+":    with(th.owner, trusted),
		"ownrCLI": with(role(user.Owner), line),
		"op":      {Org: org, Operator: true},
		"op+":     {Org: org, Operator: true, Confirm: true},
		"nobody":  {Org: org},
	}
}

var columns = []string{"own", "ownOld", "other", "admin", "owner", "ownrOld", "audit", "ownAud", "cli", "cli+", "ownrCLI", "op", "op+", "nobody"}

// Short names of the reasons, so that the table can be read. What somebody
// never may comes before where they may do it.
var reasons = map[string]string{
	"ok": "", "role": "not_allowed", "brow": "browser_required", "pkey": "passkey_required", "fresh": "confirm_required", "login": "login_required",
	"noAg": "agent_not_found", "noCon": "connection_not_found",
}

// Who may change what. Each cell is tried on things of its own.
func TestWhoMayChangeWhat(t *testing.T) {
	rows := []struct {
		what  string
		do    func(*things, user.Principal) error
		cells string
	}{
		//                                                   own   ownOld other admin owner ownrOld audit ownAud cli  cli+  ownrCLI op   op+  nobody
		{"register an agent", register(""), "                ok    ok    role  ok    ok    ok    role  role  brow  ok    brow  pkey  ok    role"},
		{"register a lenient one", register(agent.Compat2025), "role role role ok   ok    ok    role  role  role  role  brow  pkey  ok    role"},
		{"add a key", addKey, "                              ok    fresh noAg  ok    ok    fresh   noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"revoke a key", revokeKey, "                        ok    ok    noAg  ok    ok    ok    noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"suspend an agent", suspend, "                      ok    ok    noAg  ok    ok    ok    noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"resume an agent", resume, "                        ok    fresh noAg  ok    ok    fresh   noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"allow a network", allow, "                         ok    fresh noAg  ok    ok    fresh   noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"make it strict", profile(agent.Strict), "          ok    ok    noAg  ok    ok    ok    noAg  noAg  brow  ok    brow  pkey  ok    noAg"},
		{"make it lenient", profile(agent.Compat2025), "     role  role  noAg  ok    ok    ok    noAg  noAg  brow  role  brow  pkey  ok    noAg"},
		{"grant use", give(grant.Broker), "                  ok    ok    noCon role  role  role  role  role  brow  ok    role  pkey  ok    noCon"},
		{"grant the token", give(grant.Vend), "              ok    fresh noCon role  role  role  role  role  brow  fresh role  pkey  ok    noCon"},
		{"revoke a grant", revokeGrant, "                    ok    ok    role  ok    ok    ok    role  role  brow  ok    brow  pkey  ok    role"},
		{"disconnect", disconnect, "                         ok    ok    noCon ok    ok    ok    role  role  brow  ok    brow  pkey  ok    noCon"},
		{"set a provider", setProvider, "                    role  role  role  ok    ok    fresh role  role  role  role  brow  pkey  ok    role"},
		{"freeze an agent", halt(freeze.Agent), "            ok    ok    noAg  ok    ok    ok    role  ok    ok    ok    ok    ok    ok    login"},
		{"freeze a connection", halt(freeze.Connection), "   ok    ok    noCon ok    ok    ok    role  ok    ok    ok    ok    ok    ok    login"},
		{"freeze a person", halt(freeze.User), "             ok    ok    role  ok    ok    ok    role  ok    ok    ok    ok    ok    ok    login"},
		{"freeze everything", halt(freeze.All), "            role  role  role  ok    ok    ok    role  role  role  role  ok    ok    ok    login"},
		{"lift what is frozen", thaw, "                      role  role  role  role  ok    fresh role  role  role  role  fresh pkey  ok    role"},
		{"lift a freeze", lift, "                            role  role  role  role  ok    fresh role  role  role  role  fresh pkey  ok    role"},
	}
	w := vktest.New(t)
	pat := w.Sandbox.PersonalToken("octocat", "repo")
	other := w.Person("other")
	for n, name := range columns {
		th := newThings(t, w, n, pat)
		p := th.principals(other)[name]
		// Disconnecting comes last: the rows before need the connection.
		for _, last := range []bool{false, true} {
			for _, row := range rows {
				cells := strings.Fields(row.cells)
				if len(cells) != len(columns) {
					t.Fatalf("%s: %d cells", row.what, len(cells))
				}
				if (row.what == "disconnect") != last {
					continue
				}
				want, known := reasons[cells[n]]
				if !known {
					t.Fatalf("%s: %q", row.what, cells[n])
				}
				got := ""
				if err := row.do(th, p); err != nil {
					got = fault.From(err).Reason
				}
				if got != want {
					t.Errorf("%s, %s: %q, want %q", name, row.what, got, want)
				}
			}
		}
	}
}

func register(profile agent.Profile) func(*things, user.Principal) error {
	return func(th *things, p user.Principal) error {
		r := agent.Registration{Name: fmt.Sprintf("new-%d%s", th.n, profile), Owner: th.owner.User, Profile: profile, Key: publicKey(th.t)}
		a, _, err := th.manage().RegisterAgent(th.t.Context(), p, r, time.Now())
		if err == nil && a.Owner != th.owner.User {
			th.t.Errorf("it belongs to %s", a.Owner)
		}
		return err
	}
}

func addKey(th *things, p user.Principal) error {
	_, err := th.manage().AddKey(th.t.Context(), p, string(th.bot.ID), publicKey(th.t), "", time.Now())
	return err
}

func revokeKey(th *things, p user.Principal) error {
	return th.manage().RevokeKey(th.t.Context(), p, th.bot.Name, th.key, time.Now())
}

// setStatus puts the agent where the test wants it, by its own right.
func (th *things) setStatus(to agent.Status) {
	a := must[*agent.Agent](th.t)(th.App.Agents.Find(th.t.Context(), th.bot.Name))
	if a.Status == to {
		return
	}
	do := th.manage().SuspendAgent
	if to == agent.Active {
		do = th.manage().ResumeAgent
	}
	if err := do(th.t.Context(), th.owner, th.bot.Name, time.Now()); err != nil {
		th.t.Fatal(err)
	}
}

func suspend(th *things, p user.Principal) error {
	th.setStatus(agent.Active)
	return th.manage().SuspendAgent(th.t.Context(), p, th.bot.Name, time.Now())
}

func resume(th *things, p user.Principal) error {
	th.setStatus(agent.Suspended)
	return th.manage().ResumeAgent(th.t.Context(), p, th.bot.Name, time.Now())
}

func allow(th *things, p user.Principal) error {
	return th.manage().AllowSources(th.t.Context(), p, th.bot.Name, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, time.Now())
}

func profile(to agent.Profile) func(*things, user.Principal) error {
	return func(th *things, p user.Principal) error {
		return th.manage().SetProfile(th.t.Context(), p, th.bot.Name, to, time.Now())
	}
}

func give(mode grant.Mode) func(*things, user.Principal) error {
	return func(th *things, p user.Principal) error {
		want := manage.Grant{Agent: th.bot.Name, Connection: string(th.con.ID), Mode: mode, Operations: []string{"github.issues.*"}}
		g, err := th.manage().CreateGrant(th.t.Context(), p, want, time.Now())
		if err == nil && (g.User != th.owner.User || g.Mode != mode || g.CreatedBy != p.Actor()) {
			th.t.Errorf("granted %+v", g)
		}
		return err
	}
}

func revokeGrant(th *things, p user.Principal) error {
	return th.manage().RevokeGrant(th.t.Context(), p, th.grant.ID, time.Now())
}

func disconnect(th *things, p user.Principal) error {
	_, err := th.manage().Disconnect(th.t.Context(), p, string(th.con.ID), time.Now())
	return err
}

func setProvider(th *things, p user.Principal) error {
	r := vault.Registration{Provider: fmt.Sprintf("ghes-%d", th.n), Spec: "github", Internal: true, Base: provider.Base{API: []string{th.Upstream}, Web: th.Upstream}}
	return th.manage().SetProvider(th.t.Context(), p, manage.Provider{Registration: r}, time.Now())
}

func halt(kind freeze.Kind) func(*things, user.Principal) error {
	return func(th *things, p user.Principal) error {
		target := map[freeze.Kind]string{freeze.Agent: th.bot.Name, freeze.Connection: string(th.con.ID), freeze.User: th.owner.Name}[kind]
		f, err := th.manage().Freeze(th.t.Context(), p, kind, target, "a test", time.Now())
		held := th.App.Freezes.Check(org, th.bot.ID, th.con.ID, th.owner.User) != nil
		if held != (err == nil) {
			th.t.Errorf("frozen: %v, and %v", held, err)
		}
		if err == nil {
			th.lift(f.ID)
		}
		return err
	}
}

func (th *things) lift(f id.Freeze) {
	if err := th.App.Freezes.Lift(th.t.Context(), org, f, "system", time.Now()); err != nil {
		th.t.Fatal(err)
	}
}

func lift(th *things, p user.Principal) error {
	f := must[freeze.Freeze](th.t)(th.App.Freezes.Throw(th.t.Context(), org, freeze.Agent, string(th.bot.ID), "", "system", time.Now()))
	err := th.manage().Unfreeze(th.t.Context(), p, f.ID, time.Now())
	if err != nil {
		th.lift(f.ID)
	}
	return err
}

func thaw(th *things, p user.Principal) error {
	f := must[freeze.Freeze](th.t)(th.App.Freezes.Throw(th.t.Context(), org, freeze.Agent, string(th.bot.ID), "", "system", time.Now()))
	got, err := th.manage().UnfreezeTarget(th.t.Context(), p, freeze.Agent, th.bot.Name, time.Now())
	if held := th.App.Freezes.Check(org, th.bot.ID, th.con.ID, th.owner.User) != nil; held != (err != nil) || err == nil && got.ID != f.ID {
		th.t.Errorf("still frozen: %v, lifted %v, and %v", held, got, err)
	}
	if err != nil {
		th.lift(f.ID)
	}
	return err
}

// Frozen twice is frozen once, however it is named, and lifted once.
func TestFreezeTwice(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	boss := th.owner
	boss.Role = user.Owner
	for _, c := range []struct {
		kind  freeze.Kind
		names []string
	}{
		{freeze.Agent, []string{th.bot.Name, string(th.bot.ID)}},
		{freeze.Connection, []string{th.con.Name, string(th.con.ID), "github"}},
		{freeze.User, []string{th.owner.Name, string(th.owner.User)}},
		{freeze.All, []string{"", "whatever"}},
	} {
		var first freeze.Freeze
		for i, name := range c.names {
			f := must[freeze.Freeze](t)(w.App.Manage.Freeze(t.Context(), boss, c.kind, name, "a test", time.Now()))
			if i == 0 {
				first = f
			} else if f.ID != first.ID {
				t.Errorf("%s %s: frozen a second time", c.kind, name)
			}
		}
		if n := len(w.App.Freezes.Active()); n != 1 {
			t.Errorf("%s: %d in force", c.kind, n)
		}
		for _, name := range c.names {
			if lifted, err := w.App.Manage.UnfreezeTarget(t.Context(), boss, c.kind, name, time.Now()); err == nil && lifted.ID != first.ID {
				t.Errorf("%s %s: lifted %s", c.kind, name, lifted.ID)
			} else if (err == nil) != (name == c.names[0]) || err != nil && fault.From(err).Reason != "not_frozen" {
				t.Errorf("%s %s: %v", c.kind, name, err)
			}
		}
	}
	for why, c := range map[string]struct {
		kind   freeze.Kind
		target string
		want   string
	}{
		"an unknown agent": {freeze.Agent, "nobody", "agent_not_found"},
		"an unknown kind":  {"grant", string(th.grant.ID), "bad_freeze"},
		"what is not":      {freeze.Agent, th.bot.Name, "not_frozen"},
	} {
		if _, err := w.App.Manage.UnfreezeTarget(t.Context(), boss, c.kind, c.target, time.Now()); fault.From(err).Reason != c.want {
			t.Errorf("%s: %v, want %s", why, err, c.want)
		}
	}
	// Another freeze that stops the same calls stays.
	must[freeze.Freeze](t)(w.App.Manage.Freeze(t.Context(), boss, freeze.Agent, th.bot.Name, "", time.Now()))
	must[freeze.Freeze](t)(w.App.Manage.Freeze(t.Context(), boss, freeze.All, "", "", time.Now()))
	must[freeze.Freeze](t)(w.App.Manage.UnfreezeTarget(t.Context(), boss, freeze.Agent, th.bot.Name, time.Now()))
	if err := w.App.Freezes.Check(org, th.bot.ID, th.con.ID, th.owner.User); fault.From(err).Reason != "frozen" {
		t.Errorf("the freeze of everything: %v", err)
	}
}

// What one may look at: one's own things, or all of them for those who run
// the place. Somebody else's thing looks like a missing one.
func TestWhoSeesWhat(t *testing.T) {
	w := vktest.New(t)
	pat := w.Sandbox.PersonalToken("octocat", "repo")
	th, neighbour := newThings(t, w, 1, pat), newThings(t, w, 2, pat)
	for name, p := range th.principals(neighbour.owner) {
		own := map[string]bool{"own": true, "ownOld": true, "cli": true, "cli+": true}[name]
		all := map[string]bool{"admin": true, "owner": true, "ownrOld": true, "ownrCLI": true, "audit": true, "ownAud": true, "op": true, "op+": true}[name]
		agents := must[[]*agent.Agent](t)(w.App.Manage.ListAgents(t.Context(), p))
		cons := must[[]*vault.Connection](t)(w.App.Manage.ListConnections(t.Context(), p))
		grants := must[[]*grant.Grant](t)(w.App.Manage.ListGrants(t.Context(), p))
		want := 1
		if all {
			want = 2
		} else if name == "nobody" {
			want = 0
		}
		if len(agents) != want || len(cons) != want || len(grants) != want {
			t.Errorf("%s sees %d agents, %d connections, %d grants, want %d of each", name, len(agents), len(cons), len(grants), want)
		}
		_, _, err := w.App.Manage.Agent(t.Context(), p, th.bot.Name)
		if (err == nil) != (own || all) || err != nil && fault.From(err) != fault.From(agent.ErrUnknown) {
			t.Errorf("%s looks at the agent: %v", name, err)
		}
		_, err = w.App.Manage.Connection(t.Context(), p, string(th.con.ID))
		if (err == nil) != (own || all) || err != nil && !errors.Is(err, vault.ErrUnknown) {
			t.Errorf("%s looks at the connection: %v", name, err)
		}
	}
}

// When an agent was last seen is what the log says; who never called was not.
func TestAgentsAreSeen(t *testing.T) {
	w := vktest.New(t)
	pat := w.Sandbox.PersonalToken("octocat", "repo")
	th, other := newThings(t, w, 1, pat), newThings(t, w, 2, pat)
	boss := th.owner
	boss.Role = user.Owner
	seen := func(want ...*agent.Agent) time.Time {
		t.Helper()
		var at time.Time
		for _, a := range must[[]*agent.Agent](t)(w.App.Manage.ListAgents(t.Context(), boss)) {
			called := slices.ContainsFunc(want, func(b *agent.Agent) bool { return a.ID == b.ID })
			one, _, err := w.App.Manage.Agent(t.Context(), boss, a.Name)
			if err != nil || called == a.SeenAt.IsZero() || !one.SeenAt.Equal(a.SeenAt) {
				t.Errorf("%s was seen at %v, by itself %v, and called: %v (%v)", a.Name, a.SeenAt, one, called, err)
			}
			if a.ID == th.bot.ID {
				at = a.SeenAt
			}
		}
		return at
	}
	seen()
	call := func(a *agent.Agent, con id.Connection, now time.Time) {
		t.Helper()
		out, err := w.App.Broker.Submit(t.Context(), vktest.Caller(a), broker.Ask{Connection: string(con), Operation: "github.issues.list", Params: map[string]any{"owner": "octo", "repo": "api"}}, now)
		if err == nil && out.Answer != nil {
			err = out.Answer.Body.Close()
		}
		if err != nil && fault.From(err).Kind == fault.Internal {
			t.Fatal(err)
		}
	}
	first := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	call(th.bot, th.con.ID, first)
	seen(th.bot)
	next := time.Now().Truncate(time.Microsecond)
	call(th.bot, th.con.ID, next)
	if at := seen(th.bot); at.Before(next) {
		t.Errorf("seen at %v, called at %v", at, next)
	}
	// One that is refused was there, too.
	call(other.bot, th.con.ID, time.Now())
	seen(th.bot, other.bot)
}

// A short name means one's own thing; what stays ambiguous is asked back.
func TestConnectionByName(t *testing.T) {
	w := vktest.New(t)
	pat := w.Sandbox.PersonalToken("octocat", "repo")
	th, other := newThings(t, w, 1, pat), newThings(t, w, 2, pat)
	boss := th.owner
	boss.Role = user.Owner
	for _, ref := range []string{"github", th.con.Name} {
		if c, err := w.App.Manage.Connection(t.Context(), boss, ref); err != nil || c.ID != th.con.ID {
			t.Errorf("%q is %v, %v, want one's own", ref, c, err)
		}
	}
	operator := user.Principal{Org: org, Operator: true, Confirm: true}
	_, err := w.App.Manage.Connection(t.Context(), operator, "github")
	if f := fault.From(err); f.Reason != "ambiguous_connection" || !strings.Contains(f.Detail, string(th.con.ID)) || !strings.Contains(f.Detail, string(other.con.ID)) {
		t.Errorf("of two people: %v", err)
	}
	hubot := must[*vault.Connection](t)(w.App.Connect.AddToken(t.Context(), th.owner, th.owner.User, "github", "second", w.Sandbox.PersonalToken("hubot"), time.Now()))
	if _, err := w.App.Manage.Connection(t.Context(), th.owner, "github"); fault.From(err).Reason != "ambiguous_connection" {
		t.Errorf("of two accounts: %v", err)
	} else if strings.Contains(err.Error(), string(other.con.ID)) {
		t.Error("somebody else's connection is named")
	}
	must[vault.Report](t)(w.App.Manage.Disconnect(t.Context(), th.owner, "second", time.Now()))
	if c, err := w.App.Manage.Connection(t.Context(), th.owner, "github"); err != nil || c.ID != th.con.ID {
		t.Errorf("after one has ended: %v", err)
	}
	if _, err := w.App.Manage.CreateGrant(t.Context(), th.owner, manage.Grant{Agent: th.bot.Name, Connection: string(hubot.ID), Operations: []string{"*"}}, time.Now()); fault.From(err).Reason != "connection_revoked" {
		t.Errorf("a grant for what has ended: %v", err)
	}
	for _, ref := range []string{"", "gitlab", "second", string(id.NewConnection()), string(other.con.ID), other.con.Name + "x"} {
		if _, err := w.App.Manage.Connection(t.Context(), th.owner, ref); fault.From(err).Reason != "connection_not_found" {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestCreateGrantRefuses(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	good := manage.Grant{Agent: th.bot.Name, Connection: "github", Operations: []string{"github.issues.*", "github.raw.read"}, Resources: []string{"octo/api"}}
	for why, c := range map[string]struct {
		change func(*manage.Grant)
		reason string
	}{
		"an unknown agent":             {func(g *manage.Grant) { g.Agent = "nobody" }, "agent_not_found"},
		"no agent":                     {func(g *manage.Grant) { g.Agent = "" }, "agent_not_found"},
		"an unknown connection":        {func(g *manage.Grant) { g.Connection = "gitlab" }, "connection_not_found"},
		"no operation":                 {func(g *manage.Grant) { g.Operations = nil }, "bad_grant"},
		"an operation that is not":     {func(g *manage.Grant) { g.Operations = []string{"github.issues.lists"} }, "unknown_operation"},
		"a prefix of nothing":          {func(g *manage.Grant) { g.Operations = []string{"github.issuesx.*"} }, "unknown_operation"},
		"one of several that is not":   {func(g *manage.Grant) { g.Operations = append([]string{"github.nope"}, g.Operations...) }, "unknown_operation"},
		"an operation in another case": {func(g *manage.Grant) { g.Operations = []string{"GitHub.issues.list"} }, "unknown_operation"},
		"another provider's":           {func(g *manage.Grant) { g.Operations = []string{"gmail.*"} }, "unknown_operation"},
		"an unknown mode":              {func(g *manage.Grant) { g.Mode = "admin" }, "bad_grant"},
		"vending what is limited":      {func(g *manage.Grant) { g.Mode = grant.Vend }, "bad_grant"},
		"an owner for a repository":    {func(g *manage.Grant) { g.Resources = []string{"octo"} }, "bad_resource"},
		"a repository too deep":        {func(g *manage.Grant) { g.Resources = []string{"octo/api/issues"} }, "bad_resource"},
		"a repository by its address":  {func(g *manage.Grant) { g.Resources = []string{"https://github.com/octo/api"} }, "bad_resource"},
		"one of several resources":     {func(g *manage.Grant) { g.Resources = append([]string{"octo"}, g.Resources...) }, "bad_resource"},
		"a repository of every owner":  {func(g *manage.Grant) { g.Resources = []string{"*/api"} }, "bad_grant"},
		"a kind that is not":           {func(g *manage.Grant) { g.Resources = []string{"team:octo"} }, "bad_resource"},
		"a kind in the wrong form":     {func(g *manage.Grant) { g.Resources = []string{"organization:octo/api"} }, "bad_resource"},
		"an end in the past":           {func(g *manage.Grant) { g.ExpiresAt = time.Now().Add(-time.Second) }, "bad_grant"},
	} {
		want := good
		c.change(&want)
		if _, err := w.App.Manage.CreateGrant(t.Context(), th.owner, want, time.Now()); fault.From(err).Reason != c.reason {
			t.Errorf("%s: %v, want %s", why, err, c.reason)
		}
	}
	if n := len(must[[]*grant.Grant](t)(w.App.DB.Grants().Grants(t.Context(), org))); n != 1 {
		t.Errorf("%d grants, want the one of before", n)
	}
	g, err := w.App.Manage.CreateGrant(t.Context(), th.owner, good, time.Now())
	if err != nil || g.Mode != grant.Broker || g.Connection != th.con.ID {
		t.Errorf("%+v, %v", g, err)
	}
}

// A resource is written as its provider writes it, and the refusal says how.
func TestResourcesAsTheProviderWritesThem(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	give := func(con string, resources ...string) error {
		_, err := w.App.Manage.CreateGrant(t.Context(), th.owner, manage.Grant{Agent: th.bot.Name, Connection: con, Operations: []string{"*"}, Resources: resources}, time.Now())
		return err
	}
	for _, good := range []string{"octo/api", "octo/*", "*", "repository:octo/api", "repository:octo/*", "organization:octo", "Octo/API"} {
		if err := give("github", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	err := give("github", "octo")
	for _, want := range []string{`has no resource "octo"`, "one repository is OWNER/REPO, or OWNER/* for each", "one organization is organization:ORG"} {
		if !strings.Contains(fault.From(err).Detail, want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	// Where nothing is known about resources, a grant for one would cover nothing.
	r := vault.Registration{Provider: "corp", Spec: "oauth2", ClientID: "c", Internal: true, Base: provider.Base{
		API: []string{w.Upstream}, AuthorizeURL: w.Upstream + "/a", TokenURL: w.Upstream + "/t",
		Identity: provider.Identity{URL: w.Upstream + "/user", ID: "id", Label: "login"},
	}}
	boss := th.owner
	boss.Role = user.Admin
	if err := w.App.Manage.SetProvider(t.Context(), boss, manage.Provider{Registration: r}, time.Now()); err != nil {
		t.Fatal(err)
	}
	must[map[string]*vault.Provider](t)(w.App.Providers.All(t.Context())) // egress asks for internal hosts
	con := must[*vault.Connection](t)(w.App.Connect.AddToken(t.Context(), th.owner, th.owner.User, "corp", "corp", w.Sandbox.PersonalToken("octocat"), time.Now()))
	if err := give(string(con.ID), "things/1"); fault.From(err).Reason != "bad_resource" || !strings.Contains(fault.From(err).Detail, "leave them out") {
		t.Errorf("of a provider without a catalogue: %v", err)
	}
	if err := give(string(con.ID)); err != nil {
		t.Errorf("without resources: %v", err)
	}
}

func TestRevokeGrantTwice(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	if err := revokeGrant(th, th.owner); err != nil {
		t.Fatal(err)
	}
	if err := revokeGrant(th, th.owner); fault.From(err).Reason != "grant_revoked" {
		t.Errorf("%v", err)
	}
	if err := w.App.Manage.RevokeGrant(t.Context(), th.owner, id.NewGrant(), time.Now()); fault.From(err).Kind != fault.NotFound {
		t.Errorf("an unknown grant: %v", err)
	}
}

func TestRegisterForWhom(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	r := agent.Registration{Name: "mine", Key: publicKey(t)}
	if a, _, err := w.App.Manage.RegisterAgent(t.Context(), th.owner, r, time.Now()); err != nil || a.Owner != th.owner.User {
		t.Errorf("for oneself: %v", err)
	}
	operator := user.Principal{Org: org, Operator: true, Confirm: true}
	for why, owner := range map[string]id.User{"nobody": "", "a person who is not": id.NewUser()} {
		r := agent.Registration{Name: "theirs", Owner: owner, Key: publicKey(t)}
		if _, _, err := w.App.Manage.RegisterAgent(t.Context(), operator, r, time.Now()); fault.From(err).Reason != "bad_owner" {
			t.Errorf("for %s: %v", why, err)
		}
	}
}

func TestFreezeRefuses(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	boss := th.owner
	boss.Role = user.Owner
	for why, c := range map[string]struct {
		kind           freeze.Kind
		target, reason string
		want           string
	}{
		"an unknown agent":      {freeze.Agent, "nobody", "", "agent_not_found"},
		"an unknown connection": {freeze.Connection, "gitlab", "", "connection_not_found"},
		"an unknown person":     {freeze.User, "nobody", "", "user_not_found"},
		"an unknown kind":       {"grant", string(th.grant.ID), "", "bad_freeze"},
		"a long speech":         {freeze.All, "", strings.Repeat("a", 501), "bad_freeze"},
	} {
		if _, err := w.App.Manage.Freeze(t.Context(), boss, c.kind, c.target, c.reason, time.Now()); fault.From(err).Reason != c.want {
			t.Errorf("%s: %v, want %s", why, err, c.want)
		}
	}
	if got := w.App.Freezes.Active(); len(got) != 0 {
		t.Errorf("in force: %v", got)
	}
	if err := w.App.Manage.Unfreeze(t.Context(), boss, id.NewFreeze(), time.Now()); fault.From(err).Kind != fault.NotFound {
		t.Errorf("an unknown freeze: %v", err)
	}
}

func TestSetProviderRefuses(t *testing.T) {
	w := vktest.New(t)
	th := newThings(t, w, 1, w.Sandbox.PersonalToken("octocat", "repo"))
	boss := th.owner
	boss.Role = user.Admin
	at := func(url string) provider.Base { return provider.Base{API: []string{url}, Web: url} }
	for why, r := range map[string]vault.Registration{
		"an unknown entry":         {Provider: "x", Spec: "gitea"},
		"no entry":                 {Provider: "x"},
		"an address on the inside": {Provider: "x", Spec: "github", Base: at("https://10.0.0.1")},
		"the metadata service":     {Provider: "x", Spec: "github", Base: at("https://169.254.169.254")},
		"plain http":               {Provider: "x", Spec: "github", Base: at("http://github.example.com")},
		"a password in it":         {Provider: "x", Spec: "github", Base: at("https://me:pw@github.example.com")},
		"no address":               {Provider: "x", Spec: "oauth2"},
		"a file":                   {Provider: "x", Spec: "github", Base: at("file:///etc/passwd")},
	} {
		err := w.App.Manage.SetProvider(t.Context(), boss, manage.Provider{Registration: r}, time.Now())
		if reason := fault.From(err).Reason; reason != "bad_provider" && reason != "provider_not_found" {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := w.App.Providers.Find(t.Context(), "x"); err == nil {
		t.Error("it is there all the same")
	}
}
