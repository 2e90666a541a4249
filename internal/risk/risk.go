package risk

import (
	"fmt"

	"github.com/valetkey/valetkey/provider"
)

// Level is how much harm a request could do: the levels of the provider's
// catalogue, and of context.risk_level in rules.
type Level = provider.Risk

// The levels.
const (
	Low      = provider.Low
	Medium   = provider.Medium
	High     = provider.High
	Critical = provider.Critical
)

// known is l, or Critical for what is none of the levels.
func known(l Level) Level {
	if l < Low || l > Critical {
		return Critical
	}
	return l
}

// Fact is one thing that was looked at.
type Fact struct {
	Raises bool   // the level is higher because of it
	Level  Level  // the level after it
	Text   string // a sentence, written by us
}

// Assessment is the outcome.
type Assessment struct {
	Level Level
	Facts []Fact
}

// Sentences are the facts as people read them.
func (a Assessment) Sentences() []string {
	out := make([]string, len(a.Facts))
	for i, f := range a.Facts {
		out[i] = f.Text
	}
	return out
}

// Input is what is known of a request.
type Input struct {
	Operation  string           // "github.issues.create_comment"
	Base       Level            // of the catalogue match; for a vend the worst of what the scopes allow
	Why        []string         // how the catalogue comes to Base, in its own sentences
	Listed     bool             // the operation is in the catalogue
	Read       bool             // it changes nothing
	Vend       bool             // a token is handed out
	Public     *bool            // the resource is public; nil where we cannot tell
	Outsiders  bool             // it reaches people outside whatever the resource's visibility
	Default    bool             // it writes to the repository's default branch
	Recipients int              // how many people it is sent to; 0 where that means nothing
	Amount     *provider.Amount // nil: no money is involved
	Threshold  string           // how much counts as little, a plain decimal; "" is [Threshold]
	First      bool             // this agent has never done this operation on this resource
	Tainted    bool             // the agent has read text of outsiders within the hour
	Hints      []Hint
}

// Hint is what somebody whom we do not trust says of the request.
type Hint struct {
	From  string // "the agent", "the MCP server": our word for who says it
	Level Level
}

// ManyRecipients is from how many people on a message counts as one to many.
const ManyRecipients = 10

// Assess rates in. Its facts are in the order of the package comment.
func Assess(in Input) Assessment {
	a := &Assessment{Level: known(in.Base)}
	a.base(in)
	if !in.Read && !in.Vend {
		a.resource(in)
	}
	a.amount(in.Amount, in.Threshold)
	if !in.Read && !in.Vend {
		a.circumstances(in)
	}
	a.hints(in.Hints)
	return *a
}

// to notes a fact after which the level is at least l.
func (a *Assessment) to(l Level, format string, args ...any) {
	raises := l > a.Level
	a.Level = max(a.Level, l)
	a.Facts = append(a.Facts, Fact{Raises: raises, Level: a.Level, Text: sentence(raises, a.Level, format, args...)})
}

// sentence says the fact, and what it did.
func sentence(raises bool, l Level, format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	if raises {
		s += ", which makes it " + l.String()
	}
	return s + "."
}

// mediumToHigh is where a medium level goes; others stay.
func (a *Assessment) mediumToHigh() Level {
	if a.Level == Medium {
		return High
	}
	return a.Level
}

func (a *Assessment) base(in Input) {
	what := in.Operation
	if what == "" {
		what = "the operation"
	}
	switch {
	case in.Base != known(in.Base):
		a.Facts = append(a.Facts, Fact{Raises: true, Level: Critical, Text: fmt.Sprintf("Nothing rates %s, which makes it critical.", what)})
	case in.Vend:
		a.to(a.Level, "A token for %s is as risky as the worst it allows, which is %s", what, a.Level)
	case len(in.Why) == 0: // otherwise the catalogue says so itself
		a.to(a.Level, "The catalogue rates %s %s", what, a.Level)
	}
	for _, why := range in.Why {
		a.Facts = append(a.Facts, Fact{Level: a.Level, Text: why})
	}
}

func (a *Assessment) resource(in Input) {
	if !in.Listed && (a.Level < High || len(in.Why) == 0) {
		a.to(High, "It changes something and is not in the catalogue")
	}
	switch {
	case in.Public == nil:
	case *in.Public:
		a.to(a.mediumToHigh(), "Everybody can see the result")
	default:
		a.to(a.Level, "The result is visible only to those with access")
	}
	if in.Default {
		a.to(High, "It writes to the default branch")
	}
	switch n := in.Recipients; {
	case n >= ManyRecipients:
		a.to(a.mediumToHigh(), "It reaches %d people", n)
	case n == 1:
		a.to(a.Level, "It reaches one person")
	case n > 1:
		a.to(a.Level, "It reaches %d people", n)
	}
}

func (a *Assessment) circumstances(in Input) {
	if in.First {
		a.to(a.mediumToHigh(), "This agent has never done this here before")
	}
	if !in.Tainted {
		return
	}
	switch {
	case in.Outsiders || in.Public != nil && *in.Public:
		a.to(min(a.Level+1, Critical), "The agent has read text of outsiders within the hour and this reaches the public or outsiders")
	case in.Public == nil:
		a.to(min(a.Level+1, Critical), "The agent has read text of outsiders within the hour and this may reach the public")
	default:
		a.to(a.Level, "The agent has read text of outsiders within the hour, but this stays inside")
	}
}

func (a *Assessment) hints(hints []Hint) {
	for _, h := range hints {
		from := h.From
		if from == "" {
			from = "A hint"
		}
		l := known(h.Level)
		if l > a.Level {
			a.to(l, "%s calls it %s", from, l)
		} else {
			a.to(a.Level, "%s calls it %s, and hints never lower", from, l)
		}
	}
}
