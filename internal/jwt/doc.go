// Package jwt verifies the JSON Web Tokens that agents sign, and signs the
// few that this deployment issues.
//
// The nouns: a [Key] is a public key as it was registered, with the one
// algorithm it is good for; [Rules] say what a kind of token must look like
// ([VaultSubject] and [ClientAssertion] are the two kinds that agents send);
// [Verify] turns a compact token, the keys of one agent and a set of rules
// into [Claims]; a [Signer] holds the deployment's own RS256 key.
//
// What always holds:
//
//   - The algorithm is the key's own. A header that names another one
//     disqualifies the key, and RS256, RS384, PS256, ES256 and EdDSA are all
//     there is (RFC 8725 §3.1).
//   - Keys come from the caller's argument and from nowhere else. Headers
//     that carry or point to a key are refused and nothing is fetched.
//   - Only the compact form is read, in its one canonical spelling: unpadded
//     base64url without stray bits, JSON without repeated members or members
//     that differ only in case, at most 16 KiB and 16 levels.
//   - Until a signature has verified there is one answer, [ErrUnverified],
//     with no difference that a caller can see, and [DummyVerify] spends the
//     same time where there is no key to try. Afterwards a refusal is a
//     [fault.Error] that says exactly what to change.
//
// What the two documents leave open is decided so:
//
//   - typ is compared exactly. RFC 7515 §4.1.9 would let
//     "application/token-vault-req+jwt" and other cases of letters pass;
//     nobody sends them, and one spelling is easier to reason about.
//   - aud is a string, or a list of exactly one string. Several audiences are
//     refused even if ours is among them: each of the others could replay the
//     token here.
//   - A date may have a fraction, which is dropped; it must lie between 1970
//     and the end of the year 9999.
//   - act and may_act are refused: an agent cannot appoint an actor.
//   - Other claims are ignored, because clients in the field add them.
//
// The package never fetches, stores or remembers anything. One-time use is
// the caller's: it keeps [Claims.ID] (or [Claims.Hash]) until
// [Claims.ExpiresEffective]. So is what a claim means: that the issuer is
// enabled, that the subject has a live grant.
//
// What timing still tells: an RSA key above 2048 bits takes longer than the
// stand-in, and a token without kid tries every key of its algorithm while
// the stand-in assumes at most two of them.
package jwt
