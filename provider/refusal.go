package provider

import "fmt"

// Reason says why a request is refused. It is stable and machine-readable.
type Reason string

// The reasons.
const (
	BadMethod     Reason = "bad_method"      // not one of GET, HEAD, POST, PUT, PATCH, DELETE in this very spelling
	BadHost       Reason = "bad_host"        // not below an API base of this provider
	BadPath       Reason = "bad_path"        // a path with a second reading
	BadQuery      Reason = "bad_query"       // a query with a second reading
	BadHeader     Reason = "bad_header"      // a header that an agent may not send
	BadBody       Reason = "bad_body"        // a body that cannot be read, or not here
	BadJSON       Reason = "bad_json"        // JSON that two parsers may read differently, or over a limit
	Override      Reason = "method_override" // asks the provider to take it for another method
	Batch         Reason = "batch"           // several requests in one
	Smuggled      Reason = "own_credential"  // brings a credential of its own
	BadParameter  Reason = "bad_parameter"   // missing, unknown or mistyped
	BadDocument   Reason = "bad_document"    // a GraphQL document that cannot be judged
	OtherRequest  Reason = "other_operation" // these parameters are another operation
	SwitchedOff   Reason = "switched_off"    // in the catalogue as off
	AmbiguousSpec Reason = "ambiguous_spec"  // two operations claim it: a fault of the Spec
)

// Refusal is why a request will not be sent. Detail is one sentence, safe to
// show to whoever asked: it names the place, never the value of a credential.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
