package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// targetSpec is the deployment to serve: a provider at Upstream, tenants with
// an account there each, and agents of theirs.
type targetSpec struct {
	Data     string
	Upstream string // base URL
	Tenants  int
	Agents   []agentSpec
}

type agentSpec struct {
	Name    string
	Profile string
	Key     string // public, JWK
	Alg     string
	Tenant  int
}

type targetReady struct {
	Addr   string
	Issuer string
	Users  []string // ids, by tenant
	Agents []string // ids, in the order of the spec
}

// targetRequest is what the target does besides serving.
type targetRequest struct {
	Profile string   // begin a CPU profile, to be written to files of this name; "-" ends it
	Deny    []string // answer no to these actions, one after the other
}

type targetReply struct {
	// At are the moments before each denial was begun, Unix nanoseconds.
	At []int64
}

// target is the served application.
type target struct {
	app    *app.App
	people []user.Principal
	prof   *os.File
}

func playTarget(ctx context.Context, requests *json.Decoder, replies *json.Encoder) error {
	var spec targetSpec
	if err := requests.Decode(&spec); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cfg := config.Default()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	cfg.Data, cfg.Listen, cfg.PublicURL = filepath.Join(spec.Data, "data"), l.Addr().String(), "http://localhost:"+port+"/"
	cfg.AllowInternal = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := cfg.Check(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	a.Broker.MaxAsked = 0 // one person stands for all approvers of a tenant
	t := &target{app: a}
	ready, err := t.furnish(ctx, spec)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	ready.Addr, ready.Issuer = l.Addr().String(), cfg.PublicURL

	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Serve(serving, l) }()
	err = replies.Encode(ready)
	for err == nil {
		var r targetRequest
		if requests.Decode(&r) != nil {
			break // whoever started us has left
		}
		var reply targetReply
		if reply, err = t.answer(ctx, r); err == nil {
			err = replies.Encode(reply)
		}
	}
	stop()
	return errors.Join(err, <-done, a.Close())
}

// furnish makes provider, people, connections, agents and grants, by the
// services that the dashboard would use.
func (t *target) furnish(ctx context.Context, spec targetSpec) (targetReady, error) {
	var ready targetReady
	now := time.Now()
	at := vault.Registration{Provider: "github", Spec: "github", Internal: true, Base: provider.Base{API: []string{spec.Upstream}, Web: spec.Upstream}}
	operator := user.Principal{Org: id.DefaultOrg, Operator: true, Confirm: true}
	err := t.app.Providers.Set(ctx, at, secret.Text{}, t.app.Egress.CheckURL, now, eventsOf(operator))
	if err != nil {
		return ready, err
	}
	if _, err := t.app.Providers.All(ctx); err != nil {
		return ready, err
	}
	var accounts []*vault.Connection
	for i := range spec.Tenants {
		u, _, err := t.app.Users.Create(ctx, operator, fmt.Sprintf("tenant-%d", i), user.Owner, now)
		if err != nil {
			return ready, err
		}
		p := user.Principal{Org: u.Org, User: u.ID, Name: u.Name, Role: u.Role, Session: id.NewSession(), Kind: user.Browser, AuthAt: now}
		con, err := t.app.Connect.AddToken(ctx, p, u.ID, "github", "", secret.New(fmt.Sprintf("%s%d", upstreamToken, i)), now)
		if err != nil {
			return ready, err
		}
		t.people, accounts, ready.Users = append(t.people, p), append(accounts, con), append(ready.Users, string(u.ID))
	}
	for _, s := range spec.Agents {
		who, con := t.people[s.Tenant], accounts[s.Tenant]
		a, _, err := t.app.Agents.Register(ctx, agent.Registration{
			Name: s.Name, Owner: who.User, Profile: agent.Profile(s.Profile), Key: []byte(s.Key), Alg: s.Alg,
		}, now, eventsOf(who))
		if err != nil {
			return ready, err
		}
		g := &grant.Grant{
			Org: a.Org, ID: id.NewGrant(), Agent: a.ID, Connection: con.ID, User: con.User, Mode: grant.Vend, Operations: []string{"*"},
			CreatedAt: now, CreatedBy: who.Actor(), Version: 1,
		}
		if err := t.app.DB.Grants().CreateGrant(ctx, g, []audit.Event{who.Event("grant.created", string(g.ID), con.User, now, nil)}); err != nil {
			return ready, err
		}
		ready.Agents = append(ready.Agents, string(a.ID))
	}
	return ready, nil
}

func eventsOf(p user.Principal) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return p.Event(verb, object, p.User, time.Now(), data)
	}
}

func (t *target) answer(ctx context.Context, r targetRequest) (targetReply, error) {
	if r.Profile != "" {
		if err := t.profile(r.Profile); err != nil {
			return targetReply{}, err
		}
	}
	var reply targetReply
	for _, a := range r.Deny {
		h, err := t.app.DB.Actions().Held(ctx, id.DefaultOrg, id.Action(a))
		if err != nil {
			return reply, err
		}
		now := time.Now()
		reply.At = append(reply.At, now.UnixNano())
		for _, p := range t.people {
			if p.User != h.Action.User {
				continue
			}
			p.AuthAt = now
			no := broker.Verdict{Answer: approval.No, Seen: h.Action.Effect, Level: h.Approval.Level, Channel: "web"}
			if _, err := t.app.Broker.Decide(ctx, p, h.Approval.ID, no, now); err != nil {
				return reply, err
			}
		}
	}
	return reply, nil
}

// profile starts a CPU profile, or ends the one that runs. What was allocated
// since the start of the process is written beside it.
func (t *target) profile(name string) error {
	if name != "-" {
		f, err := os.Create(name + ".cpu.pprof")
		if err != nil {
			return err
		}
		t.prof = f
		return pprof.StartCPUProfile(f)
	}
	pprof.StopCPUProfile()
	if err := t.prof.Close(); err != nil {
		return err
	}
	f, err := os.Create(strings.TrimSuffix(t.prof.Name(), ".cpu.pprof") + ".allocs.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
