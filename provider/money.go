package provider

import (
	"regexp"
	"strings"
)

// Meaning says what an amount of money means.
type Meaning string

// The meanings.
const (
	Value    Meaning = "value"    // what is at stake, as in a bounty
	Transfer Meaning = "transfer" // money that moves
)

// Money says where a request names an amount. Providers that count in cents say
// so with Minor.
type Money struct {
	Meaning  Meaning `yaml:"meaning"`
	At       string  `yaml:"at"`                 // member of the body: "amount.value"
	Currency string  `yaml:"currency,omitempty"` // a code in upper case, or the member that holds it
	Minor    int     `yaml:"minor,omitempty"`    // decimal places to move the point by
}

// Amount is the money that a request names, exactly as it names it.
type Amount struct {
	Meaning  Meaning
	Value    string // decimal without grouping or exponent, "" if Unknown
	Currency string // "USD"
	Unknown  bool   // money moves, and we cannot say how much: counts as above every threshold
}

var (
	decimal  = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?$`)
	currency = regexp.MustCompile(`^[A-Z]{3,5}$`)
)

func (y *Money) read(in *values) *Amount {
	a := &Amount{Meaning: y.Meaning, Currency: y.Currency, Unknown: true}
	if !currency.MatchString(y.Currency) {
		v, _ := in.at(string(InBody), y.Currency)
		s, _ := v.(string)
		a.Currency = strings.ToUpper(s)
	}
	v, there := in.at(string(InBody), y.At)
	s, ok := text(v)
	if !there || !ok || !decimal.MatchString(s) || !currency.MatchString(a.Currency) {
		return a
	}
	a.Value, a.Unknown = shift(s, y.Minor), false
	return a
}

// shift moves the decimal point n places to the left, without arithmetic.
func shift(s string, n int) string {
	whole, fraction, _ := strings.Cut(s, ".")
	for range n {
		if whole == "" {
			whole = "0"
		}
		fraction = whole[len(whole)-1:] + fraction
		whole = whole[:len(whole)-1]
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
