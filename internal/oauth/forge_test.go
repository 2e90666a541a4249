package oauth_test

import (
	"time"

	"github.com/valetkey/valetkey/internal/jwt/jwttest"
	"github.com/valetkey/valetkey/secret"
)

// subjectClaims and assertionClaims are what the two kinds of token carry.
func subjectClaims(client, sub string) jwttest.Object {
	now := time.Now().Unix()
	return jwttest.Object{
		"iss": client, "sub": sub, "aud": issuer, "iat": now, "nbf": now, "exp": now + 60,
		"jti": secret.Random(16).Reveal(), "audit_context": "nightly report",
	}
}

func assertionClaims(client string) jwttest.Object {
	return subjectClaims(client, client).With("audit_context", nil)
}

// echoes reports what of a token an answer repeats, or "".
func echoes(token, text string) string {
	return jwttest.Echoes(token, text, "admin", "attacker", "nightly")
}
