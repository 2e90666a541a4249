// Package provider says what an upstream service is: where it lives, how it
// speaks OAuth, how a request to it is read, and how dangerous that request
// is. A provider is data; this package is the one interpreter of that data.
//
// # Nouns
//
// A [Spec] describes one provider: endpoints, habits of its token endpoint, how
// to revoke, who the account is, and its [API]. A Spec is read by [Parse] from
// YAML, checked by [Spec.Validate], and is read-only from then on.
//
// An [Operation] is a named thing that a provider can do
// ("github.issues.create_comment"): methods, path templates, parameters, the
// risk it starts from and the facts that raise it.
//
// A [Request] is method, path below an API base, query, header and body, as the
// agent gave them. [Spec.Match] reads it and answers with a [Match]: which
// operation it is, on which resource, how risky and why. [Operation.Render] goes
// the other way, from parameters to a Request.
//
// A [Preview] is how a person can be shown what an operation would change: which
// listed reads tell what is there, what becomes of it, and what pins it.
//
// A [Refusal] is the answer for a request that could be read in two ways.
// Nothing is sent for it.
//
// # Invariants
//
//   - One canonical form. A path is decoded once, and every spelling either is the
//     same operation as the plain spelling or is refused. It is never another
//     operation and never a lower risk.
//   - A request that is not in the catalogue is "<namespace>.raw.read" or
//     "<namespace>.raw.write". It is a low read only as GET or HEAD without a body
//     where the Spec says style rest, or as a GraphQL document that holds only
//     queries. Everything else that is not listed is high, and critical where it
//     mints credentials, adds access or opens a standing outlet.
//   - Where a fact that decides the risk is not known, the worst is assumed.
//   - What Render makes, Match reads as the same operation.
//
// # What it never does
//
// It does no I/O, reads no clock, holds no credential and never asks the network
// what something means. It does not re-serialise bodies: the bytes that were
// judged are the bytes to send. Only the path has a canonical spelling of its own,
// [Match.Path], and that is the one to send.
package provider
