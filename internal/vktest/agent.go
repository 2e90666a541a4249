package vktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

// ParseCallback reads the URL that a provider sent the browser back to.
func ParseCallback(t *testing.T, providerID, raw string) connect.Callback {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	return connect.Callback{
		Provider: providerID, State: secret.New(q.Get("state")), Code: secret.New(q.Get("code")), Issuer: q.Get("iss"), Error: q.Get("error"),
	}
}

// Agent registers an agent with a fresh P-256 key.
func (w *World) Agent(owner user.Principal, name string) (*agent.Agent, *ecdsa.PrivateKey) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	a, _, err := w.App.Agents.Register(w.t.Context(), agent.Registration{Name: name, Owner: owner.User, Key: public}, now,
		func(verb, object string, data map[string]string) audit.Event {
			return owner.Event(verb, object, owner.User, now, data)
		})
	if err != nil {
		w.t.Fatal(err)
	}
	return a, key
}

// Caller is a as if it had just authenticated from this machine.
func Caller(a *agent.Agent) agent.Caller {
	return agent.Caller{Org: a.Org, Agent: a.ID, Name: a.Name, Owner: a.Owner, Profile: a.Profile, Source: netip.MustParseAddr("127.0.0.1")}
}

// Grant lets a use con.
func (w *World) Grant(owner user.Principal, a *agent.Agent, con *vault.Connection, mode grant.Mode, operations, resources []string) *grant.Grant {
	w.t.Helper()
	now := time.Now()
	g := &grant.Grant{
		Org: a.Org, ID: id.NewGrant(), Agent: a.ID, Connection: con.ID, User: con.User, Mode: mode, Operations: operations, Resources: resources,
		CreatedAt: now, CreatedBy: owner.Actor(), Version: 1,
	}
	if err := g.Validate(now); err != nil {
		w.t.Fatal(err)
	}
	e := owner.Event("grant.created", string(g.ID), con.User, now, nil)
	if err := w.App.DB.Grants().CreateGrant(w.t.Context(), g, []audit.Event{e}); err != nil {
		w.t.Fatal(err)
	}
	return g
}
