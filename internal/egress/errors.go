package egress

import (
	"fmt"

	"github.com/valetkey/valetkey/internal/fault"
)

// The refusals and outcomes. They are faults, so that they may be shown;
// the cause, where there is one, is for the operator.
var (
	// ErrNotSent says that provably nothing of the request left the process.
	ErrNotSent = fault.New(fault.Unavailable, "not_sent", "The call did not leave this server, so nothing happened upstream; it may be tried again.")
	// ErrUnknown says that at least one byte was written and no response came
	// back: the upstream may or may not have acted.
	ErrUnknown = fault.New(fault.Upstream, "outcome_unknown", "The request was sent but no response came back; check upstream whether it took effect before repeating it.")

	// ErrURL refuses a URL for what it is, before anything is resolved.
	ErrURL = fault.New(fault.Invalid, "url_refused", "This URL is not one that may be called.")
	// ErrAddress refuses where a host name or literal leads.
	ErrAddress = fault.New(fault.Forbidden, "address_refused", "The host does not have a public address; an operator can allow internal networks.")
	// ErrHeader refuses a request header.
	ErrHeader = fault.New(fault.Invalid, "header_refused", "The request has a header that may not be sent upstream.")
	// ErrRequest refuses the request for another part of it.
	ErrRequest = fault.New(fault.Invalid, "request_refused", "The request cannot be sent upstream as it is.")

	// ErrTruncated comes from reading a body that ended before its end.
	ErrTruncated = fault.New(fault.Upstream, "response_truncated", "The response broke off before its end.")
	// ErrTooLarge comes from reading a body beyond its cap.
	ErrTooLarge = fault.New(fault.Upstream, "response_too_large", "The response is larger than this server accepts.")
	// ErrEncoding comes from reading a body in a coding that we did not ask
	// for: it cannot be searched for the credential, so it is not shown.
	ErrEncoding = fault.New(fault.Upstream, "response_encoding", "The response came in a content coding that was not asked for.")
)

// refuse makes the error of a request that was stopped before the network:
// the refusal comes first, because that is what the caller should see, and
// ErrNotSent rides along, because that is what the caller should know.
func refuse(f *fault.Error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", f.Because(fmt.Errorf(format, args...)), ErrNotSent)
}

// because gives f a cause without the promise that nothing was sent.
func because(f *fault.Error, format string, args ...any) error {
	return f.Because(fmt.Errorf(format, args...))
}
