package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows, to someone who has only the log's verifier key, that an event
// is in the log: the event as encoded, the path from it to the root, and the
// signed checkpoint that names the root. It marshals to JSON.
type Proof struct {
	Event      string           `json:"event"`
	Path       tlog.RecordProof `json:"path"`
	Checkpoint string           `json:"checkpoint"`
}

// Prove makes the proof that the event encoded as given is in the tree of
// the signed checkpoint. r reads stored hashes of a tree at least as large.
func Prove(encoded, checkpoint []byte, v *Verifier, r tlog.HashReader) (Proof, error) {
	c, err := v.Parse(checkpoint)
	if err != nil {
		return Proof{}, fmt.Errorf("prove event: %w", err)
	}
	e, err := Decode(encoded)
	if err != nil {
		return Proof{}, fmt.Errorf("prove event: %w", err)
	}
	path, err := ProveInclusion(c.Size, e.Seq, r)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{string(encoded), path, string(checkpoint)}
	// A proof that does not hold is worse than none: it would be blamed on
	// whoever checks it.
	if _, _, err := p.Check(v); err != nil {
		return Proof{}, err
	}
	return p, nil
}

// Check verifies the proof and returns the event and the checkpoint that
// covers it.
func (p Proof) Check(v *Verifier) (Event, Checkpoint, error) {
	c, err := v.Parse([]byte(p.Checkpoint))
	if err != nil {
		return Event{}, Checkpoint{}, fmt.Errorf("check inclusion: %w", err)
	}
	e, err := CheckInclusion(p.Path, c.Head, []byte(p.Event))
	if err != nil {
		return Event{}, Checkpoint{}, err
	}
	return e, c, nil
}

// ProveInclusion returns the path from leaf seq to the root of the tree with
// size leaves.
func ProveInclusion(size, seq int64, r tlog.HashReader) (tlog.RecordProof, error) {
	if seq < 0 || seq >= size {
		return nil, fmt.Errorf("prove event %d: the checkpoint covers %d events", seq, size)
	}
	p, err := tlog.ProveRecord(size, seq, r)
	if err != nil {
		return nil, fmt.Errorf("prove event %d in a log of %d: %w", seq, size, err)
	}
	return p, nil
}

// CheckInclusion checks that the event encoded as given is the leaf that its
// own sequence number names under head h.
func CheckInclusion(p tlog.RecordProof, h Head, encoded []byte) (Event, error) {
	e, err := Decode(encoded)
	if err != nil {
		return Event{}, fmt.Errorf("check inclusion: %w", err)
	}
	if err := tlog.CheckRecord(p, h.Size, h.Root, e.Seq, tlog.RecordHash(encoded)); err != nil {
		return Event{}, fmt.Errorf("check inclusion of event %d in a log of %d: %w", e.Seq, h.Size, err)
	}
	return e, nil
}

var errNoExtension = errors.New("the newer head does not extend the older one")

// ProveExtension returns the proof that newer has all events of older as its
// beginning. Every tree extends the empty one; that needs no proof.
func ProveExtension(older, newer int64, r tlog.HashReader) (tlog.TreeProof, error) {
	if older < 0 || newer < older {
		return nil, fmt.Errorf("prove extension of %d to %d: %w", older, newer, errNoExtension)
	}
	if older == 0 || older == newer {
		return nil, nil
	}
	p, err := tlog.ProveTree(newer, older, r)
	if err != nil {
		return nil, fmt.Errorf("prove extension of %d to %d: %w", older, newer, err)
	}
	return p, nil
}

// CheckExtension checks a proof made by [ProveExtension].
func CheckExtension(p tlog.TreeProof, older, newer Head) error {
	var empty Frontier
	switch {
	case older.Size < 0 || newer.Size < older.Size:
		return errNoExtension
	case older.Size == newer.Size:
		if older.Root != newer.Root || len(p) != 0 {
			return errNoExtension
		}
		return nil
	case older.Size == 0:
		if older != empty.Head() || len(p) != 0 {
			return errNoExtension
		}
		return nil
	}
	if err := tlog.CheckTree(p, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return errNoExtension
	}
	return nil
}
