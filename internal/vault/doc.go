// Package vault keeps connections and has custody of their tokens.
//
// A token leaves this package in one way: [Service.Use] returns a [Credential]
// for one call, refreshed if it has to be. A refresh is a persisted state
// machine, so that any process may die at any instant:
//
//	lease (fence+1) ─► attempt recorded ─► provider answers ─► new tokens durable ─► handed out
//	                        │                    │
//	                        │                    ├─ says the grant is dead: needs_reauth, owner told
//	                        │                    └─ says nothing: lease ends, tried again later
//	                        └─ we die: the next holder knows that a rotation may have happened
//
// Who loses a race writes nothing: every write names the fence it was made
// under. The refresh token before the present one is kept until the present
// one has worked. Nothing but an owner ends a connection, and a tombstone
// stays.
//
// [Providers] says which provider is meant and where it is; [OAuth] speaks its
// protocol.
package vault
