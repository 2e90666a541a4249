package client

import (
	"context"
	"sync"
	"time"
)

// margin is how long before its end a token is no longer handed out: it has to
// outlive the request that it is used for.
const margin = 60 * time.Second

// cache keeps one token in memory and fetches the next one once, however many
// ask at the same time. There is no goroutine of its own: the first who asks
// fetches, the others wait for them.
type cache struct {
	mu      sync.Mutex
	token   *Token
	running *fetching
}

// fetching is one fetch under way. The fields are set before done is closed.
type fetching struct {
	done      chan struct{}
	token     Token
	err       error
	abandoned bool // whoever fetched gave up; somebody else should
}

// get returns the token, fetched anew if it is about to end. A failure that may
// pass does not take away a token that is still good.
func (c *cache) get(ctx context.Context, fetch func(context.Context) (Token, error)) (Token, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Token{}, err
		}
		c.mu.Lock()
		if c.token != nil && time.Until(c.token.ExpiresAt) > margin {
			defer c.mu.Unlock()
			return *c.token, nil
		}
		f := c.running
		if f == nil {
			f = &fetching{done: make(chan struct{}), abandoned: true}
			c.running = f
			c.mu.Unlock()
			return c.lead(ctx, f, fetch)
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return Token{}, ctx.Err()
		case <-f.done:
		}
		if !f.abandoned {
			return f.token, f.err
		}
	}
}

// lead fetches for all who wait on f.
func (c *cache) lead(ctx context.Context, f *fetching, fetch func(context.Context) (Token, error)) (Token, error) {
	defer func() { // also when fetch panics: those who wait must not wait for ever
		c.mu.Lock()
		c.running = nil
		c.mu.Unlock()
		close(f.done)
	}()
	f.token, f.err = fetch(ctx)
	f.abandoned = f.err != nil && ctx.Err() != nil
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.err == nil:
		c.token = &f.token
	case c.token == nil || f.abandoned:
	case asError(f.err) != nil && asError(f.err).transient() && time.Now().Before(c.token.ExpiresAt):
		f.token, f.err = *c.token, nil
	default:
		c.token = nil // refused: what was granted before is not handed out any more
	}
	return f.token, f.err
}

// drop forgets t, if it is still the token that is kept.
func (c *cache) drop(t Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != nil && c.token.Access.Equal(t.Access) {
		c.token = nil
	}
}
