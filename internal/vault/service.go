package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/secret"
)

// Service has custody of tokens.
type Service struct {
	Org       id.Org
	Store     Store
	Keys      *seal.Keyring
	Providers *Providers
	OAuth     *OAuth
	Log       *slog.Logger

	flight singleflight.Group
	pace   pace
}

// pace is how long things may take; zero fields mean the constants below.
type pace struct {
	lease   time.Duration // how long a refresh is its holder's
	call    time.Duration // how long the provider may take in it
	goodbye time.Duration // how long the provider may take for a revocation
}

func orElse(d, usual time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return usual
}

// Credential is a token for one call, and which token set it is from.
type Credential struct {
	Token      secret.Text
	Generation int64
	ExpiresAt  time.Time // zero when the provider names no end
	Scopes     []string
	Proven     bool // the token has worked before
}

const (
	leaseTTL = 30 * time.Second
	// callTTL ends before the lease does, so that a holder who waits for a slow
	// provider still holds it when the answer comes.
	callTTL    = 25 * time.Second
	goodbyeTTL = 30 * time.Second
	// refreshMargin is how long before its end a token is renewed, unless the
	// Spec says otherwise.
	refreshMargin = time.Minute
	retryAfter    = 5 * time.Second
	usedEvery     = time.Minute // how often using a connection is noted
	waitStep      = 25 * time.Millisecond
)

// place is where a token is sealed: its own key, its own row, its own column.
func place(c *Connection, column string) seal.Place {
	return seal.Place{Key: seal.ConnectionKey(c.ID), Org: c.Org, Table: "connections", Row: string(c.ID), Column: column}
}

// Fill seals tokens into c, which is about to be stored: a new connection, or
// one that its owner connected again.
func (s *Service) Fill(ctx context.Context, c *Connection, t Tokens, now time.Time) error {
	access, err := s.Keys.Seal(ctx, place(c, "access"), t.Access)
	if err != nil {
		return fmt.Errorf("seal tokens of %s: %w", c.ID, err)
	}
	var refresh []byte
	if !t.Refresh.IsZero() {
		if refresh, err = s.Keys.Seal(ctx, place(c, "refresh"), t.Refresh); err != nil {
			return fmt.Errorf("seal tokens of %s: %w", c.ID, err)
		}
	}
	c.Access, c.Refresh, c.Previous = access, refresh, nil
	c.AccessExpiresAt, c.RefreshExpiresAt, c.RefreshedAt = t.ExpiresAt, t.RefreshExpiresAt, now
	c.Generation++
	c.Status, c.Why, c.Proven, c.Attempting = Active, "", true, false
	c.LeaseUntil, c.RetryAt = time.Time{}, time.Time{}
	return nil
}

// usable says whether c may be used at all.
func usable(c *Connection) error {
	switch c.Status {
	case Active:
		return nil
	case NeedsReauth:
		return ErrNeedsReauth
	}
	return ErrRevoked
}

// Use returns the credential of a connection for one call, refreshed if it is
// about to end.
func (s *Service) Use(ctx context.Context, con id.Connection, now time.Time) (Credential, error) {
	c, err := s.Store.Connection(ctx, s.Org, con)
	if err != nil {
		return Credential{}, err
	}
	return s.UseOf(ctx, c, now)
}

// UseOf is [Service.Use] for who has just read the connection, and judged by
// what stands in it.
func (s *Service) UseOf(ctx context.Context, c *Connection, now time.Time) (Credential, error) {
	if err := usable(c); err != nil {
		return Credential{}, err
	}
	if s.due(ctx, c, now) {
		fresh, err := s.refresh(ctx, c.ID, c.Generation)
		switch {
		case err == nil:
			c = fresh
		case errors.Is(err, ErrUpstream) && now.Before(c.AccessExpiresAt):
			// The provider is down and the token that is there has not ended: it is
			// what the margin is for.
		default:
			return Credential{}, err
		}
	}
	if now.Sub(c.UsedAt) >= usedEvery {
		if err := s.Store.Used(ctx, s.Org, c.ID, now); err != nil {
			// The connection only looks unused for longer than it was.
			s.Log.WarnContext(ctx, "use of a connection not noted", slog.String("connection", string(c.ID)), slog.Any("error", err))
		}
	}
	return s.open(ctx, c)
}

// Replace returns the credential after the provider refused the one of
// generation gen with a 401: by then somebody may have refreshed it already.
// Without a refresh token nothing can replace it, and its owner has to act.
func (s *Service) Replace(ctx context.Context, con id.Connection, gen int64, now time.Time) (Credential, error) {
	c, err := s.Store.Connection(ctx, s.Org, con)
	if err != nil {
		return Credential{}, err
	}
	if err := usable(c); err != nil {
		return Credential{}, err
	}
	if c.Generation == gen {
		if len(c.Refresh) == 0 {
			return Credential{}, s.lost(ctx, con, gen, "The provider no longer accepts this token.", now)
		}
		if c, err = s.refresh(ctx, con, gen); err != nil {
			return Credential{}, err
		}
	}
	return s.open(ctx, c)
}

// Worked records that the tokens of generation gen were accepted once: from
// then on the refresh token before them is of no use.
func (s *Service) Worked(ctx context.Context, con id.Connection, gen int64) error {
	c, err := s.Store.Connection(ctx, s.Org, con)
	if err != nil || c.Proven || c.Generation != gen {
		return err
	}
	return s.Store.UpdateConnection(ctx, s.Org, con, func(c *Connection) ([]audit.Event, error) {
		if c.Generation == gen {
			c.Proven, c.Previous = true, nil
		}
		return nil, nil
	})
}

func (s *Service) open(ctx context.Context, c *Connection) (Credential, error) {
	t, err := s.Keys.Open(ctx, place(c, "access"), c.Access)
	if err != nil {
		return Credential{}, fmt.Errorf("open token of %s: %w", c.ID, err)
	}
	return Credential{Token: t, Generation: c.Generation, ExpiresAt: c.AccessExpiresAt, Scopes: c.Scopes, Proven: c.Proven}, nil
}

// due says whether c must be refreshed before it is used.
func (s *Service) due(ctx context.Context, c *Connection, now time.Time) bool {
	if len(c.Refresh) == 0 || c.AccessExpiresAt.IsZero() {
		return false
	}
	margin := refreshMargin
	if p, err := s.Providers.Find(ctx, c.Provider); err == nil && p.Spec.Refresh.Margin > 0 {
		margin = p.Spec.Refresh.Margin
	}
	// A margin longer than half the token's life would refresh it at each use.
	if life := c.AccessExpiresAt.Sub(c.RefreshedAt); life > 0 && margin > life/2 {
		margin = life / 2
	}
	return !now.Before(c.AccessExpiresAt.Add(-margin))
}

// refresh renews the tokens of con beyond generation seen, once for all who
// ask, in this process and in others. It does not end with its caller.
func (s *Service) refresh(ctx context.Context, con id.Connection, seen int64) (*Connection, error) {
	for {
		done := s.flight.DoChan(string(con), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*orElse(s.pace.lease, leaseTTL))
			defer cancel()
			return s.refreshOnce(ctx, con, seen)
		})
		select {
		case r := <-done:
			if r.Err != nil {
				return nil, r.Err
			}
			if c := r.Val.(*Connection); c.Generation > seen {
				return c, nil
			}
			// That flight had begun for somebody who saw an older generation.
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Service) refreshOnce(ctx context.Context, con id.Connection, seen int64) (*Connection, error) {
	for {
		c, err := s.Store.Connection(ctx, s.Org, con)
		switch {
		case err != nil:
			return nil, err
		case usable(c) != nil:
			return nil, usable(c)
		case c.Generation > seen:
			return c, nil
		case time.Now().Before(c.RetryAt):
			return nil, ErrUpstream
		}
		started := audit.Event{At: time.Now(), Org: s.Org, Verb: "connection.refresh_started", Actor: "system", Object: string(con), Subject: string(c.User),
			Data: map[string]string{"generation": fmt.Sprint(c.Generation)}}
		leased, ok, err := s.Store.Lease(ctx, s.Org, con, orElse(s.pace.lease, leaseTTL), []audit.Event{started})
		if err != nil {
			return nil, err
		}
		if !ok {
			// Somebody else is at it: wait for what they bring.
			select {
			case <-ctx.Done():
				return nil, ErrUpstream.Because(ctx.Err())
			case <-time.After(waitStep):
			}
			continue
		}
		if leased.Generation > seen || leased.Status != Active {
			err := s.settle(ctx, leased, func(c *Connection) []audit.Event {
				c.Attempting = leased.Attempting
				return nil
			})
			if err != nil {
				return nil, err
			}
			continue
		}
		fresh, err := s.attempt(ctx, leased)
		if errors.Is(err, ErrStale) {
			continue // we were too slow; whoever took over has brought tokens, or says why not
		}
		return fresh, err
	}
}

// attempt asks the provider, holding the lease. leased.Attempting says that
// the holder before died in the middle: a rotation may have happened of which
// we do not know.
func (s *Service) attempt(ctx context.Context, leased *Connection) (*Connection, error) {
	p, err := s.Providers.Find(ctx, leased.Provider)
	if err != nil {
		return nil, errors.Join(err, s.pause(ctx, leased, retryAfter, false, "provider_gone"))
	}
	present, err := s.Keys.Open(ctx, place(leased, "refresh"), leased.Refresh)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open refresh token of %s: %w", leased.ID, err), s.pause(ctx, leased, retryAfter, false, "unreadable"))
	}
	call, cancel := context.WithTimeout(ctx, orElse(s.pace.call, callTTL))
	defer cancel()
	used := leased.Refresh
	t, err := s.OAuth.Refresh(call, p, present, time.Now())
	if errors.Is(err, ErrGrantDead) && len(leased.Previous) > 0 && (leased.Attempting || !leased.Proven) {
		// The rotation before this is uncertain: the provider may know only the
		// other token. Once, and no more.
		other, openErr := s.Keys.Open(ctx, place(leased, "refresh"), leased.Previous)
		if openErr == nil {
			used = leased.Previous
			t, err = s.OAuth.Refresh(call, p, other, time.Now())
		}
	}
	switch {
	case err == nil:
		fresh, err := s.keep(ctx, leased, used, t)
		if errors.Is(err, ErrRevoked) {
			s.forfeit(ctx, p, leased, t)
		}
		return fresh, err
	case errors.Is(err, ErrGrantDead):
		s.Log.WarnContext(ctx, "connection needs its owner", slog.String("connection", string(leased.ID)), slog.Any("error", err))
		err := s.settle(ctx, leased, func(c *Connection) []audit.Event {
			c.Status, c.Why = NeedsReauth, "The provider no longer accepts the stored grant."
			return []audit.Event{connectionEvent(c, "connection.needs_reauth", time.Now(), map[string]string{"uncertain": fmt.Sprint(leased.Attempting)})}
		})
		if err != nil {
			return nil, err
		}
		return nil, ErrNeedsReauth
	default:
		s.Log.WarnContext(ctx, "refresh did not succeed", slog.String("connection", string(leased.ID)), slog.Any("error", err))
		wait := retryAfter
		if b, ok := errors.AsType[*busy](err); ok {
			wait = max(wait, b.wait)
		}
		// What the store says comes first: a connection that ended meanwhile must
		// not look as if the provider alone were in the way.
		if paused := s.pause(ctx, leased, wait, errors.Is(err, ErrUncertain), "provider_failed"); paused != nil {
			return nil, paused
		}
		return nil, ErrUpstream.Because(err)
	}
}

// forfeit ends tokens that arrived after their owner had disconnected: nobody
// will use them, so they should not live on at the provider.
func (s *Service) forfeit(ctx context.Context, p *Provider, leased *Connection, t Tokens) {
	call, cancel := context.WithTimeout(ctx, orElse(s.pace.goodbye, goodbyeTTL))
	defer cancel()
	r := s.revoke(call, p, leased, t.Access, t.Refresh)
	err := s.Store.UpdateConnection(ctx, s.Org, leased.ID, func(c *Connection) ([]audit.Event, error) {
		return []audit.Event{connectionEvent(c, "connection.late_tokens_revoked", time.Now(), map[string]string{
			"upstream": strconv.FormatBool(r.Done), "status": strconv.Itoa(r.Status),
		})}, nil
	})
	if err != nil {
		s.Log.ErrorContext(ctx, "late tokens not recorded", slog.String("connection", string(leased.ID)), slog.Any("error", err))
	}
}

// EndLeases ends the leases that a process before this one left when it died,
// so that nobody waits until their time is up. It is for who is alone on the
// database. What such a holder may have done at the provider stays on record.
func (s *Service) EndLeases(ctx context.Context) error {
	all, err := s.Store.Connections(ctx, s.Org)
	if err != nil {
		return fmt.Errorf("end leases: %w", err)
	}
	for _, c := range all {
		if c.LeaseUntil.IsZero() {
			continue
		}
		err := s.Store.UpdateConnection(ctx, s.Org, c.ID, func(c *Connection) ([]audit.Event, error) {
			c.LeaseUntil = time.Time{}
			return nil, nil
		})
		if err != nil {
			return fmt.Errorf("end the lease of %s: %w", c.ID, err)
		}
	}
	return nil
}

// keep makes new tokens durable before anybody uses them. The provider has
// spent the old ones by now, so a database that fails is tried again for as
// long as the lease holds. used is the sealed refresh token that bought them:
// without rotation it stays the one, with it it is kept until the new one has
// worked.
func (s *Service) keep(ctx context.Context, leased *Connection, used []byte, t Tokens) (*Connection, error) {
	now := time.Now()
	access, err := s.Keys.Seal(ctx, place(leased, "access"), t.Access)
	if err != nil {
		return nil, fmt.Errorf("seal refreshed tokens of %s: %w", leased.ID, err)
	}
	refresh, previous := used, []byte(nil)
	if !t.Refresh.IsZero() {
		if refresh, err = s.Keys.Seal(ctx, place(leased, "refresh"), t.Refresh); err != nil {
			return nil, fmt.Errorf("seal refreshed tokens of %s: %w", leased.ID, err)
		}
		previous = used
	}
	var kept *Connection
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err = s.settle(ctx, leased, func(c *Connection) []audit.Event {
			c.Access, c.Refresh, c.Previous = access, refresh, previous
			c.AccessExpiresAt, c.RefreshedAt, c.Proven = t.ExpiresAt, now, false
			if !t.RefreshExpiresAt.IsZero() {
				c.RefreshExpiresAt = t.RefreshExpiresAt
			}
			c.Generation++
			c.RetryAt = time.Time{}
			data := map[string]string{"generation": fmt.Sprint(c.Generation), "rotated": fmt.Sprint(!t.Refresh.IsZero())}
			if t.ScopesGiven && !equalSets(c.Scopes, t.Scopes) {
				c.Scopes = t.Scopes
				data["scopes"] = "changed"
			}
			kept = c
			return []audit.Event{connectionEvent(c, "connection.refreshed", now, data)}
		})
		if err == nil || errors.Is(err, ErrStale) || fault.From(err).Kind != fault.Unavailable {
			break
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// pause ends the lease without new tokens; nobody asks the provider again
// before wait has passed.
func (s *Service) pause(ctx context.Context, leased *Connection, wait time.Duration, uncertain bool, why string) error {
	now := time.Now()
	return s.settle(ctx, leased, func(c *Connection) []audit.Event {
		c.RetryAt = now.Add(wait)
		c.Attempting = uncertain || leased.Attempting
		return []audit.Event{connectionEvent(c, "connection.refresh_failed", now, map[string]string{"why": why, "uncertain": fmt.Sprint(uncertain)})}
	})
}

// settle ends the lease with a change. A holder whose lease was taken over
// writes nothing; of a connection that its owner ended meanwhile only the lease
// ends, and the error says that it is over.
func (s *Service) settle(ctx context.Context, leased *Connection, change func(*Connection) []audit.Event) error {
	var over error
	err := s.Store.UpdateConnection(ctx, s.Org, leased.ID, func(c *Connection) ([]audit.Event, error) {
		if c.Fence != leased.Fence {
			return nil, ErrStale
		}
		c.LeaseUntil, c.Attempting = time.Time{}, false
		if over = usable(c); over != nil {
			return nil, nil
		}
		return change(c), nil
	})
	if err != nil {
		return err
	}
	return over
}

// lost marks a connection whose token died and cannot be renewed.
func (s *Service) lost(ctx context.Context, con id.Connection, gen int64, why string, now time.Time) error {
	err := s.Store.UpdateConnection(ctx, s.Org, con, func(c *Connection) ([]audit.Event, error) {
		if c.Generation != gen || c.Status != Active {
			return nil, nil
		}
		c.Status, c.Why = NeedsReauth, why
		return []audit.Event{connectionEvent(c, "connection.needs_reauth", now, nil)}, nil
	})
	return errors.Join(err, ErrNeedsReauth)
}

func connectionEvent(c *Connection, verb string, now time.Time, data map[string]string) audit.Event {
	if data == nil {
		data = map[string]string{}
	}
	data["provider"] = c.Provider
	return audit.Event{At: now, Org: c.Org, Verb: verb, Actor: "system", Object: string(c.ID), Subject: string(c.User), Data: data}
}

func equalSets(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	have := make(map[string]int, len(a))
	for _, x := range a {
		have[x]++
	}
	for _, x := range b {
		if have[x]--; have[x] < 0 {
			return false
		}
	}
	return true
}
