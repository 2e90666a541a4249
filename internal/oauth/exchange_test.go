package oauth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

const (
	notFound       = "federated_connection_refresh_token_not_found"
	grantRFC8693   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess     = "urn:ietf:params:oauth:token-type:access_token"
	typeRefresh    = "urn:ietf:params:oauth:token-type:refresh_token"
	typeFederated  = "http://auth0.com/oauth/token-type/federated-connection-access-token"
	typeVaultOther = "http://auth0.com/oauth/token-type/token-vault-refresh-token"
)

// standard is f in the words of RFC 8693.
func standard(f form) form {
	return f.with("grant_type", grantRFC8693, "requested_token_type", typeAccess, "audience", f["connection"], "connection", "")
}

func TestExchangeRefused(t *testing.T) {
	w := newWorld(t)
	other := w.program("agent-3", agent.Strict, jwttest.New(t, jwt.EdDSA, "agent-3-k1"))
	w.grant(other, w.con, grant.Broker)
	now := time.Now().Unix()
	subject := func(pairs ...any) form {
		return exchange(w.one.Subject(w.claims(w.one).With(pairs...)), w.one.Assertion(assertionClaims("agent-1")))
	}
	alone := func(f form) form { return f.with("client_assertion", "", "client_assertion_type", "") }
	for _, tt := range []struct {
		name         string
		form         form
		status       int
		code, reason string
	}{
		{"no subject token", subject().with("subject_token", ""), 400, "invalid_request", "missing_subject_token"},
		{"no subject token type", subject().with("subject_token_type", ""), 400, "invalid_request", "missing_subject_token_type"},
		{"a refresh token", subject().with("subject_token_type", typeRefresh), 400, "invalid_request", "unsupported_subject_token_type"},
		{"an access token", subject().with("subject_token_type", typeAccess), 400, "invalid_request", "unsupported_subject_token_type"},
		{"no client authentication", alone(subject()), 401, "invalid_client", "missing_client_assertion"},
		{"a client secret", alone(subject()).with("client_id", "agent-1", "client_secret", "x"), 401, "invalid_client", "client_secret"},
		{"half a client authentication", subject().with("client_assertion", ""), 401, "invalid_client", "missing_client_assertion"},
		{"assertion of another agent", subject().with("client_assertion", w.two.Assertion(assertionClaims("agent-2"))), 400, "invalid_request", "client_mismatch"},
		{"subject token of another agent", subject().with("subject_token", w.two.Subject(w.claims(w.two))), 400, "invalid_request", "client_mismatch"},
		{"forged subject token", subject().with("subject_token", jwttest.Compact(w.one.Header(jwt.TypeVaultSubject).JSON(), w.claims(w.one).JSON(), w.two.Sign)), 401, "invalid_client", "invalid_client"},
		{"client id of another", subject().with("client_id", "agent-2"), 401, "invalid_client", "client_mismatch"},
		{"expired assertion", subject().with("client_assertion", w.one.Assertion(assertionClaims("agent-1").With("iat", now-200, "exp", now-100))), 401, "invalid_client", "expired"},
		{"wrong typ", subject().with("subject_token", w.one.Assertion(w.claims(w.one))), 400, "invalid_request", "wrong_typ"},
		{"no jti", subject("jti", nil), 400, "invalid_request", "missing_jti"},
		{"no audit context", subject("audit_context", nil), 400, "invalid_request", "missing_audit_context"},
		{"no iat", subject("iat", nil), 400, "invalid_request", "missing_iat"},
		{"too old", subject("iat", now-62, "nbf", nil, "exp", now+600), 400, "invalid_request", "too_old"},
		{"wrong audience", subject("aud", strings.TrimSuffix(issuer, "/")), 400, "invalid_request", "wrong_audience"},
		{"no requested type", subject().with("requested_token_type", ""), 400, "invalid_request", "missing_requested_token_type"},
		{"the refresh token", subject().with("requested_token_type", typeVaultOther), 400, "invalid_request", "unsupported_requested_token_type"},
		{"no connection", subject().with("connection", ""), 400, "invalid_request", "missing_connection"},
		{"an actor", subject().with("actor_token", "x", "actor_token_type", api.SubjectJWT), 400, "invalid_request", "actor_token"},
		{"narrower scope", subject().with("scope", "repo"), 400, "invalid_scope", "invalid_scope"},
		{"wider scope", subject().with("scope", "repo read:user admin:org"), 400, "invalid_scope", "invalid_scope"},
		{"may not hold the token", exchange(other.Subject(w.claims(other)), other.Assertion(assertionClaims("agent-3"))), 403, "access_denied", "vending_not_granted"},
		{"two targets", standard(subject()).with("connection", "gitlab"), 400, "invalid_target", "invalid_target"},
		{"a resource", standard(subject()).with("resource", "https://api.github.com/"), 400, "invalid_target", "invalid_target"},
		{"no requested type, RFC 8693", standard(subject()).with("requested_token_type", ""), 400, "invalid_request", "missing_requested_token_type"},
		{"no target, RFC 8693", standard(subject()).with("audience", ""), 400, "invalid_request", "missing_connection"},
	} {
		a := w.wantRefused(tt.name, "exchange.refused", func() answer { return w.send(tt.form) }, tt.status, tt.code, tt.reason)
		if strings.Contains(a.body, w.personal.Reveal()) {
			t.Errorf("%s: the answer holds the token", tt.name)
		}
		if tt.name == "wrong typ" && (!strings.HasPrefix(a.Description, "Not supported JWT type in subject token.") || !strings.Contains(a.Description, "token-vault-req+jwt")) {
			t.Errorf("a wrong typ is answered with %q", a.Description)
		}
	}
	w.far.Store(true)
	w.wantRefused("elsewhere", "exchange.refused", func() answer { return w.send(subject()) }, 403, "access_denied", "source_not_allowed")
}

// What is missing, foreign, disconnected, not granted or not named looks the
// same (§11.18, M-09).
func TestNoConnectionAlike(t *testing.T) {
	w := newWorld(t)
	bobs := w.connect(w.bob, w.sandbox.PersonalToken("hubot", "repo"))
	ask := func(p *program, pairs ...any) form {
		return exchange(p.Subject(w.claims(p).With(pairs...)), p.Assertion(assertionClaims(p.Name)))
	}
	forms := map[string]func() form{
		"missing":           func() form { return ask(w.one).with("connection", "gitlab") },
		"missing by id":     func() form { return ask(w.one).with("connection", string(id.NewConnection())) },
		"foreign by id":     func() form { return ask(w.one).with("connection", string(bobs.ID)) },
		"foreign user":      func() form { return ask(w.one, "sub", string(w.bob.ID)) },
		"not granted":       func() form { return ask(w.two) },
		"unknown user":      func() form { return ask(w.one, "sub", string(id.NewUser())) },
		"no user id":        func() form { return ask(w.one, "sub", "auth0|5f7c8ec7c33c6c004bbafe82") },
		"unprintable user":  func() form { return ask(w.one, "sub", "üser of nobody") },
		"hint that fits no": func() form { return ask(w.one).with("login_hint", "hubot") },
	}
	var first string
	check := func(name string, f form) {
		a := w.wantRefused(name, "exchange.refused", func() answer { return w.send(f) }, 401, notFound, "connection_not_found")
		if first == "" {
			first = a.body
		}
		if a.body != first {
			t.Errorf("%s: %s\nwant %s", name, a.body, first)
		}
	}
	for name, f := range forms {
		check(name, f())
	}
	if a := w.send(w.ask(w.one)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if _, err := w.vault.Disconnect(w.ctx, w.con.ID, time.Now(), w.log(w.ada)); err != nil {
		t.Fatal(err)
	}
	check("disconnected", w.ask(w.one))
	if !strings.HasPrefix(first[strings.Index(first, "error_description"):], `error_description":"Federated connection Refresh Token not found.`) {
		t.Errorf("clients look for Auth0's words: %s", first)
	}
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]form{
		"vault":        w.ask(w.one),
		"older name":   w.ask(w.one).with("requested_token_type", typeFederated),
		"by id":        w.ask(w.one).with("client_id", string(w.one.ID), "connection", string(w.con.ID)),
		"same scopes":  w.ask(w.one).with("scope", "read:user repo"),
		"hint":         w.ask(w.one).with("login_hint", "octocat"),
		"hint by id":   w.ask(w.one).with("login_hint", "583231"),
		"RFC 8693":     standard(w.ask(w.one)),
		"RFC 8693 too": standard(w.ask(w.one)).with("connection", "github"),
	} {
		for kind, send := range map[string]func(form) answer{"form": w.send, "JSON": w.sendJSON} {
			fresh := w.ask(w.one)
			f = f.with("subject_token", fresh["subject_token"], "client_assertion", fresh["client_assertion"])
			since := w.mark()
			a := send(f)
			if a.status != 200 || a.AccessToken != w.personal.Reveal() || a.TokenType != "Bearer" || a.IssuedTokenType != f["requested_token_type"] {
				t.Fatalf("%s, %s: %d %s", name, kind, a.status, a.body)
			}
			if a.ExpiresIn <= 0 || a.ExpiresIn > int64(broker.VendTTL.Seconds()) {
				t.Errorf("%s: expires_in %d", name, a.ExpiresIn)
			}
			if a.TokenResponse.Scope != "repo read:user" && a.TokenResponse.Scope != "read:user repo" {
				t.Errorf("%s: scope %q", name, a.TokenResponse.Scope)
			}
			if strings.Contains(a.body, "refresh_token") || strings.Contains(a.body, "id_token") {
				t.Errorf("%s: more than an access token: %s", name, a.body)
			}
			events := w.events(since)
			if len(events) != 1 || events[0].Verb != "token.vended" || events[0].Data["audit_context"] != "nightly report" || events[0].Subject != string(w.ada.ID) {
				t.Errorf("%s: recorded as %v", name, events)
			}
			// Both signatures are used up, the client's as well.
			if a := w.send(credentials(f["client_assertion"])); a.Reason != "replayed" {
				t.Errorf("%s: the assertion works again: %d %s", name, a.status, a.body)
			}
			if a := w.send(f.with("client_assertion", w.one.Assertion(assertionClaims("agent-1")))); a.Reason != "replayed" {
				t.Errorf("%s: the subject token works again: %d %s", name, a.status, a.body)
			}
		}
	}
	if strings.Contains(w.logs.String(), w.personal.Reveal()) {
		t.Error("the log holds the token")
	}
}

// Two accounts at one provider: a hint chooses, without one it is the older.
func TestTwoAccounts(t *testing.T) {
	w := newWorld(t)
	second := w.sandbox.PersonalToken("hubot", "repo")
	w.grant(w.one, w.connect(w.ada, second), grant.Vend)
	for hint, want := range map[string]secret.Text{"": w.personal, "octocat": w.personal, "hubot": second, "480938": second} {
		if a := w.send(w.ask(w.one).with("login_hint", hint)); a.AccessToken != want.Reveal() {
			t.Errorf("login_hint %q: %d %s", hint, a.status, a.body)
		}
	}
}

// refreshed is a connection of Ada's whose access token has ended.
func (w *world) refreshed(provider, refresh string) *vault.Connection {
	w.t.Helper()
	now := time.Now()
	c := &vault.Connection{
		Org: id.DefaultOrg, ID: id.NewConnection(), User: w.ada.ID, Provider: provider, Kind: vault.ByCode, Name: "second", AccountID: "480938",
		Account: "hubot", Scopes: []string{"repo"}, CreatedAt: now, Version: 1,
	}
	tokens := vault.Tokens{Access: secret.New("ghu_ended"), Refresh: secret.New(refresh), ExpiresAt: now.Add(time.Second)}
	if err := w.vault.Fill(w.ctx, c, tokens, now.Add(-time.Hour)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Flows().CreateConnection(w.ctx, c, []audit.Event{w.log(w.ada)("connection.created", string(c.ID), nil)}); err != nil {
		w.t.Fatal(err)
	}
	w.grant(w.one, c, grant.Vend)
	return c
}

// A provider that is down is not one that refuses (§11.19).
func TestProviderFails(t *testing.T) {
	w := newWorld(t)
	con := w.refreshed("github", "ghr_unknown_to_the_sandbox")
	ask := func() answer { return w.send(w.ask(w.one).with("connection", string(con.ID))) }
	w.sandbox.Fail("/login/oauth/access_token", 503, 1)
	since := w.mark()
	a := ask()
	if a.status != 400 || a.TokenError.Error != "temporarily_unavailable" || a.header.Get("Retry-After") == "" || a.Reason != "refresh_unavailable" {
		t.Errorf("provider down: %d %s", a.status, a.body)
	}
	if reason, _ := w.refusedOnce(since, "exchange.refused"); reason != "refresh_unavailable" {
		t.Errorf("recorded as %q", reason)
	}
	got, err := w.db.Connections().Connection(w.ctx, con.Org, con.ID)
	if err != nil || got.Status != vault.Active {
		t.Fatalf("the connection is %s: %v", got.Status, err)
	}
	// The pause after a failure is the vault's; here it is over.
	err = w.db.Connections().UpdateConnection(w.ctx, con.Org, con.ID, func(c *vault.Connection) ([]audit.Event, error) {
		c.RetryAt = time.Time{}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // when it is found out, and when it is known
		if a := ask(); a.status != 401 || a.TokenError.Error != "federated_connection_refresh_token_flow_failed" || a.header.Get("Retry-After") != "" {
			t.Errorf("dead grant: %d %s", a.status, a.body)
		}
	}
}

// The 2025 worker sends one request twice within a second, byte for byte, and
// no client authentication, jti, audit_context or requested_token_type.
func TestWorkerSample(t *testing.T) {
	w := newWorld(t)
	key := jwttest.New(t, jwt.RS256, "worker-key-1")
	worker := w.program("worker", agent.Compat2025, key)
	w.grant(worker, w.con, grant.Vend)
	sample := func(p *program) form {
		now := time.Now().Unix()
		claims := jwttest.Object{"sub": string(w.ada.ID), "aud": issuer, "iss": p.Name, "iat": now, "nbf": now, "exp": now + 60}
		return form{
			"client_id": p.Name, "client_credential_id": "cred_dKLoDNXEPfBFKZ5ZyCNPSW", "connection": "github", "subject_token": p.Subject(claims),
			"subject_token_type": api.SubjectJWT, "grant_type": api.GrantVaultExchange,
		}
	}
	f := sample(worker)
	since := w.mark()
	for range 2 {
		a := w.sendJSON(f)
		if a.status != 200 || a.AccessToken != w.personal.Reveal() || a.IssuedTokenType != api.RequestedVaultToken {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if events := w.events(since); len(events) != 2 || events[0].Verb != "token.vended" || events[1].Verb != "token.vended" {
		t.Errorf("each use is recorded: %v", events)
	}
	// What weakens nothing holds in this profile too.
	old := time.Now().Unix() - 62
	claims := subjectClaims("worker", string(w.ada.ID))
	for name, tt := range map[string]struct {
		form   form
		code   string
		reason string
	}{
		"too old":       {f.with("subject_token", worker.Subject(claims.With("iat", old, "nbf", old, "exp", old+600))), "invalid_request", "too_old"},
		"wrong typ":     {f.with("subject_token", worker.Assertion(claims)), "invalid_request", "wrong_typ"},
		"another key":   {f.with("client_credential_id", string(id.NewKey())), "invalid_request", "wrong_key"},
		"a secret":      {f.with("client_secret", "x"), "invalid_client", "client_secret"},
		"another agent": {f.with("client_assertion", w.one.Assertion(assertionClaims("agent-1")), "client_assertion_type", api.AssertionJWT, "client_id", ""), "invalid_request", "client_mismatch"},
		"refresh token": {f.with("requested_token_type", typeVaultOther), "invalid_request", "unsupported_requested_token_type"},
	} {
		since := w.mark()
		if a := w.sendJSON(tt.form); a.TokenError.Error != tt.code || a.status >= 500 {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, tt.code)
		}
		if reason, _ := w.refusedOnce(since, "exchange.refused"); reason != tt.reason {
			t.Errorf("%s: recorded as %q, want %q", name, reason, tt.reason)
		}
	}
	if a := w.sendJSON(f.with("client_credential_id", string(worker.key.ID))); a.status != 200 {
		t.Errorf("the right key: %d %s", a.status, a.body)
	}
	// A jti that is sent counts.
	withID := f.with("subject_token", worker.Subject(subjectClaims("worker", string(w.ada.ID))))
	if a := w.sendJSON(withID); a.status != 200 {
		t.Errorf("with a jti: %d %s", a.status, a.body)
	}
	if a := w.sendJSON(withID); a.Reason != "replayed" {
		t.Errorf("the same jti: %d %s", a.status, a.body)
	}

	// Strict refuses the same request and names what is missing, one after the
	// other until nothing is.
	w.grant(w.one, w.con, grant.Vend)
	strict := sample(w.one)
	claims = jwttest.Object{"sub": string(w.ada.ID), "aud": issuer, "iss": "agent-1", "iat": time.Now().Unix()}
	for _, step := range []struct {
		names string
		fix   func()
	}{
		{"jti", func() { claims["jti"] = secret.Random(16).Reveal() }},
		{"audit_context", func() { claims["audit_context"] = "nightly report" }},
		{"client_assertion", func() { strict["client_assertion_type"] = api.AssertionJWT }},
		{"requested_token_type", func() { strict["requested_token_type"] = api.RequestedVaultToken }},
	} {
		if strict["client_assertion_type"] != "" {
			strict["client_assertion"] = w.one.Assertion(assertionClaims("agent-1"))
		}
		if claims["jti"] != nil {
			claims["jti"] = secret.Random(16).Reveal()
		}
		strict["subject_token"] = w.one.Subject(claims)
		if a := w.sendJSON(strict); a.status/100 != 4 || !strings.Contains(a.Description, step.names) {
			t.Errorf("without %s: %d %s", step.names, a.status, a.body)
		}
		step.fix()
	}
	claims["jti"] = secret.Random(16).Reveal()
	strict["subject_token"], strict["client_assertion"] = w.one.Subject(claims), w.one.Assertion(assertionClaims("agent-1"))
	if a := w.sendJSON(strict); a.status != 200 {
		t.Errorf("with all of it: %d %s", a.status, a.body)
	}
}

// Policy says ask: the exchange says who has to be asked, and succeeds when
// they have said yes (§11.25).
func TestExchangeHeld(t *testing.T) {
	w := newWorld(t)
	w.policy(`@id("ask-vend") @reason("Somebody looks first.") forbid (principal, action == Action::"vend", resource) unless { context.assurance >= 1 };`)
	decide := func(a answer, say approval.Answer) {
		t.Helper()
		h, err := w.db.Actions().Held(w.ctx, id.DefaultOrg, id.Action(a.Action))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.broker.Decide(w.ctx, w.browser(w.ada), h.Approval.ID, broker.Verdict{Answer: say, Seen: h.Action.Effect, Channel: "web", Level: approval.Approve}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	held := func(f form) answer {
		t.Helper()
		a := w.send(f)
		if a.status != 403 || a.TokenError.Error != "approval_required" || !id.Valid("act", a.Action) ||
			!strings.Contains(a.Description, issuer+"actions/"+a.Action) {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a
	}
	since := w.mark()
	f := w.ask(w.one)
	first := held(f)
	var verbs []string
	for _, e := range w.events(since) {
		verbs = append(verbs, e.Verb)
	}
	if strings.Join(verbs, " ") != "action.held approval.opened" {
		t.Errorf("recorded as %q", verbs)
	}
	if a := w.send(credentials(f["client_assertion"])); a.Reason != "replayed" {
		t.Errorf("the question left the assertion unspent: %d %s", a.status, a.body)
	}
	// A repeat attaches, is recorded as refused, and uses its signature up.
	since = w.mark()
	f = w.ask(w.one)
	if again := held(f); again.Action != first.Action {
		t.Errorf("asked again: %s and %s", first.Action, again.Action)
	}
	if reason, _ := w.refusedOnce(since, "exchange.refused"); reason != "approval_required" {
		t.Errorf("recorded as %q", reason)
	}
	if a := w.send(credentials(f["client_assertion"])); a.Reason != "replayed" {
		t.Errorf("the repeat left the assertion unspent: %d %s", a.status, a.body)
	}
	decide(first, approval.Yes)
	if a := w.send(w.ask(w.one)); a.status != 200 || a.AccessToken != w.personal.Reveal() {
		t.Errorf("after the approval: %d %s", a.status, a.body)
	}
	// One approval is one token.
	if a := w.send(w.ask(w.one)); a.status == 200 {
		t.Errorf("an approval was used twice: %s", a.body)
	}
	// A denial is an answer, for as long as a repeat attaches to it.
	w.grant(w.two, w.con, grant.Vend)
	second := held(w.ask(w.two))
	decide(second, approval.No)
	for range 2 {
		since := w.mark()
		a := w.send(w.ask(w.two))
		if a.status != 403 || a.TokenError.Error != "access_denied" || a.Reason != "denied" || a.Action != second.Action {
			t.Errorf("after the denial: %d %s", a.status, a.body)
		}
		if reason, _ := w.refusedOnce(since, "exchange.refused"); reason != "denied" {
			t.Errorf("recorded as %q", reason)
		}
	}
	h, err := w.db.Actions().Held(w.ctx, id.DefaultOrg, id.Action(second.Action))
	if err != nil || h.Action.FetchedAt.IsZero() {
		t.Errorf("nobody noted that the agent knows of the denial: %v", err)
	}
}

func TestExchangeDenied(t *testing.T) {
	w := newWorld(t)
	if _, err := w.broker.Freezes.Throw(w.ctx, id.DefaultOrg, freeze.Agent, string(w.one.ID), "test", "user:x", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.wantRefused("frozen", "exchange.refused", func() answer { return w.send(w.ask(w.one)) }, 403, "access_denied", "frozen")
	w.grant(w.two, w.con, grant.Vend)
	w.policy(`@id("no-vend") @reason("Nobody, für immer \"hier\".") forbid (principal, action == Action::"vend", resource);`)
	a := w.wantRefused("policy", "exchange.refused", func() answer { return w.send(w.ask(w.two)) }, 403, "access_denied", "forbidden_by_policy")
	if !strings.Contains(a.Description, "Nobody, f?r immer 'hier'.") {
		t.Errorf("the rule's reason is not shown: %q", a.Description)
	}
}

// Kinds of token, each at each place that takes one: a token is good where it
// belongs and nowhere else (M-03).
func TestTokenKinds(t *testing.T) {
	w := newWorld(t)
	bearer := w.send(credentials(w.one.Assertion(assertionClaims("agent-1")))).AccessToken
	ours := func(typ string) string {
		return must[string](t)(w.signer.Sign(w.claims(w.one).With("iss", issuer, "aud", "agent-1"), typ))
	}
	pretend := func(typ string) string {
		return must[string](t)(w.signer.Sign(w.claims(w.one), typ))
	}
	link := must[secret.Text](t)(w.users.NewLink(w.ctx, w.browser(w.ada), w.bob.ID, time.Now()))
	kinds := map[string]func() string{
		"client assertion":     func() string { return w.one.Assertion(assertionClaims("agent-1")) },
		"subject token":        func() string { return w.one.Subject(w.claims(w.one)) },
		"access token":         func() string { return bearer },
		"ID token of ours":     func() string { return ours("JWT") },
		"at+jwt of ours":       func() string { return ours("at+jwt") },
		"subject token, ours":  func() string { return pretend(jwt.TypeVaultSubject) },
		"CLI session":          func() string { return w.login().Bearer.Reveal() },
		"approved device code": func() string { return w.device(true).DeviceCode },
		"pending device code":  func() string { return w.device(false).DeviceCode },
		"user code":            func() string { return w.device(true).UserCode },
		"enrolment link":       link.Reveal,
		"provider token":       w.personal.Reveal,
		"nothing we know":      func() string { return "vks_" + strings.Repeat("q7", 21) },
	}
	surfaces := map[string]func(token string) answer{
		"client assertion": func(token string) answer { return w.send(credentials(token)) },
		"subject token": func(token string) answer {
			return w.send(exchange(token, w.one.Assertion(assertionClaims("agent-1"))))
		},
		"assertion beside a subject": func(token string) answer { return w.send(exchange(w.one.Subject(w.claims(w.one)), token)) },
		"approved device code": func(token string) answer {
			return w.send(form{"grant_type": api.GrantDevice, "client_id": "valetkey-cli", "device_code": token})
		},
		"client secret": func(token string) answer {
			return w.send(credentials("").with("client_id", "agent-1", "client_secret", token))
		},
		"revoking client": func(token string) answer {
			f := form{"token": "x", "client_assertion_type": api.AssertionJWT, "client_assertion": token}
			return w.post("/oauth/revoke", "application/x-www-form-urlencoded", f.encode())
		},
	}
	right := map[string]string{"assertion beside a subject": "client assertion", "revoking client": "client assertion"}
	for place, present := range surfaces {
		for kind, mint := range kinds {
			want := kind == place || right[place] == kind
			a := present(mint())
			if ok := a.status == 200; ok != want || a.status >= 500 {
				t.Errorf("a %s as %s: %d %s", kind, place, a.status, a.body)
			}
		}
	}
}

// device begins a login at a terminal, and answers it as Ada.
func (w *world) device(approve bool) api.DeviceResponse {
	w.t.Helper()
	f := form{"client_id": "valetkey-cli", "device_name": "laptop"}
	a := w.post("/oauth/device/code", "application/x-www-form-urlencoded", f.encode())
	d := w.readDevice(a)
	if approve {
		w.letIn(d)
	}
	return d
}

// login is a session of Ada's at a terminal.
func (w *world) login() *user.Login {
	w.t.Helper()
	d := w.device(true)
	return must[*user.Login](w.t)(w.users.PollDevice(context.WithoutCancel(w.ctx), secret.New(d.DeviceCode), time.Now()))
}
