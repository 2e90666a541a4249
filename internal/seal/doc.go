// Package seal encrypts what must not be readable in a stolen database, and
// authenticates rows that must not be forged in one.
//
// Three layers of keys. A [KEK] (a key file, a passphrase, a key service) is
// outside the database; it wraps one root keyset, and unwraps it once, at
// start. The root wraps data keys. A data key has a [Name] that says its
// purpose: one for each connection, for each org and day of payloads, for
// each org's configuration; deleting it shreds everything sealed under it.
// Signing keys and the row authentication key are wrapped by the root as
// well. No key is derived from another purpose's key. The [Keyring] holds
// the root in memory and is what the rest of the program uses.
//
// A sealed value is bound to its [Place]: org, table, row and column are the
// associated data, so a value moved anywhere else does not open.
//
// Formats. Each begins with a byte for the format; what follows, by Tink's
// rules, begins with the id of the key in its keyset, the key version:
//
//	sealed value   01 | 01 key-id[4] | salt[12] nonce[12] | ciphertext, tag
//	wrapped key    01 | 01 key-id[4] | salt[12] nonce[12] | keyset, tag
//	row tag             01 key-id[4] | HMAC-SHA-256
//	wrapped root   01 | length of KEK id, KEK id | whatever the KEK made
//
// All encryption is XAES-256-GCM (C2SP), whose nonces are long enough to be
// drawn at random for any number of values.
//
// Invariants:
//
//   - There is no plaintext mode. Without the right root key [Open] fails,
//     and a root is created only in a store that holds no key at all.
//   - A wrapped key opens under its own name only; whoever creates a key
//     first wins, and everyone uses that one.
//   - Opening never creates a key: a shredded one stays shredded.
//   - No error quotes plaintext or key material.
//
// What it never does: it knows no rows and no SQL, decides nothing about who
// may see what, and offers no way to list or to print a key.
package seal
