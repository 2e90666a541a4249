package api

// Problem is an error of the API (RFC 9457), sent as application/problem+json.
// Programs decide by Reason; Detail is for people and may change.
type Problem struct {
	Type   string `json:"type"`             // URI of the documentation of this reason, or "about:blank"
	Title  string `json:"title"`            // the same for every problem of this status
	Status int    `json:"status"`           // the HTTP status, repeated
	Detail string `json:"detail,omitempty"` // one sentence that says what to do next
	Reason string `json:"reason"`           // stable and machine-readable: "grant_expired"
	// Instance names this occurrence; the operator's log has the same id.
	Instance string `json:"instance,omitempty"`
	// Action is the id of the action that the problem is about, if there is one.
	Action string `json:"action,omitempty"`
	// Explanation says why a policy decided so: rules, facts and the smallest
	// change that would pass, a sentence each.
	Explanation []string `json:"explanation,omitempty"`
	// RetryAfterSeconds is how long to wait before trying again, where that helps;
	// the header Retry-After says the same.
	RetryAfterSeconds int `json:"retry_after_seconds,omitempty"`
}

// Page is one page of a list. With no next page, Next is left out.
type Page[T any] struct {
	Items []T    `json:"items"`          // never null
	Next  string `json:"next,omitempty"` // opaque; send it as ?cursor= to get the following page
}

// Health is the answer of /healthz and /readyz, with status 200 or 503.
type Health struct {
	Status string `json:"status"` // "ok" or "unavailable"
	// Checks names what was looked at and how it is: "ok", or a few words that
	// are safe to show to anybody.
	Checks  map[string]string `json:"checks,omitempty"`
	Version string            `json:"version,omitempty"` // of the server, for people
}
