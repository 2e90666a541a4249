// Package policy decides: permit, ask a human, step up, or deny.
//
// The rules are plain Cedar. Nouns:
//
//   - A [Source] is one saved text of rules: the org's, or one user's own.
//   - A [Set] is every text that is in force, compiled once, immutable and safe
//     for concurrent use. It has a version, so that history can be replayed.
//   - An [Input] is what is to be judged, as plain data.
//   - A [Decision] is the verdict with the rules that led there.
//
// Assurance is how a rule asks for a human. An input is judged at assurance 0
// (nobody asked), then 1 (a human approved this very request), then 2 (the
// same, with a fresh passkey or login); the first level that is allowed is the
// verdict, and none is a denial. So a rule that wants a human is a forbid that
// a higher context.assurance lifts, and Cedar's own tools can read it:
//
//	@id("ask-before-merging")
//	@reason("Merging changes what everybody builds on.")
//	@expires("4h")
//	forbid (principal, action == Action::"write", resource)
//	when { context.operation == Operation::"github.pulls.merge" }
//	unless { context.assurance >= 1 };
//
// Invariants:
//
//   - What no rule permits is denied, and a forbid beats every permit. Hence a
//     permit never undercuts an ask.
//   - A rule that cannot be evaluated denies. Cedar itself skips such a rule,
//     also a forbid; here any error among the rules that judge is a denial that
//     names the rule.
//   - A user's own texts judge that user's connections and nothing else; when
//     one is broken, only those connections are denied.
//   - The index leaves out only rules whose leading tests already say that
//     they do not apply, and which therefore could neither match nor fail.
//   - Every demand of every rule that asked holds together: the shortest
//     expiry, the largest quorum, four eyes where one of them wants it, and
//     approvers whom each of the rules accepts.
//
// The package does no I/O, reads no clock and takes no context: the same set
// and the same input give the same decision for ever. It never sees a
// credential, a request body or anything the agent wrote.
//
// # Vending
//
// Handing a token out is as dangerous as the token. The person who grants it
// sees every operation its scopes allow and consents once, with a passkey, when
// the grant is made. The shipped rules therefore permit a vend under such a
// grant without asking again, by a rule of its own that can be taken out; the
// grant, freezing and every other rule still apply to each vend.
package policy
