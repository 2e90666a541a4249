package dash

import (
	"fmt"
	"time"
)

// ActionPage is the one page that matters most: what exactly would be sent,
// who asks, as whom, what it means, and the two buttons.
type ActionPage struct {
	Chrome
	ID        string
	State     string // "proposed", "pending", "approved", "executing", "succeeded", "failed", "unknown", "denied", "expired", "cancelled", "revoked"
	Summary   string // the operation in plain words, filled in by us
	Operation string // "" when the request is in no catalogue
	Agent     AgentRef
	Source    string // the address the agent asked from
	Account   AccountRef

	Request Request
	// NoRequest says why the request cannot be shown.
	NoRequest string
	Risk      Risk
	Rule      Rule
	Scopes    []string
	Impact    []string
	Amount    *Amount
	Digest    string // effect digest, hex
	InLog     string // how the log names the effect: the same, salted
	Question  string // decision digest of the open approval, hex: what an answer answers

	// AgentText is what the agent says about it. It is shown apart from our
	// facts and counts for nothing.
	AgentText string

	ProposedAt time.Time
	ExpiresAt  time.Time
	Repeats    int

	// AskedAgainAt is when the answer of before counted no more; zero if it never
	// did. AskedAgainWhy says why, in words.
	AskedAgainAt  time.Time
	AskedAgainWhy string

	// Preview is what would change; nil where nothing is known to look at.
	Preview *PreviewPanel

	Halted string // a sentence: what keeps it from running whatever is answered
	// SignInAt names the identity provider at which the reader may prove presence
	// for a step-up; SignedIn says that this browser comes from there, NoPasskey
	// that there is no other way.
	SignInAt            string
	SignedIn, NoPasskey bool
	StepUp              bool     // approving needs a passkey
	Quorum              int      // how many have to say yes; 0 where one is enough
	Voters              []string // who of several has
	Voted               bool     // this person is among them, and can only say no now
	// Relief says of what more may be let through with a yes, in words; "" where
	// nothing may be.
	Relief    string
	CanDecide bool   // this person may decide, and it is still open
	WhyNot    string // why this person may not, in one sentence

	Receipt  bool // there is something to prove
	Timeline []Step
	Outcome  *Outcome
}

// Open reports whether the action still waits for a decision.
func (a ActionPage) Open() bool { return a.State == "pending" }

// Have is a word that changes whenever the page does. The page sends back the
// one it has, so that what is the same is not swapped under somebody's hands.
func (a ActionPage) Have() string {
	have := a.State + "-" + a.Question
	if a.Halted != "" {
		have += "-stopped"
	}
	if len(a.Voters) > 0 {
		have += fmt.Sprintf("-%d", len(a.Voters))
	}
	if !a.CanDecide {
		have += "-looking"
	}
	return have
}

// Tense says how the page speaks of the request: "will" while it waits or is
// on its way, "was" once it left, "would" when it never did.
func (a ActionPage) Tense() string {
	switch a.State {
	case "succeeded", "failed", "unknown", "executing":
		return "was"
	case "denied", "expired", "cancelled", "revoked":
		return "would"
	}
	return "will"
}

// Request is the frozen request as it will be sent.
type Request struct {
	Method  string
	Scheme  string
	Host    string // as it will be dialled; shown in ASCII
	Port    string // "" for the default of the scheme
	Path    string // decoded
	RawPath string // as sent
	Query   []Field
	Raw     string // the query as sent, without "?"
	Headers []Field
	Body    Body
}

// Step is one station of an action's life. Status is "done", "current",
// "ahead" or "failed".
type Step struct {
	Name   string
	Status string
	Note   string
	At     time.Time
}

// Outcome is what came of an executed action.
type Outcome struct {
	Status   int    // upstream HTTP status; 0 when there was no complete answer
	Text     string // one sentence of ours
	Size     int64
	Duration time.Duration
	LinkURL  string // what came of it, at the provider
	Said     string // the provider's own words about a refusal, clipped
}
