package dash

import "time"

// ProposalPage shows a change that a command line asks for, exactly.
type ProposalPage struct {
	Chrome
	ID       string
	State    string // "open", "confirmed", "failed", "refused", "expired"
	Summary  string // what it does, filled in by us
	From     string // who proposed it, in our words
	Label    string // what that command line calls itself
	Method   string
	Path     string // as it was sent
	Query    string
	Body     Body // without the exact bytes, which may hold a secret
	Withheld bool // a value of the body is a secret and not shown
	// NoBody says why the body cannot be shown.
	NoBody string
	// Refers says what the names and ids of the request stand for.
	Refers     []Field
	Digest     string // hex
	ProposedAt time.Time
	ExpiresAt  time.Time
	DecidedAt  time.Time
	DecidedBy  string
	CanDecide  bool // this person may confirm it, and it is still open
	MayRefuse  bool
	WhyNot     string // why this person may not, in one sentence
	Outcome    *Performed
}

// Open reports whether the proposal still waits.
func (p ProposalPage) Open() bool { return p.State == "open" }

// Standing is the one word for where the proposal is; badge and heading both
// say it. A confirmed one that could not be done was not.
func (p ProposalPage) Standing() string {
	switch {
	case p.State == "confirmed" && p.Outcome != nil && p.Outcome.Done:
		return "done"
	case p.State == "failed":
		return "notdone"
	case p.State == "confirmed":
		return "underway"
	}
	return p.State
}

// Performed is what a confirmed proposal was answered with.
type Performed struct {
	Code   int // HTTP status
	Done   bool
	Text   string // one sentence
	Page   string // a path of ours: where what was made is
	Answer Body   // for whoever confirmed it
}

// ProposalCard is one proposal in the inbox.
type ProposalCard struct {
	ID         string
	From       string
	Label      string
	Summary    string
	ProposedAt time.Time
	ExpiresAt  time.Time
}
