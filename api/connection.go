package api

import "time"

// Connection is one account of one user at one provider.
type Connection struct {
	ID        string   `json:"id"`                  // con_…
	Name      string   `json:"name"`                // how its owner calls it; unique for the user
	Provider  string   `json:"provider"`            // "github"
	Account   string   `json:"account"`             // the provider's name for it: "octocat"
	AccountID string   `json:"account_id"`          // the provider's stable id, pinned when it was connected
	Tenant    string   `json:"tenant,omitempty"`    // workspace or site, where the provider has them
	Kind      string   `json:"kind"`                // "oauth", or "token" for a pasted one
	Status    string   `json:"status"`              // "active", "needs_reauth" or "revoked"
	Why       string   `json:"why,omitempty"`       // why it is not active
	User      string   `json:"user"`                // usr_…: its owner
	UserName  string   `json:"user_name,omitempty"` // what others see of its owner; left out for agents
	Frozen    bool     `json:"frozen,omitempty"`    // a freeze of it, of its owner or of everything holds
	Scopes    []string `json:"scopes,omitempty"`    // as the provider granted them
	Grants    []Grant  `json:"grants,omitempty"`    // what the calling agent may do with it; for agents only
	RenewURL  string   `json:"renew_url,omitempty"` // where its owner connects it again
	BaseURLs  []string `json:"base_urls,omitempty"` // the provider's API bases, for raw requests

	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// ConnectionRequest connects an account by a token that its owner pasted.
// Accounts are connected by OAuth in the browser only.
type ConnectionRequest struct {
	Provider string `json:"provider"`       // "github"
	Name     string `json:"name,omitempty"` // the account's name at the provider if left out
	User     string `json:"user,omitempty"` // id or name of the owner; the caller if left out
	Token    string `json:"token"`          // the credential itself: never log a value of this type
}

// DisconnectReport is what became of a connection that was ended. It does not
// claim more than was seen.
type DisconnectReport struct {
	Connection string             `json:"connection"` // con_…
	Provider   string             `json:"provider"`
	Account    string             `json:"account"`
	Here       string             `json:"here"`     // what ended here, in a sentence
	Upstream   UpstreamRevocation `json:"upstream"` // what ended at the provider
	// Probe is what a look with the old token showed: "dead", "still_alive",
	// "unclear" or "not_probed".
	Probe string `json:"probe"`
	Todo  string `json:"todo,omitempty"` // what the owner still has to do
}

// UpstreamRevocation is how far the provider confirmed the end of a connection.
type UpstreamRevocation struct {
	Done   bool   `json:"done"`             // the provider confirmed it
	Scope  string `json:"scope,omitempty"`  // "token", "grant" or "all_sessions"
	Status int    `json:"status,omitempty"` // the provider's HTTP status
	Detail string `json:"detail"`           // one sentence
}

// Operation is a named thing that a provider can do, as the catalogue has it.
type Operation struct {
	Name        string         `json:"name"`                  // "github.issues.create_comment"
	Provider    string         `json:"provider"`              // "github"
	Title       string         `json:"title"`                 // a few words: "Comment on an issue"
	Summary     string         `json:"summary"`               // template: "comment on {owner}/{repo}#{number}"
	Method      string         `json:"method"`                // of the request that is rendered
	Path        string         `json:"path"`                  // template below the API base
	Risk        Risk           `json:"risk"`                  // where judging starts; facts only raise it
	Read        bool           `json:"read,omitempty"`        // it changes nothing
	Off         bool           `json:"off,omitempty"`         // known, and always refused
	Scopes      []string       `json:"scopes,omitempty"`      // least OAuth scopes
	Permissions []string       `json:"permissions,omitempty"` // least app permissions
	Params      []Param        `json:"params,omitempty"`      // what ActionRequest.Params may hold
	Example     map[string]any `json:"example,omitempty"`     // parameters of a plausible call
}

// Param is one parameter of an operation.
type Param struct {
	Name string `json:"name"`
	In   string `json:"in"` // "path", "query" or "body"
	// Type is "string", "integer", "number", "boolean", "strings" (a list),
	// "object" or "objects" (a list).
	Type     string   `json:"type"`
	Required bool     `json:"required,omitempty"`
	Nullable bool     `json:"nullable,omitempty"` // null is a value: "remove it"
	Enum     []string `json:"enum,omitempty"`     // the values it may have
	Pattern  string   `json:"pattern,omitempty"`  // RE2, for the whole value
	Doc      string   `json:"doc,omitempty"`      // one sentence
}

// Provider is an upstream service as this deployment uses it.
type Provider struct {
	Name        string    `json:"name"`                // as connections and URLs name it: "github", "ghes"
	Title       string    `json:"title"`               // as people read it: "GitHub"
	Spec        string    `json:"spec"`                // the catalogue entry: "github_app"
	ClientID    string    `json:"client_id,omitempty"` // of our client there
	HasSecret   bool      `json:"has_secret"`          // a client secret is kept, sealed
	RedirectURI string    `json:"redirect_uri"`        // to be registered at the provider
	Base        *BaseURLs `json:"base,omitempty"`      // where it differs from the catalogue
	Internal    bool      `json:"internal,omitempty"`  // its hosts may be on the operator's own network
	Connectable bool      `json:"connectable"`         // accounts can be connected by OAuth
	Operations  int       `json:"operations"`          // how many the catalogue has
	SpecHash    string    `json:"spec_hash,omitempty"` // SHA-256 of the description in force, hex
	UpdatedAt   time.Time `json:"updated_at,omitzero"` //
}

// ProviderRequest configures a provider. What is left out keeps its value.
type ProviderRequest struct {
	Spec         string    `json:"spec,omitempty"` // the catalogue entry; the provider's name if left out at first
	ClientID     string    `json:"client_id,omitempty"`
	ClientSecret string    `json:"client_secret,omitempty"` // sealed on arrival: never log a value of this type
	Base         *BaseURLs `json:"base,omitempty"`
	Internal     *bool     `json:"internal,omitempty"`
}

// BaseURLs are the addresses of a self-hosted instance, or of a provider that
// the catalogue knows only as a template.
type BaseURLs struct {
	API          []string `json:"api,omitempty"` // replaces the API bases, one for one
	Web          string   `json:"web,omitempty"` // replaces the beginning of authorize and token URLs
	AuthorizeURL string   `json:"authorize_url,omitempty"`
	TokenURL     string   `json:"token_url,omitempty"`
	TokenAuth    string   `json:"token_auth,omitempty"`   // "body" or "basic": where the client secret goes
	RevokeURL    string   `json:"revoke_url,omitempty"`   // RFC 7009
	Issuer       string   `json:"issuer,omitempty"`       // OpenID Connect discovery
	IdentityURL  string   `json:"identity_url,omitempty"` // answers who the account is
	// IdentityID and IdentityLabel name the members of that answer that hold the
	// account's unchanging id and what people call it; nested ones with dots.
	IdentityID    string `json:"identity_id,omitempty"`
	IdentityLabel string `json:"identity_label,omitempty"`
	Style         string `json:"style,omitempty"` // "rest", "rpc" or "graphql": what an unlisted request means
}
