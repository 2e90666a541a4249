package approval

import (
	"encoding/json"

	"github.com/valetkey/valetkey/internal/user"
)

// signInOf reads evidence of a fresh login at an identity provider, if that is
// what it is.
func signInOf(raw []byte) (*user.SignInEvidence, bool) {
	var e user.SignInEvidence
	if len(raw) == 0 || !user.IsSignIn(raw) || json.Unmarshal(raw, &e) != nil {
		return nil, false
	}
	return &e, true
}

// signIn is the identity provider's signature: what the server could not have
// made by itself, as far as the key is really the provider's. That is not in the
// receipt, so the chain leans there. It says whether the answer has what its
// question demands.
func (c *check) signIn(asked *Approval, d *ReceiptDecision, decided int64) bool {
	e, ok := signInOf(d.Evidence)
	if !ok {
		c.link("presence", Broken, "the evidence cannot be read")
		return false
	}
	if err := e.Check(asked.Digest(d.Answer)); err != nil || e.User != d.By {
		c.link("presence", Broken, "the login does not prove it: %v", err)
		return false
	}
	c.link("presence", Holds, "%q logged in anew at %s for this very decision", e.Subject, e.Issuer)
	linked, ok := c.events["identity.linked "+string(e.Identity)]
	switch {
	case !ok:
		c.link("key", Leans, "the receipt does not show when the account was linked; compare the key with those that %s publishes", e.Issuer)
	case linked.Subject != string(d.By) || linked.Data["account"] != user.AccountHash(e.Issuer, e.Subject):
		c.link("key", Broken, "event %d linked another account, or to somebody else", linked.Seq)
		return false
	case linked.Seq >= decided:
		c.link("key", Broken, "the account was linked after the decision")
		return false
	default:
		c.link("key", Leans, "the account was linked to %s as event %d, before the decision; compare the key with those that %s publishes", d.By, linked.Seq, e.Issuer)
	}
	return true
}
