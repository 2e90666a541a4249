// Package sandbox is an upstream to play with offline: a small service that
// speaks GitHub's OAuth and a useful part of GitHub's REST API, for `valetkey
// demo` and for tests. It needs no network, no disk and no account.
//
// The nouns: a [Server] holds a world (users, repositories, issues, pull
// requests, commits), an authority (codes, access and refresh tokens), a
// ledger of every call received, and a list of mishaps that tests ask for.
// [Seed] says what the world holds at the start.
//
// The invariants:
//
//   - A request is read whole, then performed in one step under the server's
//     one mutex, then answered. So an answer that is lost, late or overwritten
//     by a mishap belongs to a request that was performed completely, exactly
//     once, and stands in the ledger.
//   - Authorization codes work once, with PKCE S256, for the exact redirect
//     URI. Refreshing stops the old refresh token and the old access token at
//     once; a refresh token that comes back after its use kills its family.
//   - Tokens and codes are kept as hashes only. Neither the log nor the
//     ledger holds what the protocols carry: the Authorization header, and
//     whatever goes through the OAuth endpoints. A client that writes its
//     token into the URL or body of an API call is recorded doing so, which
//     is how a test finds it.
//
// It is stricter than the service it imitates where strictness finds mistakes
// of a client (PKCE is required, one value per parameter, credentials of the
// token endpoint only in body or header), and it is no security boundary
// itself: whoever reaches its port may sign in as any of its users and read
// all its pages. It starts no goroutine and calls nobody.
package sandbox
