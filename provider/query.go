package provider

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxQuery      = 16 << 10
	maxQueryPairs = 100
)

// ParseQuery reads a raw query strictly. It refuses ";", broken escapes, control
// characters, invalid UTF-8, characters that must be escaped, empty pairs and
// keys spelled with escapes that they do not need. It reports keys that occur more
// than once, also where they differ only in case: providers disagree about which
// one counts. "+" is a space, as in HTML forms.
func ParseQuery(raw string) (values url.Values, duplicates []string, err error) {
	if len(raw) > maxQuery {
		return nil, nil, refuse(BadQuery, "the query is longer than %d bytes", maxQuery)
	}
	values = url.Values{}
	if raw == "" {
		return values, nil, nil
	}
	pairs := strings.Split(raw, "&")
	if len(pairs) > maxQueryPairs {
		return nil, nil, refuse(BadQuery, "the query has more than %d parameters", maxQueryPairs)
	}
	seen := make(map[string]bool, len(pairs))
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		key, err := decodeQuery(k, true)
		if err != nil {
			return nil, nil, err
		}
		if key == "" {
			return nil, nil, refuse(BadQuery, "the query holds a parameter without a name")
		}
		value, err := decodeQuery(v, false)
		if err != nil {
			return nil, nil, err
		}
		if f := foldName(key); seen[f] {
			if !slices.Contains(duplicates, key) {
				duplicates = append(duplicates, key)
			}
		} else {
			seen[f] = true
		}
		values[key] = append(values[key], value)
	}
	return values, duplicates, nil
}

func decodeQuery(s string, key bool) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			b.WriteByte(' ')
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", refuse(BadQuery, "the query holds a broken escape")
			}
			d := unhex(s[i+1])<<4 | unhex(s[i+2])
			if key && unreserved(d) {
				return "", refuse(BadQuery, "the query spells %q in the name of a parameter as an escape, which it does not need", d)
			}
			if d < 0x20 || d == 0x7f {
				return "", refuse(BadQuery, "the query holds a control character")
			}
			b.WriteByte(d)
			i += 2
		case pathRaw(c) || strings.IndexByte("/?[]", c) >= 0:
			b.WriteByte(c)
		default:
			return "", refuse(BadQuery, "the query holds %q, which must not stand there as it is", c)
		}
	}
	out := b.String()
	if !utf8.ValidString(out) {
		return "", refuse(BadQuery, "the query is not valid UTF-8")
	}
	if key {
		for _, r := range out {
			if hidden(r) {
				return "", refuse(BadQuery, "the name of a query parameter holds %U, which cannot be seen", r)
			}
		}
	}
	return out, nil
}

// Names that ask a provider to take the request for another method, in the
// query, in a form or at the top of a JSON body.
var overrideNames = []string{"_method", "x-http-method-override", "x-http-method", "x-method-override", "$httpmethod"}

// Names under which providers take a credential or wrap the answer for a script.
var credentialNames = []string{
	"access_token", "refresh_token", "id_token", "client_secret", "client_assertion", "private_token", "personal_access_token",
	"api_key", "apikey", "oauth_token", "bearer_token", "auth_token", "authorization", "token", "jwt",
}
var scriptNames = []string{"callback", "jsonp"}

// checkQueryNames refuses parameters that change who is asking or what is
// asked. declared are the parameters of the operation: what the catalogue lists is
// no surprise.
func checkQueryNames(q url.Values, declared func(string) bool) error {
	for k := range q {
		if declared(k) {
			continue
		}
		f := strings.ReplaceAll(foldName(k), "-", "_")
		switch {
		case isOverride(k):
			return refuse(Override, "the query parameter %q asks for another method", k)
		case slices.Contains(credentialNames, f):
			return refuse(Smuggled, "the query parameter %q carries a credential; the broker attaches the only one", k)
		case slices.Contains(scriptNames, f):
			return refuse(BadQuery, "the query parameter %q wraps the answer into a script", k)
		}
	}
	return nil
}

func isOverride(name string) bool { return slices.Contains(overrideNames, foldName(name)) }
