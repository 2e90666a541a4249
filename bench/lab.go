package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/broker"
)

// tenants have an account each. There are few, so that what is cached by
// account stays cached, as it does in a deployment that is as busy as this.
const tenants = 4

// lab is everything that a measurement needs: the servers, and the agents that
// ask them.
type lab struct {
	ctx context.Context
	options
	target, ceiling, upstream, proxy *child
	ready                            targetReady
	ceilingAt, upstreamAt, proxyAt   place

	strict, compat, compatRSA []*signer // one agent for each tenant
	holders                   []*signer // agents that are held, see [broker.MaxPending]
	bearers                   []string  // access tokens of the agents in strict
	holding                   []string  // access tokens of the agents in holders
	held                      atomic.Int64
	rates                     map[string]float64 // of the target, the last time
}

// holders is how many agents are needed so that none gets more pending actions
// than it may have.
func (o options) holders() int { return 2 + o.rounds*perRound/broker.MaxPending }

// perRound is how many actions are held in one round, and how many of them
// somebody waits for.
const (
	heldPerRound   = 3000
	waitedPerRound = 64
	perRound       = heldPerRound + waitedPerRound
)

func openLab(ctx context.Context, o options) (_ *lab, err error) {
	l := &lab{ctx: ctx, options: o, rates: map[string]float64{}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	spec := targetSpec{Data: filepath.Join(o.dir, "target"), Tenants: tenants}
	if l.upstream, err = start(ctx, roleUpstream, struct{}{}, &l.upstreamAt); err != nil {
		return nil, err
	}
	spec.Upstream = "http://" + l.upstreamAt.Addr
	if l.proxy, err = start(ctx, roleProxy, proxySpec{spec.Upstream}, &l.proxyAt); err != nil {
		return nil, err
	}
	if spec.Agents, err = l.agents(); err != nil {
		return nil, err
	}
	if l.target, err = start(ctx, roleTarget, spec, &l.ready); err != nil {
		return nil, err
	}
	keys := ceilingSpec{Keys: map[string]string{}}
	for i, s := range l.signers() {
		s.id, s.user = l.ready.Agents[i], l.ready.Users[spec.Agents[i].Tenant]
		text, err := s.pem()
		if err != nil {
			return nil, err
		}
		keys.Keys[s.header(api.TypeSubject)], keys.Keys[s.header(api.TypeAssertion)] = text, text
	}
	if l.ceiling, err = start(ctx, roleCeiling, keys, &l.ceilingAt); err != nil {
		return nil, err
	}
	if l.bearers, err = l.tokens(l.strict); err != nil {
		return nil, err
	}
	l.holding, err = l.tokens(l.holders)
	return l, err
}

// agents makes the keys and says how to register them.
func (l *lab) agents() ([]agentSpec, error) {
	var specs []agentSpec
	add := func(to *[]*signer, kind, profile, alg string, n int) error {
		var shared crypto.Signer
		for i := range n {
			s, err := newSigner(fmt.Sprintf("%s-%d", kind, i), alg, shared)
			if err != nil {
				return err
			}
			if alg == "RS256" {
				shared = s.private
			}
			key, err := s.jwk()
			if err != nil {
				return err
			}
			*to = append(*to, s)
			specs = append(specs, agentSpec{Name: s.name, Profile: profile, Key: key, Alg: alg, Tenant: i % tenants})
		}
		return nil
	}
	err := errors.Join(
		add(&l.strict, "strict", "strict", "ES256", tenants),
		add(&l.compat, "compat", "compat-2025", "ES256", tenants),
		add(&l.compatRSA, "compat-rsa", "compat-2025", "RS256", tenants),
		add(&l.holders, "holder", "strict", "ES256", l.options.holders()),
	)
	return specs, err
}

// signers are all agents, in the order in which they were registered.
func (l *lab) signers() []*signer {
	var all []*signer
	for _, s := range [][]*signer{l.strict, l.compat, l.compatRSA, l.holders} {
		all = append(all, s...)
	}
	return all
}

// tokens gets an access token for each agent.
func (l *lab) tokens(agents []*signer) ([]string, error) {
	c, err := dial(l.ctx, l.ready.Addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out []string
	for _, s := range agents {
		assertion, err := s.assertion(l.ready.Issuer, time.Now())
		if err != nil {
			return nil, err
		}
		form := url.Values{"grant_type": {api.GrantClientCredentials}, "client_assertion": {assertion}, "client_assertion_type": {api.AssertionJWT}}
		if err := c.send(post("/oauth/token", "application/x-www-form-urlencoded", "", []byte(form.Encode())), "200"); err != nil {
			return nil, fmt.Errorf("access token of %s: %w", s.name, err)
		}
		var t api.TokenResponse
		if err := json.Unmarshal(c.body.Bytes(), &t); err != nil {
			return nil, err
		}
		out = append(out, t.AccessToken)
	}
	return out, nil
}

// onTarget measures the target; a profile of it is kept when one was asked for.
func (l *lab) onTarget(name string, what load) (sample, error) {
	what.addr, what.pid = l.ready.Addr, l.target.pid()
	var reply targetReply
	if l.profile != "" {
		if err := l.target.ask(targetRequest{Profile: filepath.Join(l.profile, name)}, &reply); err != nil {
			return sample{}, err
		}
	}
	got, err := fire(l.ctx, what)
	if err != nil {
		return sample{}, err
	}
	if l.profile != "" {
		if err := l.target.ask(targetRequest{Profile: "-"}, &reply); err != nil {
			return sample{}, err
		}
	}
	l.rates[name] = got.Rate
	return got, nil
}

// size is how many requests fill one measurement, going by the last.
func (l *lab) size(name string, first float64) int {
	rate := l.rates[name]
	if rate == 0 {
		rate = first
	}
	return max(int(rate*l.seconds.Seconds()), 10*l.clients)
}

func (l *lab) close() {
	for _, c := range []*child{l.target, l.ceiling, l.proxy, l.upstream} {
		if c != nil {
			_ = c.stop() // it has nothing that is not thrown away
		}
	}
}
