package jwt_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

// modulus is a PKCS#1 public key with any numbers.
func modulus(t *testing.T, n *big.Int, e int) string {
	t.Helper()
	der := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: e})
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der}))
}

// rocaModulus is a product of two numbers of the broken form (not prime: the
// fingerprint does not care).
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for r := int64(2); r <= 167; r++ {
		if big.NewInt(r).ProbablyPrime(10) {
			m.Mul(m, big.NewInt(r))
		}
	}
	part := func(exp int64) *big.Int {
		k := randomModulus(t, 1026-uint(m.BitLen()))
		p := new(big.Int).Exp(big.NewInt(65537), big.NewInt(exp), m)
		return p.Add(p, k.Mul(k, m))
	}
	return new(big.Int).Mul(part(12345), part(67890))
}

func pemOf(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// A private key is refused whatever it is wrapped in, and nothing of it is
// repeated.
func TestPrivateKeyRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(jwttest.RSA())
	public := jwttest.SPKI(t, ec.Public())
	const x = `"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	for name, data := range map[string]string{
		"pkcs8":              pemOf("PRIVATE KEY", pkcs8),
		"sec1":               pemOf("EC PRIVATE KEY", sec1),
		"pkcs1":              pemOf("RSA PRIVATE KEY", pkcs1),
		"encrypted":          pemOf("ENCRYPTED PRIVATE KEY", []byte("whatever")),
		"openssh":            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
		"lower case":         strings.ToLower(pemOf("PRIVATE KEY", pkcs8)),
		"lines lost":         strings.ReplaceAll(pemOf("PRIVATE KEY", pkcs8), "\n", `\n`),
		"no end":             strings.SplitAfter(pemOf("PRIVATE KEY", pkcs8), "\n")[0],
		"putty":              "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAA\n",
		"second block":       public + pemOf("PRIVATE KEY", pkcs8),
		"mislabelled":        pemOf("PUBLIC KEY", pkcs8),
		"mislabelled sec1":   pemOf("CERTIFICATE", sec1),
		"mislabelled pkcs1":  pemOf("RSA PUBLIC KEY", pkcs1),
		"bare der":           string(pkcs8),
		"bare base64":        base64.StdEncoding.EncodeToString(pkcs8),
		"jwk d":              `{"kty":"OKP","crv":"Ed25519",` + x + `,"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`,
		"jwk d is null":      `{"kty":"OKP","crv":"Ed25519",` + x + `,"d":null}`,
		"jwk D":              `{"kty":"OKP","crv":"Ed25519",` + x + `,"D":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`,
		"jwk dp only":        `{"kty":"RSA","n":"AQAB","e":"AQAB","dp":"AQAB"}`,
		"jwk oct":            `{"kty":"oct","k":"c2VjcmV0c2VjcmV0"}`,
		"jwk broken after d": `{"kty":"OKP","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",`,
		"jwk broken before":  `{"kty":"OKP",,"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`,
		"jwk set":            `{"keys":[{"kty":"OKP","crv":"Ed25519",` + x + `,"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			key, err := jwt.ParsePublicKey([]byte(data), "")
			if got := reason(err); got != jwt.ReasonPrivateKey {
				t.Fatalf("ParsePublicKey: %v", err)
			}
			if key.Public != nil || key.KID != "" {
				t.Errorf("a key came back: %v", key)
			}
			if !strings.Contains(fault.From(err).Detail, "leaked") {
				t.Errorf("the detail does not say that the key is leaked: %q", fault.From(err).Detail)
			}
			for _, part := range []string{"nWGxne", "c2VjcmV0", base64.StdEncoding.EncodeToString(pkcs8)[:20]} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error repeats the key: %v", err)
				}
			}
		})
	}
}

func TestKeyRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, ed := jwttest.New(t, jwt.ES256, "k"), jwttest.New(t, jwt.EdDSA, "k")
	n := jwttest.RSA().N
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	const ecJWK = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	for name, c := range map[string]struct {
		data string
		alg  jwt.Alg
		want string
	}{
		"empty":              {"", "", jwt.ReasonMalformedKey},
		"text":               {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== agent", "", jwt.ReasonMalformedKey},
		"too long":           {ec.PEM() + strings.Repeat(" ", 16<<10), "", jwt.ReasonMalformedKey},
		"two keys":           {ec.PEM() + ed.PEM(), "", jwt.ReasonMalformedKey},
		"text after":         {ec.PEM() + "x", "", jwt.ReasonMalformedKey},
		"broken":             {pemOf("PUBLIC KEY", []byte("no der")), "", jwt.ReasonMalformedKey},
		"request":            {pemOf("CERTIFICATE REQUEST", []byte("no der")), "", jwt.ReasonMalformedKey},
		"P-384":              {jwttest.SPKI(t, p384.Public()), "", jwt.ReasonUnsupportedKey},
		"rsa 2047 bit":       {modulus(t, new(big.Int).Rsh(n, 1).SetBit(new(big.Int).Rsh(n, 1), 0, 1), 65537), "", jwt.ReasonWeakKey},
		"rsa 8192 bit":       {modulus(t, randomModulus(t, 8192), 65537), "", jwt.ReasonWeakKey},
		"rsa e 1":            {modulus(t, n, 1), "", jwt.ReasonWeakKey},
		"rsa e 65536":        {modulus(t, n, 65536), "", jwt.ReasonWeakKey},
		"rsa even":           {modulus(t, even, 65537), "", jwt.ReasonWeakKey},
		"rsa divisible":      {modulus(t, new(big.Int).Mul(n, big.NewInt(167)), 65537), "", jwt.ReasonWeakKey},
		"rsa as ES256":       {modulus(t, n, 65537), jwt.ES256, jwt.ReasonWrongAlg},
		"ec as RS256":        {ec.PEM(), jwt.RS256, jwt.ReasonWrongAlg},
		"ed25519 as ES256":   {ed.PEM(), jwt.ES256, jwt.ReasonWrongAlg},
		"RS512":              {modulus(t, n, 65537), "RS512", jwt.ReasonWrongAlg},
		"HS256":              {ec.PEM(), "HS256", jwt.ReasonWrongAlg},
		"none":               {ec.PEM(), "none", jwt.ReasonWrongAlg},
		"jwk other alg":      {ecJWK + `,"alg":"ES256"}`, jwt.EdDSA, jwt.ReasonWrongAlg},
		"jwk alg unknown":    {ecJWK + `,"alg":"ES256K"}`, "", jwt.ReasonWrongAlg},
		"jwk alg misfit":     {ecJWK + `,"alg":"RS256"}`, "", jwt.ReasonWrongAlg},
		"jwk use enc":        {ecJWK + `,"use":"enc"}`, "", jwt.ReasonUnsupportedKey},
		"jwk ops empty":      {ecJWK + `,"key_ops":[]}`, "", jwt.ReasonUnsupportedKey},
		"jwk ops string":     {ecJWK + `,"key_ops":"verify"}`, "", jwt.ReasonMalformedKey},
		"jwk twice x":        {ecJWK + `,"x":"AAAA"}`, "", jwt.ReasonMalformedKey},
		"jwk Kid":            {ecJWK + `,"Kid":"k"}`, "", jwt.ReasonMalformedKey},
		"jwk off the curve":  {strings.Replace(ecJWK, `"x":"f`, `"x":"g`, 1) + "}", "", jwt.ReasonMalformedKey},
		"jwk short x":        {`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`, "", jwt.ReasonMalformedKey},
		"jwk std base64":     {strings.Replace(ecJWK, "x_F", "x/F", 1) + "}", "", jwt.ReasonMalformedKey},
		"jwk P-521":          {strings.Replace(ecJWK, "P-256", "P-521", 1) + "}", "", jwt.ReasonUnsupportedKey},
		"jwk X25519":         {`{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "", jwt.ReasonUnsupportedKey},
		"jwk kty number":     {`{"kty":1}`, "", jwt.ReasonMalformedKey},
		"jwk rsa huge e":     {`{"kty":"RSA","n":"AQAB","e":"AQAAAAAAAAE"}`, "", jwt.ReasonWeakKey},
		"jwk rsa without e":  {`{"kty":"RSA","n":"AQAB"}`, "", jwt.ReasonMalformedKey},
		"jwk set":            {`{"keys":[` + ecJWK + `}]}`, "", jwt.ReasonMalformedKey},
		"jwk trailing":       {ecJWK + `}{}`, "", jwt.ReasonMalformedKey},
		"jwk list":           {`[` + ecJWK + `}]`, "", jwt.ReasonMalformedKey},
		"jwk ed25519 zero":   {`{"kty":"OKP","crv":"Ed25519","x":"` + jwttest.Encode(strings.Repeat("\x00", 32)) + `"}`, "", jwt.ReasonWeakKey},
		"jwk ed25519 neg. 1": {`{"kty":"OKP","crv":"Ed25519","x":"` + jwttest.Encode("\x01"+strings.Repeat("\x00", 30)+"\x80") + `"}`, "", jwt.ReasonWeakKey},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := jwt.ParsePublicKey([]byte(c.data), c.alg)
			if got := reason(err); got != c.want || key.Public != nil {
				t.Errorf("ParsePublicKey = %v, %v; want %s", key, err, c.want)
			}
		})
	}
}

// The refused Ed25519 points are indeed those for which anybody can sign.
func TestSmallOrderPointsForge(t *testing.T) {
	forgery := append([]byte{1}, make([]byte, 63)...) // R is the neutral point, S is 0
	for _, point := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		pub, err := hex.DecodeString(point)
		if err != nil {
			t.Fatal(err)
		}
		hits := 0
		for i := range 200 {
			if ed25519.Verify(pub, []byte{byte(i)}, forgery) {
				hits++
			}
		}
		if hits == 0 {
			t.Errorf("%s is not of small order", point)
		}
		if _, err := jwt.ParsePublicKey([]byte(jwttest.SPKI(t, ed25519.PublicKey(pub))), ""); reason(err) != jwt.ReasonWeakKey {
			t.Errorf("%s: %v", point, err)
		}
	}
}

func TestKeyForms(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "agent"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, jwttest.RSA().Public(), jwttest.RSA())
	if err != nil {
		t.Fatal(err)
	}
	n := jwttest.RSA().N
	for name, c := range map[string]struct {
		data string
		alg  jwt.Alg
		want jwt.Alg
	}{
		"spki":             {jwttest.SPKI(t, jwttest.RSA().Public()), "", jwt.RS256},
		"spki, text first": {"Bag Attributes\n" + jwttest.SPKI(t, jwttest.RSA().Public()), jwt.PS256, jwt.PS256},
		"pkcs1":            {modulus(t, n, 65537), jwt.RS384, jwt.RS384},
		"pkcs1, e 3":       {modulus(t, n, 3), "", jwt.RS256},
		"4096 bit":         {modulus(t, oddAndSound(t, 4096), 65537), "", jwt.RS256},
		"certificate":      {pemOf("CERTIFICATE", cert), "", jwt.RS256},
		"ec":               {jwttest.New(t, jwt.ES256, "k").PEM(), "", jwt.ES256},
		"ed25519":          {jwttest.New(t, jwt.EdDSA, "k").PEM(), jwt.EdDSA, jwt.EdDSA},
		"jwk rsa":          {" {\"kty\":\"RSA\",\"e\":\"AQAB\",\"alg\":\"PS256\",\"n\":\"" + jwttest.Encode(string(n.Bytes())) + "\"}\n", "", jwt.PS256},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := jwt.ParsePublicKey([]byte(c.data), c.alg)
			if err != nil {
				t.Fatal(err)
			}
			if key.Alg != c.want || key.KID != key.Thumbprint() || !jwt.ValidKID(key.KID) {
				t.Errorf("got alg %s, kid %q", key.Alg, key.KID)
			}
			again, err := jwt.ParsePublicKey([]byte(key.PEM()), key.Alg)
			if diff := cmp.Diff(key, again); err != nil || diff != "" {
				t.Errorf("after PEM: %v\n%s", err, diff)
			}
		})
	}
}

// oddAndSound is a modulus that no quick test calls weak.
func oddAndSound(t *testing.T, bits uint) *big.Int {
	t.Helper()
	for {
		n := randomModulus(t, bits)
		sound := true
		for r := int64(3); r < 170; r += 2 {
			sound = sound && new(big.Int).Mod(n, big.NewInt(r)).Sign() != 0
		}
		if sound {
			return n
		}
	}
}

// RFC 7638 §3.1, RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	for name, c := range map[string][2]string{
		"rsa": {
			`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		},
		"ed25519": {
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
		},
	} {
		key, err := jwt.ParsePublicKey([]byte(c[0]), "")
		if err != nil || key.Thumbprint() != c[1] {
			t.Errorf("%s: thumbprint %q, %v", name, key.Thumbprint(), err)
		}
	}
}

func TestKID(t *testing.T) {
	const x = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	const thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	for kid, want := range map[string]string{
		"k":                     "k",
		"2011-04-29_A":          "2011-04-29_A",
		strings.Repeat("k", 64): strings.Repeat("k", 64),
		strings.Repeat("k", 65): thumbprint,
		"":                      thumbprint,
		"../../key":             thumbprint,
		"a b":                   thumbprint,
		"ключ":                  thumbprint,
	} {
		key, err := jwt.ParsePublicKey([]byte(`{`+x+`,"kid":"`+kid+`"}`), "")
		if err != nil || key.KID != want {
			t.Errorf("kid %q became %q, %v; want %q", kid, key.KID, err, want)
		}
	}
}
