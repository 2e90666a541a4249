package api

import "time"

// Passkey is one of the caller's own.
type Passkey struct {
	ID        string    `json:"id"` // pky_…
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	Rests     bool      `json:"rests"`          // it decides nothing critical in its first day
	Host      string    `json:"host,omitempty"` // the host name that it was made for
}

// PasskeyChange renames a passkey. It is removed in the browser, by a touch for
// just that.
type PasskeyChange struct {
	Name string `json:"name"`
}

// Session is one of the caller's own logins.
type Session struct {
	ID        string    `json:"id"`   // ses_…
	Kind      string    `json:"kind"` // "browser" or "cli"
	Label     string    `json:"label"`
	Place     string    `json:"place,omitempty"` // the address that it was opened from
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Current   bool      `json:"current"` // the one that asks
}

// SessionsEnded says how many sessions have ended.
type SessionsEnded struct {
	Ended int `json:"ended"`
}

// LinksVoided says how many enrolment links let nobody in any more.
type LinksVoided struct {
	Voided int `json:"voided"`
}
