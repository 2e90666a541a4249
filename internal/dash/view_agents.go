package dash

import "time"

// AgentsPage lists the agents and offers to add one.
type AgentsPage struct {
	Chrome
	Agents []AgentRow
	New    AgentForm
}

// AgentRow is an agent in the list.
type AgentRow struct {
	AgentRef
	State      string // "active", "suspended", "frozen"
	Profile    string // "strict", "compat-2025"
	Keys       int
	Grants     []string // short descriptions
	LastSeenAt time.Time
}

// AgentForm is what a person typed into the form, kept when it is refused.
type AgentForm struct {
	Name, PublicKey, Profile, Sources string
	Error                             string
}

// AgentPage shows one agent: its keys, from where it may come, what it may do.
type AgentPage struct {
	Chrome
	Agent       AgentRef
	State       string
	Profile     string
	Note        string
	Owner       string
	Sources     []string
	LastSource  string
	CreatedAt   time.Time
	LastSeenAt  time.Time
	Keys        []Key
	Grants      []Grant
	Connections []Connection // that can be granted
	Operations  []OperationGroup
	Form        GrantForm
}

// Key is a public key of an agent.
type Key struct {
	ID         string
	Kind       string // "Ed25519", "P-256", "RSA 2048 (RS256)"
	Thumbprint string
	State      string
	CreatedAt  time.Time
	LastUsedAt time.Time
}

// Grant lets the agent use a connection.
type Grant struct {
	ID         string
	Account    AccountRef
	Operations []string
	Resources  []string
	Mode       string // "broker", "vend"
	State      string // "active", "revoked", "expired"
	ExpiresAt  time.Time
}

// OperationGroup is the operations of one provider.
type OperationGroup struct {
	Provider   string
	Operations []Operation
}

// GrantForm carries back why a grant was refused.
type GrantForm struct{ Error string }
