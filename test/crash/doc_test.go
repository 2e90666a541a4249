// Package crash_test kills the built binary, as an operator's machine would,
// and looks whether its promise holds: a restart works, nothing that was
// acknowledged is lost, nothing runs twice.
//
// The nouns: a world is a server with people, agents and accounts, and the
// upstream that it calls; the upstream lives in the test, so that its ledger
// outlives the server. A life is one process of the server, from its start to
// its SIGKILL. The book holds what the server acknowledged, which is all that
// the test may hold against it. A trap is the point at which a life ends: a
// place on the wire, before the upstream acts, after half of its answer, when
// an answer of ours has just been read, with a random delay behind it that
// reaches the instants inside the server which cannot be seen from outside.
//
// The invariants of the test itself: the server is the program that users get,
// without a failpoint in it; every request of the load is one that its agent
// may repeat, and is repeated after a crash as a careful agent would; only what
// was answered counts as acknowledged; every process is ended by the test that
// started it.
//
// VALETKEY_KILLS says how often each database is killed (25 unless told),
// VALETKEY_SEED repeats the choices of a run. Instants cannot be repeated.
package crash_test
