package provider

import "fmt"

// Risk is how much harm a request can do. The zero value is no risk level at
// all, so that a forgotten one is noticed instead of being taken for low.
type Risk int

// The levels, in order. As shipped: low is permitted, medium and high ask a
// human, critical asks for presence.
const (
	Low      Risk = 1
	Medium   Risk = 2
	High     Risk = 3
	Critical Risk = 4
)

var riskWords = [...]string{Low: "low", Medium: "medium", High: "high", Critical: "critical"}

// String is the word for r, as policies and pages say it.
func (r Risk) String() string {
	if r < Low || r > Critical {
		return fmt.Sprintf("risk(%d)", int(r))
	}
	return riskWords[r]
}

// ParseRisk reads one of the four words.
func ParseRisk(s string) (Risk, error) {
	for r := Low; r <= Critical; r++ {
		if riskWords[r] == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("provider: %q is no risk: want low, medium, high or critical", s)
}

// MarshalText writes the word. An invalid level is an error, so that it is
// never stored.
func (r Risk) MarshalText() ([]byte, error) {
	if r < Low || r > Critical {
		return nil, fmt.Errorf("provider: %d is no risk level", int(r))
	}
	return []byte(riskWords[r]), nil
}

// UnmarshalText reads the word.
func (r *Risk) UnmarshalText(b []byte) error {
	v, err := ParseRisk(string(b))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Max is the higher of the two: risk is only ever raised.
func (r Risk) Max(o Risk) Risk { return max(r, o) }
