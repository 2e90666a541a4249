// Package broker is the road: the one way from what an agent asks to what is
// done.
//
// Every edge calls [Broker.Submit] or [Broker.Vend], and the broker owns every
// phase, so that no edge can skip one:
//
//  1. freeze: is anything stopped?
//  2. grant: may this agent use this connection for this, on that?
//  3. judgement: what is it, how risky, what does policy say, and has the
//     token the scopes for it?
//  4. approval: a human answers exactly these bytes, hours or days later
//  5. claim: approved becomes executing, once, with the intent in the log
//  6. custody: the token is unsealed, refreshed if need be
//  7. egress: the frozen bytes leave, to the pinned host, with the token
//  8. outcome: what came back is recorded, kept sealed, fetched by the agent
//
// A permitted action runs inline: its intent is durable before the first byte
// leaves, its outcome is recorded when the answer has been read. An action
// that needs a human is held: stored, answered by [Broker.Decide], executed
// from storage by [Broker.Run], whether or not the agent is still there.
//
// Before a person answers, [Broker.Preview] looks at what is there now with the
// right of the account's owner. Its answer covers what was shown, and what has
// become something else by the time of the claim is asked about again.
//
// Everything is judged again at execution, by the rules of that moment. The
// transaction that commits an intent checks that authority has not moved since
// the judgement; if it has, the judgement is repeated. What was claimed is
// never tried twice: if we cannot know whether it happened, it is unknown.
package broker
