package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/valetkey/valetkey/api"
)

// health is an answer of /healthz and /readyz.
type health struct{ api.Health }

func (h health) answer(_ context.Context, c *call) error {
	code := http.StatusOK
	if h.Status != "ok" {
		code = http.StatusServiceUnavailable
	}
	return c.json(code, "", h.Health)
}

// healthz says that the process is alive, and nothing else: a database that is
// away is no reason to kill it.
func (s *Server) healthz(context.Context, *call) (health, error) {
	return health{api.Health{Status: "ok", Version: s.Version}}, nil
}

// readyz says whether requests should be sent here.
func (s *Server) readyz(ctx context.Context, _ *call) (health, error) {
	h := api.Health{Status: "ok", Version: s.Version, Checks: s.ready.look(ctx, s)}
	if s.leaving() {
		h.Checks["serving"] = "stopping"
	}
	for _, state := range h.Checks {
		if state != "ok" {
			h.Status = "unavailable"
		}
	}
	return health{h}, nil
}

const (
	readyFor = time.Second     // anybody may ask, so what was found is good for a while
	readyIn  = 2 * time.Second // a database that takes longer does not answer
)

// readiness is what was found when it was last looked at.
type readiness struct {
	mu     sync.Mutex
	until  time.Time
	checks map[string]string
}

func (r *readiness) look(ctx context.Context, s *Server) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.until) {
		// Others wait for this, so it does not end with whoever asked first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyIn)
		defer cancel()
		r.checks = map[string]string{"database": "ok", "recording": "ok", "serving": "ok"}
		if _, err := s.Record.Head(ctx); err != nil {
			r.checks["database"] = "does not answer"
		}
		// Nothing at all is recorded by the same way as everything else.
		if err := s.Refusals.Store.Refuse(ctx, nil, nil); err != nil {
			r.checks["recording"] = "not writable"
		}
		r.until = time.Now().Add(readyFor)
	}
	out := map[string]string{}
	for name, state := range r.checks {
		out[name] = state
	}
	return out
}
