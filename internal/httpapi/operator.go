package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
)

// operatorSocket is the setting under which the socket may change things
// although passkeys exist.
const operatorSocket = "socket"

// The socket is for commands, one at a time.
const (
	socketHeader = 10 * time.Second
	socketIdle   = 2 * time.Minute
	maxHeader    = 32 << 10
)

// peerKey is where a connection keeps who is at its other end. It is a fact of
// the transport, read once by authenticateOperator and passed on as an argument.
type peerKey struct{}

var (
	errPeer     = fault.New(fault.Unauthenticated, "operator_unknown", "The operator socket is for the user that the server runs as, and for root.")
	errOperator = fault.New(fault.Invalid, "operator_credential", "The operator socket takes no credential: leave the Authorization header and the cookie out, or use the server's address.")
)

// OperatorServer serves the operator's socket: the same routes as the network
// has for people, but no decision, which always needs a person who is logged in.
// The caller listens with [ListenOperator], serves and shuts it down.
func (s *Server) OperatorServer() *http.Server {
	return &http.Server{
		Handler:           s.operatorHandler(),
		ReadHeaderTimeout: socketHeader,
		IdleTimeout:       socketIdle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			uid, err := peerUID(c)
			if err != nil {
				s.Log.WarnContext(ctx, "operator socket: nobody known at the other end", slog.Any("error", err))
				return ctx
			}
			return context.WithValue(ctx, peerKey{}, uid)
		},
	}
}

// authenticateOperator takes the process at the other end of the socket.
func (s *Server) authenticateOperator(ctx context.Context, c *call, now time.Time) (caller, error) {
	uid, known := ctx.Value(peerKey{}).(int)
	if !known || uid != 0 && uid != os.Getuid() {
		return caller{}, errPeer
	}
	if c.r.Header.Get("Authorization") != "" || c.r.Header.Get("Cookie") != "" || c.r.Header.Get("Origin") != "" {
		return caller{}, errOperator
	}
	any, err := s.Users.AnyPasskey(ctx)
	if err != nil && c.r.Method != http.MethodGet && c.route.pattern != "POST /v1/admin/freezes" {
		return caller{}, err
	}
	// When nobody can tell whether there is a passkey, there is one.
	p := user.Principal{
		Org: s.Org, Operator: true, UID: uid, Confirm: s.Config.Operator == operatorSocket || err == nil && !any,
	}
	s.seen(ctx, p, c, now)
	return caller{person: &p}, nil
}

// polled reports whether a route shows only the log itself, how much of
// everything there is, or what became of what was asked there. To record each look at such a one would make a log that
// grows by being read.
func polled(pattern string) bool {
	switch pattern {
	case "GET /v1/me", "GET /v1/admin/status", "GET /v1/admin/events", "GET /v1/admin/events/stream", "GET /v1/admin/checkpoint",
		"GET /v1/proposals/{id}":
		return true
	}
	return false
}

// seen records what the operator looked at. Changes are recorded by the services
// that make them, or not made; a look does not wait for the log, because a
// broken log is among what an operator has to look at.
func (s *Server) seen(ctx context.Context, p user.Principal, c *call, now time.Time) {
	if c.r.Method != http.MethodGet || polled(c.route.pattern) {
		return
	}
	e := p.Event("operator.looked", "", "", now, map[string]string{"route": c.route.pattern})
	if err := s.Refusals.Store.Refuse(context.WithoutCancel(ctx), nil, []audit.Event{e}); err != nil {
		s.Log.WarnContext(ctx, "operator's look not recorded", slog.String("route", c.route.pattern), slog.Any("error", err))
	}
}

// ListenOperator listens on the socket at path, with mode 0600. What a dead
// server left there is removed; a living one is an error.
func ListenOperator(ctx context.Context, path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return nil, fault.New(fault.Conflict, "socket_in_the_way", fmt.Sprintf("%s is no socket; move it away.", path))
	case err == nil:
		var d net.Dialer
		if c, err := d.DialContext(ctx, "unix", path); err == nil {
			return nil, errors.Join(fault.New(fault.Conflict, "already_running", fmt.Sprintf("Another server answers on %s; stop it first.", path)), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove dead operator socket: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look at operator socket: %w", err)
	}
	// The directory is 0700, so nobody gets in between the two calls.
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on operator socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict operator socket: %w", err), l.Close())
	}
	return l, nil
}
