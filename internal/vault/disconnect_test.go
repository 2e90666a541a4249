package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// place is where the access token of a connection is sealed.
func place(con id.Connection) seal.Place {
	return seal.Place{Key: seal.ConnectionKey(con), Org: org, Table: "connections", Row: string(con), Column: "access"}
}

func TestDisconnect(t *testing.T) {
	s := newScene(t)
	bot, _ := s.Agent(s.mira, "triage")
	g := s.Grant(s.mira, bot, s.con, grant.Broker, []string{"*"}, nil)
	token := s.mustUse().Token
	before := s.row()

	r := s.disconnect()
	if !r.Upstream.Done || r.Upstream.Scope != "grant" || r.Probe != "dead" || r.Todo != "" || r.Account != "octocat" {
		t.Errorf("report: %+v", r)
	}
	if s.alive(token) {
		t.Error("the token lives on upstream")
	}
	c := s.row()
	if c.Status != vault.Revoked || c.RevokedAt.IsZero() || c.AccountID == "" || c.Account != "octocat" {
		t.Errorf("the tombstone: %+v", c)
	}
	if len(c.Access)+len(c.Refresh)+len(c.Previous) != 0 {
		t.Error("sealed tokens are still in the row")
	}
	if _, err := s.App.Keys.Open(t.Context(), place(c.ID), before.Access); !errors.Is(err, seal.ErrShredded) {
		t.Errorf("an old copy of the row can be opened: %v", err)
	}
	if left, err := s.App.DB.Grants().Grant(t.Context(), org, g.ID); err != nil || left.RevokedAt.IsZero() {
		t.Errorf("its grant: %+v, %v", left, err)
	}
	if _, err := s.use(); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("used afterwards: %v", err)
	}
	if _, err := s.vault().Replace(t.Context(), s.con.ID, c.Generation, time.Now()); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("replaced afterwards: %v", err)
	}
	if _, err := s.vault().Disconnect(t.Context(), s.con.ID, time.Now(), s.log); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("ended twice: %v", err)
	}
	if _, err := s.vault().Disconnect(t.Context(), id.NewConnection(), time.Now(), s.log); !errors.Is(err, vault.ErrUnknown) {
		t.Errorf("an unknown one: %v", err)
	}
	var verbs []string
	for _, e := range s.events("connection.") {
		verbs = append(verbs, e.Verb)
	}
	if got := strings.Join(verbs, " "); !strings.HasSuffix(got, "connection.revoked connection.ended") {
		t.Errorf("recorded: %s", got)
	}
	// Connected again it is a new connection: what ended stays ended.
	if again := s.Link(s.mira, "octocat"); again.ID == s.con.ID {
		t.Error("the tombstone came back to life")
	}
}

// What cannot be recorded does not happen.
func TestDisconnectNeedsTheRecord(t *testing.T) {
	s := newScene(t)
	vktest.Block(t, s.Config, "audit_events")
	_, err := s.vault().Disconnect(t.Context(), s.con.ID, time.Now(), s.log)
	vktest.Unblock(t, s.Config, "audit_events")
	if err == nil || s.row().Status != vault.Active || s.Sandbox.Count("DELETE", "/applications/") != 0 {
		t.Errorf("%v, %s", err, s.row().Status)
	}
	if !s.alive(s.mustUse().Token) {
		t.Error("the token is dead")
	}
}

// A report claims no more than was seen, and the tokens are gone here whatever
// the provider does.
func TestDisconnectIsHonest(t *testing.T) {
	for _, c := range []struct {
		why    string
		upset  func(*scene)
		done   bool
		status int
		probe  string
		todo   string
	}{
		{"the provider fails", func(s *scene) { s.Sandbox.Fail("/applications/", 500, 1) }, false, 500, "still_alive", "answered 500"},
		{"the provider says no", func(s *scene) { s.Sandbox.Fail("/applications/", 422, 1) }, false, 422, "still_alive", "answered 422"},
		{"the answer is lost", func(s *scene) { s.Sandbox.DropAnswers("/applications/", 1) }, false, 0, "dead", "could not be reached"},
		{"the provider takes its time", func(s *scene) {
			s.vault().Pace(0, 0, 100*time.Millisecond)
			s.Sandbox.Delay("/applications/", time.Minute)
		}, false, 0, "unclear", "could not be reached"},
		{"the look fails", func(s *scene) { s.Sandbox.Fail("/user", 500, 1) }, true, 204, "unclear", ""},
		{"the look is rate limited", func(s *scene) { s.Sandbox.Fail("/user", 403, 1) }, true, 204, "unclear", ""},
		{"the owner was faster upstream", func(s *scene) { s.Sandbox.RevokeEverything("octocat") }, false, 404, "dead", "answered 404"},
		{"the provider has no revocation", func(s *scene) {
			s.provider(vault.Registration{Provider: "github", Spec: "oauth2", ClientID: "c", Internal: true, Base: provider.Base{
				API: []string{s.Upstream}, AuthorizeURL: s.Upstream + "/a", TokenURL: s.Upstream + "/t",
				Identity: provider.Identity{URL: s.Upstream + "/user", ID: "id", Label: "login"},
			}})
		}, false, 0, "still_alive", "no way to revoke"},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t)
			c.upset(s)
			r := s.disconnect()
			if r.Upstream.Done != c.done || r.Upstream.Status != c.status || r.Probe != c.probe || !strings.Contains(r.Todo, c.todo) || (c.todo == "") != (r.Todo == "") {
				t.Errorf("report: %+v", r)
			}
			if v := s.row(); v.Status != vault.Revoked || len(v.Access)+len(v.Refresh) != 0 {
				t.Errorf("%s, with tokens", v.Status)
			}
		})
	}
}

// A provider that is told what to end by a living access token gets one.
func TestDisconnectWithAnEndedToken(t *testing.T) {
	s := newScene(t)
	s.Sandbox.ExpireAccess("octocat")
	s.age(-time.Hour)
	if r := s.disconnect(); !r.Upstream.Done || r.Probe != "dead" {
		t.Errorf("report: %+v", r)
	}
}

// What was pasted is not our client's to revoke, and nobody pretends.
func TestDisconnectPasted(t *testing.T) {
	s := newScene(t)
	pat := s.Sandbox.PersonalToken("hubot", "repo")
	con, err := s.App.Connect.AddToken(t.Context(), s.mira, s.mira.User, "github", "mine", pat, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.con = con
	r := s.disconnect()
	if r.Upstream.Done || r.Probe != "still_alive" || !strings.Contains(r.Todo, "pasted") || s.Sandbox.Count("DELETE", "/applications/") != 0 {
		t.Errorf("report: %+v", r)
	}
	if len(s.row().Access) != 0 {
		t.Error("the token is still here")
	}
}

// GitHub's revocation of a grant ends every token of user and app. Where
// somebody else here holds one, only the token is revoked.
func TestDisconnectSparesOthers(t *testing.T) {
	s := newScene(t)
	zoe := s.Person("zoe")
	hers := s.Link(zoe, "octocat")
	if hers.ID == s.con.ID {
		t.Fatal("two people share one connection")
	}
	mine := s.mustUse().Token
	theirs, err := s.vault().Use(t.Context(), hers.ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := s.disconnect()
	if !r.Upstream.Done || r.Upstream.Scope != "token" || !strings.Contains(r.Upstream.Detail, "another connection here") && !strings.Contains(r.Upstream.Detail, "Another connection here") {
		t.Errorf("report: %+v", r)
	}
	if s.alive(mine) || !s.alive(theirs.Token) {
		t.Errorf("mine lives: %v, theirs lives: %v", s.alive(mine), s.alive(theirs.Token))
	}
	if s.Sandbox.Count("DELETE", "/applications/sandbox-client/token") != 1 || s.Sandbox.Count("DELETE", "/applications/sandbox-client/grant") != 0 {
		t.Error("the grant was revoked")
	}
	// The last one takes the grant with it.
	s.con = hers
	if r := s.disconnect(); !r.Upstream.Done || r.Upstream.Scope != "grant" || s.alive(theirs.Token) {
		t.Errorf("the last one: %+v", r)
	}
}

// Other accounts and pasted tokens are no reason to spare anything.
func TestDisconnectCountsOnlyItsLike(t *testing.T) {
	s := newScene(t)
	s.Link(s.mira, "hubot")
	pat := s.Sandbox.PersonalToken("octocat", "repo")
	zoe := s.Person("zoe")
	if _, err := s.App.Connect.AddToken(t.Context(), zoe, zoe.User, "github", "", pat, time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := s.disconnect(); r.Upstream.Scope != "grant" || !r.Upstream.Done {
		t.Errorf("report: %+v", r)
	}
	if !s.alive(pat) {
		t.Error("a personal token died with the grant")
	}
}

// Where a provider can only end everything, the report says what else ended.
func TestRevocationSaysWhatElseEnded(t *testing.T) {
	s := newScene(t)
	p, err := s.App.Providers.Find(t.Context(), "github")
	if err != nil {
		t.Fatal(err)
	}
	wide := *p
	spec := *p.Spec
	spec.Revoke.Kind, spec.Revoke.URL = provider.RevokeBearerPost, s.Upstream+"/user" // POST is 404 there
	wide.Spec = &spec
	token := s.mustUse().Token
	if r := s.vault().OAuth.Revoke(t.Context(), &wide, vault.Ending{Access: token, Others: 2}); r.Done || strings.Contains(r.Detail, "ended with it") {
		t.Errorf("a failed revocation ended others: %+v", r)
	}
	spec.Revoke.Kind, spec.Revoke.URL = provider.RevokeGitHubGrant, p.Spec.Revoke.URL+"?" // has no narrow form that we know
	if r := s.vault().OAuth.Revoke(t.Context(), &wide, vault.Ending{Access: token, Others: 2}); !r.Done || !strings.Contains(r.Detail, "2 other connections here to the same account ended with it") {
		t.Errorf("report: %+v", r)
	}
}

// A crash between the end here and the goodbye upstream is made up for at the
// next start; so is one at any later step.
func TestFinishDisconnects(t *testing.T) {
	for _, c := range []struct {
		why   string
		crash func(*scene)
		calls int // revocations at the next start
	}{
		{"before the goodbye", func(*scene) {}, 1},
		{"after the goodbye", func(s *scene) { s.Sandbox.RevokeEverything("octocat") }, 1},
		{"after the key was shredded", func(s *scene) {
			if err := s.App.Keys.Shred(s.t.Context(), seal.ConnectionKey(s.con.ID)); err != nil {
				s.t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t)
			token := s.mustUse().Token
			old := s.row().Access
			err := s.App.DB.Connections().End(t.Context(), org, s.con.ID, time.Now(), func(v *vault.Connection) ([]audit.Event, error) {
				v.Status, v.RevokedAt = vault.Revoked, time.Now()
				return []audit.Event{s.log("connection.revoked", string(v.ID), nil)}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			c.crash(s)
			s.Restart()
			await(t, "the tokens are gone", func() bool { return len(s.row().Access) == 0 })
			if c.calls > 0 && s.alive(token) {
				t.Error("the token lives on upstream")
			}
			if _, err := s.App.Keys.Open(t.Context(), place(s.con.ID), old); !errors.Is(err, seal.ErrShredded) {
				t.Errorf("the key is still there: %v", err)
			}
			if n := s.Sandbox.Count("DELETE", "/applications/"); n != c.calls {
				t.Errorf("%d revocations, want %d", n, c.calls)
			}
			if n := len(s.events("connection.ended")); n != c.calls {
				t.Errorf("%d ends are on record, want %d", n, c.calls)
			}
			// Done is done.
			if err := s.vault().FinishDisconnects(t.Context()); err != nil || s.Sandbox.Count("DELETE", "/applications/") != c.calls {
				t.Errorf("finished twice: %v", err)
			}
		})
	}
}

// A provider may answer a second consent with the tokens that it gave before.
// Nobody's are ended that a connection lives by, whichever of them it is, nor
// any while one that is kept cannot be compared.
func TestDiscardSparesWhatIsHeld(t *testing.T) {
	s := newScene(t)
	p, err := s.App.Providers.Find(t.Context(), "github")
	if err != nil {
		t.Fatal(err)
	}
	access := s.mustUse().Token
	refresh, err := s.App.Keys.Open(t.Context(), seal.Place{Key: seal.ConnectionKey(s.con.ID), Org: org, Table: "connections", Row: string(s.con.ID), Column: "refresh"}, s.row().Refresh)
	if err != nil {
		t.Fatal(err)
	}
	fresh := secret.New("a token that nobody keeps")
	for why, c := range map[string]struct {
		account string
		t       vault.Tokens
	}{
		"the access token":             {s.con.AccountID, vault.Tokens{Access: access}},
		"of nobody knows whom":         {"", vault.Tokens{Access: access}},
		"the refresh token":            {s.con.AccountID, vault.Tokens{Access: fresh, Refresh: refresh}},
		"one for the other, who knows": {s.con.AccountID, vault.Tokens{Access: refresh}},
	} {
		if r := s.vault().Discard(t.Context(), p, c.account, c.t); r.Done || !strings.Contains(r.Detail, "left alone") {
			t.Errorf("%s: %+v", why, r)
		}
	}
	if !s.alive(access) {
		t.Error("the connection died of it")
	}
	// Another account's tokens are no reason to leave these behind.
	if r := s.vault().Discard(t.Context(), p, "another", vault.Tokens{Access: fresh}); !r.Done && r.Status == 0 {
		t.Errorf("of another account: %+v", r)
	}
	if err := s.App.DB.Connections().UpdateConnection(t.Context(), org, s.con.ID, func(c *vault.Connection) ([]audit.Event, error) {
		c.Refresh = []byte("damaged")
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	before := s.Sandbox.Count("DELETE", "/applications/")
	if r := s.vault().Discard(t.Context(), p, s.con.AccountID, vault.Tokens{Access: fresh}); r.Done || s.Sandbox.Count("DELETE", "/applications/") != before {
		t.Errorf("beside what cannot be read: %+v", r)
	}
}

// Tokens that nobody keeps are ended by themselves, or not at all.
func TestDiscard(t *testing.T) {
	for _, c := range []struct {
		why     string
		kind    provider.RevokeKind
		effect  string
		account string // whose the tokens are
		done    bool
		calls   map[string]int
	}{
		{"one way for a token, of another account", provider.RevokeGitHubGrant, "grant", "480938", true, map[string]int{"token": 1}},
		{"one way for a token, of a connected account", provider.RevokeGitHubGrant, "grant", "583231", true, map[string]int{"token": 1}},
		{"one way for a token, of nobody knows whom", provider.RevokeGitHubGrant, "grant", "", true, map[string]int{"token": 1}},
		{"everything or nothing, of another account", provider.RevokeRFC7009, "grant", "480938", true, map[string]int{"grant": 1}},
		{"everything or nothing, of a connected account", provider.RevokeRFC7009, "grant", "583231", false, nil},
		{"everything or nothing, of nobody knows whom", provider.RevokeRFC7009, "all_sessions", "", false, nil},
		{"no way at all", provider.RevokeNone, "", "480938", false, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t)
			var mu sync.Mutex
			calls := map[string]int{}
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				calls[path.Base(r.URL.Path)]++
				w.WriteHeader(http.StatusNoContent)
			}))
			defer upstream.Close()
			s.provider(vault.Registration{Provider: "elsewhere", Spec: "github", ClientID: "c", Internal: true, Base: provider.Base{API: []string{upstream.URL}, Web: upstream.URL}})
			p, err := s.App.Providers.Find(t.Context(), "github")
			if err != nil {
				t.Fatal(err)
			}
			spec := *p.Spec
			spec.Revoke = provider.Revoke{Kind: c.kind, URL: upstream.URL + "/grant", Target: "access", ScopeOfEffect: c.effect}
			blunt := *p
			blunt.Spec = &spec
			r := s.vault().Discard(t.Context(), &blunt, c.account, vault.Tokens{Access: secret.New("a token that nobody keeps")})
			if r.Done != c.done || r.Detail == "" {
				t.Errorf("%+v", r)
			}
			mu.Lock()
			defer mu.Unlock()
			if d := cmp.Diff(c.calls, calls, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("called (-want +got):\n%s", d)
			}
		})
	}
}
