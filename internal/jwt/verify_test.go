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
)

var algs = []jwt.Alg{jwt.RS256, jwt.RS384, jwt.PS256, jwt.ES256, jwt.EdDSA}

// Each rule with a token that it stops.
func TestRejected(t *testing.T) {
	p := newPair(t, jwt.ES256, "agent-1-k1")
	s, a := subjectClaims(), assertionClaims()
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		name    string
		surface string
		claims  object
		want    string
	}{
		{"no iss", exchange, s.with("iss", nil), jwt.ReasonMissingIssuer},
		{"iss empty", exchange, s.with("iss", ""), jwt.ReasonMalformedClaim},
		{"iss null", exchange, s.with("iss", json.RawMessage("null")), jwt.ReasonMalformedClaim},
		{"iss other", exchange, s.with("iss", "agent-2"), jwt.ReasonWrongIssuer},
		{"no sub", exchange, s.with("sub", nil), jwt.ReasonMissingSubject},
		{"sub long", exchange, s.with("sub", long), jwt.ReasonMalformedClaim},
		{"sub with NUL", exchange, s.with("sub", "user-1\x00"), jwt.ReasonMalformedClaim},
		{"sub with line", exchange, s.with("sub", "user-1\n"), jwt.ReasonMalformedClaim},
		{"sub with NEL", exchange, s.with("sub", "user-1\u0085"), jwt.ReasonMalformedClaim},
		{"sub not iss", assertion, a.with("sub", "user-1"), jwt.ReasonWrongSubject},
		{"no aud", exchange, s.with("aud", nil), jwt.ReasonMissingAudience},
		{"aud with slash", exchange, s.with("aud", issuer+"/"), jwt.ReasonWrongAudience},
		{"aud list empty", exchange, s.with("aud", []string{}), jwt.ReasonWrongAudience},
		{"aud twice the same", assertion, a.with("aud", []string{issuer, issuer}), jwt.ReasonWrongAudience},
		{"aud list of list", exchange, s.with("aud", []any{[]string{issuer}}), jwt.ReasonWrongAudience},
		{"aud object", exchange, s.with("aud", object{"a": issuer}), jwt.ReasonWrongAudience},
		{"no jti", exchange, s.with("jti", nil), jwt.ReasonMissingID},
		{"no jti", assertion, a.with("jti", nil), jwt.ReasonMissingID},
		{"jti number", exchange, s.with("jti", 7), jwt.ReasonMalformedClaim},
		{"jti long", exchange, s.with("jti", long), jwt.ReasonMalformedClaim},
		{"no audit_context", exchange, s.with("audit_context", nil), jwt.ReasonMissingAuditContext},
		{"audit_context empty", exchange, s.with("audit_context", ""), jwt.ReasonMalformedClaim},
		{"audit_context long", exchange, s.with("audit_context", strings.Repeat("ж", 257)), jwt.ReasonMalformedClaim},
		{"audit_context list", exchange, s.with("audit_context", []string{"x"}), jwt.ReasonMalformedClaim},
		{"audit_context escape", exchange, s.with("audit_context", "\x1b[2J"), jwt.ReasonMalformedClaim},
		{"org_id number", exchange, s.with("org_id", 1), jwt.ReasonMalformedClaim},
		{"act", exchange, s.with("act", object{"sub": "admin"}), jwt.ReasonActorClaim},
		{"may_act", assertion, a.with("may_act", object{}), jwt.ReasonActorClaim},
		{"no iat", exchange, s.with("iat", nil), jwt.ReasonMissingIssuedAt},
		{"iat true", exchange, s.with("iat", true), jwt.ReasonMalformedClaim},
		{"iat in ms", exchange, s.with("iat", now.UnixMilli()), jwt.ReasonMalformedClaim}, // beyond the year 9999
		{"no exp", assertion, a.with("exp", nil), jwt.ReasonMissingExp},
		{"exp long ago", assertion, a.with("exp", 0), jwt.ReasonExpiresBeforeIssue},
		{"exp long ago, no iat", assertion, a.with("exp", 0, "iat", nil), jwt.ReasonExpired},
		{"exp year 10000", exchange, s.with("exp", json.RawMessage("253402300800")), jwt.ReasonMalformedClaim},
		{"exp is iat", exchange, s.with("exp", now.Unix()), jwt.ReasonExpiresBeforeIssue},
		{"lifetime 301 s", assertion, a.with("exp", now.Unix()+301), jwt.ReasonLifetimeTooLong},
		{"lifetime without iat", assertion, a.with("iat", nil, "exp", now.Unix()+331), jwt.ReasonLifetimeTooLong},
		{"old, long exp", exchange, s.with("iat", now.Unix()-61, "exp", now.Unix()+9999), jwt.ReasonTooOld},
	} {
		t.Run(c.surface+" "+c.name, func(t *testing.T) {
			raw := p.subject(c.claims)
			if c.surface == assertion {
				raw = p.assertion(c.claims)
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
	p := newPair(t, jwt.ES256, "agent-1-k1")
	s, a := subjectClaims(), assertionClaims()
	for _, c := range []struct {
		name   string
		header object
		claims object
		rules  jwt.Rules
	}{
		{"worker", p.header(jwt.TypeVaultSubject), s, jwt.VaultSubject(issuer, true)},
		{"no exp, no nbf", p.header(jwt.TypeVaultSubject), s.with("exp", nil, "nbf", nil), jwt.VaultSubject(issuer, true)},
		{"exp +1 day", p.header(jwt.TypeVaultSubject), s.with("exp", now.Unix()+86400), jwt.VaultSubject(issuer, true)},
		{"aud list of one", p.header(jwt.TypeVaultSubject), s.with("aud", []string{issuer}), jwt.VaultSubject(issuer, true)},
		{"other claims", p.header(jwt.TypeVaultSubject), s.with("scope", "a b", "x", object{"a": []any{1.5e3, nil, false}}), jwt.VaultSubject(issuer, true)},
		{"audit_context 256", p.header(jwt.TypeVaultSubject), s.with("audit_context", strings.Repeat("ж", 256)), jwt.VaultSubject(issuer, true)},
		{"exponent", p.header(jwt.TypeVaultSubject), s.with("iat", json.RawMessage("17723664e2")), jwt.VaultSubject(issuer, true)},
		{"compat", p.header(jwt.TypeVaultSubject), s.with("jti", nil, "audit_context", nil), jwt.VaultSubject(issuer, false)},
		{"thumbprint hint", p.header(jwt.TypeVaultSubject).with("x5t", "abc"), s, jwt.VaultSubject(issuer, true)},
		{"assertion", p.header(""), a, jwt.ClientAssertion(issuer)},
		{"assertion typ JWT", p.header("JWT"), a, jwt.ClientAssertion(issuer)},
		{"assertion own typ", p.header(jwt.TypeClientAssertion), a, jwt.ClientAssertion(issuer)},
		{"assertion 300 s", p.header(""), a.with("exp", now.Unix()+300), jwt.ClientAssertion(issuer)},
		{"assertion without iat", p.header(""), a.with("iat", nil, "exp", now.Unix()+300), jwt.ClientAssertion(issuer)},
		{"without kid", p.header("").with("kid", nil), a, jwt.ClientAssertion(issuer)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := jwt.Verify(compact(c.header.json(), c.claims.json(), p.sign), []jwt.Key{p.Key}, c.rules, now); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	p := newPair(t, jwt.EdDSA, "agent-1-k1")
	raw := p.subject(subjectClaims().with("org_id", "org_7", "nbf", json.RawMessage(fmt.Sprintf("%d.9", now.Unix()-5))))
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
	p := newPair(t, jwt.ES256, "agent-1-k1")
	raw := p.subject(subjectClaims())
	cut := strings.LastIndexByte(raw, '.') + 1
	sig, err := base64.RawURLEncoding.DecodeString(raw[cut:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	other := raw[:cut] + b64(string(sig))
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
	p := newPair(t, jwt.ES256, "k")
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
		raw := compact(p.header(c.typ).json(), `{"iss":7}`, p.sign)
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
	p := newPair(t, jwt.EdDSA, "k")
	rest := subjectClaims().json()[1:]
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
			raw := compact(p.header(jwt.TypeVaultSubject).json(), payload, p.sign)
			if _, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now); reason(err) != jwt.ReasonMalformedPayload {
				t.Errorf("Verify: %v", err)
			}
			if _, _, err := jwt.Peek(raw); !errors.Is(err, jwt.ErrUnverified) {
				t.Errorf("Peek: %v", err)
			}
		})
	}
	fine := " \t\r\n{ \"x\" : [ ] , \"y\" : {} , \"z\" : \"\\u00e9\\ud83d\\ude00\\/\\\"\\b\\f\\n\\r\\t\" , \"w\":" + deep(15) + "," + rest + "\n"
	raw := compact(p.header(jwt.TypeVaultSubject).json(), fine, p.sign)
	if _, _, err := jwt.Verify(raw, []jwt.Key{p.Key}, jwt.VaultSubject(issuer, true), now); err != nil {
		t.Errorf("a legal document is refused: %v", err)
	}
}

// Whatever is wrong with a header, there is one answer.
func TestHeaderRefused(t *testing.T) {
	p := newPair(t, jwt.ES256, "agent-1-k1")
	good := p.header(jwt.TypeVaultSubject)
	for name, header := range map[string]string{
		"b64 true":      good.with("b64", true).json(),
		"zip":           good.with("zip", "DEF").json(),
		"crit empty":    good.with("crit", []string{}).json(),
		"cty":           good.with("cty", "application/json").json(),
		"enc":           good.with("enc", "A128GCM").json(),
		"x5u":           good.with("x5u", "https://attacker.test/").json(),
		"jwk null":      good.with("jwk", json.RawMessage("null")).json(),
		"typ number":    good.with("typ", 1).json(),
		"typ empty":     good.with("typ", "").json(),
		"kid number":    good.with("kid", 1).json(),
		"kid empty":     good.with("kid", "").json(),
		"kid unknown":   good.with("kid", "agent-1-k2").json(),
		"alg twice":     `{"alg":"none",` + good.json()[1:],
		"Alg":           `{"Alg":"none",` + good.json()[1:],
		"JKU":           `{"JKU":"x",` + good.json()[1:],
		"alg null":      good.with("alg", json.RawMessage("null")).json(),
		"alg list":      good.with("alg", []string{"ES256"}).json(),
		"alg blank":     good.with("alg", "ES256 ").json(),
		"alg RS256":     good.with("alg", "RS256").json(),
		"not an object": `["ES256"]`,
		"garbage":       "\x00\x01",
	} {
		raw := compact(header, subjectClaims().json(), p.sign)
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
		reg := newPair(t, registered, "k")
		for _, used := range algs {
			p := newPair(t, used, "k")
			if used == registered {
				p = reg
			}
			_, _, err := jwt.Verify(p.subject(subjectClaims()), []jwt.Key{reg.Key}, jwt.VaultSubject(issuer, true), now)
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
	var pairs []pair
	for i := range 12 {
		p := newPair(t, jwt.EdDSA, fmt.Sprintf("k%d", i))
		keys, pairs = append(keys, p.Key), append(pairs, p)
	}
	r := jwt.VaultSubject(issuer, true)
	for i, p := range pairs {
		if c, _, err := jwt.Verify(p.subject(subjectClaims()), keys, r, now); err != nil || c.KID != p.KID {
			t.Errorf("kid %s: %q, %v", p.KID, c.KID, err)
		}
		anonymous := compact(p.header(jwt.TypeVaultSubject).with("kid", nil).json(), subjectClaims().json(), p.sign)
		c, _, err := jwt.Verify(anonymous, keys, r, now)
		if i < 10 && (err != nil || c.KID != p.KID) || i >= 10 && !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("key %d without kid: %q, %v", i, c.KID, err)
		}
		other := compact(pairs[(i+1)%12].header(jwt.TypeVaultSubject).json(), subjectClaims().json(), p.sign)
		if _, _, err := jwt.Verify(other, keys, r, now); !errors.Is(err, jwt.ErrUnverified) {
			t.Errorf("key %d under another's kid: %v", i, err)
		}
	}
	same := []jwt.Key{keys[0], keys[1]}
	same[1].KID = keys[0].KID
	wrong := compact(pairs[0].header(jwt.TypeVaultSubject).json(), subjectClaims().json(), pairs[1].sign)
	if _, _, err := jwt.Verify(wrong, same, r, now); !errors.Is(err, jwt.ErrUnverified) {
		t.Errorf("of two keys with one kid the second was used: %v", err)
	}
	if _, _, err := jwt.Verify(wrong, nil, r, now); !errors.Is(err, jwt.ErrUnverified) {
		t.Errorf("no keys: %v", err)
	}
}

// Rules that would accept tokens of any age or for anybody do not work.
func TestRulesMustBound(t *testing.T) {
	p := newPair(t, jwt.EdDSA, "k")
	good := jwt.VaultSubject(issuer, true)
	anyAge, anyone, forever := good, good, jwt.ClientAssertion(issuer)
	anyAge.MaxAge, anyone.Audience, forever.MaxLifetime = 0, "", 0
	for name, r := range map[string]jwt.Rules{"age": anyAge, "audience": anyone, "lifetime": forever, "zero": {}} {
		if _, _, err := jwt.Verify(p.subject(subjectClaims()), []jwt.Key{p.Key}, r, now); err == nil || fault.From(err).Kind != fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClock compares every offset from -120 to +120 seconds of each date with
// the rule as the documents word it.
func TestClock(t *testing.T) {
	p := newPair(t, jwt.EdDSA, "k")
	keys := []jwt.Key{p.Key}
	s, a := subjectClaims().with("nbf", nil), assertionClaims().with("nbf", nil)
	for off := int64(-120); off <= 120; off++ {
		at := now.Unix() + off
		for _, c := range []struct {
			name string
			raw  string
			r    jwt.Rules
			want bool
		}{
			{"subject iat", p.subject(s.with("iat", at, "exp", nil)), jwt.VaultSubject(issuer, true), -60 <= off && off <= 30},
			{"subject iat, exp +300", p.subject(s.with("iat", at, "exp", at+300)), jwt.VaultSubject(issuer, true), -60 <= off && off <= 30},
			{"subject exp", p.subject(s.with("iat", now.Unix()-60, "exp", at)), jwt.VaultSubject(issuer, true), off > -30},
			{"subject nbf", p.subject(s.with("nbf", at)), jwt.VaultSubject(issuer, false), off <= 30},
			{"assertion exp", p.assertion(a.with("iat", now.Unix()-121, "exp", at)), jwt.ClientAssertion(issuer), off > -30},
			{"assertion exp, no iat", p.assertion(a.with("iat", nil, "exp", at)), jwt.ClientAssertion(issuer), off > -30},
			{"assertion iat", p.assertion(a.with("iat", at, "exp", now.Unix()+121)), jwt.ClientAssertion(issuer), off <= 30},
			{"assertion lifetime", p.assertion(a.with("iat", now.Unix()-100, "exp", now.Unix()+160+off)), jwt.ClientAssertion(issuer), off <= 40},
			{"assertion nbf", p.assertion(a.with("nbf", at)), jwt.ClientAssertion(issuer), off <= 30},
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
	p := newPair(t, jwt.EdDSA, "k")
	keys := []jwt.Key{p.Key}
	rapid.Check(t, func(t *rapid.T) {
		iat := now.Unix() + rapid.Int64Range(-70, 40).Draw(t, "iat")
		exp := iat + rapid.Int64Range(1, 310).Draw(t, "lifetime")
		r, raw := jwt.VaultSubject(issuer, true), ""
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			raw = p.subject(subjectClaims().with("nbf", nil, "iat", iat, "exp", exp))
		case 1:
			raw = p.subject(subjectClaims().with("nbf", nil, "iat", iat, "exp", nil))
		case 2:
			r, raw = jwt.ClientAssertion(issuer), p.assertion(assertionClaims().with("nbf", nil, "iat", iat, "exp", exp))
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
		p := newPair(t, alg, "k")
		tokens = append(tokens, signed{p.subject(subjectClaims()), p.Key})
		anonymous := compact(p.header(jwt.TypeVaultSubject).with("kid", nil).json(), subjectClaims().json(), p.sign)
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
	p := newPair(t, jwt.ES256, "k")
	raw := compact(p.header(jwt.TypeVaultSubject).json(), subjectClaims().json(), func(input string) []byte {
		digest := sha256.Sum256([]byte(input))
		sig, err := ecdsa.SignASN1(rand.Reader, p.private.(*ecdsa.PrivateKey), digest[:])
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
	p := newPair(t, jwt.ES256, "agent-1-k1")
	h, iss, err := jwt.Peek(p.subject(subjectClaims()))
	want := jwt.Header{KID: "agent-1-k1", Type: jwt.TypeVaultSubject, Alg: jwt.ES256}
	if h != want || iss != "agent-1" || err != nil {
		t.Errorf("Peek = %+v, %q, %v", h, iss, err)
	}
	// Wrong claims are the business of Verify, which can say what is wrong.
	for _, claims := range []object{subjectClaims().with("iss", nil), subjectClaims().with("iss", []string{"a"}), subjectClaims().with("iss", "agent-1\x00"), subjectClaims().with("iss", strings.Repeat("a", 257), "exp", "x")} {
		if _, iss, err := jwt.Peek(p.subject(claims)); iss != "" || err != nil {
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
