package vault_test

import (
	"context"
	"testing"
	"time"
)

// contextUntil is a context that ends when it is so.
func contextUntil(t *testing.T, so func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for !so() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}
