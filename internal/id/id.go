// Package id has a type for each kind of identifier, so that the compiler
// refuses an agent where a connection is meant.
//
// An id is a prefix, an underscore and 26 characters of Crockford's base32:
// 128 bits, of which the first 48 are the creation time in milliseconds and
// the rest random. They sort by creation, which keeps indexes local; they are
// no secrets, and nothing may rely on their being hard to guess.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// The kinds of id.
type (
	Org        string // org_…
	User       string // usr_…
	Agent      string // agt_…
	Key        string // key_…, an agent's public key
	Passkey    string // pky_…
	Session    string // ses_…, a browser session's public handle
	Token      string // tok_…, an API token that we issued
	Connection string // con_…
	Grant      string // grt_…
	Action     string // act_…
	Approval   string // apr_…
	Policy     string // pol_…
	Freeze     string // frz_…
	Flow       string // flw_…, an account being connected
	Proposal   string // prp_…, a change that waits for a passkey
	Identity   string // idn_…, who a person is at the identity provider
	Group      string // grp_…, people whom rules name together
	Relief     string // rlf_…, what a person let pass beforehand
)

// DefaultOrg is the one org that exists from the start.
const DefaultOrg Org = "org_default"

const length = 26

var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// kind is every type above.
type kind interface{ ~string }

func mint[T kind](prefix string) T {
	var b [16]byte
	rand.Read(b[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(b[:6], ms[2:])
	return T(prefix + "_" + encoding.EncodeToString(b[:]))
}

// NewUser and its siblings mint a fresh id.
func NewUser() User             { return mint[User]("usr") }
func NewAgent() Agent           { return mint[Agent]("agt") }
func NewKey() Key               { return mint[Key]("key") }
func NewPasskey() Passkey       { return mint[Passkey]("pky") }
func NewSession() Session       { return mint[Session]("ses") }
func NewToken() Token           { return mint[Token]("tok") }
func NewConnection() Connection { return mint[Connection]("con") }
func NewGrant() Grant           { return mint[Grant]("grt") }
func NewAction() Action         { return mint[Action]("act") }
func NewApproval() Approval     { return mint[Approval]("apr") }
func NewPolicy() Policy         { return mint[Policy]("pol") }
func NewFreeze() Freeze         { return mint[Freeze]("frz") }
func NewFlow() Flow             { return mint[Flow]("flw") }
func NewProposal() Proposal     { return mint[Proposal]("prp") }
func NewIdentity() Identity     { return mint[Identity]("idn") }
func NewGroup() Group           { return mint[Group]("grp") }
func NewRelief() Relief         { return mint[Relief]("rlf") }

// Valid reports whether s is a well-formed id with the given prefix ("agt").
// It is for parsing input: a malformed id never reaches a query.
func Valid(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix+"_")
	if !ok || len(rest) != length {
		return false
	}
	b, err := encoding.DecodeString(rest)
	return err == nil && encoding.EncodeToString(b) == rest
}
