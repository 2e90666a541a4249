package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// The error codes that are not in RFC 6749 §5.2.
const (
	codeNoConnection  = "federated_connection_refresh_token_not_found"
	codeReauth        = "federated_connection_refresh_token_flow_failed"
	codeApproval      = "approval_required"
	codeUnavailable   = "temporarily_unavailable"
	codeTooMany       = "too_many_requests"
	codeAccessDenied  = "access_denied"  // RFC 6749 §4.1.2.1, used here as Auth0 does
	codeInvalidTarget = "invalid_target" // RFC 8693 §2.2.2
)

// clientError is a failed authentication of the client: RFC 6749 §5.2 has one
// code for all of them, whatever was wrong with the assertion.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

// about is an error that belongs to an action which an agent can fetch.
type about struct {
	error
	action id.Action
}

func (e about) Unwrap() error { return e.error }

// refuse records a refusal and answers it.
func (s *Server) refuse(ctx context.Context, w http.ResponseWriter, c *call, err error) {
	err = s.record(ctx, c, err)
	r := c.render(err)
	if r.status >= http.StatusInternalServerError && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "request not served", slog.String("surface", c.surface), slog.String("agent", string(c.caller.Agent)), slog.Any("error", err))
	}
	if r.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(r.retry.Seconds())))
	}
	s.write(ctx, w, r.status, r.body)
}

// record writes a refusal to the log, once. It returns what to answer: where
// the refusal of a known agent cannot be recorded, that is the failure to.
func (s *Server) record(ctx context.Context, c *call, err error) error {
	f := fault.From(err)
	switch {
	case c.recorded || broker.Recorded(err):
	case f.Kind == fault.Internal || f.Kind == fault.Unavailable:
		// Ours. Nobody was turned away.
	case errors.Is(err, user.ErrPending) || errors.Is(err, user.ErrSlowDown):
	case c.caller.Agent != "":
		if failed := s.Refusals.Known(ctx, c.caller, c.surface, err, c.now); failed != nil {
			return failed
		}
	default:
		s.Refusals.Unknown(ctx, c.from, c.surface, err, c.now)
	}
	return err
}

// refusal is an error as it goes over the wire.
type refusal struct {
	status int
	body   api.TokenError
	retry  time.Duration
}

// said is how a reason of ours is put in the words of the protocol. An empty
// detail keeps the fault's own.
type said struct {
	status int
	code   string
	detail string
}

// noConnection is the one answer to a connection that is missing, foreign,
// disconnected or not granted: telling them apart would tell what others have.
var noConnection = said{http.StatusUnauthorized, codeNoConnection,
	"Federated connection Refresh Token not found. The user has no such connected account, or has not granted it to this agent."}

// words are the reasons whose code does not follow from their kind.
var words = map[string]said{
	agent.ErrUnauthenticated.Reason: {http.StatusUnauthorized, "invalid_client",
		"The agent could not be authenticated. Check the client id, the key id, that the key is registered and that the signature is made with it."},
	agent.ErrReplayed.Reason:    {http.StatusBadRequest, "invalid_request", ""}, // RFC 8693 §2.2.2
	agent.ErrSuspended.Reason:   {http.StatusUnauthorized, "invalid_client", ""},
	grant.ErrNone.Reason:        noConnection,
	grant.ErrExpired.Reason:     noConnection,
	grant.ErrRevoked.Reason:     noConnection,
	vault.ErrUnknown.Reason:     noConnection,
	vault.ErrRevoked.Reason:     noConnection,
	user.ErrUnknown.Reason:      noConnection,
	vault.ErrNeedsReauth.Reason: {http.StatusUnauthorized, codeReauth, "Refresh Token flow for the Federated Connection failed. The provider no longer accepts this connection; its owner has to connect the account again."},
	broker.ErrScopes.Reason:     {http.StatusBadRequest, "invalid_scope", ""},
	user.ErrPending.Reason:      {http.StatusBadRequest, "authorization_pending", ""},
	user.ErrSlowDown.Reason:     {http.StatusBadRequest, "slow_down", ""},
	user.ErrDenied.Reason:       {http.StatusBadRequest, codeAccessDenied, ""},
	user.ErrExpired.Reason:      {http.StatusBadRequest, "expired_token", ""},
	errApproval.Reason:          {http.StatusForbidden, codeApproval, ""},
	errGrantType.Reason:         {http.StatusBadRequest, "unsupported_grant_type", ""},
	errAudience.Reason:          {http.StatusBadRequest, codeInvalidTarget, ""},
	vault.ErrProvider.Reason:    {http.StatusBadRequest, codeInvalidTarget, ""},
}

// kinds are the words for every other reason.
func kinds(k fault.Kind) (said, time.Duration) {
	switch k {
	case fault.Invalid:
		return said{http.StatusBadRequest, "invalid_request", ""}, 0
	case fault.Unauthenticated:
		return said{http.StatusUnauthorized, "invalid_client", ""}, 0
	case fault.Forbidden:
		return said{http.StatusForbidden, codeAccessDenied, ""}, 0
	case fault.NotFound:
		return said{http.StatusBadRequest, "invalid_request", ""}, 0
	case fault.TooLarge:
		return said{http.StatusRequestEntityTooLarge, "invalid_request", ""}, 0
	case fault.TooMany:
		return said{http.StatusTooManyRequests, codeTooMany, ""}, time.Minute
	case fault.Conflict:
		// Something moved in the middle: the same again may well succeed.
		return said{http.StatusBadRequest, codeUnavailable, ""}, time.Second
	case fault.Upstream:
		return said{http.StatusBadRequest, codeUnavailable, ""}, 5 * time.Second
	case fault.Unavailable:
		return said{http.StatusServiceUnavailable, codeUnavailable, ""}, 2 * time.Second
	}
	return said{http.StatusInternalServerError, "server_error", ""}, 0
}

// render puts err in the words of the protocol.
func (c *call) render(err error) refusal {
	f := fault.From(err)
	say, retry := kinds(f.Kind)
	if exact, ok := words[f.Reason]; ok {
		say, retry = exact, 0
	}
	if _, failed := errors.AsType[clientError](err); failed && (f.Kind == fault.Invalid || f.Kind == fault.Unauthenticated) {
		say.status, say.code = http.StatusUnauthorized, "invalid_client"
	}
	r := refusal{status: say.status, retry: retry, body: api.TokenError{Error: say.code, Description: f.Detail}}
	if say.detail != "" {
		r.body.Description = say.detail
	}
	if c.caller.Agent != "" {
		r.body.Reason = f.Reason
		if say == noConnection {
			r.body.Reason = grant.ErrNone.Reason
		}
	}
	switch {
	case f.Reason == user.ErrSlowDown.Reason:
		r.retry = user.DeviceInterval + 5*time.Second // RFC 8628 §3.5
	case f.Reason == "wrong_typ" && c.surface == surfaceExchange && say.code == "invalid_request":
		r.body.Description = "Not supported JWT type in subject token. " + r.body.Description
	}
	if a, ok := errors.AsType[about](err); ok {
		r.body.Action = string(a.action)
	}
	r.body.Description = describable(r.body.Description)
	return r
}

// describable holds s to the characters of an error_description (RFC 6749
// §5.2): printable ASCII without the double quote and the backslash.
func describable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r < 0x20 || r == 0x7f:
			return ' '
		case r > 0x7e:
			return '?'
		}
		return r
	}, s)
}
