package dash

import "time"

// Chrome is what surrounds every page of a logged-in person, and the little
// that every other page needs.
type Chrome struct {
	Title   string
	Section string // the entry of the navigation: "inbox", "activity", "connections", "agents", "policy"; "" outside
	User    string // display name; "" when nobody is logged in
	Role    string
	Program string   // how a terminal of the reader starts valetkey: a name, or where it lies
	CSRF    string   // the session's token, sent back by every form
	Waiting int      // actions waiting for this person
	Frozen  *Freeze  // everything is stopped
	Stopped []Freeze // something narrower is, that concerns this person
	Notice  *Notice
	Now     time.Time
	// MayFreeze and MayUnfreeze choose which buttons are offered.
	MayFreeze, MayUnfreeze bool
	SeesPeople             bool
	// Alerts are what happened within a day to how this person gets in.
	Alerts []Alert
}

// Alert is a sentence about how the reader gets in, that they have to hear.
type Alert struct {
	Text, Name string
	At         time.Time
}

// Freeze says that something is stopped, since when and by whom.
type Freeze struct {
	ID     string
	What   string // "The agent triage"; "" for everything
	By     string
	Reason string
	At     time.Time
}

// Notice is one sentence at the top of a page about what was just done or
// what is wrong. Tone is "good", "warn" or "bad".
type Notice struct {
	Tone string
	Text string
}

// Field is a name with a value: a query parameter, a header.
type Field struct{ Name, Value string }

// AgentRef names an agent on a page.
type AgentRef struct{ ID, Name string }

// AccountRef names an account the way a person knows it: "octocat on GitHub".
type AccountRef struct {
	ConnectionID string
	Provider     string // display name: "GitHub"
	Account      string // the pinned upstream identity: "octocat"
	Sandbox      bool   // belongs to the built-in sandbox: nothing real is touched
}

// Risk is a level with each fact that led to it.
type Risk struct {
	Level   string // "low", "medium", "high", "critical"
	Reasons []string
}

// Rule is the policy rule that made the decision.
type Rule struct {
	ID     string
	Reason string // its own words for the person who is asked
}

// Amount is money as we extracted it, never as the agent wrote it.
type Amount struct {
	Value    string // exact decimal
	Currency string
	Moves    bool // true: this money moves; false: it is what is at stake
}

// Operation is an operation that can be granted.
type Operation struct {
	ID    string // "github.issues.create_comment"
	Title string // "Comment on an issue"
	Risk  string
	Read  bool
}
