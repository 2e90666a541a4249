// Package connect is the flow that links an account: from a person's click,
// over the provider's consent page, to a connection with its identity pinned.
//
// A [Flow] is bound to the browser session, the user and the provider that it
// was begun with, and works once: a link that is opened in somebody else's
// browser connects nothing (RFC 9700 §4.7, COSF). Nothing is stored before the
// provider has said whose account it is. A reconnection to another account
// than the pinned one is refused. Tokens of a flow that fails are ended at the
// provider, where that ends nothing else.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// Service links accounts.
type Service struct {
	Org       id.Org
	Store     Store
	Vault     *vault.Service
	Conns     vault.Store
	Providers *vault.Providers
	OAuth     *vault.OAuth
	Keys      *seal.Keyring
	PublicURL string // with its trailing slash
	Log       *slog.Logger
}

// Errors of linking.
var (
	ErrNoClient = fault.New(fault.Conflict, "provider_not_configured", "No OAuth client is registered for this provider yet; run 'valetkey provider set', or paste a personal access token instead.")
	ErrOther    = fault.New(fault.Conflict, "other_account", "That is another account than the one this connection is pinned to. Connect it as a new connection, or log in at the provider as the right account first.")
	ErrExists   = fault.New(fault.Conflict, "connection_exists", "This account is connected already.")
	ErrDenied   = fault.New(fault.Forbidden, "provider_denied", "The provider did not give access; nothing was connected.")
)

// RedirectURI is where a provider sends people back to: one for each provider,
// so that an answer of one can never be taken for another's (RFC 9700 §4.4).
func (s *Service) RedirectURI(providerID string) string {
	return s.PublicURL + "connect/" + providerID + "/callback"
}

// Begin starts a flow in p's browser session and returns where to send it.
// scopes are those of the Spec if empty; reconnect renews a connection.
func (s *Service) Begin(ctx context.Context, p user.Principal, providerID string, scopes []string, reconnect id.Connection, now time.Time) (string, error) {
	if p.Session == "" || p.Kind != user.Browser {
		return "", user.ErrLogin
	}
	if p.Role == user.Auditor {
		return "", user.ErrNotOwner
	}
	prov, err := s.Providers.Find(ctx, providerID)
	if err != nil {
		return "", err
	}
	if prov.ClientID == "" || prov.Spec.Auth.URL == "" {
		return "", ErrNoClient
	}
	if reconnect != "" {
		con, err := s.Conns.Connection(ctx, s.Org, reconnect)
		if err != nil {
			return "", err
		}
		if con.User != p.User || con.Provider != providerID {
			return "", vault.ErrUnknown
		}
		if con.Status == vault.Revoked {
			return "", vault.ErrRevoked
		}
		if len(scopes) == 0 {
			scopes = con.Scopes
		}
	}
	if len(scopes) == 0 {
		scopes = prov.Spec.Auth.DefaultScopes
	}
	if err := checkScopes(scopes); err != nil {
		return "", err
	}
	state, verifier := secret.Random(32), secret.New(oauth2.GenerateVerifier())
	hash := state.Hash()
	f := &Flow{
		Org: s.Org, ID: id.NewFlow(), State: hash[:], Session: p.Session, User: p.User, Provider: providerID,
		Scopes: scopes, RedirectURI: s.RedirectURI(providerID), Reconnect: reconnect, CreatedAt: now, ExpiresAt: now.Add(FlowTTL), Version: 1,
	}
	if f.Verifier, err = s.Keys.Seal(ctx, verifierPlace(f), verifier); err != nil {
		return "", fmt.Errorf("seal PKCE verifier: %w", err)
	}
	e := p.Event("connection.begun", string(f.ID), p.User, now, map[string]string{"provider": providerID, "scopes": clip(strings.Join(scopes, " "))})
	if err := s.Store.CreateFlow(ctx, f, []audit.Event{e}); err != nil {
		return "", err
	}
	return s.OAuth.AuthorizeURL(prov, f.RedirectURI, state.Reveal(), verifier, scopes)
}

func verifierPlace(f *Flow) seal.Place {
	return seal.Place{Key: seal.ConfigKey(f.Org), Org: f.Org, Table: "flows", Row: string(f.ID), Column: "verifier"}
}

func clip(s string) string { return s[:min(len(s), 1000)] }

// checkScopes holds scopes to the characters of RFC 6749 §3.3.
func checkScopes(scopes []string) error {
	if len(scopes) > 100 {
		return fault.New(fault.Invalid, "bad_scope", "At most 100 scopes.")
	}
	for _, s := range scopes {
		if s == "" || len(s) > 200 {
			return fault.New(fault.Invalid, "bad_scope", "A scope has 1 to 200 characters.")
		}
		for _, r := range s {
			if r <= 0x20 || r > 0x7e || r == '"' || r == '\\' {
				return fault.New(fault.Invalid, "bad_scope", "A scope has no blanks, quotes or backslashes.")
			}
		}
	}
	return nil
}

// Callback is what the provider sent the browser back with.
type Callback struct {
	Provider string // from the path
	State    secret.Text
	Code     secret.Text
	Issuer   string // RFC 9207
	Error    string // RFC 6749 §4.1.2.1
}

// Complete finishes the flow that p's session began.
func (s *Service) Complete(ctx context.Context, p user.Principal, cb Callback, now time.Time) (*vault.Connection, error) {
	if p.Session == "" {
		return nil, ErrFlow
	}
	if p.Role == user.Auditor {
		return nil, user.ErrNotOwner
	}
	hash := cb.State.Hash()
	f, err := s.Store.TakeFlow(ctx, hash[:], p.Session, cb.Provider, now)
	if err != nil {
		return nil, err
	}
	if f.User != p.User {
		return nil, ErrFlow
	}
	prov, err := s.Providers.Find(ctx, f.Provider)
	if err != nil {
		return nil, err
	}
	if cb.Error != "" || cb.Code.IsZero() {
		return nil, ErrDenied.Because(fmt.Errorf("provider said %.60q", cb.Error))
	}
	if cb.Issuer != "" && prov.Spec.Auth.Issuer != "" && cb.Issuer != prov.Spec.Auth.Issuer {
		return nil, ErrFlow.Because(errors.New("iss names another issuer"))
	}
	verifier, err := s.Keys.Open(ctx, verifierPlace(f), f.Verifier)
	if err != nil {
		return nil, fmt.Errorf("open PKCE verifier: %w", err)
	}
	e := p.Event("connection.completing", string(f.ID), p.User, now, map[string]string{"provider": f.Provider})
	if err := s.Store.Record(ctx, []audit.Event{e}); err != nil {
		return nil, err
	}
	// The code is spent at the provider by this call, whatever the browser does.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 40*time.Second)
	defer cancel()
	tokens, err := s.OAuth.Exchange(work, prov, f.RedirectURI, cb.Code, verifier, now)
	if err != nil {
		return nil, s.failed(work, p, f, fault.New(fault.Upstream, "code_refused", "The provider did not redeem the code; start again from the connections page.").Because(err), nil, now)
	}
	account, seen, err := s.OAuth.Identity(work, prov, tokens.Access)
	if err != nil {
		return nil, s.failed(work, p, f, err, s.discard(work, prov, "", tokens), now)
	}
	if !tokens.ScopesGiven && seen != nil {
		tokens.Scopes, tokens.ScopesGiven = seen, true
	}
	con, err := s.link(work, p, prov, f.Reconnect, vault.ByCode, "", tokens, f.Scopes, account, now)
	if err == nil {
		return con, nil
	}
	if fault.From(err).Kind == fault.Unavailable {
		// The database failed, and may have kept them all the same: what is revoked
		// now could be a connection that lives.
		return nil, s.failed(work, p, f, err, map[string]string{"revoked": "false"}, now)
	}
	return nil, s.failed(work, p, f, err, s.discard(work, prov, account.ID, tokens), now)
}

// discard ends tokens that were issued to us and are not kept, and says what
// became of them.
func (s *Service) discard(ctx context.Context, prov *vault.Provider, account string, t vault.Tokens) map[string]string {
	// The calls before may have used up the time of the flow; this has its own.
	r := s.Vault.Discard(context.WithoutCancel(ctx), prov, account, t)
	said := map[string]string{"revoked": strconv.FormatBool(r.Done)}
	if r.Status != 0 {
		said["status"] = strconv.Itoa(r.Status)
	}
	return said
}

// failed records why a flow came to nothing, and what became of the tokens that
// it had brought by then.
func (s *Service) failed(ctx context.Context, p user.Principal, f *Flow, cause error, tokens map[string]string, now time.Time) error {
	data := map[string]string{"provider": f.Provider, "reason": fault.From(cause).Reason}
	maps.Copy(data, tokens)
	e := p.Event("connection.failed", string(f.ID), p.User, now, data)
	return errors.Join(cause, s.Store.Record(context.WithoutCancel(ctx), []audit.Event{e}))
}

// AddToken connects an account by a token that its owner pasted.
func (s *Service) AddToken(ctx context.Context, p user.Principal, owner id.User, providerID, name string, token secret.Text, now time.Time) (*vault.Connection, error) {
	if err := p.MayActFor(owner); err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, fault.New(fault.Invalid, "bad_owner", "Say whose account it is: --user NAME.")
	}
	prov, err := s.Providers.Find(ctx, providerID)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(token.Reveal())
	if len(text) < 8 || len(text) > 8192 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.New(fault.Invalid, "bad_token", "That does not look like a token: it must be one line of 8 to 8192 printable characters.")
	}
	token = secret.New(text)
	e := p.Event("connection.probing", "", owner, now, map[string]string{"provider": providerID})
	if err := s.Store.Record(ctx, []audit.Event{e}); err != nil {
		return nil, err
	}
	account, scopes, err := s.OAuth.Identity(ctx, prov, token)
	if err != nil {
		return nil, err
	}
	p.User = owner
	return s.link(ctx, p, prov, "", vault.ByPaste, name, vault.Tokens{Access: token, Scopes: scopes, ScopesGiven: true}, nil, account, now)
}

// link stores what was learned: a new connection, or new tokens for the one
// that is pinned to this very account.
func (s *Service) link(ctx context.Context, p user.Principal, prov *vault.Provider, reconnect id.Connection, kind vault.Kind, name string, t vault.Tokens, asked []string, account provider.Account, now time.Time) (*vault.Connection, error) {
	if !t.ScopesGiven {
		t.Scopes = asked // RFC 6749 §5.1: not said means as asked
	}
	have, err := s.Store.ByAccount(ctx, s.Org, p.User, prov.ID, account.ID)
	if err != nil {
		return nil, err
	}
	if reconnect != "" {
		return s.renew(ctx, p, reconnect, kind, t, asked, account, now)
	}
	if have != nil {
		return s.renew(ctx, p, have.ID, kind, t, asked, account, now)
	}
	c := &vault.Connection{
		Org: s.Org, ID: id.NewConnection(), User: p.User, Provider: prov.ID, Kind: kind, Name: name, AccountID: account.ID, Account: account.Label,
		Tenant: account.Tenant, Scopes: t.Scopes, CreatedAt: now, Version: 1,
	}
	if c.Account == "" {
		c.Account = account.ID
	}
	if c.Name, err = s.name(ctx, c); err != nil {
		return nil, err
	}
	if err := s.Vault.Fill(ctx, c, t, now); err != nil {
		return nil, err
	}
	e := p.Event("connection.created", string(c.ID), p.User, now, given(c, asked))
	if err := s.Store.CreateConnection(ctx, c, []audit.Event{e}); err != nil {
		if fault.From(err).Reason == "exists" {
			return nil, fault.New(fault.Conflict, "name_taken", "You have a connection of that name already; choose another.")
		}
		return nil, err
	}
	return c, nil
}

// given is what the log says about the tokens that c got. Scopes are those
// that were granted, never those that were asked for; a provider that grants
// others is on record.
func given(c *vault.Connection, asked []string) map[string]string {
	data := map[string]string{"provider": c.Provider, "kind": string(c.Kind), "scopes": clip(strings.Join(c.Scopes, " "))}
	if c.Kind == vault.ByCode {
		data["narrower"], data["wider"] = fmt.Sprint(narrower(asked, c.Scopes)), fmt.Sprint(narrower(c.Scopes, asked))
	}
	return data
}

// renew puts new tokens into a connection, if they belong to its account.
func (s *Service) renew(ctx context.Context, p user.Principal, con id.Connection, kind vault.Kind, t vault.Tokens, asked []string, account provider.Account, now time.Time) (*vault.Connection, error) {
	old, err := s.Conns.Connection(ctx, s.Org, con)
	if err != nil {
		return nil, err
	}
	if old.AccountID != account.ID {
		return nil, ErrOther
	}
	filled := *old
	if err := s.Vault.Fill(ctx, &filled, t, now); err != nil {
		return nil, err
	}
	err = s.Conns.UpdateConnection(ctx, s.Org, con, func(c *vault.Connection) ([]audit.Event, error) {
		if c.User != p.User || c.AccountID != account.ID {
			return nil, vault.ErrUnknown
		}
		if c.Status == vault.Revoked {
			return nil, vault.ErrRevoked
		}
		// Some providers send a refresh token with the first consent only: what is
		// there stays unless something came in its place.
		if filled.Refresh != nil || kind != vault.ByCode {
			c.Refresh, c.RefreshExpiresAt = filled.Refresh, filled.RefreshExpiresAt
		}
		c.Kind, c.Access, c.Previous = kind, filled.Access, nil
		c.AccessExpiresAt, c.RefreshedAt = filled.AccessExpiresAt, now
		c.Status, c.Why, c.Proven, c.Attempting = vault.Active, "", true, false
		c.Scopes, c.LeaseUntil, c.RetryAt = t.Scopes, time.Time{}, time.Time{}
		c.Generation++
		c.Fence++ // a refresh that is under way writes nothing over this
		if account.Label != "" {
			c.Account = account.Label
		}
		return []audit.Event{p.Event("connection.renewed", string(con), p.User, now, given(c, asked))}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.Conns.Connection(ctx, s.Org, con)
}

// name gives a connection a name that its owner does not use yet.
func (s *Service) name(ctx context.Context, c *vault.Connection) (string, error) {
	if c.Name != "" {
		if len(c.Name) > 63 || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "", fault.New(fault.Invalid, "bad_name", "A name has 1 to 63 printable characters.")
		}
		return c.Name, nil
	}
	have, err := s.Conns.OfUser(ctx, s.Org, c.User)
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, h := range have {
		taken[h.Name] = true
	}
	base := c.Provider + "-" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return -1
	}, c.Account))
	base = strings.TrimSuffix(base[:min(len(base), 55)], "-")
	for n, name := 2, base; ; n++ {
		if !taken[name] {
			return name, nil
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

// narrower reports whether fewer scopes came than were asked for.
func narrower(asked, got []string) bool {
	have := map[string]bool{}
	for _, s := range got {
		have[s] = true
	}
	for _, s := range asked {
		if !have[s] {
			return true
		}
	}
	return false
}
