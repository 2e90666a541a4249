package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/secret"
)

// Report is what became of a connection that was ended. It does not claim
// more than was seen.
type Report struct {
	Connection id.Connection
	Provider   string
	Account    string
	Here       string // what was ended here
	Upstream   Revocation
	Probe      string // what a look with the old token showed
	Todo       string // what its owner still has to do, or ""
}

// Disconnect ends a connection: here first, so that nothing uses it from this
// moment on, then at the provider as far as that goes, and says what it found.
func (s *Service) Disconnect(ctx context.Context, con id.Connection, now time.Time, log func(verb, object string, data map[string]string) audit.Event) (Report, error) {
	err := s.Store.End(ctx, s.Org, con, now, func(c *Connection) ([]audit.Event, error) {
		if c.Status == Revoked {
			return nil, ErrRevoked
		}
		c.Status, c.Why, c.RevokedAt = Revoked, "Disconnected by its owner.", now
		return []audit.Event{log("connection.revoked", string(con), map[string]string{"provider": c.Provider})}, nil
	})
	if err != nil {
		return Report{}, err
	}
	return s.finish(context.WithoutCancel(ctx), con)
}

// FinishDisconnects completes what a crash interrupted: tombstones that still
// hold tokens.
func (s *Service) FinishDisconnects(ctx context.Context) error {
	all, err := s.Store.Connections(ctx, s.Org)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Status != Revoked || len(c.Access) == 0 {
			continue
		}
		if _, err := s.finish(ctx, c.ID); err != nil {
			s.Log.ErrorContext(ctx, "finishing a disconnect", slog.String("connection", string(c.ID)), slog.Any("error", err))
		}
	}
	return nil
}

// finish revokes upstream, looks whether it took, and shreds the tokens. The
// ciphertext leaves the row last: it is the mark of a disconnect that is not
// finished.
func (s *Service) finish(ctx context.Context, con id.Connection) (Report, error) {
	c, err := s.Store.Connection(ctx, s.Org, con)
	if err != nil {
		return Report{}, err
	}
	r := Report{Connection: con, Provider: c.Provider, Account: c.Account,
		Here: "The connection, its grants and everything that waited for it have ended here; its tokens were destroyed."}
	access, refresh, shredded := s.peek(ctx, c)
	if !shredded { // otherwise a crash came after the end was recorded
		s.goodbye(ctx, c, access, refresh, &r)
		now := time.Now()
		err = s.Store.UpdateConnection(ctx, s.Org, con, func(c *Connection) ([]audit.Event, error) {
			return []audit.Event{connectionEvent(c, "connection.ended", now, map[string]string{
				"upstream": strconv.FormatBool(r.Upstream.Done), "status": strconv.Itoa(r.Upstream.Status), "scope": r.Upstream.Scope, "probe": r.Probe,
			})}, nil
		})
		if err != nil {
			return r, err
		}
		if err := s.Keys.Shred(ctx, seal.ConnectionKey(con)); err != nil {
			return r, fmt.Errorf("shred key of %s: %w", con, err)
		}
	}
	return r, s.Store.UpdateConnection(ctx, s.Org, con, func(c *Connection) ([]audit.Event, error) {
		c.Access, c.Refresh, c.Previous = nil, nil, nil
		return nil, nil
	})
}

// goodbye ends the tokens at the provider and writes into r what was seen. The
// provider has its own time for that: a slow one keeps no token here.
func (s *Service) goodbye(ctx context.Context, c *Connection, access, refresh secret.Text, r *Report) {
	call, cancel := context.WithTimeout(ctx, orElse(s.pace.goodbye, goodbyeTTL))
	defer cancel()
	p, err := s.Providers.Find(ctx, c.Provider)
	if err != nil {
		r.Upstream.Detail = "The provider is no longer configured, so nothing could be revoked there."
		r.Todo = r.Upstream.Detail
		return
	}
	// Some providers are told what to revoke by an access token that still works:
	// one that has ended is renewed once more for this, unless somebody is at it
	// already, who will find that the connection is over and end what they bring.
	now := time.Now()
	ended := !c.AccessExpiresAt.IsZero() && !now.Before(c.AccessExpiresAt)
	if p.Spec.Revoke.Target == "access" && !refresh.IsZero() && ended && now.After(c.LeaseUntil) {
		if t, err := s.OAuth.Refresh(call, p, refresh, now); err == nil {
			access = t.Access
			if !t.Refresh.IsZero() {
				refresh = t.Refresh
			}
		}
	}
	r.Upstream = s.revoke(call, p, c, access, refresh)
	r.Probe = s.probe(call, p, access)
	if !r.Upstream.Done {
		r.Todo = r.Upstream.Detail
	}
}

// revoke ends tokens of c at the provider, sparing what other connections to
// the same account hold where that is possible.
func (s *Service) revoke(ctx context.Context, p *Provider, c *Connection, access, refresh secret.Text) Revocation {
	end := Ending{Access: access, Refresh: refresh, Pasted: c.Kind == ByPaste}
	all, err := s.Store.Connections(ctx, s.Org)
	if err != nil {
		s.Log.WarnContext(ctx, "other connections to the account not counted", slog.String("connection", string(c.ID)), slog.Any("error", err))
	}
	for _, o := range all {
		if o.ID != c.ID && o.Provider == c.Provider && o.AccountID == c.AccountID && o.Kind == ByCode && o.Status == Active {
			end.Others++
		}
	}
	return s.OAuth.Revoke(ctx, p, end)
}

// discardTTL is how long a provider may take to end tokens that nobody keeps:
// a person waits for it.
const discardTTL = 10 * time.Second

// Discard ends tokens at the provider that were issued to us and that nobody
// keeps: these and no others, or none. account is whose they are, where that is
// known; where it is not, every connection at this provider may live by the
// same grant. A provider may answer a second consent with the tokens that it
// gave before: those that a connection lives by are left alone.
func (s *Service) Discard(ctx context.Context, p *Provider, account string, t Tokens) Revocation {
	call, cancel := context.WithTimeout(ctx, orElse(s.pace.goodbye, discardTTL))
	defer cancel()
	all, err := s.Store.Connections(call, s.Org)
	if err != nil {
		s.Log.WarnContext(ctx, "tokens of a failed connection left alone: other connections not counted", slog.String("provider", p.ID), slog.Any("error", err))
		return Revocation{Detail: "It is not known what else would have ended with these tokens, so they were left to end by themselves."}
	}
	end := Ending{Access: t.Access, Refresh: t.Refresh, Alone: true}
	for _, o := range all {
		if o.Provider != p.ID || o.Status == Revoked || account != "" && o.AccountID != account {
			continue
		}
		if s.holds(call, o, t) {
			return Revocation{Detail: "Another connection here lives by the same tokens, or may do so: they were left alone."}
		}
		if o.Kind == ByCode {
			end.Others++
		}
	}
	return s.OAuth.Revoke(call, p, end)
}

// holds reports whether c lives by one of these tokens. One that cannot be read
// may be any.
func (s *Service) holds(ctx context.Context, c *Connection, t Tokens) bool {
	for _, kept := range []struct {
		column string
		sealed []byte
	}{{"access", c.Access}, {"refresh", c.Refresh}, {"refresh", c.Previous}} {
		if len(kept.sealed) == 0 {
			continue
		}
		token, err := s.Keys.Open(ctx, place(c, kept.column), kept.sealed)
		if err != nil {
			s.Log.WarnContext(ctx, "tokens of a failed connection left alone: another's cannot be compared", slog.String("connection", string(c.ID)), slog.Any("error", err))
			return true
		}
		if token.Equal(t.Access) || !t.Refresh.IsZero() && token.Equal(t.Refresh) {
			return true
		}
	}
	return false
}

// peek opens what tokens there are; a token that cannot be read cannot be
// revoked either. shredded says that their key is gone.
func (s *Service) peek(ctx context.Context, c *Connection) (access, refresh secret.Text, shredded bool) {
	var err error
	if len(c.Access) > 0 {
		if access, err = s.Keys.Open(ctx, place(c, "access"), c.Access); errors.Is(err, seal.ErrShredded) {
			return access, refresh, true
		} else if err != nil {
			s.Log.ErrorContext(ctx, "token unreadable at disconnect", slog.String("connection", string(c.ID)), slog.Any("error", err))
		}
	}
	if len(c.Refresh) > 0 {
		if refresh, err = s.Keys.Open(ctx, place(c, "refresh"), c.Refresh); err != nil {
			s.Log.ErrorContext(ctx, "token unreadable at disconnect", slog.String("connection", string(c.ID)), slog.Any("error", err))
		}
	}
	return access, refresh, false
}

// probe asks the identity call with the old token whether it is dead.
func (s *Service) probe(ctx context.Context, p *Provider, access secret.Text) string {
	if access.IsZero() || p.Spec.Identity.URL == "" {
		return "not_probed"
	}
	_, _, err := s.OAuth.Identity(ctx, p, access)
	switch {
	case err == nil:
		return "still_alive"
	case errors.Is(err, errTokenDead):
		return "dead"
	}
	return "unclear"
}
