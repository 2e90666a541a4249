package httpapi

import (
	"net/http"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/provider"
)

// audience is who may call a route at all. What they may do there is for the
// services to say.
type audience int

const (
	anyone audience = iota
	agents          // by access token
	people          // by session; the operator over the socket
	both
)

// route is one path and method.
type route struct {
	pattern string
	who     audience
	query   []string        // the parameters that it knows
	limits  provider.Limits // of the body; the defaults of [provider.CheckJSON] if zero
	// network says that the operator's socket does not serve it.
	network bool
	do      endpoint
}

// submission leaves room for a body of the largest size in base64.
var submission = provider.Limits{Bytes: 2 << 20, String: 3 << 19}

// routes lists every path of the API.
func (s *Server) routes() []route {
	q := func(names ...string) []string { return names }
	return []route{
		{pattern: "POST /v1/actions", who: agents, query: q("stream"), limits: submission, network: true, do: byAgent(s.submit)},
		{pattern: "GET /v1/actions", who: agents, query: q("idempotency_key", "cursor", "limit"), network: true, do: byAgent(s.listActions)},
		{pattern: "GET /v1/actions/{id}", who: agents, query: q("wait"), network: true, do: byAgent(s.getAction)},
		{pattern: "GET /v1/actions/{id}/events", who: agents, network: true, do: byAgent(s.followAction)},
		{pattern: "GET /v1/actions/{id}/response", who: agents, network: true, do: byAgent(s.getResponse)},
		{pattern: "POST /v1/actions/{id}/cancel", who: agents, network: true, do: byAgent(s.cancelAction)},
		{pattern: "GET /v1/connections", who: both, do: byEither(s.usableConnections, s.ownConnections)},
		{pattern: "GET /v1/operations", who: both, query: q("provider", "connection"), do: byEither(s.usableOperations, s.allOperations)},

		{pattern: "GET /v1/me", who: people, do: byPerson(s.me)},
		{pattern: "GET /v1/me/passkeys", who: people, do: byPerson(s.ownPasskeys)},
		{pattern: "PATCH /v1/me/passkeys/{id}", who: people, do: byPerson(s.renamePasskey)},
		{pattern: "GET /v1/me/sessions", who: people, do: byPerson(s.ownSessions)},
		{pattern: "DELETE /v1/me/sessions", who: people, do: byPerson(s.endOtherSessions)},
		{pattern: "DELETE /v1/me/sessions/{id}", who: people, do: byPerson(s.endSession)},
		{pattern: "GET /v1/approvals", who: people, query: q("status", "cursor", "limit"), do: byPerson(s.listApprovals)},
		{pattern: "GET /v1/approvals/{id}", who: people, do: byPerson(s.getApproval)},
		{pattern: "POST /v1/approvals/{id}/decision", who: people, network: true, do: byPerson(s.decide)},
		{pattern: "GET /v1/receipts/{id}", who: people, do: byPerson(s.receipt)},
		{pattern: "GET /v1/proposals/{id}", who: people, query: q("wait"), do: byPerson(s.getProposal)},

		{pattern: "GET /v1/admin/status", who: people, do: byPerson(s.status)},
		{pattern: "GET /v1/admin/doctor", who: people, do: byPerson(s.doctor)},
		{pattern: "GET /v1/admin/users", who: people, do: byPerson(s.listUsers)},
		{pattern: "POST /v1/admin/users", who: people, do: byPerson(s.createUser)},
		{pattern: "PATCH /v1/admin/users/{ref}", who: people, do: byPerson(s.changeUser)},
		{pattern: "POST /v1/admin/users/{ref}/enrol-link", who: people, do: byPerson(s.enrolLink)},
		{pattern: "DELETE /v1/admin/users/{ref}/enrol-link", who: people, do: byPerson(s.voidLinks)},
		{pattern: "GET /v1/admin/groups", who: people, do: byPerson(s.listGroups)},
		{pattern: "POST /v1/admin/groups", who: people, do: byPerson(s.createGroup)},
		{pattern: "PATCH /v1/admin/groups/{name}", who: people, do: byPerson(s.changeGroup)},
		{pattern: "GET /v1/admin/reliefs", who: people, query: q("agent"), do: byPerson(s.listReliefs)},
		{pattern: "DELETE /v1/admin/reliefs/{id}", who: people, do: byPerson(s.revokeRelief)},
		{pattern: "GET /v1/admin/agents", who: people, do: byPerson(s.listAgents)},
		{pattern: "POST /v1/admin/agents", who: people, do: byPerson(s.registerAgent)},
		{pattern: "GET /v1/admin/agents/{ref}", who: people, do: byPerson(s.getAgent)},
		{pattern: "PATCH /v1/admin/agents/{ref}", who: people, do: byPerson(s.changeAgent)},
		{pattern: "GET /v1/admin/agents/{ref}/keys", who: people, do: byPerson(s.listKeys)},
		{pattern: "POST /v1/admin/agents/{ref}/keys", who: people, do: byPerson(s.addKey)},
		{pattern: "DELETE /v1/admin/agents/{ref}/keys/{id}", who: people, do: byPerson(s.revokeKey)},
		{pattern: "GET /v1/admin/grants", who: people, query: q("agent", "connection", "cursor", "limit"), do: byPerson(s.listGrants)},
		{pattern: "POST /v1/admin/grants", who: people, do: byPerson(s.createGrant)},
		{pattern: "DELETE /v1/admin/grants/{id}", who: people, do: byPerson(s.revokeGrant)},
		{pattern: "GET /v1/admin/connections", who: people, query: q("cursor", "limit"), do: byPerson(s.listConnections)},
		{pattern: "POST /v1/admin/connections", who: people, do: byPerson(s.pasteToken)},
		{pattern: "GET /v1/admin/connections/{ref}", who: people, do: byPerson(s.getConnection)},
		{pattern: "DELETE /v1/admin/connections/{ref}", who: people, do: byPerson(s.disconnect)},
		{pattern: "GET /v1/admin/providers", who: people, do: byPerson(s.listProviders)},
		{pattern: "PUT /v1/admin/providers/{id}", who: people, do: byPerson(s.setProvider)},
		{pattern: "GET /v1/admin/policies", who: people, do: byPerson(s.listPolicies)},
		{pattern: "GET /v1/admin/policies/{id}", who: people, do: byPerson(s.getPolicy)},
		{pattern: "PUT /v1/admin/policies/{id}", who: people, do: byPerson(s.putPolicy)},
		{pattern: "POST /v1/admin/policies/check", who: people, do: byPerson(s.checkPolicy)},
		{pattern: "GET /v1/admin/freezes", who: people, do: byPerson(s.listFreezes)},
		{pattern: "POST /v1/admin/freezes", who: people, do: byPerson(s.freeze)},
		{pattern: "DELETE /v1/admin/freezes/{id}", who: people, do: byPerson(s.unfreeze)},
		{pattern: "GET /v1/admin/events", who: people, query: q("before", "object", "actor", "verb", "limit", "cursor"), do: byPerson(s.listEvents)},
		{pattern: "GET /v1/admin/events/stream", who: people, query: q("after"), do: byPerson(s.followEvents)},
		{pattern: "GET /v1/admin/checkpoint", who: people, do: byPerson(s.checkpoint)},
		{pattern: "GET /v1/admin/audit/verify", who: people, do: byPerson(s.verify)},
		{pattern: "GET /v1/admin/audit/prove", who: people, query: q("seq"), do: byPerson(s.prove)},
		{pattern: "GET /v1/admin/audit/export", who: people, do: byPerson(s.export)},

		{pattern: "GET /v1/openapi.json", who: anyone, do: byAnyone(s.document)},
		{pattern: "GET /healthz", who: anyone, do: byAnyone(s.healthz)},
		{pattern: "GET /readyz", who: anyone, do: byAnyone(s.readyz)},
	}
}

// Handler serves the API to the network: /v1/…, /healthz and /readyz.
func (s *Server) Handler() http.Handler {
	return s.handler(s.authenticate, func(route) bool { return true })
}

// operatorHandler serves what the operator's socket may do: everything of
// people but to decide.
func (s *Server) operatorHandler() http.Handler {
	return s.handler(s.authenticateOperator, func(r route) bool { return !r.network })
}

// handler serves some of the routes to those whom who finds.
func (s *Server) handler(who authenticator, some func(route) bool) http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		if some(r) {
			mux.Handle(r.pattern, s.serve(r, who))
		}
	}
	return s.paths(mux)
}

// Patterns lists the routes, as a method and a path each.
func (s *Server) Patterns() []string {
	var out []string
	for _, r := range s.routes() {
		out = append(out, r.pattern)
	}
	return out
}

// Parameters lists the query parameters of each route.
func (s *Server) Parameters() map[string][]string {
	out := map[string][]string{}
	for _, r := range s.routes() {
		out[r.pattern] = append([]string{}, r.query...)
	}
	return out
}

// none is the body of a request that has none.
type none struct{}

// list is a page that has no next one.
func list[T any](items []T) api.Page[T] {
	if items == nil {
		items = []T{}
	}
	return api.Page[T]{Items: items}
}
