// Package fault is the one error a caller may see.
//
// Domain code returns a [*Error] where the caller should learn what happened
// and what to do next; every other error is internal, logged once at the edge
// and shown as "internal". The package renders nothing: each edge has one
// renderer that turns a Kind into its own words (OAuth error, problem+json,
// HTML, exit code). The HTTP status of a kind is the same for all who speak
// plain HTTP, so that one table is here.
package fault

import "errors"

// Kind says what sort of failure it is; see [Kind.Status].
type Kind int

// The kinds. Internal is the zero value: forgetting to choose hides, never
// leaks.
const (
	Internal        Kind = iota // our fault; details are for the operator only
	Invalid                     // the request is malformed
	Unauthenticated             // we do not know who is asking
	Forbidden                   // we know who is asking, and the answer is no
	NotFound                    // no such thing, or not visible to the caller
	Conflict                    // the state of the thing does not allow it
	TooLarge                    // over a size limit
	TooMany                     // over a rate or pending limit; try later
	Unavailable                 // we cannot do it now and nothing happened
	Upstream                    // the provider failed or refused
)

// Error is an error a caller may see. Err is for the operator's log only.
type Error struct {
	Kind   Kind
	Reason string // stable, machine-readable: "grant_expired"
	Detail string // one sentence, safe to show, says what to do next
	Err    error
}

// New makes an error without a hidden cause.
func New(kind Kind, reason, detail string) *Error {
	return &Error{Kind: kind, Reason: reason, Detail: detail}
}

// Because returns a copy of e with a cause for the operator's log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Error is for logs: it includes the hidden cause. What a caller sees is
// Reason and Detail.
func (e *Error) Error() string {
	s := e.Reason
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the hidden cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is a fault with the same reason, so that
// sentinel faults still match after [Error.Because].
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// ErrInternal is what a caller sees of an error that is none of its business.
var ErrInternal = New(Internal, "internal", "Something went wrong on our side; the operator's log says what.")

// From returns the fault in err's chain, or ErrInternal with err as its cause.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return ErrInternal.Because(err)
}
