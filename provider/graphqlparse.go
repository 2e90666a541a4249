package provider

import "strings"

const (
	maxTokens = 50_000
	maxNested = 64
)

type gqlParser struct {
	src    string
	i      int
	tokens int
	tok    string // a punctuator, a name, `""` for any string, "0" for any number, "" at the end
}

func parseDocument(src string) (*document, error) {
	p := &gqlParser{src: src}
	if err := p.advance(); err != nil {
		return nil, err
	}
	d := new(document)
	for p.tok != "" {
		switch p.tok {
		case "{":
			o := gqlOperation{kind: "query"}
			if err := p.selections(&o, 0); err != nil {
				return nil, err
			}
			d.operations = append(d.operations, o)
		case "query", "mutation":
			o, err := p.operation(p.tok)
			if err != nil {
				return nil, err
			}
			d.operations = append(d.operations, o)
		case "fragment":
			if err := p.fragment(); err != nil {
				return nil, err
			}
		case "subscription":
			return nil, refuse(BadDocument, "subscriptions are not sent")
		default:
			return nil, refuse(BadDocument, "the GraphQL document cannot be read")
		}
	}
	return d, nil
}

func (p *gqlParser) operation(kind string) (gqlOperation, error) {
	o := gqlOperation{kind: kind}
	if err := p.advance(); err != nil {
		return o, err
	}
	if isName(p.tok) {
		o.name = p.tok
		if err := p.advance(); err != nil {
			return o, err
		}
	}
	if p.tok == "(" {
		if err := p.balanced(); err != nil {
			return o, err
		}
	}
	if err := p.directives(); err != nil {
		return o, err
	}
	return o, p.selections(&o, 0)
}

func (p *gqlParser) fragment() error {
	for _, want := range []func() bool{
		func() bool { return isName(p.tok) && p.tok != "on" },
		func() bool { return p.tok == "on" },
		func() bool { return isName(p.tok) },
	} {
		if err := p.advance(); err != nil {
			return err
		}
		if !want() {
			return refuse(BadDocument, "a fragment of the document cannot be read")
		}
	}
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.directives(); err != nil {
		return err
	}
	return p.selections(new(gqlOperation), 0)
}

// selections reads "{ … }". Fields of depth 0 are those at the root.
func (p *gqlParser) selections(o *gqlOperation, depth int) error {
	if p.tok != "{" || depth > maxNested {
		return refuse(BadDocument, "a selection of the document is missing or nested too deep")
	}
	if err := p.advance(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		switch {
		case p.tok == "}" && n > 0:
			return p.advance()
		case p.tok == "...":
			if depth == 0 {
				o.spread = true
			}
			if err := p.spread(o, depth); err != nil {
				return err
			}
		case isName(p.tok):
			if err := p.field(o, depth); err != nil {
				return err
			}
		default:
			return refuse(BadDocument, "a selection of the document cannot be read")
		}
	}
}

func (p *gqlParser) field(o *gqlOperation, depth int) error {
	name := p.tok
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok == ":" {
		if err := p.advance(); err != nil {
			return err
		}
		if name = p.tok; !isName(name) {
			return refuse(BadDocument, "an alias of the document names no field")
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	if depth == 0 {
		o.fields = append(o.fields, name)
	}
	if p.tok == "(" {
		if err := p.balanced(); err != nil {
			return err
		}
	}
	if err := p.directives(); err != nil {
		return err
	}
	if p.tok == "{" {
		return p.selections(o, depth+1)
	}
	return nil
}

func (p *gqlParser) spread(o *gqlOperation, depth int) error {
	if err := p.advance(); err != nil {
		return err
	}
	named := isName(p.tok) && p.tok != "on"
	if p.tok == "on" {
		if err := p.advance(); err != nil {
			return err
		}
	}
	if isName(p.tok) {
		if err := p.advance(); err != nil {
			return err
		}
	}
	if err := p.directives(); err != nil {
		return err
	}
	if named {
		return nil
	}
	return p.selections(o, depth+1)
}

func (p *gqlParser) directives() error {
	for p.tok == "@" {
		if err := p.advance(); err != nil {
			return err
		}
		if !isName(p.tok) {
			return refuse(BadDocument, "a directive of the document has no name")
		}
		if err := p.advance(); err != nil {
			return err
		}
		if p.tok == "(" {
			if err := p.balanced(); err != nil {
				return err
			}
		}
	}
	return nil
}

// balanced skips "( … )" with everything in it.
func (p *gqlParser) balanced() error {
	var open []string
	closing := map[string]string{"(": ")", "[": "]", "{": "}"}
	for {
		switch p.tok {
		case "(", "[", "{":
			open = append(open, closing[p.tok])
		case ")", "]", "}":
			if p.tok != open[len(open)-1] {
				return refuse(BadDocument, "the brackets of the document do not match")
			}
			open = open[:len(open)-1]
		case "":
			return refuse(BadDocument, "the document ends too early")
		}
		if err := p.advance(); err != nil {
			return err
		}
		if len(open) == 0 {
			return nil
		}
		if len(open) > maxNested {
			return refuse(BadDocument, "the document is nested too deep")
		}
	}
}

func isName(tok string) bool {
	return tok != "" && (tok[0] == '_' || 'a' <= tok[0]|0x20 && tok[0]|0x20 <= 'z')
}

func nameByte(c byte) bool {
	return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}

// advance reads the next token (GraphQL §2.1).
func (p *gqlParser) advance() error {
	if p.tokens++; p.tokens > maxTokens {
		return refuse(BadDocument, "the document has more than %d tokens", maxTokens)
	}
	for p.i < len(p.src) {
		c := p.src[p.i]
		if c == '#' {
			end := strings.IndexAny(p.src[p.i:], "\n\r")
			if end < 0 {
				end = len(p.src) - p.i
			}
			p.i += end
			continue
		}
		if strings.IndexByte(" \t\n\r,", c) < 0 {
			break
		}
		p.i++
	}
	rest := p.src[p.i:]
	switch {
	case rest == "":
		p.tok = ""
		return nil
	case strings.HasPrefix(rest, "..."):
		return p.take("...", 3)
	case strings.IndexByte("!$&():=@[]{|}", rest[0]) >= 0:
		return p.take(rest[:1], 1)
	case strings.HasPrefix(rest, `"""`):
		return p.block(rest)
	case rest[0] == '"':
		return p.quoted(rest)
	case isName(rest):
		n := 1
		for n < len(rest) && nameByte(rest[n]) {
			n++
		}
		return p.take(rest[:n], n)
	case rest[0] == '-' || '0' <= rest[0] && rest[0] <= '9':
		n := 1
		for n < len(rest) && (nameByte(rest[n]) || strings.IndexByte("+-.", rest[n]) >= 0) {
			n++
		}
		return p.take("0", n)
	}
	return refuse(BadDocument, "the document holds a character that GraphQL does not know")
}

func (p *gqlParser) take(tok string, n int) error {
	p.tok, p.i = tok, p.i+n
	return nil
}

func (p *gqlParser) quoted(rest string) error {
	for n := 1; n < len(rest); n++ {
		switch rest[n] {
		case '\\':
			n++
		case '\n', '\r':
			return refuse(BadDocument, "a string of the document is not closed")
		case '"':
			return p.take(`""`, n+1)
		}
	}
	return refuse(BadDocument, "a string of the document is not closed")
}

func (p *gqlParser) block(rest string) error {
	for n := 3; n < len(rest); n++ {
		switch {
		case strings.HasPrefix(rest[n:], `\"""`):
			n += 3
		case strings.HasPrefix(rest[n:], `"""`):
			return p.take(`""`, n+3)
		}
	}
	return refuse(BadDocument, "a string of the document is not closed")
}
