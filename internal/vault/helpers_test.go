package vault_test

import (
	"context"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
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

// writable says whether an event can be recorded.
func (s *scene) writable() bool {
	return s.App.DB.Flows().Record(s.t.Context(), []audit.Event{s.log("test.write", "", nil)}) == nil
}
