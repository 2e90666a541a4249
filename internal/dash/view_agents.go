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
	CanFreeze  bool
}

// AgentForm is what stands in the form. A key is never put back into it:
// somebody may have pasted the private half.
type AgentForm struct {
	Name, Profile, Sources string
	Error                  string
}

// AgentPage shows one agent: its keys, from where it may come, what it may do.
type AgentPage struct {
	Chrome
	Agent       AgentRef
	State       string
	Suspended   bool // whatever else holds: what resuming it ends
	CanFreeze   bool
	Profile     string
	Note        string
	Owner       string
	Sources     []string
	LastSource  string
	CreatedAt   time.Time
	LastSeenAt  time.Time
	Keys        []Key
	Grants      []Grant
	Reliefs     []Relief
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

// Relief is what somebody let pass beforehand.
type Relief struct {
	ID        string
	Account   AccountRef
	Operation string
	Resource  string
	By        string
	Most      int
	Used      int
	ExpiresAt time.Time
}

// OperationGroup is the operations of one catalogue, by area.
type OperationGroup struct {
	Spec  string // which catalogue
	Areas []Area
}

// Area is what belongs together in a catalogue: "issues".
type Area struct {
	Title      string
	Pattern    string // covers all of it in a grant: "github.issues.*"
	Operations []Operation
}

// GrantForm carries back why a grant was refused.
type GrantForm struct{ Error string }
