package dash

import "time"

// WelcomePage is the first-run page: four rows that tick as they are done.
type WelcomePage struct {
	Chrome
	Invite    string // token of the enrolment link that opened the page; "" once used
	Name      string // of the person whom the link is for
	Passkeys  bool   // false when the public URL is an IP address
	PublicURL string

	PasskeyDone bool
	PasskeyName string
	Account     *AccountRef // the connected account; nil until there is one that can be used
	Lost        *Connection // one that has to be connected again
	Providers   []Provider
	Agent       *AgentRef // the first agent that was registered
	AgentCalled bool      // it has made an authenticated request
	Snippets    []Snippet
	Proposed    *ProposalCard // what a command line proposed, and waits for a passkey
	Asked       *Card         // the first action that asked
	Decision    string        // its state once decided
}

// Done counts the finished rows.
func (w WelcomePage) Done() int {
	n := 0
	for _, done := range []bool{w.PasskeyDone, w.Account != nil, w.Agent != nil, w.Decision != ""} {
		if done {
			n++
		}
	}
	return n
}

// State is a word that changes whenever the rows do. The page sends back the
// one it has, so that its updates can be answered with "no change" and never
// wipe a form that is being filled in.
func (w WelcomePage) State() string {
	mark := func(b bool) string {
		if b {
			return "1"
		}
		return "0"
	}
	state := mark(w.PasskeyDone) + mark(w.Account != nil) + mark(w.Agent != nil) + mark(w.AgentCalled) + mark(w.Lost != nil) + "-" + w.Decision
	if w.Proposed != nil {
		state += "-" + w.Proposed.ID
	}
	if w.Asked != nil {
		state += "-" + w.Asked.ID
	}
	return state
}

// Snippet is something to copy into a terminal or a file.
type Snippet struct {
	ID    string // letters only: part of an element id
	Title string // "Claude Code"
	Note  string
	Code  string
}

// LoginPage asks for a passkey.
type LoginPage struct {
	Chrome
	ReturnTo string // a path on this server, checked by the handler
	Host     string // the host name that the passkey belongs to
	Passkeys bool   // false when the public URL is an IP address
	SignIn   string // the identity provider's name; "" when there is none
}

// EnrolPage turns an invitation into a passkey.
type EnrolPage struct {
	Chrome
	Invite    string
	Name      string // of the invited person
	By        string
	As        string // the role
	Host      string
	ExpiresAt time.Time
	SignIn    string // the identity provider by which they may come in, too; "" when there is none
}

// DevicePage confirms a login from a terminal (RFC 8628 §3.3).
type DevicePage struct {
	Chrome
	Code      string // as shown in the terminal; "" asks for it
	Client    string
	Source    string // address of the terminal
	Digest    string // hex; what the passkey signs to let it in
	Scopes    []string
	ExpiresAt time.Time
	State     string // "", "approved", "denied", "unknown"
}

// ErrorPage says what went wrong and what to do next.
type ErrorPage struct {
	Chrome
	Status int
	Reason string // stable, machine-readable
	Detail string
	Hint   string // what was tried, or a command
	Next   string // what the way to the start is called
}
