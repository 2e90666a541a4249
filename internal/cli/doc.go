// Package cli is the command line: the grammar, what is printed, and nothing
// that decides.
//
// The nouns: a run is one command. A command that asks the server does so as
// one of three: the operator, over the 0600 socket in the data directory of a
// server on the same machine; a person, with the login that `valetkey login`
// stored; or an agent, with its private key. What each of them may do is the
// server's to judge: once a passkey exists, what needs a touch of it is refused
// here, and the refusal names the page where it is done. Decisions go with a
// login only.
//
// The invariants:
//
//   - No secret is an argument: tokens and client secrets come from standard
//     input or a file, keys are files. What a command keeps (a login, a new
//     key) it keeps in files that only this user can read.
//   - A private key never leaves the machine: a file that holds one is refused
//     where a public key is wanted, before anything is sent.
//   - With --json, standard output is exactly a value of package api, and an
//     error on standard error is an api.Problem.
//   - Text of agents and providers goes through package display before it
//     reaches a terminal.
//
// # Exit codes
//
//	  0  it worked
//	  1  it failed; the message says why
//	  2  the command line, the configuration or a local file is wrong; nothing was asked of anybody
//	  3  refused: not allowed, frozen, not logged in, or a person said no
//	  4  there is no such thing
//	  5  a person has to approve first; the action waits for them
//	  6  the server cannot be reached, or cannot do it now; nothing happened
//	  7  it may have happened: the answer was lost; look before repeating
//	130  interrupted
package cli
