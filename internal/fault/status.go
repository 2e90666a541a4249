package fault

// Status is the HTTP status of a failure of kind k (RFC 9110 §15, and RFC 6585
// §4 for 429). Where a protocol has words of its own for a refusal, its edge
// says them; this is the table for everything else, and the only one. A kind
// that is not here is [Internal].
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return 400
	case Unauthenticated:
		return 401
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case Conflict:
		return 409
	case TooLarge:
		return 413
	case TooMany:
		return 429
	case Upstream:
		return 502
	case Unavailable:
		return 503
	}
	return 500
}
