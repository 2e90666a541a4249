package broker

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// missingScope is the reason of what failed, or was not tried, for want of a
// scope.
const missingScope = "missing_scope"

// lack is what a connection's token lacks for an operation.
type lack struct {
	scopes  []string
	certain bool // the provider would refuse for it
	said    string
	remedy  string // who has to do what
}

// lacks compares what an operation needs with what the connection was granted.
// Where the granted scopes are not known nothing is missing: a token whose
// provider goes by permissions is judged by the provider alone.
func lacks(con *vault.Connection, spec *provider.Spec, m *provider.Match) lack {
	missing, certain := spec.Missing(m, con.Scopes)
	if len(missing) == 0 {
		return lack{}
	}
	said := "the scope " + missing[0]
	if len(missing) > 1 {
		said = "the scopes " + strings.Join(missing, ", ")
	}
	remedy := "its owner has to connect the account again and ask for that, under Scopes on the connections page"
	if con.Kind == vault.ByPaste {
		remedy = "its owner has to paste one that has it, or log in at " + spec.Name + " instead"
	}
	l := lack{scopes: missing, certain: certain, remedy: remedy}
	if certain {
		l.said = fmt.Sprintf("%s needs %s at %s, which the token of this connection does not have.", m.Operation, said, spec.Name)
	} else {
		l.said = fmt.Sprintf("The token of this connection does not have %s: %s will refuse the call unless what it touches is public.", said, spec.Name)
	}
	return l
}

// refusal refuses what the provider would, before anybody is woken for it.
func (l lack) refusal() error {
	if !l.certain {
		return nil
	}
	return fault.New(fault.Forbidden, missingScope, l.said+" Nobody was asked and nothing was sent; "+l.remedy+".")
}

// waits says the same of what a person has approved already: the scope was there
// when they were asked.
func (l lack) waits() error {
	return fault.New(fault.Conflict, missingScope, l.said+" It was approved, and nothing was sent; until the approval ends it waits: "+l.remedy+".")
}

// warning tells a person who is asked that the call may fail.
func (l lack) warning() string {
	if l.certain {
		return ""
	}
	return l.said
}
