package dash

import "time"

// YouPage is how one person gets in, and from where they are in.
type YouPage struct {
	Chrome
	Host       string
	Passkeys   []PasskeyRow
	HasPasskey bool
	Usable     bool // passkeys work on this server at all
	Fresh      bool // presence was proved within the last minutes
	Sessions   []SessionRow
	Terminals  []SessionRow
	CodesLeft  int
	CodesSince time.Time
	Provider   string // the identity provider's name; "" when there is none
	Identities []IdentityRow
}

// PasskeyRow is one passkey of the reader.
type PasskeyRow struct {
	ID, Name          string
	CreatedAt, UsedAt time.Time
	Rests             bool   // decides nothing critical yet
	Elsewhere         string // the host name that it was made for, if it is another
	Last              bool   // it cannot be removed
}

// SessionRow is one login of the reader.
type SessionRow struct {
	ID, Label, Place, How        string
	CreatedAt, SeenAt, ExpiresAt time.Time
	This                         bool
}

// IdentityRow is an account of the reader at the identity provider.
type IdentityRow struct {
	ID, Label, Issuer string
	CreatedAt, UsedAt time.Time
	Rests             bool
}

// PeoplePage is everybody.
type PeoplePage struct {
	Chrome
	People []PersonRow
	// Manages and Rules choose which buttons are offered: who may let people in,
	// and who may change roles.
	Manages, Rules bool
	Roles          []string
}

// PersonRow is one person.
type PersonRow struct {
	ID, Name, Role, Status string
	Passkeys, Identities   int
	CreatedAt              time.Time
	Invited                time.Time // until when the newest enrolment link works; zero without one
	Self                   bool
	Touchable              bool // the reader may let them in and shut them out
}

// RecoverPage asks for a recovery code.
type RecoverPage struct {
	Chrome
	Usable bool
}
