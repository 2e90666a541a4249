// Package api holds the wire types of the HTTP API, version 1. They are plain
// data: no methods, no rules, no imports beyond the standard library, so that
// both ends (and other people's programs) can share them.
//
// # Conventions
//
//   - Names are snake_case. A member that has nothing to say is left out.
//   - Moments end in _at and are RFC 3339 in UTC, to the microsecond at most.
//     Durations are whole seconds and say so in their name.
//   - Ids carry their kind as a prefix: act_, apr_, agt_, key_, con_, grt_,
//     usr_, pol_, frz_.
//   - A request with a member that is not listed here is refused; a client
//     must ignore members of an answer that it does not know. Only /oauth/token
//     ignores unknown parameters.
//   - Words with a fixed set of values are string types with constants. More
//     may come, so a client treats an unknown one as the most careful of them.
//   - Bytes are base64 (RFC 4648 §4), digests are lower-case hex.
//
// # Routes
//
// Agents send an access token of /oauth/token as Authorization: Bearer. People
// send a token of the device flow. The last column names who may call.
//
//	POST /oauth/token                      form or JSON        TokenResponse                agent
//	POST /oauth/device/code                form                DeviceResponse               anyone
//	POST /v1/actions                       ActionRequest       200 ActionResult, 202 Action agent
//	GET  /v1/actions                       ?idempotency_key= &cursor= &limit=  Page[Action] agent
//	GET  /v1/actions/{id}                  ?wait=0…60          Action                       agent
//	GET  /v1/actions/{id}/events           (event stream)      Action, one a message        agent
//	POST /v1/actions/{id}/cancel                               Action                       agent
//	GET  /v1/actions/{id}/response                             the upstream's body          agent
//	GET  /v1/connections                                       Page[Connection]             agent, user
//	GET  /v1/operations                    ?provider= &connection=  Page[Operation]         agent, user
//	GET  /v1/me                                                Me                           user
//	GET  /v1/approvals                     ?status= &cursor= &limit=  Page[Approval]        user
//	GET  /v1/approvals/{id}                                    Approval                     user
//	POST /v1/approvals/{id}/decision       Decision            Approval                     user
//	GET  /v1/admin/status                                      Status                       user
//	GET  /v1/admin/users                                       Page[User]                   user
//	POST /v1/admin/users                   UserRequest         UserCreated                  admin
//	PATCH /v1/admin/users/{ref}            UserChange          User                         admin
//	POST /v1/admin/users/{ref}/enrol-link                      UserCreated                  admin
//	GET  /v1/admin/agents                                      Page[Agent]                  user
//	POST /v1/admin/agents                  AgentRequest        Agent                        user
//	GET  /v1/admin/agents/{ref}                                Agent                        user
//	PATCH /v1/admin/agents/{ref}           AgentChange         Agent                        owner of the agent, admin
//	GET  /v1/admin/agents/{ref}/keys                           Page[AgentKey]               user
//	POST /v1/admin/agents/{ref}/keys       AgentKeyRequest     AgentKey                     owner of the agent, admin
//	DELETE /v1/admin/agents/{ref}/keys/{id}                    AgentKey                     owner of the agent, admin
//	GET  /v1/admin/grants                  ?agent= &connection= Page[Grant]                 user
//	POST /v1/admin/grants                  GrantRequest        Grant                        owner of the connection
//	DELETE /v1/admin/grants/{id}                               Grant                        owner of the connection, admin
//	GET  /v1/admin/connections                                 Page[Connection]             user
//	POST /v1/admin/connections             ConnectionRequest   Connection                   user
//	GET  /v1/admin/connections/{ref}                           Connection                   user
//	DELETE /v1/admin/connections/{ref}                         DisconnectReport             owner of the connection, admin
//	GET  /v1/admin/providers                                   Page[Provider]               user
//	PUT  /v1/admin/providers/{id}          ProviderRequest     Provider                     admin
//	GET  /v1/admin/policies                                    Page[Policy]                 user
//	GET  /v1/admin/policies/{id}                               Policy                       user
//	PUT  /v1/admin/policies/{id}           PolicyRequest       Policy                       admin; one's own: user
//	POST /v1/admin/policies/check          PolicyRequest       PolicyCheck                  user
//	GET  /v1/admin/freezes                                     Page[Freeze]                 user
//	POST /v1/admin/freezes                 FreezeRequest       Freeze                       owner of the thing, admin
//	DELETE /v1/admin/freezes/{id}                              Freeze                       owner
//	GET  /v1/admin/events                  ?before= &object= &actor= &verb= &limit= &cursor=  Page[Event]  auditor
//	GET  /v1/admin/events/stream           ?after=             Event, one a message         auditor
//	GET  /v1/admin/checkpoint                                  Checkpoint                   auditor
//	GET  /v1/admin/audit/verify                                AuditReport                  auditor
//	GET  /v1/admin/audit/prove             ?seq=               Proof                        auditor
//	GET  /v1/admin/audit/export                                a line for each event        auditor
//	GET  /v1/admin/doctor                                      Doctor                       admin
//	GET  /v1/openapi.json                                      this list, as OpenAPI 3.1    anyone
//	GET  /healthz, /readyz                                     Health                       anyone
//
// A {ref} is an id or a name, a policy's {id} is its id or its name. The
// operator's socket serves all of /v1/admin, and of the rest what reads.
//
// Every error is a [Problem], except at the OAuth endpoints, whose errors are
// a [TokenError].
//
// # Submitting
//
// A permitted action runs while its request waits and is answered with 200 and
// an [ActionResult]; with ?stream=1 the answer is the upstream's own body
// beside the headers [HeaderAction] and [HeaderUpstreamStatus]. An action that
// needs a human is answered with 202 and an [Action] to wait for. A repeat that
// attaches to an earlier held action is also answered with 202, whatever
// became of it, and says so in Action.Replayed. Only held actions are
// remembered: repeating one that ran at once runs it again. One that ran and
// brought no answer is a [Problem] with status 502, whose Reason is the state,
// "failed" or "unknown", and whose Action is the id.
//
// # Waiting
//
// GET /v1/actions/{id}?wait=60 answers as soon as Action.Final is true, and
// with the present state when the time is over or the server stops; the client
// asks again. The event stream sends a message for each change of state:
//
//	event: action
//	id: 1790000000000000
//	data: {"id":"act_…","state":"approved",…}
//
// whose id may be sent back as Last-Event-ID; the stream ends after the message
// that is final. A message "event: reconnect" says that the server ends the stream
// for its own reasons: connect again, if need be with a fresh access token.
package api

// Headers of a raw answer: of POST /v1/actions?stream=1, and of
// GET /v1/actions/{id}/response. The other headers of such an answer are the
// upstream's, as far as they are passed on.
const (
	HeaderAction         = "Valetkey-Action"          // the action's id
	HeaderUpstreamStatus = "Valetkey-Upstream-Status" // the upstream's HTTP status, decimal
)

// HeaderRequest is in every answer: the name of this request, as Problem.Instance
// and the operator's log have it.
const HeaderRequest = "Valetkey-Request"

// Media types of the answers.
const (
	MediaJSON    = "application/json"
	MediaProblem = "application/problem+json"
	MediaEvents  = "text/event-stream"
	MediaLines   = "application/x-ndjson" // the audit export
)

// MaxWaitSeconds is the largest value of ?wait=.
const MaxWaitSeconds = 60
