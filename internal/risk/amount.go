package risk

import (
	"math/big"
	"regexp"

	"github.com/valetkey/valetkey/provider"
)

// Threshold is how much is little, unless told otherwise.
const Threshold = "500"

// amount looks at money. A meaning that we do not know is taken for a transfer.
func (a *Assessment) amount(m *provider.Amount, limit string) {
	if m == nil {
		return
	}
	level, verb := Critical, "moves"
	if m.Meaning == provider.Value {
		level, verb = Medium, "has at stake"
	}
	if limit == "" {
		limit = Threshold
	}
	n, known := decimal(m.Value)
	most, ok := decimal(limit)
	unit := ""
	if m.Currency != "" {
		unit = " " + m.Currency
	}
	switch {
	case m.Unknown || !known:
		a.to(level, "It %s an amount that we cannot tell, which counts as above %s%s", verb, limit, unit)
	case !ok:
		a.to(level, "It %s %s%s and the threshold %q is no number", verb, m.Value, unit, limit)
	case n.Cmp(most) > 0:
		a.to(level, "It %s %s%s, above %s", verb, m.Value, unit, limit)
	default:
		a.to(a.Level, "It %s %s%s, not above %s", verb, m.Value, unit, limit)
	}
}

var reDecimal = regexp.MustCompile(`^[0-9]{1,40}(\.[0-9]{1,20})?$`)

// decimal reads a plain decimal exactly. Signs, exponents and separators are
// not read: a figure that two readers could take differently is none.
func decimal(s string) (*big.Rat, bool) {
	if !reDecimal.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}
