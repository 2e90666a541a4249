package cli

import (
	"context"
	"time"
)

// reconnect is how long to wait before a stream that ended is opened again.
const reconnect = time.Second

// sleep waits, and reports whether nobody interrupted it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
