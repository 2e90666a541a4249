package api

import (
	"encoding/json"
	"time"
)

// ActionRequest is one thing an agent wants done, in one of two forms: a named
// operation with Params, or a raw request with Method and Path. It has at most
// one of the three bodies, and none beside Params.
type ActionRequest struct {
	Connection string `json:"connection"` // id or name of a connection that the agent has a grant for

	Operation string `json:"operation,omitempty"` // "github.issues.create_comment"
	// Params are the operation's parameters by name. A server decodes numbers as
	// json.Number, so that none loses a digit.
	Params map[string]any `json:"params,omitempty"`

	Method  string            `json:"method,omitempty"`  // upper case: "POST"
	Base    string            `json:"base,omitempty"`    // one of the provider's API bases; the first if left out
	Path    string            `json:"path,omitempty"`    // escaped, below the base, beginning with a slash
	Query   string            `json:"query,omitempty"`   // raw, without the question mark
	Headers map[string]string `json:"headers,omitempty"` // never a credential; that is attached later

	Body     []byte          `json:"body,omitempty"`      // base64: sent byte for byte
	BodyText string          `json:"body_text,omitempty"` // sent as UTF-8
	BodyJSON json.RawMessage `json:"body_json,omitempty"` // sent as it stands here, as application/json unless Headers say otherwise

	// Note is the agent's own word to the approver, at most 2,000 characters. It
	// is shown apart from the facts and counts for nothing.
	Note string `json:"note,omitempty"`
	// IdempotencyKey names the intent, at most 128 printable ASCII characters. A
	// repeat with the same key attaches to the action while that is held and
	// until ten minutes after its outcome was fetched; the same key with another
	// request is a conflict. Without a key an equal request attaches, too.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Amount is money at stake that the request itself does not show. It can make
	// the judgement stricter, never milder.
	Amount *Amount `json:"amount,omitempty"`
}

// AmountKind says what an amount means.
type AmountKind string

// The kinds of amount.
const (
	AmountValue    AmountKind = "value"    // what is at stake, as in a bounty
	AmountTransfer AmountKind = "transfer" // money that moves
)

// Amount is a sum of money.
type Amount struct {
	Kind     AmountKind `json:"kind"`
	Number   string     `json:"number,omitempty"`   // exact decimal of the main unit: "499.99"
	Currency string     `json:"currency,omitempty"` // ISO 4217: "EUR"
	Unknown  bool       `json:"unknown,omitempty"`  // there is an amount, and nobody can tell how much
}

// ActionState is where an action is in its life.
type ActionState string

// The states. From StateSucceeded on they are final.
const (
	StateProposed  ActionState = "proposed"
	StatePending   ActionState = "pending"   // waits for a human
	StateApproved  ActionState = "approved"  // will be executed by the server
	StateExecuting ActionState = "executing" // the intent is recorded; bytes may have left
	StateSucceeded ActionState = "succeeded" // the upstream answered
	StateFailed    ActionState = "failed"    // the upstream refused, or provably nothing happened
	StateUnknown   ActionState = "unknown"   // sent, and the answer was lost: look before repeating
	StateDenied    ActionState = "denied"    // a human said no
	StateExpired   ActionState = "expired"   // nobody answered in time
	StateCancelled ActionState = "cancelled" // its agent withdrew it
	StateRevoked   ActionState = "revoked"   // agent, grant, connection or rules no longer allow it
)

// Risk is how much harm a request can do.
type Risk string

// The risks, in order.
const (
	RiskLow      Risk = "low"
	RiskMedium   Risk = "medium"
	RiskHigh     Risk = "high"
	RiskCritical Risk = "critical"
)

// Action is an action as its agent sees it. It never holds the request or the
// answer.
type Action struct {
	ID         string      `json:"id"` // act_…
	State      ActionState `json:"state"`
	Final      bool        `json:"final"`               // nothing more will happen to it
	Operation  string      `json:"operation"`           // also for raw requests: "github.raw.write"
	Summary    string      `json:"summary"`             // one plain line, rendered by the server
	Connection string      `json:"connection"`          // con_…
	Provider   string      `json:"provider"`            // "github"
	Account    string      `json:"account"`             // the provider's name for it: "octocat"
	Resource   string      `json:"resource,omitempty"`  // "repository:octo/api"
	Risk       Risk        `json:"risk"`                // what the rules judged by
	Amount     *Amount     `json:"amount,omitempty"`    // the money that the rules judged
	Effect     string      `json:"effect"`              // effect digest, 64 hex characters
	Note       string      `json:"note,omitempty"`      // as the agent gave it
	Agent      string      `json:"agent"`               // agt_…
	Approval   *Ticket     `json:"approval,omitempty"`  // of a held action
	CreatedAt  time.Time   `json:"created_at"`          //
	UpdatedAt  time.Time   `json:"updated_at"`          // the latest change of state
	ExpiresAt  time.Time   `json:"expires_at,omitzero"` // when a pending action expires
	FinishedAt time.Time   `json:"finished_at,omitzero"`
	Outcome    *Outcome    `json:"outcome,omitempty"` // once final

	IdempotencyKey string `json:"idempotency_key,omitempty"` // as the agent gave it
	// Replayed says that this request attached to an action that was there before.
	Replayed bool `json:"replayed,omitempty"`
	// Explanation says why it was held or refused, a sentence each.
	Explanation []string `json:"explanation,omitempty"`
}

// Ticket is the approval of an action as its agent sees it.
type Ticket struct {
	ID        string         `json:"id"` // apr_…
	Status    ApprovalStatus `json:"status"`
	Level     Level          `json:"level"`
	URL       string         `json:"url"` // the page where a person answers; safe to pass on
	ExpiresAt time.Time      `json:"expires_at"`
}

// Outcome is how an action ended.
type Outcome struct {
	Status int    `json:"status,omitempty"` // the upstream's HTTP status; 0 without a complete answer
	Why    string `json:"why,omitempty"`    // a stable reason, or on a denial the human's own words
	// ResponseBytes is the size of the kept answer. Response says whether
	// GET /v1/actions/{id}/response still has it.
	ResponseBytes int64 `json:"response_bytes,omitempty"`
	Response      bool  `json:"response"`
}

// ActionResult is what a permitted action brought, at once. Its body is JSON if
// the upstream's was, and base64 otherwise; an upstream's answer of 404 is a
// result like any other.
type ActionResult struct {
	Action  string              `json:"action"` // its id
	State   ActionState         `json:"state"`
	Status  int                 `json:"status"`            // the upstream's HTTP status
	Headers map[string][]string `json:"headers,omitempty"` // in canonical spelling, as far as they are passed on

	Body       json.RawMessage `json:"body,omitempty"`        // present if the answer is JSON
	BodyBase64 []byte          `json:"body_base64,omitempty"` // present if it is not, and not empty
	// Truncated says that the answer was larger than 1 MiB and that the body is
	// left out: ask again with ?stream=1 if the action is one to repeat.
	Truncated bool `json:"truncated,omitempty"`
}
