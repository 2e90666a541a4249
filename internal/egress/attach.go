package egress

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/secret"
)

// AttachKind says where in a request the credential goes.
type AttachKind int

// The kinds. Bearer is the zero value, and refuses to go without a credential.
const (
	Bearer   AttachKind = iota // Authorization: Bearer, RFC 6750 §2.1
	InHeader                   // a header of the provider's choice
	Basic                      // Authorization: Basic, RFC 7617
	None                       // no credential: a call that needs none
)

// Attach says how a credential is attached. It comes from the provider's spec.
type Attach struct {
	Kind AttachKind
	// Name is the header of InHeader; Prefix stands before the credential
	// there, with its space.
	Name, Prefix string
	// User is the user name of Basic.
	User string
}

// reserved are headers that no spec may put a credential into: they frame or
// route the message.
var reserved = []string{
	"Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Keep-Alive",
	"Accept-Encoding", "User-Agent", "Content-Type", "Content-Encoding",
}

// attach puts the credential into the header and returns the Redactor that
// finds it in what comes back.
func (a Attach) attach(h http.Header, credential secret.Text) (*Redactor, error) {
	if a.Kind == None {
		if !credential.IsZero() {
			return nil, refuse(ErrRequest, "a credential, and nowhere to attach it")
		}
		return NewRedactor(), nil
	}
	plain := credential.Reveal()
	if plain == "" || !fieldValue(plain) || strings.TrimSpace(plain) != plain {
		return nil, refuse(ErrRequest, "the credential is empty or cannot stand in a header")
	}
	red := NewRedactor(credential)
	switch a.Kind {
	case Bearer:
		h.Set("Authorization", "Bearer "+plain)
	case InHeader:
		name := http.CanonicalHeaderKey(a.Name)
		if !token(name) || slices.Contains(reserved, name) || !fieldValue(a.Prefix) {
			return nil, refuse(ErrRequest, "header %q for the credential", a.Name)
		}
		if _, taken := h[name]; taken {
			return nil, refuse(ErrHeader, "header %s carries the credential", name)
		}
		h.Set(name, a.Prefix+plain)
	case Basic:
		if strings.Contains(a.User, ":") || !fieldValue(a.User) { // RFC 7617 §2
			return nil, refuse(ErrRequest, "user name for the credential")
		}
		pair := base64.StdEncoding.EncodeToString([]byte(a.User + ":" + plain))
		red.literal([]byte(pair))
		h.Set("Authorization", "Basic "+pair)
	default:
		return nil, refuse(ErrRequest, "attach kind %d", a.Kind)
	}
	return red, nil
}
