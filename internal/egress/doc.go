// Package egress is the only way out of the process.
//
// The nouns: a [Guard] decides which addresses may be dialled; [URLRules]
// decide which URLs may be configured at all; a [Client] makes calls; a
// [Request] is one call, pinned to the origin of its connection; a [Response]
// is what came back, filtered; a [Redactor] finds a credential in a stream
// whatever it is dressed as.
//
// Invariants:
//
//   - A connection is opened only to an address that the guard accepted, and
//     the check is made on the address really dialled, after resolution.
//     Names are resolved once per connection, by Go's own resolver, and one bad
//     address refuses the whole answer. Proxies from the environment do not
//     exist here.
//   - The credential is attached here and nowhere else, after the URL was
//     found to have the origin of its base. Redirects are answers, never
//     followed.
//   - A request that is not repeatable reaches the wire at most once. The mark
//     for that sits under net/http, in the connection: a second connection
//     refuses to carry the same request, whatever the HTTP client believes.
//   - Every error of [Client.Do] says whether anything may have left the
//     process: [ErrNotSent] is a proof that nothing did, [ErrUnknown] is the
//     honest rest.
//   - What comes back is bounded in size and time, inflated by us, stripped of
//     what would give the caller a session or a foothold, and searched for the
//     credential.
//
// Upstreams are spoken to in HTTP/1.1 only. One request at a time on a
// connection is what makes "not a byte of this request was written" provable,
// and it leaves out the retries and the control frames of HTTP/2.
//
// The package never chooses where to go, never repeats an unsafe request,
// never keeps cookies and never logs a header, a body or a query.
//
// What redaction cannot catch: a credential that the upstream transforms
// (reversed, encrypted, compressed inside of the body, cut into pieces). The
// control for that is whom one connects to, and response schemas.
package egress
