package api

import (
	"encoding/json"
	"time"
)

// Proposal is a change that a command line may not make by itself. It answers
// the request with status 202; a person confirms it on its page, by a touch of
// their passkey for exactly these bytes, and the request is then carried out in
// their name.
type Proposal struct {
	ID        string        `json:"id"` // prp_…
	State     ProposalState `json:"state"`
	Summary   string        `json:"summary"` // what it would do, in a sentence
	URL       string        `json:"url"`     // the page where it is confirmed
	ExpiresAt time.Time     `json:"expires_at"`
	// Status and Answer are what the request was answered with, once it was
	// confirmed and carried out. A confirmed proposal without them is under way.
	// Where Status is not one of success the state is failed: nothing was done.
	Status int             `json:"status,omitempty"` // HTTP status
	Answer json.RawMessage `json:"answer,omitempty"` // for whoever proposed it only
}

// ProposalState is where a proposal stands.
type ProposalState string

// The states of a proposal.
const (
	ProposalOpen      ProposalState = "open"
	ProposalConfirmed ProposalState = "confirmed"
	ProposalRefused   ProposalState = "refused"
	ProposalExpired   ProposalState = "expired"
	ProposalFailed    ProposalState = "failed" // it was confirmed, and refused when it was carried out
)
