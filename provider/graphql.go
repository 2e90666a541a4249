package provider

import (
	"path"
	"slices"
	"strings"
)

// matchGraphQL judges a request to the GraphQL path. A document that holds only
// queries is a read; anything else is a write that asks.
func (s *Spec) matchGraphQL(m *Match, r *Request) error {
	switch {
	case m.Path != s.GraphQL.Path:
		return refuse(BadPath, "the path differs from %s only in upper and lower case", s.GraphQL.Path)
	case r.Method != "POST":
		return refuse(BadMethod, "GraphQL documents are sent by POST")
	case r.RawQuery != "":
		return refuse(BadQuery, "a GraphQL request has no query parameters: there must be one document")
	}
	body, err := r.jsonBody()
	if err != nil {
		return err
	}
	for name := range body {
		if !slices.Contains([]string{"query", "variables", "operationName"}, name) {
			return refuse(BadBody, "a GraphQL request holds query, variables and operationName, not %q", clip(name, 40))
		}
	}
	text, ok := body["query"].(string)
	if !ok || text == "" {
		return refuse(BadDocument, "the GraphQL document is missing")
	}
	switch v := body["variables"].(type) {
	case nil, map[string]any:
	default:
		return refuse(BadBody, "variables must be an object, not %T", v)
	}
	doc, err := parseDocument(text)
	if err != nil {
		return err
	}
	if err := doc.choose(body["operationName"]); err != nil {
		return err
	}
	if doc.onlyQueries() {
		m.Operation, m.Read = s.RawRead(), true
		m.Summary = "GraphQL query of " + strings.Join(doc.fields(), ", ")
		m.raise(Low, "the GraphQL document holds only queries")
		return nil
	}
	m.Operation = s.RawWrite()
	m.Summary = "GraphQL mutation " + strings.Join(doc.fields(), ", ")
	m.raise(High, "the GraphQL document holds a mutation that the catalogue does not list")
	for _, f := range doc.fields() {
		if slices.ContainsFunc(s.GraphQL.Critical, func(p string) bool { ok, _ := path.Match(p, f); return ok }) {
			m.raise(Critical, "the mutation "+f+" mints a credential, adds access, opens an outlet or moves money")
		}
	}
	return nil
}

// document is what we need to know of a GraphQL document (GraphQL, October 2021,
// §2): its operations and the fields at their roots. An alias does not count, it
// only renames the answer.
type document struct{ operations []gqlOperation }

type gqlOperation struct {
	kind   string // query or mutation
	name   string
	fields []string
	spread bool // a fragment stands at the root
}

func (d *document) onlyQueries() bool {
	return !slices.ContainsFunc(d.operations, func(o gqlOperation) bool { return o.kind != "query" })
}

// fields are the root fields of the mutations, or, without any, of the queries.
func (d *document) fields() []string {
	var out []string
	for _, o := range d.operations {
		if o.kind == "query" && !d.onlyQueries() {
			continue
		}
		for _, f := range o.fields {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// choose checks that the provider has exactly one operation to run (GraphQL
// §6.1) and that we know the root fields of every mutation.
func (d *document) choose(operationName any) error {
	names := map[string]bool{}
	for _, o := range d.operations {
		switch {
		case names[o.name]:
			return refuse(BadDocument, "two operations of the document have one name")
		case o.name == "" && len(d.operations) > 1:
			return refuse(BadDocument, "an operation without a name must be alone in its document")
		case o.kind == "mutation" && o.spread:
			return refuse(BadDocument, "a mutation must name its fields itself, not through a fragment")
		}
		names[o.name] = true
	}
	if len(d.operations) == 0 {
		return refuse(BadDocument, "the document holds no operation")
	}
	switch name := operationName.(type) {
	case nil:
		if len(d.operations) > 1 {
			return refuse(BadDocument, "operationName must say which operation of the document is meant")
		}
	case string:
		if !names[name] || name == "" {
			return refuse(BadDocument, "the document has no operation of the name that operationName gives")
		}
	default:
		return refuse(BadDocument, "operationName must be a text")
	}
	return nil
}
