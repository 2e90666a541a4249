package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/secret"
)

// Service registers agents and authenticates them.
type Service struct {
	Org    id.Org
	Store  Store
	Issuer string // our issuer, with its trailing slash: the one audience we accept
	// Epoch counts changes of authority; what is cached under one epoch is not
	// used under another.
	Epoch func(context.Context) (int64, error)

	mu    sync.Mutex
	epoch int64
	known map[string]*identity // by id and by name
	held  map[string]*bearer   // by hash of the access token
}

// identity is an agent with its parsed keys.
type identity struct {
	agent *Agent
	keys  []jwt.Key
	ids   map[string]id.Key // by KID
}

type bearer struct {
	token *Token
	agent *Agent
}

// maxHeld bounds the cache of access tokens.
const maxHeld = 10_000

// cached returns the caches, emptied when authority has moved.
func (s *Service) cached(ctx context.Context) (int64, error) {
	epoch, err := s.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epoch || s.known == nil {
		s.epoch, s.known, s.held = epoch, map[string]*identity{}, map[string]*bearer{}
	}
	return epoch, nil
}

// lookup finds an agent by id or name, with its active keys.
func (s *Service) lookup(ctx context.Context, client string) (*identity, error) {
	epoch, err := s.cached(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	got := s.known[client]
	s.mu.Unlock()
	if got != nil {
		return got, nil
	}
	var a *Agent
	switch {
	case id.Valid("agt", client):
		a, err = s.Store.Agent(ctx, s.Org, id.Agent(client))
	case nameRule.MatchString(client):
		a, err = s.Store.ByName(ctx, s.Org, client)
	default:
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	stored, err := s.Store.Keys().OfAgent(ctx, s.Org, a.ID)
	if err != nil {
		return nil, err
	}
	got = &identity{agent: a, ids: map[string]id.Key{}}
	for _, k := range stored {
		if k.Status != KeyActive {
			continue
		}
		parsed, err := jwt.ParsePublicKey([]byte(k.PEM), jwt.Alg(k.Alg))
		if err != nil {
			return nil, fmt.Errorf("parse stored key %s: %w", k.ID, err)
		}
		parsed.KID = k.KID
		got.keys = append(got.keys, parsed)
		got.ids[k.KID] = k.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch == epoch {
		s.known[client] = got
	}
	return got, nil
}

// verify checks raw by the keys of the agent that it says it comes from.
// The returned caller is known as soon as the signature is good, so that a
// refusal after it can be recorded against the agent. use keeps the jti of one
// kind of token apart from those of the other.
func (s *Service) verify(ctx context.Context, raw, use string, rules func(*Agent) jwt.Rules, from netip.Addr, now time.Time) (Caller, jwt.Claims, error) {
	_, issuer, err := jwt.Peek(raw)
	if err != nil {
		jwt.DummyVerify(raw)
		return Caller{}, jwt.Claims{}, ErrUnauthenticated.Because(err)
	}
	who, err := s.lookup(ctx, issuer)
	switch {
	case errors.Is(err, ErrUnknown):
		jwt.DummyVerify(raw)
		return Caller{}, jwt.Claims{}, ErrUnauthenticated.Because(err)
	case err != nil:
		return Caller{}, jwt.Claims{}, err
	}
	r := rules(who.agent)
	r.Issuer = issuer
	claims, key, err := jwt.Verify(raw, who.keys, r, now)
	if errors.Is(err, jwt.ErrUnverified) {
		return Caller{}, jwt.Claims{}, ErrUnauthenticated.Because(err)
	}
	c := s.caller(who.agent, from)
	c.Key = who.ids[key.KID]
	if err != nil {
		c.Stale = true
		return c, claims, err
	}
	if claims.ID != "" {
		// Also of a call that is refused below: one signature is judged once.
		c.Proofs = []Proof{{c.Agent, use + "\x00" + claims.ID, claims.ExpiresEffective}}
	}
	return c, claims, admit(who.agent, from)
}

func (s *Service) caller(a *Agent, from netip.Addr) Caller {
	return Caller{Org: a.Org, Agent: a.ID, Name: a.Name, Owner: a.Owner, Profile: a.Profile, Source: from}
}

// admit applies what holds for every call of an agent, however it
// authenticated.
func admit(a *Agent, from netip.Addr) error {
	if a.Status != Active {
		return ErrSuspended
	}
	for _, p := range a.Sources {
		if p.Contains(from.Unmap()) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "source_not_allowed", fmt.Sprintf(
		"This agent may not call from %s. If that address is yours, allow it: valetkey agent allow %s --from %s", from.Unmap(), a.Name, from.Unmap()))
}

// Assert authenticates an agent by a client assertion (RFC 7523 §2.2). client
// is the client_id beside it, or "". A Caller is returned with an error when
// the signature was good and the refusal came after.
func (s *Service) Assert(ctx context.Context, raw, client string, from netip.Addr, now time.Time) (Caller, error) {
	c, _, err := s.verify(ctx, raw, "assertion", func(*Agent) jwt.Rules { return jwt.ClientAssertion(s.Issuer) }, from, now)
	if err != nil {
		return c, err
	}
	if client != "" && client != string(c.Agent) && client != c.Name {
		return c, fault.New(fault.Invalid, "client_mismatch", "client_id names another client than the assertion does.")
	}
	return c, nil
}

// Subject authenticates the subject token of a vault exchange: a JWT by which
// an agent asks in the name of a user. See auth0-wire.md §10 for the profiles.
func (s *Service) Subject(ctx context.Context, raw, client string, from netip.Addr, now time.Time) (Caller, error) {
	c, claims, err := s.verify(ctx, raw, "subject", func(a *Agent) jwt.Rules { return jwt.VaultSubject(s.Issuer, a.Profile != Compat2025) }, from, now)
	if err != nil {
		return c, err
	}
	if client != "" && client != string(c.Agent) && client != c.Name {
		return c, fault.New(fault.Invalid, "client_mismatch", "client_id names another client than the subject token does.")
	}
	c.Subject, c.AuditContext = id.User(claims.Subject), claims.AuditContext
	return c, nil
}

// NewToken makes an access token for c, to be stored by the caller together
// with what it records.
func (s *Service) NewToken(c Caller, scopes []string, now time.Time) (*Token, secret.Text) {
	text := secret.Token("vka_", 32)
	h := text.Hash()
	return &Token{
		Org: c.Org, ID: id.NewToken(), Hash: h[:], Agent: c.Agent, Key: c.Key, Scopes: scopes,
		CreatedAt: now, ExpiresAt: now.Add(TokenTTL), Version: 1,
	}, text
}

// Issue gives an authenticated agent an access token for the API.
func (s *Service) Issue(ctx context.Context, c Caller, scopes []string, now time.Time) (secret.Text, *Token, error) {
	t, text := s.NewToken(c, scopes, now)
	e := c.Event("token.issued", string(t.ID), "", now, map[string]string{"key": string(c.Key), "source": c.Source.String()})
	if err := s.Store.Tokens().Issue(ctx, t, c.Proofs, []audit.Event{e}); err != nil {
		return secret.Text{}, nil, err
	}
	return text, t, nil
}

// Bearer authenticates an agent by its access token.
func (s *Service) Bearer(ctx context.Context, text secret.Text, from netip.Addr, now time.Time) (Caller, error) {
	epoch, err := s.cached(ctx)
	if err != nil {
		return Caller{}, err
	}
	h := text.Hash()
	s.mu.Lock()
	got := s.held[string(h[:])]
	s.mu.Unlock()
	if got == nil {
		t, a, k, err := s.Store.Tokens().ByHash(ctx, h[:])
		if err != nil {
			return Caller{}, err
		}
		// Tokens are found by their hash alone, so the org is looked at here: what
		// another one issued opens nothing in ours.
		if t.Org != s.Org || a.Org != s.Org || k.Org != s.Org || k.Status != KeyActive || k.Agent != a.ID || !t.RevokedAt.IsZero() {
			return Caller{}, ErrToken
		}
		got = &bearer{t, a}
		s.mu.Lock()
		if s.epoch == epoch {
			if len(s.held) >= maxHeld {
				clear(s.held)
			}
			s.held[string(h[:])] = got
		}
		s.mu.Unlock()
	}
	if !now.Before(got.token.ExpiresAt) {
		return Caller{}, ErrToken
	}
	c := s.caller(got.agent, from)
	c.Key, c.Token = got.token.Key, got.token.ID
	return c, admit(got.agent, from)
}

// Revoke ends an access token of c. An unknown one is no error (RFC 7009
// §2.2), and neither is another agent's: the answer tells nothing.
func (s *Service) Revoke(ctx context.Context, c Caller, text secret.Text, now time.Time) error {
	h := text.Hash()
	t, _, _, err := s.Store.Tokens().ByHash(ctx, h[:])
	if errors.Is(err, ErrToken) || err == nil && t.Agent != c.Agent {
		return s.Store.Tokens().Spend(ctx, c.Proofs, []audit.Event{c.Event("token.revoke_unknown", "", "", now, nil)})
	}
	if err != nil {
		return err
	}
	return s.Store.Tokens().Revoke(ctx, c.Org, t.ID, c.Proofs, now, []audit.Event{c.Event("token.revoked", string(t.ID), "", now, nil)})
}

var nameRule = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$`)

// Loopback is where an agent may call from unless it is said otherwise.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Registration is what a person gives to register an agent.
type Registration struct {
	Name    string
	Owner   id.User
	Profile Profile // Strict if empty
	Sources []netip.Prefix
	Key     []byte // one public key, PEM or JWK; see jwt.ParsePublicKey
	Alg     string // for RSA keys; RS256 if empty
}

// Register makes an agent. log starts the audit events of whoever does this.
func (s *Service) Register(ctx context.Context, r Registration, now time.Time, log func(verb, object string, data map[string]string) audit.Event) (*Agent, *Key, error) {
	a, k, err := s.registered(r, now)
	if err != nil {
		return nil, nil, err
	}
	events := []audit.Event{
		log("agent.registered", string(a.ID), map[string]string{"name": a.Name, "profile": string(a.Profile), "sources": joinPrefixes(a.Sources)}),
		log("agent.key_added", string(k.ID), map[string]string{"agent": string(a.ID), "kid": k.KID, "alg": k.Alg}),
	}
	err = s.Store.CreateAgent(ctx, a, []*Key{k}, events)
	if fault.From(err).Reason == "exists" {
		return nil, nil, errTaken
	}
	return a, k, err
}

var errTaken = fault.New(fault.Conflict, "name_taken", "There is an agent of that name already.")

// Vet says what is wrong with a registration, and changes nothing.
func (s *Service) Vet(ctx context.Context, r Registration, now time.Time) error {
	if _, _, err := s.registered(r, now); err != nil {
		return err
	}
	_, err := s.Store.ByName(ctx, s.Org, r.Name)
	switch {
	case err == nil:
		return errTaken
	case errors.Is(err, ErrUnknown):
		return nil
	}
	return err
}

// registered is the agent that r makes, with its key.
func (s *Service) registered(r Registration, now time.Time) (*Agent, *Key, error) {
	if !nameRule.MatchString(r.Name) || id.Valid("agt", r.Name) {
		return nil, nil, fault.New(fault.Invalid, "bad_name", "A name has 1 to 63 of the characters a-z, 0-9, dot, dash and underscore, and begins and ends with a letter or digit.")
	}
	if r.Profile == "" {
		r.Profile = Strict
	}
	if r.Profile != Strict && r.Profile != Compat2025 {
		return nil, nil, fault.New(fault.Invalid, "bad_profile", "The profile is strict or compat-2025.")
	}
	if len(r.Sources) == 0 {
		r.Sources = Loopback()
	}
	sources, err := mergeSources(nil, r.Sources)
	if err != nil {
		return nil, nil, err
	}
	a := &Agent{
		Org: s.Org, ID: id.NewAgent(), Name: r.Name, Owner: r.Owner, Profile: r.Profile, Status: Active,
		Sources: sources, CreatedAt: now, Version: 1,
	}
	k, err := newKey(a, r.Key, r.Alg, now)
	return a, k, err
}

func newKey(a *Agent, raw []byte, alg string, now time.Time) (*Key, error) {
	parsed, err := jwt.ParsePublicKey(raw, jwt.Alg(alg))
	if err != nil {
		return nil, err
	}
	return &Key{
		Org: a.Org, ID: id.NewKey(), Agent: a.ID, KID: parsed.KID, Alg: string(parsed.Alg), PEM: parsed.PEM(),
		Status: KeyActive, CreatedAt: now, Version: 1,
	}, nil
}

// AddKey registers another key, so that the agent can move to it.
func (s *Service) AddKey(ctx context.Context, a *Agent, raw []byte, alg string, now time.Time, log func(verb, object string, data map[string]string) audit.Event) (*Key, error) {
	k, err := newKey(a, raw, alg, now)
	if err != nil {
		return nil, err
	}
	have, err := s.Store.Keys().OfAgent(ctx, a.Org, a.ID)
	if err != nil {
		return nil, err
	}
	active := 0
	for _, h := range have {
		if h.Status == KeyActive {
			active++
		}
		if h.KID == k.KID {
			return nil, fault.New(fault.Conflict, "key_exists", "This agent has, or had, a key with this key id; make a new pair.")
		}
	}
	if active >= MaxKeys {
		return nil, fault.New(fault.Conflict, "too_many_keys", fmt.Sprintf("An agent has at most %d active keys; revoke an old one first.", MaxKeys))
	}
	e := log("agent.key_added", string(k.ID), map[string]string{"agent": string(a.ID), "kid": k.KID, "alg": k.Alg})
	return k, s.Store.Keys().CreateKey(ctx, k, []audit.Event{e})
}

// RevokeKey ends a key, and with it every access token that it earned.
func (s *Service) RevokeKey(ctx context.Context, a *Agent, k id.Key, now time.Time, log func(verb, object string, data map[string]string) audit.Event) error {
	return s.Store.Keys().UpdateKey(ctx, a.Org, k, func(key *Key) ([]audit.Event, error) {
		if key.Agent != a.ID {
			return nil, fault.New(fault.NotFound, "key_not_found", "This agent has no such key.")
		}
		if key.Status == KeyRevoked {
			return nil, fault.New(fault.Conflict, "key_revoked", "This key was revoked already.")
		}
		key.Status, key.RevokedAt = KeyRevoked, now
		return []audit.Event{log("agent.key_revoked", string(k), map[string]string{"agent": string(a.ID), "kid": key.KID})}, nil
	})
}

// SetStatus suspends an agent or resumes it.
func (s *Service) SetStatus(ctx context.Context, a id.Agent, to Status, log func(verb, object string, data map[string]string) audit.Event) error {
	verb := "agent.suspended"
	if to == Active {
		verb = "agent.resumed"
	}
	return s.Store.UpdateAgent(ctx, s.Org, a, func(a *Agent) ([]audit.Event, error) {
		if a.Status == to {
			return nil, fault.New(fault.Conflict, "no_change", fmt.Sprintf("The agent is %s already.", to))
		}
		a.Status = to
		return []audit.Event{log(verb, string(a.ID), nil)}, nil
	})
}

// Allow adds networks from which an agent may call.
func (s *Service) Allow(ctx context.Context, a id.Agent, from []netip.Prefix, log func(verb, object string, data map[string]string) audit.Event) error {
	return s.Store.UpdateAgent(ctx, s.Org, a, func(a *Agent) ([]audit.Event, error) {
		sources, err := mergeSources(a.Sources, from)
		if err != nil {
			return nil, err
		}
		a.Sources = sources
		return []audit.Event{log("agent.sources_changed", string(a.ID), map[string]string{"sources": joinPrefixes(a.Sources)})}, nil
	})
}

// SetProfile changes the rules an agent's subject tokens are judged by.
func (s *Service) SetProfile(ctx context.Context, a id.Agent, to Profile, log func(verb, object string, data map[string]string) audit.Event) error {
	if to != Strict && to != Compat2025 {
		return fault.New(fault.Invalid, "bad_profile", "The profile is strict or compat-2025.")
	}
	return s.Store.UpdateAgent(ctx, s.Org, a, func(a *Agent) ([]audit.Event, error) {
		was := a.Profile
		a.Profile = to
		return []audit.Event{log("agent.profile_changed", string(a.ID), map[string]string{"from": string(was), "to": string(to)})}, nil
	})
}

// Find returns an agent by its id or name.
func (s *Service) Find(ctx context.Context, ref string) (*Agent, error) {
	if id.Valid("agt", ref) {
		return s.Store.Agent(ctx, s.Org, id.Agent(ref))
	}
	if !nameRule.MatchString(ref) {
		return nil, ErrUnknown
	}
	return s.Store.ByName(ctx, s.Org, ref)
}

// maxSources is how many networks an agent may call from.
const maxSources = 30

// mergeSources adds networks to those that are there. An address is compared
// as IPv4 wherever it is one, so networks are kept in that form too: one
// written as ::ffff:0:0/96 would otherwise match nobody.
func mergeSources(have, add []netip.Prefix) ([]netip.Prefix, error) {
	out := slices.Clone(have)
	for _, p := range add {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fault.New(fault.Invalid, "bad_source", "That is not a network; write one as 203.0.113.7/32 or 2001:db8::/48.")
		}
		if p = p.Masked(); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) > maxSources {
		return nil, fault.New(fault.Invalid, "bad_source", fmt.Sprintf("An agent may call from at most %d networks; name a larger one.", maxSources))
	}
	return out, nil
}

func joinPrefixes(ps []netip.Prefix) string {
	s := ""
	for i, p := range ps {
		if i > 0 {
			s += " "
		}
		s += p.String()
	}
	return s
}
