package approval

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Relief is a yes given beforehand: one operation on one resource, for one
// agent with one connection, so many times and so long. It stands for the
// assurance of its giver, no more: rules that want a passkey, several people,
// or somebody else are not answered by it.
type Relief struct {
	Org        id.Org
	ID         id.Relief
	Agent      id.Agent
	Connection id.Connection
	User       id.User // whose connection it is
	Operation  string
	Resource   string
	Risk       int     // what is riskier is asked
	By         id.User // who gave it
	Approval   id.Approval
	Most       int
	Used       int
	CreatedAt  time.Time
	ExpiresAt  time.Time
	RevokedAt  time.Time
	Version    int64
}

// The bounds of a relief.
const (
	ReliefFor = 2 * time.Hour
	MaxRelief = 50
)

// Errors about reliefs.
var (
	ErrReliefOver    = fault.New(fault.Conflict, "relief_over", "This relief has ended: used up, expired or revoked.")
	ErrReliefUnknown = fault.New(fault.NotFound, "relief_not_found", "There is no such relief, or it is not yours.")
	ErrNoRelief      = fault.New(fault.Invalid, "relief_refused", "What is like this cannot be let through beforehand: only a listed operation on one named resource that one person approves without a passkey, and that moves no money.")
	ErrReliefMost    = fault.New(fault.Invalid, "bad_relief", fmt.Sprintf("A relief is for 1 to %d more times.", MaxRelief))
)

// Relieve makes the relief that by gives with a's yes, for what is like act.
// Whether the rules allow one is judged before.
func (a *Approval) Relieve(act *action.Action, by id.User, risk, most int, now time.Time) (*Relief, error) {
	switch {
	case a.Level != Approve || a.Needs() > 1 || act.Amount != "" || action.Vends(act.Operation):
		return nil, ErrNoRelief
	case act.Resource == "" || len(act.Resource) > 500 || strings.Contains(act.Resource, "*"):
		return nil, ErrNoRelief
	case most < 1 || most > MaxRelief:
		return nil, ErrReliefMost
	}
	return &Relief{
		Org: act.Org, ID: id.NewRelief(), Agent: act.Agent, Connection: act.Connection, User: act.User, Operation: act.Operation,
		Resource: act.Resource, Risk: risk, By: by, Approval: a.ID, Most: most, CreatedAt: now, ExpiresAt: now.Add(ReliefFor), Version: 1,
	}, nil
}

// Live reports whether r lets anything through.
func (r *Relief) Live(now time.Time) bool {
	return r.RevokedAt.IsZero() && now.Before(r.ExpiresAt) && r.Used < r.Most
}

// Fits reports whether r is for act.
func (r *Relief) Fits(act *action.Action, now time.Time) bool {
	return r.Live(now) && r.Org == act.Org && r.Agent == act.Agent && r.Connection == act.Connection && r.User == act.User &&
		r.Operation == act.Operation && r.Resource == act.Resource && act.Resource != "" && act.Amount == ""
}

// Given is the event that r was given.
func (r *Relief) Given(now time.Time) audit.Event {
	return r.event("relief.given", "user:"+string(r.By), now, map[string]string{
		"operation": r.Operation, "resource": r.Resource, "connection": string(r.Connection), "most": strconv.Itoa(r.Most),
		"expires": r.ExpiresAt.UTC().Format(time.RFC3339),
	})
}

// Use counts one action that r lets through.
func (r *Relief) Use(a id.Action, now time.Time) (audit.Event, error) {
	if !r.Live(now) {
		return audit.Event{}, ErrReliefOver
	}
	r.Used++
	return r.event("relief.used", "agent:"+string(r.Agent), now, map[string]string{
		"action": string(a), "used": strconv.Itoa(r.Used), "most": strconv.Itoa(r.Most), "by": string(r.By),
	}), nil
}

// Revoke ends r before its time.
func (r *Relief) Revoke(actor string, now time.Time) (audit.Event, error) {
	if !r.Live(now) {
		return audit.Event{}, ErrReliefOver
	}
	r.RevokedAt = now
	return r.event("relief.revoked", actor, now, map[string]string{"used": strconv.Itoa(r.Used)}), nil
}

func (r *Relief) event(verb, actor string, now time.Time, data map[string]string) audit.Event {
	data["approval"], data["agent"] = string(r.Approval), string(r.Agent)
	return audit.Event{At: now, Org: r.Org, Verb: verb, Actor: actor, Object: string(r.ID), Subject: string(r.User), Data: data}
}
