package agent_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vktest"
	"github.com/valetkey/valetkey/secret"
)

const org = id.DefaultOrg

var home = netip.MustParseAddr("127.0.0.1")

// scene is a world with one person, one agent and its key.
type scene struct {
	*vktest.World
	t    *testing.T
	mira user.Principal
	bot  *agent.Agent
	key  *ecdsa.PrivateKey
	now  time.Time
}

func newScene(t *testing.T) *scene {
	w := vktest.New(t)
	s := &scene{World: w, t: t, mira: w.Person("mira"), now: time.Now()}
	s.bot, s.key = w.Agent(s.mira, "triage")
	return s
}

func (s *scene) agents() *agent.Service { return s.App.Agents }

// second is another process on the same database, with caches of its own.
func (s *scene) second() *agent.Service {
	a := s.App.Agents
	return &agent.Service{Org: a.Org, Store: a.Store, Issuer: a.Issuer, Epoch: a.Epoch}
}

func (s *scene) log(verb, object string, data map[string]string) audit.Event {
	return s.mira.Event(verb, object, s.mira.User, s.now, data)
}

func (s *scene) keys() []*agent.Key {
	s.t.Helper()
	got, err := s.agents().Store.Keys().OfAgent(s.t.Context(), org, s.bot.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// sign makes a JWT by ES256. Members of the changes replace those of claims;
// a nil removes one.
func (s *scene) sign(key *ecdsa.PrivateKey, typ string, claims, changes map[string]any) string {
	s.t.Helper()
	all := maps.Clone(claims)
	for k, v := range changes {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		s.must(err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(map[string]string{"alg": "ES256", "typ": typ}) + "." + part(all)
	sum := sha256.Sum256([]byte(input))
	r, v, err := ecdsa.Sign(rand.Reader, key, sum[:])
	s.must(err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	v.FillBytes(sig[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (s *scene) assertion(changes map[string]any) string {
	return s.sign(s.key, "client-authentication+jwt", map[string]any{
		"iss": string(s.bot.ID), "sub": string(s.bot.ID), "aud": s.agents().Issuer, "jti": secret.Random(16).Reveal(),
		"iat": s.now.Unix(), "exp": s.now.Add(time.Minute).Unix(),
	}, changes)
}

func (s *scene) subject(changes map[string]any) string {
	return s.sign(s.key, "token-vault-req+jwt", map[string]any{
		"iss": string(s.bot.ID), "sub": string(s.mira.User), "aud": s.agents().Issuer, "jti": secret.Random(16).Reveal(),
		"iat": s.now.Unix(), "exp": s.now.Add(time.Minute).Unix(), "audit_context": "a test",
	}, changes)
}

func (s *scene) assert(raw, client string) (agent.Caller, error) {
	return s.agents().Assert(s.t.Context(), raw, client, home, s.now)
}

// token is a fresh access token of the agent.
func (s *scene) token() secret.Text {
	s.t.Helper()
	c, err := s.assert(s.assertion(nil), "")
	s.must(err)
	text, _, err := s.agents().Issue(s.t.Context(), c, nil, s.now)
	s.must(err)
	return text
}

func (s *scene) bearer(v *agent.Service, text secret.Text) error {
	_, err := v.Bearer(s.t.Context(), text, home, s.now)
	return err
}

func TestAssertRefuses(t *testing.T) {
	s := newScene(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	forged := s.sign(stranger, "client-authentication+jwt", map[string]any{
		"iss": string(s.bot.ID), "sub": string(s.bot.ID), "aud": s.agents().Issuer, "jti": "a", "iat": s.now.Unix(), "exp": s.now.Add(time.Minute).Unix(),
	}, nil)
	good := s.assertion(nil)
	// Until a signature verifies there is one answer.
	for why, raw := range map[string]string{
		"nothing": "", "no token": "a.b.c", "one part": "abc", "a foreign signature": forged, "a cut signature": good[:len(good)-4],
		"no signature": good[:strings.LastIndex(good, ".")+1], "an unknown agent": s.assertion(map[string]any{"iss": string(id.NewAgent())}),
		"an unknown name": s.assertion(map[string]any{"iss": "nobody"}), "no issuer": s.assertion(map[string]any{"iss": nil}),
		"an issuer that is no name": s.assertion(map[string]any{"iss": "triage' or '1'='1"}), "a very long one": strings.Repeat("a", 1<<17),
	} {
		c, err := s.assert(raw, "")
		if f := fault.From(err); f.Reason != agent.ErrUnauthenticated.Reason || f.Detail != agent.ErrUnauthenticated.Detail || c.Agent != "" {
			t.Errorf("%s: %v, caller %q", why, err, c.Agent)
		}
	}
	// After it the agent is known, the reason is said, and the signature is
	// used up where it has a name.
	for why, c := range map[string]struct {
		raw, client string
		from        netip.Addr
		proofs      int
	}{
		"another client_id":     {s.assertion(nil), "other", home, 1},
		"from elsewhere":        {s.assertion(nil), "", netip.MustParseAddr("203.0.113.9"), 1},
		"from elsewhere, IPv6":  {s.assertion(nil), "", netip.MustParseAddr("2001:db8::9"), 1},
		"from elsewhere mapped": {s.assertion(nil), "", netip.MustParseAddr("::ffff:203.0.113.9"), 1},
		"from nowhere":          {s.assertion(nil), "", netip.Addr{}, 1},
		"expired":               {s.assertion(map[string]any{"iat": s.now.Add(-time.Hour).Unix(), "exp": s.now.Add(-30 * time.Minute).Unix()}), "", home, 0},
		"for somebody else":     {s.assertion(map[string]any{"aud": "https://other.test/"}), "", home, 0},
		"about somebody else":   {s.assertion(map[string]any{"sub": "other"}), "", home, 0},
		"without a jti":         {s.assertion(map[string]any{"jti": nil}), "", home, 0},
		"of another kind":       {s.subject(nil), "", home, 0},
	} {
		got, err := s.agents().Assert(t.Context(), c.raw, c.client, c.from, s.now)
		if err == nil || errors.Is(err, agent.ErrUnauthenticated) || got.Agent != s.bot.ID {
			t.Errorf("%s: %v, caller %q", why, err, got.Agent)
		}
		if len(got.Proofs) != c.proofs {
			t.Errorf("%s: %d proofs to spend, want %d", why, len(got.Proofs), c.proofs)
		}
	}
}

func TestAssert(t *testing.T) {
	s := newScene(t)
	for _, c := range []struct {
		why, iss, client string
		from             netip.Addr
	}{
		{"by id", string(s.bot.ID), "", home},
		{"by id, named beside", string(s.bot.ID), string(s.bot.ID), home},
		{"by id, name beside", string(s.bot.ID), "triage", home},
		{"by name", "triage", "", home},
		{"by name, id beside", "triage", string(s.bot.ID), home},
		{"over IPv6", "triage", "", netip.MustParseAddr("::1")},
		{"over IPv6 that is IPv4", "triage", "", netip.MustParseAddr("::ffff:127.0.0.1")},
	} {
		got, err := s.agents().Assert(t.Context(), s.assertion(map[string]any{"iss": c.iss, "sub": c.iss}), c.client, c.from, s.now)
		if err != nil || got.Agent != s.bot.ID || got.Owner != s.mira.User || got.Key != s.keys()[0].ID || len(got.Proofs) != 1 || got.Proofs[0].Until.Before(s.now.Add(time.Minute)) {
			t.Errorf("%s: %+v, %v", c.why, got, err)
		}
	}
}

// One signature earns one token, whoever is asked how often.
func TestAssertionWorksOnce(t *testing.T) {
	s := newScene(t)
	raw := s.assertion(nil)
	services := []*agent.Service{s.agents(), s.second()}
	var mu sync.Mutex
	issued := 0
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			c, err := services[i%2].Assert(t.Context(), raw, "", home, s.now)
			if err != nil {
				t.Error(err)
				return
			}
			_, _, err = services[i%2].Issue(t.Context(), c, nil, s.now)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				issued++
			} else if !errors.Is(err, agent.ErrReplayed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if issued != 1 {
		t.Errorf("%d tokens for one signature", issued)
	}
}

// Another agent's jti, and the same one on another kind of token, are others.
func TestJTINamespaces(t *testing.T) {
	s := newScene(t)
	c, err := s.assert(s.assertion(map[string]any{"jti": "one"}), "")
	s.must(err)
	_, _, err = s.agents().Issue(t.Context(), c, nil, s.now)
	s.must(err)
	v, err := s.agents().Subject(t.Context(), s.subject(map[string]any{"jti": "one"}), "", home, s.now)
	s.must(err)
	s.must(s.agents().Store.Tokens().Spend(t.Context(), v.Proofs, []audit.Event{v.Event("test.spend", "", "", s.now, nil)}))
	s.bot, s.key = s.Agent(s.mira, "other")
	c, err = s.assert(s.assertion(map[string]any{"jti": "one"}), "")
	s.must(err)
	if _, _, err := s.agents().Issue(t.Context(), c, nil, s.now); err != nil {
		t.Errorf("another agent with the same jti: %v", err)
	}
}

// The profile is the agent's, never the request's.
func TestSubjectProfiles(t *testing.T) {
	s := newScene(t)
	ask := func(changes map[string]any) (agent.Caller, error) {
		return s.agents().Subject(t.Context(), s.subject(changes), "", home, s.now)
	}
	loose := map[string]any{"jti": nil, "audit_context": nil, "exp": nil}
	c, err := ask(nil)
	if err != nil || c.Subject != s.mira.User || c.AuditContext != "a test" || len(c.Proofs) != 1 {
		t.Errorf("strict: %+v, %v", c, err)
	}
	for _, missing := range []string{"jti", "audit_context"} {
		if c, err := ask(map[string]any{missing: nil}); err == nil || c.Subject != "" || !strings.Contains(fault.From(err).Detail, missing) {
			t.Errorf("strict without %s: %v; it does not name what is missing", missing, err)
		}
	}
	if _, err := s.agents().Subject(t.Context(), s.assertion(nil), "", home, s.now); err == nil {
		t.Error("an assertion was taken for a subject token")
	}
	s.must(s.agents().SetProfile(t.Context(), s.bot.ID, agent.Compat2025, s.log))
	if c, err := ask(loose); err != nil || c.Subject != s.mira.User {
		t.Errorf("compat: %v", err)
	}
	if _, err := ask(map[string]any{"jti": nil, "iat": s.now.Add(-2 * time.Minute).Unix()}); err == nil {
		t.Error("compat: two minutes old, and taken")
	}
	s.must(s.agents().SetProfile(t.Context(), s.bot.ID, agent.Strict, s.log))
	if _, err := ask(loose); err == nil {
		t.Error("strict again, and taken")
	}
	if err := s.agents().SetProfile(t.Context(), s.bot.ID, "lenient", s.log); fault.From(err).Reason != "bad_profile" {
		t.Errorf("an unknown profile: %v", err)
	}
}

// Whatever ends authority ends it in every process at the next call, cached
// or not.
func TestCachesFollowAuthority(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(*scene)
		token  string // why a token is refused afterwards
		signed string // why a signature is
	}{
		{"suspended", func(s *scene) {
			s.must(s.agents().SetStatus(s.t.Context(), s.bot.ID, agent.Suspended, s.log))
		}, "agent_suspended", "agent_suspended"},
		{"its key revoked", func(s *scene) {
			s.must(s.agents().RevokeKey(s.t.Context(), s.bot, s.keys()[0].ID, s.now, s.log))
		}, "invalid_token", "invalid_client"},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newScene(t)
			other := s.second()
			token := s.token()
			for _, v := range []*agent.Service{s.agents(), other} {
				s.must(s.bearer(v, token))
				_, err := v.Assert(t.Context(), s.assertion(nil), "triage", home, s.now)
				s.must(err)
			}
			c.change(s)
			for name, v := range map[string]*agent.Service{"here": s.agents(), "elsewhere": other} {
				if err := s.bearer(v, token); fault.From(err).Reason != c.token {
					t.Errorf("the token %s: %v, want %s", name, err, c.token)
				}
				if _, err := v.Assert(t.Context(), s.assertion(nil), "", home, s.now); fault.From(err).Reason != c.signed {
					t.Errorf("a signature %s: %v, want %s", name, err, c.signed)
				}
			}
		})
	}
}

func TestResume(t *testing.T) {
	s := newScene(t)
	token := s.token()
	s.must(s.agents().SetStatus(t.Context(), s.bot.ID, agent.Suspended, s.log))
	if err := s.agents().SetStatus(t.Context(), s.bot.ID, agent.Suspended, s.log); fault.From(err).Reason != "no_change" {
		t.Errorf("suspended twice: %v", err)
	}
	s.must(s.agents().SetStatus(t.Context(), s.bot.ID, agent.Active, s.log))
	s.must(s.bearer(s.agents(), token))
	if err := s.agents().SetStatus(t.Context(), id.NewAgent(), agent.Active, s.log); !errors.Is(err, agent.ErrUnknown) {
		t.Errorf("an unknown agent: %v", err)
	}
}

func TestBearer(t *testing.T) {
	s := newScene(t)
	token := s.token()
	c, err := s.agents().Bearer(t.Context(), token, home, s.now)
	if err != nil || c.Agent != s.bot.ID || c.Token == "" || len(c.Proofs) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	h := token.Hash()
	for why, text := range map[string]secret.Text{
		"nothing": {}, "unknown": secret.Token("vka_", 32), "with something behind": secret.New(token.Reveal() + "a"),
		"in upper case": secret.New(strings.ToUpper(token.Reveal())), "the hash that is stored": secret.New(string(h[:])),
		"without its prefix": secret.New(strings.TrimPrefix(token.Reveal(), "vka_")),
	} {
		if err := s.bearer(s.agents(), text); !errors.Is(err, agent.ErrToken) {
			t.Errorf("%s: %v", why, err)
		}
	}
	for _, after := range []time.Duration{agent.TokenTTL, 24 * time.Hour} {
		for _, v := range []*agent.Service{s.agents(), s.second()} {
			if _, err := v.Bearer(t.Context(), token, home, s.now.Add(after)); !errors.Is(err, agent.ErrToken) {
				t.Errorf("after %s: %v", after, err)
			}
		}
	}
	if _, err := s.agents().Bearer(t.Context(), token, netip.MustParseAddr("198.51.100.1"), s.now); fault.From(err).Reason != "source_not_allowed" {
		t.Errorf("from elsewhere: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	s := newScene(t)
	mine, theirs := s.token(), s.token()
	s.must(s.bearer(s.agents(), mine))
	other, _ := s.Agent(s.mira, "other")
	caller, foreign := vktest.Caller(s.bot), vktest.Caller(other)
	// Neither an unknown token nor another agent's is told from one's own.
	for why, text := range map[string]secret.Text{"unknown": secret.Token("vka_", 32), "nothing": {}, "another agent's": theirs} {
		if err := s.agents().Revoke(t.Context(), foreign, text, s.now); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
	s.must(s.bearer(s.agents(), theirs))
	elsewhere := s.second()
	s.must(s.bearer(elsewhere, mine))
	s.must(s.agents().Revoke(t.Context(), caller, mine, s.now))
	for name, v := range map[string]*agent.Service{"here": s.agents(), "elsewhere": elsewhere} {
		if err := s.bearer(v, mine); !errors.Is(err, agent.ErrToken) {
			t.Errorf("revoked, %s: %v", name, err)
		}
	}
	if err := s.agents().Revoke(t.Context(), caller, mine, s.now); err != nil {
		t.Errorf("revoked twice: %v", err)
	}
	s.must(s.bearer(s.agents(), theirs))
}

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// A private key that somebody pastes by mistake is refused, and no byte of it
// reaches the disk or the log.
func TestPrivateKeysAreNotStored(t *testing.T) {
	s := newScene(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	s.must(err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	ecDER, ecErr := x509.MarshalECPrivateKey(ecKey)
	d, err := ecKey.Bytes()
	s.must(err)
	pub, err := x509.MarshalPKIXPublicKey(&ecKey.PublicKey)
	public := pemOf(t, "PUBLIC KEY", pub, err)
	b64 := base64.RawURLEncoding.EncodeToString
	point, err := ecKey.PublicKey.Bytes()
	s.must(err)
	jwk, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]), "d": b64(d)})
	s.must(err)
	private := map[string][]byte{
		"RSA, PKCS#8": pkcs8(rsaKey), "EC, PKCS#8": pkcs8(ecKey), "Ed25519, PKCS#8": pkcs8(edKey),
		"RSA, PKCS#1":             pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil),
		"EC, SEC 1":               pemOf(t, "EC PRIVATE KEY", ecDER, ecErr),
		"EC, JWK":                 jwk,
		"after a public one":      append(bytes.Clone(public), pkcs8(ecKey)...),
		"before a public one":     append(pkcs8(ecKey), public...),
		"under the wrong heading": bytes.ReplaceAll(pkcs8(ecKey), []byte("PRIVATE KEY"), []byte("PUBLIC KEY")),
	}
	for why, raw := range private {
		r := agent.Registration{Name: "careless", Owner: s.mira.User, Key: raw}
		if _, _, err := s.agents().Register(t.Context(), r, s.now, s.log); fault.From(err).Kind != fault.Invalid {
			t.Errorf("%s registered: %v", why, err)
		} else {
			leaks(t, why, err.Error(), raw)
		}
		if _, err := s.agents().AddKey(t.Context(), s.bot, raw, "", s.now, s.log); fault.From(err).Kind != fault.Invalid {
			t.Errorf("%s added: %v", why, err)
		}
	}
	if _, err := s.agents().Find(t.Context(), "careless"); !errors.Is(err, agent.ErrUnknown) {
		t.Errorf("the agent exists: %v", err)
	}
	if n := len(s.keys()); n != 1 {
		t.Errorf("%d keys", n)
	}
	s.must(filepath.WalkDir(filepath.Dir(s.Config.Data), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for why, raw := range private {
			leaks(t, why+" in "+e.Name(), string(b), raw)
		}
		return err
	}))
}

// leaks fails the test if text holds a line of a private key, or its bytes.
func leaks(t *testing.T, where, text string, raw []byte) {
	t.Helper()
	for line := range strings.SplitSeq(string(raw), "\n") {
		if len(line) >= 60 && !strings.HasPrefix(line, "-----") && !strings.HasPrefix(line, "{") && !strings.HasPrefix(line, "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE") && strings.Contains(text, line) {
			t.Errorf("%s: a line of the key is there", where)
		}
	}
	if block, rest := pem.Decode(raw); block != nil && len(rest) == 0 && strings.Contains(text, string(block.Bytes)) {
		t.Errorf("%s: the key's bytes are there", where)
	}
}

func TestRegisterRefuses(t *testing.T) {
	s := newScene(t)
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	key := pemOf(t, "PUBLIC KEY", der, err)
	for _, name := range []string{"", "-a", "a-", ".a", "A", "a b", "caf\u00e9", "a/b", "a'b", strings.Repeat("a", 64), string(id.NewAgent()), "a\n", "\u0430gent"} {
		r := agent.Registration{Name: name, Owner: s.mira.User, Key: key}
		if _, _, err := s.agents().Register(t.Context(), r, s.now, s.log); fault.From(err).Reason != "bad_name" {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	networks := func(n int) (out []netip.Prefix) {
		for i := range n {
			out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24))
		}
		return out
	}
	for why, c := range map[string]struct {
		r      agent.Registration
		reason string
	}{
		"a name that is taken":   {agent.Registration{Name: "triage", Key: key}, "name_taken"},
		"an unknown profile":     {agent.Registration{Name: "new", Key: key, Profile: "lenient"}, "bad_profile"},
		"a network that is none": {agent.Registration{Name: "new", Key: key, Sources: []netip.Prefix{{}}}, "bad_source"},
		"half a mapped network":  {agent.Registration{Name: "new", Key: key, Sources: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/90")}}, "bad_source"},
		"too many networks":      {agent.Registration{Name: "new", Key: key, Sources: networks(31)}, "bad_source"},
	} {
		c.r.Owner = s.mira.User
		if _, _, err := s.agents().Register(t.Context(), c.r, s.now, s.log); fault.From(err).Reason != c.reason {
			t.Errorf("%s: %v, want %s", why, err, c.reason)
		}
	}
	for why, raw := range map[string][]byte{
		"no key": nil, "nonsense": []byte("ssh-rsa AAAA"), "two keys": append(bytes.Clone(key), key...),
	} {
		if _, _, err := s.agents().Register(t.Context(), agent.Registration{Name: "new", Owner: s.mira.User, Key: raw}, s.now, s.log); fault.From(err).Kind != fault.Invalid {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := s.agents().Find(t.Context(), "new"); !errors.Is(err, agent.ErrUnknown) {
		t.Errorf("it exists all the same: %v", err)
	}
}

// Networks are kept in the one form in which addresses are compared.
func TestSources(t *testing.T) {
	s := newScene(t)
	add := func(text string) error {
		return s.agents().Allow(t.Context(), s.bot.ID, []netip.Prefix{netip.MustParsePrefix(text)}, s.log)
	}
	from := func(text string) error {
		_, err := s.agents().Assert(t.Context(), s.assertion(nil), "", netip.MustParseAddr(text), s.now)
		return err
	}
	for _, text := range []string{"203.0.113.7/24", "203.0.113.0/24", "::ffff:198.51.100.0/120", "2001:db8::/48"} {
		s.must(add(text))
	}
	a, err := s.agents().Find(t.Context(), "triage")
	s.must(err)
	if len(a.Sources) != 5 { // with the two of loopback; one was given twice
		t.Errorf("sources: %v", a.Sources)
	}
	for text, want := range map[string]bool{
		"203.0.113.200": true, "::ffff:203.0.113.200": true, "198.51.100.3": true, "::ffff:198.51.100.3": true, "2001:db8::1": true,
		"203.0.114.1": false, "198.51.101.3": false, "2001:db8:1::1": false, "::203.0.113.200": false, "64:ff9b::cb00:71c8": false,
	} {
		if err := from(text); (err == nil) != want {
			t.Errorf("from %s: %v", text, err)
		}
	}
	err = from("192.0.2.77")
	if f := fault.From(err); f.Reason != "source_not_allowed" || !strings.Contains(f.Detail, "valetkey agent allow triage --from 192.0.2.77") {
		t.Errorf("the refusal names no remedy: %v", err)
	}
	if err := s.agents().Allow(t.Context(), s.bot.ID, []netip.Prefix{{}}, s.log); fault.From(err).Reason != "bad_source" {
		t.Errorf("no network: %v", err)
	}
	if all, err := s.agents().Store.Agents(t.Context(), org); err != nil || len(all) != 1 {
		t.Errorf("agents cannot be listed: %v", err)
	}
}

func TestKeys(t *testing.T) {
	s := newScene(t)
	fresh := func() []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		s.must(err)
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		return pemOf(t, "PUBLIC KEY", der, err)
	}
	for range agent.MaxKeys - 1 {
		_, err := s.agents().AddKey(t.Context(), s.bot, fresh(), "", s.now, s.log)
		s.must(err)
	}
	if _, err := s.agents().AddKey(t.Context(), s.bot, fresh(), "", s.now, s.log); fault.From(err).Reason != "too_many_keys" {
		t.Errorf("one key too many: %v", err)
	}
	first := s.keys()[0]
	if _, err := s.agents().AddKey(t.Context(), s.bot, []byte(first.PEM), "", s.now, s.log); fault.From(err).Reason != "key_exists" {
		t.Errorf("a key it has: %v", err)
	}
	other, _ := s.Agent(s.mira, "other")
	if err := s.agents().RevokeKey(t.Context(), other, first.ID, s.now, s.log); fault.From(err).Reason != "key_not_found" {
		t.Errorf("another agent's key: %v", err)
	}
	s.must(s.agents().RevokeKey(t.Context(), s.bot, first.ID, s.now, s.log))
	if err := s.agents().RevokeKey(t.Context(), s.bot, first.ID, s.now, s.log); fault.From(err).Reason != "key_revoked" {
		t.Errorf("revoked twice: %v", err)
	}
	// A revoked key does not come back under its name.
	if _, err := s.agents().AddKey(t.Context(), s.bot, []byte(first.PEM), "", s.now, s.log); fault.From(err).Reason != "key_exists" {
		t.Errorf("a key it had: %v", err)
	}
	if _, err := s.agents().AddKey(t.Context(), s.bot, fresh(), "", s.now, s.log); err != nil {
		t.Errorf("in its place: %v", err)
	}
}

// down is a token store whose disk may be full.
type down struct {
	agent.TokenStore
	full   bool
	writes int // changes that were asked for
}

func (d *down) Refuse(ctx context.Context, proofs []agent.Proof, events []audit.Event) error {
	d.writes++
	if d.full {
		return store.ErrUnavailable
	}
	return d.TokenStore.Refuse(ctx, proofs, events)
}

func (d *down) Spend(ctx context.Context, proofs []agent.Proof, events []audit.Event) error {
	d.writes++
	if d.full {
		return store.ErrUnavailable
	}
	return d.TokenStore.Spend(ctx, proofs, events)
}

func TestRefusals(t *testing.T) {
	s := newScene(t)
	disk := &down{TokenStore: s.agents().Store.Tokens()}
	r := &agent.Refusals{Org: org, Store: disk, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	count := func(verb string) []audit.Event {
		t.Helper()
		got, err := s.App.DB.Log().Select(t.Context(), store.Query{Org: org, Verb: verb, Limit: 1000})
		s.must(err)
		return got
	}
	at := time.Unix(1_800_000_000, 0)
	one, two := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for i := range 50 {
		r.Unknown(t.Context(), one, "token", agent.ErrUnauthenticated, at.Add(time.Duration(i)*time.Millisecond))
		r.Unknown(t.Context(), netip.AddrFrom16(one.As16()), "token", agent.ErrUnauthenticated, at) // the same, mapped
	}
	if n := len(count("token.refused")); n != 10 {
		t.Errorf("%d events of one source in one second, want 10", n)
	}
	r.Unknown(t.Context(), two, "token", agent.ErrUnauthenticated, at)
	r.Unknown(t.Context(), one, "token", agent.ErrUnauthenticated, at.Add(time.Second))
	if n := len(count("token.refused")); n != 12 {
		t.Errorf("%d events, want one more of another source and one more of the next second", n)
	}
	// Who has a /64 has one source.
	for i := range 30 {
		r.Unknown(t.Context(), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), "edge", agent.ErrUnauthenticated, at)
	}
	if n := len(count("edge.refused")); n != 10 {
		t.Errorf("%d events of one /64, want 10", n)
	}
	// What was over the rate is one event, and is not lost to a full disk.
	disk.full = true
	r.Flush(t.Context(), at.Add(time.Minute))
	disk.full = false
	if n := len(count("refusals.counted")); n != 0 {
		t.Errorf("%d counts on a full disk", n)
	}
	r.Flush(t.Context(), at.Add(2*time.Minute))
	if got := count("refusals.counted"); len(got) != 1 || got[0].Data["count"] != "110" {
		t.Errorf("counted: %+v", got)
	}
	r.Flush(t.Context(), at.Add(3*time.Minute))
	if n := len(count("refusals.counted")); n != 1 {
		t.Errorf("%d counts, although nothing was refused since", n)
	}
	// A known agent's refusals are one event each, and use its signature up. One
	// that was used up before is held to the rate of its source, by its own name.
	c, err := s.assert(s.assertion(nil), "")
	s.must(err)
	for range 15 {
		s.must(r.Known(t.Context(), c, "action", agent.ErrSuspended, at))
	}
	if got := count("action.refused"); len(got) != 1+10 || got[0].Actor != c.Actor() || got[0].Data["reason"] != "agent_suspended" || got[0].Data["source"] != "127.0.0.1" {
		t.Errorf("%d events: %+v", len(got), got[0])
	}
	if _, _, err := s.agents().Issue(t.Context(), c, nil, s.now); !errors.Is(err, agent.ErrReplayed) {
		t.Errorf("a refused signature was used again: %v", err)
	}
	// So is one that has nothing to spend, by which anybody who captured it comes
	// again and again.
	old, err := s.assert(s.assertion(map[string]any{"iat": s.now.Add(-time.Hour).Unix(), "nbf": nil, "exp": s.now.Add(-time.Hour + time.Minute).Unix()}), "")
	if err == nil || !old.Stale || len(old.Proofs) != 0 {
		t.Errorf("an expired assertion: %+v, %v", old, err)
	}
	for range 15 {
		s.must(r.Known(t.Context(), old, "stale", err, at.Add(time.Second)))
	}
	if got := count("stale.refused"); len(got) != 10 || got[0].Actor != c.Actor() {
		t.Errorf("%d events: %+v", len(got), got)
	}
	r.Flush(t.Context(), at.Add(time.Minute))
	if got := count("refusals.counted"); len(got) != 2 || got[0].Data["count"] != "9" {
		t.Errorf("counted: %+v", got)
	}
	fresh, err := s.assert(s.assertion(nil), "")
	s.must(err)
	disk.full = true
	for name, c := range map[string]agent.Caller{"fresh": fresh, "used": c, "stale": old} {
		if err := r.Known(t.Context(), c, "action", agent.ErrSuspended, at.Add(time.Hour)); err == nil {
			t.Errorf("a refusal that is not on record says it is: %s", name)
		}
	}
}

// A captured signature that is sent again and again asks the store for no more
// changes than the rate; a fresh one beside it is used up all the same.
func TestReplaysCostNoWrites(t *testing.T) {
	s := newScene(t)
	disk := &down{TokenStore: s.agents().Store.Tokens()}
	r := &agent.Refusals{Org: org, Store: disk, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	used, err := s.assert(s.assertion(nil), "")
	s.must(err)
	at := time.Unix(1_800_000_000, 0)
	for range 200 {
		s.must(r.Known(t.Context(), used, "replay", agent.ErrReplayed, at))
	}
	if disk.writes != 1+10 {
		t.Errorf("%d changes for one signature in one second, want 11", disk.writes)
	}
	other, err := s.assert(s.assertion(nil), "")
	s.must(err)
	both := used
	both.Proofs = append(slices.Clone(used.Proofs), other.Proofs...)
	s.must(r.Known(t.Context(), both, "replay", agent.ErrReplayed, at))
	if left, err := disk.Unspent(t.Context(), both.Proofs); err != nil || len(left) != 0 {
		t.Errorf("unspent after its refusal: %v, %v", left, err)
	}
	if _, _, err := s.agents().Issue(t.Context(), other, nil, s.now); !errors.Is(err, agent.ErrReplayed) {
		t.Errorf("the fresh one beside it was used again: %v", err)
	}
}

// What was counted is written when the server stops.
func TestRefusalsAtStop(t *testing.T) {
	s := newScene(t)
	r := &agent.Refusals{Org: org, Store: s.agents().Store.Tokens(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	at := time.Now()
	for range 25 {
		r.Unknown(t.Context(), netip.MustParseAddr("203.0.113.1"), "stop", agent.ErrUnauthenticated, at)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.must(r.Run(ctx))
	got, err := s.App.DB.Log().Select(t.Context(), store.Query{Org: org, Verb: "refusals.counted", Limit: 10})
	if err != nil || len(got) != 1 || got[0].Data["count"] != "15" || got[0].Data["sources"] != "1" {
		t.Errorf("%+v, %v", got, err)
	}
}
