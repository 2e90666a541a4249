package broker

import (
	"context"
	"sync"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// authority keeps what was read about grants and people for as long as the
// authority epoch stands: each change of them moves it. What is decided by it
// is recorded only while that epoch holds, see [Begin], so nothing here
// outlives a revocation. Connections are not kept: a refresh changes them and
// moves no epoch. Its records are shared and must not be changed.
type authority struct {
	mu     sync.Mutex
	epoch  int64
	grants map[id.Agent][]*grant.Grant
	people map[id.User]*user.User
	agents map[id.Agent]*standing
	groups map[string]*user.Group // nil for one that does not exist
	noes   map[id.Agent][]Held    // denials that hold back equal requests
}

// standing is an agent as authority has it, with its keys that may be used.
type standing struct {
	agent *agent.Agent
	keys  map[id.Key]bool
}

// maxKept bounds each map; a full one is emptied.
const maxKept = 10_000

// at empties the maps when authority has moved. The caller holds the lock.
func (a *authority) at(epoch int64) {
	if a.grants == nil || a.epoch != epoch {
		a.epoch, a.grants, a.people, a.agents = epoch, map[id.Agent][]*grant.Grant{}, map[id.User]*user.User{}, map[id.Agent]*standing{}
		a.groups, a.noes = map[string]*user.Group{}, map[id.Agent][]Held{}
	}
}

// grantsOf returns the grants of an agent, newest first.
func (b *Broker) grantsOf(ctx context.Context, who id.Agent) ([]*grant.Grant, error) {
	return keep(ctx, b, who, func(a *authority) map[id.Agent][]*grant.Grant { return a.grants }, func() ([]*grant.Grant, error) {
		return b.Grants.OfAgent(ctx, b.Org, who)
	})
}

// person returns a user.
func (b *Broker) person(ctx context.Context, who id.User) (*user.User, error) {
	return keep(ctx, b, who, func(a *authority) map[id.User]*user.User { return a.people }, func() (*user.User, error) {
		return b.Users.User(ctx, b.Org, who)
	})
}

// admitted looks again at an agent that was authenticated a while ago: its
// request may have taken its time, or waited for a refresh. An agent that is
// suspended, or whose key was revoked meanwhile, is refused.
func (b *Broker) admitted(ctx context.Context, c agent.Caller) error {
	s, err := keep(ctx, b, c.Agent, func(a *authority) map[id.Agent]*standing { return a.agents }, func() (*standing, error) {
		who, err := b.Agents.Agent(ctx, b.Org, c.Agent)
		if err != nil {
			return nil, err
		}
		keys, err := b.Agents.Keys().OfAgent(ctx, b.Org, c.Agent)
		if err != nil {
			return nil, err
		}
		s := &standing{agent: who, keys: map[id.Key]bool{}}
		for _, k := range keys {
			s.keys[k.ID] = k.Status == agent.KeyActive
		}
		return s, nil
	})
	switch {
	case err != nil:
		return err
	case s.agent.Status != agent.Active:
		return agent.ErrSuspended
	case c.Key != "" && !s.keys[c.Key]:
		return agent.ErrToken
	}
	return nil
}

// keep returns what is kept under key, or reads it. A record that is newer than
// the epoch under which it is kept does no harm: what is decided by it is
// judged again when authority is seen to have moved.
func keep[K comparable, V any](ctx context.Context, b *Broker, key K, in func(*authority) map[K]V, read func() (V, error)) (V, error) {
	var none V
	epoch, err := b.Store.Epoch(ctx)
	if err != nil {
		return none, err
	}
	b.authority.mu.Lock()
	b.authority.at(epoch)
	v, found := in(&b.authority)[key]
	b.authority.mu.Unlock()
	if found {
		return v, nil
	}
	if v, err = read(); err != nil {
		return none, err
	}
	b.authority.mu.Lock()
	defer b.authority.mu.Unlock()
	if b.authority.epoch != epoch {
		return v, nil
	}
	kept := in(&b.authority)
	if len(kept) >= maxKept {
		clear(kept)
	}
	kept[key] = v
	return v, nil
}
