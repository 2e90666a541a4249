package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

func TestDue(t *testing.T) {
	s := newScene(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	some := []byte("sealed")
	for _, c := range []struct {
		why  string
		c    vault.Connection
		want bool
	}{
		{"nothing to refresh with", vault.Connection{AccessExpiresAt: now.Add(-time.Hour), RefreshedAt: now.Add(-9 * time.Hour)}, false},
		{"no known end", vault.Connection{Refresh: some, RefreshedAt: now.Add(-999 * time.Hour)}, false},
		{"fresh", vault.Connection{Refresh: some, AccessExpiresAt: now.Add(8 * time.Hour), RefreshedAt: now}, false},
		{"before GitHub's margin of five minutes", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now.Add(5*time.Minute + time.Second), RefreshedAt: now.Add(-7 * time.Hour)}, false},
		{"at GitHub's margin", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now.Add(5 * time.Minute), RefreshedAt: now.Add(-7 * time.Hour)}, true},
		{"before the usual margin", vault.Connection{Provider: "gone", Refresh: some, AccessExpiresAt: now.Add(time.Minute + time.Second), RefreshedAt: now.Add(-7 * time.Hour)}, false},
		{"at the usual margin", vault.Connection{Provider: "gone", Refresh: some, AccessExpiresAt: now.Add(time.Minute), RefreshedAt: now.Add(-7 * time.Hour)}, true},
		{"at its end", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now, RefreshedAt: now.Add(-8 * time.Hour)}, true},
		{"after its end", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now.Add(-time.Hour), RefreshedAt: now.Add(-9 * time.Hour)}, true},
		{"a short life, in its first half", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now.Add(61 * time.Second), RefreshedAt: now.Add(-59 * time.Second)}, false},
		{"a short life, in its second half", vault.Connection{Provider: "github", Refresh: some, AccessExpiresAt: now.Add(59 * time.Second), RefreshedAt: now.Add(-61 * time.Second)}, true},
	} {
		if got := vault.Due(s.vault(), t.Context(), &c.c, now); got != c.want {
			t.Errorf("%s: due is %v", c.why, got)
		}
	}
}

// However many ask at once, the provider is asked once.
func TestRefreshOnce(t *testing.T) {
	s := newScene(t)
	before := s.mustUse()
	s.age(0)
	other := s.second()
	got := make([]vault.Credential, 200)
	var all sync.WaitGroup
	for i := range got {
		v := s.vault()
		if i%2 == 1 {
			v = other
		}
		all.Go(func() {
			var err error
			if got[i], err = v.Use(t.Context(), s.con.ID, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.refreshes(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	for _, c := range got {
		if c.Generation != before.Generation+1 || !c.Token.Equal(got[0].Token) {
			t.Fatalf("generation %d after %d, or another token", c.Generation, before.Generation)
		}
	}
	if !s.alive(got[0].Token) || s.alive(before.Token) {
		t.Error("what was handed out is not what works")
	}
	if len(s.events("connection.refresh_started")) != 1 || len(s.events("connection.refreshed")) != 1 {
		t.Errorf("recorded: %v", s.events("connection."))
	}
}

// A caller who leaves does not take the refresh with them.
func TestRefreshOutlivesItsCaller(t *testing.T) {
	s := newScene(t)
	s.age(0)
	s.Sandbox.Delay("/login/oauth/access_token", 50*time.Millisecond)
	ctx, cancel := contextUntil(t, func() bool { return s.refreshes() == 1 })
	defer cancel()
	if _, err := s.vault().Use(ctx, s.con.ID, time.Now()); err == nil {
		t.Log("the refresh was faster than the caller left")
	}
	await(t, "the tokens are stored", func() bool { return s.row().Generation == s.con.Generation+1 })
	if s.mustUse(); s.refreshes() != 1 {
		t.Errorf("refreshed %d times", s.refreshes())
	}
}

// A holder who sleeps through its lease is overtaken, and what it brings late
// is written nowhere.
func TestFencing(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	s.age(0)
	asleep := make(chan struct{})
	l.then(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			<-asleep
		}
		return false
	})
	a, b := s.vault(), s.second()
	a.Pace(200*time.Millisecond, 10*time.Second, 0)
	var late vault.Credential
	var lateErr error
	var first sync.WaitGroup
	first.Go(func() { late, lateErr = a.Use(t.Context(), s.con.ID, time.Now()) })
	await(t, "A asks the provider", func() bool { return l.count() == 1 })

	fresh, err := b.Use(t.Context(), s.con.ID, time.Now()) // waits for the end of A's lease
	if err != nil {
		t.Fatal(err)
	}
	if got := fresh.Token.Reveal(); got != "access-2" {
		t.Errorf("B has %s", got)
	}
	taken := s.row()
	close(asleep)
	first.Wait()
	if lateErr != nil || late.Token.Reveal() != "access-2" {
		t.Errorf("A's caller has %v and the error %v, not what B brought", late.Generation, lateErr)
	}
	now := s.row()
	if now.Generation != taken.Generation || string(now.Access) != string(taken.Access) || string(now.Refresh) != string(taken.Refresh) || now.Fence != taken.Fence {
		t.Error("A wrote over B's tokens")
	}
	if n := len(s.events("connection.refreshed")); n != 1 {
		t.Errorf("%d refreshes are on record", n)
	}
}

// One who died between the provider's answer and our disk leaves a lease
// behind and the mark that a rotation may have happened. Then the token before
// is tried, once, where the present one is dead.
func TestAttemptAfterDeath(t *testing.T) {
	for _, c := range []struct {
		why      string
		accepts  string // the refresh token that the provider knows
		previous bool   // one from before is stored
		calls    int
		lost     bool
	}{
		{"the present one works", "present", true, 1, false},
		{"only the one before works", "before", true, 2, false},
		{"neither works", "neither", true, 2, true},
		{"there is none before", "neither", false, 1, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t)
			l := lend(s)
			seal := func(value string) []byte {
				filled := *s.row()
				if err := s.vault().Fill(t.Context(), &filled, vault.Tokens{Access: secret.New("x"), Refresh: secret.New(value)}, time.Now()); err != nil {
					t.Fatal(err)
				}
				return filled.Refresh
			}
			present, before := seal("present"), seal("before")
			s.age(0)
			s.change(func(v *vault.Connection) {
				v.Refresh, v.Attempting, v.Proven = present, true, false
				if c.previous {
					v.Previous = before
				}
			})
			l.then(func(n int, w http.ResponseWriter, r *http.Request) bool {
				if r.PostForm.Get("refresh_token") == c.accepts {
					tokens(w, "access-new", "") // no rotation this time
				} else {
					refuse(w, http.StatusOK, "bad_refresh_token")
				}
				return true
			})
			got, err := s.use()
			if l.count() != c.calls {
				t.Errorf("%d calls, want %d", l.count(), c.calls)
			}
			now := s.row()
			if c.lost {
				if !errors.Is(err, vault.ErrNeedsReauth) || now.Status != vault.NeedsReauth || len(now.Refresh) == 0 {
					t.Errorf("%v, %s: not handed to its owner whole", err, now.Status)
				}
				if e := s.events("connection.needs_reauth"); len(e) != 1 || e[0].Subject != string(s.mira.User) {
					t.Errorf("its owner is not told: %+v", e)
				}
				if _, err := s.use(); !errors.Is(err, vault.ErrNeedsReauth) || l.count() != c.calls {
					t.Errorf("asked again: %v, %d calls", err, l.count())
				}
				return
			}
			if err != nil || got.Token.Reveal() != "access-new" || now.Attempting || now.Status != vault.Active {
				t.Fatalf("%v, %+v", err, now.Status)
			}
			// The token that worked is the one that is used from then on.
			s.age(0)
			if _, err := s.use(); err != nil || l.sent(l.count()) != c.accepts || l.count() != c.calls+1 {
				t.Errorf("next time: %v, %s was sent in call %d", err, l.sent(l.count()), l.count())
			}
		})
	}
}

// The lease of one who died is taken over when it ends, not before.
func TestLeaseOfTheDead(t *testing.T) {
	s := newScene(t)
	s.age(0)
	begun := time.Now()
	_, ok, err := s.App.DB.Connections().Lease(t.Context(), org, s.con.ID, 300*time.Millisecond, nil)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	s.mustUse()
	if took := time.Since(begun); took < 299*time.Millisecond { // the database may round
		t.Errorf("taken over after %s", took)
	}
	if s.refreshes() != 1 {
		t.Errorf("%d refreshes", s.refreshes())
	}
}

// The provider rotated, its answer was lost, and it gives no second chance:
// the one case in which a connection is handed back to its owner. It is not
// deleted, and its owner is told.
func TestLostAnswer(t *testing.T) {
	s := newScene(t)
	s.age(0)
	s.Sandbox.LoseRefreshAnswer(1)
	if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) {
		t.Fatalf("the lost answer: %v", err)
	}
	mid := s.row()
	if mid.Status != vault.Active || !mid.Attempting || !mid.LeaseUntil.IsZero() || !mid.RetryAt.After(time.Now()) {
		t.Errorf("after a lost answer: %s, attempting %v, lease %v, retry %v", mid.Status, mid.Attempting, mid.LeaseUntil, mid.RetryAt)
	}
	s.age(0)
	if _, err := s.use(); !errors.Is(err, vault.ErrNeedsReauth) {
		t.Fatalf("the next try: %v", err)
	}
	end := s.row()
	if end.Status != vault.NeedsReauth || len(end.Refresh) == 0 || len(end.Access) == 0 {
		t.Errorf("%s, and something was thrown away", end.Status)
	}
	e := s.events("connection.needs_reauth")
	if len(e) != 1 || e[0].Subject != string(s.mira.User) || e[0].Data["uncertain"] != "true" {
		t.Errorf("its owner is told: %+v", e)
	}
	// Connecting the account again revives the same connection.
	if again := s.Link(s.mira, "octocat"); again.ID != s.con.ID || again.Status != vault.Active {
		t.Errorf("%s is %s, want %s", again.ID, again.Status, s.con.ID)
	}
	if !s.alive(s.mustUse().Token) {
		t.Error("the revived connection has a dead token")
	}
}

// Whatever else fails, the connection stays as it is and is tried again.
func TestFailuresKeepTheConnection(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	for _, c := range []struct {
		why    string
		answer func(w http.ResponseWriter)
	}{
		{"500", func(w http.ResponseWriter) { w.WriteHeader(500) }},
		{"503", func(w http.ResponseWriter) { w.WriteHeader(503) }},
		{"500 that claims the grant is dead", func(w http.ResponseWriter) { refuse(w, 500, "invalid_grant") }},
		{"502 that claims the grant is dead", func(w http.ResponseWriter) { refuse(w, 502, "bad_refresh_token") }},
		{"429", func(w http.ResponseWriter) { w.WriteHeader(429) }},
		{"429 that claims the grant is dead", func(w http.ResponseWriter) { refuse(w, 429, "invalid_grant") }},
		{"401 of our client", func(w http.ResponseWriter) { refuse(w, 401, "invalid_client") }},
		{"another error with 200", func(w http.ResponseWriter) { refuse(w, 200, "incorrect_client_credentials") }},
		{"an error that only looks like it", func(w http.ResponseWriter) { refuse(w, 400, "invalid_grant_type") }},
		{"a redirect", func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(302) }},
		{"200 without a token", func(w http.ResponseWriter) { w.Write([]byte(`{"access_token":""}`)) }},
		{"200 that is no JSON", func(w http.ResponseWriter) { w.Write([]byte(`<html>`)) }},
		{"a token that is no bearer", func(w http.ResponseWriter) {
			w.Write([]byte(`{"access_token":"a","refresh_token":"b","token_type":"mac"}`))
		}},
		{"an answer that breaks off", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte(`{"access_token":"`))
		}},
		{"no answer", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(c.why, func(t *testing.T) {
			l.then(func(_ int, w http.ResponseWriter, _ *http.Request) bool { c.answer(w); return true })
			before, calls := s.row(), l.count()
			s.age(0)
			if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) {
				t.Errorf("%v, want ErrUpstream", err)
			}
			now := s.row()
			if now.Status != vault.Active || now.Generation != before.Generation || string(now.Refresh) != string(before.Refresh) || !now.LeaseUntil.IsZero() {
				t.Errorf("the connection changed: %s, generation %d", now.Status, now.Generation)
			}
			// Nobody asks again before the pause is over.
			if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) || l.count() != calls+1 {
				t.Errorf("asked %d times (%v)", l.count()-calls, err)
			}
			l.then(nil)
			s.age(0)
			if got, err := s.use(); err != nil || got.Generation != before.Generation+1 {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestTimeoutKeepsTheConnection(t *testing.T) {
	s := newScene(t)
	s.vault().Pace(0, 50*time.Millisecond, 0)
	s.Sandbox.Fail("/login/oauth/access_token", 500, 1) // performs nothing
	s.Sandbox.Delay("/login/oauth/access_token", time.Minute)
	s.age(0)
	if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) {
		t.Errorf("%v, want ErrUpstream", err)
	}
	if now := s.row(); now.Status != vault.Active || !now.Attempting {
		t.Errorf("%s, attempting %v", now.Status, now.Attempting)
	}
	s.Sandbox.Delay("/login/oauth/access_token", 0)
	s.age(0)
	if got := s.mustUse(); !s.alive(got.Token) {
		t.Error("the token is dead")
	}
}

// Within the margin a provider that is down costs nobody their call.
func TestMarginBridgesAnOutage(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	l.then(func(_ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
	before := s.row()
	s.age(time.Minute)
	got, err := s.use()
	if err != nil || got.Generation != before.Generation {
		t.Fatalf("within the margin: %v", err)
	}
	s.age(-time.Second)
	if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) {
		t.Errorf("after the end: %v", err)
	}
}

// A connection that ends while the provider fails is not used for a last call
// within the margin.
func TestMarginNeedsALiveConnection(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	l.then(func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			s.change(func(c *vault.Connection) { c.Status = vault.Revoked })
		}
		w.WriteHeader(503)
		return true
	})
	s.age(time.Minute)
	if _, err := s.use(); !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("%v, want ErrRevoked", err)
	}
}

func TestRetryAfter(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		said      string
		low, high time.Duration
	}{
		{"", 4 * time.Second, 5 * time.Second},
		{"120", 119 * time.Second, 120 * time.Second},
		{"1", 4 * time.Second, 5 * time.Second}, // not more often than we would
		{"-120", 4 * time.Second, 5 * time.Second},
		{"soon", 4 * time.Second, 5 * time.Second},
		{"999999999", 14 * time.Minute, 15 * time.Minute}, // nobody keeps us away for ever
		{in(2 * time.Minute), 118 * time.Second, 2 * time.Minute},
		{in(-time.Hour), 4 * time.Second, 5 * time.Second},
	} {
		l.then(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", c.said)
			w.WriteHeader(429)
			return true
		})
		s.age(0)
		begun := time.Now()
		if _, err := s.use(); !errors.Is(err, vault.ErrUpstream) {
			t.Errorf("%q: %v", c.said, err)
		}
		if wait := s.row().RetryAt.Sub(begun); wait < c.low || wait > c.high+time.Second {
			t.Errorf("%q: tried again after %s, want %s to %s", c.said, wait, c.low, c.high)
		}
	}
}

// counting is a store that counts the changes that failed.
type counting struct {
	vault.Store
	failed atomic.Int64
}

func (c *counting) UpdateConnection(ctx context.Context, o id.Org, con id.Connection, change vault.Change[vault.Connection]) error {
	err := c.Store.UpdateConnection(ctx, o, con, change)
	if err != nil {
		c.failed.Add(1)
	}
	return err
}

// The provider has rotated and the disk is full: the tokens wait in memory for
// it and are not lost.
func TestKeepWaitsForTheStore(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	s.age(0)
	full := make(chan struct{})
	l.then(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			<-full
		}
		return false
	})
	v := s.second()
	disk := &counting{Store: v.Store}
	v.Store = disk
	var got vault.Credential
	var err error
	var asked sync.WaitGroup
	asked.Go(func() { got, err = v.Use(t.Context(), s.con.ID, time.Now()) })
	await(t, "the provider is asked", func() bool { return l.count() == 1 })
	vktest.Block(t, s.Config, "audit_events")
	close(full)
	await(t, "the tokens could not be stored", func() bool { return disk.failed.Load() >= 2 })
	if now := s.row(); now.Generation != s.con.Generation {
		t.Error("stored on a full disk")
	}
	vktest.Unblock(t, s.Config, "audit_events")
	asked.Wait()
	if err != nil || got.Generation != s.con.Generation+1 || got.Token.Reveal() != "access-1" || l.count() != 1 {
		t.Fatalf("%v, generation %d, %d calls", err, got.Generation, l.count())
	}
	s.age(0)
	if s.mustUse(); l.sent(2) != "refresh-1" {
		t.Errorf("the next refresh used %s", l.sent(2))
	}
}

// What cannot be recorded does not happen: no lease, no refresh.
func TestNoRefreshWithoutRecord(t *testing.T) {
	s := newScene(t)
	s.age(time.Minute)
	vktest.Block(t, s.Config, "audit_events")
	_, err := s.use()
	vktest.Unblock(t, s.Config, "audit_events")
	if fault.From(err).Kind != fault.Unavailable || s.refreshes() != 0 {
		t.Errorf("%v, and the provider was asked %d times", err, s.refreshes())
	}
	s.mustUse()
}

// The refresh token before is kept until the new tokens have worked once.
func TestPreviousIsKeptUntilProven(t *testing.T) {
	s := newScene(t)
	s.age(0)
	got := s.mustUse()
	if c := s.row(); len(c.Previous) == 0 || c.Proven {
		t.Errorf("previous %d bytes, proven %v", len(c.Previous), c.Proven)
	}
	if err := s.vault().Worked(t.Context(), s.con.ID, got.Generation-1); err != nil {
		t.Fatal(err)
	}
	if c := s.row(); len(c.Previous) == 0 {
		t.Error("an older generation proved this one")
	}
	if err := s.vault().Worked(t.Context(), s.con.ID, got.Generation); err != nil {
		t.Fatal(err)
	}
	if c := s.row(); len(c.Previous) != 0 || !c.Proven {
		t.Errorf("previous %d bytes, proven %v", len(c.Previous), c.Proven)
	}
}

// A 401 is answered by one refresh, whoever else met it.
func TestReplace(t *testing.T) {
	s := newScene(t)
	old := s.mustUse()
	s.Sandbox.ExpireAccess("octocat")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := s.vault().Replace(t.Context(), s.con.ID, old.Generation, time.Now())
			if err != nil || got.Generation != old.Generation+1 {
				t.Errorf("%v, generation %d", err, got.Generation)
			}
		})
	}
	all.Wait()
	if s.refreshes() != 1 {
		t.Errorf("%d refreshes", s.refreshes())
	}
	// Who comes late with the old generation gets what is there.
	if got, err := s.vault().Replace(t.Context(), s.con.ID, old.Generation, time.Now()); err != nil || !s.alive(got.Token) || s.refreshes() != 1 {
		t.Errorf("late: %v, %d refreshes", err, s.refreshes())
	}
}

// Without a known end a token is used until it is refused.
func TestNoExpiryMeansRefreshOn401(t *testing.T) {
	w := vktest.New(t)
	w.Sandbox.OmitExpiry(true)
	s := &scene{World: w, t: t, mira: w.Person("mira")}
	s.con = w.Link(s.mira, "octocat")
	if !s.row().AccessExpiresAt.IsZero() {
		t.Fatal("an end was invented")
	}
	old := s.mustUse()
	s.Sandbox.ExpireAccess("octocat")
	if got := s.mustUse(); got.Generation != old.Generation {
		t.Error("refreshed without a reason")
	}
	if got, err := s.vault().Replace(t.Context(), s.con.ID, old.Generation, time.Now()); err != nil || !s.alive(got.Token) {
		t.Errorf("after the 401: %v", err)
	}
}

// A pasted token cannot be renewed: a 401 hands it back to its owner.
func TestPastedTokenDies(t *testing.T) {
	s := newScene(t)
	pat := s.Sandbox.PersonalToken("hubot", "repo")
	con, err := s.App.Connect.AddToken(t.Context(), s.mira, s.mira.User, "github", "mine", pat, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.con = con
	got := s.mustUse()
	if _, err := s.vault().Replace(t.Context(), con.ID, got.Generation-1, time.Now()); err != nil {
		t.Errorf("an older generation was refused: %v", err)
	}
	if _, err := s.vault().Replace(t.Context(), con.ID, got.Generation, time.Now()); !errors.Is(err, vault.ErrNeedsReauth) {
		t.Errorf("%v, want ErrNeedsReauth", err)
	}
	if e := s.events("connection.needs_reauth"); len(e) != 1 || e[0].Subject != string(s.mira.User) {
		t.Errorf("its owner is told: %+v", e)
	}
	if s.refreshes() != 0 {
		t.Error("somebody tried to refresh it")
	}
}

// Whoever ends or replaces a connection while it is refreshed has the last
// word, and tokens that arrive for nobody are ended at the provider.
func TestEndedDuringRefresh(t *testing.T) {
	s := newScene(t)
	old := s.mustUse().Token
	l := lend(s)
	s.age(0)
	asleep := make(chan struct{})
	revoked := make(chan string, 10)
	l.then(func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodDelete:
			var body struct {
				AccessToken string `json:"access_token"`
			}
			json.NewDecoder(r.Body).Decode(&body)
			revoked <- body.AccessToken
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/user":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			<-asleep
			tokens(w, "late", "later")
		}
		return true
	})
	var err error
	var asked sync.WaitGroup
	asked.Go(func() { _, err = s.use() })
	await(t, "the provider is asked", func() bool { return l.count() == 1 })
	// The token has ended, but the goodbye does not renew it: somebody is at it.
	if r := s.disconnect(); !r.Upstream.Done || r.Probe != "dead" || l.count() != 3 {
		t.Errorf("%+v after %d calls", r, l.count())
	}
	if got := <-revoked; got != old.Reveal() {
		t.Error("another token was revoked")
	}
	close(asleep)
	asked.Wait()
	if !errors.Is(err, vault.ErrRevoked) {
		t.Errorf("the caller has %v, want ErrRevoked", err)
	}
	if got := <-revoked; got != "late" {
		t.Errorf("%s was revoked, not the token that came late", got)
	}
	if c := s.row(); c.Status != vault.Revoked || len(c.Access)+len(c.Refresh)+len(c.Previous) != 0 {
		t.Errorf("%s, and something came back", c.Status)
	}
	if e := s.events("connection.late_tokens_revoked"); len(e) != 1 || e[0].Data["upstream"] != "true" {
		t.Errorf("recorded: %+v", e)
	}
}

func TestReconnectedDuringRefresh(t *testing.T) {
	s := newScene(t)
	l := lend(s)
	s.age(0)
	asleep := make(chan struct{})
	l.then(func(n int, _ http.ResponseWriter, _ *http.Request) bool { <-asleep; return false })
	var got vault.Credential
	var err error
	var asked sync.WaitGroup
	asked.Go(func() { got, err = s.use() })
	await(t, "the provider is asked", func() bool { return l.count() == 1 })
	filled := *s.row()
	if err := s.vault().Fill(t.Context(), &filled, vault.Tokens{Access: secret.New("by its owner")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.change(func(c *vault.Connection) {
		c.Access, c.Refresh, c.AccessExpiresAt, c.LeaseUntil = filled.Access, nil, time.Time{}, time.Time{}
		c.Generation++
		c.Fence++
	})
	close(asleep)
	asked.Wait()
	if err != nil || got.Token.Reveal() != "by its owner" {
		t.Errorf("the caller has %v", err)
	}
}
