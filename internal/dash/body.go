package dash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits of what one page shows. What is left out is always counted.
const (
	maxNodes = 2000  // nodes of a body tree
	maxDepth = 40    // nesting of a body tree
	maxText  = 4000  // characters of one string before "n more"
	maxBytes = 16384 // bytes of the exact view
)

// Body is a request body in the forms in which a person can check it: a tree
// where the format is understood, and always the exact bytes.
type Body struct {
	Size        int64
	SHA256      string // hex
	ContentType string
	Form        string // "json", "form", "text", "binary", "none"
	Tree        *Node  // for "json" and "form"
	Text        string // the bytes, when they are text, up to maxBytes
	Dump        []DumpLine
	Left        int64 // bytes beyond those shown in Text or Dump
	// Opaque says why the body could not be read as what it claims to be. An
	// opaque body is "not inspectable" and must not be approved as harmless.
	Opaque string
}

// Node is a value of a body tree. Kind is "object", "array", "string",
// "number", "bool" or "null".
type Node struct {
	Key      string
	HasKey   bool
	Kind     string
	Text     string // a scalar: strings decoded, numbers exactly as written
	Children []*Node
	Left     int // children beyond those shown
}

// DumpLine is sixteen bytes of a body that is not text.
type DumpLine struct{ Offset, Hex, ASCII string }

// NewBody reads body for showing. It never fails: what cannot be understood
// is shown as bytes and named opaque.
func NewBody(contentType string, body []byte) Body {
	sum := sha256.Sum256(body)
	b := Body{Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:]), ContentType: contentType, Form: "none"}
	if len(body) == 0 {
		return b
	}
	shown := body
	if len(shown) > maxBytes {
		shown = shown[:maxBytes]
		for len(shown) > 0 && !utf8.RuneStart(body[len(shown)]) {
			shown = shown[:len(shown)-1] // do not cut a character in two
		}
		b.Left = int64(len(body) - len(shown))
	}
	if utf8.Valid(body) && !bytes.ContainsRune(body, 0) {
		b.Form, b.Text = "text", string(shown)
	} else {
		b.Form, b.Dump = "binary", dump(shown)
		b.Opaque = "The body is not text."
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = ""
	}
	switch {
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		tree, err := parseJSON(body)
		if err != nil {
			b.Opaque = "The body says it is JSON but cannot be read as JSON: " + err.Error() + "."
			return b
		}
		b.Form, b.Tree = "json", tree
	case media == "application/x-www-form-urlencoded":
		tree, err := parseForm(string(body))
		if err != nil {
			b.Opaque = "The body says it is a form but cannot be read as one."
			return b
		}
		b.Form, b.Tree = "form", tree
	case b.Form == "text" && media != "" && !strings.HasPrefix(media, "text/"):
		b.Opaque = "Nothing here knows how to read " + media + "."
	}
	return b
}

var (
	errDuplicate = errors.New("a member appears twice")
	errDeep      = fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	errTrailing  = errors.New("something follows the value")
	errSyntax    = errors.New("its syntax is wrong")
)

// parseJSON keeps members in their order, numbers as written, and refuses
// what different readers understand differently.
func parseJSON(body []byte) (*Node, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	p := &jsonTree{dec: dec, budget: maxNodes}
	n, err := p.value(0)
	if err != nil {
		if errors.Is(err, errDuplicate) || errors.Is(err, errDeep) {
			return nil, err
		}
		return nil, errSyntax
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return n, nil
}

type jsonTree struct {
	dec    *json.Decoder
	budget int // nodes that may still be kept; the rest is read and counted
}

func (p *jsonTree) value(depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	p.budget--
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case string:
		return &Node{Kind: "string", Text: v}, nil
	case json.Number:
		return &Node{Kind: "number", Text: v.String()}, nil
	case bool:
		return &Node{Kind: "bool", Text: fmt.Sprint(v)}, nil
	default:
		return &Node{Kind: "null", Text: "null"}, nil
	}
}

func (p *jsonTree) object(depth int) (*Node, error) {
	n, seen := &Node{Kind: "object"}, map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, errSyntax
		}
		if seen[key] {
			return nil, errDuplicate
		}
		seen[key] = true
		child, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		child.Key, child.HasKey = key, true
		p.keep(n, child)
	}
	_, err := p.dec.Token()
	return n, err
}

func (p *jsonTree) array(depth int) (*Node, error) {
	n := &Node{Kind: "array"}
	for p.dec.More() {
		child, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.keep(n, child)
	}
	_, err := p.dec.Token()
	return n, err
}

func (p *jsonTree) keep(n, child *Node) {
	if p.budget < 0 {
		n.Left++
		return
	}
	n.Children = append(n.Children, child)
}

// parseForm keeps the order of the fields and shows repeated names as often
// as they stand there.
func parseForm(body string) (*Node, error) {
	n := &Node{Kind: "object"}
	for _, pair := range strings.Split(body, "&") {
		name, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("decode a form field's name: %w", err)
		}
		text, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("decode a form field: %w", err)
		}
		if len(n.Children) >= maxNodes {
			n.Left++
			continue
		}
		n.Children = append(n.Children, &Node{Key: key, HasKey: true, Kind: "string", Text: text})
	}
	return n, nil
}

func dump(b []byte) []DumpLine {
	var lines []DumpLine
	for at := 0; at < len(b); at += 16 {
		row := b[at:min(at+16, len(b))]
		ascii := make([]byte, len(row))
		for i, c := range row {
			ascii[i] = '.'
			if c >= 0x20 && c < 0x7F {
				ascii[i] = c
			}
		}
		lines = append(lines, DumpLine{fmt.Sprintf("%06x", at), fmt.Sprintf("% x", row), string(ascii)})
	}
	return lines
}
