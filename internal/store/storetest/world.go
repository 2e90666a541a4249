package storetest

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// world is one record of each noun, not stored yet.
type world struct {
	db *store.DB

	user         *user.User
	link, link2  *user.Link
	passkey      *user.Passkey
	session      *user.Session
	second       *user.Session
	device       *user.Device
	ceremony     *user.Ceremony
	code         *user.RecoveryCode
	identity     *user.Identity
	agent        *agent.Agent
	key, key2    *agent.Key
	token        *agent.Token
	registration *vault.Registration
	connection   *vault.Connection
	linked       *vault.Connection
	flow         *connect.Flow
	grant        *grant.Grant
	freeze       *freeze.Freeze
	policy       *policy.Document
	proposal     *proposal.Proposal
	held         *action.Action
	approval     *approval.Approval
	inline       id.Action
	relieved     id.Action
	group        *user.Group
	vote         *approval.Vote
	relief       *approval.Relief
}

func newWorld(db *store.DB) *world {
	w := &world{db: db, inline: id.NewAction(), relieved: id.NewAction()}
	w.user = filled(func(u *user.User) { u.Org, u.ID, u.Version = org, id.NewUser(), 1 })
	w.link = filled(func(l *user.Link) {
		l.Org, l.Hash, l.User, l.UsedAt, l.Version = org, []byte("link"), w.user.ID, time.Time{}, 1
	})
	w.link2 = filled(func(l *user.Link) { l.Org, l.Hash, l.User, l.Version = org, []byte("link2"), w.user.ID, 1 })
	w.passkey = filled(func(p *user.Passkey) { p.Org, p.ID, p.User, p.Version = org, id.NewPasskey(), w.user.ID, 1 })
	w.session = filled(func(s *user.Session) {
		s.Org, s.ID, s.User, s.PasskeyRef, s.Hash, s.Version = org, id.NewSession(), w.user.ID, w.passkey.ID, []byte("session"), 1
	})
	w.second = filled(func(s *user.Session) {
		s.Org, s.ID, s.User, s.PasskeyRef, s.Hash, s.Version = org, id.NewSession(), w.user.ID, w.passkey.ID, []byte("second"), 1
	})
	w.device = filled(func(d *user.Device) {
		d.Org, d.Hash, d.User, d.Passkey, d.Version = org, []byte("device"), w.user.ID, w.passkey.ID, 1
	})
	w.ceremony = filled(func(c *user.Ceremony) { c.Org, c.Hash = org, []byte("ceremony") })
	w.code = filled(func(c *user.RecoveryCode) {
		c.Org, c.Hash, c.User, c.UsedAt, c.Version = org, []byte("code"), w.user.ID, time.Time{}, 1
	})
	w.identity = filled(func(v *user.Identity) { v.Org, v.ID, v.User, v.Version = org, id.NewIdentity(), w.user.ID, 1 })
	w.agent = filled(func(a *agent.Agent) { a.Org, a.ID, a.Owner, a.Version = org, id.NewAgent(), w.user.ID, 1 })
	w.key = filled(func(k *agent.Key) { k.Org, k.ID, k.Agent, k.Version = org, id.NewKey(), w.agent.ID, 1 })
	w.key2 = filled(func(k *agent.Key) { k.Org, k.ID, k.Agent, k.KID, k.Version = org, id.NewKey(), w.agent.ID, "second", 1 })
	w.token = filled(func(t *agent.Token) {
		t.Org, t.ID, t.Agent, t.Key, t.RevokedAt, t.Version = org, id.NewToken(), w.agent.ID, w.key.ID, time.Time{}, 1
	})
	w.registration = filled(func(r *vault.Registration) { r.Org, r.Provider, r.Version = org, "github", 1 })
	w.connection = filled(func(c *vault.Connection) {
		c.Org, c.ID, c.User, c.Provider, c.Status, c.Version = org, id.NewConnection(), w.user.ID, "github", vault.Active, 1
		c.LeaseUntil, c.Attempting = time.Time{}, false
	})
	w.linked = filled(func(c *vault.Connection) {
		c.Org, c.ID, c.User, c.Name, c.Version = org, id.NewConnection(), w.user.ID, "linked", 1
	})
	w.flow = filled(func(f *connect.Flow) {
		f.Org, f.ID, f.Session, f.User, f.UsedAt, f.Version = org, id.NewFlow(), w.session.ID, w.user.ID, time.Time{}, 1
	})
	w.grant = filled(func(g *grant.Grant) {
		g.Org, g.ID, g.Agent, g.Connection, g.User, g.RevokedAt, g.Version = org, id.NewGrant(), w.agent.ID, w.connection.ID, w.user.ID, time.Time{}, 1
	})
	w.freeze = filled(func(f *freeze.Freeze) { f.Org, f.ID, f.LiftedAt, f.Version = org, id.NewFreeze(), time.Time{}, 1 })
	w.policy = filled(func(d *policy.Document) { d.Org, d.ID, d.Version = org, id.NewPolicy(), 0 })
	w.proposal = filled(func(p *proposal.Proposal) {
		p.Org, p.ID, p.User, p.State, p.Version = org, id.NewProposal(), w.user.ID, proposal.Open, 1
	})
	w.held, w.approval = w.pending(w.agent.ID, "")
	w.group = filled(func(g *user.Group) { g.Org, g.ID, g.Version = org, id.NewGroup(), 1 })
	w.vote = filled(func(v *approval.Vote) { v.Org, v.Approval, v.User, v.Version = org, w.approval.ID, w.user.ID, 1 })
	w.relief = filled(func(r *approval.Relief) {
		r.Org, r.ID, r.Agent, r.User, r.Used, r.Most, r.RevokedAt, r.Version = org, id.NewRelief(), w.agent.ID, w.user.ID, 0, 2, time.Time{}, 1
	})
	return w
}

// pending is an action of a that waits for its approval, all fields filled.
func (w *world) pending(a id.Agent, key string) (*action.Action, *approval.Approval) {
	act := filled(func(v *action.Action) {
		v.Org, v.ID, v.User, v.Agent, v.Connection, v.State, v.Version = org, id.NewAction(), w.user.ID, a, w.connection.ID, action.Pending, 1
		v.Approval, v.Key, v.CreatedAt, v.UpdatedAt, v.ExpiresAt = id.NewApproval(), key, now, now, now.Add(time.Hour)
		v.FinishedAt, v.FetchedAt = time.Time{}, time.Time{}
		v.Effect = action.Digest([]byte("................................"))
		copy(v.Effect[:], v.ID)
		v.Operation = "github.issues.create"
	})
	ap := filled(func(p *approval.Approval) {
		p.Org, p.ID, p.Action, p.Agent, p.User, p.Effect, p.Status, p.Version = org, act.Approval, act.ID, a, w.user.ID, act.Effect, approval.Open, 1
		p.CreatedAt, p.ExpiresAt, p.DecidedAt, p.Level = now, now.Add(time.Hour), time.Time{}, approval.Approve
		p.Votes = nil // rows of their own
	})
	return act, ap
}

func (w *world) hold(ctx context.Context, db *store.DB, a *action.Action, p *approval.Approval, most int, events ...audit.Event) error {
	epoch, err := db.Epoch(ctx)
	if err != nil {
		return err
	}
	return db.Actions().Hold(ctx, broker.Hold{Epoch: epoch, Action: a, Approval: p, Request: []byte("sealed request"), MaxOpen: most, Events: events})
}

// mutation is one change that a Store offers. run makes it with these events,
// of which the store may add more.
type mutation struct {
	name string
	run  func(ctx context.Context, events []audit.Event) error
	// more is how many events the store adds by itself.
	more int
	// silent changes take no events: what they change is not worth one.
	silent bool
	// fails, if set, is the same change with a change function that refuses.
	fails func(ctx context.Context, refusal error) error
}

// changing makes the two forms of a change that is given as a function.
func changing[T any](name string, update func(context.Context, func(*T) ([]audit.Event, error)) error, edit func(*T)) mutation {
	return mutation{
		name: name,
		run: func(ctx context.Context, events []audit.Event) error {
			return update(ctx, func(v *T) ([]audit.Event, error) { edit(v); return events, nil })
		},
		fails: func(ctx context.Context, refusal error) error {
			return update(ctx, func(v *T) ([]audit.Event, error) { edit(v); return nil, refusal })
		},
	}
}

// mutations lists every change of every store, in an order in which each finds
// what it needs.
func (w *world) mutations() []mutation {
	users, agents, actions := w.db.Users(), w.db.Agents(), w.db.Actions()
	epoch := func(ctx context.Context) int64 {
		n, err := w.db.Epoch(ctx)
		if err != nil {
			panic(err) // there is nothing to test without
		}
		return n
	}
	proofs := func(jti string) []agent.Proof {
		return []agent.Proof{{Agent: w.agent.ID, JTI: jti, Until: now.Add(time.Minute)}}
	}
	move := func(ctx context.Context, apply func(*action.Action, *approval.Approval) ([]audit.Event, *approval.Approval, error)) error {
		return actions.Move(ctx, org, w.held.ID, broker.Move{Epoch: epoch(ctx), Proofs: proofs("move"), Answer: []byte("sealed answer"), Apply: apply})
	}
	reask := func(a *action.Action) *approval.Approval {
		next := approval.New(a, approval.Approve, time.Hour, now)
		a.Approval = next.ID
		return next
	}
	return []mutation{
		{name: "CreateUser", run: func(ctx context.Context, e []audit.Event) error { return users.CreateUser(ctx, w.user, w.link, e) }},
		changing("UpdateUser", func(ctx context.Context, c func(*user.User) ([]audit.Event, error)) error {
			return users.UpdateUser(ctx, org, w.user.ID, c)
		}, func(u *user.User) { u.Role = user.Auditor }),
		{name: "CreateGroup", run: func(ctx context.Context, e []audit.Event) error { return users.Groups().CreateGroup(ctx, w.group, e) }},
		changing("UpdateGroup", func(ctx context.Context, c func(*user.Group) ([]audit.Event, error)) error {
			return users.Groups().UpdateGroup(ctx, org, w.group.ID, c)
		}, func(g *user.Group) { g.Members = g.Members[:1] }),
		{name: "CreateLink", run: func(ctx context.Context, e []audit.Event) error { return users.Passkeys().CreateLink(ctx, w.link2, e) }},
		{name: "Enrol", run: func(ctx context.Context, e []audit.Event) error {
			return users.Passkeys().Enrol(ctx, w.passkey, w.link.Hash, now, e)
		}},
		changing("UpdatePasskey", func(ctx context.Context, c func(*user.Passkey) ([]audit.Event, error)) error {
			return users.Passkeys().UpdatePasskey(ctx, org, w.passkey.ID, c)
		}, func(p *user.Passkey) { p.UsedAt = now }),
		{name: "CreateSession", run: func(ctx context.Context, e []audit.Event) error {
			return users.Sessions().CreateSession(ctx, w.session, e)
		}},
		changing("UpdateSession", func(ctx context.Context, c func(*user.Session) ([]audit.Event, error)) error {
			return users.Sessions().UpdateSession(ctx, org, w.session.ID, c)
		}, func(s *user.Session) { s.AuthAt = now }),
		{name: "Touch", silent: true, run: func(ctx context.Context, _ []audit.Event) error {
			return users.Sessions().Touch(ctx, org, w.session.ID, now.Add(time.Minute))
		}},
		{name: "CreateDevice", run: func(ctx context.Context, e []audit.Event) error {
			return users.Devices().CreateDevice(ctx, w.device, e)
		}},
		changing("UpdateDevice", func(ctx context.Context, c func(*user.Device) ([]audit.Event, error)) error {
			return users.Devices().UpdateDevice(ctx, w.device.Hash, c)
		}, func(d *user.Device) { d.Status = user.DeviceApproved }),
		{name: "Redeem", run: func(ctx context.Context, e []audit.Event) error {
			return users.Devices().Redeem(ctx, w.device.Hash, func(d *user.Device) ([]audit.Event, error) { d.Status = user.DeviceUsed; return nil, nil }, w.second, e)
		}, fails: func(ctx context.Context, refusal error) error {
			return users.Devices().Redeem(ctx, w.device.Hash, func(d *user.Device) ([]audit.Event, error) { d.Status = user.DeviceUsed; return nil, refusal }, w.second, nil)
		}},
		{name: "Ceremonies.Begin", silent: true, run: func(ctx context.Context, _ []audit.Event) error { return users.Ceremonies().Begin(ctx, w.ceremony) }},

		{name: "UpdateAmong", run: func(ctx context.Context, e []audit.Event) error {
			return users.UpdateAmong(ctx, org, w.user.ID, func(u *user.User, _ []*user.User) ([]audit.Event, error) { u.Role = user.Owner; return e, nil })
		}, fails: func(ctx context.Context, refusal error) error {
			return users.UpdateAmong(ctx, org, w.user.ID, func(u *user.User, _ []*user.User) ([]audit.Event, error) {
				u.Role = user.Admin
				return nil, refusal
			})
		}},
		{name: "Recovery.Replace", run: func(ctx context.Context, e []audit.Event) error {
			return users.Recovery().Replace(ctx, org, w.user.ID, []*user.RecoveryCode{w.code}, e)
		}},
		{name: "Recovery.Redeem", run: func(ctx context.Context, e []audit.Event) error {
			return users.Recovery().Redeem(ctx, w.code.Hash, now, func(c *user.RecoveryCode) (*user.Link, []audit.Event, error) {
				return &user.Link{Org: org, Hash: []byte("recovered"), User: c.User, CreatedAt: now, ExpiresAt: now.Add(time.Hour), Version: 1}, e, nil
			})
		}, fails: func(ctx context.Context, refusal error) error {
			return users.Recovery().Redeem(ctx, w.code.Hash, now, func(*user.RecoveryCode) (*user.Link, []audit.Event, error) { return nil, nil, refusal })
		}},
		{name: "LinkIdentity", run: func(ctx context.Context, e []audit.Event) error {
			return users.Passkeys().LinkIdentity(ctx, w.identity, nil, now, e)
		}},
		{name: "UseIdentity", silent: true, run: func(ctx context.Context, _ []audit.Event) error {
			return users.Passkeys().UseIdentity(ctx, w.identity, "thumbprint", now)
		}},
		{name: "VoidLinks", run: func(ctx context.Context, e []audit.Event) error {
			_, err := users.Passkeys().VoidLinks(ctx, org, w.user.ID, now, e)
			return err
		}},

		{name: "CreateAgent", run: func(ctx context.Context, e []audit.Event) error {
			return agents.CreateAgent(ctx, w.agent, []*agent.Key{w.key}, e)
		}},
		changing("UpdateAgent", func(ctx context.Context, c func(*agent.Agent) ([]audit.Event, error)) error {
			return agents.UpdateAgent(ctx, org, w.agent.ID, c)
		}, func(a *agent.Agent) { a.Profile = agent.Strict }),
		{name: "CreateKey", run: func(ctx context.Context, e []audit.Event) error { return agents.Keys().CreateKey(ctx, w.key2, e) }},
		changing("UpdateKey", func(ctx context.Context, c func(*agent.Key) ([]audit.Event, error)) error {
			return agents.Keys().UpdateKey(ctx, org, w.key2.ID, c)
		}, func(k *agent.Key) { k.Status = agent.KeyRevoked }),
		{name: "Issue", run: func(ctx context.Context, e []audit.Event) error {
			return agents.Tokens().Issue(ctx, w.token, proofs("issue"), e)
		}},
		{name: "Revoke", run: func(ctx context.Context, e []audit.Event) error {
			return agents.Tokens().Revoke(ctx, org, w.token.ID, proofs("revoke"), now, e)
		}},
		{name: "Spend", run: func(ctx context.Context, e []audit.Event) error {
			return agents.Tokens().Spend(ctx, proofs("spend"), e)
		}},
		{name: "Refuse", run: func(ctx context.Context, e []audit.Event) error {
			return agents.Tokens().Refuse(ctx, proofs("refuse"), e)
		}},

		{name: "PutRegistration", run: func(ctx context.Context, e []audit.Event) error {
			return w.db.Registrations().PutRegistration(ctx, w.registration, e)
		}},
		{name: "PutRegistration again", run: func(ctx context.Context, e []audit.Event) error {
			w.registration.ClientID = "another"
			return w.db.Registrations().PutRegistration(ctx, w.registration, e)
		}},
		{name: "CreateFlow", run: func(ctx context.Context, e []audit.Event) error { return w.db.Flows().CreateFlow(ctx, w.flow, e) }},
		{name: "Record", run: func(ctx context.Context, e []audit.Event) error { return w.db.Flows().Record(ctx, e) }},
		{name: "CreateConnection", run: func(ctx context.Context, e []audit.Event) error {
			return w.db.Flows().CreateConnection(ctx, w.connection, e)
		}},
		{name: "CreateConnection, another", run: func(ctx context.Context, e []audit.Event) error {
			return w.db.Flows().CreateConnection(ctx, w.linked, e)
		}},
		changing("UpdateConnection", func(ctx context.Context, c func(*vault.Connection) ([]audit.Event, error)) error {
			return w.db.Connections().UpdateConnection(ctx, org, w.connection.ID, c)
		}, func(c *vault.Connection) { c.Status = vault.NeedsReauth }),
		{name: "Used", silent: true, run: func(ctx context.Context, _ []audit.Event) error {
			return w.db.Connections().Used(ctx, org, w.connection.ID, now)
		}},
		{name: "Lease", run: func(ctx context.Context, e []audit.Event) error {
			_, _, err := w.db.Connections().Lease(ctx, org, w.connection.ID, time.Minute, e)
			return err
		}},
		{name: "CreateGrant", run: func(ctx context.Context, e []audit.Event) error { return w.db.Grants().CreateGrant(ctx, w.grant, e) }},
		changing("UpdateGrant", func(ctx context.Context, c func(*grant.Grant) ([]audit.Event, error)) error {
			return w.db.Grants().UpdateGrant(ctx, org, w.grant.ID, c)
		}, func(g *grant.Grant) { g.Mode = grant.Vend }),
		{name: "CreateFreeze", run: func(ctx context.Context, e []audit.Event) error {
			_, err := w.db.Freezes().CreateFreeze(ctx, w.freeze, e)
			return err
		}},
		changing("UpdateFreeze", func(ctx context.Context, c func(*freeze.Freeze) ([]audit.Event, error)) error {
			return w.db.Freezes().UpdateFreeze(ctx, org, w.freeze.ID, c)
		}, func(f *freeze.Freeze) { f.Reason = "changed" }),
		{name: "PutPolicy", run: func(ctx context.Context, e []audit.Event) error { return w.db.Policies().PutPolicy(ctx, w.policy, e) }},
		{name: "PutPolicy again", run: func(ctx context.Context, e []audit.Event) error {
			next := *w.policy
			next.Version, next.Text = 1, "permit (principal, action, resource);"
			return w.db.Policies().PutPolicy(ctx, &next, e)
		}},
		{name: "CreateProposal", run: func(ctx context.Context, e []audit.Event) error {
			return w.db.Proposals().CreateProposal(ctx, w.proposal, 10, e)
		}},
		changing("UpdateProposal", func(ctx context.Context, c func(*proposal.Proposal) ([]audit.Event, error)) error {
			return w.db.Proposals().UpdateProposal(ctx, org, w.proposal.ID, c)
		}, func(p *proposal.Proposal) { p.Status = 201 }),

		{name: "Begin", run: func(ctx context.Context, e []audit.Event) error {
			return actions.Begin(ctx, broker.Begin{Org: org, Epoch: epoch(ctx), Proofs: proofs("begin"), Events: e, Intent: w.inline})
		}},
		{name: "Actions.End", run: func(ctx context.Context, e []audit.Event) error { return actions.End(ctx, org, w.inline, e) }},
		{name: "Hold", run: func(ctx context.Context, e []audit.Event) error {
			return w.hold(ctx, w.db, w.held, w.approval, 10, e...)
		}},
		{name: "Move, a vote and a relief", run: func(ctx context.Context, e []audit.Event) error {
			return actions.Move(ctx, org, w.held.ID, broker.Move{Epoch: -1, Relief: w.relief, Apply: func(_ *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
				p.Votes = append(p.Votes, *w.vote)
				return e, nil, nil
			}})
		}},
		changing("UpdateRelief", func(ctx context.Context, c func(*approval.Relief) ([]audit.Event, error)) error {
			return w.db.Reliefs().UpdateRelief(ctx, org, w.relief.ID, c)
		}, func(r *approval.Relief) { r.Risk = 1 }),
		{name: "Begin, under a relief", more: 1, run: func(ctx context.Context, e []audit.Event) error {
			return actions.Begin(ctx, broker.Begin{Org: org, Epoch: epoch(ctx), Events: e, Intent: w.relieved, Relief: w.relief.ID})
		}},
		{name: "Move", run: func(ctx context.Context, e []audit.Event) error {
			return move(ctx, func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
				p.Status = approval.Withdrawn
				return e, reask(a), nil
			})
		}, fails: func(ctx context.Context, refusal error) error {
			return move(ctx, func(a *action.Action, p *approval.Approval) ([]audit.Event, *approval.Approval, error) {
				return nil, reask(a), refusal
			})
		}},
		// The grant, the action and its approval go with the connection.
		{name: "Connections.End", more: 3, run: func(ctx context.Context, e []audit.Event) error {
			return w.db.Connections().End(ctx, org, w.connection.ID, now, func(c *vault.Connection) ([]audit.Event, error) { c.Status = vault.Revoked; return e, nil })
		}, fails: func(ctx context.Context, refusal error) error {
			return w.db.Connections().End(ctx, org, w.connection.ID, now, func(c *vault.Connection) ([]audit.Event, error) { c.Status = vault.Revoked; return nil, refusal })
		}},
		{name: "ForgetProposals", silent: true, run: func(ctx context.Context, _ []audit.Event) error {
			return w.db.Proposals().ForgetProposals(ctx, org, w.proposal.CreatedAt.Add(time.Second))
		}},
	}
}
