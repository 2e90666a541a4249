package policy

import (
	"net/netip"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// The words of schema.cedarschema.
const (
	typeUser       cedar.EntityType = "User"
	typeAgent      cedar.EntityType = "Agent"
	typeConnection cedar.EntityType = "Connection"
	typeProvider   cedar.EntityType = "Provider"
	typeOperation  cedar.EntityType = "Operation"
	typeAccount    cedar.EntityType = "Account"
	typeOwner      cedar.EntityType = "Owner"
	typeRepository cedar.EntityType = "Repository"
	typeChannel    cedar.EntityType = "Channel"
	typeCalendar   cedar.EntityType = "Calendar"
	typeItem       cedar.EntityType = "Item"
	typeAction     cedar.EntityType = "Action"
)

var (
	actionRead  = uid(typeAction, "read")
	actionWrite = uid(typeAction, "write")
	actionVend  = uid(typeAction, "vend")
)

func uid(t cedar.EntityType, id string) cedar.EntityUID {
	return cedar.EntityUID{Type: t, ID: cedar.String(id)}
}

// world is an input in Cedar's terms: the request and the entities it
// mentions. Entities are made when a rule first looks at them, since most
// rules look at none. A world belongs to one decision.
type world struct {
	in       *Input
	action   cedar.EntityUID
	agent    cedar.EntityUID
	conn     cedar.EntityUID
	user     cedar.EntityUID
	op       cedar.EntityUID
	provider cedar.EntityUID
	resource cedar.EntityUID
	owner    cedar.EntityUID // of the resource; zero without one
	facts    cedar.RecordMap
	made     map[cedar.EntityUID]cedar.Entity
}

func newWorld(in *Input) *world {
	w := &world{
		in:       in,
		action:   actionWrite,
		agent:    uid(typeAgent, string(in.Agent.ID)),
		conn:     uid(typeConnection, string(in.Connection.ID)),
		user:     uid(typeUser, string(in.User)),
		op:       uid(typeOperation, in.Operation),
		provider: uid(typeProvider, in.Connection.Provider),
	}
	switch {
	case in.Vend:
		w.action = actionVend
	case in.Read:
		w.action = actionRead
	}
	w.resource, w.owner = in.resource()
	w.facts = w.context()
	return w
}

// resource names the thing acted on, and who owns it. The provider leads every
// id, so that the same name at two providers is two things.
func (in *Input) resource() (thing, owner cedar.EntityUID) {
	prefix := in.Connection.Provider + "/"
	switch in.Resource.Type {
	case "":
		account := in.Connection.AccountID
		if account == "" {
			account = string(in.Connection.ID)
		}
		return uid(typeAccount, prefix+account), owner
	case "repository":
		if name, _, ok := strings.Cut(in.Resource.ID, "/"); ok {
			owner = uid(typeOwner, prefix+name)
		}
		return uid(typeRepository, prefix+in.Resource.ID), owner
	case "owner", "organization":
		return uid(typeOwner, prefix+in.Resource.ID), owner
	case "channel":
		return uid(typeChannel, prefix+in.Resource.ID), owner
	case "calendar":
		return uid(typeCalendar, prefix+in.Resource.ID), owner
	}
	return uid(typeItem, prefix+in.Resource.Type+"/"+in.Resource.ID), owner
}

// context is the record that rules read, without the assurance.
func (w *world) context() cedar.RecordMap {
	in := w.in
	value, transfer := in.cents()
	currency, unknown := "", false
	if in.Amount != nil {
		currency = in.Amount.Currency
		unknown = value == unbounded || transfer == unbounded
	}
	scopes := make([]cedar.Value, len(in.Scopes))
	for i, s := range in.Scopes {
		scopes[i] = cedar.String(s)
	}
	now := in.Now.UTC()
	weekday := int64(now.Weekday())
	if now.Weekday() == time.Sunday {
		weekday = 7
	}
	m := cedar.RecordMap{
		"assurance":      cedar.Long(Nobody),
		"risk":           cedar.String(riskWord(in.risk())),
		"risk_level":     cedar.Long(in.risk()),
		"operation":      w.op,
		"connection":     w.conn,
		"user":           w.user,
		"method":         cedar.String(in.Method),
		"listed":         cedar.Boolean(in.Listed),
		"read":           cedar.Boolean(w.action == actionRead),
		"vend":           cedar.Boolean(in.Vend),
		"tainted":        cedar.Boolean(in.Tainted),
		"scopes":         cedar.NewSet(scopes...),
		"value_cents":    cedar.Long(value),
		"transfer_cents": cedar.Long(transfer),
		"currency":       cedar.String(currency),
		"has_amount":     cedar.Boolean(in.Amount != nil),
		"amount_unknown": cedar.Boolean(unknown),
		"now":            cedar.NewDatetime(now),
		"hour":           cedar.Long(now.Hour()),
		"weekday":        cedar.Long(weekday),
		"epoch":          cedar.Long(now.Unix()),
	}
	if in.Source.IsValid() {
		// An IPv4 address in IPv6 clothes is the IPv4 address, and a zone is no
		// part of an address that rules could name.
		addr := in.Source.Unmap().WithZone("")
		m["source"] = cedar.IPAddr(netip.PrefixFrom(addr, addr.BitLen()))
	}
	return m
}

// request is what is asked at one level of assurance.
func (w *world) request(level Level) cedar.Request {
	w.facts["assurance"] = cedar.Long(level)
	return cedar.Request{
		Principal: w.agent,
		Action:    w.action,
		Resource:  w.resource,
		Context:   cedar.NewRecord(w.facts),
	}
}

// Get returns an entity that the request mentions, and no other: a rule that
// names a stranger finds nothing there.
func (w *world) Get(id cedar.EntityUID) (cedar.Entity, bool) {
	if e, ok := w.made[id]; ok {
		return e, true
	}
	e, ok := w.make(id)
	if ok {
		if w.made == nil {
			w.made = make(map[cedar.EntityUID]cedar.Entity, 4)
		}
		w.made[id] = e
	}
	return e, ok
}

func (w *world) make(id cedar.EntityUID) (cedar.Entity, bool) {
	in := w.in
	e := cedar.Entity{UID: id}
	switch id {
	case w.action, w.user, w.provider:
	case w.agent:
		e.Attributes = cedar.NewRecord(cedar.RecordMap{
			"name":    cedar.String(in.Agent.Name),
			"profile": cedar.String(in.Agent.Profile),
		})
	case w.conn:
		e.Parents = cedar.NewEntityUIDSet(w.provider)
		e.Attributes = cedar.NewRecord(cedar.RecordMap{
			"owner":      w.user,
			"provider":   w.provider,
			"account":    cedar.String(in.Connection.Account),
			"account_id": cedar.String(in.Connection.AccountID),
		})
	case w.op:
		e.Parents = cedar.NewEntityUIDSet(w.groups()...)
		e.Attributes = cedar.NewRecord(cedar.RecordMap{"name": cedar.String(in.Operation)})
	case w.resource:
		parents := []cedar.EntityUID{w.provider}
		if w.owner.Type != "" {
			parents = append(parents, w.owner)
		}
		e.Parents = cedar.NewEntityUIDSet(parents...)
		public := in.Resource.Public
		name := in.Resource.ID
		kind := in.Resource.Type
		if kind == "" {
			kind, name = "account", in.Connection.Account
		}
		e.Attributes = thing(kind, name, public != nil && *public, public != nil && !*public)
	case w.owner:
		e.Parents = cedar.NewEntityUIDSet(w.provider)
		name, _, _ := strings.Cut(in.Resource.ID, "/")
		e.Attributes = thing("owner", name, false, false)
	default:
		if id.Type != typeOperation || !strings.HasPrefix(in.Operation, string(id.ID)+".") {
			return cedar.Entity{}, false
		}
		e.Parents = cedar.NewEntityUIDSet(w.provider)
		e.Attributes = cedar.NewRecord(cedar.RecordMap{"name": id.ID})
	}
	return e, true
}

func thing(kind, name string, public, private bool) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"kind":    cedar.String(kind),
		"name":    cedar.String(name),
		"public":  cedar.Boolean(public),
		"private": cedar.Boolean(private),
	})
}

// groups is everything the operation is in: each group that its name begins
// with, and the provider.
func (w *world) groups() []cedar.EntityUID {
	all := []cedar.EntityUID{w.provider}
	name := w.in.Operation
	for i := range len(name) {
		if name[i] == '.' {
			all = append(all, uid(typeOperation, name[:i]))
		}
	}
	return all
}
