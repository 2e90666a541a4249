package display

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Host writes a host name in ASCII: labels with other letters in punycode
// (RFC 3492) behind "xn--", so that a look-alike cannot pass for the name it
// imitates. It is for showing, not for connecting: nothing is mapped or
// validated beyond lower-casing those labels, and a label that cannot be
// encoded is shown by [VisibleText].
func Host(host string) string {
	labels := strings.Split(host, ".")
	for i, l := range labels {
		if strings.IndexFunc(l, func(r rune) bool { return r >= 0x80 }) < 0 {
			labels[i] = VisibleText(l)
			continue
		}
		if p, ok := punycode(l); ok {
			labels[i] = "xn--" + VisibleText(p)
		} else {
			labels[i] = VisibleText(l)
		}
	}
	return strings.Join(labels, ".")
}

// The parameters of RFC 3492 §5.
const (
	punyBase        = 36
	punyTMin        = 1
	punyTMax        = 26
	punySkew        = 38
	punyDamp        = 700
	punyInitialBias = 72
	punyInitialN    = 128
	punyMaxLabel    = 256 // characters; far above DNS, far below an overflow
)

// punycode encodes one label (RFC 3492 §6.3).
func punycode(label string) (string, bool) {
	if !utf8.ValidString(label) || utf8.RuneCountInString(label) > punyMaxLabel {
		return "", false
	}
	runes := []rune(strings.ToLower(label))
	var out []byte
	for _, r := range runes {
		if r < 0x80 {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias, done := rune(punyInitialN), 0, punyInitialBias, basic
	for done < len(runes) {
		next := rune(unicode.MaxRune)
		for _, r := range runes {
			if r >= n && r < next {
				next = r
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range runes {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := punyBase; ; k += punyBase {
				t := min(max(k-bias, punyTMin), punyTMax)
				if q < t {
					break
				}
				out = append(out, punyDigit(t+(q-t)%(punyBase-t)))
				q = (q - t) / (punyBase - t)
			}
			out = append(out, punyDigit(q))
			bias = punyAdapt(delta, done+1, done == basic)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out), true
}

// punyAdapt is the bias function of RFC 3492 §6.1.
func punyAdapt(delta, points int, first bool) int {
	if first {
		delta /= punyDamp
	} else {
		delta /= 2
	}
	delta += delta / points
	k := 0
	for ; delta > (punyBase-punyTMin)*punyTMax/2; k += punyBase {
		delta /= punyBase - punyTMin
	}
	return k + (punyBase-punyTMin+1)*delta/(delta+punySkew)
}

func punyDigit(d int) byte {
	if d < 26 {
		return byte('a' + d)
	}
	return byte('0' + d - 26)
}
