// Package peers tests the built binary against programs that we did not write:
// emulate, which stands in for GitHub; Chromium, which a person decides in;
// @octokit/rest, which tells what is at GitHub afterwards; jsonwebtoken and
// axios, which the programs of an earlier token vault were written with;
// oidc-provider, by which people log in.
//
// Everything here is a test. The invariants: the server is the program that
// users get, started as they start it; what happened upstream is asked of the
// upstream, never of us; every process is stopped by the test that started it,
// and no port is fixed.
//
// The npm packages are pinned in package.json, to versions that run on Node 20.
// The tag "latest" of emulate is an old package of another author. Where a peer
// is missing the tests are skipped, and fail if VALETKEY_REQUIRE names it
// (peers, chromium).
package peers
