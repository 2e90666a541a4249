// Package oidc asks an identity provider who somebody is (OpenID Connect Core
// 1.0, authorization code flow).
//
// Nouns: a [Provider] is the one issuer that the operator configured, and our
// client there; an [Ask] is one trip of a browser to it; a [Token] is an
// id_token that was verified, with the key that signed it; [Check] verifies one
// again, later and elsewhere, from what was kept.
//
// Invariants: PKCE with S256 always; a nonce that the id_token must bring back;
// the issuer in the answer is the one that was asked (RFC 9207); only
// asymmetric signatures; where a fresh login was asked for, auth_time must say
// that there was one, and is believed over nothing else.
//
// The package never decides who may get in, keeps no tokens, and follows no
// redirect. An access token is thrown away unread: nothing is asked of it.
package oidc
