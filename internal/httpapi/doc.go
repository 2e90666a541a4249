// Package httpapi is the HTTP API, version 1, and the operator's socket.
//
// It translates: bytes into calls of the services, their results and refusals
// into bytes. What may happen is decided below it, by the broker, by manage and
// by the services they use; the one thing judged here is who may look at what
// no service guards (see may.go).
//
// Nouns: a [Server] has routes, each for an audience (agents, people, both,
// anyone); a call is one request on its way; a credential is one of three kinds
// (an agent's access token, a person's session, a process at the other end of
// the operator's socket) and never stands in for another.
//
// Every call goes through the phases of [Server.serve], so that no route can
// forget one: who asks, which parameters, how large and of what shape the body
// is, the call itself, the answer. A refusal is a problem document with a stable
// reason, and it is recorded once: against the agent or person who was refused,
// or, at a bounded rate, against the address of somebody unknown.
//
// It never follows an agent's credential to a route of people, never takes a
// session's cookie from another site, never shows the text of an internal error,
// never changes anything on GET, and never keeps a credential longer than the
// call.
package httpapi
