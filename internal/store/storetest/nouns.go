package storetest

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// refused checks that err is the one that is wanted.
func refused(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testRoundTrips stores records in which every field says something, and reads
// them by every key that they have.
func testRoundTrips(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w := newWorld(db)
	users, agents := db.Users(), db.Agents()

	must(t, users.CreateUser(ctx, w.user, w.link2, nil))
	u, err := users.User(ctx, org, w.user.ID)
	same(t, u, w.user, err)
	us, err := users.Users(ctx, org)
	same(t, us, []*user.User{w.user}, err)
	l, err := users.Passkeys().Link(ctx, w.link2.Hash)
	same(t, l, w.link2, err)
	must(t, users.Passkeys().Enrol(ctx, w.passkey, nil, now, nil))
	p, err := users.Passkeys().ByCredential(ctx, w.passkey.CredentialID)
	same(t, p, w.passkey, err)
	must(t, users.Groups().CreateGroup(ctx, w.group, nil))
	grp, err := users.Groups().Group(ctx, org, w.group.Name)
	same(t, grp, w.group, err)
	grps, err := users.Groups().Groups(ctx, org)
	same(t, grps, []*user.Group{w.group}, err)
	ps, err := users.Passkeys().OfUser(ctx, org, w.user.ID)
	same(t, ps, []*user.Passkey{w.passkey}, err)
	must(t, users.Sessions().CreateSession(ctx, w.session, nil))
	s, u, err := users.Sessions().ByHash(ctx, w.session.Hash)
	same(t, s, w.session, err)
	same(t, u, w.user, err)
	must(t, users.Devices().CreateDevice(ctx, w.device, nil))
	dev, err := users.Devices().ByCode(ctx, w.device.UserCode)
	same(t, dev, w.device, err)
	dev, err = users.Devices().ByHash(ctx, w.device.Hash)
	same(t, dev, w.device, err)
	must(t, users.Ceremonies().Begin(ctx, w.ceremony))
	c, err := users.Ceremonies().Take(ctx, w.ceremony.Hash, now)
	same(t, c, w.ceremony, err)

	must(t, users.Recovery().Replace(ctx, org, w.user.ID, []*user.RecoveryCode{w.code}, nil))
	rcs, err := users.Recovery().OfUser(ctx, org, w.user.ID)
	same(t, rcs, []*user.RecoveryCode{w.code}, err)
	must(t, users.Passkeys().LinkIdentity(ctx, w.identity, nil, now, nil))
	idn, err := users.Passkeys().Identity(ctx, org, w.identity.Issuer, w.identity.Subject)
	same(t, idn, w.identity, err)
	idns, err := users.Passkeys().Identities(ctx, org, w.user.ID)
	same(t, idns, []*user.Identity{w.identity}, err)
	again := *w.identity
	again.ID = id.NewIdentity()
	if err := users.Passkeys().LinkIdentity(ctx, &again, nil, now, nil); fault.From(err).Reason != "exists" {
		t.Errorf("one subject of two people: %v", err)
	}

	must(t, agents.CreateAgent(ctx, w.agent, []*agent.Key{w.key, w.key2}, nil))
	a, err := agents.Agent(ctx, org, w.agent.ID)
	same(t, a, w.agent, err)
	a, err = agents.ByName(ctx, org, w.agent.Name)
	same(t, a, w.agent, err)
	as, err := agents.Agents(ctx, org)
	same(t, as, []*agent.Agent{w.agent}, err)
	ks, err := agents.Keys().OfAgent(ctx, org, w.agent.ID)
	if len(ks) == 2 && ks[0].ID != w.key.ID {
		ks[0], ks[1] = ks[1], ks[0] // minted in the same millisecond
	}
	same(t, ks, []*agent.Key{w.key, w.key2}, err)
	must(t, agents.Tokens().Issue(ctx, w.token, nil, nil))
	tok, a, k, err := agents.Tokens().ByHash(ctx, w.token.Hash)
	same(t, tok, w.token, err)
	same(t, a, w.agent, err)
	same(t, k, w.key, err)

	must(t, db.Registrations().PutRegistration(ctx, w.registration, nil))
	r, err := db.Registrations().Registration(ctx, org, w.registration.Provider)
	same(t, r, w.registration, err)
	rs, err := db.Registrations().Registrations(ctx, org)
	same(t, rs, []*vault.Registration{w.registration}, err)
	must(t, db.Flows().CreateConnection(ctx, w.connection, nil))
	con, err := db.Connections().Connection(ctx, org, w.connection.ID)
	same(t, con, w.connection, err)
	cons, err := db.Connections().OfUser(ctx, org, w.user.ID)
	same(t, cons, []*vault.Connection{w.connection}, err)
	cons, err = db.Connections().Page(ctx, org, w.user.ID, "", 9)
	same(t, cons, []*vault.Connection{w.connection}, err)
	cons, err = db.Connections().Connections(ctx, org)
	same(t, cons, []*vault.Connection{w.connection}, err)
	con, err = db.Flows().ByAccount(ctx, org, w.user.ID, w.connection.Provider, w.connection.AccountID)
	same(t, con, w.connection, err)
	must(t, db.Flows().CreateFlow(ctx, w.flow, nil))
	f, err := db.Flows().TakeFlow(ctx, w.flow.State, w.flow.Session, w.flow.Provider, now)
	w.flow.UsedAt, w.flow.Version = now, 2
	same(t, f, w.flow, err)
	must(t, db.Grants().CreateGrant(ctx, w.grant, nil))
	g, err := db.Grants().Grant(ctx, org, w.grant.ID)
	same(t, g, w.grant, err)
	for _, list := range []func() ([]*grant.Grant, error){
		func() ([]*grant.Grant, error) { return db.Grants().ForUse(ctx, org, w.agent.ID, w.connection.ID) },
		func() ([]*grant.Grant, error) { return db.Grants().OfAgent(ctx, org, w.agent.ID) },
		func() ([]*grant.Grant, error) { return db.Grants().OfConnection(ctx, org, w.connection.ID) },
		func() ([]*grant.Grant, error) { return db.Grants().Grants(ctx, org) },
		func() ([]*grant.Grant, error) { return db.Grants().Page(ctx, org, grant.Listing{Limit: 1}) },
		func() ([]*grant.Grant, error) {
			return db.Grants().Page(ctx, org, grant.Listing{User: w.grant.User, Agent: w.grant.Agent, Connection: w.grant.Connection, Limit: 9})
		},
	} {
		gs, err := list()
		same(t, gs, []*grant.Grant{w.grant}, err)
	}
	made, err := db.Freezes().CreateFreeze(ctx, w.freeze, nil)
	same(t, made, w.freeze, err)
	fz, err := db.Freezes().ActiveFreezes(ctx, org)
	if len(fz) != 1 || err != nil {
		t.Fatalf("ActiveFreezes: %d, %v", len(fz), err)
	}
	same(t, fz[0], w.freeze, err)
	must(t, db.Policies().PutPolicy(ctx, w.policy, nil))
	w.policy.Version = 1
	docs, err := db.Policies().Policies(ctx, org)
	same(t, docs, []*policy.Document{w.policy}, err)
	must(t, db.Proposals().CreateProposal(ctx, w.proposal, 1, nil))
	pr, err := db.Proposals().Proposal(ctx, org, w.proposal.ID)
	same(t, pr, w.proposal, err)
	prs, err := db.Proposals().OpenProposals(ctx, org)
	same(t, prs, []*proposal.Proposal{w.proposal}, err)

	must(t, w.hold(ctx, db, w.held, w.approval, 10, event("action.held", w.held.ID)))
	want := broker.Held{Action: w.held, Approval: w.approval}
	h, err := db.Actions().Held(ctx, org, w.held.ID)
	same(t, h, want, err)
	h, err = db.Actions().ByApproval(ctx, org, w.approval.ID)
	same(t, h, want, err)
	in, err := db.Actions().Inbox(ctx, org, w.user.ID, w.approval.Status, time.Time{}, 10)
	same(t, in, []broker.Held{want}, err)
	payload, err := db.Actions().Payload(ctx, org, w.held.ID, "request")
	same(t, string(payload), "sealed request", err)
}

func testPeople(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w, users := newWorld(db), db.Users()
	_, err := users.User(ctx, org, w.user.ID)
	refused(t, "User", err, user.ErrUnknown)
	_, err = users.Passkeys().Link(ctx, w.link.Hash)
	refused(t, "Link", err, user.ErrLink)
	_, err = users.Passkeys().ByCredential(ctx, w.passkey.CredentialID)
	refused(t, "ByCredential", err, user.ErrPasskey)
	_, _, err = users.Sessions().ByHash(ctx, w.session.Hash)
	refused(t, "ByHash", err, user.ErrLogin)
	_, err = users.Ceremonies().Take(ctx, w.ceremony.Hash, now)
	refused(t, "Take", err, user.ErrCeremony)
	none := func(*user.User) ([]audit.Event, error) { return nil, nil }
	refused(t, "UpdateUser", users.UpdateUser(ctx, org, w.user.ID, none), user.ErrUnknown)

	must(t, users.CreateUser(ctx, w.user, w.link, nil))
	if err := users.CreateUser(ctx, w.user, nil, nil); fault.From(err).Kind != fault.Conflict {
		t.Errorf("the same person twice: %v", err)
	}
	if _, err := users.User(ctx, "org_other", w.user.ID); !errors.Is(err, user.ErrUnknown) {
		t.Errorf("a person through another org: %v", err)
	}

	// A link enrols once, in its time, and its own user.
	keys := users.Passkeys()
	if any, err := keys.Any(ctx, org); any || err != nil {
		t.Errorf("Any before the first: %v, %v", any, err)
	}
	stranger := *w.passkey
	stranger.User = id.NewUser()
	refused(t, "a link of somebody else", keys.Enrol(ctx, &stranger, w.link.Hash, now, nil), user.ErrLink)
	refused(t, "a link after its end", keys.Enrol(ctx, w.passkey, w.link.Hash, w.link.ExpiresAt, nil), user.ErrLink)
	refused(t, "an unknown link", keys.Enrol(ctx, w.passkey, []byte("no such"), now, nil), user.ErrLink)
	if any, err := keys.Any(ctx, org); any || err != nil {
		t.Errorf("Any after refusals: %v, %v", any, err)
	}
	must(t, keys.Enrol(ctx, w.passkey, w.link.Hash, now, nil))
	again := *w.passkey
	again.ID, again.CredentialID = id.NewPasskey(), []byte("another")
	refused(t, "a link that was used", keys.Enrol(ctx, &again, w.link.Hash, now, nil), user.ErrLink)
	if any, err := keys.Any(ctx, org); !any || err != nil {
		t.Errorf("Any: %v, %v", any, err)
	}

	// A passkey goes when its change lets it, and takes its own sessions along.
	removal := errors.New("not this one")
	whatever := func([]*user.Passkey) ([]audit.Event, error) { return nil, nil }
	its := func(s *user.Session) bool { return s.PasskeyRef == w.passkey.ID }
	refused(t, "a removal whose change refuses", keys.RemovePasskey(ctx, org, w.user.ID, w.passkey.ID, now, func(all []*user.Passkey) ([]audit.Event, error) {
		same(t, all, []*user.Passkey{w.passkey}, nil)
		return nil, removal
	}, its), removal)
	refused(t, "an unknown passkey", keys.RemovePasskey(ctx, org, w.user.ID, again.ID, now, whatever, its), user.ErrPasskey)
	refused(t, "somebody else's passkey", keys.RemovePasskey(ctx, org, stranger.User, w.passkey.ID, now, whatever, its), user.ErrPasskey)
	refused(t, "a passkey through another org", keys.RemovePasskey(ctx, "org_other", w.user.ID, w.passkey.ID, now, whatever, its), user.ErrPasskey)
	must(t, keys.Enrol(ctx, &again, nil, now, nil))
	mine, other := *w.session, *w.session
	mine.ID, mine.Hash, mine.PasskeyRef, mine.RevokedAt = id.NewSession(), []byte("opened by it"), w.passkey.ID, time.Time{}
	other.ID, other.Hash, other.PasskeyRef, other.RevokedAt = id.NewSession(), []byte("opened by another"), again.ID, time.Time{}
	must(t, users.Sessions().CreateSession(ctx, &mine, nil))
	must(t, users.Sessions().CreateSession(ctx, &other, nil))
	approved, byOther := *w.device, *w.device
	approved.Status = user.DeviceApproved
	byOther.Hash, byOther.UserCode, byOther.Status, byOther.Passkey = []byte("another device"), "another code", user.DeviceApproved, again.ID
	must(t, users.Devices().CreateDevice(ctx, &approved, nil))
	must(t, users.Devices().CreateDevice(ctx, &byOther, nil))
	status := func(want user.DeviceStatus, d *user.Device) {
		t.Helper()
		if got, err := users.Devices().ByHash(ctx, d.Hash); err != nil || got.Status != want {
			t.Errorf("the device is %+v, want it %s (%v)", got, want, err)
		}
	}
	must(t, keys.RemovePasskey(ctx, org, w.user.ID, w.passkey.ID, now, whatever, its))
	left, err := keys.OfUser(ctx, org, w.user.ID)
	same(t, left, []*user.Passkey{&again}, err)
	alive, err := users.Sessions().OfUser(ctx, org, w.user.ID)
	same(t, alive, []*user.Session{&other}, err)
	status(user.DeviceDenied, &approved)
	status(user.DeviceApproved, &byOther)

	// What it was letting in at that moment stays outside.
	unchanged := func(*user.Device) ([]audit.Event, error) { return nil, nil }
	late := *w.session
	late.ID, late.Hash = id.NewSession(), []byte("late")
	refused(t, "a session by a removed passkey", users.Sessions().CreateSession(ctx, &late, nil), user.ErrPasskey)
	refused(t, "a terminal by a removed passkey", users.Devices().Redeem(ctx, byOther.Hash, unchanged, &late, nil), user.ErrPasskey)
	refused(t, "an approval by a removed passkey", users.Devices().UpdateDevice(ctx, approved.Hash, func(d *user.Device) ([]audit.Event, error) {
		d.Status = user.DeviceApproved
		return nil, nil
	}), user.ErrPasskey)
	status(user.DeviceDenied, &approved)

	// A suspension takes along what the person may come back in with.
	suspend := func(to user.Status) {
		t.Helper()
		must(t, users.UpdateUser(ctx, org, w.user.ID, func(u *user.User) ([]audit.Event, error) {
			u.Status = to
			return []audit.Event{event("user.changed", u.ID)}, nil
		}))
	}
	suspend(user.Active)
	suspend(user.Suspended)
	alive, err = users.Sessions().OfUser(ctx, org, w.user.ID)
	same(t, alive, []*user.Session(nil), err)
	status(user.DeviceDenied, &byOther)
	late.PasskeyRef = again.ID
	refused(t, "a session of a suspended person", users.Sessions().CreateSession(ctx, &late, nil), user.ErrSuspended)
	refused(t, "a terminal of a suspended person", users.Devices().Redeem(ctx, byOther.Hash, unchanged, &late, nil), user.ErrSuspended)
	suspend(user.Active)
	must(t, keys.RemovePasskey(ctx, org, w.user.ID, again.ID, now, whatever, its))
	if any, err := keys.Any(ctx, org); any || err != nil {
		t.Errorf("Any after the removal: %v, %v", any, err)
	}

	// A device whose change refuses opens no session.
	w.device.Hash, w.device.UserCode = []byte("a third device"), "a third code"
	must(t, users.Devices().CreateDevice(ctx, w.device, nil))
	refusal := errors.New("polled too soon")
	refused(t, "Redeem", users.Devices().Redeem(ctx, w.device.Hash, func(*user.Device) ([]audit.Event, error) { return nil, refusal }, w.session, nil), refusal)
	_, _, err = users.Sessions().ByHash(ctx, w.session.Hash)
	refused(t, "the session of a refused device", err, user.ErrLogin)

	// A ceremony is taken once, and not after its end.
	must(t, users.Ceremonies().Begin(ctx, w.ceremony))
	_, err = users.Ceremonies().Take(ctx, w.ceremony.Hash, w.ceremony.ExpiresAt)
	refused(t, "a ceremony at its end", err, user.ErrCeremony)
	_, err = users.Ceremonies().Take(ctx, w.ceremony.Hash, now)
	refused(t, "a ceremony that was taken", err, user.ErrCeremony)
}

func testAgents(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w, agents := newWorld(db), db.Agents()
	_, err := agents.Agent(ctx, org, w.agent.ID)
	refused(t, "Agent", err, agent.ErrUnknown)
	_, err = agents.ByName(ctx, org, "nobody")
	refused(t, "ByName", err, agent.ErrUnknown)
	_, _, _, err = agents.Tokens().ByHash(ctx, []byte("no such"))
	refused(t, "ByHash", err, agent.ErrToken)

	must(t, agents.CreateAgent(ctx, w.agent, []*agent.Key{w.key}, nil))
	namesake := *w.agent
	namesake.ID = id.NewAgent()
	fresh := *w.key
	fresh.ID, fresh.Agent, fresh.KID = id.NewKey(), namesake.ID, "fresh"
	if err := agents.CreateAgent(ctx, &namesake, []*agent.Key{&fresh}, nil); fault.From(err).Reason != "exists" {
		t.Errorf("two agents of one name: %v", err)
	}
	if ks, err := agents.Keys().OfAgent(ctx, org, namesake.ID); len(ks) != 0 || err != nil {
		t.Errorf("keys of an agent that was refused: %d, %v", len(ks), err)
	}
	twin := *w.key
	twin.ID = id.NewKey()
	if err := agents.Keys().CreateKey(ctx, &twin, nil); fault.From(err).Reason != "exists" {
		t.Errorf("two keys of one kid: %v", err)
	}

	// A proof is spent once; what it did not pay for does not happen.
	proof := []agent.Proof{{Agent: w.agent.ID, JTI: "one", Until: now.Add(time.Minute)}}
	must(t, agents.Tokens().Issue(ctx, w.token, proof, []audit.Event{event("token.issued", w.token.ID)}))
	second := *w.token
	second.ID, second.Hash = id.NewToken(), []byte("second")
	refused(t, "Issue for a spent proof", agents.Tokens().Issue(ctx, &second, proof, nil), agent.ErrReplayed)
	_, _, _, err = agents.Tokens().ByHash(ctx, second.Hash)
	refused(t, "a token for a spent proof", err, agent.ErrToken)
	must(t, agents.Tokens().Refuse(ctx, proof, []audit.Event{event("token.refused", w.agent.ID)}))
	other := []agent.Proof{{Agent: id.NewAgent(), JTI: "one", Until: now.Add(time.Minute)}}
	must(t, agents.Tokens().Refuse(ctx, other, nil))
	// A refusal spends what it refused, so that it is not refused forever.
	refusedProof := []agent.Proof{{Agent: w.agent.ID, JTI: "two", Until: now.Add(time.Minute)}}
	must(t, agents.Tokens().Refuse(ctx, refusedProof, nil))
	refused(t, "Issue for a refused proof", agents.Tokens().Issue(ctx, &second, refusedProof, nil), agent.ErrReplayed)

	// When an agent was seen is its last word in the log.
	for _, which := range []id.Agent{"", w.agent.ID} {
		if seen, err := agents.Seen(ctx, org, which); err != nil || !seen[w.agent.ID].IsZero() || len(seen) == 0 {
			t.Errorf("before it was seen: %v, %v", seen, err)
		}
	}
	said := event("token.refused", w.agent.ID)
	said.Actor = "agent:" + string(w.agent.ID)
	for _, at := range []time.Time{now.Add(time.Minute), now.Add(time.Hour)} {
		said.At = at
		must(t, agents.Tokens().Refuse(ctx, nil, []audit.Event{said, event("token.refused", w.agent.ID)}))
		if seen, err := agents.Seen(ctx, org, w.agent.ID); err != nil || !seen[w.agent.ID].Equal(at) {
			t.Errorf("seen at %v, %v, want %v", seen, err, at)
		}
	}

	// Revoking twice says so once.
	before, err := db.Log().Head(ctx)
	must(t, err)
	for range 2 {
		must(t, agents.Tokens().Revoke(ctx, org, w.token.ID, nil, now, []audit.Event{event("token.revoked", w.token.ID)}))
	}
	after, err := db.Log().Head(ctx)
	must(t, err)
	if after.Size != before.Size+1 {
		t.Errorf("revoking twice recorded %d events", after.Size-before.Size)
	}

	// That an agent was seen moves no authority.
	epoch, err := db.Epoch(ctx)
	must(t, err)
	must(t, agents.UpdateAgent(ctx, org, w.agent.ID, func(a *agent.Agent) ([]audit.Event, error) { a.SeenAt = now; return nil, nil }))
	if got, err := db.Epoch(ctx); got != epoch || err != nil {
		t.Errorf("epoch %d after an agent was seen, want %d (%v)", got, epoch, err)
	}
	must(t, agents.UpdateAgent(ctx, org, w.agent.ID, func(a *agent.Agent) ([]audit.Event, error) {
		a.Status = agent.Suspended
		return []audit.Event{event("agent.suspended", a.ID)}, nil
	}))
	if got, err := db.Epoch(ctx); got <= epoch || err != nil {
		t.Errorf("epoch %d after an agent was suspended, want more than %d (%v)", got, epoch, err)
	}
}

func testCustody(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	w := newWorld(db)
	cons, flows := db.Connections(), db.Flows()
	_, err := cons.Connection(ctx, org, w.connection.ID)
	refused(t, "Connection", err, vault.ErrUnknown)
	if c, err := flows.ByAccount(ctx, org, w.user.ID, "github", "1"); c != nil || err != nil {
		t.Errorf("ByAccount of nothing: %v, %v", c, err)
	}
	if _, err := db.Registrations().Registration(ctx, org, "github"); fault.From(err).Kind != fault.NotFound {
		t.Errorf("Registration of nothing: %v", err)
	}
	_, err = db.Grants().Grant(ctx, org, w.grant.ID)
	refused(t, "Grant", err, grant.ErrNone)
	_, _, err = cons.Lease(ctx, org, w.connection.ID, time.Minute, nil)
	refused(t, "Lease", err, vault.ErrUnknown)

	// A flow is bound to its session, provider and time, and works once.
	must(t, flows.CreateFlow(ctx, w.flow, nil))
	for name, take := range map[string]func() (*connect.Flow, error){
		"another session": func() (*connect.Flow, error) {
			return flows.TakeFlow(ctx, w.flow.State, id.NewSession(), w.flow.Provider, now)
		},
		"another provider": func() (*connect.Flow, error) { return flows.TakeFlow(ctx, w.flow.State, w.flow.Session, "other", now) },
		"its end": func() (*connect.Flow, error) {
			return flows.TakeFlow(ctx, w.flow.State, w.flow.Session, w.flow.Provider, w.flow.ExpiresAt)
		},
		"another state": func() (*connect.Flow, error) {
			return flows.TakeFlow(ctx, []byte("no such"), w.flow.Session, w.flow.Provider, now)
		},
	} {
		_, err := take()
		refused(t, "a flow with "+name, err, connect.ErrFlow)
	}
	_, err = flows.TakeFlow(ctx, w.flow.State, w.flow.Session, w.flow.Provider, now)
	must(t, err)
	_, err = flows.TakeFlow(ctx, w.flow.State, w.flow.Session, w.flow.Provider, now)
	refused(t, "a flow twice", err, connect.ErrFlow)

	// A lease has one holder until its end; whoever comes after one that died
	// learns of it.
	must(t, flows.CreateConnection(ctx, w.connection, nil))
	fence := w.connection.Fence
	c, ok, err := cons.Lease(ctx, org, w.connection.ID, time.Hour, []audit.Event{event("connection.refreshing", w.connection.ID)})
	if err != nil || !ok || c.Fence != fence+1 || c.Attempting {
		t.Fatalf("Lease: %+v, %v, %v", c, ok, err)
	}
	if _, ok, err := cons.Lease(ctx, org, w.connection.ID, time.Hour, nil); ok || err != nil {
		t.Errorf("a second lease: %v, %v", ok, err)
	}
	free := func(attempting bool) {
		must(t, cons.UpdateConnection(ctx, org, w.connection.ID, func(v *vault.Connection) ([]audit.Event, error) {
			v.LeaseUntil, v.Attempting = time.Unix(1, 0), attempting
			return nil, nil
		}))
	}
	free(true) // its time is up, and nobody came back
	if c, ok, err = cons.Lease(ctx, org, w.connection.ID, time.Hour, nil); err != nil || !ok || c.Fence != fence+2 || !c.Attempting {
		t.Errorf("the lease after one that died: %+v, %v, %v", c, ok, err)
	}
	free(false)

	// A refresh moves no authority; a change of status does.
	moved := func(edit func(*vault.Connection)) bool {
		before, err := db.Epoch(ctx)
		must(t, err)
		must(t, cons.UpdateConnection(ctx, org, w.connection.ID, func(v *vault.Connection) ([]audit.Event, error) { edit(v); return nil, nil }))
		after, err := db.Epoch(ctx)
		must(t, err)
		return after != before
	}
	if moved(func(v *vault.Connection) { v.Access, v.Generation = []byte("new"), v.Generation+1 }) {
		t.Error("a refresh moved authority")
	}
	if !moved(func(v *vault.Connection) { v.Status = vault.NeedsReauth }) {
		t.Error("a change of status moved no authority")
	}

	// The end of a connection is that of all that hangs on it, and of no more.
	other := *w.grant
	other.ID, other.Connection = id.NewGrant(), w.linked.ID
	must(t, flows.CreateConnection(ctx, w.linked, nil))
	must(t, db.Grants().CreateGrant(ctx, w.grant, nil))
	must(t, db.Grants().CreateGrant(ctx, &other, nil))
	// A page goes on where the one before it ended, and shows what fits only.
	pages := func(which grant.Listing) (got []id.Grant) {
		for {
			page, err := db.Grants().Page(ctx, org, which)
			must(t, err)
			for _, g := range page {
				got = append(got, g.ID)
			}
			if len(page) < which.Limit || len(got) > 9 {
				return got
			}
			which.Before = page[len(page)-1].ID
		}
	}
	both := []id.Grant{w.grant.ID, other.ID}
	slices.SortFunc(both, func(a, b id.Grant) int { return cmp.Compare(b, a) })
	for _, most := range []int{1, 2, 3} {
		if got := pages(grant.Listing{Limit: most}); !slices.Equal(got, both) {
			t.Errorf("grants in pages of %d: %v, want %v", most, got, both)
		}
	}
	if got := pages(grant.Listing{Connection: other.Connection, Limit: 1}); !slices.Equal(got, []id.Grant{other.ID}) {
		t.Errorf("grants of one connection: %v", got)
	}
	if got := pages(grant.Listing{User: id.NewUser(), Limit: 1}); len(got) != 0 {
		t.Errorf("somebody else's grants: %v", got)
	}
	if got, err := cons.Page(ctx, org, "", min(w.connection.ID, w.linked.ID), 9); len(got) != 0 || err != nil {
		t.Errorf("connections before the first: %d, %v", len(got), err)
	}
	must(t, w.hold(ctx, db, w.held, w.approval, 10, event("action.held", w.held.ID)))
	elsewhere, ap := w.pending(w.agent.ID, "elsewhere")
	elsewhere.Connection = w.linked.ID
	must(t, w.hold(ctx, db, elsewhere, ap, 10, event("action.held", elsewhere.ID)))
	must(t, cons.End(ctx, org, w.connection.ID, now, func(v *vault.Connection) ([]audit.Event, error) {
		v.Status, v.RevokedAt = vault.Revoked, now
		return []audit.Event{event("connection.revoked", v.ID)}, nil
	}))
	if g, err := db.Grants().Grant(ctx, org, w.grant.ID); err != nil || !g.RevokedAt.Equal(now) {
		t.Errorf("the grant after the end: %+v, %v", g, err)
	}
	if h, err := db.Actions().Held(ctx, org, w.held.ID); err != nil || h.Action.State != "revoked" || h.Approval.Status != "withdrawn" || h.Action.Why != "connection_revoked" {
		t.Errorf("the action after the end: %+v, %v", h, err)
	}
	if g, err := db.Grants().Grant(ctx, org, other.ID); err != nil || !g.RevokedAt.IsZero() {
		t.Errorf("another connection's grant after the end: %+v, %v", g, err)
	}
	if h, err := db.Actions().Held(ctx, org, elsewhere.ID); err != nil || h.Action.State != "pending" || h.Approval.Status != "open" {
		t.Errorf("another connection's action after the end: %+v, %v", h, err)
	}

	// A policy is replaced only by who has seen it.
	must(t, db.Policies().PutPolicy(ctx, w.policy, nil))
	next := *w.policy
	next.Version, next.Text = 1, "forbid (principal, action, resource);"
	must(t, db.Policies().PutPolicy(ctx, &next, nil))
	refused(t, "a policy that changed meanwhile", db.Policies().PutPolicy(ctx, &next, nil), broker.ErrPolicyChanged)
	twice := *w.policy
	twice.ID = id.NewPolicy()
	if err := db.Policies().PutPolicy(ctx, &twice, nil); fault.From(err).Reason != "exists" {
		t.Errorf("two policies of one name: %v", err)
	}
}

// A proposer has so many open proposals at once and no more; what has run out,
// was decided or is somebody else's does not count.
func testProposals(t *testing.T, d Database) {
	db, ctx := d.Open(t), t.Context()
	store := db.Proposals()
	create := func(by string, made time.Time) (*proposal.Proposal, error) {
		p := newWorld(db).proposal
		p.By, p.CreatedAt, p.ExpiresAt = by, made, made.Add(proposal.TTL)
		return p, store.CreateProposal(ctx, p, 2, []audit.Event{event("proposal.opened", p.ID)})
	}
	_, err := store.Proposal(ctx, org, id.NewProposal())
	refused(t, "Proposal", err, proposal.ErrUnknown)
	none := func(*proposal.Proposal) ([]audit.Event, error) { return nil, nil }
	refused(t, "UpdateProposal", store.UpdateProposal(ctx, org, id.NewProposal(), none), proposal.ErrUnknown)
	first, err := create("operator:0", now)
	must(t, err)
	second, err := create("operator:0", now.Add(time.Minute))
	must(t, err)
	_, err = create("operator:0", now.Add(2*time.Minute))
	refused(t, "a third", err, proposal.ErrTooMany)
	if _, err := create("operator:1", now.Add(2*time.Minute)); err != nil {
		t.Errorf("somebody else's first: %v", err)
	}
	if _, err := store.Proposal(ctx, "org_other", first.ID); !errors.Is(err, proposal.ErrUnknown) {
		t.Errorf("a proposal through another org: %v", err)
	}
	must(t, store.UpdateProposal(ctx, org, second.ID, func(p *proposal.Proposal) ([]audit.Event, error) {
		p.State = proposal.Refused
		return nil, nil
	}))
	third, err := create("operator:0", now.Add(3*time.Minute))
	must(t, err)
	if _, err := create("operator:0", first.ExpiresAt); err != nil {
		t.Errorf("one more, when the first has run out: %v", err)
	}
	must(t, store.ForgetProposals(ctx, org, third.CreatedAt))
	_, err = store.Proposal(ctx, org, first.ID)
	refused(t, "one that was forgotten", err, proposal.ErrUnknown)
	open, err := store.OpenProposals(ctx, org)
	if err != nil || len(open) != 2 || open[1].ID != third.ID {
		t.Errorf("open ones: %d, %v", len(open), err)
	}
}
