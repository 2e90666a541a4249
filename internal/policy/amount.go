package policy

import (
	"math"
	"strconv"
	"strings"
)

// unbounded is the number of cents of an amount that we do not know: above
// every threshold, so that a rule written for large amounts holds.
const unbounded = math.MaxInt64

// cents gives the amounts of in as rules see them, in hundredths of the
// currency's main unit. No amount is 0, an unknown one is unbounded.
func (in *Input) cents() (value, transfer int64) {
	a := in.Amount
	if a == nil {
		return 0, 0
	}
	n := int64(unbounded)
	if !a.Unknown {
		n = hundredths(a.Number)
	}
	switch a.Kind {
	case Value:
		return n, 0
	case Transfer:
		return 0, n
	}
	return n, n
}

// hundredths reads a plain decimal. What is finer than a hundredth rounds up,
// so that 500.001 is above 500; what is negative, too long or no plain decimal
// is unbounded.
func hundredths(s string) int64 {
	if !plain(s) {
		return unbounded
	}
	whole, frac, _ := strings.Cut(s, ".")
	cents := (frac + "00")[:2]
	n, err := strconv.ParseInt(whole+cents, 10, 64)
	if err != nil {
		return unbounded
	}
	if len(frac) > 2 && strings.Trim(frac[2:], "0") != "" && n < unbounded {
		n++
	}
	return n
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Less reports whether the amount b is larger than a, exactly. What is no plain
// decimal is larger than everything that is one.
func Less(a, b string) bool {
	if !plain(b) {
		return plain(a)
	}
	if !plain(a) {
		return false
	}
	aw, af, _ := strings.Cut(a, ".")
	bw, bf, _ := strings.Cut(b, ".")
	aw, bw = strings.TrimLeft(aw, "0"), strings.TrimLeft(bw, "0")
	if len(aw) != len(bw) {
		return len(aw) < len(bw)
	}
	if aw != bw {
		return aw < bw
	}
	// As fractions, shorter ones end in zeros that are not written.
	return strings.TrimRight(af, "0") < strings.TrimRight(bf, "0")
}

// plain reports whether s is a plain decimal, however large.
func plain(s string) bool {
	whole, frac, dot := strings.Cut(s, ".")
	return len(s) <= 64 && digits(whole) && (!dot || digits(frac))
}

// money writes cents for people: 50000 is "500", 49999 is "499.99".
func money(cents int64, currency string) string {
	s := strconv.FormatInt(cents/100, 10)
	if rest := cents % 100; rest != 0 {
		s += "." + string([]byte{'0' + byte(rest/10), '0' + byte(rest%10)})
	}
	if currency != "" {
		s += " " + currency
	}
	return s
}
