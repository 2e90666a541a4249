package fault_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/valetkey/valetkey/internal/fault"
)

var errGone = fault.New(fault.NotFound, "gone", "It is gone; look elsewhere.")

func TestFrom(t *testing.T) {
	for _, c := range []struct {
		why    string
		err    error
		kind   fault.Kind
		reason string
	}{
		{"an error that is nobody's business", io.ErrUnexpectedEOF, fault.Internal, "internal"},
		{"nothing at all", nil, fault.Internal, "internal"},
		{"a fault", errGone, fault.NotFound, "gone"},
		{"a wrapped fault", fmt.Errorf("look for it: %w", errGone), fault.NotFound, "gone"},
		{"a fault with a cause", errGone.Because(io.EOF), fault.NotFound, "gone"},
		{"the outermost of two", errGone.Because(fault.New(fault.Invalid, "inner", "")), fault.NotFound, "gone"},
		{"one of several", errors.Join(io.EOF, errGone), fault.NotFound, "gone"},
	} {
		if f := fault.From(c.err); f.Kind != c.kind || f.Reason != c.reason {
			t.Errorf("%s: kind %d, reason %s", c.why, f.Kind, f.Reason)
		}
	}
}

// What a caller sees of an internal error says nothing of its cause, and the
// cause is not lost to the operator.
func TestInternalHides(t *testing.T) {
	f := fault.From(errors.New("password hunter2 refused by db.internal"))
	if f.Detail != fault.ErrInternal.Detail || f.Reason != "internal" {
		t.Errorf("shown: %q %q", f.Reason, f.Detail)
	}
	if f.Err == nil || f.Unwrap() == nil {
		t.Error("the cause is lost")
	}
}

func TestBecauseLeavesTheSentinel(t *testing.T) {
	err := errGone.Because(io.EOF)
	switch {
	case errGone.Err != nil:
		t.Error("Because changed the sentinel")
	case !errors.Is(err, errGone) || !errors.Is(err, io.EOF):
		t.Error("a fault with a cause is no longer what it was")
	case errors.Is(err, fault.New(fault.NotFound, "other", "")):
		t.Error("faults of different reasons are the same")
	case errors.Is(io.EOF, errGone):
		t.Error("any error is a fault")
	case err.Error() != "gone: It is gone; look elsewhere.: EOF":
		t.Errorf("for the log: %q", err.Error())
	}
}

// Forgetting to choose a kind hides, never leaks.
func TestZeroKindIsInternal(t *testing.T) {
	if (&fault.Error{Reason: "x"}).Kind != fault.Internal {
		t.Error("the zero kind is not Internal")
	}
}

// Every kind has a status, and what is not a kind is our own failure.
func TestStatus(t *testing.T) {
	for kind, want := range map[fault.Kind]int{
		fault.Internal: http.StatusInternalServerError, fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized,
		fault.Forbidden: http.StatusForbidden, fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict,
		fault.TooLarge: http.StatusRequestEntityTooLarge, fault.TooMany: http.StatusTooManyRequests,
		fault.Unavailable: http.StatusServiceUnavailable, fault.Upstream: http.StatusBadGateway,
		fault.Upstream + 1: http.StatusInternalServerError, -1: http.StatusInternalServerError,
	} {
		if got := kind.Status(); got != want {
			t.Errorf("kind %d: %d, want %d", kind, got, want)
		}
	}
}
