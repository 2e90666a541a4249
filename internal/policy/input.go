package policy

import (
	"net/netip"
	"time"

	"github.com/valetkey/valetkey/internal/id"
)

// Level is assurance: how sure we are that a human wants this.
type Level int

// The levels, as rules read them in context.assurance.
const (
	Nobody   Level = 0 // nobody was asked
	Approved Level = 1 // a human approved this request
	Presence Level = 2 // a human approved it with a fresh passkey or login
)

// Verdict is the outcome of judging, from weakest to strongest.
type Verdict int

// The verdicts. The zero Verdict is none of them and counts as Deny, so that a
// forgotten decision refuses.
const (
	Permit Verdict = iota + 1
	Ask
	StepUp
	Deny
)

// String is the word that the API, the log and the pages use.
func (v Verdict) String() string {
	switch v {
	case Permit:
		return "permit"
	case Ask:
		return "ask"
	case StepUp:
		return "step_up"
	}
	return "deny"
}

// Level is the assurance that v demands; ok is false where none suffices.
func (v Verdict) Level() (level Level, ok bool) {
	switch v {
	case Permit:
		return Nobody, true
	case Ask:
		return Approved, true
	case StepUp:
		return Presence, true
	}
	return 0, false
}

// Satisfied reports whether assurance reached is enough for v. It is the
// question at execution: today's verdict against the approval that was given.
func (v Verdict) Satisfied(reached Level) bool {
	level, ok := v.Level()
	return ok && reached >= level
}

// Input is what is to be judged. All of it is established by us: an agent's
// own words are no part of it.
type Input struct {
	Org        id.Org
	User       id.User // whose connection it is; that user's own rules judge too
	Agent      Agent
	Connection Connection
	Operation  string // "github.issues.create_comment", "github.token.vend", "github.raw.write"
	Listed     bool   // the operation is in the provider's catalogue
	Read       bool   // it changes nothing
	Vend       bool   // a token is to be handed to the agent
	Method     string
	Resource   Resource
	Risk       int // 1 low … 4 critical; anything else is judged as critical
	Scopes     []string
	Amount     *Amount // nil: no money is involved
	Now        time.Time
	Source     netip.Addr // the agent's address; the zero Addr is "not known"
	Tainted    bool       // the agent has read text of outsiders within the hour
	Facts      []string   // why the risk is what it is; only for explanations
}

// Agent is who asks.
type Agent struct {
	ID      id.Agent
	Name    string
	Profile string // "strict", "compat-2025"
}

// Connection is the account that would be used.
type Connection struct {
	ID        id.Connection
	Provider  string // "github"
	Account   string // "octocat"
	AccountID string // the provider's own, stable id
}

// Resource is the thing acted on. The zero Resource is the account itself.
type Resource struct {
	Type   string // "repository", "channel", "calendar", "owner", or another word
	ID     string // "octo/api", as the provider spells it after case folding
	Public *bool  // nil: not known, which is neither public nor private
}

// The meanings of an amount.
const (
	Value    = "value"    // what is at stake, as in a bounty
	Transfer = "transfer" // money that moves
)

// Amount is the money in a request, extracted by us.
type Amount struct {
	Kind     string // Value or Transfer; any other word counts as both
	Number   string // exact, plain decimal of the currency's main unit: "499.99"
	Currency string // ISO 4217 code
	Unknown  bool   // there is an amount, and we cannot tell how much
}

// missing names the first fact without which an input cannot be judged.
func (in *Input) missing() string {
	switch {
	case in.User == "":
		return "user"
	case in.Agent.ID == "":
		return "agent"
	case in.Connection.ID == "":
		return "connection"
	case in.Connection.Provider == "":
		return "provider"
	case in.Operation == "":
		return "operation"
	}
	return ""
}

// risk is the level with whatever is out of range taken for the worst.
func (in *Input) risk() int {
	if in.Risk < 1 || in.Risk > 4 {
		return 4
	}
	return in.Risk
}

func riskWord(level int) string {
	switch level {
	case 1:
		return "low"
	case 2:
		return "medium"
	case 3:
		return "high"
	}
	return "critical"
}
