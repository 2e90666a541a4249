package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

var (
	_ agent.Store      = (*Agents)(nil)
	_ agent.KeyStore   = (*AgentKeys)(nil)
	_ agent.TokenStore = (*AgentTokens)(nil)
)

// Agents implements [agent.Store].
type Agents struct{ db *DB }

// Agents returns the store of agents.
func (db *DB) Agents() *Agents { return &Agents{db} }

var agents = newTable("agents", "org id", true, func(a *agent.Agent) []field {
	return []field{
		text("org", &a.Org), text("id", &a.ID), text("name", &a.Name), text("owner", &a.Owner), text("profile", &a.Profile),
		text("status", &a.Status), prefixes("sources", &a.Sources), moment("created_at", &a.CreatedAt), moment("seen_at", &a.SeenAt),
		integer("version", &a.Version),
	}
})

var agentKeys = newTable("agent_keys", "org id", true, func(k *agent.Key) []field {
	return []field{
		text("org", &k.Org), text("id", &k.ID), text("agent", &k.Agent), text("kid", &k.KID), text("alg", &k.Alg), text("pem", &k.PEM),
		text("status", &k.Status), moment("created_at", &k.CreatedAt), moment("revoked_at", &k.RevokedAt), integer("version", &k.Version),
	}
})

var agentTokens = newTable("agent_tokens", "org id", true, func(t *agent.Token) []field {
	return []field{
		text("org", &t.Org), text("id", &t.ID), blob("hash", &t.Hash), text("agent", &t.Agent), text("key_id", &t.Key), list("scopes", &t.Scopes),
		moment("created_at", &t.CreatedAt), moment("expires_at", &t.ExpiresAt), moment("revoked_at", &t.RevokedAt), integer("version", &t.Version),
	}
})

// CreateAgent stores an agent with its first keys.
func (s *Agents) CreateAgent(ctx context.Context, a *agent.Agent, keys []*agent.Key, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		if err := agents.insert(tx, a); err != nil {
			return err
		}
		for _, k := range keys {
			if err := agentKeys.insert(tx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// Agent returns one agent.
func (s *Agents) Agent(ctx context.Context, org id.Org, a id.Agent) (*agent.Agent, error) {
	return s.one(ctx, "id", string(org), string(a))
}

// one reads the agent with this id or name, as the log knows it.
func (s *Agents) one(ctx context.Context, by, org, value string) (*agent.Agent, error) {
	v, err := agents.one(ctx, s.db, s.db.reader, "where org = $1 and "+by+" = $2", org, value)
	if err != nil {
		return nil, named(err, agent.ErrUnknown)
	}
	if _, err := asSuspended(ctx, s.db, []*agent.Agent{v}, " and a."+by+" = $2", org, value); err != nil {
		return nil, err
	}
	return v, nil
}

// ByName finds an agent by its name.
func (s *Agents) ByName(ctx context.Context, org id.Org, name string) (*agent.Agent, error) {
	return s.one(ctx, "name", string(org), name)
}

// Agents returns all agents, by name.
func (s *Agents) Agents(ctx context.Context, org id.Org) ([]*agent.Agent, error) {
	all, err := agents.many(ctx, s.db, s.db.reader, "where org = $1 order by name", string(org))
	if err != nil || len(all) == 0 {
		return all, err
	}
	return asSuspended(ctx, s.db, all, "", string(org))
}

// seenQ asks the log, by its index of actors, for the last word of each agent.
const seenQ = `select a.id, coalesce((select e.at from audit_events e where e.actor = 'agent:' || a.id order by e.seq desc limit 1), 0) from agents a where a.org = $1`

// Seen is when agents last did anything that was recorded, refusals too: of the
// one named, or of all. Asking the log costs no write at any of their requests.
func (s *Agents) Seen(ctx context.Context, org id.Org, which id.Agent) (map[id.Agent]time.Time, error) {
	text, args := seenQ, []any{string(org)}
	if which != "" {
		text, args = text+" and a.id = $2", append(args, string(which))
	}
	rows, err := s.db.reader.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("look when agents were seen: %w", err)
	}
	defer rows.Close()
	out := map[id.Agent]time.Time{}
	for rows.Next() {
		var ref string
		var at int64
		if err := rows.Scan(&ref, &at); err != nil {
			return nil, fmt.Errorf("look when agents were seen: %w", err)
		}
		out[id.Agent(ref)] = fromMicros(at)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look when agents were seen: %w", err)
	}
	return out, nil
}

// UpdateAgent changes an agent. A change without an event touches nothing
// that was decided on.
func (s *Agents) UpdateAgent(ctx context.Context, org id.Org, a id.Agent, c agent.Change[agent.Agent]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		err := modify(tx, agents, c, "where org = $1 and id = $2", string(org), string(a))
		if len(tx.events) > 0 {
			tx.moveAuthority()
		}
		return named(err, agent.ErrUnknown)
	})
}

// Keys and Tokens return the stores beside agents.
func (s *Agents) Keys() agent.KeyStore     { return &AgentKeys{s.db} }
func (s *Agents) Tokens() agent.TokenStore { return &AgentTokens{s.db} }

// AgentKeys implements [agent.KeyStore].
type AgentKeys struct{ db *DB }

// CreateKey stores a key.
func (s *AgentKeys) CreateKey(ctx context.Context, k *agent.Key, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		return agentKeys.insert(tx, k)
	})
}

// OfAgent lists an agent's keys, oldest first, revoked ones too.
func (s *AgentKeys) OfAgent(ctx context.Context, org id.Org, a id.Agent) ([]*agent.Key, error) {
	all, err := agentKeys.many(ctx, s.db, s.db.reader, "where org = $1 and agent = $2 order by id", string(org), string(a))
	if err != nil || len(all) == 0 {
		return all, err
	}
	return asRevokedKeys(ctx, s.db, all, " and k.agent = $2", string(org), string(a))
}

// UpdateKey changes a key.
func (s *AgentKeys) UpdateKey(ctx context.Context, org id.Org, k id.Key, c agent.Change[agent.Key]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		return modify(tx, agentKeys, c, "where org = $1 and id = $2", string(org), string(k))
	})
}

// AgentTokens implements [agent.TokenStore].
type AgentTokens struct{ db *DB }

// Issue stores a token and spends the proofs that earned it.
func (s *AgentTokens) Issue(ctx context.Context, t *agent.Token, proofs []agent.Proof, events []audit.Event) error {
	if err := s.db.replayed(ctx, proofs); err != nil {
		return err
	}
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.spend(proofs); err != nil {
			return err
		}
		tx.Emit(events...)
		return agentTokens.insert(tx, t)
	})
}

// ByHash finds a token with its agent and key.
func (s *AgentTokens) ByHash(ctx context.Context, hash []byte) (*agent.Token, *agent.Agent, *agent.Key, error) {
	t, err := agentTokens.one(ctx, s.db, s.db.reader, "where hash = $1", hash)
	if err != nil {
		return nil, nil, nil, named(err, agent.ErrToken)
	}
	a, err := s.db.Agents().Agent(ctx, t.Org, t.Agent)
	if err != nil {
		if errors.Is(err, agent.ErrUnknown) {
			err = agent.ErrToken
		}
		return nil, nil, nil, err
	}
	k, err := agentKeys.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(t.Org), string(t.Key))
	if err != nil {
		return nil, nil, nil, named(err, agent.ErrToken)
	}
	if _, err := asRevokedKeys(ctx, s.db, []*agent.Key{k}, " and k.id = $2", string(t.Org), string(t.Key)); err != nil {
		return nil, nil, nil, err
	}
	return t, a, k, nil
}

// Spend spends proofs and records events.
func (s *AgentTokens) Spend(ctx context.Context, proofs []agent.Proof, events []audit.Event) error {
	if err := s.db.replayed(ctx, proofs); err != nil {
		return err
	}
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		return tx.spend(proofs)
	})
}

// Revoke ends a token.
func (s *AgentTokens) Revoke(ctx context.Context, org id.Org, t id.Token, proofs []agent.Proof, now time.Time, events []audit.Event) error {
	if err := s.db.replayed(ctx, proofs); err != nil {
		return err
	}
	return s.db.write(ctx, func(tx *Tx) error {
		if err := tx.spend(proofs); err != nil {
			return err
		}
		tx.moveAuthority()
		return modify(tx, agentTokens, func(t *agent.Token) ([]audit.Event, error) {
			if !t.RevokedAt.IsZero() {
				return nil, nil
			}
			t.RevokedAt = now
			return events, nil
		}, "where org = $1 and id = $2", string(org), string(t))
	})
}

// Unspent returns the proofs that were not spent yet.
func (s *AgentTokens) Unspent(ctx context.Context, proofs []agent.Proof) ([]agent.Proof, error) {
	return s.db.unspent(ctx, proofs)
}

// Refuse spends the proofs of a refused call and records the refusal. A proof
// that was spent before does not matter here: the call is refused anyway.
func (s *AgentTokens) Refuse(ctx context.Context, proofs []agent.Proof, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.Emit(events...)
		if err := tx.spend(proofs); err != nil && !errors.Is(err, agent.ErrReplayed) {
			return err
		}
		return nil
	})
}

const (
	spendQ = `insert into spent (agent, jti, until) values ($1, $2, $3) on conflict (agent, jti) do nothing`
	spentQ = `select count(*) from spent where agent = $1 and jti = $2`
)

// unspent looks for proofs that were not spent yet, without the writer.
func (db *DB) unspent(ctx context.Context, proofs []agent.Proof) ([]agent.Proof, error) {
	var fresh []agent.Proof
	for _, p := range proofs {
		jti, n := sha256.Sum256([]byte(p.JTI)), 0
		if err := db.reader.QueryRowContext(ctx, spentQ, string(p.Agent), jti[:]).Scan(&n); err != nil {
			return nil, fmt.Errorf("look for a spent proof: %w", err)
		}
		if n == 0 {
			fresh = append(fresh, p)
		}
	}
	return fresh, nil
}

// replayed fails with agent.ErrReplayed when one of proofs was spent before. It is
// asked ahead of a change, so that whoever captured a signature and sends it
// again and again does not keep the writer from everybody else; what it lets
// through, also where it cannot look, is decided by [Tx.spend].
func (db *DB) replayed(ctx context.Context, proofs []agent.Proof) error {
	if fresh, err := db.unspent(ctx, proofs); err == nil && len(fresh) < len(proofs) {
		return agent.ErrReplayed
	}
	return nil
}

// spend marks proofs used, all of them; it fails with agent.ErrReplayed when one
// already was. The primary key decides between concurrent uses.
func (tx *Tx) spend(proofs []agent.Proof) error {
	var replayed error
	for _, p := range proofs {
		jti := sha256.Sum256([]byte(p.JTI))
		res, err := tx.ExecContext(tx.ctx, spendQ, string(p.Agent), jti[:], micros(p.Until))
		if err != nil {
			return fmt.Errorf("spend proof: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil {
			return fmt.Errorf("spend proof: %w", err)
		} else if n == 0 {
			replayed = agent.ErrReplayed
		}
	}
	return replayed
}
