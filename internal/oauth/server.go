package oauth

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/user"
)

// Server answers the OAuth endpoints. All fields must be set.
type Server struct {
	Issuer   string // with its trailing slash: published, and the audience that agents sign for
	Agents   *agent.Service
	Broker   *broker.Broker
	Refusals *agent.Refusals
	Users    *user.Service
	Signer   *jwt.Signer
	// ClientIP says where a request comes from, proxies considered.
	ClientIP func(*http.Request) netip.Addr
	Log      *slog.Logger
}

// Routes adds every path of this package to mux. Some clients have the paths
// built in, so they are Auth0's (auth0-wire.md §2).
func (s *Server) Routes(mux *http.ServeMux) {
	mux.Handle("POST /oauth/token", s.handle(surfaceToken, s.token))
	mux.Handle("POST /oauth/revoke", s.handle(surfaceToken, s.revoke))
	mux.Handle("POST /oauth/device/code", s.handle(surfaceDevice, s.beginDevice))

	metadata := s.metadata()
	mux.Handle("GET /.well-known/openid-configuration", s.document(metadata))
	mux.Handle("GET /.well-known/oauth-authorization-server", s.document(metadata))
	mux.Handle("GET /.well-known/jwks.json", s.document(s.Signer.JWKS()))
}

// The surfaces by which refusals are told apart in the log.
const (
	surfaceToken    = "token"
	surfaceExchange = "exchange"
	surfaceDevice   = "device"
)

// call is one request on its way.
type call struct {
	params
	header  http.Header
	from    netip.Addr
	now     time.Time
	surface string
	// caller is whoever signed, as soon as a signature has verified.
	caller agent.Caller
	// recorded says that the log holds what is about to be answered.
	recorded bool
}

// reply is what goes over the wire. It may hold credentials: it is made at the
// last moment and never logged.
type reply interface{ wire() any }

// endpoint is what one path does with a call. No reply is an empty 200.
type endpoint func(context.Context, *call) (reply, error)

// handle owns the phases of every endpoint.
func (s *Server) handle(surface string, do endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// RFC 6749 §5.1, for errors too: some of them name accounts.
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
		c := &call{header: r.Header, from: s.ClientIP(r), surface: surface}
		var out reply
		var err error
		c.params, err = read(w, r)
		// The clock is read after the body: a body that trickles in must not let
		// an old signature pass for a young one.
		c.now = time.Now()
		if err == nil {
			out, err = do(r.Context(), c)
		}
		if err != nil {
			s.refuse(r.Context(), w, c, err)
			return
		}
		if out == nil {
			w.WriteHeader(http.StatusOK)
			return
		}
		s.write(r.Context(), w, http.StatusOK, out.wire())
	})
}

// write sends v, which always marshals: it is a struct of package api.
func (s *Server) write(ctx context.Context, w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.Log.ErrorContext(ctx, "answer not encoded", slog.Any("error", err))
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", api.MediaJSON)
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.Log.DebugContext(ctx, "answer not delivered", slog.Any("error", err))
	}
}
