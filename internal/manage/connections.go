package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

// Connection finds a connection that p may look at.
func (s *Service) Connection(ctx context.Context, p user.Principal, ref string) (*vault.Connection, error) {
	if id.Valid("con", ref) {
		c, err := s.Conns.Connection(ctx, s.Org, id.Connection(ref))
		if err == nil && !seesAll(p) && c.User != p.User {
			err = vault.ErrUnknown
		}
		if errors.Is(err, vault.ErrUnknown) {
			err = unknown(ref)
		}
		return c, err
	}
	all, err := s.ListConnections(ctx, p)
	if err != nil {
		return nil, err
	}
	var hits []*vault.Connection
	for _, c := range all {
		if c.Status != vault.Revoked && (c.Name == ref || c.Provider == ref) {
			hits = append(hits, c)
		}
	}
	// Who sees everybody's things still means their own by a short name.
	if own := slices.DeleteFunc(slices.Clone(hits), func(c *vault.Connection) bool { return c.User != p.User }); len(own) > 0 {
		hits = own
	}
	switch len(hits) {
	case 0:
		return nil, unknown(ref)
	case 1:
		return hits[0], nil
	}
	var names []string
	for _, h := range hits {
		names = append(names, fmt.Sprintf("%s (%s)", h.Name, h.ID))
	}
	return nil, fault.New(fault.Conflict, "ambiguous_connection", "Several connections fit; name one of: "+strings.Join(names, ", ")+".")
}

// unknown is [vault.ErrUnknown] with the name that nothing was found by.
func unknown(ref string) error {
	return fault.New(vault.ErrUnknown.Kind, vault.ErrUnknown.Reason, fmt.Sprintf("There is no connection %.80q, or it is not yours.", ref))
}

// ListConnections lists the connections that p may look at, newest first.
func (s *Service) ListConnections(ctx context.Context, p user.Principal) ([]*vault.Connection, error) {
	all, err := s.Conns.Connections(ctx, s.Org)
	return visible(p, all, func(c *vault.Connection) id.User { return c.User }), err
}

// PageConnections lists a page of them, the latest made first.
func (s *Service) PageConnections(ctx context.Context, p user.Principal, before id.Connection, limit int) ([]*vault.Connection, error) {
	of, err := lister(p)
	if err != nil {
		return nil, err
	}
	return s.Conns.Page(ctx, s.Org, of, before, limit)
}

// lister is whose things p may list: "" is everybody's.
func lister(p user.Principal) (id.User, error) {
	if seesAll(p) {
		return "", nil
	}
	if p.User == "" {
		return "", user.ErrLogin // "" would be everybody
	}
	return p.User, nil
}

// Disconnect ends a connection, here and as far as possible at its provider.
func (s *Service) Disconnect(ctx context.Context, p user.Principal, ref string, now time.Time) (vault.Report, error) {
	c, err := s.Connection(ctx, p, ref)
	if err != nil {
		return vault.Report{}, err
	}
	place := mayOwn(p, c.User)
	if err := final(place); err != nil {
		return vault.Report{}, err
	}
	if c.Status == vault.Revoked {
		return vault.Report{}, vault.ErrRevoked
	}
	if place != nil {
		return vault.Report{}, place
	}
	return s.Vault.Disconnect(ctx, c.ID, now, logger(p, c.User, now))
}

// Provider is what an operator says about a provider.
type Provider struct {
	vault.Registration
	Secret secret.Text
}

// SetProvider registers our client at a provider. Its addresses say where
// everybody's tokens are sent, so it takes a fresh touch of the passkey.
func (s *Service) SetProvider(ctx context.Context, p user.Principal, set Provider, now time.Time) error {
	place := p.MayManage()
	if err := final(place); err != nil {
		return err
	}
	if place == nil {
		place = p.Fresh(now)
	}
	if place != nil {
		if err := s.Providers.Vet(set.Registration, s.CheckURL); err != nil {
			return err
		}
		return place
	}
	return s.Providers.Set(ctx, set.Registration, set.Secret, s.CheckURL, now, logger(p, "", now))
}
