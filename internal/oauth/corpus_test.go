package oauth_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

const (
	onExchange  = "token_exchange"
	onAssertion = "client_assertion"
)

// notHere are the cases that the token endpoint cannot judge by one request,
// and where they are judged.
var notHere = map[string]string{
	"replay-parallel":     "TestOneUse of this package, with one replica",
	"replay-restart":      "TestOneUseKeeps of this package, by an orderly stop; a kill needs the binary",
	"replay-failed-first": "TestOneUseKeeps of this package: a refusal uses the signature up",
	"jti-across-agents":   "TestOneUseKeeps of this package",
	"form-query-body":     "TestRequestRefused of this package",
	"form-json-body":      "every test of this package that sends both",
	"skew-boundaries":     "package jwt, with the clock as an argument",
	"sig-small-rsa":       "registration of keys: package jwt",
	"sig-roca":            "registration of keys: package jwt",
	"sig-private-upload":  "registration of keys: package jwt",
	"jwks-dup-kid":        "registration of keys: package agent",
	"jwks-oct":            "registration of keys: package jwt",
	"jwks-use-enc":        "registration of keys: package jwt",
	"jwks-flood-kid":      "nothing here fetches key sets",
	"dpop-htm":            "no token is bound by DPoP",
	"dpop-htu-case":       "no token is bound by DPoP",
	"dpop-jkt":            "no token is bound by DPoP",
	"dpop-nonce":          "no token is bound by DPoP",
	"dpop-replay":         "no token is bound by DPoP",
	"dpop-downgrade":      "no token is bound by DPoP",
	"timing-sig":          "needs a quiet machine: package jwt has the costs",
}

// otherwise are cases whose code of error is not among those that the corpus
// lists, because the SDKs expect another (auth0-wire.md §11.18).
var otherwise = map[string]string{
	"sub-other-user@" + onExchange:   notFound,
	"sub-other-tenant@" + onExchange: notFound,
}

// recordedAs are the reasons that a class of cases may have in the log, so that
// no case is refused by accident. A case of its own goes before its class.
var recordedAs = map[string][]string{
	"alg":       {"invalid_client"},
	"signature": {"invalid_client"},
	"kid":       {"invalid_client"},
	"typ":       {jwt.ReasonWrongType},
	"audience":  {jwt.ReasonWrongAudience},
	"issuer":    {"invalid_client"},
	"subject":   {jwt.ReasonMalformedClaim, jwt.ReasonActorClaim, jwt.ReasonWrongSubject, "connection_not_found"},
	"time":      {jwt.ReasonMalformedClaim, jwt.ReasonNotYetValid, jwt.ReasonExpiresBeforeIssue},
	"replay":    {jwt.ReasonMissingID, jwt.ReasonMalformedClaim},
	"encoding":  {"invalid_client"},

	"kind-idtoken-as-exchange":    {"invalid_client"},
	"kind-mcp-access-as-exchange": {"invalid_client"},
	"kind-session-as-exchange":    {"invalid_client"},
	"replay-case":                 {"invalid_client"},
	"iss-disabled":                {"agent_suspended"},
	"json-case-members":           {"invalid_client"}, // the issuer cannot be read without choosing a parser
	"json-nul-member":             {"invalid_client"},
	"nested-jwt":                  {"invalid_client", jwt.ReasonMalformedPayload},
	"jti-long":                    {"body_too_large"},
	"json-deep":                   {"body_too_large"},
	"json-bignum":                 {"body_too_large"},
	"dots-million":                {"body_too_large"},
	"token-10mb":                  {"body_too_large"},
}

type attack struct {
	ID, Class, Expect string
	Mutation          map[string]any
	Surfaces          []string
	ErrorAnyOf        []string `json:"error_any_of"`
}

func loadAttacks(t *testing.T) []attack {
	t.Helper()
	var file struct{ Cases []attack }
	dec := json.NewDecoder(bytes.NewReader(must[[]byte](t)(os.ReadFile("testdata/jwt_attacks.json"))))
	dec.UseNumber()
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// forger makes the tokens of the corpus for the agents of a world.
type forger struct {
	*world
	rsa      jwttest.Pair // agent-1's other key
	attacker jwttest.Pair
}

// TestCorpus sends every case of the corpus to the token endpoint, as a client
// assertion and as a subject token beside a good assertion, and holds each to
// the invariants of the corpus.
func TestCorpus(t *testing.T) {
	w := newWorld(t)
	f := &forger{w, jwttest.New(t, jwt.RS256, "agent-1-rsa"), jwttest.New(t, jwt.ES256, "agent-1-k1")}
	if _, err := w.agents.AddKey(w.ctx, w.one.Agent, f.rsa.JWK(t), "", time.Now(), w.log(w.ada)); err != nil {
		t.Fatal(err)
	}
	for _, surface := range []string{onExchange, onAssertion} {
		for _, base := range []string{"", "rsa"} {
			raw := f.forge(t, attack{Mutation: map[string]any{"base_key": base}}, surface)[0].raw
			if a := f.present(raw, surface); a.status != 200 {
				t.Fatalf("the baseline is refused as %s: %d %s", surface, a.status, a.body)
			}
		}
	}
	var skipped []string
	judged := 0
	for _, c := range loadAttacks(t) {
		if why, ok := notHere[c.ID]; ok {
			skipped = append(skipped, c.ID)
			t.Logf("not judged here: %s: %s", c.ID, why)
			continue
		}
		for _, surface := range c.Surfaces {
			judged++
			t.Run(c.ID+"@"+surface, func(t *testing.T) {
				w.t = t
				f.judge(t, c, surface)
			})
		}
	}
	w.t = t
	slices.Sort(skipped)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(notHere)), skipped); diff != "" {
		t.Errorf("cases not judged here (-want +got):\n%s", diff)
	}
	t.Logf("judged %d pairs of case and surface", judged)
}

// present sends a token to its surface.
func (f *forger) present(raw, surface string) answer {
	if surface == onAssertion {
		return f.send(credentials(raw))
	}
	return f.send(exchange(raw, f.one.Assertion(assertionClaims("agent-1"))))
}

func (f *forger) judge(t *testing.T, c attack, surface string) {
	want, ok := recordedAs[c.ID]
	if !ok {
		want = recordedAs[c.Class]
	}
	if c.Mutation["before"] == "disable agent-1" {
		set := func(s agent.Status) {
			if err := f.agents.SetStatus(f.ctx, f.one.ID, s, f.log(f.ada)); err != nil {
				t.Fatal(err)
			}
		}
		set(agent.Suspended)
		defer set(agent.Active)
	}
	codes := c.ErrorAnyOf
	if code, ok := otherwise[c.ID+"@"+surface]; ok {
		codes = []string{code}
	}
	for _, token := range f.forge(t, c, surface) {
		since, calls, logged := f.mark(), len(f.sandbox.Ledger()), len(f.logs.String())
		a := f.present(token.raw, surface)
		if token.accept {
			if a.status != 200 {
				t.Errorf("%s: %d %s, want accepted", token.name, a.status, a.body)
			}
			continue
		}
		if a.status/100 != 4 || !slices.Contains(codes, a.TokenError.Error) {
			t.Errorf("%s: %d %s, want a 4xx with one of %v", token.name, a.status, a.body, codes)
		}
		// A token of which nothing is known is refused before it is an exchange.
		verb := "token.refused"
		if surface == onExchange && a.status != 413 {
			verb = "exchange.refused"
		}
		reason, actor := f.refusedOnce(since, verb)
		if !slices.Contains(want, reason) {
			t.Errorf("%s: recorded as %q, want one of %v", token.name, reason, want)
		}
		if reason == "invalid_client" && surface == onAssertion && actor != "anonymous" {
			t.Errorf("%s: recorded as refused to %s, who did not sign", token.name, actor)
		}
		if n := len(f.sandbox.Ledger()); n != calls {
			t.Errorf("%s: %d calls upstream", token.name, n-calls)
		}
		for where, text := range map[string]string{"answer": a.body, "log": f.logs.String()[logged:]} {
			if what := echoes(token.raw, text); what != "" {
				t.Errorf("%s: the %s repeats %s of the token: %s", token.name, where, what, text)
			}
		}
		for _, e := range f.events(since) {
			for _, v := range e.Data {
				if what := echoes(token.raw, v); what != "" {
					t.Errorf("%s: the event repeats %s of the token: %v", token.name, what, e)
				}
			}
		}
	}
}

// forged is one token that a mutation makes.
type forged struct {
	name, raw string
	accept    bool
}

// forge applies the mutation of c to the baseline of the surface. Whatever it
// does not understand fails the test.
func (f *forger) forge(t *testing.T, c attack, surface string) []forged {
	t.Helper()
	key := f.one.Pair
	if c.Mutation["base_key"] == "rsa" {
		key = f.rsa
	}
	header, claims := key.Header(jwt.TypeVaultSubject), f.claims(f.one)
	if surface == onAssertion {
		header, claims = key.Header(""), assertionClaims("agent-1")
		if iss, ok := c.Mutation["payload.iss"]; ok {
			claims["sub"] = iss // a client speaks for itself
		}
	}
	sign, payload := jwttest.Signing(key.Sign), ""
	var alter []func(raw string) []forged
	for name, m := range c.Mutation {
		switch target, member, _ := strings.Cut(name, "."); target {
		case "header":
			header = header.With(member, f.evaluate(t, m))
		case "payload":
			if c.Expect == "reject_overflow_accept_fraction" {
				return f.numbers(t, header, claims, member, m.([]any), sign)
			}
			claims = claims.With(member, f.evaluate(t, m))
		case "base_key", "before": // above
		case "sign_with":
			sign = f.signWith(t, m.(string), c.Mutation["header.alg"])
		case "signature":
			alter = append(alter, func(raw string) []forged { return alterSignature(t, raw, m) })
		case "shape":
			alter = append(alter, func(raw string) []forged { return reshape(t, raw, m.(string), header, sign) })
		case "encode":
			alter = append(alter, func(raw string) []forged { return reencode(t, raw, m.(string)) })
		case "reencode":
			alter = append(alter, func(raw string) []forged {
				_, rest, _ := strings.Cut(raw, ".")
				return []forged{{name: "space in header", raw: jwttest.Encode(" "+header.JSON()) + "." + rest}}
			})
		case "raw_payload":
			payload = rawPayload(t, m, claims)
		case "present", "present_as":
			return []forged{{name: name, raw: f.kind(t, c.Mutation)}}
		default:
			t.Fatalf("the mutation %s: %v is not understood", name, m)
		}
	}
	if payload == "" {
		payload = claims.JSON()
	}
	raw := jwttest.Compact(header.JSON(), payload, sign)
	if len(alter) == 0 {
		return []forged{{name: "token", raw: raw}}
	}
	var all []forged
	for _, a := range alter {
		all = append(all, a(raw)...)
	}
	return all
}

var nowExpr = regexp.MustCompile(`^now((?:\+(?:leeway|\d+))*)(\.\d+)?$`)

// evaluate turns the corpus's notation into a JSON value; nil is removal.
func (f *forger) evaluate(t *testing.T, m any) any {
	t.Helper()
	switch m := m.(type) {
	case string:
		if inner := strings.Trim(m, "'"); inner != m && nowExpr.MatchString(inner) {
			return string(f.evaluate(t, inner).(json.RawMessage))
		}
		switch {
		case strings.HasPrefix(m, "<attacker jwk"):
			return json.RawMessage(f.attacker.JWK(t))
		case m == "<b64 der>":
			block, _ := pem.Decode([]byte(f.attacker.PEM()))
			return base64.StdEncoding.EncodeToString(block.Bytes)
		}
		parts := nowExpr.FindStringSubmatch(m)
		if parts == nil {
			return m
		}
		n := time.Now().Unix()
		for term := range strings.SplitSeq(strings.TrimPrefix(parts[1], "+"), "+") {
			if term == "leeway" {
				n += int64(jwt.Leeway.Seconds()) + 10 // the clock runs on while the request is on its way
			} else if term != "" {
				d, _ := strconv.ParseInt(term, 10, 64)
				n += d
			}
		}
		return json.RawMessage(strconv.FormatInt(n, 10) + parts[2])
	case []any:
		list := []any{}
		for _, e := range m {
			list = append(list, f.evaluate(t, e))
		}
		return list
	case map[string]any:
		if literal, ok := m["$literal"]; ok {
			return literal
		}
		switch m["op"] {
		case "delete":
			return nil
		case "repeat":
			return strings.Repeat(m["char"].(string), number(t, m["n"]))
		case "digits":
			return json.RawMessage(strings.Repeat("9", number(t, m["n"])))
		}
		t.Fatalf("the value %v is not understood", m)
	}
	return m
}

func number(t *testing.T, v any) int {
	t.Helper()
	return must[int](t)(strconv.Atoi(v.(json.Number).String()))
}

// numbers makes one token for each spelling of a date; a fraction is fine.
func (f *forger) numbers(t *testing.T, header, claims jwttest.Object, member string, spellings []any, sign jwttest.Signing) []forged {
	var all []forged
	for _, s := range spellings {
		literal, accept := s.(string), false
		if raw, ok := f.evaluate(t, s).(json.RawMessage); ok {
			literal, accept = string(raw), true
		}
		payload := claims.With(member, json.RawMessage("0")).JSON()
		payload = strings.Replace(payload, `"`+member+`":0`, `"`+member+`":`+literal, 1)
		all = append(all, forged{"number " + literal, jwttest.Compact(header.JSON(), payload, sign), accept})
	}
	return all
}

var hmacExpr = regexp.MustCompile(`^hmac\((.*)\)$`)

func (f *forger) signWith(t *testing.T, how string, alg any) jwttest.Signing {
	t.Helper()
	switch how {
	case "attacker":
		return f.attacker.Sign
	case "agent-2-k1":
		return f.two.Sign
	case "rsa-pss":
		return jwttest.Pair{Key: jwt.Key{Alg: jwt.PS256}, Private: f.rsa.Private}.Sign
	case "rsa-pkcs1-sha1":
		return func(input string) []byte {
			digest := sha1.Sum([]byte(input))
			return must[[]byte](t)(rsa.SignPKCS1v15(rand.Reader, jwttest.RSA(), crypto.SHA1, digest[:]))
		}
	}
	match := hmacExpr.FindStringSubmatch(how)
	if match == nil {
		t.Fatalf("sign_with %q is not understood", how)
	}
	var jwk struct{ X string }
	if err := json.Unmarshal(f.one.JWK(t), &jwk); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"pem_bytes(agent-1-k1.pub)":        f.one.PEM(),
		"strip(pem_bytes(agent-1-k1.pub))": strings.TrimSpace(f.one.PEM()),
		"json(agent-1-k1.jwk)":             string(f.one.JWK(t)),
		"b64url_decode(agent-1-k1.jwk.x)":  string(must[[]byte](t)(base64.RawURLEncoding.DecodeString(jwk.X))),
		"''":                               "",
	}
	key, ok := secrets[match[1]]
	if !ok {
		t.Fatalf("hmac key %q is not understood", match[1])
	}
	hash := crypto.SHA256
	if alg == "HS512" {
		hash = crypto.SHA512
	}
	return func(input string) []byte {
		mac := hmac.New(hash.New, []byte(key))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func alterSignature(t *testing.T, raw string, m any) []forged {
	t.Helper()
	cut := strings.LastIndexByte(raw, '.') + 1
	input := raw[:cut]
	sig := must[[]byte](t)(base64.RawURLEncoding.DecodeString(raw[cut:]))
	if text, ok := m.(string); ok {
		if text == "00*64" {
			text = jwttest.Encode(strings.Repeat("\x00", 64))
		}
		return []forged{{name: "literal", raw: input + text}}
	}
	op := m.(map[string]any)
	switch op["op"] {
	case "flip_each_bit":
		var all []forged
		for bit := range len(sig) * 8 {
			flipped := bytes.Clone(sig)
			flipped[bit/8] ^= 1 << (bit % 8)
			all = append(all, forged{name: "bit " + strconv.Itoa(bit), raw: input + jwttest.Encode(string(flipped))})
		}
		return all
	case "zero_r":
		return []forged{{name: "zero r", raw: input + jwttest.Encode(strings.Repeat("\x00", 32)+string(sig[32:]))}}
	case "truncate":
		return []forged{{name: "truncated", raw: input + jwttest.Encode(string(sig[:len(sig)-number(t, op["n"])]))}}
	}
	t.Fatalf("signature %v is not understood", m)
	return nil
}

func reshape(t *testing.T, raw, shape string, header jwttest.Object, sign jwttest.Signing) []forged {
	t.Helper()
	parts := strings.Split(raw, ".")
	switch shape {
	case "jwe":
		return []forged{
			{name: "five parts", raw: jwttest.Encode(header.With("enc", "A128GCM", "p2s", "AAAAAAAAAAA").JSON()) + ".AAAA.AAAA.AAAA.AAAA"},
			{name: "three parts", raw: raw},
		}
	case "....x1e6":
		return []forged{{name: "dots", raw: strings.Repeat(".", 1e6)}}
	case "10MB":
		return []forged{{name: "payload", raw: parts[0] + "." + strings.Repeat("A", 10<<20) + "." + parts[2]}}
	case "json-unprotected":
		flat := jwttest.Object{"payload": parts[1], "header": jwttest.Object{"alg": "ES256", "kid": "agent-1-k1"}, "signature": parts[2]}
		general := jwttest.Object{"payload": parts[1], "signatures": []any{jwttest.Object{"protected": parts[0], "signature": parts[2]}}}
		return []forged{
			{name: "flattened", raw: flat.JSON()},
			{name: "flattened, protected", raw: flat.With("protected", parts[0]).JSON()},
			{name: "general", raw: general.JSON()},
		}
	case "nested":
		once := jwttest.Compact(header.JSON(), raw, sign)
		return []forged{
			{name: "cty alone", raw: raw},
			{name: "once", raw: once},
			{name: "twice", raw: jwttest.Compact(header.JSON(), once, sign)},
			{name: "without cty", raw: jwttest.Compact(header.With("cty", nil).JSON(), `"`+raw+`"`, sign)},
		}
	}
	t.Fatalf("shape %q is not understood", shape)
	return nil
}

func reencode(t *testing.T, raw, how string) []forged {
	t.Helper()
	parts := strings.Split(raw, ".")
	switch how {
	case "std":
		padded := slices.Clone(parts)
		for i, p := range padded {
			padded[i] = p + strings.Repeat("=", (4-len(p)%4)%4)
		}
		return []forged{
			{name: "padding", raw: strings.Join(padded, ".")},
			{name: "plus", raw: parts[0] + "." + parts[1] + ".+" + parts[2][1:]},
			{name: "slash", raw: parts[0] + ".e/" + parts[1][2:] + "." + parts[2]},
		}
	case "noncanonical":
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, raw[len(raw)-1])
		var all []forged
		for bits := 1; bits < 16; bits++ { // 64 bytes leave four bits over
			all = append(all, forged{name: "bits " + strconv.Itoa(bits), raw: raw[:len(raw)-1] + string(alphabet[last|bits])})
		}
		return all
	case "whitespace":
		var all []forged
		for _, space := range []string{"\n", " ", "\r\n", "\t", "\u00a0"} {
			for _, at := range []int{0, len(parts[0]) + 7, len(raw)} {
				all = append(all, forged{name: strconv.Quote(space) + " at " + strconv.Itoa(at), raw: raw[:at] + space + raw[at:]})
			}
		}
		return all
	}
	t.Fatalf("encode %q is not understood", how)
	return nil
}

// rawPayload writes the members of the case first and the rest of the
// baseline after them.
func rawPayload(t *testing.T, m any, claims jwttest.Object) string {
	t.Helper()
	if op, ok := m.(map[string]any); ok && op["op"] == "nest" {
		n := number(t, op["n"])
		return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "," + claims.JSON()[1:]
	}
	first, ok := strings.CutSuffix(m.(string), ",...}")
	if !ok {
		t.Fatalf("raw_payload %v is not understood", m)
	}
	var given map[string]any
	if err := json.Unmarshal([]byte(first+"}"), &given); err != nil {
		t.Fatal(err)
	}
	for name := range given {
		claims = claims.With(name, nil)
	}
	return first + "," + claims.JSON()[1:]
}

// kind makes a good token of another kind.
func (f *forger) kind(t *testing.T, mutation map[string]any) string {
	t.Helper()
	var typ string
	switch mutation["present"] {
	case nil: // a client assertion
		return f.one.Assertion(assertionClaims("agent-1"))
	case "session":
		return f.login().Bearer.Reveal()
	case "id_token(user-1)":
		typ = "JWT"
	case "mcp_access_token":
		typ = "at+jwt"
	default:
		t.Fatal(errors.New("present is not understood"), mutation)
	}
	return must[string](t)(f.signer.Sign(f.claims(f.one).With("iss", issuer, "aud", "agent-1"), typ))
}
