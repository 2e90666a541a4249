package provider

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxSpec bounds a file before YAML is read from it.
const maxSpec = 1 << 20

// Parse reads the Spec in the file name of fsys, with what it includes, and
// checks it. Keys that it does not know are errors.
func Parse(fsys fs.FS, name string) (*Spec, error) {
	s := new(Spec)
	if err := decodeFile(fsys, name, s); err != nil {
		return nil, err
	}
	if s.Include != "" {
		if len(s.Operations) > 0 || s.Style != "" || s.GraphQL != nil {
			return nil, fmt.Errorf("%s: a spec that includes an API has none of its own", name)
		}
		var api API
		if err := decodeFile(fsys, path.Join(path.Dir(name), s.Include), &api); err != nil {
			return nil, err
		}
		s.Include, s.API = "", api
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func decodeFile(fsys fs.FS, name string, into any) error {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	if len(b) > maxSpec {
		return fmt.Errorf("%s: longer than %d bytes", name, maxSpec)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document", name)
	}
	return nil
}

// Base holds the addresses that an operator gives: a GitHub Enterprise server,
// a sandbox, an emulator, or everything for a template. Empty fields keep what the
// Spec says.
type Base struct {
	ID   string // a name of its own, needed where two instances stand side by side
	Name string

	API   []string // replaces the API bases, one for one
	Web   string   // replaces the web base, and with it the beginning of authorize and token URLs
	Style Style    // for a template: what an unlisted request means

	// For templates, whose addresses share no beginning.
	AuthorizeURL string
	TokenURL     string
	TokenAuth    string
	RevokeURL    string // RFC 7009
	Issuer       string // OpenID Connect discovery
	Identity     Identity
	Scopes       []string
}

// WithBase returns a checked copy of s at other addresses. Everything else
// stays as it is: operations, risks, habits.
func (s *Spec) WithBase(b Base) (*Spec, error) {
	c, err := s.clone()
	if err != nil {
		return nil, err
	}
	if b.ID != "" {
		c.ID = b.ID
	}
	if b.Name != "" {
		c.Name = b.Name
	}
	if b.Style != "" {
		if !s.Template {
			return nil, fmt.Errorf("provider %s: only a template leaves its style to the operator", s.ID)
		}
		c.Style = b.Style
	}
	var moves [][2]string
	if len(b.API) > 0 {
		if !s.Template && len(b.API) != len(s.Endpoints.APIBases) {
			return nil, fmt.Errorf("provider %s: %d API bases given, it has %d", s.ID, len(b.API), len(s.Endpoints.APIBases))
		}
		for i, old := range s.Endpoints.APIBases {
			moves = append(moves, [2]string{old, b.API[i]})
		}
		c.Endpoints.APIBases = slices.Clone(b.API)
	}
	if b.Web != "" {
		if s.Endpoints.WebBase == "" {
			return nil, fmt.Errorf("provider %s: has no web base to replace", s.ID)
		}
		moves = append(moves, [2]string{s.Endpoints.WebBase, b.Web})
		c.Endpoints.WebBase = b.Web
	}
	c.rebase(moves)
	for _, f := range []struct {
		field *string
		value string
	}{
		{&c.Auth.URL, b.AuthorizeURL}, {&c.Token.URL, b.TokenURL}, {&c.Token.Auth, b.TokenAuth}, {&c.Auth.Issuer, b.Issuer},
	} {
		if f.value == "" {
			continue
		}
		if !s.Template {
			return nil, fmt.Errorf("provider %s: only a template takes single endpoints", s.ID)
		}
		*f.field = f.value
	}
	if b.RevokeURL != "" {
		if !s.Template {
			return nil, fmt.Errorf("provider %s: only a template takes single endpoints", s.ID)
		}
		c.Revoke = Revoke{Kind: RevokeRFC7009, URL: b.RevokeURL, Target: "refresh", ScopeOfEffect: "token"}
	}
	if b.Identity.URL != "" {
		if !s.Template {
			return nil, fmt.Errorf("provider %s: only a template takes single endpoints", s.ID)
		}
		// What the operator does not say is as the template has it.
		was := c.Identity
		c.Identity = b.Identity
		c.Identity.ID = cmp.Or(b.Identity.ID, was.ID)
		c.Identity.Label = cmp.Or(b.Identity.Label, was.Label)
		c.Identity.Tenant = cmp.Or(b.Identity.Tenant, was.Tenant)
	}
	if len(b.Scopes) > 0 {
		c.Auth.DefaultScopes = slices.Clone(b.Scopes)
	}
	c.Template = false
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// clone copies s without what Validate made of it.
func (s *Spec) clone() (*Spec, error) {
	y, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("copy spec %s: %w", s.ID, err)
	}
	c := new(Spec)
	if err := yaml.Unmarshal(y, c); err != nil {
		return nil, fmt.Errorf("copy spec %s: %w", s.ID, err)
	}
	return c, nil
}

// rebase moves every address that lies below an old base to the new one.
func (s *Spec) rebase(moves [][2]string) {
	move := func(u *string) {
		for _, m := range moves {
			if rest, ok := strings.CutPrefix(*u, m[0]); ok && (rest == "" || rest[0] == '/') {
				*u = m[1] + rest
				return
			}
		}
	}
	for _, u := range []*string{
		&s.Auth.URL, &s.Token.URL, &s.Refresh.URL, &s.Revoke.URL, &s.Revoke.Verify, &s.Identity.URL,
	} {
		move(u)
	}
	for i := range s.Operations {
		move(&s.Operations[i].Base)
	}
}
