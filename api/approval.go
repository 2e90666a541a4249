package api

import "time"

// ApprovalStatus is where an approval stands.
type ApprovalStatus string

// The statuses.
const (
	ApprovalOpen      ApprovalStatus = "open"
	ApprovalGranted   ApprovalStatus = "granted"
	ApprovalDenied    ApprovalStatus = "denied"
	ApprovalExpired   ApprovalStatus = "expired"
	ApprovalWithdrawn ApprovalStatus = "withdrawn"
	ApprovalSpent     ApprovalStatus = "spent"
)

// Level is how much assurance an answer must bring.
type Level string

// The levels.
const (
	LevelApprove Level = "approve" // a logged-in person says yes to this effect
	LevelStepUp  Level = "step_up" // the same, with a passkey touched for this very request
)

// Approval is the question that is put to people about exactly one action.
type Approval struct {
	ID     string         `json:"id"` // apr_…
	Status ApprovalStatus `json:"status"`
	Level  Level          `json:"level"`
	Action Action         `json:"action"`
	Agent  AgentRef       `json:"agent"` // who asks
	User   string         `json:"user"`  // usr_…: whose connection it is

	// Request is what will be sent, byte for byte. It is left out when its bytes
	// are no longer kept.
	Request *ExactRequest `json:"request,omitempty"`

	Rules         []string `json:"rules,omitempty"`  // names of the rules that asked
	Why           []string `json:"why,omitempty"`    // rules and facts, a plain sentence each
	Impact        string   `json:"impact,omitempty"` // what it changes, in plain words
	Scopes        []string `json:"scopes,omitempty"` // least OAuth scopes that it takes
	PolicyVersion string   `json:"policy_version"`   // of the rules that asked

	// Challenge is what a passkey signs in a step-up, unpadded base64url: the
	// decision digest of the answer "approve". The signature is made on the page.
	Challenge string `json:"challenge,omitempty"`

	// Quorum is how many people have to say yes; left out where one is enough.
	// Votes are those who have, then.
	Quorum int    `json:"quorum,omitempty"`
	Votes  []Vote `json:"votes,omitempty"`
	Voted  bool   `json:"voted,omitempty"` // the person who reads this is among them, and can only say no now

	Repeats    int       `json:"repeats,omitempty"`     // how often the agent asked the same again meanwhile
	CanRelieve bool      `json:"can_relieve,omitempty"` // a yes may let more of the kind through; see Decision
	AskAgainAt time.Time `json:"ask_again_at,omitzero"` // of a denial: equal requests are refused until then

	CanDecide bool   `json:"can_decide"`        // the person who reads this may answer
	WhyNot    string `json:"why_not,omitempty"` // why they may not, in one sentence

	URL       string    `json:"url"` // the page of the action
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
	DecidedBy string    `json:"decided_by,omitempty"` // usr_…
	Channel   string    `json:"channel,omitempty"`    // "web", "cli"
	Reason    string    `json:"reason,omitempty"`     // the person's own words on a denial
}

// ExactRequest is a frozen request, for the eyes of an approver. The credential
// is no part of it.
type ExactRequest struct {
	Method  string   `json:"method"`
	URL     string   `json:"url"`               // absolute, as it will be sent; host in ASCII
	Headers []Header `json:"headers,omitempty"` // in the order in which they are hashed and sent
	// Body is the exact body. BodyText is the same where it is UTF-8.
	Body     []byte `json:"body,omitempty"`
	BodyText string `json:"body_text,omitempty"`
	Effect   string `json:"effect"` // effect digest of all of it, hex
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"` // lower case
	Value string `json:"value"`
}

// Answer is what a person says.
type Answer string

// The answers.
const (
	AnswerApprove Answer = "approve"
	AnswerDeny    Answer = "deny"
)

// Decision answers an approval. Effect is the effect digest of what the person
// saw; if the stored action has another one, the answer is refused as stale.
type Decision struct {
	Decision Answer `json:"decision"`
	Effect   string `json:"effect"`           // hex
	Reason   string `json:"reason,omitempty"` // the person's own words, passed on to the agent; at most 1,000 bytes

	// CooldownMinutes, with "deny", is for how long equal requests (the same
	// agent, connection, operation and resource) are refused without asking: 1 to
	// 1440.
	CooldownMinutes int `json:"cooldown_minutes,omitempty"`
	// Relief, with "approve", is how many more of the kind are let through
	// without asking, for two hours: 1 to 50. See CanRelieve.
	Relief int `json:"relief,omitempty"`
}

// Vote is one person's yes to a question that takes several.
type Vote struct {
	By      string    `json:"by"` // usr_…
	ByName  string    `json:"by_name,omitempty"`
	At      time.Time `json:"at"`
	Level   Level     `json:"level"`   // the assurance that it carried
	Channel string    `json:"channel"` // "web", "cli"
}

// Relief is a yes given beforehand: one operation on one resource, for one
// agent with one connection, so many times and so long.
type Relief struct {
	ID         string    `json:"id"`                   // rlf_…
	Agent      string    `json:"agent"`                // agt_…
	AgentName  string    `json:"agent_name,omitempty"` // what people call it
	Connection string    `json:"connection"`           // con_…
	Operation  string    `json:"operation"`
	Resource   string    `json:"resource"`
	By         string    `json:"by"`       // usr_…: who gave it
	Approval   string    `json:"approval"` // apr_…: with which answer
	Most       int       `json:"most"`
	Used       int       `json:"used"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}
