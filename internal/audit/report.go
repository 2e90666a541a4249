package audit

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Finding is something wrong, between two sequence numbers. They are equal
// where the log itself gives the place away; where its own hashes were
// rewritten to fit, only outside checkpoints bear witness, and they narrow it
// down to the events between two of them.
type Finding struct {
	First, Last int64
	What        string
}

func (f Finding) String() string {
	if f.First == f.Last {
		return fmt.Sprintf("event %d: %s", f.First, f.What)
	}
	return fmt.Sprintf("events %d to %d: %s", f.First, f.Last, f.What)
}

// Report is the outcome of [Verify]: three verdicts that must not be mixed.
type Report struct {
	Events int64     // read and found sound
	Root   tlog.Hash // over all of them, when none was wrong

	// Integrity is nil when every event is unchanged and in its place.
	Integrity *Finding
	// Completeness is nil when no outside checkpoint speaks of events that
	// are not here, or of another history.
	Completeness *Finding

	Checkpoints  int        // outside checkpoints read
	Anchor       Checkpoint // the largest that fits; zero when none does
	AnchorNumber int        // its number in its sink, from 1
	Tail         int64      // sound events that no outside checkpoint covers
}

// OK reports whether nothing was found. A log without outside checkpoints
// can be OK; its tail says how much that is worth.
func (r Report) OK() bool { return r.Integrity == nil && r.Completeness == nil }

// FirstBad returns the first sequence number that may be wrong.
func (r Report) FirstBad() (seq int64, found bool) {
	for _, f := range []*Finding{r.Integrity, r.Completeness} {
		if f != nil && (!found || f.First < seq) {
			seq, found = f.First, true
		}
	}
	return seq, found
}

// String returns three lines, a verdict each.
func (r Report) String() string {
	var b strings.Builder
	if r.Integrity != nil {
		fmt.Fprintf(&b, "integrity: BROKEN, first bad sequence number %d; %v\n", r.Integrity.First, r.Integrity)
	} else {
		fmt.Fprintf(&b, "integrity: ok, %s, root %v\n", events(r.Events), r.Root)
	}
	switch {
	case r.Completeness != nil:
		fmt.Fprintf(&b, "completeness: BROKEN, first bad sequence number %d; %v\n", r.Completeness.First, r.Completeness)
	case r.AnchorNumber == 0:
		b.WriteString("completeness: not known, no outside checkpoint to compare with\n")
	default:
		fmt.Fprintf(&b, "completeness: ok up to checkpoint %d, which covers %s and was signed at %s (counted among the %d that were compared with)\n", r.AnchorNumber, events(r.Anchor.Size), r.Anchor.At.Format(time.RFC3339), r.Checkpoints)
	}
	fmt.Fprintf(&b, "unanchored tail: %s\n", events(r.Tail))
	return b.String()
}

func events(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}
