package api

// The words of /oauth/token that are not ours to choose.
const (
	// GrantVaultExchange is the grant type of the vault exchange, as Auth0 has it.
	GrantVaultExchange = "urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token"
	// GrantClientCredentials gets an access token for this API (RFC 6749 §4.4).
	GrantClientCredentials = "client_credentials"
	// GrantDevice polls for the outcome of a device authorization (RFC 8628 §3.4).
	GrantDevice = "urn:ietf:params:oauth:grant-type:device_code"

	// AssertionJWT is the type of a client assertion (RFC 7523 §2.2).
	AssertionJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// SubjectJWT is the type of a subject token that the agent signed itself.
	SubjectJWT = "urn:ietf:params:oauth:token-type:jwt"
	// RequestedVaultToken is the type of the token that a vault exchange brings.
	RequestedVaultToken = "http://auth0.com/oauth/token-type/token-vault-access-token"

	// TypeSubject is the typ of such a subject token.
	TypeSubject = "token-vault-req+jwt"
	// TypeAssertion is the typ of a client assertion.
	TypeAssertion = "client-authentication+jwt"
)

// TokenResponse is the answer of /oauth/token (RFC 6749 §5.1, RFC 8693 §2.2.1).
// It holds credentials: never log a value of this type.
type TokenResponse struct {
	AccessToken     string `json:"access_token"`
	TokenType       string `json:"token_type"`                  // "Bearer"
	ExpiresIn       int64  `json:"expires_in"`                  // seconds
	Scope           string `json:"scope"`                       // separated by spaces; a string even when empty
	IssuedTokenType string `json:"issued_token_type,omitempty"` // of an exchange
}

// TokenError is an error of an OAuth endpoint (RFC 6749 §5.2), with two members
// of ours.
type TokenError struct {
	Error       string `json:"error"`                       // "invalid_grant"
	Description string `json:"error_description,omitempty"` // one sentence that says what to do next
	// Reason is more precise than Error can be: "missing_jti", "issued_in_future".
	// It is there only once a signature has verified.
	Reason string `json:"reason,omitempty"`
	// Action is the id of the action that a person has to answer before the
	// exchange can succeed: wait for it, then exchange again.
	Action string `json:"action,omitempty"`
}

// DeviceResponse starts a device authorization (RFC 8628 §3.2).
type DeviceResponse struct {
	DeviceCode              string `json:"device_code"` // a credential
	UserCode                string `json:"user_code"`   // "BCDF-GHJK", for the person to compare
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete,omitempty"`
	ExpiresIn               int64  `json:"expires_in"`         // seconds
	Interval                int64  `json:"interval,omitempty"` // seconds between polls
}
