package seal

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Purpose is what a key is for. No key serves two purposes.
type Purpose string

// The purposes. The first three have many data keys; each of the others has
// one key or secret per deployment.
const (
	Connection   Purpose = "connection"    // the tokens of one connection
	Payload      Purpose = "payload"       // bodies and responses of one org and UTC day
	Config       Purpose = "config"        // one org's configuration, such as client secrets
	AuditSigning Purpose = "audit_signing" // signs checkpoints
	TokenSigning Purpose = "token_signing" // signs tokens that we issue
	RowAuth      Purpose = "row_auth"      // authenticates rows that carry authority
	Session      Purpose = "session"       // cursors and other short-lived values that we hand out
)

// Name names a data key, "connection/con_…", and is what the store keeps its
// wrapped form under.
type Name string

// ConnectionKey names the key of one connection's tokens. Shredding it is
// what makes a disconnection final.
func ConnectionKey(c id.Connection) Name { return Name(string(Connection) + "/" + string(c)) }

// PayloadKey names the key of an org's payloads of one UTC day, so that
// retention can shred them a day at a time.
func PayloadKey(org id.Org, at time.Time) Name {
	return Name(string(Payload) + "/" + string(org) + "/" + at.UTC().Format(time.DateOnly))
}

// ConfigKey names the key of an org's configuration.
func ConfigKey(org id.Org) Name { return Name(string(Config) + "/" + string(org)) }

// Purpose returns the purpose that the name begins with.
func (n Name) Purpose() Purpose {
	p, _, _ := strings.Cut(string(n), "/")
	return Purpose(p)
}

// parts says how many parts follow the purpose in a data key's name.
func (p Purpose) parts() int {
	switch p {
	case Connection, Config:
		return 1
	case Payload:
		return 2
	}
	return 0
}

// check refuses names that no constructor makes. A name is taken from a row
// when it is opened, and rows may have been tampered with.
func (n Name) check() error {
	parts := strings.Split(string(n), "/")
	bad := len(n) > 200 || n.Purpose().parts() == 0 || len(parts) != 1+n.Purpose().parts()
	for _, p := range parts {
		bad = bad || p == ""
	}
	for i := range len(n) {
		bad = bad || n[i] <= ' ' || n[i] > '~'
	}
	if bad {
		return fmt.Errorf("no data key has the name %q", string(n[:min(len(n), 80)]))
	}
	return nil
}

// Place is where a sealed value stands: the data key it is sealed under, and
// the cell of the database that it belongs to and opens in only.
type Place struct {
	Key    Name
	Org    id.Org
	Table  string
	Row    string
	Column string
}

// associated returns the associated data: format, org, table, row, column,
// each with its length in front, so that no two places have the same.
func (p Place) associated() []byte {
	return framed("valetkey sealed value 1", string(p.Org), p.Table, p.Row, p.Column)
}

// framed writes each part with its length in front.
func framed(parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += 4 + len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// detail returns a copy of a fault with a detail that names what it is about.
func detail(f *fault.Error, format string, args ...any) error {
	return fault.New(f.Kind, f.Reason, fmt.Sprintf(format, args...))
}
