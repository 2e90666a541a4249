package provider

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Identity is the call that says whose account a fresh connection is.
type Identity struct {
	Method  string            `yaml:"method,omitempty"` // GET if empty
	URL     string            `yaml:"url,omitempty"`
	Headers map[string]string `yaml:"headers,omitempty"`
	// Paths of members in the answer, nested ones with dots: "viewer.id".
	ID     string `yaml:"id,omitempty"`     // never changes hands; what a connection is pinned to
	Label  string `yaml:"label,omitempty"`  // what people call the account
	Tenant string `yaml:"tenant,omitempty"` // workspace or organization, where there is one
}

// Account is whose credential it is.
type Account struct{ ID, Label, Tenant string }

// Read takes the account out of the answer. An answer without an id is an
// error: a connection that is pinned to nothing would accept anybody.
func (i Identity) Read(body []byte) (Account, error) {
	v, err := parseJSON(body, Limits{Values: 100_000})
	if err != nil {
		return Account{}, fmt.Errorf("read identity: %w", err)
	}
	a := Account{ID: pick(v, i.ID), Label: pick(v, i.Label), Tenant: pick(v, i.Tenant)}
	if a.ID == "" {
		return Account{}, fmt.Errorf("read identity: the answer has no %q", i.ID)
	}
	return a, nil
}

// pick is the string or number at path, or "".
func pick(v any, path string) string {
	if path == "" {
		return ""
	}
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	}
	return ""
}
