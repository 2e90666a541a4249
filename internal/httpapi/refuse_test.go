package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/user"
)

// bombs are the generators of json_bombs.json that this API can meet, each by
// its id. The numbers are those of the corpus, cut where the limit of a body is
// reached long before.
func bombs() map[string][]string {
	var wide, case1 strings.Builder
	wide.WriteString(`{"params":{`)
	for i := range 60_000 {
		fmt.Fprintf(&wide, `"k%d":0,`, i)
	}
	wide.WriteString(`"k":0}}`)
	fmt.Fprintf(&case1, `{"connection":"github","Connection":"other","method":"GET","path":"/user"}`)
	in := func(v string) string {
		return `{"connection":"github","method":"POST","path":"/repos/octo/api/issues","body_json":` + v + `}`
	}
	deep := func(n int) string { return in(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	return map[string][]string{
		"depth-array":    {deep(100), deep(1000), deep(10_000), deep(100_000), deep(1_000_000)},
		"depth-object":   {in(strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)), in(strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000))},
		"depth-unclosed": {strings.Repeat("[", 100_000), `{"params":` + strings.Repeat("[", 1_000_000)},
		"wide-object":    {wide.String()},
		"wide-array":     {in("[" + strings.Repeat("0,", 900_000) + "0]"), in("[" + strings.Repeat("0,", 10_000_000) + "0]")},
		"case-keys":      {case1.String(), in(`{"amount":1,"Amount":9999}`), `{"Connection":"github","method":"GET","path":"/user"}`},
		"nul-key":        {`{"connection\u0000":"github"}`, in(`{"id\u0000":1}`)},
		"long-key":       {`{"` + strings.Repeat("k", 10<<20) + `":1}`, `{"` + strings.Repeat("k", 1800<<10) + `":1}`},
		"bignum-exp":     {in("1e999999999"), `{"connection":"github","operation":"github.issues.list","params":{"page":1e999999999}}`},
		"float-precision": {in("9007199254740993"),
			`{"connection":"github","operation":"github.issues.get","params":{"owner":"octo","repo":"api","number":9007199254740993}}`},
		"lone-surrogate": {in(`"\ud800"`), `{"connection":"\udc00"}`},
		"bom":            {"\ufeff" + `{"connection":"github"}`},
		"utf16":          {"\xff\xfe{\x00}\x00", "{\x00\"\x00c\x00\"\x00", "\x00\x00\x00{"},
		"trailing":       {`{}{}`, `{"connection":"github","method":"GET","path":"/user"} garbage`, `{"connection":"github","method":"GET","path":"/user"}]`},
		"unicode-expand": {`{"connection":"` + strings.Repeat("\ufdfa", 1_000_000) + `"}`},
	}
}

// elsewhere are the cases of the corpus that do not reach this API as JSON, and
// where they are met.
var elsewhere = map[string]string{
	"neg-zero":        "one canonical form is rendered by package provider; TestNegativeZero",
	"proto":           "a browser's matter: package dash",
	"multipart-1e5":   "TestContentTypes",
	"form-1e6-fields": "TestContentTypes; the token endpoint is package oauth's",
	"form-semicolon":  "TestContentTypes; the token endpoint is package oauth's",
	"yaml-alias":      "package config",
	"regex-redos":     "RE2: package policy",
	"cel-bomb":        "package policy",
	"zip-slip":        "there is no restore command",
}

func TestJSONBombs(t *testing.T) {
	raw, err := os.ReadFile("testdata/json_bombs.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus []struct{ ID string }
	if err := json.Unmarshal(raw, &corpus); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t).furnish()
	known := bombs()
	for _, c := range corpus {
		bodies, ok := known[c.ID]
		if _, other := elsewhere[c.ID]; !ok && !other {
			t.Errorf("case %s is not met anywhere", c.ID)
		}
		for i, body := range bodies {
			before, calls := w.size(), len(w.Sandbox.Ledger())
			began := time.Now()
			a := w.raw(w.request(w.agent(), "POST", "/v1/actions", body), w.agent())
			if p := a.problem(t); p.Status != 400 && p.Status != 413 {
				t.Errorf("%s/%d: %+v", c.ID, i, p)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s/%d took %v", c.ID, i, took)
			}
			if got := w.refusals(before); got != 1 {
				t.Errorf("%s/%d was recorded %d times", c.ID, i, got)
			}
			if len(w.Sandbox.Ledger()) != calls {
				t.Errorf("%s/%d reached the upstream", c.ID, i)
			}
		}
	}
}

func (w *world) refusals(from int64) int {
	n := 0
	for _, e := range w.events(from) {
		if strings.HasSuffix(e.Verb, ".refused") {
			n++
		}
	}
	return n
}

// However a zero is written, it is refused or becomes the one plain zero: never
// another digest for what a reader takes for the same.
func TestNegativeZero(t *testing.T) {
	w := newWorld(t).furnish()
	for _, zero := range []string{"-0", "-0.0", "0e0"} {
		before := len(w.Sandbox.Ledger())
		body := `{"connection":"github","operation":"github.issues.get","params":{"owner":"octo","repo":"api","number":` + zero + `}}`
		a := w.raw(w.request(w.agent(), "POST", "/v1/actions", body), w.agent())
		calls := w.Sandbox.Ledger()[before:]
		if a.status == 400 && len(calls) == 0 {
			continue
		}
		if a.status != 200 || len(calls) != 1 || calls[0].Path != "/repos/octo/api/issues/0" {
			t.Errorf("%s: %d, %+v", zero, a.status, calls)
		}
	}
}

// What the body may be.
func TestBodies(t *testing.T) {
	w := newWorld(t).furnish()
	owner := w.browser(w.person("olga", user.Owner))
	big := bytes.Repeat([]byte("a"), 1<<20)
	for name, c := range map[string]struct {
		by           who
		method, path string
		body         any
		status       int
		reason       string
	}{
		"unknown member":         {w.agent(), "POST", "/v1/actions", `{"connection":"github","method":"GET","path":"/user","nonsense":1}`, 400, "unknown_member"},
		"unknown nested member":  {w.agent(), "POST", "/v1/actions", `{"connection":"github","amount":{"kind":"value","number":"1","currency":"EUR","Kind2":1}}`, 400, "unknown_member"},
		"other case":             {w.agent(), "POST", "/v1/actions", `{"CONNECTION":"github"}`, 400, "unknown_member"},
		"other case, nested":     {w.agent(), "POST", "/v1/actions", `{"connection":"github","amount":{"Kind":"value"}}`, 400, "unknown_member"},
		"duplicate":              {w.agent(), "POST", "/v1/actions", `{"connection":"github","connection":"x"}`, 400, "bad_json"},
		"array":                  {w.agent(), "POST", "/v1/actions", `[]`, 400, "bad_json"},
		"null":                   {w.agent(), "POST", "/v1/actions", `null`, 400, "bad_json"},
		"empty":                  {w.agent(), "POST", "/v1/actions", ``, 400, "bad_json"},
		"wrong type":             {w.agent(), "POST", "/v1/actions", `{"connection":7}`, 400, "bad_member"},
		"bad base64":             {w.agent(), "POST", "/v1/actions", `{"connection":"github","body":"%%"}`, 400, "bad_member"},
		"two bodies":             {w.agent(), "POST", "/v1/actions", api.ActionRequest{Connection: "github", Method: "POST", Path: "/x", BodyText: "a", Body: []byte("b")}, 400, "bad_action"},
		"body over a MiB":        {w.agent(), "POST", "/v1/actions", api.ActionRequest{Connection: "github", Method: "POST", Path: "/repos/octo/api/issues", Body: append(big, 'a')}, 413, "body_too_large"},
		"two and a half MiB":     {w.agent(), "POST", "/v1/actions", `{"connection":"` + strings.Repeat("x", 5<<19) + `"}`, 413, "body_too_large"},
		"amount":                 {w.agent(), "POST", "/v1/actions", api.ActionRequest{Connection: "github", Method: "GET", Path: "/user", Amount: &api.Amount{Kind: "value", Number: "1e9", Currency: "EUR"}}, 400, "bad_amount"},
		"path without a slash":   {w.agent(), "POST", "/v1/actions", api.ActionRequest{Connection: "github", Method: "GET", Path: "https://evil.test/user"}, 400, "bad_action"},
		"foreign base":           {w.agent(), "POST", "/v1/actions", api.ActionRequest{Connection: "github", Method: "GET", Base: "https://evil.test", Path: "/user"}, 400, ""},
		"body where none is":     {w.agent(), "POST", "/v1/actions/act_x/cancel", `{}`, 400, "unexpected_body"},
		"body of a GET":          {w.agent(), "GET", "/v1/connections", `{}`, 400, "unexpected_body"},
		"admin, unknown member":  {owner, "POST", "/v1/admin/agents", `{"name":"a","key":"k","admin":true}`, 400, "unknown_member"},
		"admin, over a MiB":      {owner, "PUT", "/v1/admin/policies/x", api.PolicyRequest{Text: string(append(big, 'a'))}, 413, "body_too_large"},
		"admin, over 256 KiB":    {owner, "PUT", "/v1/admin/policies/x", api.PolicyRequest{Text: string(big[:300<<10])}, 400, "bad_json"},
		"private key":            {owner, "POST", "/v1/admin/agents", api.AgentRequest{Name: "a", Key: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"}, 400, ""},
		"two changes at once":    {owner, "PATCH", "/v1/admin/agents/triage", api.AgentChange{Status: "suspended", Profile: "strict"}, 400, "one_change"},
		"no change":              {owner, "PATCH", "/v1/admin/agents/triage", api.AgentChange{}, 400, "one_change"},
		"unknown parameter":      {w.agent(), "GET", "/v1/actions?stat=open", nil, 400, "unknown_parameter"},
		"parameter in caps":      {w.agent(), "GET", "/v1/actions?Limit=1", nil, 400, "unknown_parameter"},
		"parameter twice":        {w.agent(), "GET", "/v1/actions?limit=1&limit=2", nil, 400, "repeated_parameter"},
		"parameter by semicolon": {w.agent(), "GET", "/v1/actions?limit=1;limit=2", nil, 400, "bad_parameter"},
		"bad escape":             {w.agent(), "GET", "/v1/actions?limit=%zz", nil, 400, "bad_parameter"},
		"NUL in a parameter":     {w.agent(), "GET", "/v1/operations?connection=%00", nil, 400, "bad_parameter"},
		"wait too long":          {w.agent(), "GET", "/v1/actions/" + string("act_01jd0000000000000000000000") + "?wait=61", nil, 400, "bad_parameter"},
		"wait with a plus":       {w.agent(), "GET", "/v1/actions/" + string("act_01jd0000000000000000000000") + "?wait=%2B1", nil, 400, "bad_parameter"},
		"bad stream":             {w.agent(), "POST", "/v1/actions?stream=yes", listIssues, 400, "bad_parameter"},
		"bad status":             {owner, "GET", "/v1/approvals?status=OPEN", nil, 400, "bad_parameter"},
		"bad cursor":             {owner, "GET", "/v1/approvals?cursor=-1", nil, 400, "bad_parameter"},
		"bad limit":              {owner, "GET", "/v1/admin/events?limit=1001", nil, 400, "bad_parameter"},
		"bad effect":             {owner, "POST", "/v1/approvals/apr_x/decision", api.Decision{Decision: "approve", Effect: "00"}, 404, "action_not_found"},
		"bad policy name":        {owner, "PUT", "/v1/admin/policies/%3Cscript%3E", api.PolicyRequest{Text: permitAll}, 400, "bad_name"},
		"bad policy":             {owner, "PUT", "/v1/admin/policies/x", api.PolicyRequest{Text: "permit"}, 400, ""},
		"bad provider name":      {owner, "PUT", "/v1/admin/providers/%2e%2e%5c", api.ProviderRequest{Spec: "github"}, 400, "bad_provider"},
		"prove without a number": {owner, "GET", "/v1/admin/audit/prove", nil, 400, "missing_parameter"},
		"no such event":          {owner, "GET", "/v1/admin/audit/prove?seq=1000000", nil, 404, "event_not_found"},
	} {
		before := w.size()
		p := w.raw(w.request(c.by, c.method, c.path, c.body), c.by).problem(t)
		if p.Status != c.status || c.reason != "" && p.Reason != c.reason {
			t.Errorf("%s: %d %s (%s), want %d %s", name, p.Status, p.Reason, p.Detail, c.status, c.reason)
		}
		if got := w.refusals(before); got != 1 {
			t.Errorf("%s was recorded %d times", name, got)
		}
	}
	if n := len(w.Sandbox.Ledger()); n > 10 {
		t.Errorf("%d calls upstream, which is more than connecting takes", n)
	}
	// The largest body there is, in each of its forms.
	raw := api.ActionRequest{Connection: "github", Method: "PUT", Path: "/repos/octo/api/contents/x", Body: big}
	if a := w.send(w.agent(), "POST", "/v1/actions", raw); a.status != 202 && a.problem(t).Reason == "body_too_large" {
		t.Errorf("a body of 1 MiB: %d %.200s", a.status, a.body)
	}
}

func TestContentTypes(t *testing.T) {
	w := newWorld(t).furnish()
	body := `{"connection":"github","operation":"github.issues.list","params":{"owner":"octo","repo":"api"}}`
	for contentType, want := range map[string]int{
		"application/json":                         200,
		"application/json; charset=utf-8":          200,
		"":                                         415,
		"application/json; charset=utf-16":         415,
		"application/json; boundary=x":             415,
		"application/jsonx":                        415,
		"text/json":                                415,
		"text/plain":                               415,
		"application/x-www-form-urlencoded":        415,
		"multipart/form-data; boundary=x":          415,
		"application/json, application/json":       415,
		"application/problem+json":                 415,
		"application/json; charset=utf-8; charset": 415,
	} {
		req := w.request(w.agent(), "POST", "/v1/actions", body)
		req.Header.Set("Content-Type", contentType)
		if contentType == "" {
			req.Header.Del("Content-Type")
		}
		if a := w.raw(req, w.agent()); a.status != want {
			t.Errorf("%q: %d %.200s", contentType, a.status, a.body)
		}
	}
	twice := w.request(w.agent(), "POST", "/v1/actions", body)
	twice.Header["Content-Type"] = []string{"application/json", "application/json"}
	if p := w.raw(twice, w.agent()).problem(t); p.Reason != "repeated_header" {
		t.Errorf("two content types: %+v", p)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	req := w.request(w.agent(), "POST", "/v1/actions", packed.String())
	req.Header.Set("Content-Encoding", "gzip")
	if a := w.raw(req, w.agent()); a.status != 415 {
		t.Errorf("a compressed body: %d", a.status)
	}
}

// Each way to be nobody, or somebody else, is refused, and none falls back to
// another.
func TestCredentials(t *testing.T) {
	w := newWorld(t).furnish()
	browser, cli := w.browser(w.mira), w.commandLine(w.mira)
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
		reason string
	}{
		"nothing":        {"/v1/me", func(*http.Request) {}, 401, "authentication_required"},
		"unknown bearer": {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer vks_"+strings.Repeat("x", 43)) }, 401, "login_required"},
		"unknown agent":  {"/v1/actions", func(r *http.Request) { r.Header.Set("Authorization", "Bearer vka_"+strings.Repeat("x", 43)) }, 401, "invalid_token"},
		"no kind":        {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 43)) }, 401, "invalid_token"},
		"basic":          {"/v1/me", func(r *http.Request) { r.SetBasicAuth("mira", cli.bearer) }, 401, "invalid_token"},
		"bearer in vain": {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer") }, 401, "invalid_token"},
		"huge bearer":    {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer vks_"+strings.Repeat("x", 9000)) }, 401, "invalid_token"},
		"two bearers": {"/v1/me", func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + cli.bearer, "Bearer " + cli.bearer}
		}, 400, "repeated_header"},
		"cookie as a bearer":  {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+browser.cookie) }, 401, "login_required"},
		"bearer as a cookie":  {"/v1/me", cookie(cli.bearer, w.host), 401, "login_required"},
		"bearer in the query": {"/v1/me?access_token=" + cli.bearer, func(*http.Request) {}, 401, "authentication_required"},
		"bad bearer, good cookie": {"/v1/me", func(r *http.Request) {
			cookie(browser.cookie, w.host)(r)
			r.Header.Set("Authorization", "Bearer vks_"+strings.Repeat("x", 43))
		}, 401, "login_required"},
		"two cookies": {"/v1/me", func(r *http.Request) {
			cookie(browser.cookie, w.host)(r)
			cookie(browser.cookie, w.host)(r)
		}, 400, "repeated_header"},
		"cookie at another name": {"/v1/me", cookie(browser.cookie, "evil.test"), 403, "cross_site"},
		"agent for a person":     {"/v1/me", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.token) }, 403, "agent_not_allowed"},
		"person for an agent":    {"/v1/actions", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+cli.bearer) }, 403, "person_not_allowed"},
		"the proxy's word": {"/v1/me", func(r *http.Request) {
			r.Header.Set("X-Forwarded-User", "mira")
			r.Header["X_Forwarded_User"] = []string{"mira"}
			r.Header.Set("Remote-User", "mira")
		}, 401, "authentication_required"},
	} {
		req := w.request(who{}, "GET", c.path, nil)
		c.change(req)
		a := w.raw(req, who{})
		p := a.problem(t)
		if p.Status != c.status || p.Reason != c.reason {
			t.Errorf("%s: %d %s, want %d %s", name, p.Status, p.Reason, c.status, c.reason)
		}
		if challenge := a.header.Get("WWW-Authenticate"); (p.Status == 401) != strings.HasPrefix(challenge, "Bearer ") {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
	for name, by := range map[string]who{"cookie": browser, "command line": cli} {
		if me := into[api.Me](t, w.send(by, "GET", "/v1/me", nil)); me.User == nil || me.User.Name != "mira" {
			t.Errorf("%s: %+v", name, me)
		}
	}
}

func cookie(value, host string) func(*http.Request) {
	return func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: value})
		r.Host = host
	}
}

// A page of another site changes nothing with our visitor's cookie, and gets
// no leave from a preflight.
func TestCrossSite(t *testing.T) {
	w := newWorld(t).furnish()
	browser := w.browser(w.mira)
	for name, set := range map[string][2]string{
		"origin": {"Origin", "https://evil.test"}, "null origin": {"Origin", "null"}, "fetch metadata": {"Sec-Fetch-Site", "cross-site"},
		"same site": {"Sec-Fetch-Site", "same-site"},
	} {
		req := w.request(browser, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage"})
		req.Header.Set(set[0], set[1])
		if p := w.raw(req, browser).problem(t); p.Reason != "cross_site" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	pre := w.request(browser, "OPTIONS", "/v1/admin/freezes", nil)
	pre.Header.Set("Origin", "https://evil.test")
	pre.Header.Set("Access-Control-Request-Method", "POST")
	if a := w.raw(pre, browser); a.status != 405 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	if n := len(w.App.Freezes.Active()); n != 0 {
		t.Fatalf("%d freezes", n)
	}
	own := w.request(browser, "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage"})
	own.Header.Set("Origin", "http://"+w.host)
	own.Header.Set("Sec-Fetch-Site", "same-origin")
	if a := w.raw(own, browser); a.status != 201 {
		t.Errorf("our own page: %d %.200s", a.status, a.body)
	}
}

// Addresses and methods that are confused with ours are nobody's.
func TestRouteConfusion(t *testing.T) {
	w := newWorld(t).furnish()
	owner := w.browser(w.person("olga", user.Owner))
	held := w.freshHeld()
	for _, c := range []struct {
		method, path string
		header       [2]string
		status       int
	}{
		{"GET", "/v1/approvals/" + held.Approval.ID + "/decision", [2]string{}, 405},
		{"GET", "/v1/admin/freezes/frz_x", [2]string{}, 405},
		{"HEAD", "/v1/approvals", [2]string{}, 405},
		{"TRACE", "/v1/approvals", [2]string{}, 405},
		{"OPTIONS", "/v1/approvals", [2]string{}, 405},
		{"POST", "/v1/approvals/" + held.Approval.ID, [2]string{}, 405},
		{"GET", "/v1/admin/agents/triage", [2]string{"X-HTTP-Method-Override", "DELETE"}, 200},
		{"GET", "/v1/APPROVALS/" + held.Approval.ID, [2]string{}, 404},
		{"GET", "/V1/approvals", [2]string{}, 404},
		{"GET", "/v1/approvals.json", [2]string{}, 404},
		{"GET", "/v1/approvals/" + held.Approval.ID + ".json", [2]string{}, 404},
		{"GET", "/v1/approvals/", [2]string{}, 404},
		{"GET", "//v1/approvals", [2]string{}, 404},
		{"GET", "/v1/./approvals", [2]string{}, 404},
		{"GET", "/v1/x/../approvals", [2]string{}, 404},
		{"GET", "/v1/x/%2e%2e/approvals", [2]string{}, 404},
		{"GET", "/v1/approvals%2f" + held.Approval.ID, [2]string{}, 404},
		{"GET", "/", [2]string{}, 404},
		{"GET", "/v2/approvals", [2]string{}, 404},
		{"GET", "/healthz", [2]string{"X-Original-URL", "/v1/admin/users"}, 200},
		{"GET", "/v1/me", [2]string{"X-Forwarded-Uri", "/healthz"}, 200},
		{"GET", "/v1/me", [2]string{"Forwarded", "host=evil.test"}, 200},
	} {
		req := w.request(owner, c.method, c.path, nil)
		if c.header[0] != "" {
			req.Header.Set(c.header[0], c.header[1])
		}
		if a := w.raw(req, owner); a.status != c.status {
			t.Errorf("%s %s %v: %d %.200s", c.method, c.path, c.header, a.status, a.body)
		} else if a.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if got := into[api.Approval](t, w.send(owner, "GET", "/v1/approvals/"+held.Approval.ID, nil)); got.Status != api.ApprovalOpen {
		t.Errorf("the approval is %s", got.Status)
	}
}

// Whatever fetches a link to an approval, and whoever's credential it has, the
// approval stays as it is.
func TestPrefetchers(t *testing.T) {
	raw, err := os.ReadFile("testdata/http_abuse.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus []struct{ ID, Description string }
	if err := json.Unmarshal(raw, &corpus); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t).furnish()
	held := w.freshHeld()
	browser := w.browser(w.mira)
	n := 0
	for _, c := range corpus {
		if !strings.HasPrefix(c.ID, "http-prefetch-") {
			continue
		}
		n++
		_, agent, _ := strings.Cut(c.Description, " link by ")
		for _, by := range []who{{}, browser} {
			for _, method := range []string{"GET", "HEAD"} {
				for _, path := range []string{"/v1/approvals/" + held.Approval.ID, "/v1/approvals/" + held.Approval.ID + "/decision"} {
					req := w.request(by, method, path, nil)
					req.Header.Set("User-Agent", agent)
					req.Header.Set("Sec-Purpose", "prefetch;prerender")
					req.Header.Set("X-Moz", "prefetch")
					if a := w.raw(req, by); by == (who{}) && a.status != 401 && a.status != 405 {
						t.Errorf("%s: %s %s: %d", c.ID, method, path, a.status)
					}
				}
			}
		}
	}
	if n < 8 {
		t.Fatalf("%d prefetchers in the corpus", n)
	}
	if got := into[api.Action](t, w.send(w.agent(), "GET", "/v1/actions/"+held.ID, nil)); got.State != api.StatePending {
		t.Errorf("the action is %s", got.State)
	}
}

// Refusals of nobody known are recorded one by one up to a rate, so that nobody
// fills the log.
func TestUnknownRefusals(t *testing.T) {
	w := newWorld(t)
	before := w.size()
	for range 60 {
		w.send(who{}, "GET", "/v1/me", nil)
	}
	if n := w.refusals(before); n < 10 || n > 40 {
		t.Errorf("60 refusals within a moment became %d events", n)
	}
}

// An error of ours shows nothing of itself.
func TestInternalErrorsStayInside(t *testing.T) {
	w := newWorld(t).furnish()
	owner := w.browser(w.person("olga", user.Owner))
	if err := w.App.DB.Close(); err != nil {
		t.Fatal(err)
	}
	for _, by := range []who{w.agent(), owner} {
		a := w.raw(w.request(by, "GET", "/v1/connections", nil), by)
		p := a.problem(t)
		if p.Status != 500 && p.Status != 503 || strings.Contains(strings.ToLower(string(a.body)), "sql") {
			t.Errorf("%d %.300s", a.status, a.body)
		}
	}
	if a := w.send(who{}, "GET", "/readyz", nil); a.status != 503 || a.header.Get("Content-Type") != api.MediaJSON {
		t.Errorf("ready without a database: %d", a.status)
	}
}
