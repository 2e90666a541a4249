package dash_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

// Whoever brings something else than a session of a browser of this org gets, on
// every route, what the table gives to nobody.
func TestBadCredentialsAreNobody(t *testing.T) {
	s := newSite(t)
	ctx, now := t.Context(), time.Now()
	_, link, err := s.App.Users.Create(ctx, operator, "first", user.Owner, now)
	if err != nil {
		t.Fatal(err)
	}
	s.stranger().enrol(link, "first")
	mine := s.person("mine", user.Owner)
	th := s.things(mine)

	cookie := dash.CookieName(s.dash, "session")
	keep := func(p user.Principal, kind user.SessionKind, expires time.Time) string {
		text := secret.Random(32)
		h := text.Hash()
		v := &user.Session{Org: p.Org, ID: id.NewSession(), Hash: h[:], User: p.User, Kind: kind, CreatedAt: now, AuthAt: now, SeenAt: now, ExpiresAt: expires, Version: 1}
		if err := s.App.DB.Users().Sessions().CreateSession(ctx, v, []audit.Event{p.Event("session.opened", string(v.ID), p.User, now, nil)}); err != nil {
			t.Fatal(err)
		}
		return text.Reveal()
	}
	const elsewhere = id.Org("org_other")
	own := s.App.Users
	other := &user.Service{Org: elsewhere, Store: own.Store, WebAuthn: own.WebAuthn, Tries: own.Tries, Refused: own.Refused, Log: own.Log}
	u, _, err := other.Create(ctx, user.Principal{Org: elsewhere, Operator: true, Confirm: true}, "foreign", user.Owner, now)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := s.App.DB.Agents().Keys().OfAgent(ctx, th.agent.Org, th.agent.ID)
	if err != nil {
		t.Fatal(err)
	}
	c := vktest.Caller(th.agent)
	c.Key = keys[0].ID
	token, _, err := s.App.Agents.Issue(ctx, c, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(mine.cookies[cookie])
	flipped[10] ^= 1
	strangers := map[string]struct{ cookie, bearer string }{
		"a garbage cookie":             {cookie: "garbage"},
		"an empty one":                 {},
		"an endless one":               {cookie: strings.Repeat("a", 4000)},
		"a session, one bit off":       {cookie: string(flipped)},
		"a session that has run out":   {cookie: keep(mine.who, user.Browser, now.Add(-time.Minute))},
		"a terminal's session":         {cookie: keep(mine.who, user.CLI, now.Add(time.Hour))},
		"an owner of another org":      {cookie: keep(user.Principal{Org: elsewhere, User: u.ID, Name: u.Name, Role: user.Owner}, user.Browser, now.Add(time.Hour))},
		"an agent's token":             {bearer: token.Reveal()},
		"an agent's token as a cookie": {cookie: token.Reveal()},
		"a session sent as a bearer":   {bearer: mine.cookies[cookie]},
	}
	for _, pattern := range s.dash.Patterns() {
		row := matrix[pattern]
		for name, by := range strangers {
			v := s.stranger()
			v.cookies[cookie] = by.cookie
			more := http.Header{}
			if by.bearer != "" {
				delete(v.cookies, cookie)
				more.Set("Authorization", "Bearer "+by.bearer)
			}
			path, body := s.named(th, row)
			method, reader := http.MethodGet, ""
			switch {
			case strings.HasPrefix(path, "HEAD "):
				method, path = http.MethodHead, strings.TrimPrefix(path, "HEAD ")
			case strings.HasPrefix(pattern, "POST"):
				method, reader = http.MethodPost, body
				for k, all := range v.headers() {
					more[k] = all
				}
			}
			before := s.size()
			got := v.do(method, path, more, strings.NewReader(reader))
			if got.code != row.want[0] {
				t.Errorf("%s with %s: %d, want %d (%s)", pattern, name, got.code, row.want[0], got.reason())
			}
			if strings.Contains(got.body, "octocat") || strings.Contains(got.body, "Hello from a valet") {
				t.Errorf("%s with %s: shows what is not theirs", pattern, name)
			}
			if row.want[0] != http.StatusUnauthorized {
				continue
			}
			for _, e := range mustEvents(t, s, before) {
				if !strings.HasSuffix(e.Verb, ".refused") && e.Verb != "refusals.counted" {
					t.Errorf("%s with %s: %s happened", pattern, name, e.Verb)
				}
			}
		}
	}
}

func mustEvents(t *testing.T, s *site, from int64) []audit.Event {
	t.Helper()
	events, err := s.App.DB.Log().Events(t.Context(), from, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// named puts the names of things that are there into a row's path and body.
func (s *site) named(th things, r row) (path, body string) {
	key, freeze := id.NewKey(), id.NewFreeze()
	replace := strings.NewReplacer(
		"$action", string(th.held.Action.ID), "$digest", th.held.Action.Effect.String(), "$question", questionOf(th.held), "$con", string(th.con.ID), "$agent", string(th.agent.ID),
		"$grant", string(th.grant.ID), "$public", publicKey, "$n", "x", "$proposal", "prp_x", "$pdigest", strings.Repeat("0", 64), "$key", string(key), "$freeze", string(freeze),
	)
	return replace.Replace(r.path), replace.Replace(r.body)
}
