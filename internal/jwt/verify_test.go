package jwt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

var algs = []jwt.Alg{jwt.RS256, jwt.RS384, jwt.PS256, jwt.ES256, jwt.EdDSA}

// Each rule with a token that it stops.
func TestRejected(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "agent-1-k1")
	s, a := subjectClaims(), assertionClaims()
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		name    string
		surface string
		claims  jwttest.Object
		want    string
	}{
		{"no iss", exchange, s.With("iss", nil), jwt.ReasonMissingIssuer},
		{"iss empty", exchange, s.With("iss", ""), jwt.ReasonMalformedClaim},
		{"iss null", exchange, s.With("iss", json.RawMessage("null")), jwt.ReasonMalformedClaim},
		{"iss other", exchange, s.With("iss", "agent-2"), jwt.ReasonWrongIssuer},
		{"no sub", exchange, s.With("sub", nil), jwt.ReasonMissingSubject},
		{"sub long", exchange, s.With("sub", long), jwt.ReasonMalformedClaim},
		{"sub with NUL", exchange, s.With("sub", "user-1\x00"), jwt.ReasonMalformedClaim},
		{"sub with line", exchange, s.With("sub", "user-1\n"), jwt.ReasonMalformedClaim},
		{"sub with NEL", exchange, s.With("sub", "user-1\u0085"), jwt.ReasonMalformedClaim},
		{"sub not iss", assertion, a.With("sub", "user-1"), jwt.ReasonWrongSubject},
		{"no aud", exchange, s.With("aud", nil), jwt.ReasonMissingAudience},
		{"aud with slash", exchange, s.With("aud", issuer+"/"), jwt.ReasonWrongAudience},
		{"aud list empty", exchange, s.With("aud", []string{}), jwt.ReasonWrongAudience},
		{"aud twice the same", assertion, a.With("aud", []string{issuer, issuer}), jwt.ReasonWrongAudience},
		{"aud list of list", exchange, s.With("aud", []any{[]string{issuer}}), jwt.ReasonWrongAudience},
		{"aud object", exchange, s.With("aud", jwttest.Object{"a": issuer}), jwt.ReasonWrongAudience},
		{"no jti", exchange, s.With("jti", nil), jwt.ReasonMissingID},
		{"no jti", assertion, a.With("jti", nil), jwt.ReasonMissingID},
		{"jti number", exchange, s.With("jti", 7), jwt.ReasonMalformedClaim},
		{"jti long", exchange, s.With("jti", long), jwt.ReasonMalformedClaim},
		{"no audit_context", exchange, s.With("audit_context", nil), jwt.ReasonMissingAuditContext},
		{"audit_context empty", exchange, s.With("audit_context", ""), jwt.ReasonMalformedClaim},
		{"audit_context long", exchange, s.With("audit_context", strings.Repeat("ж", 257)), jwt.ReasonMalformedClaim},
		{"audit_context list", exchange, s.With("audit_context", []string{"x"}), jwt.ReasonMalformedClaim},
		{"audit_context escape", exchange, s.With("audit_context", "\x1b[2J"), jwt.ReasonMalformedClaim},
		{"org_id number", exchange, s.With("org_id", 1), jwt.ReasonMalformedClaim},
		{"act", exchange, s.With("act", jwttest.Object{"sub": "admin"}), jwt.ReasonActorClaim},
		{"may_act", assertion, a.With("may_act", jwttest.Object{}), jwt.ReasonActorClaim},
		{"no iat", exchange, s.With("iat", nil), jwt.ReasonMissingIssuedAt},
		{"iat true", exchange, s.With("iat", true), jwt.ReasonMalformedClaim},
		{"iat in ms", exchange, s.With("iat", now.UnixMilli()), jwt.ReasonMalformedClaim}, // beyond the year 9999
		{"no exp", assertion, a.With("exp", nil), jwt.ReasonMissingExp},
		{"exp long ago", assertion, a.With("exp", 0), jwt.ReasonExpiresBeforeIssue},
		{"exp long ago, no iat", assertion, a.With("exp", 0, "iat", nil), jwt.ReasonExpired},
		{"exp year 10000", exchange, s.With("exp", json.RawMessage("253402300800")), jwt.ReasonMalformedClaim},
		{"exp is iat", exchange, s.With("exp", now.Unix()), jwt.ReasonExpiresBeforeIssue},
		{"lifetime 301 s", assertion, a.With("exp", now.Unix()+301), jwt.ReasonLifetimeTooLong},
		{"lifetime without iat", assertion, a.With("iat", nil, "exp", now.Unix()+331), jwt.ReasonLifetimeTooLong},
		{"old, long exp", exchange, s.With("iat", now.Unix()-61, "exp", now.Unix()+9999), jwt.ReasonTooOld},
	} {
		t.Run(c.surface+" "+c.name, func(t *testing.T) {
			raw := p.Subject(c.claims)
			if c.surface == assertion {
				raw = p.Assertion(c.claims)
			}
			r := rules(c.surface)
			r.Issuer = "agent-1"
			claims, key, err := jwt.Verify(raw, []jwt.Key{p.Key}, r, now)
			if got := reason(err); got != c.want {
				t.Errorf("Verify: %v, want %s", err, c.want)
			}
			if claims != (jwt.Claims{}) {
				t.Errorf("a refused token gave claims: %+v", claims)
			}
			if key.KID != p.KID {
				t.Errorf("the key that verified is %q", key.KID)
			}
			if f := fault.From(err); f.Kind != fault.Invalid || len(f.Detail) < 20 {
				t.Errorf("kind %d, detail %q", f.Kind, f.Detail)
			}
			mustNotEcho(t, raw, err)
		})
	}
}

func TestAccepted(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "agent-1-k1")
	s, a := subjectClaims(), assertionClaims()
	for _, c := range []struct {
		name   string
		header jwttest.Object
		claims jwttest.Object
		rules  jwt.Rules
	}{
		{"worker", p.Header(jwt.TypeVaultSubject), s, jwt.VaultSubject(issuer, true)},
		{"no exp, no nbf", p.Header(jwt.TypeVaultSubject), s.With("exp", nil, "nbf", nil), jwt.VaultSubject(issuer, true)},
		{"exp +1 day", p.Header(jwt.TypeVaultSubject), s.With("exp", now.Unix()+86400), jwt.VaultSubject(issuer, true)},
		{"aud list of one", p.Header(jwt.TypeVaultSubject), s.With("aud", []string{issuer}), jwt.VaultSubject(issuer, true)},
		{"other claims", p.Header(jwt.TypeVaultSubject), s.With("scope", "a b", "x", jwttest.Object{"a": []any{1.5e3, nil, false}}), jwt.VaultSubject(issuer, true)},
		{"audit_context 256", p.Header(jwt.TypeVaultSubject), s.With("audit_context", strings.Repeat("ж", 256)), jwt.VaultSubject(issuer, true)},
		{"exponent", p.Header(jwt.TypeVaultSubject), s.With("iat", json.RawMessage("17723664e2")), jwt.VaultSubject(issuer, true)},
		{"compat", p.Header(jwt.TypeVaultSubject), s.With("jti", nil, "audit_context", nil), jwt.VaultSubject(issuer, false)},
		{"thumbprint hint", p.Header(jwt.TypeVaultSubject).With("x5t", "abc"), s, jwt.VaultSubject(issuer, true)},
		{"assertion", p.Header(""), a, jwt.ClientAssertion(issuer)},
		{"assertion typ JWT", p.Header("JWT"), a, jwt.ClientAssertion(issuer)},
		{"assertion own typ", p.Header(jwt.TypeClientAssertion), a, jwt.ClientAssertion(issuer)},
		{"assertion 300 s", p.Header(""), a.With("exp", now.Unix()+300), jwt.ClientAssertion(issuer)},
		{"assertion without iat", p.Header(""), a.With("iat", nil, "exp", now.Unix()+300), jwt.ClientAssertion(issuer)},
		{"without kid", p.Header("").With("kid", nil), a, jwt.ClientAssertion(issuer)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := jwt.Verify(jwttest.Compact(c.header.JSON(), c.claims.JSON(), p.Sign), []jwt.Key{p.Key}, c.rules, now); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	p := jwttest.New(t, jwt.EdDSA, "agent-1-k1")
	raw := p.Subject(subjectClaims().With("org_id", "org_7", "nbf", json.RawMessage(fmt.Sprintf("%d.9", now.Unix()-5))))
	got, key, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now)
	if err != nil {
		t.Fatal(err)
	}
	want := jwt.Claims{
		Issuer: "agent-1", Subject: "user-1", Audience: issuer, ID: "b9a4a0a8-2f6a-4c3f-9c5e-7a5c5bb0a5b2",
		AuditContext: "nightly report", OrgID: "org_7", KID: "agent-1-k1",
		IssuedAt: now, ExpiresAt: now.Add(time.Minute), NotBefore: now.Add(-5 * time.Second),
		Hash:             sha256.Sum256([]byte(raw[:strings.LastIndexByte(raw, '.')])),
		ExpiresEffective: now.Add(61 * time.Second),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p.Key, key); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
}

// Anybody can make a second ES256 signature out of a first: what a replay is
// remembered by must not change with it.
func TestHashIgnoresSignature(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "agent-1-k1")
	raw := p.Subject(subjectClaims())
	cut := strings.LastIndexByte(raw, '.') + 1
	sig, err := base64.RawURLEncoding.DecodeString(raw[cut:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	other := raw[:cut] + jwttest.Encode(string(sig))
	first, _, err1 := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now)
	second, _, err2 := jwt.Verify(other, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if raw == other || first.Hash != second.Hash {
		t.Error("two signatures of the same bytes have different hashes")
	}
}

// A wrong typ names the right one, whatever else is wrong.
func TestWrongTypeNamesRightOne(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "k")
	for _, c := range []struct {
		typ   string
		rules jwt.Rules
		want  []string
	}{
		{"JWT", jwt.VaultSubject(issuer, false), []string{`"token-vault-req+jwt"`}},
		{"", jwt.VaultSubject(issuer, true), []string{`"token-vault-req+jwt"`}},
		{"token-vault-req+jwt", jwt.ClientAssertion(issuer), []string{`"JWT"`, `"client-authentication+jwt"`, "leave it out"}},
		{"jwt", jwt.ClientAssertion(issuer), []string{`"JWT"`}},
	} {
		raw := jwttest.Compact(p.Header(c.typ).JSON(), `{"iss":7}`, p.Sign)
		_, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, c.rules, now)
		if reason(err) != jwt.ReasonWrongType {
			t.Errorf("typ %q: %v", c.typ, err)
		}
		for _, part := range c.want {
			if !strings.Contains(fault.From(err).Detail, part) {
				t.Errorf("typ %q: the detail %q does not name %s", c.typ, fault.From(err).Detail, part)
			}
		}
	}
}

// Documents that another reader might read differently.
func TestPayloadRefused(t *testing.T) {
	p := jwttest.New(t, jwt.EdDSA, "k")
	rest := subjectClaims().JSON()[1:]
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var many, names strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `"m%d":0,`, i)
		fmt.Fprintf(&names, `{"a":0,"b":0,"c":0,"d":0},`)
	}
	for name, payload := range map[string]string{
		"repeated":           `{"sub":"admin",` + rest,
		"repeated, escaped":  `{"s\u0075b":"admin",` + rest,
		"other case":         `{"SUB":"admin",` + rest,
		"long s":             `{"ſub":"admin",` + rest,
		"kelvin":             `{"x":{"k":1,"\u212a":2},` + rest,
		"repeated unknown":   `{"x":1,"x":1,` + rest,
		"case of unknown":    `{"x":1,"X":1,` + rest,
		"variant alone":      `{"Audit_Context":"x",` + strings.Replace(rest, `"audit_context":"nightly report",`, "", 1),
		"nested repeated":    `{"x":[{"a":{"b":1,"b":2}}],` + rest,
		"NUL in name":        `{"sub\u0000":"admin",` + rest,
		"DEL in name":        "{\"sub\x7f\":1," + rest,
		"too deep":           `{"x":` + deep(16) + "," + rest,
		"too many members":   `{` + many.String() + rest,
		"too many in all":    `{"x":[` + names.String() + `0],` + rest,
		"not UTF-8":          "{\"x\":\"\xff\"," + rest,
		"not UTF-8, escaped": "{\"x\":\"\\n\xc0\xaf\"," + rest,
		"surrogate alone":    `{"x":"\ud800",` + rest,
		"surrogates swapped": `{"x":"\udc00\ud800",` + rest,
		"surrogate, letter":  `{"x":"\ud800\u0041",` + rest,
		"bad escape":         `{"x":"\x41",` + rest,
		"short escape":       `{"x":"\u41",` + rest,
		"raw line break":     "{\"x\":\"a\nb\"," + rest,
		"leading zero":       `{"x":01,` + rest,
		"bare point":         `{"x":1.,` + rest,
		"plus":               `{"x":+1,` + rest,
		"bare exponent":      `{"x":1e,` + rest,
		"minus":              `{"x":-,` + rest,
		"long number":        `{"x":` + strings.Repeat("1", 65) + "," + rest,
		"NaN":                `{"x":NaN,` + rest,
		"True":               `{"x":True,` + rest,
		"single quotes":      `{'x':1,` + rest,
		"comment":            `{/**/"x":1,` + rest,
		"trailing comma":     strings.TrimSuffix("{"+rest, "}") + ",}",
		"two commas":         `{"x":1,,` + rest,
		"no colon":           `{"x" 1,` + rest,
		"unclosed list":      `{"x":[1,` + rest,
		"unclosed string":    `{"x`,
		"unclosed escape":    `{"x\`,
		"unclosed":           strings.TrimSuffix("{"+rest, "}"),
		"trailing object":    "{" + rest + "{}",
		"trailing NUL":       "{" + rest + "\x00",
		"byte order mark":    "\ufeff{" + rest,
		"list":               "[{" + rest + "]",
		"string":             `"x"`,
		"blank":              " ",
	} {
		t.Run(name, func(t *testing.T) {
			raw := jwttest.Compact(p.Header(jwt.TypeVaultSubject).JSON(), payload, p.Sign)
			if _, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now); reason(err) != jwt.ReasonMalformedPayload {
				t.Errorf("Verify: %v", err)
			}
			if _, _, err := jwt.Peek(raw); !errors.Is(err, jwt.ErrUnverified) {
				t.Errorf("Peek: %v", err)
			}
		})
	}
	fine := " \t\r\n{ \"x\" : [ ] , \"y\" : {} , \"z\" : \"\\u00e9\\ud83d\\ude00\\/\\\"\\b\\f\\n\\r\\t\" , \"w\":" + deep(15) + "," + rest + "\n"
	raw := jwttest.Compact(p.Header(jwt.TypeVaultSubject).JSON(), fine, p.Sign)
	if _, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now); err != nil {
		t.Errorf("a legal document is refused: %v", err)
	}
}

// Whatever is wrong with a header, there is one answer.
func TestHeaderRefused(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "agent-1-k1")
	good := p.Header(jwt.TypeVaultSubject)
	for name, header := range map[string]string{
		"b64 true":      good.With("b64", true).JSON(),
		"zip":           good.With("zip", "DEF").JSON(),
		"crit empty":    good.With("crit", []string{}).JSON(),
		"cty":           good.With("cty", "application/json").JSON(),
		"enc":           good.With("enc", "A128GCM").JSON(),
		"x5u":           good.With("x5u", "https://attacker.test/").JSON(),
		"jwk null":      good.With("jwk", json.RawMessage("null")).JSON(),
		"typ number":    good.With("typ", 1).JSON(),
		"typ empty":     good.With("typ", "").JSON(),
		"kid number":    good.With("kid", 1).JSON(),
		"kid empty":     good.With("kid", "").JSON(),
		"kid unknown":   good.With("kid", "agent-1-k2").JSON(),
		"alg twice":     `{"alg":"none",` + good.JSON()[1:],
		"Alg":           `{"Alg":"none",` + good.JSON()[1:],
		"JKU":           `{"JKU":"x",` + good.JSON()[1:],
		"alg null":      good.With("alg", json.RawMessage("null")).JSON(),
		"alg list":      good.With("alg", []string{"ES256"}).JSON(),
		"alg blank":     good.With("alg", "ES256 ").JSON(),
		"alg RS256":     good.With("alg", "RS256").JSON(),
		"not an object": `["ES256"]`,
		"garbage":       "\x00\x01",
	} {
		raw := jwttest.Compact(header, subjectClaims().JSON(), p.Sign)
		claims, key, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now)
		f := fault.From(err)
		if !errors.Is(err, jwt.ErrUnverified) || f.Kind != fault.Unauthenticated || f.Detail != jwt.ErrUnverified.Detail {
			t.Errorf("%s: %v", name, err)
		}
		if claims != (jwt.Claims{}) || key != (jwt.Key{}) {
			t.Errorf("%s: something came back: %v, %v", name, claims, key)
		}
		jwt.DummyVerify(raw)
	}
}

// The key's algorithm decides: no token of one algorithm passes with a key
// registered for another, even if the same RSA key made both.
func TestAlgorithmIsTheKeys(t *testing.T) {
	for _, registered := range algs {
		reg := jwttest.New(t, registered, "k")
		for _, used := range algs {
			p := jwttest.New(t, used, "k")
			if used == registered {
				p = reg
			}
			_, _, err := jwt.Verify(p.Subject(subjectClaims()), []jwt.Key{reg.Key}, jwt.VaultSubject(issuer, true), now)
			if used == registered && err != nil {
				t.Errorf("%s: %v", used, err)
			}
			if used != registered && !errors.Is(err, jwt.ErrUnverified) {
				t.Errorf("registered %s, used %s: %v", registered, used, err)
			}
		}
	}
}

// With a kid one key is tried, without one ten.
func TestWhichKeys(t *testing.T) {
	var keys []jwt.Key
	var pairs []jwttest.Pair
	for i := range 12 {
		p := jwttest.New(t, jwt.EdDSA, fmt.Sprintf("k%d", i))
		keys, pairs = append(keys, p.Key), append(pairs, p)
	}
	r := jwt.VaultSubject(issuer, true)
	for i, p := range pairs {
		if c, _, err := jwt.Verify(p.Subject(subjectClaims()), keys, r, now); err != nil || c.KID != p.KID {
			t.Errorf("kid %s: %q, %v", p.KID, c.KID, err)
		}
		anonymous := jwttest.Compact(p.Header(jwt.TypeVaultSubject).With("kid", nil).JSON(), subjectClaims().JSON(), p.Sign)
		c, _, err := jwt.Verify(anonymous, keys, r, now)
		if i < 10 && (err != nil || c.KID != p.KID) || i >= 10 && !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("key %d without kid: %q, %v", i, c.KID, err)
		}
		other := jwttest.Compact(pairs[(i+1)%12].Header(jwt.TypeVaultSubject).JSON(), subjectClaims().JSON(), p.Sign)
		if _, _, err := jwt.Verify(other, keys, r, now); !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("key %d under another's kid: %v", i, err)
		}
	}
	same := []jwt.Key{keys[0], keys[1]}
	same[1].KID = keys[0].KID
	wrong := jwttest.Compact(pairs[0].Header(jwt.TypeVaultSubject).JSON(), subjectClaims().JSON(), pairs[1].Sign)
	if _, _, err := jwt.Verify(wrong, same, r, now); !errors.Is(err, jwt.ErrUnverified) {
		t.Errorf("of two keys with one kid the second was used: %v", err)
	}
	if _, _, err := jwt.Verify(wrong, nil, r, now); !errors.Is(err, jwt.ErrUnverified) {
		t.Errorf("no keys: %v", err)
	}
}

// Rules that would accept tokens of any age or for anybody do not work.
func TestRulesMustBound(t *testing.T) {
	p := jwttest.New(t, jwt.EdDSA, "k")
	good := jwt.VaultSubject(issuer, true)
	anyAge, anyone, forever := good, good, jwt.ClientAssertion(issuer)
	anyAge.MaxAge, anyone.Audience, forever.MaxLifetime = 0, "", 0
	for name, r := range map[string]jwt.Rules{"age": anyAge, "audience": anyone, "lifetime": forever, "zero": {}} {
		if _, _, err := jwt.Verify(p.Subject(subjectClaims()), []jwt.Key{p.Key}, r, now); err == nil || fault.From(err).Kind != fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClock compares every offset from -120 to +120 seconds of each date with
// the rule as the documents word it.
func TestClock(t *testing.T) {
	p := jwttest.New(t, jwt.EdDSA, "k")
	keys := []jwt.Key{p.Key}
	s, a := subjectClaims().With("nbf", nil), assertionClaims().With("nbf", nil)
	for off := int64(-120); off <= 120; off++ {
		at := now.Unix() + off
		for _, c := range []struct {
			name string
			raw  string
			r    jwt.Rules
			want bool
		}{
			{"subject iat", p.Subject(s.With("iat", at, "exp", nil)), jwt.VaultSubject(issuer, true), -60 <= off && off <= 30},
			{"subject iat, exp +300", p.Subject(s.With("iat", at, "exp", at+300)), jwt.VaultSubject(issuer, true), -60 <= off && off <= 30},
			{"subject exp", p.Subject(s.With("iat", now.Unix()-60, "exp", at)), jwt.VaultSubject(issuer, true), off > -30},
			{"subject nbf", p.Subject(s.With("nbf", at)), jwt.VaultSubject(issuer, false), off <= 30},
			{"assertion exp", p.Assertion(a.With("iat", now.Unix()-121, "exp", at)), jwt.ClientAssertion(issuer), off > -30},
			{"assertion exp, no iat", p.Assertion(a.With("iat", nil, "exp", at)), jwt.ClientAssertion(issuer), off > -30},
			{"assertion iat", p.Assertion(a.With("iat", at, "exp", now.Unix()+121)), jwt.ClientAssertion(issuer), off <= 30},
			{"assertion lifetime", p.Assertion(a.With("iat", now.Unix()-100, "exp", now.Unix()+160+off)), jwt.ClientAssertion(issuer), off <= 40},
			{"assertion nbf", p.Assertion(a.With("nbf", at)), jwt.ClientAssertion(issuer), off <= 30},
		} {
			if _, _, err := jwt.Verify(c.raw, keys, c.r, now); (err == nil) != c.want {
				t.Errorf("%s at %+d s: %v, want accepted = %v", c.name, off, err, c.want)
			}
		}
	}
}

// A token that is accepted at any time is refused from ExpiresEffective on,
// and the moment does not depend on when it was asked for.
func TestExpiresEffective(t *testing.T) {
	p := jwttest.New(t, jwt.EdDSA, "k")
	keys := []jwt.Key{p.Key}
	rapid.Check(t, func(t *rapid.T) {
		iat := now.Unix() + rapid.Int64Range(-70, 40).Draw(t, "iat")
		exp := iat + rapid.Int64Range(1, 310).Draw(t, "lifetime")
		r, raw := jwt.VaultSubject(issuer, true), ""
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			raw = p.Subject(subjectClaims().With("nbf", nil, "iat", iat, "exp", exp))
		case 1:
			raw = p.Subject(subjectClaims().With("nbf", nil, "iat", iat, "exp", nil))
		case 2:
			r, raw = jwt.ClientAssertion(issuer), p.Assertion(assertionClaims().With("nbf", nil, "iat", iat, "exp", exp))
		}
		c, _, err := jwt.Verify(raw, keys, r, now)
		if err != nil {
			t.Skip("not acceptable now")
		}
		later := c.ExpiresEffective.Add(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "later")))
		if _, _, err := jwt.Verify(raw, keys, r, later); err == nil {
			t.Fatalf("accepted at %s, effective until %s", later, c.ExpiresEffective)
		}
		if !now.Before(c.ExpiresEffective) {
			t.Fatalf("accepted at %s, effective until %s", now, c.ExpiresEffective)
		}
	})
}

// No change of one character of a token is accepted.
func TestOneChangeIsRefused(t *testing.T) {
	type signed struct {
		raw string
		key jwt.Key
	}
	var tokens []signed
	for _, alg := range algs {
		p := jwttest.New(t, alg, "k")
		tokens = append(tokens, signed{p.Subject(subjectClaims()), p.Key})
		anonymous := jwttest.Compact(p.Header(jwt.TypeVaultSubject).With("kid", nil).JSON(), subjectClaims().JSON(), p.Sign)
		tokens = append(tokens, signed{anonymous, p.Key})
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(tokens).Draw(t, "token")
		at := rapid.IntRange(0, len(s.raw)-1).Draw(t, "at")
		b := []byte(s.raw)
		if rapid.Bool().Draw(t, "base64") {
			b[at] = rapid.SampledFrom([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")).Draw(t, "char")
		} else {
			b[at] = rapid.Byte().Draw(t, "byte")
		}
		if string(b) == s.raw {
			t.Skip("no change")
		}
		if _, _, err := jwt.Verify(string(b), []jwt.Key{s.key}, jwt.VaultSubject(issuer, true), now); !errors.Is(err, jwt.ErrUnverified) {
			t.Fatalf("Verify: %v", err)
		}
	})
	for _, s := range tokens {
		for _, raw := range []string{s.raw + ".", "." + s.raw, s.raw + "A", s.raw + "AA", s.raw + "AAA", s.raw + "AAAA", s.raw + "\x00", strings.TrimRight(s.raw, "."), s.raw + "." + s.raw} {
			if raw == s.raw {
				continue
			}
			if _, _, err := jwt.Verify(raw, []jwt.Key{s.key}, jwt.VaultSubject(issuer, true), now); !errors.Is(err, jwt.ErrUnverified) {
				t.Errorf("%.20q…: %v", raw, err)
			}
		}
	}
}

// DER is not how JWS spells an ECDSA signature (RFC 7518 §3.4).
func TestDERSignatureRefused(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "k")
	raw := jwttest.Compact(p.Header(jwt.TypeVaultSubject).JSON(), subjectClaims().JSON(), func(input string) []byte {
		digest := sha256.Sum256([]byte(input))
		sig, err := ecdsa.SignASN1(rand.Reader, p.Private.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	})
	if _, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now); !errors.Is(err, jwt.ErrUnverified) {
		t.Errorf("Verify: %v", err)
	}
}

func TestPeek(t *testing.T) {
	p := jwttest.New(t, jwt.ES256, "agent-1-k1")
	h, iss, err := jwt.Peek(p.Subject(subjectClaims()))
	want := jwt.Header{KID: "agent-1-k1", Type: jwt.TypeVaultSubject, Alg: jwt.ES256}
	if h != want || iss != "agent-1" || err != nil {
		t.Errorf("Peek = %+v, %q, %v", h, iss, err)
	}
	// Wrong claims are the business of Verify, which can say what is wrong.
	for _, claims := range []jwttest.Object{subjectClaims().With("iss", nil), subjectClaims().With("iss", []string{"a"}), subjectClaims().With("iss", "agent-1\x00"), subjectClaims().With("iss", strings.Repeat("a", 257), "exp", "x")} {
		if _, iss, err := jwt.Peek(p.Subject(claims)); iss != "" || err != nil {
			t.Errorf("Peek = %q, %v", iss, err)
		}
	}
	for _, raw := range []string{"", ".", "..", "...", "a.b.c", "e30.e30.", "e30..e30", "e30.e30.e30", strings.Repeat("A", 16<<10+1)} {
		if _, _, err := jwt.Peek(raw); !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("Peek(%.20q): %v", raw, err)
		}
		jwt.DummyVerify(raw)
	}
}
