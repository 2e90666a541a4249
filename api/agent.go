package api

import "time"

// AgentRef names an agent beside something else.
type AgentRef struct {
	ID   string `json:"id"` // agt_…
	Name string `json:"name"`
}

// Agent is a program that asks for actions.
type Agent struct {
	ID    string `json:"id"`    // agt_…: the client_id
	Name  string `json:"name"`  // also accepted as client_id
	Owner string `json:"owner"` // usr_…
	// OwnerName is what others see of the owner; left out where nobody is known.
	OwnerName string `json:"owner_name,omitempty"`
	Profile   string `json:"profile"`          // "strict" or "compat-2025"
	Status    string `json:"status"`           // "active" or "suspended"
	Frozen    bool   `json:"frozen,omitempty"` // a freeze of it or of everything holds
	// Sources are the networks it may call from, in CIDR form.
	Sources   []string   `json:"sources"`
	Keys      []AgentKey `json:"keys,omitempty"`     // where one agent is asked for
	Warnings  []string   `json:"warnings,omitempty"` // what its settings give up, a sentence each
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    time.Time  `json:"seen_at,omitzero"`
}

// AgentRequest registers an agent.
type AgentRequest struct {
	Name    string `json:"name"`              // 1 to 63 of a-z, 0-9, dot, dash and underscore
	Owner   string `json:"owner,omitempty"`   // id or name; the caller if left out
	Profile string `json:"profile,omitempty"` // "strict" if left out
	// Sources are CIDRs or single addresses; loopback if left out.
	Sources []string `json:"sources,omitempty"`
	Key     string   `json:"key"`           // its first public key: PEM, or a JWK as text
	Alg     string   `json:"alg,omitempty"` // for RSA keys; RS256 if left out
}

// AgentChange changes what it names and leaves the rest.
type AgentChange struct {
	Status  string   `json:"status,omitempty"`  // "active" or "suspended"
	Profile string   `json:"profile,omitempty"` // "strict" or "compat-2025"
	Sources []string `json:"sources,omitempty"` // networks to add
}

// AgentKey is one public key of an agent.
type AgentKey struct {
	ID        string `json:"id"`         // key_…
	KID       string `json:"kid"`        // as in the header of its tokens
	Alg       string `json:"alg"`        // RS256, RS384, PS256, ES256 or EdDSA
	PublicPEM string `json:"public_pem"` // SubjectPublicKeyInfo
	// Thumbprint is that of RFC 7638, SHA-256, unpadded base64url; the kid is the
	// same unless the key was registered with another one.
	Thumbprint string    `json:"thumbprint,omitempty"`
	Status     string    `json:"status"` // "active" or "revoked"
	CreatedAt  time.Time `json:"created_at"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

// AgentKeyRequest adds a public key. A private one is refused and not kept.
type AgentKeyRequest struct {
	Key string `json:"key"`           // PEM, or a JWK as text
	Alg string `json:"alg,omitempty"` // for RSA keys; RS256 if left out
}

// Grant lets one agent use one connection.
type Grant struct {
	ID         string `json:"id"`         // grt_…
	Agent      string `json:"agent"`      // agt_…
	Connection string `json:"connection"` // con_…
	// AgentName, ConnectionName, Provider and Account say in people's words what
	// the ids stand for. They are left out for agents, and where it is gone.
	AgentName      string    `json:"agent_name,omitempty"`
	ConnectionName string    `json:"connection_name,omitempty"`
	Provider       string    `json:"provider,omitempty"`
	Account        string    `json:"account,omitempty"`
	User           string    `json:"user"`                // usr_…: whose connection it is
	Mode           string    `json:"mode"`                // "broker", or "vend": the agent may also hold the token
	Operations     []string  `json:"operations"`          // exact names, prefixes ending in ".*", or "*"
	Resources      []string  `json:"resources,omitempty"` // "octo/api" or "octo/*"; left out: every resource
	CreatedAt      time.Time `json:"created_at"`
	CreatedBy      string    `json:"created_by"` // "user:usr_…"
	ExpiresAt      time.Time `json:"expires_at,omitzero"`
	RevokedAt      time.Time `json:"revoked_at,omitzero"`
	// Warnings say, in answer to making it, what it gives that cannot be used.
	Warnings []string `json:"warnings,omitempty"`
}

// GrantRequest makes a grant.
type GrantRequest struct {
	Agent      string    `json:"agent"`          // id or name
	Connection string    `json:"connection"`     // id or name
	Mode       string    `json:"mode,omitempty"` // "broker" if left out
	Operations []string  `json:"operations"`
	Resources  []string  `json:"resources,omitempty"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"` // never, if left out
}
