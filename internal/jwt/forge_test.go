package jwt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/jwt/jwttest"
)

const issuer = "https://vault.test"

// now is the clock of all tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// subjectClaims and assertionClaims are what the two kinds of token carry.
func subjectClaims() jwttest.Object {
	return jwttest.Object{
		"iss": "agent-1", "sub": "user-1", "aud": issuer, "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Unix() + 60, "jti": "b9a4a0a8-2f6a-4c3f-9c5e-7a5c5bb0a5b2", "audit_context": "nightly report",
	}
}

func assertionClaims() jwttest.Object {
	return subjectClaims().With("sub", "agent-1", "audit_context", nil)
}

// reason is the machine's word for err: "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Reason
	}
	return "not a fault: " + err.Error()
}

// mustNotEcho fails if an error repeats a part of the token.
func mustNotEcho(t *testing.T, raw string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if what := jwttest.Echoes(raw, err.Error(), "admin", "attacker", "user-2", "nightly"); what != "" {
		t.Errorf("the error repeats %s: %v", what, err)
	}
}
