// Package oauth is the OAuth edge: the token endpoint, the device grant,
// revocation and discovery, in the words that clients written against Auth0
// expect.
//
// It translates and holds no rules. Who an agent is, package agent says; what
// it may have, the broker; who a person is, package user. What is decided here
// is how their answers look on the wire.
//
// The nouns: a call is one request, read and not yet believed; a reply is what
// a call earned; a refusal is an error in the form of RFC 6749 §5.2.
//
// What always holds:
//
//   - One adapter owns the phases: read, authenticate, act, record, answer. An
//     endpoint is a function between reading and recording and can forget
//     neither.
//   - A parameter has one value. A repeated one, a JSON member that differs
//     from another or from a known name in nothing but case, a query string and
//     an unknown content type are refused; an unknown parameter is ignored.
//   - Until a signature verifies there is one answer to every attempt, the same
//     to the byte, whatever was wrong. Afterwards the reason is precise.
//   - Every refusal is in the audit log before it is answered, once. A client
//     that is told to wait (authorization_pending, slow_down) was not refused.
//   - What cannot be recorded is answered with 503 and did not happen.
//   - A refusal is a 4xx in JSON without WWW-Authenticate, because the SDKs lose
//     the error code otherwise. That bends RFC 6749 §5.2, which asks for the
//     header after a failed Basic authentication; Basic is not offered.
//
// What the documents leave open is decided so:
//
//   - A provider that is down answers 400 temporarily_unavailable with
//     Retry-After. 5xx is kept for our own failures, whose code SDKs may lose.
//   - An exchange that a person has to approve answers 403 approval_required;
//     the description holds the page to open and "action" the id to wait for.
//     The same request, signed anew, succeeds after the approval.
//   - A missing, a foreign and a disconnected connection, and a login_hint that
//     fits none, are one answer.
//   - Agents have no secrets. A client secret is refused where it is sent, also
//     to profile compat-2025, which needs no client authentication: ignoring it
//     would let its sender believe that it protects something.
//   - The standard grant of RFC 8693 names the connection by audience (a logical
//     name, §2.1) or connection; an actor token is refused.
//   - client_credential_id, in compat-2025, must be the key that signed if it is
//     the id of one of ours; a name that we did not give is ignored, because
//     every key of the agent is tried anyway.
//   - An access token has no scopes. A scope that a client asks for is ignored,
//     and the answer says so (RFC 6749 §3.3). A token for another audience is
//     refused.
package oauth
