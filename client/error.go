package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/secret"
)

// Reasons that come from this package. All others are the server's.
const (
	// ReasonAnswerLost: the request was sent and no answer came, and no held
	// action with its idempotency key was found. It may have run.
	ReasonAnswerLost = "answer_lost"
	// ReasonUnreachable: the server could not be reached, and nothing was sent;
	// or a request without effect brought no answer.
	ReasonUnreachable = "unreachable"
	// ReasonBadAnswer: what answered does not speak this API.
	ReasonBadAnswer = "bad_answer"
	// ReasonWaiting: the context ended before the action did. It goes on without
	// us; wait for Error.Action again.
	ReasonWaiting = "still_waiting"
	// ReasonBadRequest: the request cannot be sent as it is.
	ReasonBadRequest = "bad_request"
)

// Error is why something did not come about. Programs decide by Reason; it holds
// no credential.
//
// An action that ended without an answer of the upstream has its state as the
// Reason: "denied", "expired", "cancelled", "revoked", "failed" or "unknown".
type Error struct {
	Status int    // HTTP status; 0 when it is not an answer of the server
	Reason string // stable, machine-readable: "grant_expired", "missing_jti"
	OAuth  string // the error code of an OAuth endpoint: "invalid_client"
	Detail string // a sentence that says what to do next

	Action         string   // id of the action that it is about, or ""
	IdempotencyKey string   // of the submission, or "": submit with the same key to attach
	Explanation    []string // why a policy decided so, a sentence each
	Instance       string   // names this occurrence in the operator's log

	RetryAfter time.Duration // how long the server asks to wait; 0 if it does not say
	// ClockSkew is how far this machine's clock is ahead of the server's (behind,
	// if negative), where that is enough to make signatures fail; else 0.
	ClockSkew time.Duration

	Err error // the cause, or nil
}

// Error says what happened in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Reason)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	switch {
	case e.OAuth != "" && e.OAuth != e.Reason:
		fmt.Fprintf(&b, " (%s, HTTP %d)", e.OAuth, e.Status)
	case e.Status != 0:
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Action != "" {
		b.WriteString(" [" + e.Action + "]")
	}
	if e.ClockSkew != 0 {
		word := "ahead of"
		if e.ClockSkew < 0 {
			word = "behind"
		}
		fmt.Fprintf(&b, "; this machine's clock is %v %s the server's: set it, signatures are judged by time", e.ClockSkew.Abs(), word)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// transient reports whether the same request may succeed later, as far as can be
// told.
func (e *Error) transient() bool {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](e.Err); untrusted {
		return false // whoever that is, waiting does not make them our server
	}
	return e.Reason == ReasonUnreachable || e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// nothingHappened reports whether the server says so itself: it was too busy, or
// could not record, and did nothing. A proxy on the way cannot say that.
func (e *Error) nothingHappened() bool {
	return e.Reason != ReasonBadAnswer && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests)
}

// skewShown is the smallest difference of clocks that is worth a word: the
// server allows 30 seconds, and its Date counts whole ones.
const skewShown = 20 * time.Second

// refusal reads an answer that is an error. sent are the credentials of the
// request, which no error may hold, whatever the other end answers.
func refusal(res *http.Response, body []byte, now time.Time, sent ...secret.Text) *Error {
	e := &Error{Status: res.StatusCode, RetryAfter: retryAfter(res.Header, now)}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	var p api.Problem
	var o api.TokenError
	switch {
	case kind == api.MediaProblem && json.Unmarshal(body, &p) == nil && p.Reason != "":
		e.Reason, e.Detail, e.Action, e.Instance, e.Explanation = p.Reason, p.Detail, p.Action, p.Instance, p.Explanation
		if e.RetryAfter == 0 && p.RetryAfterSeconds > 0 {
			e.RetryAfter = time.Duration(p.RetryAfterSeconds) * time.Second
		}
	case kind == api.MediaJSON && json.Unmarshal(body, &o) == nil && o.Error != "":
		e.OAuth, e.Reason, e.Detail, e.Action = o.Error, o.Reason, o.Description, o.Action
		if e.Reason == "" {
			e.Reason = o.Error
		}
	default:
		// The body of something else is not shown: it may be a page, or an echo.
		e.Reason, e.Detail = ReasonBadAnswer, "What answered is not Valetkey's API; check the address, and any proxy before it."
		if loc := res.Header.Get("Location"); loc != "" && res.StatusCode/100 == 3 {
			e.Detail = "The server answered with a redirect, which is not followed; use the issuer URL exactly as the server is configured."
		}
	}
	for _, s := range []*string{&e.Reason, &e.OAuth, &e.Detail, &e.Action, &e.Instance} {
		*s = clean(*s, sent)
	}
	for i := range e.Explanation {
		e.Explanation[i] = clean(e.Explanation[i], sent)
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized) {
		if skew := now.Sub(date).Round(time.Second); skew.Abs() > skewShown {
			e.ClockSkew = skew
		}
	}
	return e
}

// maxText bounds what of the server's words goes into an error.
const maxText = 1000

// clean makes text of the other end fit for a log line: no credentials, no
// control characters, no great length.
func clean(s string, sent []secret.Text) string {
	for _, t := range sent {
		if !t.IsZero() {
			s = strings.ReplaceAll(s, t.Reveal(), secret.Redacted)
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText]) + "…"
	}
	return s
}

// retryAfter reads both forms of RFC 9110 §10.2.3, up to an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	d := time.Duration(0)
	if n, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(max(n, 0), 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// asError returns the [*Error] in err's chain, or nil.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}
