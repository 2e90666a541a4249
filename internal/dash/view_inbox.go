package dash

import "time"

// InboxPage lists what waits for the person, and what was decided lately.
type InboxPage struct {
	Chrome
	Proposals []ProposalCard // changes that command lines ask for
	Pending   []Card
	Decided   []Decided
	More      int // pending actions beyond those listed
	// Others are open actions that others have to answer, By.
	Others []Decided
	// HasAgents and HasConnections choose what an empty inbox teaches.
	HasAgents, HasConnections bool
	Example                   string // a command by which an agent would ask
}

// Card is one action that waits.
type Card struct {
	ID         string
	Summary    string // the operation in plain words, filled in by us
	Agent      AgentRef
	Account    AccountRef
	Method     string
	Host       string
	Port       string // "" for the default of the scheme
	Path       string // decoded
	Risk       Risk
	Amount     *Amount
	StepUp     bool   // needs a passkey
	Halted     string // a sentence: what keeps it from running whatever is answered
	ProposedAt time.Time
	ExpiresAt  time.Time
	Repeats    int // identical requests folded into this one, beyond the first
}

// Decided is one line of what was decided lately.
type Decided struct {
	ID      string
	Summary string
	Agent   AgentRef
	Account AccountRef
	State   string // state of the action
	By      string // who decided; "" when nobody did
	At      time.Time
}
