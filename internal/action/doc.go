// Package action is one thing that an agent wants done: the rendered request,
// frozen before anyone judges it.
//
// A [Request] is what will be sent, byte for byte. Its [Digest] (the effect
// digest) covers everything that decides the effect: who asks for whom, through
// which account, and method, target, headers, amount and body. The bytes that
// are hashed are the bytes that are stored, shown and sent; nothing is ever
// rendered a second time.
//
// An [Action] has a life:
//
//	proposed ─► pending ─► approved ─► executing ─► succeeded | failed | unknown
//	               │           │
//	               │           └─ back to pending, asked again because the rules changed
//	               └─► denied | expired | cancelled | revoked   (also from approved)
//
// Each move is a method that checks, moves and returns the audit event. The
// package does no I/O, reads no clock and knows no database; the store applies
// a move and its event in one transaction.
package action
