package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Refusals of the edge itself.
var (
	errNoCredential = fault.New(fault.Unauthenticated, "authentication_required", "Send an access token: Authorization: Bearer …. An agent gets one from /oauth/token, a person by 'valetkey login'.")
	errBadToken     = fault.New(fault.Unauthenticated, "invalid_token", "The access token is unknown, expired or revoked; get a new one.")
	errAgent        = fault.New(fault.Forbidden, "agent_not_allowed", "This is for people; an agent's credential does not open it.")
	errPerson       = fault.New(fault.Forbidden, "person_not_allowed", "This is for agents; the login of a person does not open it.")
	errCrossSite    = fault.New(fault.Forbidden, "cross_site", "This request came from another site's page.")
	errMedia        = fault.New(fault.Invalid, reasonMedia, "Send the body as it is, with Content-Type: application/json.")
	errTooLarge     = fault.New(fault.TooLarge, "body_too_large", "The body is larger than this route takes.")
	errNoBody       = fault.New(fault.Invalid, "unexpected_body", "This request takes no body.")
	errPath         = fault.New(fault.NotFound, "no_such_route", "There is nothing at this address; GET /v1/openapi.json lists what there is.")
	errMethod       = fault.New(fault.Invalid, reasonMethod, "This address does not take this method; the Allow header lists those that it does.")
	errCut          = fault.New(fault.Invalid, "body_incomplete", "The body ended before it was complete.")
)

const (
	reasonMedia  = "unsupported_media_type"
	reasonMethod = "method_not_allowed"
)

// invalid is a refusal of a parameter or member.
func invalid(reason, detail string) error { return fault.New(fault.Invalid, reason, detail) }

// about is a refusal that concerns one action.
type about struct {
	error
	action id.Action
}

func (a about) Unwrap() error { return a.error }

// noAnswer is the problem of an action that ran and brought no answer.
func noAnswer(a *action.Action) error {
	detail := "The provider could not be reached, or refused the connection; it was not done."
	if a.State == action.Unknown {
		detail = "It was sent and the provider's answer lost: it may have happened. Look before repeating it."
	}
	if a.Why != "" {
		detail += " (" + a.Why + ")"
	}
	return about{fault.New(fault.Upstream, string(a.State), detail), a.ID}
}

// status is the HTTP status of a fault. HTTP is finer than its kind where it is
// about HTTP itself.
func status(f *fault.Error) int {
	switch f.Reason {
	case reasonMedia:
		return http.StatusUnsupportedMediaType
	case reasonMethod:
		return http.StatusMethodNotAllowed
	}
	return f.Kind.Status()
}

// How long to wait before trying again, in seconds.
const (
	retryBusy  = 10
	retryShort = 2
)

// refuse answers with f as a problem document (RFC 9457). Nothing of the hidden
// cause goes out.
func refuse(w http.ResponseWriter, f *fault.Error, request string, a id.Action, presented bool) {
	p := api.Problem{
		Type: "about:blank", Status: status(f), Detail: f.Detail, Reason: f.Reason, Instance: request, Action: string(a),
	}
	p.Title = http.StatusText(p.Status)
	h := w.Header()
	switch p.Status {
	case http.StatusTooManyRequests:
		p.RetryAfterSeconds = retryBusy
	case http.StatusServiceUnavailable:
		p.RetryAfterSeconds = retryShort
	case http.StatusUnauthorized:
		// RFC 6750 §3: no error code for whoever presented nothing.
		challenge := `Bearer realm="valetkey"`
		if presented {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	if p.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic("httpapi: a problem is plain data: " + err.Error())
	}
	h.Set("Content-Type", api.MediaProblem)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // whoever asked may have gone
}
