package dash

import "time"

// ActivityPage is the log in sentences, newest first.
type ActivityPage struct {
	Chrome
	Filter     string
	Days       []Day
	Older      string // cursor of the next page; "" at the end
	Checkpoint *Checkpoint
}

// Day groups events.
type Day struct {
	Date   time.Time
	Events []Event
}

// Event is one record of the log.
type Event struct {
	Seq      int64
	At       time.Time
	Verb     string // "action.approve"
	Actor    string
	Object   string
	ObjectID string // "act_…": the page links to it when it is an action
	Sentence string // what happened, in plain words
	Data     []Field
	Effect   bool    // Data names a request by its salted hash
	Fold     string  // what it is told together with; "" alone
	Parts    []Event // all the events that the row stands for, if it is more than one
	Tone     string  // "good", "bad", "ask", "" for the ordinary
}

// Alone is e as one event among the parts of a row.
func (e Event) Alone() Event {
	e.Parts = nil
	return e
}

// Checkpoint is the newest signed tree head.
type Checkpoint struct {
	Size int64
	Root string // base64
	Key  string // name of the signing key
	At   time.Time
	Lag  int64 // events that came after it
}

// PolicyPage shows the rules as they are judged.
type PolicyPage struct {
	Chrome
	Version string
	Since   time.Time
	By      string
	Rules   []PolicyRule
}

// PolicyRule is one rule. Effect is "permit", "ask", "step_up" or "deny".
type PolicyRule struct {
	ID     string
	Effect string
	Title  string // what it says, in a sentence
	Source string // the Cedar text
	Origin string // "shipped", "organisation", "own"
}
