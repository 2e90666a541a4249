package vault

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/provider"
	"github.com/valetkey/valetkey/secret"
)

// Providers knows the catalogue and what the operator registered.
type Providers struct {
	Org     id.Org
	Catalog map[string]*provider.Spec
	Store   RegistrationStore
	Keys    *seal.Keyring
	Epoch   func(context.Context) (int64, error)
	// Web is the guarded way out, for discovery documents.
	Web func() *http.Client

	joining string // a host that is just being registered as internal
	mu      sync.Mutex
	epoch   int64
	known   map[string]*Provider
}

// Provider is a Spec at its addresses, with our client there.
type Provider struct {
	ID       string
	Spec     *provider.Spec
	ClientID string // "" when only pasted tokens can be used
	Secret   secret.Text
	Internal bool

	version int64 // of the registration; 0 without one
	hash    func() string
}

func newProvider(name string, spec *provider.Spec) *Provider {
	return &Provider{ID: name, Spec: spec, hash: sync.OnceValue(func() string {
		h := spec.Hash()
		return hex.EncodeToString(h[:])
	})}
}

// SpecHash names the Spec by its content, in hex. It is worked out once: what
// it takes is a thousand times what judging a request does.
func (p *Provider) SpecHash() string { return p.hash() }

// ErrProvider names a provider that does not exist.
var ErrProvider = fault.New(fault.NotFound, "provider_not_found", "There is no such provider; 'valetkey provider list' shows them all.")

// Find returns a provider by our name for it.
func (p *Providers) Find(ctx context.Context, name string) (*Provider, error) {
	all, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	got := all[name]
	if got == nil {
		return nil, ErrProvider
	}
	return got, nil
}

// All returns every provider by name.
func (p *Providers) All(ctx context.Context) (map[string]*Provider, error) { return p.load(ctx) }

func (p *Providers) load(ctx context.Context) (map[string]*Provider, error) {
	epoch, err := p.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil && p.epoch == epoch {
		return p.known, nil
	}
	known := map[string]*Provider{}
	for name, spec := range p.Catalog {
		if spec.Template {
			continue
		}
		if known[name] = p.unchanged(name, 0); known[name] == nil {
			known[name] = newProvider(name, spec)
		}
	}
	regs, err := p.Store.Registrations(ctx, p.Org)
	if err != nil {
		return nil, err
	}
	for _, r := range regs {
		if was := p.unchanged(r.Provider, r.Version); was != nil {
			known[r.Provider] = was
			continue
		}
		made, err := p.make(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", r.Provider, err)
		}
		known[r.Provider] = made
	}
	p.epoch, p.known = epoch, known
	return known, nil
}

// unchanged is the provider as it was made before, if its registration still
// has that version: most changes of authority are about something else.
func (p *Providers) unchanged(name string, version int64) *Provider {
	if was := p.known[name]; was != nil && was.version == version {
		return was
	}
	return nil
}

func (p *Providers) make(ctx context.Context, r *Registration) (*Provider, error) {
	spec := p.Catalog[r.Spec]
	if spec == nil {
		return nil, fmt.Errorf("catalogue entry %q is gone", r.Spec)
	}
	spec, err := at(spec, r)
	if err != nil {
		return nil, err
	}
	out := newProvider(r.Provider, spec)
	out.ClientID, out.Internal, out.version = r.ClientID, r.Internal, r.Version
	if len(r.Secret) > 0 {
		if out.Secret, err = p.Keys.Open(ctx, secretPlace(r), r.Secret); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// at is spec at the addresses of r.
func at(spec *provider.Spec, r *Registration) (*provider.Spec, error) {
	base := r.Base
	if r.Provider != spec.ID {
		base.ID = r.Provider
	}
	base.Name = called(spec, r)
	return spec.WithBase(base)
}

// called is what people read of the provider that r makes of spec. Two of one
// kind stand side by side, so whatever is not the catalogue's own says which one
// it is: our name for it, and the host that it is at.
func called(spec *provider.Spec, r *Registration) string {
	var marks []string
	if r.Provider != spec.ID {
		marks = append(marks, r.Provider)
	}
	if host := elsewhere(spec, r.Base); host != "" {
		marks = append(marks, host)
	}
	name := spec.Name
	if r.Base.Name != "" {
		name = r.Base.Name
	}
	if len(marks) == 0 {
		return name
	}
	return name + " (" + strings.Join(marks, ", ") + ")"
}

// elsewhere is the host that b puts spec at, or "" where the catalogue has it.
// People know a provider by its web pages, so those come first.
func elsewhere(spec *provider.Spec, b provider.Base) string {
	has := func(raw string) bool {
		return raw == spec.Endpoints.WebBase || slices.Contains(spec.Endpoints.APIBases, raw)
	}
	for _, raw := range slices.Concat([]string{b.Web}, b.API, []string{b.Issuer, b.AuthorizeURL}) {
		if raw == "" || has(raw) {
			continue
		}
		if u, err := url.Parse(raw); err == nil {
			return u.Host
		}
	}
	return ""
}

func secretPlace(r *Registration) seal.Place {
	return seal.Place{Key: seal.ConfigKey(r.Org), Org: r.Org, Table: "registrations", Row: r.Provider, Column: "secret"}
}

// Set registers our client at a provider, or changes it. check judges a URL
// by the rules of the way out.
func (p *Providers) Set(ctx context.Context, r Registration, clientSecret secret.Text, check func(*url.URL) error, now time.Time, log func(verb, object string, data map[string]string) audit.Event) error {
	spec := p.Catalog[r.Spec]
	if spec == nil {
		return ErrProvider
	}
	if r.Provider == "" {
		r.Provider = spec.ID
	}
	if err := p.discover(ctx, spec, &r); err != nil {
		return err
	}
	made, err := placed(spec, &r, check)
	if err != nil {
		return err
	}
	r.Org, r.CreatedAt, r.UpdatedAt = p.Org, now, now
	if !clientSecret.IsZero() {
		if r.Secret, err = p.Keys.Seal(ctx, secretPlace(&r), clientSecret); err != nil {
			return fmt.Errorf("seal client secret of %s: %w", r.Provider, err)
		}
	}
	hash := made.Hash()
	e := log("provider.set", r.Provider, map[string]string{"spec": r.Spec, "client_id": r.ClientID, "hash": fmt.Sprintf("%x", hash[:8]), "internal": fmt.Sprint(r.Internal)})
	return p.Store.PutRegistration(ctx, &r, []audit.Event{e})
}

// Vet says what is wrong with a registration, as far as can be told without
// sending anything: what a provider publishes about itself is asked for when it
// is set.
func (p *Providers) Vet(r Registration, check func(*url.URL) error) error {
	spec := p.Catalog[r.Spec]
	if spec == nil {
		return ErrProvider
	}
	if r.Provider == "" {
		r.Provider = spec.ID
	}
	if discovers(spec, &r) {
		if r.Base.Issuer == "" {
			return errIssuer
		}
		return reachable(r.Base.Issuer, &r, check)
	}
	_, err := placed(spec, &r, check)
	return err
}

// placed is spec at the addresses of r, all of which may be called.
func placed(spec *provider.Spec, r *Registration, check func(*url.URL) error) (*provider.Spec, error) {
	made, err := at(spec, r)
	if err != nil {
		return nil, fault.New(fault.Invalid, "bad_provider", "These addresses do not make a usable provider: "+err.Error()+".")
	}
	for _, raw := range made.URLs() {
		if err := reachable(raw, r, check); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func reachable(raw string, r *Registration, check func(*url.URL) error) error {
	u, err := url.Parse(raw)
	if err == nil && !r.Internal {
		err = check(u)
	}
	if err != nil {
		return fault.New(fault.Invalid, "bad_provider", fmt.Sprintf("%s may not be called; a host on your own network needs --internal, and --allow-internal at the server.", raw)).Because(err)
	}
	return nil
}

// InternalHost reports whether host belongs to a provider that the operator
// said is on a network of its own; plain HTTP is for such hosts only.
func (p *Providers) InternalHost(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.joining != "" && strings.EqualFold(p.joining, host) {
		return true
	}
	for _, k := range p.known {
		if !k.Internal {
			continue
		}
		for _, raw := range k.Spec.URLs() {
			if u, err := url.Parse(raw); err == nil && strings.EqualFold(u.Hostname(), host) {
				return true
			}
		}
	}
	return false
}
