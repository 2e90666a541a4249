package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// feed writes server-sent events to one page (HTML §9.2). An event carries no
// content: it names what changed, and the page asks for it as any page does.
type feed struct {
	w   http.ResponseWriter
	out *http.ResponseController
}

func (f feed) write(format string, args ...any) error {
	// A reader that has stopped reading must not hold the connection for ever.
	if err := f.out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if _, err := fmt.Fprintf(f.w, format, args...); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return f.out.Flush()
}

func (f feed) send(event string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return f.write("event: %s\ndata: %s\n\n", event, b)
}

// stream adapts a live feed. It ends with its session.
func (s *Server) stream(do func(context.Context, *call, feed) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		c, err := s.open(w, r, true)
		if err == nil && !c.known() {
			err = user.ErrLogin
		}
		if err != nil {
			w.WriteHeader(s.known(c, err).Kind.Status())
			return
		}
		w.Header().Set("Content-Type", api.MediaEvents)
		w.Header().Set("X-Accel-Buffering", "no")
		if r.Method == http.MethodHead {
			return
		}
		if err := do(r.Context(), c, feed{w, http.NewResponseController(w)}); err != nil && r.Context().Err() == nil {
			s.Log.DebugContext(r.Context(), "live page ended", slog.Any("error", err))
		}
	})
}

// inboxEvents follows the log for one person.
func (s *Server) inboxEvents(ctx context.Context, c *call, f feed) error {
	woken, leave := s.Broker.Watch()
	defer leave()
	head, err := s.Broker.Log.Head(ctx)
	if err != nil {
		return err
	}
	next := head.Size
	if err := f.write("retry: 2000\n\n"); err != nil {
		return err
	}
	// The page may be older than this connection: it looks once.
	if err := s.tellInbox(ctx, c, f); err != nil {
		return err
	}
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Leaving:
			return nil
		case <-beat.C:
			if err := f.write(": still here\n\n"); err != nil {
				return err
			}
		case <-woken:
		}
		c.now = time.Now()
		if c.who, err = s.look(ctx, c.bearer, c.now); err != nil {
			return err
		}
		for {
			events, err := s.Broker.Log.Events(ctx, next, 500)
			if err != nil {
				return err
			}
			if len(events) == 0 {
				break
			}
			next += int64(len(events))
			if err := s.tell(ctx, c, f, events); err != nil {
				return err
			}
		}
	}
}

// tell passes on what concerns this person.
func (s *Server) tell(ctx context.Context, c *call, f feed, events []audit.Event) error {
	inbox, told := false, map[string]bool{}
	for _, e := range events {
		held := strings.HasPrefix(e.Verb, "action.") && e.Data["approval"] != ""
		// A freeze changes what the inbox and an open action say.
		inbox = inbox || held || strings.HasPrefix(e.Verb, "freeze.") || strings.HasPrefix(e.Verb, "approval.") || strings.HasPrefix(e.Verb, "proposal.")
		if !held || told[e.Object] || e.Org != s.Org {
			continue
		}
		told[e.Object] = true
		if e.Subject != string(c.who.User) && !seesAll(c.who) {
			if _, err := s.Broker.Find(ctx, c.who, id.Action(e.Object), c.now); err != nil {
				continue
			}
		}
		if err := f.send("action", map[string]string{"id": e.Object}); err != nil {
			return err
		}
	}
	if !inbox {
		return nil
	}
	return s.tellInbox(ctx, c, f)
}

func (s *Server) tellInbox(ctx context.Context, c *call, f feed) error {
	mine, _, err := s.waiting(ctx, c)
	if err != nil {
		return err
	}
	proposed, err := s.Proposals.Waiting(ctx, c.who, c.now)
	if err != nil {
		return err
	}
	return f.send("inbox", map[string]int{"pending": len(mine) + len(proposed)})
}
