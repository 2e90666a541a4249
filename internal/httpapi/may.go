package httpapi

import (
	"github.com/valetkey/valetkey/internal/user"
)

// mayLook says whether p may look at the whole deployment: its people, its
// record, how it is set up. Owners and admins may, auditors are there for it,
// and the operator could read the files anyway.
func mayLook(p user.Principal) error {
	if p.Operator || p.Role.Manages() || p.Role == user.Auditor {
		return nil
	}
	return user.ErrNotOwner
}
