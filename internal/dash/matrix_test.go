package dash_test

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// Who asks, in the order of the table. The things that a path names belong to
// the third.
var askers = []string{"anonymous", "other member", "member whose it is", "auditor", "admin", "owner"}

// row is one route: where it is asked, with what, and what each asker gets.
type row struct {
	path, body string
	want       [6]int
}

// matrix has a row for each route. 303 is a redirect, for the anonymous to the
// login.
var matrix = map[string]row{
	"GET /assets/":      {"/assets/x", "", [6]int{404, 404, 404, 404, 404, 404}},
	"GET /{$}":          {"/", "", [6]int{303, 303, 303, 303, 303, 303}},
	"GET /welcome":      {"/welcome", "", [6]int{303, 200, 200, 200, 200, 200}},
	"GET /welcome/rows": {"/welcome/rows", "", [6]int{401, 200, 200, 200, 200, 200}},
	// An enrolment link is for whoever holds it; this one is nobody's.
	"GET /enrol/{invite}":              {"/enrol/x", "", [6]int{409, 409, 409, 409, 409, 409}},
	"GET /login":                       {"/login", "", [6]int{200, 303, 303, 303, 303, 303}},
	"POST /passkey/enrol/begin":        {"/passkey/enrol/begin", `{"invite":"x"}`, [6]int{409, 409, 409, 409, 409, 409}},
	"POST /passkey/enrol/finish":       {"/passkey/enrol/finish", `{"invite":"x","name":"x","credential":{}}`, [6]int{409, 409, 409, 409, 409, 409}},
	"POST /passkey/login/begin":        {"/passkey/login/begin", `{}`, [6]int{200, 200, 200, 200, 200, 200}},
	"POST /passkey/login/finish":       {"/passkey/login/finish", `{"return_to":"/","assertion":{}}`, [6]int{409, 409, 409, 409, 409, 409}},
	"POST /passkey/confirm/begin":      {"/passkey/confirm/begin", `{}`, [6]int{401, 409, 409, 409, 409, 409}}, // nobody here has a passkey
	"POST /logout":                     {"/logout", `{}`, [6]int{401, 200, 200, 200, 200, 200}},
	"GET /recover":                     {"/recover", "", [6]int{200, 303, 303, 303, 303, 303}},
	"POST /recover":                    {"/recover", `{"code":"x"}`, [6]int{401, 401, 401, 401, 401, 401}},
	"POST /signin":                     {"/signin", `{"return_to":"/"}`, [6]int{409, 409, 409, 409, 409, 409}}, // there is no identity provider
	"POST /signin/invited":             {"/signin/invited", `{"invite":"x"}`, [6]int{409, 409, 409, 409, 409, 409}},
	"POST /signin/again":               {"/signin/again", `{}`, [6]int{401, 409, 409, 409, 409, 409}},
	"POST /signin/link":                {"/signin/link", `{}`, [6]int{401, 409, 409, 409, 409, 409}},
	"GET /signin/callback":             {"/signin/callback?state=x&code=y", "", [6]int{303, 303, 303, 303, 303, 303}},
	"GET /you":                         {"/you", "", [6]int{303, 200, 200, 200, 200, 200}},
	"POST /you/passkeys/begin":         {"/you/passkeys/begin", `{}`, [6]int{401, 200, 200, 200, 200, 200}},
	"POST /you/passkeys/finish":        {"/you/passkeys/finish", `{"name":"x","credential":{}}`, [6]int{401, 409, 409, 409, 409, 409}},
	"POST /you/passkeys/{id}/rename":   {"/you/passkeys/$nobodys/rename", `{"name":"x"}`, [6]int{401, 404, 404, 404, 404, 404}},
	"POST /you/passkeys/{id}/touch":    {"/you/passkeys/$nobodys/touch", `{}`, [6]int{401, 404, 404, 404, 404, 404}},
	"POST /you/passkeys/{id}/remove":   {"/you/passkeys/$nobodys/remove", `{"assertion":{}}`, [6]int{401, 404, 404, 404, 404, 404}},
	"POST /you/sessions/{id}/end":      {"/you/sessions/$session/end", `{}`, [6]int{401, 404, 200, 404, 404, 404}},
	"POST /you/sessions/end-others":    {"/you/sessions/end-others", `{}`, [6]int{401, 200, 200, 200, 200, 200}},
	"POST /you/codes/touch":            {"/you/codes/touch", `{}`, [6]int{401, 409, 409, 409, 409, 409}}, // nobody here has a passkey
	"POST /you/codes":                  {"/you/codes", `{"assertion":{}}`, [6]int{401, 409, 409, 409, 409, 409}},
	"POST /you/identities/{id}/unlink": {"/you/identities/$unlinked/unlink", `{}`, [6]int{401, 404, 404, 404, 404, 404}},
	"GET /people":                      {"/people", "", [6]int{303, 403, 403, 200, 200, 200}},
	"POST /people":                     {"/people", `{"name":"invited $n","role":"member"}`, [6]int{401, 403, 403, 403, 200, 200}},
	"POST /people/{id}/link":           {"/people/$person/link", `{}`, [6]int{401, 403, 403, 403, 200, 200}},
	"POST /people/{id}/void":           {"/people/$person/void", `{}`, [6]int{401, 403, 403, 403, 200, 200}},
	"POST /people/{id}/role":           {"/people/$person/role", `{"role":"auditor"}`, [6]int{401, 403, 403, 403, 403, 200}}, // an owner's
	"POST /people/{id}/suspend":        {"/people/$person/suspend", `{}`, [6]int{401, 403, 403, 403, 200, 200}},
	"POST /people/{id}/resume":         {"/people/$person/resume", `{}`, [6]int{401, 403, 403, 403, 409, 409}}, // they are in already
	"POST /actions/{id}/signin":        {"/actions/$action/signin", `{"digest":"$digest","question":"$question"}`, [6]int{401, 404, 409, 403, 403, 403}},
	"GET /device":                      {"/device", "", [6]int{303, 200, 200, 200, 200, 200}},
	"POST /device/{code}/passkey":      {"/device/BCDF-GHJK/passkey", `{"digest":"` + strings.Repeat("0", 64) + `"}`, [6]int{401, 404, 404, 404, 404, 404}},
	"POST /device/decision":            {"/device/decision", `{"code":"BCDF-GHJK","decision":"approve"}`, [6]int{401, 404, 404, 404, 404, 404}},
	"GET /inbox":                       {"/inbox", "", [6]int{303, 200, 200, 200, 200, 200}},
	"GET /inbox/list":                  {"/inbox/list", "", [6]int{401, 200, 200, 200, 200, 200}},
	"GET /events/inbox":                {"HEAD /events/inbox", "", [6]int{401, 200, 200, 200, 200, 200}},
	"GET /actions/{id}":                {"/actions/$action", "", [6]int{303, 404, 200, 200, 200, 200}},
	"GET /actions/{id}/status":         {"/actions/$action/status", "", [6]int{401, 404, 200, 200, 200, 200}},
	"POST /actions/{id}/passkey":       {"/actions/$action/passkey", `{"digest":"$digest","question":"$question"}`, [6]int{401, 404, 409, 403, 403, 403}},
	"POST /actions/{id}/decision":      {"/actions/$action/decision", `{"decision":"approve","digest":"$digest","question":"$question","reason":""}`, [6]int{401, 404, 200, 403, 403, 403}},
	"GET /actions/{id}/receipt":        {"/actions/$action/receipt", "", [6]int{303, 404, 409, 409, 409, 409}},
	// Only who owns the account looks through it. The others see the action, and why they do not see this.
	"GET /actions/{id}/preview": {"/actions/$action/preview", "", [6]int{401, 404, 200, 404, 404, 404}},
	// The operator's: for those who manage the org.
	"GET /proposals/{id}":              {"/proposals/$proposal", "", [6]int{303, 404, 404, 404, 200, 200}},
	"POST /proposals/{id}/passkey":     {"/proposals/$proposal/passkey", `{"digest":"$pdigest"}`, [6]int{401, 404, 404, 404, 409, 409}}, // none has a passkey
	"POST /proposals/{id}/decision":    {"/proposals/$proposal/decision", `{"decision":"confirm","digest":"$pdigest"}`, [6]int{401, 404, 404, 404, 403, 403}},
	"GET /connections":                 {"/connections", "", [6]int{303, 200, 200, 200, 200, 200}},
	"POST /connections/connect":        {"/connections/connect", `{"provider":"github"}`, [6]int{401, 200, 200, 403, 200, 200}},
	"GET /connect/{provider}/callback": {"/connect/github/callback?state=x&code=y", "", [6]int{303, 303, 303, 303, 303, 303}},
	"POST /connections/token":          {"/connections/token", `{"provider":"github","token":"not-a-token"}`, [6]int{401, 400, 400, 403, 400, 400}},
	"POST /connections/{id}/reconnect": {"/connections/$con/reconnect", `{}`, [6]int{401, 404, 200, 403, 404, 404}},
	// Those who manage the org may end what is somebody else's, never use it.
	"POST /connections/{id}/disconnect":   {"/connections/$con/disconnect", `{}`, [6]int{401, 404, 200, 403, 200, 200}},
	"POST /connections/{id}/previews":     {"/connections/$con/previews", `{"with":"approvers"}`, [6]int{401, 404, 200, 403, 403, 403}},
	"GET /connections/{id}/disconnected":  {"/connections/$con/disconnected", "", [6]int{303, 404, 303, 303, 303, 303}},
	"GET /agents":                         {"/agents", "", [6]int{303, 200, 200, 200, 200, 200}},
	"POST /agents":                        {"/agents", `{"name":"new-$n","public_key":"$public","profile":"strict","sources":"10.0.0.0/8"}`, [6]int{401, 200, 200, 403, 200, 200}},
	"GET /agents/{id}":                    {"/agents/$agent", "", [6]int{303, 404, 200, 200, 200, 200}},
	"POST /agents/{id}/suspend":           {"/agents/$agent/suspend", `{}`, [6]int{401, 404, 200, 404, 200, 200}},
	"POST /agents/{id}/resume":            {"/agents/$agent/resume", `{}`, [6]int{401, 404, 200, 404, 200, 200}}, // it is suspended
	"POST /agents/{id}/freeze":            {"/agents/$agent/freeze", `{}`, [6]int{401, 404, 200, 403, 200, 200}},
	"POST /agents/{id}/keys":              {"/agents/$agent/keys", `{"public_key":"$public"}`, [6]int{401, 404, 200, 404, 200, 200}},
	"POST /agents/{id}/keys/{key}/retire": {"/agents/$agent/keys/$key/retire", `{}`, [6]int{401, 404, 200, 404, 200, 200}},
	"POST /agents/{id}/grants":            {"/agents/$agent/grants", `{"connection":"$con","operations":["*"],"resources":"","everything":"yes","expires":"24h","mode":"broker"}`, [6]int{401, 404, 200, 403, 403, 403}},
	"POST /grants/{id}/revoke":            {"/grants/$grant/revoke", `{}`, [6]int{401, 404, 200, 403, 200, 200}},
	"POST /reliefs/{id}/revoke":           {"/reliefs/$relief/revoke", `{}`, [6]int{401, 404, 200, 403, 200, 200}},
	"POST /freeze":                        {"/freeze", `{"reason":"matrix"}`, [6]int{401, 403, 403, 403, 200, 200}},
	"POST /unfreeze":                      {"/unfreeze", `{"id":"$freeze"}`, [6]int{401, 403, 403, 403, 403, 200}},
	"GET /activity":                       {"/activity", "", [6]int{303, 200, 200, 200, 200, 200}},
	"GET /activity/list":                  {"/activity/list", "", [6]int{401, 200, 200, 200, 200, 200}},
	"GET /policy":                         {"/policy", "", [6]int{303, 200, 200, 200, 200, 200}},
	"/":                                   {"/no/such/page", "", [6]int{404, 404, 404, 404, 404, 404}},
}

const publicKey = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n-----END PUBLIC KEY-----"

// Every route answers every sort of asker as the table says; a route without a
// row fails.
func TestMatrix(t *testing.T) {
	s := newSite(t)
	// Somebody has a passkey, or everything would lead to the first run.
	_, link, err := s.App.Users.Create(t.Context(), operator, "first", user.Owner, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.stranger().enrol(link, "first")
	roles := []user.Role{"", user.Member, user.Member, user.Auditor, user.Admin, user.Owner}
	mine := s.person("mine", user.Member)
	patterns := s.dash.Patterns()
	for p := range matrix {
		if !slices.Contains(patterns, p) {
			t.Errorf("the table has %s, which is no route", p)
		}
	}
	n := 0
	for _, pattern := range patterns {
		row, ok := matrix[pattern]
		if !ok {
			t.Errorf("%s has no row in the table", pattern)
			continue
		}
		for i, who := range askers {
			n++
			v := s.stranger()
			switch i {
			case 0:
			case 2:
				v = s.session(mine.who)
			default:
				v = s.person(strings.ReplaceAll(who, " ", "-")+"-"+string(rune('a'+n%26))+string(rune('a'+n/26)), roles[i])
			}
			path, body := s.prepare(mine, pattern, row, n)
			var got answer
			switch {
			case strings.HasPrefix(path, "HEAD "):
				got = v.do(http.MethodHead, strings.TrimPrefix(path, "HEAD "), nil, nil)
			case strings.HasPrefix(pattern, "POST"):
				got = v.post(path, body)
			default:
				got = v.get(path)
			}
			if got.code != row.want[i] {
				t.Errorf("%s by %s: %d, want %d (%s)", pattern, who, got.code, row.want[i], got.reason())
			}
			if got.code == 303 && i == 0 && pattern != "GET /{$}" && !strings.HasPrefix(got.header.Get("Location"), "/login") && !strings.HasPrefix(pattern, "GET /connect/") {
				t.Errorf("%s by nobody leads to %s", pattern, got.header.Get("Location"))
			}
			if pattern != "GET /assets/" && (got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Security-Policy") == "") {
				t.Errorf("%s by %s lacks headers: %v", pattern, who, got.header)
			}
			s.thaw()
		}
	}
}

// prepare makes what the row needs and puts its names in.
func (s *site) prepare(mine *visitor, pattern string, r row, n int) (path, body string) {
	if !strings.Contains(r.path+r.body, "$") {
		return r.path, r.body
	}
	th := s.things(mine)
	names := []string{
		"$action", string(th.held.Action.ID), "$digest", th.held.Action.Effect.String(), "$question", questionOf(th.held), "$con", string(th.con.ID), "$agent", string(th.agent.ID),
		"$grant", string(th.grant.ID), "$public", publicKey, "$n", strings.Repeat("x", n%50+1) + string(rune('a'+n/50)),
	}
	if strings.Contains(r.path, "$person") {
		u, _, err := s.App.Users.Create(s.t.Context(), operator, fmt.Sprintf("somebody %d", n), user.Member, time.Now())
		if err != nil {
			s.t.Fatal(err)
		}
		names = append([]string{"$person", string(u.ID)}, names...)
	}
	if strings.Contains(r.path, "$session") {
		s.session(mine.who)
		all, err := s.App.DB.Users().Sessions().OfUser(s.t.Context(), th.agent.Org, mine.who.User)
		if err != nil {
			s.t.Fatal(err)
		}
		names = append([]string{"$session", string(all[0].ID)}, names...)
	}
	names = append([]string{"$nobodys", string(id.NewPasskey()), "$unlinked", string(id.NewIdentity())}, names...)
	if strings.Contains(r.path, "$proposal") {
		p := s.propose(user.Principal{Org: th.agent.Org, Operator: true}, "PUT", "/v1/admin/providers/github", `{"client_id":"x"}`)
		// Before "$p…", which begins alike.
		names = append([]string{"$proposal", string(p.ID), "$pdigest", hex.EncodeToString(p.Digest[:])}, names...)
	}
	if strings.Contains(r.path, "$relief") {
		v := broker.Verdict{Answer: approval.Yes, Seen: th.held.Action.Effect, Channel: "web", Level: approval.Approve, Relief: 3}
		if _, err := s.App.Broker.Decide(s.t.Context(), mine.who, th.held.Approval.ID, v, time.Now()); err != nil {
			s.t.Fatal(err)
		}
		all, err := s.App.Broker.ListReliefs(s.t.Context(), mine.who, th.agent.ID, time.Now())
		if err != nil || len(all) != 1 {
			s.t.Fatalf("%v, %v", all, err)
		}
		names = append(names, "$relief", string(all[0].ID))
	}
	if strings.Contains(r.path, "$key") {
		keys, err := s.App.DB.Agents().Keys().OfAgent(s.t.Context(), th.agent.Org, th.agent.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		names = append(names, "$key", string(keys[0].ID))
	}
	if strings.HasSuffix(r.path, "/resume") {
		if err := s.App.Manage.SuspendAgent(s.t.Context(), operator, string(th.agent.ID), time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
	if strings.Contains(r.body, "$freeze") {
		f, err := s.App.Freezes.Throw(s.t.Context(), th.agent.Org, freeze.Agent, string(th.agent.ID), "matrix", "system", time.Now())
		if err != nil {
			s.t.Fatal(err)
		}
		names = append(names, "$freeze", string(f.ID))
	}
	replace := strings.NewReplacer(names...)
	return replace.Replace(r.path), replace.Replace(r.body)
}

// thaw lifts every freeze.
func (s *site) thaw() {
	s.t.Helper()
	for _, f := range s.App.Freezes.Active() {
		if err := s.App.Freezes.Lift(s.t.Context(), f.Org, f.ID, "system", time.Now()); err != nil {
			s.t.Fatal(err)
		}
	}
}
