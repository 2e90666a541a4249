package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
)

// The types of the tokens that agents sign.
const (
	TypeVaultSubject    = "token-vault-req+jwt"
	TypeClientAssertion = "client-authentication+jwt" // also "JWT" or none: SDKs send no typ
)

// Rules say what a kind of token must look like beyond its signature. They
// must name an audience and bound how long a token can be used, by MaxAge or
// by RequireExp; Verify refuses to work with rules that do not.
type Rules struct {
	Types       []string // the values of typ that are accepted, compared exactly
	AllowNoType bool     // typ may be absent

	Audience   string // the one value of aud
	Issuer     string // "" accepts any; the caller compares
	Subject    string // "" accepts any; the caller compares
	SelfIssued bool   // sub must be iss: RFC 7523 §3 item 2.B

	// MaxAge bounds now - iat, without leeway, whatever exp says. It makes
	// iat required, as RequireIssuedAt does.
	MaxAge time.Duration
	// MaxLifetime bounds exp - iat, or exp - now for a token without iat.
	MaxLifetime time.Duration
	// Leeway is how far the two clocks may differ: for exp, nbf, and an iat
	// in the future.
	Leeway time.Duration

	RequireExp          bool
	RequireIssuedAt     bool
	RequireID           bool
	RequireAuditContext bool
}

// Leeway is the allowance for clocks in both ready sets of rules.
const Leeway = 30 * time.Second

// VaultSubject are the rules of the JWT by which a worker asks for a user's
// token: it is at most 60 seconds old, whatever its exp says. The strict
// profile asks for jti and audit_context; without it both are optional.
func VaultSubject(audience string, strict bool) Rules {
	return Rules{
		Types:               []string{TypeVaultSubject},
		Audience:            audience,
		MaxAge:              60 * time.Second,
		Leeway:              Leeway,
		RequireIssuedAt:     true,
		RequireID:           strict,
		RequireAuditContext: strict,
	}
}

// ClientAssertion are the rules of private_key_jwt, RFC 7523 §3: a client
// speaks for itself, once, for at most five minutes.
func ClientAssertion(audience string) Rules {
	return Rules{
		Types:       []string{"JWT", TypeClientAssertion},
		AllowNoType: true,
		Audience:    audience,
		SelfIssued:  true,
		MaxLifetime: 5 * time.Minute,
		Leeway:      Leeway,
		RequireExp:  true,
		RequireID:   true,
	}
}

// Reasons for refusing a token whose signature is good.
const (
	ReasonWrongType           = "wrong_typ"
	ReasonMalformedPayload    = "malformed_payload"
	ReasonMalformedClaim      = "malformed_claim"
	ReasonMissingIssuer       = "missing_iss"
	ReasonMissingSubject      = "missing_sub"
	ReasonMissingAudience     = "missing_aud"
	ReasonMissingID           = "missing_jti"
	ReasonMissingIssuedAt     = "missing_iat"
	ReasonMissingExp          = "missing_exp"
	ReasonMissingAuditContext = "missing_audit_context"
	ReasonWrongIssuer         = "wrong_issuer"
	ReasonWrongSubject        = "wrong_subject"
	ReasonWrongAudience       = "wrong_audience"
	ReasonActorClaim          = "actor_claim"
	ReasonExpired             = "expired"
	ReasonTooOld              = "too_old"
	ReasonIssuedInFuture      = "issued_in_future"
	ReasonNotYetValid         = "not_yet_valid"
	ReasonExpiresBeforeIssue  = "expires_before_issue"
	ReasonLifetimeTooLong     = "lifetime_too_long"
)

var (
	errNoAudience = errors.New("jwt: rules without an audience")
	errUnbounded  = errors.New("jwt: rules that bound neither age nor expiry")
)

// check finds rules that would accept too much: a mistake of the program.
func (r Rules) check() error {
	switch {
	case r.Audience == "":
		return errNoAudience
	case r.MaxAge <= 0 && (!r.RequireExp || r.MaxLifetime <= 0):
		return errUnbounded
	}
	return nil
}

// reject makes the fault of a token whose signature is good. The detail may
// be precise, because only the holder of the key can get here.
func reject(reason, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, reason, fmt.Sprintf(format, args...))
}

// checkType refuses a token made for another purpose: RFC 8725 §3.11.
func (r Rules) checkType(typ string) error {
	if typ == "" && r.AllowNoType || typ != "" && slices.Contains(r.Types, typ) {
		return nil
	}
	var quoted []string
	for _, t := range r.Types {
		quoted = append(quoted, fmt.Sprintf("%q", t))
	}
	want := strings.Join(quoted, " or ")
	if r.AllowNoType {
		want += ", or leave it out"
	}
	return reject(ReasonWrongType, `This kind of token is not accepted here: set the header parameter "typ" to %s.`, want)
}

// judge compares the claims with the rules and returns the moment from which
// on it will always refuse them.
func (r Rules) judge(c Claims, now time.Time) (time.Time, error) {
	if err := r.judgeNames(c); err != nil {
		return time.Time{}, err
	}
	return r.judgeTimes(c, now)
}

func (r Rules) judgeNames(c Claims) error {
	switch {
	case c.Issuer == "":
		return reject(ReasonMissingIssuer, `Set the claim "iss" to the client id of the agent.`)
	case r.Issuer != "" && c.Issuer != r.Issuer:
		return reject(ReasonWrongIssuer, `Set the claim "iss" to the client id of the agent whose key signs.`)
	case c.Subject == "":
		return reject(ReasonMissingSubject, `Set the claim "sub".`)
	case r.Subject != "" && c.Subject != r.Subject:
		return reject(ReasonWrongSubject, `The claim "sub" is not the one that is expected here.`)
	case r.SelfIssued && c.Subject != c.Issuer:
		return reject(ReasonWrongSubject, `Set the claim "sub" to the same client id as "iss".`)
	case c.Audience == "":
		return reject(ReasonMissingAudience, `Set the claim "aud" to the string %q.`, r.Audience)
	case c.Audience != r.Audience:
		return reject(ReasonWrongAudience, `Set the claim "aud" to the string %q, spelt exactly so.`, r.Audience)
	case r.RequireID && c.ID == "":
		return reject(ReasonMissingID, `Set the claim "jti" to a fresh random string in every token.`)
	case r.RequireAuditContext && c.AuditContext == "":
		return reject(ReasonMissingAuditContext, `Set the claim "audit_context" to 1 to 256 characters that say what the token is for.`)
	}
	return nil
}

// judgeTimes judges iat, nbf and exp. A date is the moment at which its
// second begins; exp is the first moment at which the token is no good (RFC
// 7519 §4.1.4), nbf and iat the first at which it is.
func (r Rules) judgeTimes(c Claims, now time.Time) (time.Time, error) {
	clock := now.UTC().Format(time.RFC3339)
	issued, expires := !c.IssuedAt.IsZero(), !c.ExpiresAt.IsZero()
	switch {
	case !issued && (r.RequireIssuedAt || r.MaxAge > 0):
		return time.Time{}, reject(ReasonMissingIssuedAt, `Set the claim "iat" to the time of signing, in seconds since 1970.`)
	case !expires && r.RequireExp:
		return time.Time{}, reject(ReasonMissingExp, `Set the claim "exp", in seconds since 1970; 60 seconds after signing is plenty.`)
	case issued && c.IssuedAt.After(now.Add(r.Leeway)):
		return time.Time{}, reject(ReasonIssuedInFuture, `The claim "iat" is in the future: it is %s here; set the signing machine's clock.`, clock)
	case !c.NotBefore.IsZero() && c.NotBefore.After(now.Add(r.Leeway)):
		return time.Time{}, reject(ReasonNotYetValid, `The claim "nbf" is in the future: it is %s here; wait, or set the signing machine's clock.`, clock)
	case issued && expires && !c.ExpiresAt.After(c.IssuedAt):
		return time.Time{}, reject(ReasonExpiresBeforeIssue, `The claim "exp" must be later than "iat".`)
	case expires && !now.Before(c.ExpiresAt.Add(r.Leeway)):
		return time.Time{}, reject(ReasonExpired, `The token has expired: it is %s here; sign a new one for each request.`, clock)
	case r.MaxAge > 0 && now.After(c.IssuedAt.Add(r.MaxAge)):
		return time.Time{}, reject(ReasonTooOld, `The claim "iat" is more than %d seconds ago, which no "exp" can excuse: it is %s here; sign a new token for each request.`, int(r.MaxAge.Seconds()), clock)
	}
	if r.MaxLifetime > 0 && expires {
		start := now.Add(r.Leeway)
		if issued {
			start = c.IssuedAt
		}
		if c.ExpiresAt.After(start.Add(r.MaxLifetime)) {
			return time.Time{}, reject(ReasonLifetimeTooLong, `Set the claim "exp" to at most %d seconds after "iat".`, int(r.MaxLifetime.Seconds()))
		}
	}
	return r.until(c), nil
}

// until is the first whole second at which judgeTimes refuses c for good. An
// age of exactly MaxAge is accepted, hence the second on top.
func (r Rules) until(c Claims) time.Time {
	var t time.Time
	if !c.ExpiresAt.IsZero() {
		t = c.ExpiresAt.Add(r.Leeway)
	}
	if r.MaxAge > 0 {
		if aged := c.IssuedAt.Add(r.MaxAge + time.Second); t.IsZero() || aged.Before(t) {
			t = aged
		}
	}
	return t
}
