package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

const (
	exchange  = "token_exchange"
	assertion = "client_assertion"
)

// notHere are the cases that need more than a token and a key, and what
// judges them. An entry is a case, or a case on one surface.
var notHere = map[string]string{
	"iss-disabled":                    "the state of the agent: agent store and edge",
	"sub-other-user@token_exchange":   "the user's grants: broker",
	"sub-other-tenant@token_exchange": "the user's grants: broker",
	"replay-parallel":                 "one-time use of jti: store",
	"replay-restart":                  "one-time use of jti: store",
	"replay-failed-first":             "when a jti counts as used: edge and store",
	"jti-across-agents":               "the namespace of jti: store",
	"skew-boundaries":                 "TestClock of this package",
	"form-query-body":                 "where the parameter stands: edge",
	"form-json-body":                  "the content type: edge",
	"jwks-dup-kid":                    "sets of keys: the registration of agents",
	"jwks-flood-kid":                  "fetching of key sets: whoever fetches",
	"dpop-htm":                        "DPoP proofs: edge",
	"dpop-htu-case":                   "DPoP proofs: edge",
	"dpop-jkt":                        "DPoP proofs: edge",
	"dpop-nonce":                      "DPoP proofs: edge",
	"dpop-replay":                     "DPoP proofs: edge and store",
	"dpop-downgrade":                  "DPoP binding of issued tokens: edge",
	"timing-sig":                      "needs a quiet machine: BenchmarkRefuse shows the costs",
}

// decided are the cases that leave the answer open.
var decided = map[string]string{
	"typ-app-prefix": jwt.ReasonWrongType,
	"typ-upper":      jwt.ReasonWrongType,
	"aud-07":         jwt.ReasonWrongAudience,
}

// reasons are the answers that a class of cases may get, so that no case is
// refused by accident. A case of its own goes before its class.
var reasons = map[string][]string{
	"alg":       {"unverified"},
	"signature": {"unverified"},
	"kid":       {"unverified"},
	"typ":       {jwt.ReasonWrongType},
	"audience":  {jwt.ReasonWrongAudience},
	"issuer":    {jwt.ReasonWrongIssuer, jwt.ReasonMalformedClaim, jwt.ReasonWrongSubject},
	"subject":   {jwt.ReasonMalformedClaim, jwt.ReasonActorClaim, jwt.ReasonWrongSubject},
	"time":      {jwt.ReasonMalformedClaim, jwt.ReasonNotYetValid, jwt.ReasonExpiresBeforeIssue, jwt.ReasonExpired},
	"replay":    {jwt.ReasonMissingID, jwt.ReasonMalformedClaim},
	"encoding":  {"unverified"},

	"kind-idtoken-as-exchange":    {"unverified"},
	"kind-mcp-access-as-exchange": {"unverified"},
	"kind-session-as-exchange":    {"unverified"},
	"replay-case":                 {"unverified"},
	"jti-long":                    {"unverified"}, // over the size of a token
	"json-case-members":           {jwt.ReasonMalformedPayload},
	"json-nul-member":             {jwt.ReasonMalformedPayload},
	"nested-jwt":                  {"unverified", jwt.ReasonMalformedPayload},
	"sig-small-rsa":               {jwt.ReasonWeakKey},
	"sig-roca":                    {jwt.ReasonWeakKey},
	"sig-private-upload":          {jwt.ReasonPrivateKey},
	"jwks-oct":                    {jwt.ReasonPrivateKey},
	"jwks-use-enc":                {jwt.ReasonUnsupportedKey},
}

type attack struct {
	ID, Class, Description, Expect string
	Mutation                       map[string]any
	Surfaces                       []string
}

func loadAttacks(t *testing.T) []attack {
	t.Helper()
	data, err := os.ReadFile("testdata/jwt_attacks.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []attack }
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// world is the agents and their registered keys, as an edge sees them.
type world struct {
	agent1, agent1RSA, agent2, attacker jwttest.Pair
	signer                              *jwt.Signer
	rsa                                 bool // agent-1 has registered its RSA key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	text, err := jwt.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jwt.NewSigner(text)
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		agent1:    jwttest.New(t, jwt.ES256, "agent-1-k1"),
		agent1RSA: jwttest.New(t, jwt.RS256, "agent-1-k1"),
		agent2:    jwttest.New(t, jwt.ES256, "agent-2-k1"),
		attacker:  jwttest.New(t, jwt.ES256, "agent-1-k1"),
		signer:    signer,
	}
}

func (w *world) keys(agent string) []jwt.Key {
	switch {
	case agent == "agent-1" && w.rsa:
		return []jwt.Key{w.agent1RSA.Key}
	case agent == "agent-1":
		return []jwt.Key{w.agent1.Key}
	case agent == "agent-2":
		return []jwt.Key{w.agent2.Key}
	}
	return nil
}

func rules(surface string) jwt.Rules {
	if surface == assertion {
		return jwt.ClientAssertion(issuer)
	}
	return jwt.VaultSubject(issuer, true)
}

// road does what an edge does: the token says whose keys to try.
func (w *world) road(raw, surface string) error {
	_, iss, err := jwt.Peek(raw)
	keys := w.keys(iss)
	if err != nil || keys == nil {
		jwt.DummyVerify(raw)
		return jwt.ErrUnverified
	}
	r := rules(surface)
	r.Issuer = iss
	_, _, err = jwt.Verify(raw, keys, r, now)
	return err
}

// direct asks with the keys of agent-1, whatever the token says.
func (w *world) direct(raw, surface string) error {
	r := rules(surface)
	r.Issuer = "agent-1"
	_, _, err := jwt.Verify(raw, w.keys("agent-1"), r, now)
	return err
}

// TestCorpus runs every case of the corpus that can be judged by a token and
// a key, and pins which ones are not.
func TestCorpus(t *testing.T) {
	w := newWorld(t)
	for _, surface := range []string{exchange, assertion} {
		for _, rsa := range []bool{false, true} {
			w.rsa = rsa
			raw := w.forge(t, attack{}, surface)[0].raw
			if err := errors.Join(w.road(raw, surface), w.direct(raw, surface)); err != nil {
				t.Fatalf("the baseline is refused at %s: %v", surface, err)
			}
		}
	}
	var skipped, want []string
	judged := 0
	for _, c := range loadAttacks(t) {
		for _, surface := range c.Surfaces {
			id := c.ID + "@" + surface
			if why, ok := notHere[id]; ok {
				skipped = append(skipped, id)
				t.Logf("not judged here: %s: %s", id, why)
				continue
			}
			if why, ok := notHere[c.ID]; ok {
				if !slices.Contains(skipped, c.ID) {
					skipped = append(skipped, c.ID)
					t.Logf("not judged here: %s: %s", c.ID, why)
				}
				continue
			}
			judged++
			t.Run(id, func(t *testing.T) { w.judge(t, c, surface) })
		}
	}
	for id := range maps.Keys(notHere) {
		want = append(want, id)
	}
	slices.Sort(want)
	slices.Sort(skipped)
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Errorf("cases not judged here (-want +got):\n%s", diff)
	}
	t.Logf("judged %d pairs of case and surface", judged)
}

func (w *world) judge(t *testing.T, c attack, surface string) {
	want, ok := reasons[c.ID]
	if !ok {
		want = reasons[c.Class]
	}
	if r, ok := decided[c.ID]; ok {
		want = []string{r}
	} else if !strings.HasPrefix(c.Expect, "reject") {
		t.Fatalf("expect %q is not understood", c.Expect)
	}
	if surface != exchange && surface != assertion {
		for name, key := range keyMaterial(t, c) {
			if _, err := jwt.ParsePublicKey([]byte(key), ""); !slices.Contains(want, reason(err)) {
				t.Errorf("%s: ParsePublicKey: %v, want %v", name, err, want)
			}
		}
		return
	}
	defer func() { w.rsa = false }()
	w.rsa = c.Mutation["base_key"] == "rsa"
	for _, f := range w.forge(t, c, surface) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := w.direct(f.raw, surface)
		runtime.ReadMemStats(&after)
		if after.TotalAlloc-before.TotalAlloc > 1<<20 {
			t.Errorf("%s: Verify allocates %d bytes", f.name, after.TotalAlloc-before.TotalAlloc)
		}
		if f.accept {
			if err = errors.Join(err, w.road(f.raw, surface)); err != nil {
				t.Errorf("%s: %v, want accepted", f.name, err)
			}
			continue
		}
		if !slices.Contains(want, reason(err)) {
			t.Errorf("%s: Verify: %v, want a reason of %v", f.name, err, want)
		}
		if reason(err) == "unverified" {
			if !errors.Is(err, jwt.ErrUnverified) || fault.From(err).Detail != jwt.ErrUnverified.Detail {
				t.Errorf("%s: not the uniform answer: %v", f.name, err)
			}
		}
		mustNotEcho(t, f.raw, err)
		if err := w.road(f.raw, surface); err == nil {
			t.Errorf("%s: accepted with the keys of the issuer that it names", f.name)
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
func (w *world) forge(t *testing.T, c attack, surface string) []forged {
	t.Helper()
	key := w.agent1
	if w.rsa {
		key = w.agent1RSA
	}
	header, claims := key.Header(jwt.TypeVaultSubject), subjectClaims()
	if surface == assertion {
		header, claims = key.Header(""), assertionClaims()
		if iss, ok := c.Mutation["payload.iss"]; ok {
			claims["sub"] = iss // a client speaks for itself
		}
	}
	sign, payload := jwttest.Signing(key.Sign), ""
	var alter []func(raw string) []forged
	for name, m := range c.Mutation {
		switch target, member, _ := strings.Cut(name, "."); target {
		case "header":
			header = header.With(member, w.evaluate(t, m))
		case "payload":
			if c.Expect == "reject_overflow_accept_fraction" {
				return w.numbers(t, header, claims, member, m.([]any), sign)
			}
			claims = claims.With(member, w.evaluate(t, m))
		case "base_key": // w.rsa
		case "sign_with":
			sign = w.signWith(t, m.(string), c.Mutation["header.alg"])
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
			return []forged{{name: name, raw: w.present(t, c.Mutation)}}
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
	for _, f := range alter {
		all = append(all, f(raw)...)
	}
	return all
}

var nowExpr = regexp.MustCompile(`^now((?:\+(?:leeway|\d+))*)(\.\d+)?$`)

// evaluate turns the corpus's notation into a JSON value; nil is removal.
func (w *world) evaluate(t *testing.T, m any) any {
	t.Helper()
	switch m := m.(type) {
	case string:
		if inner := strings.Trim(m, "'"); inner != m && nowExpr.MatchString(inner) {
			n := w.evaluate(t, inner).(json.RawMessage)
			return string(n)
		}
		switch {
		case strings.HasPrefix(m, "<attacker jwk"):
			var set struct{ Keys []json.RawMessage }
			if err := json.Unmarshal(jwt.PublicSet(w.attacker.Key), &set); err != nil {
				t.Fatal(err)
			}
			return set.Keys[0]
		case m == "<b64 der>":
			block, _ := pem.Decode([]byte(w.attacker.PEM()))
			return base64.StdEncoding.EncodeToString(block.Bytes)
		}
		parts := nowExpr.FindStringSubmatch(m)
		if parts == nil {
			return m
		}
		n := now.Unix()
		for term := range strings.SplitSeq(strings.TrimPrefix(parts[1], "+"), "+") {
			if term == "leeway" {
				n += int64(jwt.Leeway.Seconds())
			} else if term != "" {
				d, _ := strconv.ParseInt(term, 10, 64)
				n += d
			}
		}
		return json.RawMessage(strconv.FormatInt(n, 10) + parts[2])
	case []any:
		list := []any{}
		for _, e := range m {
			list = append(list, w.evaluate(t, e))
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
	n, err := strconv.Atoi(v.(json.Number).String())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// numbers makes one token for each spelling of a date; a fraction is fine.
func (w *world) numbers(t *testing.T, header, claims jwttest.Object, member string, spellings []any, sign jwttest.Signing) []forged {
	var all []forged
	for _, s := range spellings {
		literal, accept := s.(string), false
		if raw, ok := w.evaluate(t, s).(json.RawMessage); ok {
			literal, accept = string(raw), true
		}
		payload := claims.With(member, json.RawMessage("0")).JSON()
		payload = strings.Replace(payload, `"`+member+`":0`, `"`+member+`":`+literal, 1)
		all = append(all, forged{"number " + literal, jwttest.Compact(header.JSON(), payload, sign), accept})
	}
	return all
}

var hmacExpr = regexp.MustCompile(`^hmac\((.*)\)$`)

func (w *world) signWith(t *testing.T, how string, alg any) jwttest.Signing {
	t.Helper()
	switch how {
	case "attacker":
		return w.attacker.Sign
	case "agent-2-k1":
		return w.agent2.Sign
	case "rsa-pss":
		return jwttest.Pair{Key: jwt.Key{Alg: jwt.PS256}, Private: w.agent1RSA.Private}.Sign
	case "rsa-pkcs1-sha1":
		return func(input string) []byte {
			digest := sha1.Sum([]byte(input))
			sig, err := rsa.SignPKCS1v15(rand.Reader, jwttest.RSA(), crypto.SHA1, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}
	}
	match := hmacExpr.FindStringSubmatch(how)
	if match == nil {
		t.Fatalf("sign_with %q is not understood", how)
	}
	var set struct{ Keys []json.RawMessage }
	var jwk struct{ X string }
	if err := errors.Join(json.Unmarshal(jwt.PublicSet(w.agent1.Key), &set), json.Unmarshal(set.Keys[0], &jwk)); err != nil {
		t.Fatal(err)
	}
	x, err := base64.RawURLEncoding.DecodeString(jwk.X)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"pem_bytes(agent-1-k1.pub)":        w.agent1.PEM(),
		"strip(pem_bytes(agent-1-k1.pub))": strings.TrimSpace(w.agent1.PEM()),
		"json(agent-1-k1.jwk)":             string(set.Keys[0]),
		"b64url_decode(agent-1-k1.jwk.x)":  string(x),
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
	input, sig := raw[:cut], []byte(raw[cut:])
	sig, err := base64.RawURLEncoding.DecodeString(string(sig))
	if err != nil {
		t.Fatal(err)
	}
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
		return []forged{
			{name: "payload", raw: parts[0] + "." + strings.Repeat("A", 10<<20) + "." + parts[2]},
			{name: "header", raw: strings.Repeat("A", 10<<20) + "." + parts[1] + "." + parts[2]},
		}
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
		// Not every signature has a character that differs; a foreign one does.
		return []forged{
			{name: "padding", raw: strings.Join(padded, ".")},
			{name: "plus", raw: parts[0] + "." + parts[1] + ".+" + parts[2][1:]},
			{name: "slash", raw: parts[0] + ".e/" + parts[1][2:] + "." + parts[2]},
			{name: "alphabet", raw: strings.NewReplacer("-", "+", "_", "/").Replace(raw) + "="},
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
			for _, at := range []int{0, 5, len(parts[0]), len(parts[0]) + 7, len(raw) - 3, len(raw)} {
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
		deep := strings.Repeat("[", n) + strings.Repeat("]", n)
		return `{"a":` + deep + "," + claims.JSON()[1:]
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

// present makes a good token of another kind.
func (w *world) present(t *testing.T, mutation map[string]any) string {
	t.Helper()
	var typ string
	switch mutation["present"] {
	case nil: // a client assertion
		return w.agent1.Assertion(assertionClaims())
	case "session":
		return "vks_" + strings.Repeat("q7", 21)
	case "id_token(user-1)":
		typ = "JWT"
	case "mcp_access_token":
		typ = "at+jwt"
	default:
		t.Fatalf("present %v is not understood", mutation["present"])
	}
	raw, err := w.signer.Sign(subjectClaims().With("iss", issuer, "aud", "agent-1"), typ)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// keyMaterial is what a case tries to register.
func keyMaterial(t *testing.T, c attack) map[string]string {
	t.Helper()
	what := c.Mutation["register_key"]
	if what == nil {
		what = c.Mutation["jwks"]
	}
	switch what {
	case "rsa-1024":
		return map[string]string{"512": modulus(t, randomModulus(t, 512), 65537), "1024": modulus(t, randomModulus(t, 1024), 65537)}
	case "rsa-roca":
		return map[string]string{"roca": modulus(t, rocaModulus(t), 65537)}
	case "pem-with-private":
		der, err := x509.MarshalPKCS8PrivateKey(jwttest.RSA())
		if err != nil {
			t.Fatal(err)
		}
		private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		public := jwttest.SPKI(t, jwttest.RSA().Public())
		return map[string]string{"alone": private, "after the public half": public + private, "before it": private + public}
	case "oct":
		return map[string]string{"oct": `{"kty":"oct","kid":"k","k":"c2VjcmV0"}`, "no k": `{"kty":"oct"}`}
	case "use-enc":
		x := jwttest.Encode(string(jwttest.New(t, jwt.EdDSA, "k").Public.(ed25519.PublicKey)))
		return map[string]string{
			"use enc":      `{"kty":"OKP","crv":"Ed25519","use":"enc","x":"` + x + `"}`,
			"key_ops sign": `{"kty":"OKP","crv":"Ed25519","key_ops":["sign"],"x":"` + x + `"}`,
		}
	}
	t.Fatalf("key material %v is not understood", what)
	return nil
}

func randomModulus(t *testing.T, bits uint) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits))
	if err != nil {
		t.Fatal(err)
	}
	return n.SetBit(n, int(bits)-1, 1).SetBit(n, 0, 1)
}
