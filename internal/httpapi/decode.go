package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/provider"
)

// maxQuery bounds the parameters in the address.
const maxQuery = 8 << 10

// readQuery takes exactly the parameters that a route knows, each at most once.
func readQuery(raw string, known []string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, fault.New(fault.TooLarge, "query_too_large", "The query is too long.")
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("bad_parameter", "The query is not well-formed.")
	}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, invalid("unknown_parameter", fmt.Sprintf("There is no parameter %.60q here.", name))
		case len(v) != 1:
			return nil, invalid("repeated_parameter", fmt.Sprintf("The parameter %q is there %d times; give it once.", name, len(v)))
		case !utf8.ValidString(v[0]) || strings.ContainsFunc(v[0], func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, invalid("bad_parameter", fmt.Sprintf("The parameter %q holds characters that are not text.", name))
		}
	}
	return values, nil
}

// number reads a parameter that is a number between least and most; absent it
// is otherwise.
func (c *call) number(name string, least, most, otherwise int64) (int64, error) {
	if !c.query.Has(name) {
		return otherwise, nil
	}
	text := c.query.Get(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most || strconv.FormatInt(n, 10) != text {
		return 0, invalid("bad_parameter", fmt.Sprintf("The parameter %q is a whole number from %d to %d.", name, least, most))
	}
	return n, nil
}

// after reads where a list of things with ids goes on, and how many of them are
// wanted: the cursor is the last id of the page before.
func (c *call) after(prefix string) (cursor string, limit int, err error) {
	n, err := c.number("limit", 1, 200, 100)
	if err != nil {
		return "", 0, err
	}
	if cursor = c.query.Get("cursor"); c.query.Has("cursor") && !id.Valid(prefix, cursor) {
		return "", 0, invalid("bad_parameter", `The parameter "cursor" is the "next" of the page before.`)
	}
	return cursor, int(n), nil
}

// single refuses a header that stands there more than once: two readers could
// take two of them.
func single(h http.Header, names ...string) error {
	for _, n := range names {
		if len(h.Values(n)) > 1 {
			return invalid("repeated_header", fmt.Sprintf("The header %s is there more than once.", n))
		}
	}
	return nil
}

// readBody reads a JSON object into into. What two parsers could read in two
// ways is refused before it is understood, and so is a member that the type
// does not have, in exactly this spelling.
func (c *call) readBody(into any) error {
	limits := c.route.limits
	if limits.Bytes == 0 {
		limits.Bytes = 1 << 20
	}
	if t, is := c.r.Header.Get("Content-Type"), c.r.Header.Get("Content-Encoding"); !isJSON(t) || is != "" && is != "identity" {
		return errMedia
	}
	if c.r.ContentLength > int64(limits.Bytes) {
		return errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, int64(limits.Bytes)))
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return errTooLarge
		}
		return errCut.Because(err)
	}
	if err := provider.CheckJSON(body, limits); err != nil {
		if r, ok := errors.AsType[*provider.Refusal](err); ok {
			return invalid("bad_json", "The body was refused: "+r.Detail+".")
		}
		return err
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return invalid("bad_json", "The body must be a JSON object.")
	}
	if err := checkMembers(body, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	c.body = body
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return invalid("bad_member", fmt.Sprintf("The member %.80q is of the wrong type: %s does not fit.", t.Field, t.Value))
		}
		return invalid("bad_member", "A member does not have the form that it needs: times are RFC 3339, bytes are base64.")
	}
	return nil
}

// isJSON accepts exactly application/json; a charset is tolerated if it is the
// only one that JSON has (RFC 8259 §8.1).
func isJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != api.MediaJSON {
		return false
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// checkMembers refuses members that t does not have. encoding/json takes
// "Connection" for "connection"; a reader before us may not.
func checkMembers(raw json.RawMessage, t reflect.Type, at string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct && t.Name() != "Time":
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return nil // of another type: the decoder says so
		}
		known := map[string]reflect.Type{}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			known[name] = t.Field(i).Type
		}
		for name, value := range members {
			ft, ok := known[name]
			if !ok {
				return invalid("unknown_member", fmt.Sprintf("There is no member %.80q here.", at+name))
			}
			if err := checkMembers(value, ft, at+name+"."); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		var elements []json.RawMessage
		if json.Unmarshal(raw, &elements) != nil {
			return nil
		}
		for _, e := range elements {
			if err := checkMembers(e, t.Elem(), at); err != nil {
				return err
			}
		}
	}
	return nil
}

// noBody refuses a body where none belongs: what we do not read, something
// else may take for the next request.
func (c *call) noBody() error {
	if !c.waits() {
		return nil
	}
	var b [1]byte
	if n, err := io.ReadFull(c.r.Body, b[:]); n > 0 || err != io.EOF {
		return errNoBody
	}
	return nil
}
