package provider

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// canonicalJSON writes v in the form of RFC 8785: no blanks, members sorted by
// UTF-16 code units (§3.2.3), shortest escapes (§3.2.2.2), numbers as ECMAScript
// writes them (§3.2.2.3). It knows nil, bool, string, int, int64, float64,
// json.Number, slices and maps of these, and refuses everything else, numbers
// outside of ±2^53 among them.
func canonicalJSON(v any) ([]byte, error) { return appendJSON(nil, v, 0) }

func appendJSON(b []byte, v any, depth int) ([]byte, error) {
	if depth > 64 {
		return nil, refuse(BadJSON, "a value is nested deeper than 64")
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v)
	case int:
		return appendInt(b, int64(v))
	case int64:
		return appendInt(b, v)
	case float64:
		return appendFloat(b, v)
	case json.Number:
		if !exact(string(v)) {
			return nil, refuse(BadJSON, "a number is outside of ±2^53 or too small to keep")
		}
		f, err := v.Float64()
		if err != nil {
			return nil, refuse(BadJSON, "%q is no number", clip(string(v), 40))
		}
		return appendFloat(b, f)
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendString(b, s); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		return appendObject(b, v, depth)
	default:
		return nil, refuse(BadJSON, "a value of type %T cannot be written as JSON", v)
	}
}

func appendObject(b []byte, m map[string]any, depth int) ([]byte, error) {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.SortFunc(names, func(x, y string) int {
		return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y)))
	})
	b = append(b, '{')
	for i, k := range names {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendString(b, k); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendJSON(b, m[k], depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendString(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, refuse(BadJSON, "a text is not valid UTF-8")
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		default:
			if at := strings.IndexByte("\b\t\n\f\r", c); at >= 0 {
				b = append(b, '\\', "btnfr"[at])
			} else {
				b = fmt.Appendf(b, `\u%04x`, c)
			}
		}
	}
	return append(b, '"'), nil
}

func appendInt(b []byte, i int64) ([]byte, error) {
	if i < -maxExact || i > maxExact {
		return nil, refuse(BadJSON, "the number %d is outside of ±2^53", i)
	}
	return strconv.AppendInt(b, i, 10), nil
}

func appendFloat(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.Abs(f) > maxExact {
		return nil, refuse(BadJSON, "a number is outside of ±2^53")
	}
	if f == 0 {
		return append(b, '0'), nil // minus zero has one canonical form
	}
	if math.Abs(f) >= 1e-6 {
		return strconv.AppendFloat(b, f, 'f', -1, 64), nil
	}
	// ECMAScript writes 1e-7, strconv 1e-07.
	e := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(e, "e-")
	return append(b, mantissa+"e-"+strings.TrimLeft(exponent, "0")...), nil
}
