package approval

import (
	"slices"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Vote is one person's yes to a question that takes several. It is never
// changed: who takes it back says no, and the question ends.
type Vote struct {
	Org      id.Org
	Approval id.Approval
	User     id.User
	At       time.Time
	Channel  string
	Level    Level
	Evidence []byte // the person's own, for StepUp
	// Precondition stands for what this person was shown of what was there.
	Precondition string
	Version      int64
}

// ErrVoted refuses to count somebody twice.
var ErrVoted = fault.New(fault.Conflict, "already_voted", "You have said yes to this already; it waits for somebody else.")

// Needs is how many people have to say yes.
func (a *Approval) Needs() int { return max(a.Quorum, 1) }

// VotedBy reports whether who is among those who said yes.
func (a *Approval) VotedBy(who id.User) bool {
	for _, v := range a.Votes {
		if v.User == who {
			return true
		}
	}
	return false
}

// Yes lists who said yes to a granted approval, one vote for each person: also
// where one was enough, whose answer stands on the approval itself.
func (a *Approval) Yes() []Vote {
	if a.Quorum > 1 {
		return a.Votes
	}
	if a.DecidedBy == "" || a.Status == Denied {
		return nil
	}
	level := Approve
	if len(a.Evidence) > 0 {
		level = StepUp
	}
	return []Vote{{
		Org: a.Org, Approval: a.ID, User: a.DecidedBy, At: a.DecidedAt, Channel: a.Channel, Level: level, Evidence: a.Evidence,
		Precondition: a.Precondition, Version: 1,
	}}
}

// Preconditions lists what those who said yes were shown, each once.
func (a *Approval) Preconditions() []string {
	var all []string
	for _, v := range a.Yes() {
		if v.Precondition != "" && !slices.Contains(all, v.Precondition) {
			all = append(all, v.Precondition)
		}
	}
	return all
}

func (a *Approval) vote(d Decider, now time.Time) error {
	if a.VotedBy(d.User) {
		return ErrVoted
	}
	a.Votes = append(a.Votes, Vote{
		Org: a.Org, Approval: a.ID, User: d.User, At: now, Channel: d.Channel, Level: d.Level, Evidence: d.Evidence,
		Precondition: d.Precondition, Version: 1,
	})
	return nil
}
