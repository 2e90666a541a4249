package dash

import "time"

// ConnectionsPage lists the connected accounts and how to connect more.
type ConnectionsPage struct {
	Chrome
	Connections []Connection
	Providers   []Provider
}

// Provider is something that can be connected.
type Provider struct {
	ID        string
	Name      string
	OAuth     bool   // the operator configured a client
	Scopes    string // what a login asks for unless the person writes something else; "" where that means nothing
	Token     bool   // a pasted token is accepted
	TokenHint string // what sort of token, and where to make it
	TokenURL  string // the page of the provider where one is made
	// TokenRights are what it must be allowed, by the sort of token.
	TokenRights []Field
	Register    string // what to register there for it: "an application at GitHub"
	SetUp       string // the command that configures the client, when OAuth is false
	Callback    string // the address to register at the provider for it
}

// Connection is one connected account.
type Connection struct {
	ID      string
	Account AccountRef
	State   string // "active", "needs_reauth", "revoked"
	Scopes  []string
	Via     string // "OAuth App", "pasted token", "sandbox"
	Agents  []AgentRef
	Note    string // why it needs attention
	// Forgotten says that it belongs to a sandbox that was started again since.
	Forgotten bool
	Spec      string // which catalogue its operations are in
	Owner     string // whose it is, when it is not the reader's
	Shared    bool   // approvers see through it what an action would change
	// Mine and CanReconnect choose which buttons are offered.
	Mine, CanReconnect bool
	CreatedAt          time.Time
	LastUsedAt         time.Time
}

// DisconnectPage reports what a disconnect did, and what it could not do.
type DisconnectPage struct {
	Chrome
	Account AccountRef
	At      time.Time
	By      string
	Items   []ReportItem
	Advice  string // what the person should still do themselves
	LinkURL string // where, at the provider
}

// ReportItem is one line of the report. Status is "done", "failed" or
// "impossible".
type ReportItem struct {
	Status string
	Text   string
	Note   string
}
