package provider

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// Spec is one provider. It is made by [Parse] or [Spec.WithBase], which check
// it, and must not be changed afterwards; it may be used by many goroutines.
type Spec struct {
	ID   string `yaml:"id"`   // "github_app": what configuration and connections say
	Name string `yaml:"name"` // "GitHub": what people read

	// Include names a file with the API, for providers that differ only in how a
	// connection is made. Parse replaces it by the content.
	Include string `yaml:"include,omitempty"`

	// Template marks a Spec without addresses of its own: the operator gives them,
	// through WithBase, before it can be used.
	Template bool `yaml:"template,omitempty"`

	Auth       Auth       `yaml:"auth"`
	Token      Token      `yaml:"token"`
	Refresh    Refresh    `yaml:"refresh"`
	Revoke     Revoke     `yaml:"revoke"`
	Identity   Identity   `yaml:"identity,omitempty"`
	Endpoints  Endpoints  `yaml:"endpoints"`
	Errors     Errors     `yaml:"errors,omitempty"`
	Downscope  Downscope  `yaml:"downscope,omitempty"`
	Credential Credential `yaml:"credential"`

	API `yaml:",inline"`

	index *index
}

// API is how requests to a provider are read.
type API struct {
	// Namespace is the first word of operation names; the ID if empty. Providers
	// that share an API share it, so that one policy covers them.
	Namespace string `yaml:"namespace,omitempty"`
	Style     Style  `yaml:"style,omitempty"`
	// Headers go with every request that we render.
	Headers map[string]string `yaml:"headers,omitempty"`
	// PathParams declare placeholders that many operations share.
	PathParams []Param `yaml:"path_params,omitempty"`
	// Resources name the resource of a path, listed or not, by how it begins. The
	// first one that fits counts.
	Resources []ResourcePath `yaml:"resources,omitempty"`
	// Critical are the unlisted paths that mint credentials, add access or open a
	// standing outlet; Refused those that are never sent.
	Critical   []Paths     `yaml:"critical,omitempty"`
	Refused    []Paths     `yaml:"refused,omitempty"`
	GraphQL    *GraphQL    `yaml:"graphql,omitempty"`
	Operations []Operation `yaml:"operations,omitempty"`
}

// Style says what an unlisted request means.
type Style string

// The styles. In REST an unlisted GET or HEAD is a read. RPC says nothing by its
// method, so every unlisted request may be a write. GraphQL is judged by its
// document.
const (
	REST         Style = "rest"
	RPC          Style = "rpc"
	GraphQLStyle Style = "graphql"
)

// Auth is the authorization endpoint.
type Auth struct {
	URL           string            `yaml:"url,omitempty"`
	Discovery     bool              `yaml:"discovery,omitempty"` // endpoints come from the issuer's metadata
	Issuer        string            `yaml:"issuer,omitempty"`
	Params        map[string]string `yaml:"params,omitempty"`    // sent besides the standard ones
	ScopeSep      string            `yaml:"scope_sep,omitempty"` // between scopes; a space if empty
	PKCE          PKCE              `yaml:"pkce,omitempty"`
	DefaultScopes []string          `yaml:"default_scopes,omitempty"`
	// Permissions says that scopes are ignored here: what a token may do is set
	// in the registration of the app.
	Permissions bool `yaml:"permissions,omitempty"`
	// Covers says which scopes hold others: "repo" is "public_repo" too.
	Covers map[string][]string `yaml:"covers,omitempty"`
	// Public names the scopes that can be done without where what is touched is
	// public: to write takes one of those listed then, to read takes none.
	Public map[string][]string `yaml:"public,omitempty"`
}

// PKCE is what a provider does with a code challenge. We send one unless it is
// off.
type PKCE string

// The habits.
const (
	PKCEOptional PKCE = "optional"
	PKCERequired PKCE = "required"
	PKCEOff      PKCE = "off"
)

// Token is the token endpoint.
type Token struct {
	URL     string            `yaml:"url,omitempty"`
	Auth    string            `yaml:"auth,omitempty"` // body or basic: where the client secret goes
	Body    string            `yaml:"body,omitempty"` // form or json
	Params  map[string]string `yaml:"params,omitempty"`
	Headers map[string]string `yaml:"headers,omitempty"`
}

// Refresh is how tokens are renewed.
type Refresh struct {
	URL      string            `yaml:"url,omitempty"` // the token endpoint if empty
	Params   map[string]string `yaml:"params,omitempty"`
	Rotation string            `yaml:"rotation,omitempty"` // none, always or optional
	// KillsAccessToken: the running access token stops when the refresh succeeds.
	KillsAccessToken bool          `yaml:"kills_access_token,omitempty"`
	Grace            time.Duration `yaml:"grace,omitempty"`   // how long an old refresh token still works
	Trigger          string        `yaml:"trigger,omitempty"` // expiry, on_401 or introspect
	Margin           time.Duration `yaml:"margin,omitempty"`  // renew so long before the end
	KeepAlive        time.Duration `yaml:"keepalive,omitempty"`
	AccessTTL        time.Duration `yaml:"access_ttl_default,omitempty"` // when the answer does not say
	RefreshIdle      time.Duration `yaml:"refresh_ttl_idle,omitempty"`   // a refresh token unused for so long is dead
	RefreshTTL       time.Duration `yaml:"refresh_ttl,omitempty"`
}

// Revoke is how a connection ends at the provider.
type Revoke struct {
	Kind          RevokeKind `yaml:"kind,omitempty"`
	URL           string     `yaml:"url,omitempty"`             // {client_id} is replaced
	Target        string     `yaml:"target,omitempty"`          // refresh or access: the token to send
	ScopeOfEffect string     `yaml:"scope_of_effect,omitempty"` // token, grant or all_sessions
	Verify        string     `yaml:"verify,omitempty"`          // URL that a dead token cannot read
}

// RevokeKind is the protocol of a revocation.
type RevokeKind string

// The kinds. GitHub's two are DELETE with Basic client authentication and a JSON
// body {"access_token"}: the grant is every token of user and app, the token one.
const (
	RevokeRFC7009     RevokeKind = "rfc7009"
	RevokeGitHubGrant RevokeKind = "github_grant"
	RevokeGitHubToken RevokeKind = "github_token"
	RevokeBearerPost  RevokeKind = "bearer_post"
	RevokeJSONBasic   RevokeKind = "json_basic"
	RevokeNone        RevokeKind = "none"
)

// Endpoints is where the API is.
type Endpoints struct {
	APIBases []string `yaml:"api_bases,omitempty"` // credentials go to these and nowhere else
	WebBase  string   `yaml:"web_base,omitempty"`  // what authorize and token URLs begin with
	HostFrom string   `yaml:"host_from,omitempty"` // static, config, token_response or redirect
}

// Errors is how failures look.
type Errors struct {
	OKWith200 string   `yaml:"ok_with_200,omitempty"` // member of a token answer that makes a 200 an error
	DeadGrant []string `yaml:"dead_grant,omitempty"`  // codes that mean: reconnect. Nothing else does
}

// Downscope is how a narrower token is had for one action.
type Downscope struct {
	Kind string `yaml:"kind,omitempty"` // none, github_installation or rfc8693
}

// Credential is how egress attaches the token.
type Credential struct {
	Attach string `yaml:"attach,omitempty"` // bearer, header or basic
	Header string `yaml:"header,omitempty"` // its name, for header
}

// ResourcePath names a resource by the beginning of a path.
type ResourcePath struct {
	Path     string `yaml:"path"`
	Resource `yaml:",inline"`

	template template
}

// Paths is a set of requests, by how their path begins: everything below a
// path belongs to it. Literals are compared without case here.
type Paths struct {
	Methods  []string `yaml:"methods,omitempty"`  // POST, PUT and PATCH if empty
	Under    []string `yaml:"under,omitempty"`    // put before each of Paths
	Paths    []string `yaml:"paths,omitempty"`    // templates
	Segments []string `yaml:"segments,omitempty"` // or: a segment with this name, anywhere
	Exact    bool     `yaml:"exact,omitempty"`    // only the paths themselves
	Why      string   `yaml:"why"`

	templates []template
}

// GraphQL is the one path of a provider that takes documents.
type GraphQL struct {
	Path string `yaml:"path"`
	// Critical are the mutations that mint credentials, add access, open outlets or
	// move money, as patterns with "*".
	Critical []string `yaml:"critical,omitempty"`
}

// Operation is the operation of that name.
func (s *Spec) Operation(name string) (*Operation, bool) {
	for i := range s.Operations {
		if s.Operations[i].Name == name {
			return &s.Operations[i], true
		}
	}
	return nil, false
}

// Names lists all operations, sorted.
func (s *Spec) Names() []string {
	names := make([]string, len(s.Operations))
	for i, o := range s.Operations {
		names[i] = o.Name
	}
	slices.Sort(names)
	return names
}

// RawRead is the name of a plain read that is not in the catalogue.
func (s *Spec) RawRead() string { return s.namespace() + ".raw.read" }

// RawWrite is the name of every unlisted request that is no plain read.
func (s *Spec) RawWrite() string { return s.namespace() + ".raw.write" }

func (s *Spec) namespace() string {
	if s.Namespace != "" {
		return s.Namespace
	}
	return s.ID
}

// base is the API base of operations that name none.
func (s *Spec) base() string {
	if len(s.Endpoints.APIBases) == 0 {
		return ""
	}
	return s.Endpoints.APIBases[0]
}

const hashFormat = "valetkey/provider-spec/v1\n"

// Hash names the content of s: SHA-256 over the canonical JSON (RFC 8785) of
// its fields. Comments, order of keys and layout of the file do not count; every
// address, risk and condition does.
func (s *Spec) Hash() [sha256.Size]byte {
	b, err := s.canonical()
	if err != nil {
		panic("provider: a Spec is plain data: " + err.Error())
	}
	return sha256.Sum256(append([]byte(hashFormat), b...))
}

func (s *Spec) canonical() ([]byte, error) {
	y, err := yaml.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode spec %s: %w", s.ID, err)
	}
	var v any
	if err := yaml.Unmarshal(y, &v); err != nil {
		return nil, fmt.Errorf("encode spec %s: %w", s.ID, err)
	}
	return canonicalJSON(v)
}
