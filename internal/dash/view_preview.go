package dash

import "time"

// PreviewPanel is what is there now, and what would become of it. All texts
// but labels and sentences are the upstream's, or the agent's.
type PreviewPanel struct {
	ID       string // of the action
	Now      time.Time
	Provider string // display name
	State    string // "later": not looked yet; "shown"; "failed"
	Problem  string // why it was not looked at, a sentence
	Facts    []PreviewFact
	Changes  []PreviewChange
	Gaps     []string // what could not be read, a sentence each
	Strict   bool     // it is not sent as long as it cannot be looked at again
	Token    string   // what an answer brings back; "" where nothing is compared later
	At       time.Time
}

// PreviewFact is a value. Kind is "text", "lines", "number", "time", "user" or
// "flag"; Left counts the characters that are not shown.
type PreviewFact struct {
	Label string
	Kind  string
	There bool
	Text  string
	Left  int
	At    time.Time // of a "time" that could be read
}

// PreviewChange is what becomes of a value. Form is "replaces", "adds" or
// "removes".
type PreviewChange struct {
	Label  string
	Form   string
	Kind   string
	Known  bool // Before could be read
	Same   bool
	Before PreviewFact
	After  PreviewFact
	Diff   *Diff // of texts of several lines
}
