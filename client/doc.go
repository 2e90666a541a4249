// Package client is the Go SDK of Valetkey for agents.
//
// An agent holds a private [Key] and nothing else. With it a [Client] signs
// short-lived assertions, gets access tokens for the API, and asks for actions:
//
//   - [Client.Do] is the whole of it: submit, wait for a human if one is asked,
//     return the upstream's answer.
//   - [Client.Submit], [Client.Await], [Client.Response] and [Client.Cancel] are
//     its steps, for agents that do something else meanwhile or outlive a
//     restart: the id of a held action is all that has to be remembered.
//   - [Client.Exchange] and [TokenSource] get a provider's own token, where a
//     grant allows the agent to hold it.
//
// # What holds
//
//   - Credentials are [secret.Text]: no error, no formatted value and no log
//     line holds a key, an assertion or a token. Tokens live in memory only.
//   - A request is signed for one server, its issuer, and goes nowhere else:
//     redirects are not followed, and plain http is for this machine only.
//   - An action is never submitted twice unless the first time provably did
//     nothing. When the answer to a submission is lost, the client looks for the
//     held action by its idempotency key and attaches to it; if there is none,
//     it says [ReasonAnswerLost] and leaves the rest to its caller, because an
//     action that was permitted at once may have run.
//   - Waiting survives restarts of the server, lost connections and expired
//     access tokens; only the context, or a refusal, ends it.
//
// The package decides nothing: what is allowed, and who is asked, is judged by
// the server each time.
package client
