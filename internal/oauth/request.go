package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/fault"
)

// The limits of a request; the largest parameters are two signed tokens.
const (
	maxBody   = 64 << 10
	maxParams = 1000
	maxDepth  = 64
)

// names are the parameters that have a meaning here. Others are ignored.
var names = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "client_credential_id",
	"subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
	"connection", "login_hint", "scope", "audience", "resource", "device_code", "device_name", "token", "token_type_hint",
}

// params are the parameters of a request, one value each. They hold signed
// tokens: they are never printed.
type params map[string]string

// get returns a parameter; one without a value was not sent (RFC 6749 §3.1).
func (p params) get(name string) string { return p[name] }

func unreadable(reason, format string, args ...any) error {
	return fault.New(fault.Invalid, reason, fmt.Sprintf(format, args...))
}

// read takes the parameters from the body, a form or a JSON object, and from
// nowhere else: what stands in a URL ends up in logs (RFC 6749 §3.2).
func read(w http.ResponseWriter, r *http.Request) (params, error) {
	if r.URL.RawQuery != "" {
		return nil, unreadable("query_parameters", "Send the parameters in the body; this endpoint takes none in the URL.")
	}
	kind, err := contentType(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, fault.New(fault.TooLarge, "body_too_large", fmt.Sprintf("The body may have at most %d bytes.", maxBody))
		}
		return nil, unreadable("bad_body", "The body could not be read to its end.")
	case !utf8.Valid(body):
		return nil, unreadable("bad_body", "The body must be UTF-8.")
	case kind == mediaForm:
		return readForm(string(body))
	}
	return readJSON(body)
}

const (
	mediaForm = "application/x-www-form-urlencoded"
	mediaJSON = "application/json"
)

func contentType(h http.Header) (string, error) {
	bad := unreadable("bad_content_type", "Send application/x-www-form-urlencoded or application/json, in UTF-8 and without a content encoding.")
	values := h.Values("Content-Type")
	if len(values) != 1 || h.Get("Content-Encoding") != "" {
		return "", bad
	}
	kind, attrs, err := mime.ParseMediaType(values[0])
	if err != nil || kind != mediaForm && kind != mediaJSON {
		return "", bad
	}
	if c, ok := attrs["charset"]; ok && !strings.EqualFold(c, "utf-8") {
		return "", bad
	}
	return kind, nil
}

// collector gathers parameters and refuses what two readers could understand
// in two ways: a second value, or a name that another parser might fold into a
// known one.
type collector struct {
	params params
	seen   map[string]bool // by folded name
}

func newCollector() *collector { return &collector{params{}, map[string]bool{}} }

func (c *collector) add(name string) error {
	folded := fold(name)
	switch {
	case c.seen[folded]:
		return unreadable("repeated_parameter", "Each parameter may be sent once: one is there twice, or two names differ only in case.")
	case name != folded && slices.Contains(names, folded):
		return unreadable("misspelt_parameter", "The parameter %s must be spelt in lower case.", folded)
	case len(c.seen) == maxParams:
		return unreadable("too_many_parameters", "A request has at most %d parameters.", maxParams)
	}
	c.seen[folded] = true
	return nil
}

// set keeps the value of a parameter that means something.
func (c *collector) set(name, value string) {
	if slices.Contains(names, name) {
		c.params[name] = value
	}
}

// fold maps every rune to one of all those that differ from it only in case,
// so that the Kelvin sign is a k, as it is for encoding/json.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return unicode.ToLower(least)
	}, s)
}

func readForm(body string) (params, error) {
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, unreadable("bad_body", "The form cannot be read; check its percent encoding.")
	}
	c := newCollector()
	for name, v := range values {
		for range v {
			if err := c.add(name); err != nil {
				return nil, err
			}
		}
		if !utf8.ValidString(name + v[0]) {
			return nil, unreadable("bad_body", "The form must be UTF-8.")
		}
		c.set(name, v[0])
	}
	return c.params, nil
}

var errNotObject = unreadable("bad_body", "The body must be one JSON object.")

// readJSON reads a JSON object by its tokens: decoding it into a struct would
// take the last of two members, and any spelling of a name.
func readJSON(body []byte) (params, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	c := newCollector()
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotObject
		}
		if err := c.add(name); err != nil {
			return nil, err
		}
		t, err = dec.Token()
		if err != nil {
			return nil, errNotObject
		}
		switch v := t.(type) {
		case string:
			c.set(name, v)
		case nil: // as good as left out
		default:
			if slices.Contains(names, name) {
				return nil, unreadable("bad_parameter", "The parameter %s must be a string.", name)
			}
			if err := skip(dec, t); err != nil {
				return nil, err
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotObject
	}
	return c.params, nil
}

// skip passes over the rest of a value that begins with t.
func skip(dec *json.Decoder, t json.Token) error {
	for depth := 0; ; {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		if depth >= maxDepth {
			return unreadable("bad_body", "The JSON is nested too deep.")
		}
		var err error
		if t, err = dec.Token(); err != nil {
			return errNotObject
		}
	}
}
