package audit

import (
	"context"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Record is one event as a source has it.
type Record struct {
	Seq     int64  // the key under which the source keeps it
	Encoded []byte // valid until the next record
	// Columns are copies of fields that the source keeps beside the encoding
	// to search by: "org", "verb", "actor", "object", "subject", and "at" in
	// microseconds. They lie outside the hash, so each must equal the event's
	// own field.
	Columns map[string]string
}

// Source is a log to verify. Its methods show one snapshot of it.
type Source interface {
	// Head returns the head that the source claims.
	Head(ctx context.Context) (Head, error)
	// Records yields the events in order of their keys.
	Records(ctx context.Context) iter.Seq2[Record, error]
	// Hashes yields the stored hashes in order of their index, or is nil
	// when the source keeps none.
	Hashes(ctx context.Context) iter.Seq2[tlog.Hash, error]
}

// Checkpoints turns a list of signed checkpoints into what [Verify] reads.
func Checkpoints(signed ...[]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, s := range signed {
			if !yield(s, nil) {
				return
			}
		}
	}
}
