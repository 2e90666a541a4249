// Package audit is the tamper-evident log: what happened, in one order, in a
// form that nobody can quietly change.
//
// An [Event] is one record. Its canonical encoding is the only thing stored
// and the only thing hashed, so no field lies outside the hash. The encodings
// are the leaves of one Merkle tree per deployment (RFC 6962 §2.1); a [Head]
// is the tree's size and root. A [Frontier] is the tree's right edge: all
// that appending needs. A [Checkpoint] is a head with a time, signed as a
// note (C2SP tlog-checkpoint) and written to a [Sink] outside the database.
//
// Invariants:
//
//   - Sequence numbers are leaf indexes: 0, 1, 2, … without gaps.
//   - Two different events never have the same encoding, and one event has
//     exactly one; [Decode] refuses every other spelling.
//   - Every head extends every earlier head. A [Checkpointer] signs nothing
//     that breaks this; it stops instead.
//   - A [Sink] and a [Journal] are only appended to, and a write has reached
//     the disk when it returns.
//
// [Verify] reads a whole log, or an [Export] of one, as a stream and compares
// it with itself and with the checkpoints outside. Its [Report] keeps three
// verdicts apart: is what is here unchanged, is everything here up to the
// last outside checkpoint, and how many events no checkpoint covers.
//
// What it never does: it holds no content and no secrets (events carry ids,
// reasons and salted digests), it opens no database, it never truncates or
// rewrites a file, and it does not decide what is worth recording.
package audit
