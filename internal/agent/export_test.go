package agent

import (
	"context"
	"time"
)

// Flush writes the counted refusals as Run does once a minute.
func (r *Refusals) Flush(ctx context.Context, now time.Time) { r.flush(ctx, now) }
