package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/secret"
)

// What two readers could understand in two ways is refused before anything is
// looked at (M-07, M-40).
func TestRequestRefused(t *testing.T) {
	w := newWorld(t)
	const formType, jsonType = "application/x-www-form-urlencoded", "application/json"
	good := func() form { return credentials(w.one.Assertion(assertionClaims("agent-1"))) }
	tests := []struct {
		name, path, kind, body string
		status                 int
		code, reason           string
	}{
		{"parameters in the query", "?grant_type=client_credentials", formType, good().encode(), 400, "invalid_request", "query_parameters"},
		{"token in the query", "?" + good().encode(), formType, "", 400, "invalid_request", "query_parameters"},
		{"no content type", "", "", good().encode(), 400, "invalid_request", "bad_content_type"},
		{"text", "", "text/plain", good().encode(), 400, "invalid_request", "bad_content_type"},
		{"multipart", "", "multipart/form-data; boundary=x", "--x--", 400, "invalid_request", "bad_content_type"},
		{"another charset", "", formType + "; charset=iso-8859-1", good().encode(), 400, "invalid_request", "bad_content_type"},
		{"JSON as form", "", formType, good().json(t), 400, "invalid_request", "missing_grant_type"},
		{"form as JSON", "", jsonType, good().encode(), 400, "invalid_request", "bad_body"},
		{"too large", "", formType, good().with("x", strings.Repeat("x", 65<<10)).encode(), 413, "invalid_request", "body_too_large"},
		{"too large, JSON", "", jsonType, good().with("x", strings.Repeat("x", 65<<10)).json(t), 413, "invalid_request", "body_too_large"},
		{"repeated parameter", "", formType, good().encode() + "&grant_type=client_credentials", 400, "invalid_request", "repeated_parameter"},
		{"repeated unknown parameter", "", formType, good().encode() + "&x=1&x=2", 400, "invalid_request", "repeated_parameter"},
		{"case variant beside", "", formType, good().encode() + "&Client_Assertion=x", 400, "invalid_request", "*_parameter"},
		{"case variant alone", "", formType, good().encode() + "&Scope=x", 400, "invalid_request", "misspelt_parameter"},
		{"bad escape", "", formType, good().encode() + "&x=%zz", 400, "invalid_request", "bad_body"},
		{"semicolons", "", formType, good().encode() + ";x=1", 400, "invalid_request", "bad_body"},
		{"form not UTF-8", "", formType, good().encode() + "&x=%ff", 400, "invalid_request", "bad_body"},
		{"JSON not UTF-8", "", jsonType, "{\"x\":\"\xff\"}", 400, "invalid_request", "bad_body"},
		{"duplicate member", "", jsonType, good().json(t)[:len(good().json(t))-1] + `,"grant_type":"client_credentials"}`, 400, "invalid_request", "repeated_parameter"},
		{"duplicate member, escaped", "", jsonType, `{"grant_type":"client_credentials","grant\u005ftype":"client_credentials"}`, 400, "invalid_request", "repeated_parameter"},
		{"duplicate unknown member", "", jsonType, `{"x":1,"x":2,"grant_type":"client_credentials"}`, 400, "invalid_request", "repeated_parameter"},
		{"case-variant member", "", jsonType, `{"GRANT_TYPE":"client_credentials"}`, 400, "invalid_request", "misspelt_parameter"},
		{"folding member", "", jsonType, `{"grant_type":"client_credentials","subject_to\u212aen":"x"}`, 400, "invalid_request", "misspelt_parameter"},
		{"long s member", "", jsonType, `{"grant_type":"client_credentials","\u017fcope":"x"}`, 400, "invalid_request", "misspelt_parameter"},
		{"number", "", jsonType, `{"grant_type":1}`, 400, "invalid_request", "bad_parameter"},
		{"list", "", jsonType, `{"grant_type":["client_credentials"]}`, 400, "invalid_request", "bad_parameter"},
		{"list of objects", "", jsonType, `[{"grant_type":"client_credentials"}]`, 400, "invalid_request", "bad_body"},
		{"trailing", "", jsonType, `{"grant_type":"client_credentials"}{}`, 400, "invalid_request", "bad_body"},
		{"cut off", "", jsonType, `{"grant_type":"client_credentials"`, 400, "invalid_request", "bad_body"},
		{"missing comma", "", jsonType, `{"x":1 "grant_type":"client_credentials"}`, 400, "invalid_request", "bad_body"},
		{"deep", "", jsonType, `{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, 400, "invalid_request", "bad_body"},
		{"empty", "", jsonType, ``, 400, "invalid_request", "bad_body"},
		{"null", "", jsonType, `null`, 400, "invalid_request", "bad_body"},
		{"nothing", "", formType, "", 400, "invalid_request", "missing_grant_type"},
		{"empty grant type", "", formType, "grant_type=", 400, "invalid_request", "missing_grant_type"},
		{"null grant type", "", jsonType, `{"grant_type":null}`, 400, "invalid_request", "missing_grant_type"},
		{"unknown grant type", "", formType, "grant_type=password", 400, "unsupported_grant_type", "unsupported_grant_type"},
		{"implicit", "", formType, "grant_type=authorization_code&code=x", 400, "unsupported_grant_type", "unsupported_grant_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			since := w.mark()
			a := w.post("/oauth/token"+tt.path, tt.kind, tt.body)
			if a.status != tt.status || a.TokenError.Error != tt.code {
				t.Errorf("%d %s, want %d %s", a.status, a.body, tt.status, tt.code)
			}
			reason, actor := w.refusedOnce(since, "token.refused")
			if reason != tt.reason && !(strings.HasPrefix(tt.reason, "*") && strings.HasSuffix(reason, tt.reason[1:])) || actor != "anonymous" {
				t.Errorf("recorded as %q of %s, want %q", reason, actor, tt.reason)
			}
		})
	}
	w.t = t
	for _, header := range []string{"Content-Type", "Content-Encoding"} {
		req := must[*http.Request](t)(http.NewRequestWithContext(w.ctx, "POST", w.server.URL+"/oauth/token", strings.NewReader(good().encode())))
		req.Header.Set("Content-Type", formType)
		req.Header.Add(header, map[string]string{"Content-Type": jsonType, "Content-Encoding": "gzip"}[header])
		if a := w.do(req); a.status != 400 {
			t.Errorf("another %s: %d %s", header, a.status, a.body)
		}
	}
}

// Whatever is wrong before a signature verifies, the answer is the same to the
// byte (M-09).
func TestUniformUntilVerified(t *testing.T) {
	w := newWorld(t)
	w.program("lenient", agent.Compat2025, jwttest.New(t, jwt.EdDSA, "lenient-key-1"))
	suspended := w.program("stopped", agent.Strict, jwttest.New(t, jwt.ES256, "stopped-key-1"))
	if err := w.agents.SetStatus(w.ctx, suspended.ID, agent.Suspended, w.log(w.ada)); err != nil {
		t.Fatal(err)
	}
	stranger := jwttest.New(t, jwt.ES256, "agent-1-k1")
	other := jwttest.New(t, jwt.ES256, "no-such-key")
	tokens := map[string]func(typ string, claims func(client string) jwttest.Object) string{
		"unknown agent": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("agent-9").JSON(), stranger.Sign)
		},
		"unknown agent by id": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("agt_00000000000000000000000000").JSON(), stranger.Sign)
		},
		"impossible name": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("no such agent").JSON(), stranger.Sign)
		},
		"unknown key": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(other.Header(typ).JSON(), c("agent-1").JSON(), other.Sign)
		},
		"bad signature": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("agent-1").JSON(), stranger.Sign)
		},
		"compat agent": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("lenient").JSON(), stranger.Sign)
		},
		"suspended agent": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("stopped").JSON(), stranger.Sign)
		},
		"wrong typ and bad signature": func(_ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header("at+jwt").JSON(), c("agent-1").JSON(), stranger.Sign)
		},
		"expired and bad signature": func(typ string, c func(string) jwttest.Object) string {
			return jwttest.Compact(stranger.Header(typ).JSON(), c("agent-1").With("exp", 1, "iat", 0).JSON(), stranger.Sign)
		},
		"no token": func(string, func(string) jwttest.Object) string { return "x" },
	}
	var first answer
	for name, token := range tokens {
		for surface, f := range map[string]form{
			"assertion": credentials(token("", assertionClaims)),
			"exchange": exchange(token(jwt.TypeVaultSubject, func(c string) jwttest.Object { return subjectClaims(c, string(w.ada.ID)) }), "").
				with("client_assertion", "", "client_assertion_type", ""),
		} {
			a := w.send(f)
			a.header.Del("Date")
			if first.status == 0 {
				first = a
			}
			if a.status != 401 || a.body != first.body || cmp.Diff(first.header, a.header) != "" {
				t.Errorf("%s, %s: %d %v %s\nwant %d %v %s", name, surface, a.status, a.header, a.body, first.status, first.header, first.body)
			}
		}
	}
	if first.TokenError.Error != "invalid_client" || first.Reason != "" {
		t.Errorf("the uniform answer is %s", first.body)
	}
}

// After the signature the reason is precise.
func TestClientCredentialsRefused(t *testing.T) {
	w := newWorld(t)
	sign := func(pairs ...any) string { return w.one.Assertion(assertionClaims("agent-1").With(pairs...)) }
	now := time.Now().Unix()
	for _, tt := range []struct {
		name         string
		form         form
		status       int
		code, reason string
	}{
		{"no assertion", credentials(""), 401, "invalid_client", "missing_client_assertion"},
		{"no type", credentials(sign()).with("client_assertion_type", ""), 400, "invalid_request", "bad_client_assertion_type"},
		{"SAML", credentials(sign()).with("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 400, "invalid_request", "bad_client_assertion_type"},
		{"a secret", credentials("").with("client_id", "agent-1", "client_secret", "s3cret"), 401, "invalid_client", "client_secret"},
		{"two ways", credentials(sign()).with("client_secret", "s3cret"), 401, "invalid_client", "client_secret"},
		{"another client id", credentials(sign()).with("client_id", "agent-2"), 401, "invalid_client", "client_mismatch"},
		{"no jti", credentials(sign("jti", nil)), 401, "invalid_client", "missing_jti"},
		{"no exp", credentials(sign("exp", nil)), 401, "invalid_client", "missing_exp"},
		{"too long", credentials(sign("exp", now+400)), 401, "invalid_client", "lifetime_too_long"},
		{"expired", credentials(sign("iat", now-100, "exp", now-40)), 401, "invalid_client", "expired"},
		{"for the endpoint", credentials(sign("aud", issuer+"oauth/token")), 401, "invalid_client", "wrong_audience"},
		{"without the slash", credentials(sign("aud", strings.TrimSuffix(issuer, "/"))), 401, "invalid_client", "wrong_audience"},
		{"for a user", credentials(sign("sub", string(w.ada.ID))), 401, "invalid_client", "wrong_subject"},
		{"a subject token", credentials(w.one.Subject(assertionClaims("agent-1"))), 401, "invalid_client", "wrong_typ"},
		{"for another API", credentials(sign()).with("audience", "https://api.example.com/"), 400, "invalid_target", "invalid_target"},
		{"for a longer host", credentials(sign()).with("resource", "https://vault.test.evil.test/"), 400, "invalid_target", "invalid_target"},
	} {
		a := w.wantRefused(tt.name, "token.refused", func() answer { return w.send(tt.form) }, tt.status, tt.code, tt.reason)
		if anonymous := strings.HasPrefix(tt.reason, "missing_client") || strings.HasPrefix(tt.reason, "bad_") || tt.reason == "client_secret"; anonymous == (a.Reason != "") {
			t.Errorf("%s: reason %q on the wire", tt.name, a.Reason)
		}
	}
	req := must[*http.Request](t)(http.NewRequestWithContext(w.ctx, "POST", w.server.URL+"/oauth/token", strings.NewReader(credentials(sign()).encode())))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("agent%2D1", "secret")
	w.wantRefused("basic", "token.refused", func() answer { return w.do(req) }, 401, "invalid_client", "client_secret")

	w.far.Store(true)
	a := w.wantRefused("elsewhere", "token.refused", func() answer { return w.send(credentials(sign())) }, 403, "access_denied", "source_not_allowed")
	if !strings.Contains(a.Description, "192.0.2.9") || !strings.Contains(a.Description, "valetkey agent allow agent-1") {
		t.Errorf("the refusal does not say what to do: %s", a.body)
	}
	w.far.Store(false)
	if err := w.agents.SetStatus(w.ctx, w.one.ID, agent.Suspended, w.log(w.ada)); err != nil {
		t.Fatal(err)
	}
	w.wantRefused("suspended", "token.refused", func() answer { return w.send(credentials(sign())) }, 401, "invalid_client", "agent_suspended")
}

func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	w.two.Private = jwttest.New(t, jwt.ES256, "x").Private // a key that is registered for nobody
	formType, jsonType := "application/x-www-form-urlencoded", "application/json"
	for _, kind := range []string{formType, formType + ";charset=UTF-8", jsonType, jsonType + "; charset=utf-8"} {
		f := credentials(w.one.Assertion(assertionClaims("agent-1"))).with(
			"client_id", string(w.one.ID), "audience", issuer+"api/v2/", "scope", "read:users", "client_credential_id", "cred_1", "login_hint", "")
		body := f.encode() + "&unheard_of=1&empty="
		if strings.HasPrefix(kind, jsonType) {
			body = strings.TrimSuffix(f.json(t), "}") + `,"unheard_of":{"deep":[1,{"x":null}]},"empty":null,"resource":null}`
		}
		since := w.mark()
		a := w.post("/oauth/token", kind, body)
		if a.status != 200 || a.TokenType != "Bearer" || a.ExpiresIn != int64(agent.TokenTTL.Seconds()) || a.IssuedTokenType != "" {
			t.Fatalf("%s: %d %s", kind, a.status, a.body)
		}
		if !strings.Contains(a.body, `"scope":""`) {
			t.Errorf("scope is not a string: %s", a.body)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", a.header)
		}
		c, err := w.agents.Bearer(w.ctx, secret.New(a.AccessToken), w.one.Sources[0].Addr(), time.Now())
		if err != nil || c.Agent != w.one.ID || c.Key != w.one.key.ID {
			t.Errorf("the token is %v's: %v", c.Agent, err)
		}
		if events := w.events(since); len(events) != 1 || events[0].Verb != "token.issued" || events[0].Actor != "agent:"+string(w.one.ID) {
			t.Errorf("recorded as %v", events)
		}
	}
	// §11.8: without kid each key of that client is tried, and no other's.
	claims := assertionClaims("agent-1")
	if a := w.send(credentials(jwttest.Compact(`{"alg":"ES256"}`, claims.JSON(), w.one.Sign))); a.status != 200 {
		t.Errorf("without kid: %d %s", a.status, a.body)
	}
	if a := w.send(credentials(jwttest.Compact(`{"alg":"ES256"}`, assertionClaims("agent-1").JSON(), w.two.Sign))); a.status != 401 {
		t.Errorf("another's key without kid: %d %s", a.status, a.body)
	}
	// Three ways to spell typ that the rules allow.
	for _, typ := range []string{"", "JWT", api.TypeAssertion} {
		if a := w.send(credentials(jwttest.Compact(w.one.Header(typ).JSON(), assertionClaims("agent-1").JSON(), w.one.Sign))); a.status != 200 {
			t.Errorf("typ %q: %d %s", typ, a.status, a.body)
		}
	}
}

// One signature is good for one thing, whatever order requests come in (M-06).
func TestOneUse(t *testing.T) {
	w := newWorld(t)
	forms := map[string]form{"token": credentials(w.one.Assertion(assertionClaims("agent-1"))), "exchange": w.ask(w.one)}
	for name, n := range map[string]int{"token": 200, "exchange": 1000} {
		f := forms[name]
		since := w.mark()
		var mu sync.Mutex
		var group sync.WaitGroup
		got := map[string]int{}
		slots := make(chan struct{}, 64)
		for range n {
			group.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				a := w.send(f)
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprint(a.status, " ", a.TokenError.Error, " ", a.Reason)]++
			})
		}
		group.Wait()
		want := map[string]int{"200  ": 1, "401 invalid_client replayed": n - 1}
		if name == "exchange" {
			want = map[string]int{"200  ": 1, "400 invalid_request replayed": n - 1}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		refused, done := 0, 0
		for _, e := range w.events(since) {
			switch e.Verb {
			case name + ".refused":
				refused++
			case "token.issued", "token.vended":
				done++
			}
		}
		if refused != n-1 || done != 1 {
			t.Errorf("%s: %d refusals and %d successes in the log", name, refused, done)
		}
	}
}

// What was used stays used after a stop; another agent's jti is its own.
func TestOneUseKeeps(t *testing.T) {
	w := newWorld(t)
	claims := assertionClaims("agent-1")
	f := credentials(w.one.Assertion(claims))
	if a := w.send(f); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.restart()
	if a := w.send(f); a.Reason != "replayed" {
		t.Errorf("after a restart: %d %s", a.status, a.body)
	}
	other := assertionClaims("agent-2").With("jti", claims["jti"])
	if a := w.send(credentials(w.two.Assertion(other))); a.status != 200 {
		t.Errorf("the same jti of another agent: %d %s", a.status, a.body)
	}
	// A refusal uses a signature up as well: replay-failed-first.
	g := credentials(w.one.Assertion(assertionClaims("agent-1")))
	if a := w.send(g.with("audience", "https://elsewhere.test/")); a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.send(g); a.Reason != "replayed" {
		t.Errorf("after a refusal: %d %s", a.status, a.body)
	}
}

// What cannot be recorded does not happen, and its cause is not for callers.
func TestNoRecordNoToken(t *testing.T) {
	w := newWorld(t)
	forms := func() map[string]form {
		return map[string]form{
			"token": credentials(w.one.Assertion(assertionClaims("agent-1"))), "exchange": w.ask(w.one),
			"refused": credentials(w.one.Assertion(assertionClaims("agent-1").With("jti", nil))),
		}
	}
	for _, f := range forms() {
		w.send(f) // the agent is known and cached
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	calls := len(w.sandbox.Ledger())
	for name, f := range forms() {
		a := w.send(f)
		t.Logf("%s: %d %s", name, a.status, a.body)
		switch {
		case a.status == 503 && a.TokenError.Error == "temporarily_unavailable" && a.header.Get("Retry-After") != "":
		case a.status == 500 && a.TokenError.Error == "server_error" && name == "exchange": // reading failed before recording could
		default:
			t.Errorf("%s without a database: %d %s", name, a.status, a.body)
		}
		if strings.Contains(a.body, "sql") || strings.Contains(a.body, "closed") {
			t.Errorf("%s: the answer tells the cause: %s", name, a.body)
		}
	}
	if n := len(w.sandbox.Ledger()); n != calls {
		t.Errorf("%d calls upstream", n-calls)
	}
}
