package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/api"
)

const (
	heartbeat = 15 * time.Second // unless said otherwise; a proxy cuts what is silent for a minute
	comeBack  = 2 * time.Second  // how long a client waits before it connects again
	writeIn   = 10 * time.Second // for one message, to whoever reads too slowly
)

// stream is an answer of server-sent events. run sends until it returns; an
// error then only ends the stream.
type stream struct {
	run func(ctx context.Context, out *events) error
}

func (s stream) answer(ctx context.Context, c *call) error {
	h := c.w.Header()
	h.Set("Content-Type", api.MediaEvents)
	h.Set("X-Accel-Buffering", "no") // proxies would hold messages back
	c.w.WriteHeader(http.StatusOK)
	out := &events{w: c.w, rc: http.NewResponseController(c.w)}
	if out.raw(fmt.Sprintf("retry: %d\n\n", comeBack.Milliseconds())) != nil {
		return nil // gone already
	}
	_ = s.run(ctx, out)
	return nil
}

// events writes messages, each under a deadline of its own.
type events struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (e *events) raw(text string) error {
	_ = e.rc.SetWriteDeadline(time.Now().Add(writeIn)) // not every writer has one
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.rc.Flush()
}

// send sends one message.
func (e *events) send(event, id string, data any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil { // one line, and a line break
		return err
	}
	head := "event: " + event + "\n"
	if id != "" {
		head += "id: " + id + "\n"
	}
	return e.raw(head + "data: " + b.String() + "\n")
}

// beat keeps the connection open, and finds out whether it is.
func (e *events) beat() error { return e.raw(": still here\n\n") }

// beats is how long a stream stays silent.
func (s *Server) beats() time.Duration {
	if s.Heartbeat > 0 {
		return s.Heartbeat
	}
	return heartbeat
}

// reconnect tells the reader to come back.
func (e *events) reconnect() error { return e.send("reconnect", "", struct{}{}) }

// until is ctx, ended besides when the server leaves or d has passed.
func (s *Server) until(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	go func() {
		select {
		case <-s.Leaving:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// leaving reports whether the server has begun to stop.
func (s *Server) leaving() bool {
	select {
	case <-s.Leaving:
		return true
	default:
		return false
	}
}
